package service

import "github.com/holdfast-backup/holdfast"

// NewRepository asks for a repository.
type NewRepository struct {
	Name       string
	Location   string // file:///absolute/path
	MaxRunning int    // executions at once; 0: no limit
}

// KitFacts is what a recovery kit is made of. The service does not keep the
// password: it is shown once.
type KitFacts struct {
	Location string
	FormatID string
	Password holdfast.Secret // of a key slot of its own
}

package service

import "github.com/holdfast-backup/holdfast"

// NewRestore asks for a backup set to be restored.
type NewRestore struct {
	Spec           holdfast.RestoreSpec // Host zero: the site's
	Name           string               // of the job it makes; empty: made up
	IdempotencyKey string               // as in Run
}

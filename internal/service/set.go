package service

import "github.com/holdfast-backup/holdfast"

// SetView is a backup set with its copies, without those that no reader may see
// yet.
type SetView struct {
	holdfast.BackupSet
	Copies []holdfast.Copy
}

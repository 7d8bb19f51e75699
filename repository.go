package holdfast

import "time"

// RepositoryID numbers repositories.
type RepositoryID int64

// Repository is where copies of backup sets live. It belongs to one account.
type Repository struct {
	ID         RepositoryID
	Account    AccountID
	Name       string // unique in the account
	Location   string // as [Location] spells it
	FormatID   string // the id in the repository's own config object, in hexadecimal
	Password   []byte // of the service's key slot; sealed with the master key
	Access     []byte // a packed [ObjectAccess], sealed with the master key; empty: the location needs none
	MaxRunning int    // executions at once; 0: no limit
	Created    time.Time
}

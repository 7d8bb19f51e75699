package holdfast

import "time"

// CopyID numbers copies.
type CopyID int64

// CopyState is what is known of a copy.
type CopyState string

// The states of a copy.
const (
	CopyWriting     CopyState = "WRITING"     // intended; no reader sees it
	CopyComplete    CopyState = "COMPLETE"    // finished by the execution that wrote it
	CopyVerified    CopyState = "VERIFIED"    // restored, or read back, and found good
	CopyDamaged     CopyState = "DAMAGED"     // something in it is known to be bad
	CopyUnconfirmed CopyState = "UNCONFIRMED" // imported; nobody has confirmed it
	CopyDeleted     CopyState = "DELETED"     // gone from the repository
	CopyExpired     CopyState = "EXPIRED"     // dropped by retention or by a person; no reader sees it, and its snapshot is to be removed
	CopyOrphaned    CopyState = "ORPHANED"    // intended, but its fence was closed: to be reaped by its snapshot id
)

// Copy is a backup set in one repository.
type Copy struct {
	ID         CopyID
	Account    AccountID
	Set        SetID
	Repository RepositoryID
	Snapshot   string // id of the snapshot object, in hexadecimal
	State      CopyState
	Execution  ExecutionID
	Fence      Fence
	Origin     string // id of the installation that wrote it, when it was imported; empty: this one
	Intended   time.Time
	Verified   time.Time // zero: never
}

// Readable reports whether a restore may use the copy.
func (c Copy) Readable() bool {
	switch c.State {
	case CopyComplete, CopyVerified, CopyDamaged, CopyUnconfirmed:
		return true
	case CopyWriting, CopyExpired, CopyDeleted, CopyOrphaned:
	}
	return false
}

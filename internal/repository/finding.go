package repository

import (
	"math/big"
	"time"
)

// FindingKind says what is wrong with an object.
type FindingKind string

// The kinds of findings. Those that IsWarning names lose nothing.
const (
	FindingMissing    FindingKind = "missing"      // the object is not there
	FindingDamaged    FindingKind = "damaged"      // its bytes are not those that were written
	FindingUnreadable FindingKind = "unreadable"   // the store does not give it
	FindingUnindexed  FindingKind = "unindexed"    // a pack that snapshots need, and no index object names
	FindingLost       FindingKind = "lost"         // blobs that snapshots need, and no pack has
	FindingUnused     FindingKind = "unreferenced" // a pack that no index object names, and nobody needs
	FindingTwice      FindingKind = "duplicate"    // a pack that several index objects name
	FindingLock       FindingKind = "lock"         // a lock that stands in the way
)

// IsWarning reports whether nothing is lost by it.
func (k FindingKind) IsWarning() bool {
	return k == FindingUnused || k == FindingTwice || k == FindingLock
}

// Finding is one thing that a check found.
type Finding struct {
	Kind    FindingKind
	Object  string // its name in the bucket; or a prefix, when the object itself is not known
	What    string // what is wrong, for people
	Hint    string // what to do about it; may be empty
	Places  int64  // in how many places of the trees it is felt; one that several snapshots share counts once
	Example string // one of the files or directories
	// Affected are the snapshots that do not restore whole because of it, the oldest
	// first.
	Affected []CheckedSnapshot
}

// CheckedSnapshot is a snapshot as findings name it.
type CheckedSnapshot struct {
	ID   string
	Time time.Time
	Set  string // id of the backup set; empty: it is not one of ours
	Site string
}

// maxFindings is how many findings a check keeps, and how many warnings: however many
// of these there are, damage is told. What else is wrong is counted, and what it
// affects is known all the same.
const maxFindings = 10_000

// finding is a Finding while snapshots are still being looked at.
type finding struct {
	Finding
	affected big.Int // a bit for each snapshot
	pruned   bool    // of a condemned pack that has gone meanwhile: it is one only if something needs it
}

package holdfast

import (
	"slices"
	"time"
)

// WorkerID numbers workers.
type WorkerID int64

// Worker is a node that runs executions. One that was invited is of one account,
// and stands on that account's hosts alone; the worker inside serve may stand on
// hosts of several.
type Worker struct {
	ID          WorkerID
	Account     AccountID // that invited it; zero: the worker inside serve
	Name        string    // unique in the account
	Key         string    // public nkey that identifies it (U…); empty for the worker inside serve
	SealKey     string    // public curve key to which its secrets are sealed (X…)
	Pools       []string  // what it asks for
	Hosts       []HostID  // where it stands: only their directories may it touch
	Slots       int       // executions at once
	Maintenance bool      // may delete: reaps orphans, expires, prunes
	Version     string
	Created     time.Time
	Seen        time.Time // last message; zero: never
	Removed     time.Time // zero: not removed
}

// StandsOn reports whether the worker may touch directories of the host.
func (w Worker) StandsOn(h HostID) bool { return slices.Contains(w.Hosts, h) }

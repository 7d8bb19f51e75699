package service

import (
	"time"

	"github.com/holdfast-backup/holdfast"
)

// IfBusy says what a request to run a busy job means.
type IfBusy int

// The answers to a busy job.
const (
	Refuse IfBusy = iota // CodeConflict, with Error.Execution
	Join                 // the execution that keeps it busy is the answer
	Queue                // one more waits for its turn
)

// Run asks for one execution of a job.
type Run struct {
	Job            holdfast.JobID
	RunType        holdfast.RunType // empty: FULL; ignored for a restore
	IfBusy         IfBusy
	IdempotencyKey string    // the same key in the account gives the same execution; empty: none
	Due            time.Time // not before; zero or past: now
}

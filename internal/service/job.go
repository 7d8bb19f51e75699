package service

import (
	"time"

	"github.com/holdfast-backup/holdfast"
)

// JobView is a job with what is known of its runs.
type JobView struct {
	holdfast.Job
	Last        *holdfast.Execution // newest; nil: never run
	LastRestore *holdfast.Execution // newest restore of a set that this job made; nil: none
	NextRun     time.Time           // zero: no schedule
}

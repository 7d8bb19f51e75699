package commvault

import (
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// The words of a job's status. The SDK takes a job for finished when its word
// holds completed, killed, committed or failed: no word of a job that goes on
// may. Source: docs/api/commvault.md, "Status".
const (
	statusQueued         = "Queued"
	statusPending        = "Pending"
	statusRunning        = "Running"
	statusSuspended      = "Suspended"
	statusSuspendPending = "Suspend Pending"
	statusKillPending    = "Kill Pending"
	statusCompleted      = "Completed"
	statusWarnings       = "Completed w/ one or more warnings"
	statusFailed         = "Failed"
	statusKilled         = "Killed"
	statusCommitted      = "Committed"
)

// statusWord is the table of states. kept is true when the execution has left
// data; waits when it is not due yet. One that is due again shows as Queued: the
// SDK itself kills a job that is Pending for half an hour.
func statusWord(s holdfast.Status, kept, waits bool) string {
	switch s.State {
	case holdfast.StatePlanned:
		return statusQueued
	case holdfast.StateQueued:
		if s.Reason == holdfast.ReasonTransient && waits {
			return statusPending
		}
		return statusQueued
	case holdfast.StateSuspended:
		return statusSuspended
	case holdfast.StateRunning:
		switch s.Wanted {
		case holdfast.WantRun:
			return statusRunning
		case holdfast.WantSuspend:
			return statusSuspendPending
		case holdfast.WantStop, holdfast.WantAbort, holdfast.WantKill:
		}
		return statusKillPending
	case holdfast.StateEnded:
	}
	switch s.Outcome {
	case holdfast.OutcomeSucceeded:
		return statusCompleted
	case holdfast.OutcomeWarning:
		return statusWarnings
	case holdfast.OutcomeStopped:
		if kept {
			return statusCommitted
		}
		return statusKilled
	case holdfast.OutcomeAborted, holdfast.OutcomeKilled, holdfast.OutcomeCancelled:
		return statusKilled
	case holdfast.OutcomeFailed, holdfast.OutcomeNone:
	}
	return statusFailed
}

// statusOfJob is the status word of an execution at now.
func statusOfJob(e holdfast.Execution, now time.Time) string {
	return statusWord(e.Status, e.StoredSize > 0, e.Due.After(now))
}

// levelName is the level that really ran; a restore has none.
func levelName(e holdfast.Execution) string {
	if e.Type != holdfast.JobBackup {
		return ""
	}
	switch e.RunType {
	case holdfast.RunFull:
		return "Full"
	case holdfast.RunDelta:
		return "Incremental"
	case holdfast.RunCumulative:
		return "Differential"
	}
	return ""
}

// Types of jobs.
const (
	jobBackup  = "Backup"
	jobRestore = "Restore"
)

// typeName is the word for what a job does.
func typeName(t holdfast.JobType) string {
	if t == holdfast.JobRestore {
		return jobRestore
	}
	return jobBackup
}

// jobTypes are the types of executions that are jobs here.
func jobTypes() []holdfast.JobType {
	return []holdfast.JobType{holdfast.JobBackup, holdfast.JobRestore}
}

// typesNamed returns the types that the words of a filter mean. A synthetic full
// backup is a full one here; the words of what other agents do mean nothing.
func typesNamed(words []string) []holdfast.JobType {
	var backup, restore bool
	for _, w := range words {
		switch strings.ToUpper(strings.TrimSpace(w)) {
		case "BACKUP", "SYNTHFULL":
			backup = true
		case "RESTORE":
			restore = true
		}
	}
	switch {
	case backup && restore:
		return jobTypes()
	case backup:
		return []holdfast.JobType{holdfast.JobBackup}
	case restore:
		return []holdfast.JobType{holdfast.JobRestore}
	}
	return nil
}

// percent is how much of an execution is done, in whole percent; 100 only for one
// that has ended well.
func percent(e holdfast.Execution) int {
	switch e.Outcome {
	case holdfast.OutcomeSucceeded, holdfast.OutcomeWarning:
		return 100
	case holdfast.OutcomeNone, holdfast.OutcomeFailed, holdfast.OutcomeStopped, holdfast.OutcomeAborted, holdfast.OutcomeKilled,
		holdfast.OutcomeCancelled:
	}
	p := e.Progress
	if p.TotalBytes <= 0 {
		return 0
	}
	return int(min(max(float64(p.DoneBytes)/float64(p.TotalBytes)*100, 0), 99))
}

// why is the reason for what a job is or has become, for people.
func why(e holdfast.Execution) string {
	var parts []string
	switch e.Reason {
	case holdfast.ReasonLost:
		parts = append(parts, "its worker fell silent")
	case holdfast.ReasonHandedBack:
		parts = append(parts, "its worker was stopped")
	case holdfast.ReasonTransient:
		parts = append(parts, "it failed in a way that may pass")
	case holdfast.ReasonTimeLimit:
		parts = append(parts, "its time limit has passed")
	case holdfast.ReasonSkipped:
		parts = append(parts, "the scheduler left it out")
	case holdfast.ReasonExpired:
		parts = append(parts, "its credentials are no longer held")
	case holdfast.ReasonNone, holdfast.ReasonError, holdfast.ReasonDamaged, holdfast.ReasonWish: // the detail says it
	}
	if e.Detail != "" {
		parts = append(parts, e.Detail)
	}
	if e.RunTypeReason != "" && e.RunAsked != e.RunType {
		parts = append(parts, e.RunTypeReason)
	}
	return strings.Join(parts, "; ")
}

// seconds counts from 1970; zero stays 0.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// begun is when an execution first ran, or was asked for.
func begun(e holdfast.Execution) time.Time {
	if e.Started.IsZero() {
		return e.Submitted
	}
	return e.Started
}

// elapsed is how long an execution has been running at now, from its first start
// to its end.
func elapsed(e holdfast.Execution, now time.Time) time.Duration {
	if e.Started.IsZero() {
		return 0
	}
	if !e.Ended.IsZero() {
		now = e.Ended
	}
	return max(0, now.Sub(e.Started))
}

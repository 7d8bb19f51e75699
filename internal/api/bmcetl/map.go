package bmcetl

import (
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// The words of a task's status. There is no other: scripts switch on them. Source:
// docs/api/bmc.md, "Status".
const (
	taskRunning    = "RUNNING"
	taskWaiting    = "WAITING"
	taskEnded      = "ENDED"
	taskAborted    = "ABORTED"
	taskServiceOn  = "SERVICE_ON"
	taskServiceOff = "SERVICE_OFF"
	taskNone       = "" // never ran, and nothing is planned
)

// taskWord is the table of states. Of several that are true of an idle batch, the
// first in the order ABORTED, WAITING, ENDED is shown.
func taskWord(st service.ETLStatus) string {
	if st.Job.ETL.Service {
		return serviceWord(st.State())
	}
	switch aborted := st.Finished != nil && cutShort(st.Finished.Status); {
	case st.Current != nil:
		return taskRunning
	case aborted && !armedSince(st):
		return taskAborted
	case st.Planned != nil:
		return taskWaiting
	case st.Finished != nil:
		return taskEnded
	}
	return taskNone
}

// armedSince reports whether somebody has scheduled the ETL after the last execution
// had ended: what is planned because it recurs tells nobody that it goes on.
func armedSince(st service.ETLStatus) bool {
	return st.Planned != nil && st.Job.ETL.Scheduled.After(st.Finished.Ended)
}

func serviceWord(s service.ServiceState) string {
	switch s {
	case service.ServiceOn:
		return taskServiceOn
	case service.ServiceOff:
		return taskServiceOff
	case service.ServiceAborted:
		return taskAborted
	case service.ServiceNone:
	}
	return taskNone
}

// cutShort reports whether an execution that has ended was removed by force, by a
// limit, or with its worker.
func cutShort(s holdfast.Status) bool {
	switch s.Outcome {
	case holdfast.OutcomeAborted, holdfast.OutcomeKilled:
		return true
	case holdfast.OutcomeFailed:
		return s.Reason == holdfast.ReasonLost
	case holdfast.OutcomeNone, holdfast.OutcomeSucceeded, holdfast.OutcomeWarning, holdfast.OutcomeStopped, holdfast.OutcomeCancelled:
	}
	return false
}

// The words of exit_code.
const (
	exitOK      = "OK"
	exitWarning = "WARNING"
	exitError   = "ERROR"
)

// exitWord is the exit code of an execution that has ended; empty for one that
// never started, which changes none.
func exitWord(o holdfast.Outcome) string {
	switch o {
	case holdfast.OutcomeSucceeded:
		return exitOK
	case holdfast.OutcomeWarning, holdfast.OutcomeStopped:
		return exitWarning
	case holdfast.OutcomeFailed, holdfast.OutcomeAborted, holdfast.OutcomeKilled:
		return exitError
	case holdfast.OutcomeNone, holdfast.OutcomeCancelled:
	}
	return ""
}

// The words of the older API for one execution.
const (
	olderRunning  = "RUNNING"
	olderFinished = "FINISHED"
	olderFailed   = "FAILED"
	olderTimedOut = "TIMED_OUT"
	olderNone     = "NO_STATUS"
)

// olderWord is the status of one execution in the older API.
func olderWord(s holdfast.Status) string {
	switch s.State {
	case holdfast.StateQueued, holdfast.StateRunning, holdfast.StateSuspended:
		return olderRunning
	case holdfast.StatePlanned:
		return olderNone
	case holdfast.StateEnded:
	}
	switch s.Outcome {
	case holdfast.OutcomeSucceeded, holdfast.OutcomeWarning, holdfast.OutcomeStopped:
		return olderFinished
	case holdfast.OutcomeAborted:
		return olderTimedOut
	case holdfast.OutcomeFailed, holdfast.OutcomeKilled:
		return olderFailed
	case holdfast.OutcomeNone, holdfast.OutcomeCancelled:
	}
	return olderNone
}

// The types of ETLs, in the list and in configurations.
const (
	typeBatch   = "batch"
	typeService = "service"
)

func typeName(service bool) string {
	if service {
		return typeService
	}
	return typeBatch
}

// timestamp is a time in UTC to the second, as the vendor writes it; nil when
// there is none.
func timestamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.UTC().Format(time.RFC3339)
	return &text
}

// wordOrNull is nil for no word.
func wordOrNull(word string) *string {
	if word == "" {
		return nil
	}
	return &word
}

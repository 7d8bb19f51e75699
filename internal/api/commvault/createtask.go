package commvault

import (
	"context"
	"fmt"
	"net/http"

	"github.com/holdfast-backup/holdfast"
)

func (h *handler) taskRoutes(add, _ adder) {
	add(http.MethodPost, "Createtask", h.createTask)
	add(http.MethodPost, "Subclient/byName()/action/backup", h.backupByName)
	add(http.MethodPost, "Subclient/{id}/action/backup", h.backupByID)
	add(http.MethodPost, "Job/{id}/action/kill", h.kill)
	add(http.MethodPost, "Job/{id}/action/pause", h.pause)
	add(http.MethodPost, "Job/{id}/action/resume", h.resume)
	add(http.MethodPost, "Job/{id}/action/Resubmit", h.resubmit)
}

// taskReply is the answer to what has made jobs.
type taskReply struct {
	TaskID int64    `json:"taskId"`
	JobIDs []string `json:"jobIds"`
}

func replyOf(id holdfast.SubmissionID, list ...holdfast.Execution) taskReply {
	r := taskReply{TaskID: int64(id), JobIDs: make([]string, len(list))}
	for i, e := range list {
		r.JobIDs[i] = fmt.Sprint(e.ID)
	}
	return r
}

// idempotencyKey is the header with which clients make a repeated request safe.
const idempotencyKey = "Idempotency-Key"

// createTask starts backups or a restore. Its errors come in this order: a bad
// body, nothing that the association matches, a missing right, whatever else
// makes no sense.
func (h *handler) createTask(ctx context.Context, c call) (any, error) {
	info, err := readTask(c.body)
	if err != nil {
		return nil, err
	}
	if info.SubTasks[0].kind() == kindRestore {
		return h.createRestore(ctx, c, info)
	}
	return h.createBackup(ctx, c, info)
}

// taskKind is what a task does.
type taskKind int

const (
	kindUnknown taskKind = iota
	kindBackup
	kindRestore
)

// kind decides by the type; operationType is set in several ways and says no
// more.
func (s subTask) kind() taskKind {
	switch s.SubTask.SubTaskType {
	case "2", "BACKUP":
		return kindBackup
	case "3", "RESTORE":
		return kindRestore
	case "":
		if o := s.Options.RestoreOptions; o != nil && !o.empty {
			return kindRestore
		}
		return kindBackup
	}
	return kindUnknown
}

// check refuses what would not run now, and once.
func (t taskInfo) check() error {
	switch t.Task.TaskType {
	case "", "1", "IMMEDIATE":
	default:
		return senseless("task type %s is not run at once", t.Task.TaskType).
			WithHint("send taskType 1; make schedules with the job's schedules")
	}
	if t.Task.TaskFlags.Disabled.on {
		return senseless("a disabled task would never run").WithHint("leave taskFlags.disabled out")
	}
	if t.SubTasks[0].kind() == kindUnknown {
		return senseless("sub-task type %s is unknown", t.SubTasks[0].SubTask.SubTaskType).WithHint("send subTaskType 2 for a backup, 3 for a restore")
	}
	return nil
}

// senseless is the reason of a notRun.
func senseless(format string, args ...any) *holdfast.Error {
	return holdfast.Errorf(holdfast.CodeInvalid, format, args...)
}

// notRun is the documented answer to a request that is well formed but cannot be
// done. Its text is fixed; why stands beside it.
func notRun(why error) error {
	return &Failure{
		Status: http.StatusInternalServerError, Code: codeNotRun, Message: textNotRun, Reason: textOf(why), Err: why,
	}
}

func noEligible() error {
	return &Failure{Status: http.StatusInternalServerError, Code: codeNoEligible, Message: textNoEligible}
}

// taskError is the answer when the service refuses what resolved well. Failures
// that are nobody's request's fault stay what they are.
func taskError(err error) error {
	switch holdfast.ErrorCode(err) {
	case holdfast.CodeInvalid, holdfast.CodeConflict, holdfast.CodeNotFound: // not found: deleted meanwhile
		return notRun(err)
	case "", holdfast.CodeInternal, holdfast.CodeUnauthenticated, holdfast.CodeForbidden, holdfast.CodeUnavailable, holdfast.CodeExhausted:
	}
	return err
}

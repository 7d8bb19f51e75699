package commvault

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// actionReply is the answer to a job action, whether it was done or not: the
// status is 200 either way, and clients look for the key.
type actionReply struct {
	Errors []actionErrors `json:"errors"`
}

type actionErrors struct {
	ErrList []actionError `json:"errList"`
}

type actionError struct {
	Code    int64  `json:"errorCode"`
	Message string `json:"errLogMessage"`
}

func replyToAction(code int64, message string) actionReply {
	return actionReply{[]actionErrors{{[]actionError{{code, message}}}}}
}

// actionFailure is the answer to an action that was not done. Failures that are
// not about the job or the caller's rights stay what they are.
func actionFailure(err error) (any, error) {
	switch holdfast.ErrorCode(err) {
	case holdfast.CodeConflict, holdfast.CodeInvalid:
		return replyToAction(codeAction, textOf(err)), nil
	case holdfast.CodeNotFound:
		return replyToAction(codeNotFound, textOf(err)), nil
	case holdfast.CodeForbidden:
		return replyToAction(codeForbidden, textOf(err)), nil
	case "", holdfast.CodeInternal, holdfast.CodeUnauthenticated, holdfast.CodeUnavailable, holdfast.CodeExhausted:
	}
	return nil, err
}

// notNow says that a job's status is against an action.
func notNow(e holdfast.Execution, status string) actionReply {
	return replyToAction(codeAction, fmt.Sprintf("job %d is %s and does not take this action", e.ID, status))
}

// kill ends a job that has not ended.
func (h *handler) kill(ctx context.Context, c call) (any, error) {
	return h.act(ctx, c, h.Service.Kill, func(string) bool { return true })
}

// pause suspends a job that waits or runs.
func (h *handler) pause(ctx context.Context, c call) (any, error) {
	return h.act(ctx, c, h.Service.Suspend, takesPause)
}

// resume lets a suspended job go on. One that is Pending goes on by itself.
func (h *handler) resume(ctx context.Context, c call) (any, error) {
	return h.act(ctx, c, h.Service.Resume, takesResume)
}

// takesPause reports whether a job with the status, which has not ended, takes
// pause. Source: docs/api/commvault.md, "Job actions".
func takesPause(status string) bool { return status != statusSuspended && status != statusKillPending }

// takesResume is takesPause for resume.
func takesResume(status string) bool {
	return slices.Contains([]string{statusSuspended, statusSuspendPending, statusPending}, status)
}

// act does what a job action asks for, when the job's status allows it.
func (h *handler) act(
	ctx context.Context, c call, do func(context.Context, holdfast.Actor, holdfast.ExecutionID) (holdfast.Execution, error),
	takes func(status string) bool,
) (any, error) {
	e, err := h.jobOfPath(ctx, c)
	if err != nil {
		return actionFailure(err)
	}
	status := statusOfJob(e, h.Now())
	if e.State == holdfast.StateEnded || !takes(status) {
		return notNow(e, status), nil
	}
	_, err = do(ctx, c.actor, e.ID)
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeConflict:
		return notNow(e, status), nil
	case err != nil:
		return actionFailure(err)
	}
	return replyToAction(0, ""), nil
}

// resubmit runs a finished job's subclient, or its restore, once more. The request
// of the first task is not kept again: it may name what this caller does not see.
func (h *handler) resubmit(ctx context.Context, c call) (any, error) {
	e, err := h.jobOfPath(ctx, c)
	if err != nil {
		return actionFailure(err)
	}
	if e.State != holdfast.StateEnded {
		return notNow(e, statusOfJob(e, h.Now())), nil
	}
	suspended, err := flagOf(c.query.get("startInSuspendedState"))
	if err != nil {
		return actionFailure(invalid("the parameter startInSuspendedState is neither true nor false"))
	}
	sub, list, err := h.Service.ExecuteAll(ctx, c.actor, service.Submit{
		Runs:           []service.Run{{Job: e.Job, RunType: e.RunAsked, IfBusy: service.Queue, Suspended: suspended.on}},
		IdempotencyKey: c.header.Get(idempotencyKey),
	})
	if err != nil {
		return actionFailure(err)
	}
	return replyOf(sub.ID, list...), nil
}

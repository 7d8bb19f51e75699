package bmcetl

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// The words of request_status.
const (
	statusOK    = "OK"
	statusError = "ERROR"
)

// ofService is the number that stands for the executions of a service: it has no
// end that could be waited for.
const ofService = -1

// answer is what run, schedule, stop and kill answer.
type answer struct {
	Execution int64  `json:"task_execution_request_id"`
	Status    string `json:"request_status"`
	Message   string `json:"message,omitempty"` // why it is refused
	Effect    string `json:"effect,omitempty"`  // "none": what was asked for is so already
}

func answerOf(a service.ETLAnswer) answer {
	out := answer{Execution: int64(a.Execution), Status: statusOK, Effect: a.Effect}
	if a.Service {
		out.Execution = ofService
	}
	if a.Refused != "" {
		out.Status, out.Message = statusError, a.Refused
	}
	return out
}

// properties is the member of a body that changes the properties of one
// execution.
const properties = "run_execution_properties"

// ask reads the ETL and the properties of a run. What is wrong with the body is
// told only of an ETL that the caller sees.
func (h *handler) ask(ctx context.Context, c *call) (service.RunETL, object, error) {
	id, err := c.etl()
	if err != nil {
		return service.RunETL{}, nil, err
	}
	in := service.RunETL{Job: id, IdempotencyKey: c.request.Header.Get("Idempotency-Key")}
	body, err := h.object(c, maxSmall)
	if err != nil {
		return in, nil, h.ofETL(ctx, c, id, err)
	}
	given, err := body.member(properties)
	if err != nil {
		return in, nil, h.ofETL(ctx, c, id, err)
	}
	change, err := readChange(properties, given)
	if err == nil && len(given) > holdfast.MaxProperties {
		err = holdfast.Errorf(holdfast.CodeInvalid, "%s has %d properties", properties, len(given)).WithHint("use at most %d", holdfast.MaxProperties)
	}
	if err != nil {
		return in, nil, h.ofETL(ctx, c, id, err)
	}
	in.Properties, in.Removed = change.set, change.remove
	return in, body, nil
}

// ofETL returns what is wrong with a request about one ETL, unless the caller does not
// see the ETL: then that is what is wrong. What is no fault of the request is returned
// as it is.
func (h *handler) ofETL(ctx context.Context, c *call, id holdfast.JobID, err error) error {
	if _, ok := errors.AsType[*failure](err); !ok && statusOf(holdfast.ErrorCode(err)) >= http.StatusInternalServerError {
		return err
	}
	st, unseen := h.Service.ETLStatus(ctx, c.actor, id)
	if unseen != nil {
		return noETL(unseen)
	}
	c.concern(st.Job)
	return err
}

// concern remembers which number errors about the ETL answer with.
func (c *call) concern(j holdfast.Job) {
	if j.ETL.Service {
		c.concerns = ofService
	}
}

func (h *handler) run(ctx context.Context, c *call) error {
	in, _, err := h.ask(ctx, c)
	if err != nil {
		return err
	}
	a, err := h.Service.RunETL(ctx, c.actor, in)
	return h.answer(ctx, c, in, a, err)
}

func (h *handler) schedule(ctx context.Context, c *call) error {
	in, body, err := h.ask(ctx, c)
	if err != nil {
		return err
	}
	when := service.ScheduleETL{RunETL: in}
	if when.At, err = readTime(body, "at"); err == nil {
		when.Period, err = readPeriod(body, "period_sec")
	}
	if err != nil {
		return h.ofETL(ctx, c, in.Job, err)
	}
	a, err := h.Service.ScheduleETL(ctx, c.actor, when)
	return h.answer(ctx, c, in, a, err)
}

// stop and kill take any body, and read none.
func (h *handler) stop(ctx context.Context, c *call) error {
	return h.end(ctx, c, h.Service.StopETL)
}

func (h *handler) kill(ctx context.Context, c *call) error {
	return h.end(ctx, c, h.Service.KillETL)
}

func (h *handler) end(
	ctx context.Context, c *call, do func(context.Context, holdfast.Actor, holdfast.JobID) (service.ETLAnswer, error),
) error {
	id, err := c.etl()
	if err != nil {
		return err
	}
	a, err := do(ctx, c.actor, id)
	return h.answer(ctx, c, service.RunETL{Job: id}, a, err)
}

// answer writes what the service has answered.
func (h *handler) answer(ctx context.Context, c *call, in service.RunETL, a service.ETLAnswer, err error) error {
	switch {
	case err == nil:
		writeJSON(c.w, http.StatusOK, answerOf(a))
		return nil
	case holdfast.ErrorCode(err) == holdfast.CodeConflict && in.IdempotencyKey != "":
		f := failureOf(err)
		f.Status = http.StatusUnprocessableEntity
		err = f
	}
	return h.ofETL(ctx, c, in.Job, err)
}

// readTime reads a member in RFC 3339; zero when it is missing.
func readTime(o object, name string) (time.Time, error) {
	text, err := o.text(name, false)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(text))
	if err != nil {
		return time.Time{}, holdfast.Errorf(holdfast.CodeInvalid, "%s %q is not a time", name, clip(text)).WithHint("use RFC 3339, such as 2026-03-01T02:30:00Z")
	}
	if t.Year() < firstYear {
		return time.Time{}, holdfast.Errorf(holdfast.CodeInvalid, "%s %s is out of range", name, clip(text)).WithHint("name a time from %d on", firstYear)
	}
	return t, nil
}

// firstYear bounds times: the zero value of one would seem to say nothing.
const firstYear = 1971

// readPeriod reads a member in whole seconds; zero when it is missing.
func readPeriod(o object, name string) (time.Duration, error) {
	text, err := o.text(name, false)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > int64(holdfast.MaxPeriod/time.Second) {
		return 0, holdfast.Errorf(holdfast.CodeInvalid, "%s %s is out of range", name, clip(text)).
			WithHint("use whole seconds, from 1 to %d", int64(holdfast.MaxPeriod/time.Second))
	}
	return time.Duration(n) * time.Second, nil
}

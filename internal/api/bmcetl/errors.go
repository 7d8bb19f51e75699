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

// The documented messages.
const (
	textNoETL = "ETL not found"
	textFault = "Error"
)

// failure is an answer that is no success.
type failure struct {
	Status  int
	Message string
	Hint    string
	// Allow are the methods that the path takes; nil unless the method is the
	// fault.
	Allow []string
	// Retry is how long to wait; 0: nothing is said about it.
	Retry time.Duration
	Err   error // the cause, for the log
}

// Error returns the message.
func (f *failure) Error() string { return f.Message }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.Err }

// retryAfter is what CodeUnavailable tells clients to wait.
const retryAfter = 5 * time.Second

// statusOf is the code table. Source: docs/api/bmc.md, "Errors".
func statusOf(c holdfast.Code) int {
	switch c {
	case holdfast.CodeInvalid, holdfast.CodeNotFound: // documented: 400 "ETL not found"
		return http.StatusBadRequest
	case holdfast.CodeUnauthenticated:
		return http.StatusUnauthorized
	case holdfast.CodeForbidden:
		return http.StatusForbidden
	case holdfast.CodeConflict:
		return http.StatusConflict
	case holdfast.CodeUnavailable:
		return http.StatusServiceUnavailable
	case holdfast.CodeExhausted:
		return http.StatusInsufficientStorage
	case holdfast.CodeInternal:
	}
	return http.StatusInternalServerError
}

// failureOf translates an error.
func failureOf(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if why, ok := errors.AsType[*service.LoginError](err); ok && why.Locked {
		return &failure{
			Status: http.StatusTooManyRequests, Message: "too many log-ins have failed", Hint: "wait, then log in with the right secret",
			Retry: why.Remaining, Err: err,
		}
	}
	f := &failure{Status: statusOf(holdfast.ErrorCode(err)), Message: holdfast.ErrorMessage(err), Hint: holdfast.ErrorHint(err), Err: err}
	switch holdfast.ErrorCode(err) {
	case holdfast.CodeInternal:
		f.Message, f.Hint = textFault, "look in the server's log for the correlation_id"
	case holdfast.CodeUnavailable:
		f.Retry = retryAfter
	case holdfast.CodeInvalid, holdfast.CodeUnauthenticated, holdfast.CodeForbidden, holdfast.CodeNotFound, holdfast.CodeConflict,
		holdfast.CodeExhausted:
	}
	return f
}

// noETL gives what the caller may not see, and what does not exist, the same
// words.
func noETL(err error) error {
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return errNoETL()
	}
	return err
}

// requestIDHeader names the request. Whoever calls the dialect has set it on the
// response before.
const requestIDHeader = "X-Request-Id"

// failureBody is the JSON of a failure. A script that reads only the fields of a
// success finds an error in them, too.
type failureBody struct {
	Execution   *int64 `json:"task_execution_request_id,omitempty"`
	Status      string `json:"request_status"`
	Message     string `json:"message"`
	Hint        string `json:"hint,omitempty"`
	Correlation string `json:"correlation_id,omitempty"`
}

// writeError answers with err, and logs what the client does not get to see.
func (h *handler) writeError(ctx context.Context, c *call, err error) {
	if context.Cause(ctx) != nil && holdfast.ErrorCode(err) == holdfast.CodeInternal {
		if _, ok := errors.AsType[*failure](err); !ok {
			err = holdfast.Wrap(holdfast.CodeUnavailable, err, "the call took too long").WithHint("try again")
		}
	}
	f := failureOf(err)
	head := c.w.Header()
	b := failureBody{Status: statusError, Message: f.Message, Hint: f.Hint}
	switch f.Status {
	case http.StatusInternalServerError, http.StatusInsufficientStorage:
		b.Correlation = head.Get(requestIDHeader)
		h.Log.ErrorContext(ctx, "call failed", "request", b.Correlation, "error", err)
	case http.StatusServiceUnavailable:
		h.Log.InfoContext(ctx, "call not served", "request", head.Get(requestIDHeader), "error", err)
	case http.StatusUnauthorized:
		head.Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	}
	if f.Retry > 0 {
		head.Set("Retry-After", strconv.FormatInt(max(1, int64((f.Retry+time.Second-1)/time.Second)), 10))
	}
	if len(f.Allow) > 0 {
		head.Set("Allow", strings.Join(f.Allow, ", "))
	}
	k := plain
	if c.route != nil {
		k = c.route.kind
	}
	switch k {
	case older:
		writeXMLError(c, f)
		return
	case numbered:
		b.Execution = &c.concerns
	case plain:
	}
	writeJSON(c.w, f.Status, b)
}

// clip shortens what anybody may send.
func clip(s string) string {
	const most = 64
	r := []rune(strings.ToValidUTF8(s, "?"))
	if len(r) > most {
		return string(r[:most]) + "…"
	}
	return string(r)
}

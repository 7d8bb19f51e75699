package baas

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// Failure is an answer that is no success.
type Failure struct {
	Status  int
	Code    string
	Message string
	Hint    string
	// Available are the operations that the resource takes now; nil except for a
	// conflict.
	Available []string
	// Execution is the execution that stands in the way, or zero.
	Execution holdfast.ExecutionID
	// Allow are the methods that the path takes; nil unless the method is the
	// fault.
	Allow []string
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// retryAfter is what CodeUnavailable tells clients to wait, in seconds.
const retryAfter = "5"

// statusOf is the code table. Source: docs/api/enterprise.md, "Errors".
func statusOf(c holdfast.Code) (status int, code string) {
	switch c {
	case holdfast.CodeInvalid:
		return http.StatusBadRequest, "BAD_USER_INPUT"
	case holdfast.CodeUnauthenticated:
		return http.StatusUnauthorized, "UNAUTHORIZED"
	case holdfast.CodeForbidden:
		return http.StatusForbidden, "FORBIDDEN"
	case holdfast.CodeNotFound:
		return http.StatusNotFound, "NOT_FOUND"
	case holdfast.CodeConflict:
		return http.StatusConflict, "OPERATION_NOT_AVAILABLE"
	case holdfast.CodeUnavailable:
		return http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE"
	case holdfast.CodeExhausted:
		return http.StatusInsufficientStorage, "INSUFFICIENT_STORAGE"
	case holdfast.CodeInternal:
	}
	return http.StatusInternalServerError, "INTERNAL_SERVER_ERROR"
}

// FailureOf translates an error.
func FailureOf(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	status, code := statusOf(holdfast.ErrorCode(err))
	f := &Failure{Status: status, Code: code, Message: holdfast.ErrorMessage(err), Hint: holdfast.ErrorHint(err)}
	if status == http.StatusConflict {
		f.Available = []string{}
	}
	if status == http.StatusInternalServerError {
		f.Hint = "look in the server's log for the request_id"
	}
	if e, ok := errors.AsType[*holdfast.Error](err); ok {
		f.Execution = e.Execution
	}
	return f
}

// Offer is FailureOf; when err is a conflict, the answer names the operations
// that are available instead.
func Offer(err error, operations ...string) *Failure {
	f := *FailureOf(err)
	if f.Status == http.StatusConflict && operations != nil {
		f.Available = operations
	}
	return &f
}

// unavailable is the answer to what a resource does not take now, or does not
// take at all; operations are what it takes instead.
func unavailable(msg, hint string, operations ...string) *Failure {
	f := FailureOf(holdfast.Errorf(holdfast.CodeConflict, "%s", msg).WithHint("%s", hint))
	if operations != nil {
		f.Available = operations
	}
	return f
}

// WrongMethod is the answer to a method that a path does not take. An empty hint
// names those that it takes.
func WrongMethod(method string, allow []string, hint string) *Failure {
	if hint == "" {
		hint = "use " + strings.Join(allow, ", ")
	}
	return &Failure{
		Status: http.StatusMethodNotAllowed, Code: "METHOD_NOT_ALLOWED", Allow: allow, Hint: hint,
		Message: "the method " + method + " is not allowed here",
	}
}

// tooLarge is the answer to a body beyond the limit.
func tooLarge() *Failure {
	return &Failure{
		Status: http.StatusRequestEntityTooLarge, Code: "PAYLOAD_TOO_LARGE",
		Message: "the body is too large", Hint: "send at most " + strconv.Itoa(maxBody) + " bytes",
	}
}

// body is the JSON of a Failure: the message stands twice because sibling
// services name it differently.
type body struct {
	Code      string  `json:"code"`
	Message   string  `json:"message"`
	Error     string  `json:"error"`
	Details   details `json:"details"`
	RequestID string  `json:"request_id"`
}

type details struct {
	Hint      string   `json:"hint,omitempty"`
	Available []string `json:"availableOperations,omitzero"`
	Execution string   `json:"execution_id,omitempty"`
}

// RequestIDHeader names the request. Whoever calls a dialect has set it on the
// response before.
const RequestIDHeader = "X-Request-Id"

// writeError answers with err, and logs what the client does not get to see.
func (h *handler) writeError(ctx context.Context, w http.ResponseWriter, err error) {
	if cause := context.Cause(ctx); cause != nil && holdfast.ErrorCode(err) == holdfast.CodeInternal {
		err = holdfast.Wrap(holdfast.CodeUnavailable, err, "the call took too long").WithHint("try again")
	}
	f := FailureOf(err)
	header := w.Header()
	id := header.Get(RequestIDHeader)
	switch f.Status {
	case http.StatusInternalServerError, http.StatusInsufficientStorage:
		h.Log.ErrorContext(ctx, "call failed", "request", id, "error", err)
	case http.StatusServiceUnavailable:
		h.Log.InfoContext(ctx, "call not served", "request", id, "error", err)
		header.Set("Retry-After", retryAfter)
	case http.StatusUnauthorized:
		for _, challenge := range h.Dialect.Challenges {
			header.Add("WWW-Authenticate", challenge)
		}
	}
	if len(f.Allow) > 0 {
		header.Set("Allow", strings.Join(f.Allow, ", "))
	}
	b := body{
		Code: f.Code, Message: f.Message, Error: f.Message, RequestID: id,
		Details: details{Hint: f.Hint, Available: f.Available},
	}
	if f.Execution != 0 {
		b.Details.Execution = ID(f.Execution)
		header.Set(ResourceHeader, ID(f.Execution))
	}
	writeJSON(w, f.Status, b)
}

package commvault

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// Error codes are subsystem << 24 | n. Subsystem 35 is Commvault's own for jobs;
// those numbers are documented (docs/api/commvault.md, "Errors").
const (
	codeAccessDenied  = 5                   // documented: a token that is missing, unknown, expired or logged out
	codeExists        = 3                   // documented: the name is taken
	codeNoBackupRight = jobSubsystem | 462  // 587203022, documented
	codeNotRun        = jobSubsystem | 1433 // 587203993, documented: well formed, but senseless
	codeNoInPlace     = jobSubsystem | 1481 // 587204041, documented
	codeNoEligible    = jobSubsystem | 4618 // 587207178, documented
	jobSubsystem      = 35 << 24            // documented
	ownSubsystem      = 120 << 24           // ours: Commvault publishes none beyond 114
	codeInvalid       = ownSubsystem | 1    // ours, as all that follow
	codeForbidden     = ownSubsystem | 2
	codeNotFound      = ownSubsystem | 3
	codeConflict      = ownSubsystem | 4
	codeUnavailable   = ownSubsystem | 5
	codeExhausted     = ownSubsystem | 6
	codeInternal      = ownSubsystem | 7
	codeMethod        = ownSubsystem | 8
	codeTooLarge      = ownSubsystem | 9
	codeLogin         = ownSubsystem | 10 // wrong credentials
	codeLocked        = ownSubsystem | 11 // the account takes no log-in for a while
	codeRenew         = ownSubsystem | 12 // a token that cannot be renewed
	codeNotOffered    = ownSubsystem | 13 // a change that is made elsewhere
	codeAction        = ownSubsystem | 14 // the job does not take the action now
)

// The documented texts.
const (
	textAccessDenied = "Access Denied"
	textBadBody      = "Request body is empty or format is invalid"
	textNoEligible   = "Failed to start backups as no eligible subclients were found. " // with its blank
	textNotRun       = "Failed to run task."
)

// Failure is an answer that is no success.
type Failure struct {
	Status  int
	Code    int64
	Message string
	// Reason says why where the documented message is a fixed text.
	Reason string
	// Response is the member response of calls that answer with one.
	Response any
	// Allow are the methods that the path takes; nil unless the method is the
	// fault.
	Allow []string
	// Err is the cause, for the log.
	Err error
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// badBody is the answer to a body that is empty, is not what it should be, or
// lacks what it needs: documented as a bare JSON string.
func badBody() error {
	return &Failure{Status: http.StatusBadRequest, Code: codeInvalid, Message: textBadBody}
}

// invalid is the answer to a request whose path or query makes no sense.
func invalid(format string, args ...any) error {
	return holdfast.Errorf(holdfast.CodeInvalid, format, args...)
}

// unknown is the answer for what does not exist or the caller may not see.
func unknown(what string, id int64) error {
	return holdfast.Errorf(holdfast.CodeNotFound, "%s %d does not exist", what, id)
}

// statusOf is the code table. Source: docs/api/commvault.md, "Errors".
func statusOf(c holdfast.Code) (status int, code int64) {
	switch c {
	case holdfast.CodeInvalid:
		return http.StatusBadRequest, codeInvalid
	case holdfast.CodeUnauthenticated:
		return http.StatusUnauthorized, codeAccessDenied
	case holdfast.CodeForbidden:
		return http.StatusForbidden, codeForbidden
	case holdfast.CodeNotFound:
		return http.StatusNotFound, codeNotFound
	case holdfast.CodeConflict:
		return http.StatusConflict, codeConflict
	case holdfast.CodeUnavailable:
		return http.StatusServiceUnavailable, codeUnavailable
	case holdfast.CodeExhausted:
		return http.StatusInsufficientStorage, codeExhausted
	case holdfast.CodeInternal:
	}
	return http.StatusInternalServerError, codeInternal
}

// failureOf translates an error. The clients show one text, so the hint follows
// the message.
func failureOf(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	status, code := statusOf(holdfast.ErrorCode(err))
	f := &Failure{Status: status, Code: code, Message: textOf(err), Err: err}
	if status == http.StatusUnauthorized {
		f.Message = textAccessDenied
	}
	return f
}

// textOf is what a client may be told about err.
func textOf(err error) string {
	text := holdfast.ErrorMessage(err)
	if hint := holdfast.ErrorHint(err); hint != "" {
		text += ": " + hint
	}
	return text
}

// retryAfter is what CodeUnavailable tells clients to wait, in seconds.
const retryAfter = "5"

// requestIDHeader names the request. Whoever calls the dialect has set it on the
// response before.
const requestIDHeader = "X-Request-Id"

// writeError answers with err, and logs what the client does not get to see.
func writeError(ctx context.Context, w http.ResponseWriter, log *slog.Logger, err error) {
	if cause := context.Cause(ctx); cause != nil && holdfast.ErrorCode(err) == holdfast.CodeInternal {
		if _, ok := errors.AsType[*Failure](err); !ok {
			err = holdfast.Wrap(holdfast.CodeUnavailable, err, "the call took too long").WithHint("try again")
		}
	}
	f := failureOf(err)
	h := w.Header()
	id := h.Get(requestIDHeader)
	switch {
	case f.Code == codeInternal || f.Code == codeExhausted:
		log.ErrorContext(ctx, "call failed", "request", id, "error", err)
	case f.Code == codeUnavailable:
		log.InfoContext(ctx, "call not served", "request", id, "error", err)
		h.Set("Retry-After", retryAfter)
	case f.Status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	}
	if len(f.Allow) > 0 {
		h.Set("Allow", strings.Join(f.Allow, ", "))
	}
	if f.Status == http.StatusBadRequest && f.Message == textBadBody {
		writeJSON(w, f.Status, f.Message)
		return
	}
	message := f.Message
	if f.Code == codeInternal {
		message += ": look in the server's log for the request " + strconv.Quote(id)
	}
	writeJSON(w, f.Status, failureBody{message, f.Code, f.Reason, f.Response})
}

// failureBody is the JSON of a Failure, in the order in which it is printed.
type failureBody struct {
	Message  string `json:"errorMessage"`
	Code     int64  `json:"errorCode"`
	Reason   string `json:"reason,omitempty"`
	Response any    `json:"response,omitempty"`
}

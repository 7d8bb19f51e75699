package holdfast

import (
	"errors"
	"fmt"
)

// Code is a way to react to a failure.
type Code string

// The codes. A dialect maps each to its own wire form in its errors.go.
const (
	CodeInternal        Code = "internal"        // our fault; no detail is shown
	CodeInvalid         Code = "invalid"         // fix the request
	CodeUnauthenticated Code = "unauthenticated" // say who you are
	CodeForbidden       Code = "forbidden"       // seen, but not allowed
	CodeNotFound        Code = "not_found"       // none that this caller may see
	CodeConflict        Code = "conflict"        // read again, then decide
	CodeUnavailable     Code = "unavailable"     // the same call may succeed later
	CodeExhausted       Code = "exhausted"       // storage is full: make room, then call again
)

// Error is a failure in the domain's terms.
type Error struct {
	Code Code
	Msg  string // what failed; shown to the client
	Hint string // what to do about it; may be empty
	Err  error  // the cause; logged, never shown

	// Execution is the execution that stands in the way of a conflicting
	// request, or zero.
	Execution ExecutionID
}

// Error returns everything that is known, for logs.
func (e *Error) Error() string {
	s := e.Msg
	if s == "" {
		s = string(e.Code)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// WithHint returns a copy of e that tells the reader what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Errorf returns an Error with the code and a message for the client.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// Wrap returns an Error with the code, a message for the client, and err as the
// cause that only the log sees.
func Wrap(code Code, err error, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...), Err: err}
}

// ErrorCode returns the code of the outermost Error in err's tree, CodeInternal
// for any other error, and "" for nil.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Code != "" {
		return e.Code
	}
	return CodeInternal
}

// ErrorMessage returns what a client may be told about err.
func ErrorMessage(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && ErrorCode(e) != CodeInternal && e.Msg != "" {
		return e.Msg
	}
	return "internal error"
}

// ErrorHint returns what a client may be told to do about err; it may be empty.
func ErrorHint(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}

package native

import (
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast-backup/holdfast"
)

// Problem is the body of every error: problem details (RFC 9457), with our code
// and hint.
type Problem struct {
	Title  string        `json:"title" doc:"The status in words"`
	Status int           `json:"status" doc:"The HTTP status"`
	Code   holdfast.Code `json:"code" enum:"internal,invalid,unauthenticated,forbidden,not_found,conflict,unavailable,exhausted" doc:"How to react"`
	Detail string        `json:"detail" doc:"What failed"`
	Hint   string        `json:"hint,omitempty" doc:"What to do about it"`
	// Execution stands in the way of a request that conflicts.
	Execution holdfast.ExecutionID `json:"execution,omitempty" doc:"The execution that keeps a job busy"`
	Errors    []FieldError         `json:"errors,omitempty" doc:"What is wrong with the request, by field"`
}

// FieldError is one fault of a request. It never repeats the value, which may be
// a secret.
type FieldError struct {
	Location string `json:"location,omitempty" doc:"Where: body.worker.slots"`
	Message  string `json:"message"`
}

// Error returns what failed.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType returns the content type of problem details.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

func status(c holdfast.Code) int {
	switch c {
	case holdfast.CodeInvalid:
		return http.StatusBadRequest
	case holdfast.CodeUnauthenticated:
		return http.StatusUnauthorized
	case holdfast.CodeForbidden:
		return http.StatusForbidden
	case holdfast.CodeNotFound:
		return http.StatusNotFound
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

// problemOf translates an error of the service.
func problemOf(err error) *Problem {
	code := holdfast.ErrorCode(err)
	p := &Problem{
		Title: http.StatusText(status(code)), Status: status(code), Code: code,
		Detail: holdfast.ErrorMessage(err), Hint: holdfast.ErrorHint(err),
	}
	if e, ok := errors.AsType[*holdfast.Error](err); ok {
		p.Execution = e.Execution
	}
	return p
}

// problemOfModel translates what huma found wrong with a request.
func problemOfModel(m *huma.ErrorModel) *Problem {
	p := &Problem{Title: m.Title, Status: m.Status, Detail: m.Detail}
	switch {
	case m.Status == http.StatusRequestTimeout:
		p.Code = holdfast.CodeUnavailable
	case m.Status >= http.StatusInternalServerError:
		p.Code, p.Detail = holdfast.CodeInternal, "internal error"
		return p
	default:
		p.Code, p.Hint = holdfast.CodeInvalid, "see /api/v1/openapi.json"
	}
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, FieldError{Location: e.Location, Message: withoutValue(e.Message)})
	}
	if len(p.Errors) > 0 {
		first := p.Errors[0]
		p.Detail += ": " + first.Message
		if first.Location != "" {
			p.Detail += " (" + first.Location + ")"
		}
	}
	return p
}

// withoutValue replaces what the decoder says of a number that does not fit: it
// repeats the number, and names our types.
func withoutValue(message string) string {
	_, rest, found := strings.Cut(message, "json: cannot unmarshal ")
	if !found {
		return message
	}
	kind, rest, _ := strings.Cut(rest, " ")
	if _, field, ok := strings.Cut(rest, "Go struct field "); ok {
		field, _, _ = strings.Cut(field, " ")
		_, field, _ = strings.Cut(field, ".") // our type's name comes first
		return "a " + kind + " does not fit " + field
	}
	return "a " + kind + " does not fit here"
}

// hideValues replaces huma's errors, which repeat what was sent, by problems.
func hideValues(_ huma.Context, _ string, v any) (any, error) {
	if m, ok := v.(*huma.ErrorModel); ok {
		return problemOfModel(m), nil
	}
	return v, nil
}

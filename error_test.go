package holdfast_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

var errCause = errors.New("dial tcp 10.0.0.7: refused")

func TestErrorsTellClientsAndLogsDifferentThings(t *testing.T) {
	for _, c := range []struct {
		name               string
		err                error
		code               holdfast.Code
		message, hint, log string
	}{
		{"nil", nil, "", "internal error", "", ""},
		{"foreign", errCause, holdfast.CodeInternal, "internal error", "", "dial tcp 10.0.0.7: refused"},
		{
			"plain", holdfast.Errorf(holdfast.CodeInvalid, "page %d is too large", 7).WithHint("use at most %d", 5),
			holdfast.CodeInvalid, "page 7 is too large", "use at most 5", "page 7 is too large",
		},
		{
			"with a cause", holdfast.Wrap(holdfast.CodeUnavailable, errCause, "the site does not answer"),
			holdfast.CodeUnavailable, "the site does not answer", "", "the site does not answer: dial tcp 10.0.0.7: refused",
		},
		{
			"wrapped again", fmt.Errorf("test site: %w", holdfast.Errorf(holdfast.CodeConflict, "the job is busy").WithHint("wait")),
			holdfast.CodeConflict, "the job is busy", "wait", "test site: the job is busy",
		},
		{
			"joined", errors.Join(errCause, holdfast.Errorf(holdfast.CodeNotFound, "no such site")),
			holdfast.CodeNotFound, "no such site", "", "dial tcp 10.0.0.7: refused\nno such site",
		},
		{
			"the outermost decides", holdfast.Wrap(holdfast.CodeForbidden, holdfast.Errorf(holdfast.CodeNotFound, "inner"), "outer"),
			holdfast.CodeForbidden, "outer", "", "outer: inner",
		},
		{
			"an internal one shows nothing", holdfast.Wrap(holdfast.CodeInternal, errCause, "SELECT secrets"),
			holdfast.CodeInternal, "internal error", "", "SELECT secrets: dial tcp 10.0.0.7: refused",
		},
		{"without words", &holdfast.Error{Code: holdfast.CodeForbidden}, holdfast.CodeForbidden, "internal error", "", "forbidden"},
		{"without a code", &holdfast.Error{}, holdfast.CodeInternal, "internal error", "", ""},
	} {
		if got := holdfast.ErrorCode(c.err); got != c.code {
			t.Errorf("%s: got code %q, want %q", c.name, got, c.code)
		}
		if got := holdfast.ErrorHint(c.err); got != c.hint {
			t.Errorf("%s: got hint %q, want %q", c.name, got, c.hint)
		}
		if got := holdfast.ErrorMessage(c.err); got != c.message {
			t.Errorf("%s: got message %q, want %q", c.name, got, c.message)
		}
		if c.err != nil && c.err.Error() != c.log {
			t.Errorf("%s: got %q for the log, want %q", c.name, c.err, c.log)
		}
	}
}

func TestErrorKeepsItsCause(t *testing.T) {
	if err := holdfast.Wrap(holdfast.CodeInternal, errCause, "x"); !errors.Is(err, errCause) {
		t.Errorf("%v does not hold its cause", err)
	}
}

func TestWithHintLeavesTheOriginal(t *testing.T) {
	e := holdfast.Errorf(holdfast.CodeConflict, "the job is busy")
	e.Execution = 1001
	hinted := e.WithHint("wait for %d", e.Execution)
	if e.Hint != "" {
		t.Errorf("the original has the hint %q", e.Hint)
	}
	if hinted.Hint != "wait for 1001" || hinted.Execution != 1001 || hinted.Code != holdfast.CodeConflict || hinted.Msg != e.Msg {
		t.Errorf("got %+v, want the original with a hint", hinted)
	}
}

package definition

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// maxFaults bounds how many faults one error tells of.
const maxFaults = 20

// Fault is what is wrong at one place of a definition's text.
type Fault struct {
	Line, Column int    // in lines and characters, from 1
	Path         string // extract[1].file.fields[0].type; empty for the text as a whole
	Text         string // what is wrong, and what to write instead
}

func (f Fault) String() string {
	if f.Path == "" {
		return fmt.Sprintf("line %d, column %d: %s", f.Line, f.Column, f.Text)
	}
	return fmt.Sprintf("line %d, column %d: %s: %s", f.Line, f.Column, f.Path, f.Text)
}

// Faults returns what is wrong with the text that [Parse] refused, in its order;
// at most 20. It is nil for other errors.
func Faults(err error) []Fault {
	if f, ok := errors.AsType[faults](err); ok {
		return f
	}
	return nil
}

// faults is the cause of the error that Parse returns, whose message has the text
// of each.
type faults []Fault

func (f faults) Error() string {
	if len(f) == 1 {
		return "1 fault"
	}
	return fmt.Sprintf("%d faults", len(f))
}

// invalid returns an error that tells of all faults, by place. They are not complete
// when they kept others from being looked for, which the hint says then.
func invalid(all []Fault, complete bool) error {
	slices.SortStableFunc(all, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	all = slices.Compact(all)
	shown := all[:min(len(all), maxFaults)]
	lines := make([]string, 0, len(shown)+1)
	for _, f := range shown {
		lines = append(lines, f.String())
	}
	if more := len(all) - len(shown); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	err := holdfast.Wrap(holdfast.CodeInvalid, faults(shown), "%s", strings.Join(lines, "\n"))
	if complete {
		return err
	}
	return err.WithHint("more faults may show when these are mended")
}

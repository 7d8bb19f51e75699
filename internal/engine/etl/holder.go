package etl

import (
	"encoding"
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// holder is an execution in a target's books. Its number alone does not say which it
// is: numbers come again when the control plane goes back to an older copy of its
// database, and what another execution has loaded is not what this one is to load.
type holder struct {
	execution holdfast.ExecutionID
	identity  string // empty: the execution was made by an earlier release
}

var (
	_ encoding.TextMarshaler   = holder{}
	_ encoding.TextUnmarshaler = (*holder)(nil)
)

func holderOf(req engine.ETL) holder { return holder{req.Execution, req.Identity} }

// String is the holder in names of files, and as a key in claims: 1001-k3ab…, or the
// number alone.
func (h holder) String() string {
	s := strconv.FormatInt(int64(h.execution), 10)
	if h.identity != "" {
		s += "-" + h.identity
	}
	return s
}

// MarshalText returns what String does.
func (h holder) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (h *holder) UnmarshalText(text []byte) error {
	number, identity, _ := strings.Cut(string(text), "-")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return fmt.Errorf("read an execution's number: %w", err)
	}
	*h = holder{holdfast.ExecutionID(n), identity}
	return nil
}

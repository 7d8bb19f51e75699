package session

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/holdfast-backup/holdfast"
)

// errCancelled is the answer to what was given up.
var errCancelled = holdfast.Errorf(holdfast.CodeConflict, "the request was given up")

// maxMessage bounds what the engine says of an error, in bytes: it may quote rows.
const maxMessage = 600

// hintLongRow goes by maxLine and linesInMemory.
const hintLongRow = "a row may have a sixteenth of resources.memory, and at most 64 MiB: raise that, or leave the long column out"

// explain makes an error of the engine one of the domain: most are faults of the SQL
// or of the rows, and their author can mend them.
func explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return errCancelled
	}
	e, ok := errors.AsType[*duckdb.Error](err)
	if !ok {
		return err
	}
	text := readable(e.Msg)
	is := func(types ...duckdb.ErrorType) bool { return slices.Contains(types, e.Type) }
	switch {
	case is(duckdb.ErrorTypeOutOfMemory):
		return holdfast.Wrap(holdfast.CodeExhausted, err, "the engine ran out of memory or of temporary space: %s", text).
			WithHint("raise resources.memory or resources.temp in the definition, or read less at once")
	case is(duckdb.ErrorTypeInternal, duckdb.ErrorTypeFatal, duckdb.ErrorTypeConnection):
		return err
	case is(duckdb.ErrorTypeIO) && strings.Contains(text, "No space left"):
		return holdfast.Wrap(holdfast.CodeExhausted, err, "the disk is full: %s", text).WithHint("make room on the worker")
	case strings.Contains(strings.ToLower(text), "maximum line size"):
		return holdfast.Wrap(holdfast.CodeInvalid, err, "a row is too long for the engine: %s", text).
			WithHint("%s", hintLongRow)
	case is(duckdb.ErrorTypePermission, duckdb.ErrorTypeInvalidConfiguration):
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s", text).
			WithHint("SQL in the engine reads the relations of its definition, and no files, networks or settings")
	}
	return holdfast.Wrap(holdfast.CodeInvalid, err, "%s", text)
}

// Parts of the engine's messages that show more than the fault: a whole row, and the
// statement that was made around the author's.
var (
	place       = regexp.MustCompile(`(?s)\n\s*\nLINE \d+:.*$`)
	readOptions = regexp.MustCompile(`(?s)\n\s*(Column .* is being converted as type|This type was|Possible (fixes|solutions)|Possible Solution|This limit was set by|You can adjust this setting).*$`)
	rawColumn   = regexp.MustCompile(`"([^"\n]*?)\.(?:\x{200b}file\.)?\d+\.([^"\n]*)"`)
)

// faults begin what the engine says behind a row, which may have several lines.
var faults = []string{
	"Error when converting column", "Maximum line size", "Value with unterminated quote", "Expected Number of Columns", "Invalid unicode",
	"The CSV Parser state machine",
}

// withoutRow takes out the row that a message quotes.
func withoutRow(msg string) string {
	before, row, ok := strings.Cut(msg, "Original Line:")
	if !ok {
		return msg
	}
	at := -1
	for _, f := range faults {
		at = max(at, strings.LastIndex(row, "\n"+f))
	}
	if at < 0 {
		return before + "the row cannot be read"
	}
	return before + row[at:]
}

// readable cuts a message to what its reader needs.
func readable(msg string) string {
	msg = withoutRow(msg)
	msg = place.ReplaceAllString(msg, "")
	msg = readOptions.ReplaceAllString(msg, "")
	msg = strings.ReplaceAll(msg, "Candidate bindings: :", "Candidate bindings:")
	msg = rawColumn.ReplaceAllString(msg, `"$2" of $1`)
	msg = strings.Join(strings.Fields(msg), " ")
	if len(msg) > maxMessage {
		msg = strings.ToValidUTF8(msg[:maxMessage], "") + "…"
	}
	return msg
}

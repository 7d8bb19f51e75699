package rows

import (
	"io"
)

// Format is how rows stand in a stream: [Binary], [CSV] or [JSON].
type Format interface {
	// reader reads rows with the columns, as their binary values.
	reader(r io.Reader, columns []Column) (source, error)
	// writer writes rows with the columns.
	writer(w io.Writer, columns []Column) (sink, error)
}

// source gives rows.
type source interface {
	// next returns the values of a row, good until the next call, nil for NULL. It
	// returns io.EOF behind the last, and a *badRow for a row that cannot be read,
	// behind which others may come.
	next() ([][]byte, error)
	// line is where the row of the last next begins, from 1.
	line() int64
	// raw returns that row as it came, or nil when its values say as much.
	raw() []byte
}

// sink takes rows.
type sink interface {
	write(values [][]byte) error
	// close ends the stream, with its trailer.
	close() error
}

// badRow is why a row goes no further.
type badRow struct {
	step   string // that refuses it; empty for others
	column string
	reason string
}

func (b *badRow) Error() string {
	if b.column == "" {
		return inStep(b.step, b.reason)
	}
	return inStep(b.step, "column "+b.column+": "+b.reason)
}

// inStep says in which step something went wrong.
func inStep(step, what string) string {
	if step == "" {
		return what
	}
	return step + ": " + what
}

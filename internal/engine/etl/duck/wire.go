package duck

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast"
)

// Protocol numbers what both sides speak. Both come from one build: a child that
// answers with another number is refused.
const Protocol = 4

// Limits of what passes between the processes.
const (
	MaxMessage  = 16 << 20 // bytes of a line
	MaxSQL      = 1 << 20  // bytes of a statement
	MaxName     = 63       // bytes of a relation's or a column's name, as in PostgreSQL
	MaxColumns  = 1600     // of a relation, as in PostgreSQL
	MaxFiles    = 64       // that one request hands over
	MaxSampled  = 1000     // rows that one answer holds
	MaxSampling = 1 << 10  // characters of a value in such an answer
)

// FilesFD is the child's descriptor of the socket by which files come to it.
const FilesFD = 3

// Request is one line from the parent. Exactly one of the fields behind Files is set.
type Request struct {
	ID uint64 `json:"id"` // not zero; chosen by the parent
	// Files is how many descriptors were sent for this request.
	Files int `json:"files,omitempty"`

	Open   *Open  `json:"open,omitempty"`   // the first request, once
	Cancel uint64 `json:"cancel,omitempty"` // id of a request to give up; both are answered
	Set    *Set   `json:"set,omitempty"`
	Input  *Input `json:"input,omitempty"`
	// Describe asks for the columns of Parquet files.
	Describe *Describe `json:"describe,omitempty"`
	Step     *Step     `json:"step,omitempty"`
	Assert   *Assert   `json:"assert,omitempty"`
	Output   *Output   `json:"output,omitempty"`
	Look     *Look     `json:"look,omitempty"`
	Reset    bool      `json:"reset,omitempty"` // forget every relation and parameter
}

// Open says what the child may take.
type Open struct {
	Memory  int64  `json:"memory"` // bytes, of the engine's buffers
	Temp    int64  `json:"temp"`   // bytes, of spill files
	Threads int    `json:"threads"`
	Dir     string `json:"dir"` // for spill files
	// Ordered: rows come out in the order in which they went in, or in that of ORDER BY,
	// as far as no join and no aggregation is between. It costs time.
	Ordered bool `json:"ordered,omitempty"`
}

// Set gives parameters their values: $name in SQL. Others keep theirs.
type Set struct {
	Parameters []Parameter `json:"parameters"`
}

// Parameter is a value that SQL knows as $Name.
type Parameter struct {
	Name  string  `json:"name"`
	Type  string  `json:"type"`  // PostgreSQL's: text, integer, bigint, numeric, boolean, date, timestamptz or uuid
	Value *string `json:"value"` // as text; nil is NULL
}

// Format is how rows stand in what is read or written.
type Format string

// The formats.
const (
	FormatCopy    Format = "copy" // PostgreSQL's COPY ... (format csv), through a pipe
	FormatCSV     Format = "csv"  // with a line of names, on the way out
	FormatParquet Format = "parquet"
	// FormatBinary is PostgreSQL's COPY ... (format binary), through a pipe; on the way in
	// of columns whose types [Binary] reports.
	FormatBinary Format = "binary"
)

// Input declares a relation that is read from a pipe or from files.
type Input struct {
	Relation string   `json:"relation"`
	Columns  []Column `json:"columns"`
	Format   Format   `json:"format"`
	Streamed bool     `json:"streamed,omitempty"`
	Append   bool     `json:"append,omitempty"` // to a kept relation of the same columns
	Names    []string `json:"names,omitempty"`  // of the files, for messages
}

// Describe asks for the columns of the Parquet files that come with the request, and
// their types in the engine.
type Describe struct {
	Names []string `json:"names"` // of the files, for messages
}

// Column is a column with its PostgreSQL type.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Step makes a relation by a SELECT.
type Step struct {
	Name     string `json:"name"`
	SQL      string `json:"sql"`
	Streamed bool   `json:"streamed,omitempty"`
}

// Assert asks for the one value that a SELECT returns.
type Assert struct {
	SQL string `json:"sql"`
}

// Output asks for the rows of a relation, in the file that comes with the request.
type Output struct {
	Relation string `json:"relation"`
	Format   Format `json:"format"`
}

// Look asks what a relation is. Columns are always answered.
type Look struct {
	Relation string `json:"relation"`
	Rows     int    `json:"rows,omitempty"`  // so many of the first
	Count    bool   `json:"count,omitempty"` // rows, and values of each column
}

// Response is one line from the child.
type Response struct {
	ID    uint64   `json:"id"`
	Error *Failure `json:"error,omitempty"`
	// Read names the streamed pipes that the request has read, or was reading when it
	// failed. Nobody else can read them.
	Read []string `json:"read,omitempty"`

	Opened  *Opened     `json:"opened,omitempty"`
	Rows    int64       `json:"rows,omitempty"`    // of a kept input or step, or of an output
	Value   *string     `json:"value,omitempty"`   // of an assertion; nil is NULL
	Columns []Column    `json:"columns,omitempty"` // of a look
	Sample  [][]*string `json:"sample,omitempty"`  // of a look; nil is NULL
	Counts  *Counts     `json:"counts,omitempty"`  // of a look
}

// Opened is what the child says of itself.
type Opened struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"` // of holdfast-etl
	DuckDB   string `json:"duckdb"`
}

// Counts are how much a relation holds.
type Counts struct {
	Rows   int64   `json:"rows"`
	Values []int64 `json:"values"` // of each column: those that are not NULL
}

// Failure is an error on its way to the parent.
type Failure struct {
	Code    holdfast.Code `json:"code"`
	Message string        `json:"message"`
	Hint    string        `json:"hint,omitempty"`
}

// Failed makes a Failure of an error. What is no error of the domain comes across
// with its whole text: the parent logs it, and shows none of it.
func Failed(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Code: holdfast.ErrorCode(err), Message: err.Error(), Hint: holdfast.ErrorHint(err)}
	if e, ok := errors.AsType[*holdfast.Error](err); ok && e.Msg != "" && f.Code != holdfast.CodeInternal {
		f.Message = e.Msg
	}
	return f
}

// err makes an error of a Failure.
func (f *Failure) err() error {
	if f == nil {
		return nil
	}
	code := f.Code
	if code != holdfast.CodeInvalid && code != holdfast.CodeExhausted && code != holdfast.CodeConflict && code != holdfast.CodeUnavailable {
		code = holdfast.CodeInternal // the child has no say about others
	}
	return &holdfast.Error{Code: code, Msg: clip(f.Message, maxText), Hint: clip(f.Hint, maxText)}
}

// maxText bounds a text of the child's that is shown, in bytes.
const maxText = 4 << 10

// Lines reads messages of at most [MaxMessage] bytes, one a line.
type Lines struct{ scan *bufio.Scanner }

// NewLines returns a reader of messages.
func NewLines(r io.Reader) *Lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), MaxMessage+1)
	return &Lines{scan: s}
}

// Next reads one message into v, strictly: a field that v lacks is an error, and so
// is a line that is too long. The end is io.EOF.
func (l *Lines) Next(v any) error {
	if !l.scan.Scan() {
		if err := l.scan.Err(); err != nil {
			return fmt.Errorf("read a message: %w", err)
		}
		return io.EOF
	}
	return decode(l.scan.Bytes(), v)
}

// WriteLine writes one message. Calls must not overlap.
func WriteLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	if len(line) > MaxMessage {
		return holdfast.Errorf(holdfast.CodeInvalid, "a message of %d bytes to or from the engine is over the limit of %d", len(line), MaxMessage).
			WithHint("ask for fewer rows")
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

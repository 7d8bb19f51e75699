package etl

import (
	"bufio"
	"context"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// maxReason bounds why a row was rejected, in bytes.
const maxReason = 1 << 10

// rejects keeps the rows of one unit that go no further, in a file: the session to
// the target is busy while they come. They go to a table in the unit's transaction.
type rejects struct {
	f       *flow
	extract definition.Extract
	on      definition.OnReject
	hides   bool     // row steps hash or mask a column, which the row as it came would show
	file    *os.File // nil: none came
	w       *bufio.Writer
	count   int64
	first   string // of the rows: which it is, and why it was rejected
	read    int64  // rows, in all
	before  counts // of the units before this one, which limits count, too
}

// newRejects returns nil when the first bad row is to fail the execution.
func (f *flow) newRejects(in *definition.Input) *rejects {
	r := &rejects{f: f, extract: in.Extract, before: f.before()}
	steps := in.RowSteps()
	for _, s := range steps {
		r.hides = r.hides || s.Hash != nil || s.Mask != nil
	}
	if in.Extract.OnReject != nil {
		r.on = *in.Extract.OnReject
		return r
	}
	for _, s := range steps {
		if s.Reject != nil { // it says that rows are to be rejected, and no limit
			return r
		}
	}
	return nil
}

// before is what limits of rejects count beside the unit at hand: what the execution
// has done before, and a service in its round. Of several extracts nothing: the flow
// counts them together, and those that are read whole are read in each unit.
func (f *flow) before() counts {
	if len(f.plan.Inputs) > 1 {
		return counts{}
	}
	c := counts{read: f.result.Read, rejected: f.result.Rejected}
	if f.roundStart != nil {
		c.read, c.rejected = c.read-f.roundStart.read, c.rejected-f.roundStart.rejected
	}
	return c
}

// of takes the rejects of one part.
func (r *rejects) of(part string) func(rows.Reject) error {
	if r == nil {
		return nil
	}
	return func(bad rows.Reject) error { return r.add(part, bad) }
}

func (r *rejects) add(part string, bad rows.Reject) (err error) {
	if r.count++; r.count == 1 {
		r.first = where(part, bad)
	}
	if r.on.MaxRows > 0 && r.before.rejected+r.count > r.on.MaxRows {
		text := "extract %s: more than %d rows were rejected; the last: %s"
		args := []any{r.extract.Name, r.on.MaxRows, where(part, bad)}
		if r.count > 1 {
			text, args = text+"; the first: %s", append(args, r.first)
		}
		return holdfast.Errorf(holdfast.CodeInvalid, text, args...).WithHint("mend the rows, or raise max_rows; nothing of this unit was loaded, and no reject table has these rows")
	}
	if r.file == nil {
		if r.file, err = r.f.e.tempFile(); err != nil {
			return err
		}
		r.w = bufio.NewWriterSize(r.file, 64<<10)
	}
	reason := bad.Reason
	if part != "" {
		reason = part + ": " + reason
	}
	raw, column := field(bad.Raw), field(bad.Column)
	if r.on.NoRaw || r.hides || bad.Raw == "" {
		raw = ""
	}
	if bad.Column == "" {
		column = ""
	}
	req := r.f.e.req
	line := strings.Join([]string{
		field(req.Installation), strconv.FormatInt(int64(req.Job), 10), field(req.JobName), field(r.f.plan.Load.Name),
		strconv.FormatInt(int64(req.Execution), 10), field(r.extract.Name), strconv.FormatInt(bad.Line, 10), column, field(clip(reason, maxReason)), raw,
	}, ",")
	if _, err = r.w.WriteString(line + "\n"); err != nil {
		return r.fileError(err)
	}
	return nil
}

// fileError says of the rejected rows' file what is wrong with its place: it has no
// name.
func (r *rejects) fileError(err error) error { return fileError(err, r.f.e.p.temp()) }

// field is a field of CSV; an empty one without quotes is NULL.
func field(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// where says which row it is, and what is wrong with it.
func where(part string, bad rows.Reject) string {
	s := "line " + strconv.FormatInt(bad.Line, 10)
	if part != "" {
		s = part + ", " + s
	}
	if bad.Column != "" {
		s += ", column " + bad.Column
	}
	return s + ": " + clip(bad.Reason, 200)
}

// store writes the rejects to their table, in the unit's transaction.
func (r *rejects) store(ctx context.Context, tx pgx.Tx) error {
	if r == nil || r.count == 0 {
		return nil
	}
	if err := r.limits(); err != nil {
		return err
	}
	into := "holdfast_etl.reject"
	if r.on.To != "" {
		name, err := definition.ParseTable(r.on.To)
		if err != nil {
			return holdfast.Wrap(holdfast.CodeInvalid, err, "extract %s: the reject table's name %s", r.extract.Name, err)
		}
		into = name.SQL()
		var missing bool
		if err := tx.QueryRow(ctx, "SELECT pg_catalog.to_regclass($1) IS NULL", into).Scan(&missing); err != nil {
			return queryError(err, "look for the reject table")
		}
		if missing {
			if _, err := tx.Exec(ctx, "CREATE TABLE "+into+" (LIKE holdfast_etl.reject INCLUDING ALL)"); err != nil {
				return queryError(err, "make the reject table "+r.on.To)
			}
		}
	}
	text, err := r.text()
	if err != nil {
		return err
	}
	_, err = tx.Conn().PgConn().CopyFrom(ctx, text, "COPY "+into+
		" (installation, job, job_name, flow, execution, extract, line, column_name, reason, raw) FROM STDIN (FORMAT csv)")
	if err != nil {
		return queryError(err, "write rejected rows to "+into)
	}
	r.f.noteRejects("table "+into, r.first)
	return nil
}

// rejectsSeen says where the rejected rows of a flow are, and which was the first.
type rejectsSeen struct{ in, first string }

// noteRejects keeps what the execution's warning says of the rejected rows.
func (f *flow) noteRejects(in, first string) {
	if f.rejected.in == "" {
		f.rejected = rejectsSeen{in, first}
	}
}

// warnRejects warns of rejected rows. What an earlier attempt has rejected is counted
// only.
func (f *flow) warnRejects(ctx context.Context) {
	if f.result.Rejected == 0 {
		return
	}
	attrs := []any{"flow", f.plan.Load.Name, "rows", f.result.Rejected}
	if f.rejected.in != "" {
		attrs = append(attrs, "in", f.rejected.in, "first", f.rejected.first)
	}
	f.e.warn(ctx, "rows were rejected", attrs...)
}

// limits checks how many there are.
func (r *rejects) limits() error {
	if r == nil || r.on.MaxRatio == 0 {
		return nil
	}
	count, read := r.before.rejected+r.count, r.before.read+r.read
	if float64(count) <= r.on.MaxRatio*float64(read) {
		return nil
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "extract %s: %d of %d rows were rejected, more than the share of %g; the first: %s", r.extract.Name, count, read, r.on.MaxRatio, r.first).
		WithHint("mend the rows, or raise max_ratio; nothing of this unit was loaded, and no reject table has these rows")
}

// text is the rejects, as CSV.
func (r *rejects) text() (io.Reader, error) {
	if err := r.w.Flush(); err != nil {
		return nil, r.fileError(err)
	}
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return nil, r.fileError(err)
	}
	return r.file, nil
}

// saw adds to the rows that were read.
func (r *rejects) saw(rows int64) {
	if r != nil {
		r.read += rows
	}
}

// close gives up the file, which has no name.
func (r *rejects) close() error {
	if r == nil || r.file == nil {
		return nil
	}
	return r.file.Close()
}

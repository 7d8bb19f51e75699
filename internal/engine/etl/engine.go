package etl

import (
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// needsEngine reports whether the flow needs the transform process: for its steps,
// or because it alone reads a file's format.
func (f *flow) needsEngine() bool {
	return len(f.plan.Engine) > 0 || slices.ContainsFunc(f.plan.Inputs, func(in definition.Input) bool {
		return in.Extract.File != nil && in.Extract.File.Format == definition.FormatParquet
	})
}

// engine returns the execution's transform process, without any relations.
func (e *execution) engine(ctx context.Context) (*duck.Client, error) {
	if e.child != nil && e.childUses >= e.recycleAfter() {
		e.closeEngine(ctx)
	}
	if e.child != nil {
		err := e.child.Reset(ctx)
		if err == nil {
			e.childUses++
			return e.child, nil
		}
		e.closeEngine(ctx) // what has died makes place for another
		if ctx.Err() != nil {
			return nil, err
		}
	}
	if e.p.duckBinary == "" {
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "this flow needs the program holdfast-etl, which the worker does not have").
			WithHint("put holdfast-etl beside the holdfast binary of the worker")
	}
	res := e.plan.Definition.Resources
	c, err := duck.Start(ctx, duck.Config{
		Binary: e.p.duckBinary, Memory: e.memory(ctx), Temp: int64(res.Temp), Threads: res.Threads, Ordered: e.ordered(),
		TempDir: e.p.temp(), Log: e.log,
	})
	if err != nil {
		return nil, err
	}
	e.child, e.childUses = c, 1
	return c, nil
}

// orderBy finds what may give rows an order. That of a window is taken for one, too.
var orderBy = regexp.MustCompile(`(?i)\border\s+by\b`)

// ordered reports whether the order of rows in the engine matters: the last of several
// rows with one key is the one that is loaded, and ORDER BY of a step holds for what
// reads it.
func (e *execution) ordered() bool {
	return slices.ContainsFunc(e.flows, func(f *flow) bool {
		return f.needsEngine() && (f.byKey() || slices.ContainsFunc(f.plan.Engine, func(s definition.Step) bool { return orderBy.MatchString(s.SQL) }))
	})
}

// recycleAfter is how many units one process serves: what glibc keeps after the
// engine has freed it returns with the process only.
func (e *execution) recycleAfter() int {
	if s := e.plan.Definition.Service; s != nil && s.RecycleAfter > 0 {
		return s.RecycleAfter
	}
	return 500
}

// closeEngine ends the process.
func (e *execution) closeEngine(ctx context.Context) {
	if e.child == nil {
		return
	}
	if err := e.child.Close(); err != nil {
		e.log.InfoContext(ctx, "files of the transform process are left", "error", err)
	}
	e.child = nil
}

// feeding is what streams into the engine while its result is drained.
type feeding struct {
	wg     sync.WaitGroup
	cancel context.CancelCauseFunc

	mu  sync.Mutex // guards the field below
	err error      // of what was sent; who read it has it, too
}

// add sends a relation.
func (s *feeding) add(run func() error) {
	s.wg.Go(func() {
		if err := run(); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err = errors.Join(s.err, err)
		}
	})
}

// wait returns when all has been sent.
func (s *feeding) wait() error {
	if s == nil {
		return nil
	}
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// stop gives up what still streams, and waits for it.
func (s *feeding) stop() {
	if s == nil {
		return
	}
	s.cancel(errors.New("the unit has ended"))
	s.wg.Wait()
}

// engineFeed has the engine compute the flow's result over what was read.
func (f *flow) engineFeed(ctx context.Context, w *work) (feed, error) {
	c, err := f.computed(ctx, w)
	if err != nil {
		return feed{}, err
	}
	return f.drainFeed(ctx, c)
}

// drainFeed is the feed of what the engine has computed.
func (f *flow) drainFeed(ctx context.Context, c *duck.Client) (feed, error) {
	result := f.engineResult()
	fields, err := c.Columns(ctx, result)
	if err != nil {
		return feed{}, err
	}
	columns, err := resultColumns(ctx, f.conn, fields)
	if err != nil {
		return feed{}, err
	}
	// Binary rows come from several threads of the engine, and so in any order.
	inBinary := !f.e.ordered() && !slices.ContainsFunc(fields, func(c duck.Column) bool { return !c.Binary() })
	return feed{columns: columns, format: csv, binary: inBinary, parts: []part{{
		in: rows.CSV{}, send: func(ctx context.Context, to io.Writer, as format, _ map[string]string) (int64, error) {
			drain := c.Drain
			if as == binary {
				drain = c.DrainBinary
			}
			d, err := drain(ctx, result)
			if err != nil {
				return 0, err
			}
			_, err = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{d}, make([]byte, 256<<10))
			if err = errors.Join(err, d.Close()); err != nil {
				return 0, err
			}
			return d.Rows(), nil
		},
	}}}, nil
}

func (f *flow) engineResult() string {
	if f.plan.Result == "" {
		return f.plan.Inputs[0].Name
	}
	return f.plan.Result
}

// computed declares the flow's relations: inputs that are kept are read, those that
// are streamed are read when the result is drained.
func (f *flow) computed(ctx context.Context, w *work) (*duck.Client, error) {
	c, err := f.e.engine(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Set(ctx, f.e.engineParameters()); err != nil {
		return nil, err
	}
	f.e.req.Report.Phase("extract")
	sctx, cancel := context.WithCancelCause(ctx)
	w.feeding = &feeding{cancel: cancel}
	for _, r := range w.readings {
		if err := r.look(ctx, c); err != nil {
			return nil, err
		}
	}
	streamed := f.streamed(w.readings)
	for _, r := range w.readings {
		if !streamed[r] {
			if err := r.give(ctx, c, false); err != nil {
				return nil, err
			}
		}
	}
	for _, r := range w.readings {
		if !streamed[r] {
			continue
		}
		run, err := r.stream(sctx, c)
		if err != nil {
			return nil, err
		}
		w.feeding.add(run)
	}
	f.e.req.Report.Phase("transform")
	for _, s := range f.plan.Engine {
		if err := f.engineStep(ctx, c, s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (f *flow) engineStep(ctx context.Context, c *duck.Client, s definition.Step) error {
	if !s.Assert {
		n, err := c.Step(ctx, s.Name, s.SQL, s.Streamed && !f.e.preview)
		if err != nil {
			return partError(err, "step "+s.Name)
		}
		if !s.Streamed {
			f.e.log.InfoContext(ctx, "step computed", "flow", f.plan.Load.Name, "step", s.Name, "rows", n)
		}
		return nil
	}
	if f.e.preview {
		return nil
	}
	got, err := c.Assert(ctx, s.SQL)
	if err != nil {
		return partError(err, "assertion "+s.Name)
	}
	return f.judgeAssert(ctx, s, got)
}

func (e *execution) engineParameters() []duck.Parameter {
	all := []duck.Parameter{}
	for name, p := range e.plan.Definition.Parameters {
		all = append(all, duck.Parameter{Name: name, Type: p.Type, Value: e.plan.Parameters[name]})
	}
	return all
}

// streamed chooses inputs that need not be kept: those that one step reads once. Of
// each database it is one, since it sends one relation at a time; and Parquet whose
// rows go through a program leaves the engine before it enters it again.
func (f *flow) streamed(readings []*reading) map[*reading]bool {
	all, busy := map[*reading]bool{}, map[*source]bool{}
	for _, r := range readings {
		switch {
		case f.e.preview || !r.in.Streamed:
		case r.src != nil:
			all[r], busy[r.src] = !busy[r.src], true
		default:
			all[r] = len(r.files) > 0 && (r.byEngine() || r.in.Extract.File.Format != definition.FormatParquet)
		}
	}
	return all
}

// stream declares the input as a relation that is read while the result is drained.
// run brings what is read, or counts it.
func (r *reading) stream(ctx context.Context, c *duck.Client) (run func() error, err error) {
	if !r.byEngine() {
		return r.open(ctx, c, true)
	}
	if err := r.giveFiles(ctx, c, r.in.Name, r.declared(), true); err != nil || r.read > 0 { // many files are kept
		return func() error { return nil }, err
	}
	return func() error {
		n, err := c.Assert(ctx, "SELECT count(*) FROM "+definition.QuoteIdentifier(r.in.Name))
		if err != nil {
			return err
		}
		r.read, err = strconv.ParseInt(n, 10, 64)
		r.f.e.req.Report.Done(r.read, 0)
		return err
	}, nil
}

// resultColumns are the engine's columns as the target's server knows their types.
func resultColumns(ctx context.Context, conn *pgx.Conn, columns []duck.Column) ([]column, error) {
	if conn == nil { // they go to files
		all := make([]column, len(columns))
		for i, c := range columns {
			all[i] = column{name: c.Name, full: c.Type}
		}
		return all, nil
	}
	fields := make([]definition.Field, len(columns))
	for i, c := range columns {
		fields[i] = definition.Field{Name: c.Name, Type: c.Type}
	}
	return namedTypes(ctx, conn, fields)
}

// give reads an input into the engine, and checks that nothing was lost on the way.
func (r *reading) give(ctx context.Context, c *duck.Client, streamed bool) error {
	if r.byEngine() {
		return r.giveFiles(ctx, c, r.in.Name, r.declared(), false)
	}
	run, err := r.open(ctx, c, streamed)
	if err != nil {
		return err
	}
	if err := run(); err != nil {
		return err
	}
	if r.src == nil || len(r.in.Rows) > 0 || r.f.e.preview { // the first of many rows are others each time
		return nil
	}
	return r.compare(ctx, c)
}

// byEngine reports whether the engine reads the input's files by itself: Parquet whose
// values are, without loss, ones of the types that the extract declares. What is text
// to be read, as in CSV and JSON, is read here: strictly, and alike for every flow.
func (r *reading) byEngine() bool { return r.fits && len(r.in.Rows) == 0 && r.rejects == nil }

// look finds whether Parquet has the types that the extract declares.
func (r *reading) look(ctx context.Context, c *duck.Client) error {
	if f := r.in.Extract.File; f == nil || f.Format != definition.FormatParquet || len(r.files) == 0 {
		return nil
	}
	s, _ := r.parquet()
	own, err := c.Describe(ctx, s)
	if err != nil {
		return err
	}
	r.fits = true
	for _, f := range r.in.Extract.File.Fields {
		r.fits = r.fits && duck.Fits(own[f.Name], f.Type)
	}
	return nil
}

// parquet are the input's files, and their bytes.
func (r *reading) parquet() (s duck.Source, size int64) {
	for _, file := range r.files {
		s.Files, s.Names = append(s.Files, file.file), append(s.Names, file.name)
		size += file.seen.Size
	}
	return s, size
}

// declared are the columns of the input's files.
func (r *reading) declared() []duck.Column {
	var all []duck.Column
	for _, f := range r.in.Extract.File.Fields {
		all = append(all, duck.Column{Name: f.Name, Type: f.Type})
	}
	return all
}

// giveFiles has the engine read Parquet, now or as often as the relation is read.
func (r *reading) giveFiles(ctx context.Context, c *duck.Client, relation string, columns []duck.Column, streamed bool) error {
	s, size := r.parquet()
	s.Columns = columns
	n, err := c.Read(ctx, relation, s, streamed)
	if err != nil {
		return err
	}
	r.read = n
	r.f.e.bytes.Add(size)
	r.f.e.req.Report.Done(n, size)
	return nil
}

// open declares the input as a relation of the engine. run feeds it.
func (r *reading) open(ctx context.Context, c *duck.Client, streamed bool) (run func() error, err error) {
	var program *rows.Program
	var arriving []rows.Column
	send := r.sendAsIs
	switch {
	case r.in.Extract.File != nil:
		if program, send, err = r.fileProgram(ctx, c); err != nil {
			return nil, err
		}
		arriving = program.Columns()
	case len(r.in.Rows) > 0:
		if program, err = r.compiler(r.plain())(nil); err != nil {
			return nil, err
		}
		arriving, send = program.Columns(), r.sendThrough(program)
	default:
		for _, col := range r.columns {
			arriving = append(arriving, col.row())
		}
	}
	if program != nil {
		program.Bound(func(c rows.Column) func([]byte) error { return duck.Bound(c.Type) })
	}
	columns, as := engineColumns(arriving)
	for _, col := range columns {
		if duck.NumberAsText(col.Type) {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "column %s of %s is %s, which the engine knows as text only: it would sort and compare it as such", col.Name, r.in.Name, col.Type).
				WithHint("cast it before: to numeric(18,2), or another with a precision of at most 38; to text when it only passes through")
		}
	}
	feed, err := c.Feed(ctx, r.in.Name, columns, as, streamed)
	if err != nil {
		return nil, err
	}
	return func() error {
		err := send(ctx, feed, as)
		if err != nil {
			feed.Abort(err)
			_ = feed.Close() // it says the same
			return err
		}
		return feed.Close()
	}, nil
}

// engineColumns are columns as the engine is told of them, and the format in which their
// rows go there.
func engineColumns(all []rows.Column) (columns []duck.Column, as duck.Format) {
	as = duck.FormatBinary
	for _, c := range all {
		typ := c.Type
		if c.Textual {
			typ = "text"
		}
		if !duck.Binary(typ) || !c.Textual && !(column{oid: c.OID}).builtIn() {
			as = duck.FormatCopy
		}
		columns = append(columns, duck.Column{Name: c.Name, Type: typ})
	}
	return columns, as
}

// sending sends rows to the engine.
type sending func(ctx context.Context, w io.Writer, as duck.Format) error

// sendAsIs sends a database's rows without row steps.
func (r *reading) sendAsIs(ctx context.Context, w io.Writer, as duck.Format) (err error) {
	format := csv
	if as == duck.FormatBinary {
		format = binary
	}
	r.read, err = r.copyTo(ctx, w, r.sql, format)
	return err
}

// sendThrough sends a database's rows through row steps.
func (r *reading) sendThrough(program *rows.Program) sending {
	return func(ctx context.Context, w io.Writer, as duck.Format) error {
		return r.transfer(ctx, w, program, rows.Binary{}, as, "", func(ctx context.Context, w io.Writer) (int64, error) {
			return r.copyTo(ctx, w, r.cast(textCasts(r.columns)), binary)
		})
	}
}

// fileProgram makes the program of files that do not go to the engine as they are.
// Parquet, which it alone reads, comes out of it first.
func (r *reading) fileProgram(ctx context.Context, c *duck.Client) (*rows.Program, sending, error) {
	columns, err := fieldColumns(r.in.Extract.File.Fields)
	if err != nil {
		return nil, nil, err
	}
	program, err := r.compiler(columns)(nil)
	if err != nil {
		return nil, nil, err
	}
	if format := r.in.Extract.File.Format; format != definition.FormatParquet {
		in := formatOf(r.in.Extract.File)
		return program, func(ctx context.Context, w io.Writer, as duck.Format) error {
			for _, file := range r.files {
				err := r.transfer(ctx, w, program, in, as, file.name, func(ctx context.Context, w io.Writer) (int64, error) {
					return -1, r.f.e.copyFile(ctx, w, file.file)
				})
				if err != nil {
					return partError(err, file.name)
				}
			}
			return nil
		}, nil
	}
	if len(r.files) == 0 {
		return program, func(context.Context, io.Writer, duck.Format) error { return nil }, nil
	}
	at := slices.IndexFunc(r.f.plan.Inputs, func(in definition.Input) bool { return in.Name == r.in.Name })
	raw, texts := "holdfast_raw_"+strconv.Itoa(at), r.declared()
	for i := range texts {
		texts[i].Type = "text"
	}
	if err := r.giveFiles(ctx, c, raw, texts, false); err != nil {
		return nil, nil, err
	}
	r.read = 0 // rows count as read when they come out of it
	return program, func(ctx context.Context, w io.Writer, as duck.Format) error {
		return r.transfer(ctx, w, program, rows.CSV{}, as, "", func(ctx context.Context, w io.Writer) (int64, error) {
			d, err := c.Drain(ctx, raw)
			if err != nil {
				return 0, err
			}
			_, err = io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{d})
			return d.Rows(), errors.Join(err, d.Close())
		})
	}, nil
}

// transfer sends rows through a program to the engine.
func (r *reading) transfer(ctx context.Context, w io.Writer, program *rows.Program, in rows.Format, as duck.Format, name string, from rows.Feed) error {
	var out rows.Format = rows.CSV{}
	if as == duck.FormatBinary {
		out = rows.Binary{}
	}
	var seen rows.Counters
	err := rows.Transfer{
		From: from,
		To: func(_ context.Context, from io.Reader) (int64, error) {
			_, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{from})
			return -1, err
		},
		Program: program, In: in, Out: out, Reject: r.rejects.of(name), Counters: &seen,
	}.Run(ctx)
	r.read += seen.Read.Load()
	if name != "" { // rows of a file are known when it was read
		r.f.e.req.Report.Done(seen.Read.Load(), 0)
	}
	r.rejects.saw(seen.Read.Load())
	return err
}

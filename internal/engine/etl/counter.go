package etl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
)

// Limits of counters that go to and fro, in bytes.
const (
	maxCounter  = 64 << 10  // that a person writes, or is shown
	maxCounters = 512 << 10 // that are shown together
)

// Counters reads from the targets how far each flow has been loaded. Of a counter
// that is too long to be shown it says what it is.
func (p *Pipeline) Counters(ctx context.Context, req engine.ETL) ([]engine.FlowCounter, error) {
	e, err := p.onlooker(req)
	if err != nil {
		return nil, err
	}
	found := map[[2]string]engine.FlowCounter{}
	for _, t := range e.targets() {
		if err := e.readCounters(ctx, t, found); err != nil {
			return nil, err
		}
	}
	for _, f := range e.flows {
		if f.plan.Load.Output == nil {
			continue
		}
		if err := f.outputCounters(ctx, found); err != nil {
			return nil, err
		}
	}
	var all []engine.FlowCounter
	for _, f := range e.flows {
		for _, in := range f.plan.Inputs {
			if in.Extract.Incremental == nil {
				continue
			}
			c := found[[2]string{f.plan.Load.Name, in.Extract.Name}]
			c.Flow, c.Extract = f.plan.Load.Name, in.Extract.Name
			all = append(all, c)
		}
	}
	room := min(maxCounter, maxCounters/max(len(all), 1))
	for i, c := range all {
		if len(c.Value) > room {
			all[i].Value = summary(c.Value)
		}
	}
	return all, nil
}

// summary stands for a counter that is too long. It is no value, so that nobody
// sets the counter to it.
func summary(value string) string {
	files, err := parseSeen(value)
	if err != nil {
		return fmt.Sprintf("a value of %d bytes, which is too long to be shown", len(value))
	}
	var last seenFile
	for _, f := range files {
		if f.MTime.After(last.MTime) {
			last = f
		}
	}
	return fmt.Sprintf("%d files, which are too many to be shown; the newest is %s of %s", len(files), last.Path, last.MTime.Format(time.RFC3339))
}

// onlooker is an execution that looks at what others have loaded. Its properties
// do not matter.
func (p *Pipeline) onlooker(req engine.ETL) (*execution, error) {
	e := &execution{p: p, req: req, owner: pgsession.Owner{Installation: req.Installation, Execution: req.Execution}, log: req.Log}
	d, err := definition.Parse([]byte(req.Definition))
	if err != nil {
		return nil, err
	}
	for name, p := range d.Parameters {
		p.Required = false
		d.Parameters[name] = p
	}
	plan, err := d.Plan(nil, time.Now())
	if err != nil {
		return nil, err
	}
	e.take(plan)
	return e, nil
}

// lookOn opens a session for a question about the job, not for an execution.
func (e *execution) lookOn(ctx context.Context, t place) (*pgx.Conn, error) {
	site, err := e.site(t)
	if err != nil {
		return nil, err
	}
	return pgsession.Connect(ctx, site, pgsession.Options{Name: "holdfast etl", Params: sessionParams, Cancel: true})
}

func (e *execution) readCounters(ctx context.Context, t place, into map[[2]string]engine.FlowCounter) error {
	ctx, cancel := context.WithTimeout(ctx, pgsession.QueryLimit)
	defer cancel()
	conn, err := e.lookOn(ctx, t)
	if err != nil {
		return err
	}
	defer pgsession.Close(ctx, conn)
	if b, err := findBooks(ctx, conn); err != nil || !b.tables {
		return err
	}
	rows, err := conn.Query(ctx, "SELECT flow, extract, value, updated, execution FROM holdfast_etl.counter WHERE installation = $1 AND job = $2",
		e.req.Installation, int64(e.req.Job))
	if err != nil {
		return bookError(conn, err, "read the counters of holdfast_etl")
	}
	var c engine.FlowCounter
	_, err = pgx.ForEachRow(rows, []any{&c.Flow, &c.Extract, &c.Value, &c.Updated, (*int64)(&c.Execution)}, func() error {
		c.Updated = c.Updated.UTC()
		into[[2]string{c.Flow, c.Extract}] = c
		return nil
	})
	if err != nil {
		return bookError(conn, err, "read the counters of holdfast_etl")
	}
	return nil
}

// SetCounter makes the next execution go on from another value, which the source
// has to know as one of the column.
func (p *Pipeline) SetCounter(ctx context.Context, req engine.ETL, name, extract, value string) error {
	e, err := p.onlooker(req)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(e.flows, func(f *flow) bool { return f.plan.Load.Name == name })
	if at < 0 {
		return holdfast.Errorf(holdfast.CodeNotFound, "the ETL has no flow %q", name)
	}
	f := e.flows[at]
	in := f.input(extract)
	if in == nil {
		return holdfast.Errorf(holdfast.CodeNotFound, "flow %s has no incremental extract %q", name, extract)
	}
	if value != "" {
		if value, err = f.checkCounter(ctx, in, value); err != nil {
			return err
		}
	}
	if f.plan.Load.Output != nil {
		return f.setOutputCounter(ctx, extract, value)
	}
	return f.setCounter(ctx, extract, value)
}

// outputCounters reads the counters of a flow into files.
func (f *flow) outputCounters(ctx context.Context, into map[[2]string]engine.FlowCounter) error {
	o, err := f.lookAtOutput(ctx)
	if err != nil || o == nil {
		return err
	}
	defer o.close()
	for extract, c := range o.last.Counters {
		into[[2]string{f.plan.Load.Name, extract}] = engine.FlowCounter{Value: c.Value, Updated: c.Updated, Execution: c.Execution}
	}
	return nil
}

// lookAtOutput opens what the flow has written, to look at it; nil: nothing is there.
func (f *flow) lookAtOutput(ctx context.Context) (*output, error) {
	if f.bucket() == nil {
		return f.openOutput(false)
	}
	b, err := f.openBucketOutput(ctx)
	if err != nil {
		return nil, err
	}
	return b.output, nil
}

// setOutputCounter writes a counter into the newest version's manifest. An
// execution that runs meanwhile finds it changed, and starts anew from there.
func (f *flow) setOutputCounter(ctx context.Context, extract, value string) error {
	o, err := f.lookAtOutput(ctx)
	if err != nil {
		return err
	}
	if o == nil || o.newest == 0 {
		if o != nil {
			o.close()
		}
		if value == "" {
			return nil
		}
		return holdfast.Errorf(holdfast.CodeConflict, "the flow has written no version yet, and its counter stands in the newest one").
			WithHint("run the ETL once, or let the extract say where to start")
	}
	defer o.close()
	if f.bucket() != nil {
		b, err := f.openBucketOutput(ctx)
		if err != nil {
			return err
		}
		return b.setCounter(ctx, extract, value)
	}
	return o.setCounter(extract, value)
}

// checkCounter returns a value as it is stored.
func (f *flow) checkCounter(ctx context.Context, in *definition.Input, value string) (string, error) {
	if len(value) > maxCounter {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the counter's value has more than %d bytes", maxCounter)
	}
	if in.Extract.Incremental.Strategy == definition.StrategyFile {
		return checkFiles(value)
	}
	m := parseMark(value)
	switch written := strings.HasPrefix(strings.TrimSpace(value), "{"); {
	case written && m.Column == value:
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the counter's value is no JSON with the keys column and tie").
			WithHint(`write {"column": "2026-01-31 12:00:00+00", "tie": "4711"}, or the column's value alone`)
	case m.Tie != nil && in.Extract.Incremental.Tie == "":
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the counter's value has a tie, and extract %s has none", in.Extract.Name).
			WithHint("write the value of column %s alone", in.Extract.Incremental.Column)
	}
	ctx, cancel := context.WithTimeout(ctx, pgsession.QueryLimit)
	defer cancel()
	conn, err := f.e.lookOn(ctx, placeOf(f.e.plan.Definition.Connections[in.Extract.Connection]))
	if err != nil {
		return "", err
	}
	defer pgsession.Close(ctx, conn)
	src := &source{e: f.e, conn: conn}
	if err := src.begin(ctx); err != nil {
		return "", err
	}
	t, err := f.track(ctx, src, in, 0)
	if err != nil {
		return "", err
	}
	if err := t.canonical(ctx, t.column, &m.Column); err != nil {
		return "", err
	}
	if m.Tie != nil {
		if err := t.canonical(ctx, *t.tie, m.Tie); err != nil {
			return "", err
		}
	}
	return m.String(), nil
}

// checkFiles returns a counter of files as it is stored.
func checkFiles(value string) (string, error) {
	files, err := parseSeen(value)
	if err != nil {
		return "", err
	}
	var list []seenFile
	dec := json.NewDecoder(strings.NewReader(value))
	dec.DisallowUnknownFields()
	err = dec.Decode(&list)
	incomplete := slices.ContainsFunc(list, func(f seenFile) bool { return f.Path == "" || f.Size < 0 || f.MTime.IsZero() })
	if err != nil || incomplete || list == nil || len(files) < len(list) {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the counter of files is no list of files with path, size and mtime, each once").
			WithHint(`write [{"path": "orders/1.csv", "size": 1024, "mtime": "2026-01-31T12:00:00Z"}]`)
	}
	return files.encode(), nil
}

// canonical makes of a text the one that the source writes for the value.
func (t *tracker) canonical(ctx context.Context, c column, value *string) error {
	if strings.ContainsRune(*value, 0) {
		return holdfast.Errorf(holdfast.CodeInvalid, "the counter's value holds a character that a database cannot hold")
	}
	err := t.src.tx.QueryRow(ctx, "SELECT $1::text::"+c.typ+"::text", *value).Scan(value)
	var pe *pgconn.PgError
	switch {
	case errors.As(err, &pe) && strings.HasPrefix(pe.Code, "22"): // data exception
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the counter of extract %s needs a value of column %s, which is %s: %s", t.in.Extract.Name, c.name, c.full, pe.Message).
			WithHint("write it as the source's server does; etl counter shows the present one")
	case err != nil:
		return queryError(err, "read the counter's value")
	case boundless(c.oid, *value):
		return holdfast.Errorf(holdfast.CodeInvalid, "behind the counter's value %s nothing would ever be loaded", *value).WithHint("write another value")
	}
	return nil
}

func (f *flow) setCounter(ctx context.Context, extract, value string) error {
	ctx, cancel := context.WithTimeout(ctx, pgsession.QueryLimit)
	defer cancel()
	t := placeOf(f.e.plan.Definition.Connections[f.plan.Load.Connection])
	conn, err := f.e.lookOn(ctx, t)
	if err != nil {
		return err
	}
	defer pgsession.Close(ctx, conn)
	tx, err := conn.Begin(ctx)
	if err != nil {
		return queryError(err, "begin a transaction")
	}
	defer rollback(ctx, tx)
	if err := ensureSchema(ctx, tx); err != nil {
		return err
	}
	var one int
	err = tx.QueryRow(ctx, "SELECT 1 FROM holdfast_etl.flow WHERE installation = $1 AND job = $2 AND flow = $3 FOR UPDATE NOWAIT", f.key()...).Scan(&one)
	switch {
	case isCode(err, "55P03"):
		return holdfast.Errorf(holdfast.CodeConflict, "an execution of the job is loading this flow").WithHint("stop it, or wait until it has ended; then set the counter")
	case err != nil && !errors.Is(err, pgx.ErrNoRows):
		return bookError(conn, err, "lock the flow in holdfast_etl")
	}
	if value == "" {
		_, err = tx.Exec(ctx, "DELETE FROM holdfast_etl.counter WHERE installation = $1 AND job = $2 AND flow = $3 AND extract = $4", append(f.key(), extract)...)
	} else {
		var into *target
		if into, err = f.openTarget(ctx, conn); err != nil {
			return err
		}
		if err = f.putCounter(ctx, tx, into, extract, value, 0); err != nil {
			return err
		}
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return bookError(conn, err, "write a counter to holdfast_etl")
	}
	return nil
}

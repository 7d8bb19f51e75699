package etl

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
)

// state is a flow's row in its target: how far the execution has come.
type state struct {
	units                           int64
	done                            bool
	read, loaded, rejected, deleted int64
}

// sessionParams make both ends write values in the same way.
var sessionParams = map[string]string{"TimeZone": "UTC", "IntervalStyle": "postgres", "extra_float_digits": "1"}

// connect opens a session of the execution.
func (e *execution) connect(ctx context.Context, p place) (*pgx.Conn, error) {
	site, err := e.site(p)
	if err != nil {
		return nil, err
	}
	return pgsession.Connect(ctx, site, pgsession.Options{Name: e.owner.Session(e.req.Fence), Params: sessionParams, Cancel: true})
}

// claim makes the targets ours: what older fences left on any server is ended, and
// only this execution and fence may commit from now on.
func (e *execution) claim(ctx context.Context) error {
	e.req.Report.Phase("claim")
	if err := e.endSessions(ctx); err != nil {
		return err
	}
	if err := e.claimOutputs(ctx); err != nil {
		return err
	}
	e.p.step("claim")
	claim := e.claimTarget
	if e.req.Simulate {
		claim = e.clearTarget // each flow claims in the transaction that it rolls back
	}
	for _, t := range e.targets() {
		if err := claim(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (e *execution) claimTarget(ctx context.Context, t place) error {
	conn, err := e.connect(ctx, t)
	if err != nil {
		return err
	}
	defer pgsession.Close(ctx, conn)
	defer e.tellBlockers(ctx, t, conn, "claim")()
	if err := e.endSuperseded(ctx, conn); err != nil {
		return err
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return queryError(err, "begin a transaction")
	}
	defer rollback(ctx, tx)
	if err := ensureSchema(ctx, tx); err != nil {
		return err
	}
	var flows []string
	for _, f := range e.flows {
		if placeOf(e.plan.Definition.Connections[f.plan.Load.Connection]) == t {
			flows = append(flows, f.plan.Load.Name)
		}
	}
	if err := e.claimIn(ctx, tx, flows); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return queryError(err, "commit the claim")
	}
	return nil
}

// clearTarget makes room in a target for a simulation.
func (e *execution) clearTarget(ctx context.Context, t place) error {
	conn, err := e.connect(ctx, t)
	if err != nil {
		return err
	}
	defer pgsession.Close(ctx, conn)
	return e.owner.EndOthers(ctx, conn)
}

// allFences closes an execution for good.
const allFences = "9223372036854775807"

// claimIn writes our execution and fence into the rows of flows.
//
// Numbers of executions do not tell which is the newer one: a planned execution
// has its number long before it runs, and after the control plane went back to an older
// copy of its database numbers come again, with other identities. So an execution that
// another one follows is closed, and may not come back; within one execution fences
// tell.
func (e *execution) claimIn(ctx context.Context, tx pgx.Tx, flows []string) error {
	if err := setLockLimit(ctx, tx); err != nil {
		return err
	}
	args := []any{e.req.Installation, int64(e.req.Job), int64(e.req.Execution), e.req.Identity, int64(e.req.Fence)}
	book := func(err error) error { return bookError(tx.Conn(), err, "claim the flows in holdfast_etl") }
	_, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended(pg_catalog.concat('holdfast_etl ', $1::text, ' ', $2::bigint), 0))", args[:2]...)
	if err != nil {
		return book(err)
	}
	var ours bool
	err = tx.QueryRow(ctx, `INSERT INTO holdfast_etl.execution AS x (installation, job, execution, identity, fence) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (installation, job, execution, identity) DO UPDATE SET fence = greatest(x.fence, excluded.fence), updated = pg_catalog.now()
		RETURNING closed < $5 AND fence = $5`, args...).Scan(&ours)
	switch {
	case err != nil:
		return book(err)
	case !ours:
		return engine.ErrStale
	}
	_, err = tx.Exec(ctx, "UPDATE holdfast_etl.execution SET closed = "+allFences+", updated = pg_catalog.now() WHERE installation = $1 AND job = $2 AND (execution <> $3 OR identity <> $4) AND closed < "+allFences, args[:4]...)
	if err != nil {
		return book(err)
	}
	_, err = tx.Exec(ctx, "DELETE FROM holdfast_etl.execution WHERE installation = $1 AND job = $2 AND closed = "+allFences+" AND updated < pg_catalog.now() - interval '90 days'", args[:2]...)
	if err != nil {
		return book(err)
	}
	const same = "(f.execution = excluded.execution AND f.identity = excluded.identity)"
	_, err = tx.Exec(ctx, `INSERT INTO holdfast_etl.flow AS f (installation, job, execution, identity, fence, flow) SELECT $1, $2, $3, $4, $5, pg_catalog.unnest($6::text[])
		ON CONFLICT (installation, job, flow) DO UPDATE SET execution = excluded.execution, identity = excluded.identity, fence = excluded.fence, updated = pg_catalog.now(),
			unit = CASE WHEN `+same+` THEN f.unit ELSE 0 END, done = f.done AND `+same+`,
			read = CASE WHEN `+same+` THEN f.read ELSE 0 END,
			loaded = CASE WHEN `+same+` THEN f.loaded ELSE 0 END,
			rejected = CASE WHEN `+same+` THEN f.rejected ELSE 0 END,
			deleted = CASE WHEN `+same+` THEN f.deleted ELSE 0 END`, append(args, flows)...)
	if err != nil {
		return book(err)
	}
	return nil
}

// endSuperseded ends the sessions of the job's other executions: one runs at a
// time, so they are frozen or cut off, and may hold locks that we need. Simulations
// leave no row that could be seen, and sessions of earlier releases do not name their
// job.
func (e *execution) endSuperseded(ctx context.Context, conn *pgx.Conn) error {
	if err := e.owner.EndOthers(ctx, conn); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pgsession.QueryLimit)
	defer cancel()
	if b, err := findBooks(ctx, conn); err != nil || !b.tables {
		return err
	}
	// Books of earlier releases have no identities, and are not brought up to date yet.
	rows, err := conn.Query(ctx, `SELECT execution, coalesce(pg_catalog.to_jsonb(x) OPERATOR(pg_catalog.->>) 'identity'::text, '') FROM holdfast_etl.execution AS x
		WHERE installation = $1 AND job = $2 AND closed < `+allFences, e.req.Installation, int64(e.req.Job))
	if err != nil {
		return bookError(conn, err, "read holdfast_etl")
	}
	var all []holder
	var h holder
	_, err = pgx.ForEachRow(rows, []any{(*int64)(&h.execution), &h.identity}, func() error {
		all = append(all, h)
		return nil
	})
	if err != nil {
		return bookError(conn, err, "read holdfast_etl")
	}
	for _, o := range all {
		if o == holderOf(e.req) {
			continue
		}
		owner := pgsession.Owner{Installation: e.req.Installation, Execution: o.execution, Identity: o.identity}
		if err := owner.EndOver(ctx, conn, math.MaxInt64); err != nil {
			return err
		}
	}
	return nil
}

// closeFence keeps a fence that has ended without its engine from claiming later,
// when a frozen worker goes on. A later fence of the same execution may claim.
func (e *execution) closeFence(ctx context.Context, t place) error {
	conn, err := e.connect(ctx, t)
	if err != nil {
		return err
	}
	defer pgsession.Close(ctx, conn)
	tx, err := conn.Begin(ctx)
	if err != nil {
		return queryError(err, "begin a transaction")
	}
	defer rollback(ctx, tx)
	if err := setLockLimit(ctx, tx); err != nil {
		return err
	}
	if b, err := findBooks(ctx, conn); err != nil || !b.tables {
		return err
	}
	if err := ensureSchema(ctx, tx); err != nil {
		return err
	}
	args := []any{e.req.Installation, int64(e.req.Job), int64(e.req.Execution), e.req.Identity, int64(e.req.Fence)}
	_, err = tx.Exec(ctx, `INSERT INTO holdfast_etl.execution AS x (installation, job, execution, identity, fence, closed) VALUES ($1, $2, $3, $4, $5, $5)
		ON CONFLICT (installation, job, execution, identity) DO UPDATE SET closed = greatest(x.closed, excluded.closed), fence = greatest(x.fence, excluded.fence), updated = pg_catalog.now()`, args...)
	if err == nil {
		// Nobody's: what it claimed before it froze is no longer its own.
		_, err = tx.Exec(ctx, "UPDATE holdfast_etl.flow SET fence = 0 WHERE installation = $1 AND job = $2 AND execution = $3 AND identity = $4 AND fence <= $5", args...)
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return bookError(conn, err, "close the fence in holdfast_etl")
	}
	return nil
}

// lock locks the flow's row until the transaction ends. [engine.ErrStale] when
// another execution or fence has claimed it, or ours was closed. CodeUnavailable
// when the row that we have claimed is gone: somebody has restored the target, or
// made it anew, and we have to claim it again.
func (f *flow) lock(ctx context.Context, tx pgx.Tx) (state, error) {
	var s state
	var h holder
	var fence int64
	err := tx.QueryRow(ctx, `SELECT execution, identity, fence, unit, done, read, loaded, rejected, deleted FROM holdfast_etl.flow
		WHERE installation = $1 AND job = $2 AND flow = $3 FOR UPDATE`, f.key()...).
		Scan((*int64)(&h.execution), &h.identity, &fence, &s.units, &s.done, &s.read, &s.loaded, &s.rejected, &s.deleted)
	switch {
	case errors.Is(err, pgx.ErrNoRows), isCode(err, "42P01"), isCode(err, "3F000"), isCode(err, "42703"): // undefined_table, invalid_schema_name, undefined_column
		return s, holdfast.Errorf(holdfast.CodeUnavailable, "holdfast_etl in the target has lost what flow %s wrote there", f.plan.Load.Name).
			WithHint("if the target was restored, the next attempt goes on from what it holds now")
	case err != nil:
		return s, bookError(tx.Conn(), err, "lock the flow in holdfast_etl")
	case h != holderOf(f.e.req) || fence != int64(f.e.req.Fence):
		return s, engine.ErrStale
	}
	return s, nil
}

// key names the flow in the tables of holdfast_etl.
func (f *flow) key() []any {
	return []any{f.e.req.Installation, int64(f.e.req.Job), f.plan.Load.Name}
}

// book writes how far the flow has come, in the transaction of its rows.
func (f *flow) book(ctx context.Context, tx pgx.Tx, t *target, s state, counters map[string]string) error {
	for extract, value := range counters {
		if err := f.putCounter(ctx, tx, t, extract, value, f.e.req.Execution); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `UPDATE holdfast_etl.flow SET unit = $4, done = $5, read = $6, loaded = $7, rejected = $8, deleted = $9, updated = pg_catalog.now()
		WHERE installation = $1 AND job = $2 AND flow = $3`, append(f.key(), s.units, s.done, s.read, s.loaded, s.rejected, s.deleted)...)
	if err != nil {
		return bookError(tx.Conn(), err, "write the unit to holdfast_etl")
	}
	return nil
}

// putCounter writes a counter; execution is zero when a person sets it.
func (f *flow) putCounter(ctx context.Context, tx pgx.Tx, t *target, extract, value string, execution holdfast.ExecutionID) error {
	_, err := tx.Exec(ctx, `INSERT INTO holdfast_etl.counter (installation, job, flow, extract, value, execution, basis) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (installation, job, flow, extract) DO UPDATE
		SET value = excluded.value, execution = excluded.execution, basis = excluded.basis, updated = pg_catalog.now()`,
		append(f.key(), extract, value, int64(execution), f.basis(f.input(extract), t))...)
	if err != nil {
		return bookError(tx.Conn(), err, "write a counter to holdfast_etl")
	}
	return nil
}

// counters reads how far the flow's extracts have been loaded.
func (f *flow) counters(ctx context.Context, tx pgx.Tx, t *target) (map[string]string, error) {
	rows, err := tx.Query(ctx, "SELECT extract, value, coalesce(basis, '') FROM holdfast_etl.counter WHERE installation = $1 AND job = $2 AND flow = $3", f.key()...)
	if err != nil {
		return nil, bookError(tx.Conn(), err, "read the counters of holdfast_etl")
	}
	all, bases := map[string]string{}, map[string]string{}
	var extract, value, basis string
	_, err = pgx.ForEachRow(rows, []any{&extract, &value, &basis}, func() error {
		all[extract], bases[extract] = value, basis
		return nil
	})
	if err != nil {
		return nil, bookError(tx.Conn(), err, "read the counters of holdfast_etl")
	}
	for extract, basis := range bases {
		in := f.input(extract)
		if in == nil {
			continue
		}
		if err := f.checkBasis(ctx, in, t, basis); err != nil {
			return nil, err
		}
		want := f.basis(in, t)
		if basis == want {
			continue
		}
		// Now, and not with the next value, which may be that of yet another relation.
		_, err := tx.Exec(ctx, "UPDATE holdfast_etl.counter SET basis = $5 WHERE installation = $1 AND job = $2 AND flow = $3 AND extract = $4", append(f.key(), extract, want)...)
		if err != nil {
			return nil, bookError(tx.Conn(), err, "write what a counter is of to holdfast_etl")
		}
	}
	return all, nil
}

// setLockLimit bounds the waits for locks in the transaction.
func setLockLimit(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "SELECT pg_catalog.set_config('lock_timeout', $1, true)", lockLimit.String())
	if err != nil {
		return queryError(err, "bound the wait for locks")
	}
	return nil
}

// rollback ends a transaction that was not committed. When the context has ended it
// cuts the session, which is closed right after anyway: no kill waits for an answer.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = tx.Rollback(ctx) // after a commit, or on a lost session, there is none
}

// isCode reports whether an error is the server's with this code.
func isCode(err error, code string) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == code
}

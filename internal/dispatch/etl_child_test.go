package dispatch_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// program is what the definition of an ETL says to the ledger.
type program struct {
	Units int           // of a batch; a service has no end
	Pause time.Duration // between two units
	Hold  string        // the last unit of a batch begins when this file exists; empty: at once
}

func (p program) definition() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// target is the database that the ledger loads: with each unit it commits the
// execution and the fence, as the real engine does.
func (w *world) target() string { return filepath.Join(w.dir, "target.db") }

func openTarget(ctx context.Context, path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	_, err = db.ExecContext(ctx, `
		CREATE TABLE IF NOT EXISTS flow (execution INTEGER, fence INTEGER, unit INTEGER);
		CREATE TABLE IF NOT EXISTS loaded (execution INTEGER, fence INTEGER, unit INTEGER, properties TEXT);
		INSERT INTO flow SELECT 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM flow)`)
	return db, err
}

// inTarget runs fn in a transaction that nobody else's is beside.
func inTarget(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// ledger is a pipeline whose units are rows of a small database, each of them
// loaded once.
func ledger(p plan, step func(string)) pipe {
	path := (&world{dir: p.Dir}).target()
	return pipe{
		release: func(req engine.ETL) { say("released %d %d", req.Execution, req.Fence) },
		run: func(ctx context.Context, req engine.ETL) (res engine.Result, err error) {
			var prog program
			if err := json.Unmarshal([]byte(req.Definition), &prog); err != nil {
				return res, err
			}
			db, err := openTarget(ctx, path)
			if err != nil {
				return res, err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			unit, err := claim(ctx, db, req)
			if err != nil {
				return res, err
			}
			say("started %d %d after %d", req.Execution, req.Fence, unit)
			properties := req.Properties
			for unit++; prog.Units == 0 || unit <= prog.Units; unit++ {
				if err := rest(ctx, req, prog, unit); err != nil {
					if prog.Units == 0 && ctx.Err() == nil {
						return res, nil // a service has done what it was to do
					}
					say("cancelled %v", err)
					return res, err
				}
				select {
				case properties = <-req.Changed:
				default:
				}
				step("unit.before")
				if err := load(ctx, db, req, unit, properties); err != nil {
					say("cancelled %v", err)
					return res, err
				}
				step("unit.committed")
				if prog.Units == 0 {
					req.Round()
				}
				res.Rounds++
			}
			return res, nil
		},
	}
}

// rest waits in front of a unit; its error says that there is to be none.
func rest(ctx context.Context, req engine.ETL, prog program, unit int) error {
	for pause := time.After(prog.Pause); ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-req.Stop:
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return engine.ErrWish
		case <-pause:
			pause = time.After(20 * time.Millisecond)
			if _, err := os.Stat(prog.Hold); prog.Hold == "" || unit != prog.Units || err == nil {
				return nil
			}
		}
	}
}

// claim makes the target the execution's, and returns the last unit that it has
// committed.
func claim(ctx context.Context, db *sql.DB, req engine.ETL) (unit int, err error) {
	err = inTarget(ctx, db, func(tx *sql.Tx) error {
		var e holdfast.ExecutionID
		var f holdfast.Fence
		if err := tx.QueryRowContext(ctx, "SELECT execution, fence, unit FROM flow").Scan(&e, &f, &unit); err != nil {
			return err
		}
		if e > req.Execution || e == req.Execution && f >= req.Fence {
			return engine.ErrStale
		}
		if e != req.Execution {
			unit = 0
		}
		_, err := tx.ExecContext(ctx, "UPDATE flow SET execution = ?, fence = ?, unit = ?", req.Execution, req.Fence, unit)
		return err
	})
	return unit, err
}

// load commits a unit, as long as the target is the order's.
func load(ctx context.Context, db *sql.DB, req engine.ETL, unit int, properties map[string]string) error {
	return inTarget(ctx, db, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, "UPDATE flow SET unit = ? WHERE execution = ? AND fence = ?", unit, req.Execution, req.Fence)
		if err != nil {
			return err
		}
		if n, err := r.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, engine.ErrStale)
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO loaded VALUES (?, ?, ?, ?)", req.Execution, req.Fence, unit, fmt.Sprint(properties["level"]))
		return err
	})
}

// loaded returns the units of an execution in the target, in the order in which
// they were committed, and the last one's properties.
func (w *world) loaded(t testing.TB, id holdfast.ExecutionID) (units []int, fences []holdfast.Fence, level string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	db, err := openTarget(ctx, w.target())
	require(t, err)
	defer func() { require(t, db.Close()) }()
	rows, err := db.QueryContext(ctx, "SELECT unit, fence, properties FROM loaded WHERE execution = ? ORDER BY rowid", id)
	require(t, err)
	defer func() { require(t, rows.Close()) }()
	for rows.Next() {
		var unit int
		var f holdfast.Fence
		require(t, rows.Scan(&unit, &f, &level))
		units, fences = append(units, unit), append(fences, f)
	}
	require(t, rows.Err())
	return units, fences, level
}

// wantOnce checks that the target holds the units 1 to n, each once, and none of an
// older fence behind one of a newer. n of 0 means as many as there are.
func (w *world) wantOnce(t testing.TB, id holdfast.ExecutionID, n int) {
	t.Helper()
	units, fences, _ := w.loaded(t, id)
	if n != 0 && len(units) != n {
		t.Errorf("target: got units %v, want %d", units, n)
	}
	for i, unit := range units {
		if unit != i+1 {
			t.Fatalf("target: got units %v, want each once, in order", units)
		}
		if i > 0 && fences[i] < fences[i-1] {
			t.Fatalf("target: got fences %v, want none that is outdated", fences)
		}
	}
}

// waitUnits waits until so many units of the execution are in the target.
func (w *world) waitUnits(t testing.TB, id holdfast.ExecutionID, n int, limit time.Duration) {
	t.Helper()
	eventually(t, limit, func() string {
		units, _, _ := w.loaded(t, id)
		if len(units) >= n {
			return ""
		}
		return fmt.Sprintf("got %d units, want %d", len(units), n)
	})
}

package service

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// turn is a request about an ETL inside its transaction: what is so, and what the
// request changes. A transaction that runs again has a new one.
type turn struct {
	now time.Time
	by  string // who asks, for people

	job     holdfast.Job
	planned []holdfast.Execution // the one that is due next first
	current *holdfast.Execution  // works, or is held up at it; nil: none
	queued  []holdfast.Execution // wait for their turn, by id

	parsed map[string]*definition.Definition // that have been read, by their text
	unread string                            // the definition that is to be read, with errNotParsed

	changes []change
	raced   bool // a compare-and-set has lost: another try may win
}

// change is an execution before and after a request; before it was made it has no
// id.
type change struct{ prev, next holdfast.Execution }

// read finds out how things stand with the job.
func (t *turn) read(ctx context.Context, r store.Reader) error {
	live, err := r.LiveOfJob(ctx, t.job.ID)
	if err != nil {
		return err
	}
	for i, e := range live {
		switch {
		case e.State == holdfast.StatePlanned:
			t.planned = append(t.planned, e)
		case works(e) > 0 && (t.current == nil || works(e) > works(*t.current)):
			t.current = &live[i]
		}
	}
	for _, e := range live {
		if e.State != holdfast.StatePlanned && (t.current == nil || e.ID != t.current.ID) {
			t.queued = append(t.queued, e)
		}
	}
	slices.SortStableFunc(t.planned, func(a, b holdfast.Execution) int { return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID)) })
	return nil
}

// works ranks the executions of a job that have begun: one that waits for another
// start has begun, too. Zero: it has not.
func works(e holdfast.Execution) int {
	switch e.State {
	case holdfast.StateRunning:
		return 3
	case holdfast.StateSuspended:
		return 2
	case holdfast.StateQueued:
		if e.Fence > 0 {
			return 1
		}
	case holdfast.StatePlanned, holdfast.StateEnded:
	}
	return 0
}

// stopping reports whether the current execution is wanted to end.
func (t *turn) stopping() bool { return t.current != nil && t.current.Wanted >= holdfast.WantStop }

// idle reports whether nothing works or waits; something may be planned.
func (t *turn) idle() bool { return t.current == nil && len(t.queued) == 0 }

// lost remembers that a compare-and-set has lost.
func (t *turn) lost(err error) error {
	t.raced = t.raced || holdfast.ErrorCode(err) == holdfast.CodeConflict
	return err
}

// insert makes an execution.
func (t *turn) insert(ctx context.Context, tx store.Tx, e holdfast.Execution) (holdfast.Execution, error) {
	if err := tx.InsertExecution(ctx, &e); err != nil {
		return e, err
	}
	t.changes = append(t.changes, change{next: e})
	return e, nil
}

// execution is a new one of the job, which is not stored yet.
func (t *turn) execution(ctx context.Context, r store.Reader, run holdfast.ETLRun, due time.Time, actor string) (holdfast.Execution, error) {
	site, err := r.Site(ctx, t.job.Account, t.job.Site)
	if err != nil {
		return holdfast.Execution{}, found(err, siteWord(t.job.Site))
	}
	return holdfast.NewETLExecution(t.job, site, run, due, t.now, actor), nil
}

// plan makes a planned execution. What is due now is queued by dispatch, which
// plans the one after it.
func (t *turn) plan(ctx context.Context, tx store.Tx, run holdfast.ETLRun, due time.Time, actor string) (holdfast.Execution, error) {
	e, err := t.execution(ctx, tx, run, due, actor)
	if err != nil {
		return e, err
	}
	e.State = holdfast.StatePlanned
	return t.insert(ctx, tx, e)
}

// moveDue plans an execution for another time.
func (t *turn) moveDue(ctx context.Context, tx store.Tx, prev holdfast.Execution, due time.Time) (holdfast.Execution, error) {
	if prev.Due.Equal(due) {
		return prev, nil
	}
	next := prev
	next.Due = due.UTC()
	if err := tx.MoveExecution(ctx, prev, next); err != nil {
		return prev, t.lost(err)
	}
	t.changes = append(t.changes, change{prev, next})
	return next, nil
}

// give gives an execution other properties.
func (t *turn) give(ctx context.Context, tx store.Tx, prev holdfast.Execution, run holdfast.ETLRun) (holdfast.Execution, error) {
	if prev.ETL.Same(run) && prev.ETL.Timed == run.Timed {
		return prev, nil
	}
	run.Identity, run.Version = prev.ETL.Identity, prev.ETL.Version+1
	if err := tx.MoveETLRun(ctx, prev, run); err != nil {
		return prev, t.lost(err)
	}
	next := prev
	next.ETL = &run
	t.changes = append(t.changes, change{prev, next})
	return next, nil
}

// cancel makes a move of each of the executions.
func (t *turn) cancel(ctx context.Context, tx store.Tx, list []holdfast.Execution, m holdfast.Move) error {
	for _, prev := range list {
		if err := t.wish(ctx, tx, prev, m); err != nil {
			return err
		}
	}
	return nil
}

// wish makes a move that somebody wants, unless it holds already.
func (t *turn) wish(ctx context.Context, tx store.Tx, prev holdfast.Execution, m holdfast.Move) error {
	if holds(prev.Status, m) {
		return nil
	}
	next, err := wished(prev, m, t.by, t.now)
	if err != nil {
		return err
	}
	if err := tx.MoveExecution(ctx, prev, next); err != nil {
		return t.lost(err)
	}
	t.changes = append(t.changes, change{prev, next})
	return nil
}

// cancelled lists what the request has ended.
func (t *turn) cancelled() (ids []holdfast.ExecutionID) {
	for _, c := range t.changes {
		if c.next.State == holdfast.StateEnded {
			ids = append(ids, c.next.ID)
		}
	}
	return ids
}

// tellOf tells dispatch what a request has changed.
func (s *Service) tellOf(ctx context.Context, t *turn) {
	pools := map[string]bool{}
	for _, c := range t.changes {
		e := c.next
		s.cfg.Log.InfoContext(ctx, "execution of an ETL changed", "execution", e.ID, "job", e.Job, "state", e.State, "wanted", e.Wanted.String(), "actor", t.by)
		if e.Wanted != c.prev.Wanted && e.Worker != 0 {
			s.cfg.Dispatcher.Tell(e.Worker, e.ID, e.Fence, e.Wanted)
		}
		if e.State != c.prev.State && e.State != holdfast.StatePlanned && !pools[e.Pool] {
			pools[e.Pool] = true
			s.cfg.Dispatcher.Ring(e.Pool) // it may start, or it has made room
		}
	}
}

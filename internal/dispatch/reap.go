package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

const (
	reapEvery  = time.Second // between two looks at the orphans
	reapFirst  = 2 * time.Second
	reapMost   = 10 * time.Minute
	reapLimit  = 5 * time.Minute // for one snapshot
	reapAtOnce = 1000
)

// reapAttempt is when an orphan is looked for again.
type reapAttempt struct {
	next time.Duration // clock
	wait time.Duration
}

// reapLoop removes what was intended and never finished, by its recorded id. An
// orphan whose snapshot was not found is looked for again until its life is
// over: the worker that intended it may be frozen right in front of the write.
func (d *Dispatcher) reapLoop(ctx context.Context) error {
	t := time.NewTicker(reapEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-d.kick:
		}
		if err := d.reapAll(ctx); err != nil && ctx.Err() == nil {
			d.log.InfoContext(ctx, "orphans not looked at", "error", err)
		}
	}
}

func (d *Dispatcher) kickReaper() {
	select {
	case d.kick <- struct{}{}:
	default: // it is awake already
	}
}

func (d *Dispatcher) reapAll(ctx context.Context) error {
	var orphans []holdfast.Copy
	err := d.view(ctx, func(r store.Reader) (err error) {
		orphans, err = r.CopiesInState(ctx, holdfast.CopyOrphaned, reapAtOnce)
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range orphans {
		if err := ctx.Err(); err != nil {
			return err
		}
		if d.reapDue(c.ID) {
			d.reap(ctx, c)
		}
	}
	d.forgetReaps(orphans)
	return nil
}

// reapDue reports whether the orphan is to be tried now, and sets when it is to
// be tried next if this does not end it.
func (d *Dispatcher) reapDue(id holdfast.CopyID) bool {
	now := d.clock()
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.reaps[id]
	if a == nil {
		a = &reapAttempt{wait: reapFirst}
		d.reaps[id] = a
	}
	if now < a.next {
		return false
	}
	a.next = now + a.wait
	a.wait = min(2*a.wait, reapMost)
	return true
}

func (d *Dispatcher) forgetReaps(orphans []holdfast.Copy) {
	keep := make(map[holdfast.CopyID]bool, len(orphans))
	for _, c := range orphans {
		keep[c.ID] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.reaps {
		if !keep[id] {
			delete(d.reaps, id)
		}
	}
}

func (d *Dispatcher) reap(ctx context.Context, c holdfast.Copy) {
	found, err := d.reapSnapshot(ctx, c)
	if err != nil {
		d.log.InfoContext(ctx, "orphan not reaped; it is tried again", "snapshot", c.Snapshot, "execution", int64(c.Execution), "error", err)
		return
	}
	if !found && d.cfg.Now().Sub(c.Intended) < d.cfg.OrphanLife {
		return
	}
	err = d.update(ctx, func(tx store.Tx) error { return d.moveCopy(ctx, tx, actorDispatch, c, holdfast.CopyDeleted) })
	if err != nil {
		d.log.InfoContext(ctx, "reaped orphan not recorded; it is tried again", "snapshot", c.Snapshot, "error", err)
		return
	}
	d.log.InfoContext(ctx, "orphan reaped", "snapshot", c.Snapshot, "execution", int64(c.Execution), "fence", uint64(c.Fence))
}

// reapSnapshot has a maintenance worker remove the snapshot, and reports whether
// it was there.
func (d *Dispatcher) reapSnapshot(ctx context.Context, c holdfast.Copy) (bool, error) {
	var (
		repository holdfast.Repository
		workers    []holdfast.Worker
	)
	err := d.view(ctx, func(r store.Reader) (err error) {
		if repository, err = r.Repository(ctx, c.Account, c.Repository); err != nil {
			return err
		}
		workers, err = r.Workers(ctx)
		return err
	})
	if err != nil {
		return false, err
	}
	err = holdfast.Errorf(holdfast.CodeUnavailable, "no worker is marked for maintenance").
		WithHint("start the server with its own worker, or mark one")
	for _, w := range workers {
		if !w.Maintenance || !w.Removed.IsZero() {
			continue
		}
		var answer wire.Answer
		answer, err = d.commandReap(ctx, w, repository, c)
		if err == nil {
			return answer.Found, nil
		}
	}
	return false, err
}

func (d *Dispatcher) commandReap(ctx context.Context, w holdfast.Worker, r holdfast.Repository, c holdfast.Copy) (wire.Answer, error) {
	sealed, err := d.secretsFor(w, nil, r.Password)
	if err != nil {
		return wire.Answer{}, err
	}
	repository := repositoryOf(r)
	ctx, cancel := context.WithTimeout(ctx, reapLimit)
	defer cancel()
	return d.command(ctx, w, wire.Command{
		Kind: wire.CommandReap, Execution: c.Execution, Fence: c.Fence, Repository: &repository, Snapshot: c.Snapshot, Sealed: sealed,
	})
}

// lateSnapshot follows a finish that was refused: its worker may have written
// the snapshot only now.
func (d *Dispatcher) lateSnapshot(ctx context.Context, e holdfast.Execution, f wire.Finish) {
	if e.Type != holdfast.JobBackup {
		return
	}
	var c holdfast.Copy
	err := d.update(ctx, func(tx store.Tx) (err error) {
		c, err = tx.CopyByFence(ctx, e.ID, f.Fence)
		if err != nil || c.State != holdfast.CopyDeleted || e.State == holdfast.StateEnded && e.Fence == f.Fence && e.Outcome == holdfast.OutcomeSucceeded {
			return err
		}
		return d.moveCopy(ctx, tx, actorDispatch, c, holdfast.CopyOrphaned)
	})
	if err != nil {
		if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
			d.log.InfoContext(ctx, "late snapshot not looked up", "execution", int64(e.ID), "error", err)
		}
		return
	}
	d.mu.Lock()
	delete(d.reaps, c.ID)
	d.mu.Unlock()
	d.kickReaper()
}

// release is a fence that was closed without its engine.
type release struct {
	execution holdfast.Execution
	fence     holdfast.Fence
}

const (
	releaseTries = 5
	releaseWait  = 5 * time.Second
	releaseLimit = 30 * time.Second
)

// release has a worker on the site's host end what the execution left on the
// server.
func (d *Dispatcher) release(e holdfast.Execution, f holdfast.Fence) {
	if e.Type != holdfast.JobBackup {
		return
	}
	select {
	case d.releases <- release{execution: e, fence: f}:
	default:
		d.log.Warn("what an execution left on its server is not released: too many wait", "execution", int64(e.ID))
	}
}

func (d *Dispatcher) releaseLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-d.releases:
			d.releaseOne(ctx, r)
		}
	}
}

func (d *Dispatcher) releaseOne(ctx context.Context, r release) {
	var err error
	for range releaseTries {
		var site holdfast.Site
		err = d.view(ctx, func(tx store.Reader) (err error) {
			site, err = tx.Site(ctx, r.execution.Account, r.execution.Site)
			return err
		})
		if err == nil {
			_, err = d.commandSite(ctx, site, releaseLimit, wire.Command{
				Kind: wire.CommandRelease, Installation: d.installation, Engine: r.execution.Engine, Execution: r.execution.ID, Fence: r.fence,
			})
		}
		if err == nil || errors.Is(err, context.Canceled) || holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(releaseWait):
		}
	}
	if err != nil {
		d.log.InfoContext(ctx, "what an execution may have left on its server was not released", "execution", int64(r.execution.ID),
			"error", fmt.Errorf("release: %w", err))
	}
}

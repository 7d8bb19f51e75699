package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

const (
	reapEvery  = time.Second     // between two looks at what is to be removed
	reapIdle   = 5 * time.Second // the same, when the last ones found nothing to do
	reapFirst  = 2 * time.Second
	reapMost   = 10 * time.Minute
	reapLimit  = 5 * time.Minute // for one snapshot
	reapHeld   = 6 * time.Hour   // before what is under retention is tried again, when the store does not say until when
	reapLatest = 24 * time.Hour  // the same, at most: a retention may be shortened
	reapAtOnce = 1000            // copies of one state that a look takes in, those apart that rest
	reapLanes  = 8               // repositories that are worked on at once
	reapRound  = 100             // copies of one repository, before others have their turn
)

// reaper is what is known of copies whose snapshots are to be removed, and of
// their repositories. A repository that does not answer holds up no other.
type reaper struct {
	mu           sync.Mutex                             // guards the fields below
	copies       map[holdfast.CopyID]*reapAttempt       // that could not be removed yet
	repositories map[holdfast.RepositoryID]*reapAttempt // that did not answer
	busy         map[holdfast.RepositoryID]bool         // being worked on
}

func newReaper() *reaper {
	return &reaper{
		copies: map[holdfast.CopyID]*reapAttempt{}, repositories: map[holdfast.RepositoryID]*reapAttempt{}, busy: map[holdfast.RepositoryID]bool{},
	}
}

// reapAttempt is when a copy, or a repository, is tried again.
type reapAttempt struct {
	next     time.Duration // clock
	wait     time.Duration
	retained bool // the store may not delete the copy yet, and that has been said
}

// failed puts the next attempt off, for longer each time.
func failed[K comparable](m map[K]*reapAttempt, key K, now time.Duration) {
	a := m[key]
	if a == nil {
		a = &reapAttempt{wait: reapFirst}
		m[key] = a
	}
	a.next = now + a.wait
	a.wait = min(2*a.wait, reapMost)
}

// lane is copies in one repository, which are removed one after the other.
type lane struct {
	repository holdfast.RepositoryID
	copies     []holdfast.Copy
}

// without returns the repositories that are not to be looked at now, how many others
// may be, and how many copies rest. What has not been tried for long is forgotten:
// somebody else has removed it.
func (r *reaper) without(now time.Duration) (out []holdfast.RepositoryID, free, rest int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, a := range r.copies {
		if now > a.next+reapMost {
			delete(r.copies, id)
		}
	}
	for id := range r.busy {
		out = append(out, id)
	}
	for id, a := range r.repositories {
		if now > a.next+reapMost {
			delete(r.repositories, id)
		} else if now < a.next && !r.busy[id] {
			out = append(out, id)
		}
	}
	return out, reapLanes - len(r.busy), len(r.copies)
}

// begin takes what is due of the copies, by repository, in up to free lanes. What
// has failed before comes last, so that it holds up nothing for ever.
func (r *reaper) begin(copies []holdfast.Copy, free int, now time.Duration) []lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := func(c holdfast.Copy) time.Duration {
		if a := r.copies[c.ID]; a != nil {
			return a.next
		}
		return 0
	}
	copies = slices.DeleteFunc(copies, func(c holdfast.Copy) bool { return now < next(c) })
	slices.SortStableFunc(copies, func(a, b holdfast.Copy) int { return cmp.Compare(next(a), next(b)) })
	var lanes []lane
	for _, c := range copies {
		i := slices.IndexFunc(lanes, func(l lane) bool { return l.repository == c.Repository })
		if i < 0 && len(lanes) < free && !r.busy[c.Repository] {
			i = len(lanes)
			lanes = append(lanes, lane{repository: c.Repository})
		}
		if i >= 0 && len(lanes[i].copies) < reapRound {
			lanes[i].copies = append(lanes[i].copies, c)
		}
	}
	for _, l := range lanes {
		r.busy[l.repository] = true
	}
	return lanes
}

// end ends a lane. A repository in which nothing could be removed rests.
func (r *reaper) end(l lane, answered bool, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, l.repository)
	if answered {
		delete(r.repositories, l.repository)
	} else {
		failed(r.repositories, l.repository, now)
	}
}

// again has the copy tried again later.
func (r *reaper) again(id holdfast.CopyID, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	failed(r.copies, id, now)
}

// retain has a copy that the store may not delete yet tried again after the wait, and
// reports whether that is new.
func (r *reaper) retain(id holdfast.CopyID, now, wait time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.copies[id]
	if a == nil {
		a = &reapAttempt{wait: reapFirst}
		r.copies[id] = a
	}
	known := a.retained
	a.next, a.retained = now+wait, true
	return !known
}

// done forgets a copy.
func (r *reaper) done(id holdfast.CopyID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.copies, id)
}

// reapLoop removes the snapshots of what has expired, and of what was intended
// and never finished, by their recorded ids. An orphan whose snapshot was not
// found is looked for again until its life is over: the worker that intended it
// may be frozen right in front of the write.
func (d *Dispatcher) reapLoop(ctx context.Context) error {
	wait := reapEvery
	t := time.NewTimer(wait)
	defer t.Stop()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			wait = min(2*wait, reapIdle)
		case <-d.kick:
			wait = reapEvery
		}
		lanes, err := d.reapLanes(ctx)
		if len(lanes) > 0 {
			wait = reapEvery
		}
		t.Reset(wait)
		if err != nil && ctx.Err() == nil {
			d.log.InfoContext(ctx, "snapshots that are to be removed not looked at", "error", err)
		}
		for _, l := range lanes {
			running.Go(func() { d.reapLane(ctx, l) })
		}
	}
}

func (d *Dispatcher) kickReaper() {
	select {
	case d.kick <- struct{}{}:
	default: // it is awake already
	}
}

// reapLanes begins the lanes that there is work for, and room.
func (d *Dispatcher) reapLanes(ctx context.Context) ([]lane, error) {
	without, free, rest := d.reaper.without(d.clock())
	if free <= 0 {
		return nil, nil
	}
	var copies []holdfast.Copy
	err := d.view(ctx, func(r store.Reader) error {
		copies = nil
		// Each state has its own limit: many of one do not hide the other.
		for _, state := range []holdfast.CopyState{holdfast.CopyExpired, holdfast.CopyOrphaned} {
			list, err := r.CopiesInState(ctx, state, reapAtOnce+rest, without...)
			if err != nil {
				return err
			}
			copies = append(copies, list...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return d.reaper.begin(copies, free, d.clock()), nil
}

// reapLane removes snapshots of one repository, until one cannot be removed.
func (d *Dispatcher) reapLane(ctx context.Context, l lane) {
	answered := false
	for _, c := range l.copies {
		if err := d.reap(ctx, c); err != nil {
			if ctx.Err() == nil {
				d.log.InfoContext(ctx, "snapshot not removed; it is tried again",
					"snapshot", c.Snapshot, "execution", int64(c.Execution), "state", string(c.State), "error", err)
			}
			break
		}
		answered = true
	}
	d.reaper.end(l, answered, d.clock())
}

// reap removes the snapshot of one copy. Of what has expired nobody writes
// anything any more: a snapshot that is not there has been removed.
func (d *Dispatcher) reap(ctx context.Context, c holdfast.Copy) error {
	answer, err := d.reapSnapshot(ctx, c)
	if err == nil && answer.Retained {
		return d.retain(ctx, c, answer.Until)
	}
	if err != nil || !answer.Found && c.State == holdfast.CopyOrphaned && d.cfg.Now().Sub(c.Intended) < d.cfg.OrphanLife {
		d.reaper.again(c.ID, d.clock())
		return err
	}
	d.cfg.Step("reap.removed")
	err = d.update(ctx, func(tx store.Tx) error { return d.moveCopy(ctx, tx, actorDispatch, c, holdfast.CopyDeleted) })
	if err != nil {
		d.reaper.again(c.ID, d.clock())
		return fmt.Errorf("record that it was removed: %w", err)
	}
	d.reaper.done(c.ID)
	d.log.InfoContext(ctx, "snapshot removed", "snapshot", c.Snapshot, "execution", int64(c.Execution), "fence", uint64(c.Fence), "state", string(c.State))
	return nil
}

// retain puts off what the store may not delete yet, and says so once.
func (d *Dispatcher) retain(ctx context.Context, c holdfast.Copy, until time.Time) error {
	wait := reapHeld
	if !until.IsZero() {
		wait = min(max(until.Sub(d.cfg.Now()), reapMost), reapLatest)
	}
	if !d.reaper.retain(c.ID, d.clock(), wait) {
		return nil
	}
	d.log.InfoContext(ctx, "snapshot under retention; it is removed later", "snapshot", c.Snapshot, "execution", int64(c.Execution), "state", string(c.State), "until", until)
	err := d.update(ctx, func(tx store.Tx) error {
		return event(ctx, tx, d.cfg.Now(), actorDispatch, c.Account, kindRetained, subjectOfSet(c.Set), copyRetained{
			Copy: int64(c.ID), Repository: int64(c.Repository), Snapshot: c.Snapshot, Until: until,
		})
	})
	if err != nil {
		d.reaper.done(c.ID) // nobody has heard of it: the next look is the first one
	}
	return err
}

// reapSnapshot has a maintenance worker remove the snapshot.
func (d *Dispatcher) reapSnapshot(ctx context.Context, c holdfast.Copy) (wire.Answer, error) {
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
		return wire.Answer{}, err
	}
	err = holdfast.Errorf(holdfast.CodeUnavailable, "no worker is marked for maintenance").
		WithHint("start the server with its own worker, or mark one")
	for _, w := range workers {
		if !w.Maintenance || !w.Removed.IsZero() || w.Account != 0 && w.Account != c.Account {
			continue
		}
		var answer wire.Answer
		answer, err = d.commandReap(ctx, w, repository, c)
		if err == nil {
			return answer, nil
		}
	}
	return wire.Answer{}, err
}

func (d *Dispatcher) commandReap(ctx context.Context, w holdfast.Worker, r holdfast.Repository, c holdfast.Copy) (wire.Answer, error) {
	sealed, err := d.secretsFor(w, nil, r)
	if err != nil {
		return wire.Answer{}, err
	}
	repository := repositoryOf(r)
	ctx, cancel := context.WithTimeout(ctx, reapLimit)
	defer cancel()
	return d.command(ctx, w, wire.Command{
		Kind: wire.CommandReap, Installation: cmp.Or(c.Origin, d.installation), Execution: c.Execution, Fence: c.Fence, Repository: &repository, Snapshot: c.Snapshot, Sealed: sealed,
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
		if err != nil || c.State != holdfast.CopyDeleted || e.State == holdfast.StateEnded && e.Fence == f.Fence && hasSet(e) {
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
	d.reaper.done(c.ID)
	d.kickReaper()
}

// hasSet reports whether the execution ended with a set, which may be gone by
// now.
func hasSet(e holdfast.Execution) bool {
	return e.Outcome == holdfast.OutcomeSucceeded || e.Outcome == holdfast.OutcomeWarning
}

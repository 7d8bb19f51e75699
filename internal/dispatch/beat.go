package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// handleBeat takes a beat. Only what we do not know costs a look at the
// database.
func (d *Dispatcher) handleBeat(ctx context.Context, m *nats.Msg) {
	w, id, err := wire.ParseExecution(wire.KindBeat, m.Subject)
	if err != nil {
		d.log.InfoContext(ctx, "beat dropped", "error", err)
		return
	}
	beat, err := wire.Decode[wire.Beat](m.Data)
	if err != nil {
		d.reply(ctx, m, wire.InboxPrefix(w), &wire.BeatReply{Failure: wire.NewFailure(err)})
		return
	}
	d.saw(w, "")
	answer, known := d.beat(w, id, beat)
	if !known {
		answer, err = d.strangeBeat(ctx, w, id, beat)
		if err != nil {
			// Not knowing is no reason to end the execution.
			answer = wire.BeatReply{Failure: d.fail(ctx, wire.KindBeat, err, "execution", int64(id))}
		}
	}
	if answer.Version > 0 {
		d.addProperties(ctx, w, id, &answer)
	}
	d.reply(ctx, m, wire.InboxPrefix(w), &answer)
}

// beat takes a beat of a watched execution; false: the watch cannot tell.
func (d *Dispatcher) beat(from holdfast.WorkerID, id holdfast.ExecutionID, b wire.Beat) (wire.BeatReply, bool) {
	now := d.clock()
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.watches[id]
	switch {
	case w == nil, w.fence < b.Fence:
		return wire.BeatReply{}, false
	case w.fence > b.Fence, w.worker != from:
		return wire.BeatReply{Stale: true}, true
	}
	if b.Number > w.number {
		w.number, w.since, w.progress, w.dirty = b.Number, now, b.Progress, true
		w.good = w.good || w.failed && b.Rounds > 0
	}
	answer := wire.BeatReply{Wanted: w.wanted, BytesPerSec: w.rate}
	if b.Version < w.version {
		answer.Version = w.version
	}
	return answer, true
}

// strangeBeat asks the database about an execution that is not watched.
func (d *Dispatcher) strangeBeat(ctx context.Context, from holdfast.WorkerID, id holdfast.ExecutionID, b wire.Beat) (wire.BeatReply, error) {
	stale := wire.BeatReply{Stale: true}
	var e holdfast.Execution
	err := d.view(ctx, func(r store.Reader) (err error) {
		e, err = r.Execution(ctx, 0, id)
		return err
	})
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return stale, nil
	}
	if err != nil {
		return stale, err
	}
	if e.State != holdfast.StateRunning || e.Fence != b.Fence || e.Worker != from {
		return stale, nil
	}
	d.watch(e)
	answer, known := d.beat(from, id, b)
	if !known {
		return stale, nil
	}
	return answer, nil
}

// flushLoop writes beats and progress, all in one transaction a second.
func (d *Dispatcher) flushLoop(ctx context.Context) error {
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			d.flush(ctx)
		}
	}
}

func (d *Dispatcher) flush(ctx context.Context) {
	d.mu.Lock()
	var dirty []watch
	for _, w := range d.watches {
		if w.dirty {
			dirty = append(dirty, *w)
		}
	}
	seen := d.takeSeen()
	d.mu.Unlock()
	if len(dirty) == 0 && len(seen) == 0 {
		return
	}
	err := d.update(ctx, func(tx store.Tx) error {
		for _, w := range dirty {
			err := tx.BeatExecution(ctx, w.id, w.fence, w.number, w.progress)
			if err == nil && w.good {
				err = d.forgive(ctx, tx, w)
			}
			if code := holdfast.ErrorCode(err); code == holdfast.CodeConflict || code == holdfast.CodeNotFound {
				continue // it has moved on
			}
			if err != nil {
				return fmt.Errorf("write beat of execution %d: %w", w.id, err)
			}
		}
		return d.writeSeen(ctx, tx, seen)
	})
	if err != nil {
		if ctx.Err() == nil {
			d.log.WarnContext(ctx, "beats not written; they are kept", "error", err)
		}
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, old := range dirty {
		w := d.watches[old.id]
		if w == nil || w.fence != old.fence {
			continue
		}
		w.written = old.number
		if old.good {
			w.failed, w.good = false, false
		}
		if w.number == old.number {
			w.dirty = false
		}
	}
}

// sighting is when a worker last spoke, and what it said of itself.
type sighting struct {
	version string
	spoke   bool          // since the last write
	written time.Duration // clock of the last write; 0: never
}

// saw notes that a worker spoke.
func (d *Dispatcher) saw(w holdfast.WorkerID, version string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.seen[w]
	if s == nil {
		s = &sighting{}
		d.seen[w] = s
	}
	s.spoke = true
	if version != "" {
		s.version = version
	}
}

// takeSeen returns the workers whose sighting is to be written now. The caller
// holds mu.
func (d *Dispatcher) takeSeen() map[holdfast.WorkerID]string {
	now := d.clock()
	var out map[holdfast.WorkerID]string
	for id, s := range d.seen {
		if !s.spoke || (s.written != 0 && now-s.written < seenEvery) {
			continue
		}
		s.spoke, s.written = false, now
		if out == nil {
			out = map[holdfast.WorkerID]string{}
		}
		out[id] = s.version
	}
	return out
}

func (d *Dispatcher) writeSeen(ctx context.Context, tx store.Tx, seen map[holdfast.WorkerID]string) error {
	for id, version := range seen {
		w, err := tx.Worker(ctx, id)
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			continue
		}
		if err != nil {
			return err
		}
		w.Seen = d.cfg.Now()
		if version != "" {
			w.Version = version
		}
		if err := tx.UpdateWorker(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

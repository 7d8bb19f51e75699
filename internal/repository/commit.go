package repository

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// program names us in snapshots.
const program = "holdfast"

// Commit says what the snapshot of a set tells about it.
type Commit struct {
	Time     time.Time
	Hostname string
	Username string
	Tags     []string // key=value
	Paths    []string // what the set holds: /pgdata
}

// Commit ends the set: everything added becomes durable, then the trees and the
// index, then intend is called with the id that the snapshot will have, and
// then the snapshot is put. When intend, or anything before, fails, there is no
// snapshot. An error after intend leaves open whether the snapshot exists; its
// id is returned with it.
//
// A writer whose lock was lost, or to whom a prune has not listened, refuses with
// CodeConflict: before the snapshot, or, with the snapshot's id, after it.
func (w *Writer) Commit(ctx context.Context, c Commit, intend func(ctx context.Context, snapshotID string) error) (string, error) {
	if err := w.end(); err != nil {
		return "", err
	}
	w.useMu.RLock()
	defer w.useMu.RUnlock()
	ctx, stop := w.bound(ctx)
	defer stop()
	root, err := w.writeTrees(ctx, c.Time)
	if err != nil {
		return "", w.fail(err)
	}
	id, sealed, err := w.encodeSnapshot(root, c)
	if err != nil {
		return "", w.fail(err)
	}
	if err := w.lock.check(ctx); err != nil {
		return "", w.fail(err)
	}
	if err := w.refuseSentenced(ctx); err != nil {
		return "", w.fail(err)
	}
	if err := intend(ctx, id.String()); err != nil {
		return "", w.fail(err)
	}
	if err := w.lock.mayWrite(); err != nil { // intend may have taken any time
		return "", w.fail(err)
	}
	if err := w.repo.put(ctx, kindSnapshot(), id, sealed); err != nil {
		return id.String(), w.fail(err)
	}
	if err := w.unharmed(ctx); err != nil { // frozen while it was put: what it names may be gone
		return id.String(), w.fail(err)
	}
	return id.String(), nil
}

// unharmed makes sure that what the writer counts on is there, and stays: the
// snapshot is durable, so whoever sentences packs from now on sees it. The order
// matters: a sentence that was carried out is gone, and so are its packs. Source:
// docs/format/prune.md.
func (w *Writer) unharmed(ctx context.Context) error {
	for _, look := range []func(context.Context) error{w.refuseSentenced, w.refuseMissing, w.lock.check} {
		if err := look(ctx); err != nil {
			return err
		}
	}
	return nil
}

// end refuses further files.
func (w *Writer) end() error {
	w.useMu.Lock()
	defer w.useMu.Unlock()
	if err := w.cause(); err != nil {
		return err
	}
	if w.done {
		return errCommitted
	}
	w.done = true
	return nil
}

// writeTrees stores the trees of everything added and returns the root's id.
// All is durable and indexed then.
func (w *Writer) writeTrees(ctx context.Context, now time.Time) (hash.ID, error) {
	if err := w.queued.wait(ctx, w.failed, w.cause); err != nil {
		return hash.ID{}, err
	}
	if err := w.cause(); err != nil {
		return hash.ID{}, err
	}
	w.mu.Lock()
	root, err := layOut(w.entries)
	w.entries = nil
	w.mu.Unlock()
	if err != nil {
		return hash.ID{}, err
	}
	t := treeWriter{Writer: w, now: now, users: map[uint32]string{}, groups: map[uint32]string{}}
	id, err := t.write(ctx, root, "")
	if err != nil {
		return id, err
	}
	return id, w.flush(ctx)
}

func (w *Writer) encodeSnapshot(root hash.ID, c Commit) (hash.ID, []byte, error) {
	s := snapshotJSON{
		Time: c.Time, Tree: &root, Paths: c.Paths,
		Hostname: c.Hostname, Username: c.Username, Tags: c.Tags, Program: program,
	}
	if s.Paths == nil {
		s.Paths = []string{} // others want a list
	}
	plain, err := json.Marshal(s)
	if err != nil {
		return hash.ID{}, nil, fmt.Errorf("encode the snapshot: %w", err)
	}
	return w.repo.encode(plain)
}

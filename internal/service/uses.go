package service

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// How exact Credential.LastUsed is, and how long writing it may take.
const (
	useEvery   = time.Minute
	useTimeout = 10 * time.Second
)

// maxNotes bounds the events that wait to be written.
const maxNotes = 1000

// lateEvent is an event that no caller waits for.
type lateEvent struct {
	holdfast.Event
	data facts
}

// uses writes what no caller should wait for: when credentials were last used,
// once a minute for each, and events of what was refused. At most one goroutine
// writes, and it ends when all is written.
type uses struct {
	store store.Store
	log   *slog.Logger
	wg    sync.WaitGroup

	mu      sync.Mutex                          // guards the fields below
	seen    map[holdfast.CredentialID]time.Time // last use of the last minutes, and any that is not written yet
	pending map[holdfast.CredentialID]holdfast.Credential
	notes   []lateEvent
	pruned  time.Time // when seen was last cleared of what is old
	writing bool
	closed  bool
}

func newUses(st store.Store, log *slog.Logger) *uses {
	return &uses{
		store:   st,
		log:     log,
		seen:    map[holdfast.CredentialID]time.Time{},
		pending: map[holdfast.CredentialID]holdfast.Credential{},
	}
}

// fresh returns the credential with its last use, which may not be written yet.
func (u *uses) fresh(c holdfast.Credential) holdfast.Credential {
	u.mu.Lock()
	defer u.mu.Unlock()
	if t := u.seen[c.ID]; t.After(c.LastUsed) {
		c.LastUsed = t
	}
	return c
}

// touch notes that the credential is used now.
func (u *uses) touch(ctx context.Context, c holdfast.Credential, now time.Time) {
	now = now.Truncate(useEvery)
	if !now.After(c.LastUsed) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || !now.After(u.seen[c.ID]) {
		return
	}
	u.prune(now)
	u.seen[c.ID] = now
	c.LastUsed = now
	u.pending[c.ID] = c
	u.start(ctx)
}

// prune forgets uses that are written, so that seen holds no more than what is in
// use.
func (u *uses) prune(now time.Time) {
	if !now.After(u.pruned.Add(useEvery)) {
		return
	}
	u.pruned = now
	for id, t := range u.seen {
		if _, waits := u.pending[id]; !waits && now.Sub(t) > 2*useEvery {
			delete(u.seen, id)
		}
	}
}

// note has an event written; nil is none.
func (u *uses) note(ctx context.Context, e *lateEvent) {
	if e == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || len(u.notes) >= maxNotes {
		u.log.WarnContext(ctx, "event not written", "kind", e.Kind, "subject", e.Subject)
		return
	}
	u.notes = append(u.notes, *e)
	u.start(ctx)
}

// start lets a goroutine write what waits.
func (u *uses) start(ctx context.Context) {
	if u.writing {
		return
	}
	u.writing = true
	ctx = context.WithoutCancel(ctx) // the request may be over before the write
	u.wg.Go(func() { u.write(ctx) })
}

func (u *uses) write(ctx context.Context) {
	for {
		u.mu.Lock()
		batch, notes := maps.Clone(u.pending), u.notes
		clear(u.pending)
		u.notes = nil
		u.writing = len(batch)+len(notes) > 0
		u.mu.Unlock()
		if len(batch)+len(notes) == 0 {
			return
		}
		if err := u.flush(ctx, batch, notes); err != nil {
			u.log.WarnContext(ctx, "last use of tokens not written yet", "error", err, "events", len(notes))
			u.keep(batch, notes)
			return
		}
	}
}

// keep takes back what was not written: it goes with what comes next.
func (u *uses) keep(batch map[holdfast.CredentialID]holdfast.Credential, notes []lateEvent) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, c := range batch {
		if newer, ok := u.pending[id]; !ok || c.LastUsed.After(newer.LastUsed) {
			u.pending[id] = c
		}
	}
	u.notes = append(notes, u.notes...)
	u.writing = false
}

// flush reads each credential again in its transaction: it may have been
// revoked meanwhile, and that must stay, or be gone.
func (u *uses) flush(ctx context.Context, batch map[holdfast.CredentialID]holdfast.Credential, notes []lateEvent) error {
	ctx, cancel := context.WithTimeout(ctx, useTimeout)
	defer cancel()
	return u.store.Update(ctx, func(tx store.Tx) error {
		for id, used := range batch {
			c, err := tx.Credential(ctx, used.Account, id)
			if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
				continue
			}
			if err != nil {
				return err
			}
			c.LastUsed = used.LastUsed
			if err := tx.UpdateCredential(ctx, c); err != nil {
				return err
			}
		}
		for _, e := range notes {
			if err := insertEvent(ctx, tx, e.Event, e.data); err != nil {
				return err
			}
		}
		return nil
	})
}

// close waits until all is written, and tries once more to write what could not
// be.
func (u *uses) close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.wg.Wait()
	if len(u.pending)+len(u.notes) == 0 {
		return
	}
	ctx := context.Background()
	if err := u.flush(ctx, u.pending, u.notes); err != nil {
		u.log.WarnContext(ctx, "last use of tokens not written", "error", err, "events", len(u.notes))
	}
	clear(u.pending)
	u.notes = nil
}

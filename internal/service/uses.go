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

// uses writes when tokens were last used, once a minute for each and not while
// a caller waits. At most one goroutine writes, and it ends when all is written.
type uses struct {
	store store.Store
	log   *slog.Logger
	wg    sync.WaitGroup

	mu      sync.Mutex                          // guards the fields below
	seen    map[holdfast.CredentialID]time.Time // last time that was, or will be, written
	pending map[holdfast.CredentialID]holdfast.Credential
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
	u.seen[c.ID] = now
	c.LastUsed = now
	u.pending[c.ID] = c
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
		batch := maps.Clone(u.pending)
		clear(u.pending)
		u.writing = len(batch) > 0
		u.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		if err := u.flush(ctx, batch); err != nil {
			u.log.WarnContext(ctx, "last use of tokens not written", "error", err)
		}
	}
}

// flush reads each credential again in its transaction: it may have been
// revoked meanwhile, and that must stay.
func (u *uses) flush(ctx context.Context, batch map[holdfast.CredentialID]holdfast.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, useTimeout)
	defer cancel()
	return u.store.Update(ctx, func(tx store.Tx) error {
		for id, used := range batch {
			c, err := tx.Credential(ctx, used.Account, id)
			if err != nil {
				return err
			}
			c.LastUsed = used.LastUsed
			if err := tx.UpdateCredential(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
}

// close waits until all is written.
func (u *uses) close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.wg.Wait()
}

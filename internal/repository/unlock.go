package repository

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Lock is a lock that somebody has on the repository.
type Lock struct {
	ID         string    // of its object, in hexadecimal
	Time       time.Time // of its last refresh
	Exclusive  bool
	Hostname   string
	Username   string
	PID        int
	Holder     string // stable name; empty: another program wrote it
	Stale      string // why nobody holds it any more; empty: somebody does
	Unreadable error  // why it cannot be read; the fields above are empty then
}

// The reasons why a lock is stale.
const (
	StaleOld  = "not refreshed for 30 minutes"
	StaleDead = "its process on this machine is gone"
)

// Locks returns the locks on the repository, in the order of their ids.
func (r *Repository) Locks(ctx context.Context) ([]Lock, error) {
	ids, err := list(ctx, r.bucket, kindLock())
	if err != nil {
		return nil, err
	}
	all := make([]Lock, 0, len(ids))
	for _, id := range ids {
		l := Lock{ID: id.String()}
		data, err := r.load(ctx, kindLock(), id)
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			continue // released or refreshed meanwhile
		}
		var body lockJSON
		if err == nil {
			body, err = parseLock(data)
		}
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case holdfast.ErrorCode(err) == holdfast.CodeInvalid:
			l.Unreadable = err
		case err != nil:
			return nil, err
		default:
			l.Time, l.Exclusive, l.Hostname, l.Username = body.Time, body.Exclusive, body.Hostname, body.Username
			l.PID, l.Holder = body.PID, body.Holder
			if body.stale(r.now()) {
				l.Stale = StaleOld
			} else if body.dead() {
				l.Stale = StaleDead
			}
		}
		all = append(all, l)
	}
	return all, nil
}

// Unlock removes the stale locks, or all of them, and returns those that it
// removed. A live holder whose lock is removed notices, and its backup fails.
func (r *Repository) Unlock(ctx context.Context, all bool) ([]Lock, error) {
	locks, err := r.Locks(ctx)
	if err != nil {
		return nil, err
	}
	removed := []Lock{}
	for _, l := range locks {
		if !all && l.Stale == "" {
			continue
		}
		ctx, cancel := withTimeout(ctx, callTimeout)
		err := r.bucket.Delete(ctx, kindLock().prefix+l.ID)
		cancel()
		if err != nil {
			return removed, err
		}
		removed = append(removed, l)
	}
	return removed, nil
}

package repository

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// repairing is what the holder of a repair's lock is called, after its machine.
const repairing = "repair"

// lockToRepair takes a shared lock. Backups and restores go on beside a repair, but
// two repairs keep each other out: each might rely on an object that the other one
// replaces.
func (r *Repository) lockToRepair(ctx context.Context) (*lock, error) {
	host, _ := os.Hostname() // for people
	l, err := r.takeLock(ctx, host+"/"+repairing, host, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	// Ours is there already: of two at once, one at least sees the other.
	if err := r.refuseSecondRepair(ctx, l.current()); err != nil {
		return nil, joinFirst(err, l.release(ctx))
	}
	return l, nil
}

func (r *Repository) refuseSecondRepair(ctx context.Context, own hash.ID) error {
	all, err := r.Locks(ctx)
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.ID != own.String() && l.Stale == "" && strings.HasSuffix(l.Holder, "/"+repairing) {
			return holdfast.Errorf(holdfast.CodeConflict, "process %d on %s repairs the repository, since %s", l.PID, l.Hostname, l.Time.UTC().Format(time.RFC3339)).
				WithHint("wait until it has finished; if that process is gone, run: holdfast repository unlock")
		}
	}
	return nil
}

// lockGood returns why nothing may be written any more under the lock.
func (l *lock) lockGood() error {
	if l.good() > 0 {
		return nil
	}
	return l.lose(errLockOutlived())
}

// joinFirst keeps the code and the hint of the first error when there is no second.
func joinFirst(err, second error) error {
	if second == nil {
		return err
	}
	return firstOf([]error{err, second})
}

// kindDamaged is where a repair notes, under their ids, packs that it has found
// damaged. They stay where they are, in case somebody brings the whole ones; but what
// is bad in them must not come back into the index: the next backup would take it for
// stored.
func kindDamaged() kind { return kind{"note on a damaged pack", "holdfast/damaged/", 64 << 10} }

// damagedPack is the note. It is sealed, as all objects are.
type damagedPack struct {
	Time time.Time `json:"time"`
	What string    `json:"what"`
}

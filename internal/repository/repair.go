package repository

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
)

// repairing is what the holder of a repair's lock is called, after its machine.
const repairing = "repair"

// lockToRepair takes a shared lock. Backups and restores go on beside a repair, but
// repairs and prunes keep each other out: each might rely on an object that the other
// one replaces.
func (r *Repository) lockToRepair(ctx context.Context) (*lock, error) {
	host, _ := os.Hostname() // for people
	l, err := r.takeLock(ctx, host+"/"+repairing, host, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if err := r.refuseMaintenance(ctx, l.current()); err != nil {
		return nil, joinFirst(err, l.release(ctx))
	}
	return l, nil
}

// lockToRehearse takes a lock for a dry run, which keeps nobody out.
func (r *Repository) lockToRehearse(ctx context.Context) (*lock, error) {
	return r.lockToRead(ctx, "rehearsal")
}

// refuseSentenced refuses while a prune deletes packs of the index, or was deleting
// them when it died: they may go at any time.
func (r *Repository) refuseSentenced(ctx context.Context, x *index.Index) error {
	id, going, err := r.sentenced(ctx, x)
	if err != nil || !going {
		return err
	}
	return holdfast.Errorf(holdfast.CodeConflict, "a prune is deleting packs, such as %s, or was interrupted", id).
		WithHint("run it to its end first: holdfast repository prune")
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

// spoilt is broken for those who act on it: what the store does not give, for whatever
// reason, is not given up.
func spoilt(ctx context.Context, err error) (FindingKind, error) {
	kind, err2 := broken(ctx, err)
	if err2 == nil && kind == FindingUnreadable {
		return "", err
	}
	return kind, err2
}

// damagedPacks returns the packs that a repair has found damaged.
func (r *Repository) damagedPacks(ctx context.Context) (map[hash.ID]bool, error) {
	ids, err := list(ctx, r.bucket, kindDamaged())
	noted := map[hash.ID]bool{}
	for _, id := range ids {
		noted[id] = true
	}
	return noted, err
}

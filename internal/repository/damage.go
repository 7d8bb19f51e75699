package repository

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
)

// ErrDamaged is in the chain of an error that says that something in the repository was
// changed after it was written.
var ErrDamaged = errors.New("the repository is damaged")

// ErrLost is in the chain of an error that says that something in the repository is not
// there. It may only be away: a disk that is not mounted.
var ErrLost = errors.New("a part of the repository is missing")

// hintDamagedSet is for who reads a set.
const hintDamagedSet = "restore another set; what else is affected says: holdfast repository check --read-data; a backup from now on stores anew what is damaged"

// blobDamage says that a blob is not what its name says, at one of its places.
type blobDamage struct {
	at  index.Location
	err error // nil: its content is another
}

func (d *blobDamage) Error() string {
	if d.err == nil {
		return "its content is not what its name says"
	}
	return d.err.Error()
}

func (d *blobDamage) Unwrap() error { return d.err }

func (d *blobDamage) Is(target error) bool { return target == ErrDamaged }

func damagedBlob(l index.Location, err error, format string, args ...any) error {
	return holdfast.Wrap(holdfast.CodeInvalid, &blobDamage{l, err}, format, args...).WithHint(hintDamagedSet)
}

// maxDamages is how many packs are remembered: a repository with more of them has lost
// its disk.
const maxDamages = 1000

// damages are packs in which something was damaged when it was read, each with a blob
// that shows it. Several goroutines note them.
type damages struct {
	mu   sync.Mutex // guards the field below
	seen map[hash.ID]index.Location
}

// see notes the damage that an error tells of. Without d nobody wants to know.
func (d *damages) see(err error) {
	var damage *blobDamage
	if d == nil || !errors.As(err, &damage) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen == nil {
		d.seen = map[hash.ID]index.Location{}
	}
	if _, known := d.seen[damage.at.Pack]; !known && len(d.seen) < maxDamages {
		d.seen[damage.at.Pack] = damage.at
	}
}

// remember leaves a note on each pack in which something is damaged still, so that no
// writer counts on what is in it: what the source has is stored anew then. Nothing is
// removed on account of a note; a repair looks at the pack again.
func (r *Repository) remember(ctx context.Context, l *lock, d *damages) error {
	d.mu.Lock()
	seen := maps.Clone(d.seen)
	d.mu.Unlock()
	m := blobMover{from: r, to: r}
	for _, id := range sortedIDs(seen) {
		_, _, err := m.read(ctx, seen[id]) // it was a bad cable, or bad memory, perhaps
		if !errors.As(err, new(*blobDamage)) {
			continue
		}
		if err := r.noteDamaged(ctx, l, id, err.Error()); err != nil {
			return err
		}
	}
	return nil
}

// noteDamaged leaves a note on a pack.
func (r *Repository) noteDamaged(ctx context.Context, l *lock, id hash.ID, what string) error {
	plain, err := json.Marshal(damagedPack{Time: r.now().UTC(), What: what})
	if err != nil {
		return err
	}
	_, sealed, err := r.encode(plain)
	if err != nil {
		return err
	}
	if err := l.mayWrite(); err != nil {
		return err
	}
	err = putObject(ctx, r.bucket, kindDamaged().name(id), kindDamaged().word, sealed)
	if err != nil && holdfast.ErrorCode(err) != holdfast.CodeConflict { // somebody else has noted it
		return err
	}
	return nil
}

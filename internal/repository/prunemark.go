package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
)

// The records of prunes. Source: docs/format/prune.md.
func kindMark() kind     { return kind{"mark", "holdfast/condemned/", 256 << 20} }
func kindSentence() kind { return kind{"sentence", "holdfast/sentenced/", 256 << 20} }

// recordVersion is the version of marks and sentences that we write, and the newest
// that we read.
const recordVersion = 1

// maxRecordPacks is how many packs one record names at most: with 67 bytes each they
// leave a quarter of what a reader takes to the sessions. They are 45 TB of full packs.
const maxRecordPacks = 3_000_000

// mark says which packs shall go.
type mark struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
	Packs   []hash.ID `json:"packs"`
	Seen    *seen     `json:"seen,omitempty"` // nil: nobody has looked yet who holds a lock
}

// seen says who held a lock when the mark was durable already.
type seen struct {
	Time     time.Time `json:"time"`
	Sessions []session `json:"sessions"`
	// Settled: all of these had gone, and no snapshot needed the packs then. The sessions
	// are readers that were there at that time: one may read a snapshot that counted on
	// the packs and was removed before.
	Settled bool `json:"settled,omitempty"`
}

// sentence says which packs somebody is deleting.
type sentence struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
	Packs   []hash.ID `json:"packs"`
}

func checkRecord(version int, packs []hash.ID) error {
	if version != recordVersion {
		return holdfast.Errorf(holdfast.CodeForbidden, "a newer version of holdfast prunes this repository: its records have version %d", version).
			WithHint("upgrade holdfast")
	}
	for _, id := range packs {
		if id.IsZero() {
			return holdfast.Errorf(holdfast.CodeInvalid, "the record names a pack without an id")
		}
	}
	return nil
}

// marks loads every mark. damaged decides about one that cannot be read.
func (r *Repository) marks(ctx context.Context, damaged func(hash.ID, error) error) (map[hash.ID]mark, error) {
	return loadRecords(ctx, r, kindMark(), func(m mark) error { return checkRecord(m.Version, m.Packs) }, damaged)
}

// sentences loads every sentence. One that cannot be read is an error: which packs
// somebody is deleting is not known then.
func (r *Repository) sentences(ctx context.Context) (map[hash.ID]sentence, error) {
	return r.sentencesOr(ctx, func(_ hash.ID, err error) error {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "which packs a prune is deleting is not known").WithHint("%s", hintSentence)
	})
}

const hintSentence = "when no prune is running, remove this object from the repository, and prune again"

func (r *Repository) sentencesOr(ctx context.Context, damaged func(hash.ID, error) error) (map[hash.ID]sentence, error) {
	return loadRecords(ctx, r, kindSentence(), func(s sentence) error { return checkRecord(s.Version, s.Packs) }, damaged)
}

// loadRecords loads all records of a kind. One that disappears was replaced, so the
// list is read until nothing is new.
func loadRecords[T any](ctx context.Context, r *Repository, k kind, check func(T) error, damaged func(hash.ID, error) error) (map[hash.ID]T, error) {
	bad := map[hash.ID]bool{}
	known := map[hash.ID]T{}
	for range maxIndexPasses {
		ids, err := list(ctx, r.bucket, k)
		if err != nil {
			return nil, err
		}
		found, again := map[hash.ID]T{}, false
		for _, id := range ids {
			if v, ok := known[id]; ok || bad[id] {
				if ok {
					found[id] = v
				}
				continue
			}
			again = true
			v, err := loadRecord[T](ctx, r, k, id)
			if err == nil {
				err = check(v)
			}
			code := holdfast.ErrorCode(err)
			switch {
			case err == nil:
				found[id] = v
			case code == holdfast.CodeInvalid:
				if err := damaged(id, err); err != nil {
					return nil, err
				}
				bad[id] = true
			case code != holdfast.CodeNotFound: // it was replaced
				return nil, err
			}
		}
		if known = found; !again {
			return known, nil
		}
	}
	return nil, holdfast.Errorf(holdfast.CodeUnavailable, "the repository's %ss keep changing while they are read", k.word)
}

func loadRecord[T any](ctx context.Context, r *Repository, k kind, id hash.ID) (v T, err error) {
	data, err := r.load(ctx, k, id)
	if err == nil {
		if err = json.Unmarshal(data, &v); err != nil {
			err = holdfast.Wrap(holdfast.CodeInvalid, err, "%s %s is not the JSON of one", k.word, id)
		}
	}
	return v, err
}

// ignoreDamaged leaves out a mark that cannot be read: its packs are condemned by
// nobody, and should somebody delete them all the same, a commit sees that.
func ignoreDamaged(hash.ID, error) error { return nil }

// condemned returns the packs that nobody may count on for anything new.
func (r *Repository) condemned(ctx context.Context) (map[hash.ID]bool, error) {
	all, err := r.marks(ctx, ignoreDamaged)
	if err != nil {
		return nil, err
	}
	packs := map[hash.ID]bool{}
	for _, m := range all {
		for _, id := range m.Packs {
			packs[id] = true
		}
	}
	return packs, nil
}

// putRecord stores a record and returns its id.
func putRecord(ctx context.Context, r *Repository, k kind, v any) (hash.ID, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return hash.ID{}, fmt.Errorf("encode a %s: %w", k.word, err)
	}
	return r.save(ctx, k, plain)
}

// sentenced returns a pack of the index that somebody deletes, and whether there is one.
func (r *Repository) sentenced(ctx context.Context, x *index.Index) (hash.ID, bool, error) {
	all, err := r.sentences(ctx)
	if err != nil || len(all) == 0 {
		return hash.ID{}, false, err
	}
	known := map[hash.ID]bool{}
	for _, id := range x.PackIDs() {
		known[id] = true
	}
	for _, s := range all {
		for _, id := range s.Packs {
			if known[id] {
				return id, true, nil
			}
		}
	}
	return hash.ID{}, false, nil
}

// refuseSentenced is what whoever commits asks before and after the snapshot is
// there: whether somebody deletes a pack that they know.
func (w *Writer) refuseSentenced(ctx context.Context) error {
	id, going, err := w.repo.sentenced(ctx, w.index)
	if err != nil || !going {
		return err
	}
	return w.tooLate(id)
}

// refuseMissing looks whether every pack that the writer knows is there.
func (w *Writer) refuseMissing(ctx context.Context) error {
	sizes, err := w.repo.packSizes(ctx)
	if err != nil {
		return err
	}
	for _, id := range w.index.PackIDs() {
		if sizes[id] == 0 {
			return w.tooLate(id)
		}
	}
	return nil
}

// tooLate is the error of a writer that a prune has taken for dead; so is its lock then.
func (w *Writer) tooLate(id hash.ID) error {
	err := holdfast.Wrap(holdfast.CodeConflict, errGone, "pack %s was deleted from the repository while the backup ran", id).
		WithHint("run the job again; what it has stored is kept")
	_ = w.lock.lose(err)
	return err
}

// errGone is in the tree of the error of a commit that was too late.
var errGone = errors.New("a prune took the backup for dead")

package repository

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// named looks at a pack that index objects name.
func (x *indexRepair) named(ctx context.Context, p *packReader, j packJob, there bool) error {
	if !there {
		sctx, cancel := withTimeout(ctx, callTimeout)
		info, err := x.bucket.Stat(sctx, packName(j.id)) // the listing may be older
		cancel()
		if err != nil {
			return x.absent(ctx, j, err)
		}
		j.size = info.Size
	}
	if j.size == pack.Size(j.blobs) && !x.noted[j.id] && !x.options.ReadData {
		header, err := p.header(ctx, j)
		if err == nil && slices.Equal(header, j.blobs) {
			return nil
		}
		if err != nil {
			if _, err2 := spoilt(ctx, err); err2 != nil {
				return err2
			}
		}
	}
	return x.examine(ctx, p, j)
}

// absent gives up a pack that is not there.
func (x *indexRepair) absent(ctx context.Context, j packJob, err error) error {
	kind, err2 := spoilt(ctx, err)
	if err2 != nil {
		return err2
	}
	x.decide(j.id, &packFate{bad: true, missing: kind == FindingMissing, what: err.Error(), lost: j.blobs})
	return nil
}

// loose looks at a pack that no index object names.
func (x *indexRepair) loose(ctx context.Context, p *packReader, j packJob) error {
	if x.noted[j.id] || x.options.ReadData {
		return x.examine(ctx, p, j)
	}
	header, err := p.header(ctx, j)
	if err != nil {
		return x.unreadable(ctx, j, err)
	}
	x.index.Add(j.id, header)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.added[j.id] = true
	return nil
}

// unreadable gives up a pack of which nobody knows what it holds.
func (x *indexRepair) unreadable(ctx context.Context, j packJob, err error) error {
	kind, err2 := spoilt(ctx, err)
	if err2 != nil {
		return err2
	}
	if kind == FindingMissing { // removed since it was listed: nobody removes what others need
		return nil
	}
	x.decide(j.id, &packFate{bad: true, what: fmt.Sprintf("no index object says what it holds, and its header cannot be read: %v", err)})
	return nil
}

// examine reads a pack whole. Its header is believed before the index, which may be
// another program's mistake; but only as far as the pieces are what their names say.
func (x *indexRepair) examine(ctx context.Context, p *packReader, j packJob) error {
	header, err := p.header(ctx, j)
	if err != nil {
		if len(j.blobs) == 0 {
			return x.unreadable(ctx, j, err)
		}
		if _, err2 := spoilt(ctx, err); err2 != nil {
			return err2
		}
	}
	whole := packJob{id: j.id, size: j.size, blobs: j.blobs}
	if err == nil {
		whole.blobs = header
	}
	v := packVerdict{size: j.size, want: pack.Size(whole.blobs)}
	if err := p.stream(ctx, whole, &v); err != nil {
		if _, err2 := spoilt(ctx, err); err2 != nil {
			return err2
		}
		v.err = err
		if err := p.readEach(ctx, whole, &v); err != nil {
			return err
		}
	}
	if err := x.askAgain(ctx, whole, &v); err != nil {
		return err
	}
	what := v.what(len(whole.blobs))
	switch {
	case what == "" && slices.Equal(header, j.blobs): // the index is right
	case what == "":
		x.decide(j.id, &packFate{blobs: header})
		if len(j.blobs) == 0 {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.added[j.id] = true
		}
	default:
		f := &packFate{bad: true, what: what}
		left := map[blobName]bool{}
		for _, b := range whole.blobs {
			if !slices.Contains(v.bad, b.Offset) {
				f.good = append(f.good, b)
				left[blobName{b.ID, b.Type}] = true
			}
		}
		for _, b := range slices.Concat(whole.blobs, j.blobs) { // of the index, too: the header may be another pack's
			if name := (blobName{b.ID, b.Type}); !left[name] {
				f.lost = append(f.lost, b)
				left[name] = true
			}
		}
		x.decide(j.id, f)
	}
	return nil
}

// askAgain takes back what was said of blobs that are what their names say all the
// same: a directory that we would refuse to restore is no damage of the pack.
func (x *indexRepair) askAgain(ctx context.Context, j packJob, v *packVerdict) error {
	if len(v.bad) == 0 {
		return nil
	}
	m := blobMover{from: x.Repository, to: x.Repository}
	var bad []uint32
	for _, b := range j.blobs {
		if !slices.Contains(v.bad, b.Offset) {
			continue
		}
		if _, _, err := m.read(ctx, index.Location{Blob: b, Pack: j.id}); err != nil {
			if _, err2 := spoilt(ctx, err); err2 != nil {
				return err2
			}
			bad = append(bad, b.Offset)
		}
	}
	v.bad = bad
	return nil
}

func (x *indexRepair) decide(id hash.ID, f *packFate) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.verdicts[id] = f
}

// bad lists what is lost. All packs have been looked at.
func (x *indexRepair) bad() []BadPack {
	saved := map[blobName]bool{} // what bad packs still give
	for _, f := range x.verdicts {
		for _, b := range f.good {
			saved[blobName{b.ID, b.Type}] = true
		}
		for _, b := range f.blobs {
			saved[blobName{b.ID, b.Type}] = true
		}
	}
	var out []BadPack
	for _, id := range sortedIDs(x.verdicts) {
		f := x.verdicts[id]
		if !f.bad {
			continue
		}
		b := BadPack{ID: id.String(), Missing: f.missing, What: f.what, Blobs: len(f.good) + len(f.lost)}
		for _, l := range f.lost {
			if !saved[blobName{l.ID, l.Type}] && !x.elsewhere(l) {
				b.Lost++
			}
		}
		out = append(out, b)
	}
	return out
}

// blobName is what blobs are asked for by.
type blobName struct {
	id hash.ID
	t  pack.Type
}

// elsewhere reports whether a pack that stays, and is in the index as it is, has the
// blob.
func (x *indexRepair) elsewhere(b pack.Blob) bool {
	for _, l := range x.index.Lookup(nil, b.ID, b.Type) {
		if x.verdicts[l.Pack] == nil && !x.going[l.Pack] {
			return true
		}
	}
	return false
}

// saveGood copies what can be read in bad packs, and is nowhere else, into new packs,
// and returns how many there are. They are durable, and in the index, then.
func (x *indexRepair) saveGood(ctx context.Context) (int, error) {
	var todo []index.Location
	taken := map[blobName]bool{}
	for _, f := range x.verdicts {
		for _, b := range f.blobs {
			taken[blobName{b.ID, b.Type}] = true
		}
	}
	for _, id := range sortedIDs(x.verdicts) {
		for _, b := range x.verdicts[id].good {
			if name := (blobName{b.ID, b.Type}); !taken[name] && !x.elsewhere(b) {
				taken[name] = true
				todo = append(todo, index.Location{Blob: b, Pack: id})
			}
		}
	}
	if len(todo) == 0 || x.options.DryRun {
		return min(len(todo), 1), nil
	}
	packs, _, err := x.storeApart(ctx, x.lock, func(ctx context.Context, to *packer) error {
		m := blobMover{from: x.Repository, to: x.Repository}
		for _, l := range todo {
			b, content, err := m.read(ctx, l)
			if err != nil {
				return err
			}
			if err := to.seal(ctx, b, content); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return int(packs), nil
}

// note keeps the damaged packs out of the index of later repairs.
func (x *indexRepair) note(ctx context.Context) error {
	if x.options.DryRun {
		return nil
	}
	for _, id := range sortedIDs(x.verdicts) {
		f := x.verdicts[id]
		if !f.bad || f.missing || len(f.good)+len(f.lost) == 0 || x.noted[id] {
			continue
		}
		if err := x.noteDamaged(ctx, x.lock, id, f.what); err != nil {
			return err
		}
	}
	return nil
}

// forgetNotes removes the notes on packs that are whole again, or gone.
func (x *indexRepair) forgetNotes(ctx context.Context) error {
	for _, id := range sortedIDs(x.noted) {
		if f := x.verdicts[id]; f != nil && f.bad && !f.missing {
			continue
		}
		if err := x.remove(ctx, kindDamaged(), id); err != nil {
			return err
		}
	}
	return nil
}

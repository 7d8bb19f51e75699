package index

import (
	"cmp"
	"slices"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// ref is the place of an entry in the table.
type ref struct {
	number uint32
	shard  uint8
}

// ByPack calls fn for each pack with the blobs that lie in it, in the order of
// their offsets, until fn returns an error. The blobs are valid until fn returns.
// Nothing may be added meanwhile. It takes 8 bytes a blob while it runs.
func (x *Index) ByPack(fn func(id hash.ID, blobs []pack.Blob) error) error {
	ends := make([]int, x.Packs()+1) // where the refs of each pack end, once they are filled in
	x.each(func(e *entry, _ ref) { ends[e.pack&^treeFlag+1]++ })
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	refs := make([]ref, ends[len(ends)-1])
	x.each(func(e *entry, r ref) {
		end := &ends[e.pack&^treeFlag]
		refs[*end] = r
		*end++
	})
	var blobs []pack.Blob
	first := 0
	for no, end := range ends[:len(ends)-1] {
		blobs = blobs[:0]
		for _, r := range refs[first:end] {
			e := x.shards[r.shard].at(r.number)
			b := pack.Blob{ID: e.id, Type: pack.Data, Offset: e.offset, Length: e.length, Raw: e.raw}
			if e.pack&treeFlag != 0 {
				b.Type = pack.Tree
			}
			blobs = append(blobs, b)
		}
		first = end
		slices.SortFunc(blobs, func(a, b pack.Blob) int { return cmp.Compare(a.Offset, b.Offset) })
		if err := fn(x.packs[no], blobs); err != nil {
			return err
		}
	}
	return nil
}

// each calls fn for every place that is not a mere claim.
func (x *Index) each(fn func(*entry, ref)) {
	for i := range x.shards {
		s := &x.shards[i]
		for n := range s.count {
			if e := s.at(n); e.length != 0 {
				fn(e, ref{number: n, shard: uint8(i)}) //nolint:gosec // fewer than 256 shards
			}
		}
	}
}

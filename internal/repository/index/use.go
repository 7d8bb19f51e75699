package index

import (
	"sync"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// Use notes which blobs are used, with a bit for each place. It may be used by
// several goroutines, and the index may grow meanwhile.
type Use struct {
	index  *Index
	shards [shards]useShard
}

type useShard struct {
	mu   sync.Mutex // guards the field below
	bits []uint64   // by the number of the blob's first entry
}

// NewUse returns a note of no use.
func (x *Index) NewUse() *Use { return &Use{index: x} }

// Add notes that a blob is used. known: the index has it; added: it was not noted
// before.
func (u *Use) Add(id hash.ID, t pack.Type) (known, added bool) {
	n, known := u.index.first(id, t)
	if !known {
		return false, false
	}
	s := &u.shards[id[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	for int(n/64) >= len(s.bits) {
		s.bits = append(s.bits, 0)
	}
	added = s.bits[n/64]>>(n%64)&1 == 0
	s.bits[n/64] |= 1 << (n % 64)
	return true, added
}

// Has reports whether a blob is used.
func (u *Use) Has(id hash.ID, t pack.Type) bool {
	n, known := u.index.first(id, t)
	if !known {
		return false
	}
	s := &u.shards[id[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(n/64) < len(s.bits) && s.bits[n/64]>>(n%64)&1 == 1
}

// first returns the number of the blob's first place in its shard. It stays the
// same: places are added behind it, and none is taken away.
func (x *Index) first(id hash.ID, t pack.Type) (n uint32, known bool) {
	s := x.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.slots) == 0 {
		return 0, false
	}
	for i := s.slot(&id); s.slots[i] != 0; i = (i + 1) & (len(s.slots) - 1) {
		e := s.at(s.slots[i] - 1)
		if e.id == id && (e.pack^flag(t))&treeFlag == 0 && e.length != 0 {
			return s.slots[i] - 1, true
		}
	}
	return 0, false
}

// PackIDs returns the packs that blobs lie in.
func (x *Index) PackIDs() []hash.ID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return append([]hash.ID(nil), x.packs...)
}

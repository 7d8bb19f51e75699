// Package index knows where each blob lies: the index objects of a repository,
// and the table of all of them in memory. Source of the format:
// docs/format/index.md.
package index

import (
	"encoding/binary"
	"sync"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// Location is a blob and the pack it lies in.
type Location struct {
	pack.Blob
	Pack hash.ID
}

// Claim is what a writer learns of a blob.
type Claim int

// The answers to a claim.
const (
	Known   Claim = iota // it is stored, or somebody is about to store it
	Claimed              // the caller stores it, or fails the whole run
)

// shards spread the table's locks. A power of two.
const shards = 64

// Index is the table of blobs. It may be used by several goroutines. A blob
// takes 48 bytes and its slots 4 to 8; packs are numbered so that their ids are
// kept once.
type Index struct {
	shards [shards]shard

	mu      sync.RWMutex // guards the fields below
	packs   []hash.ID
	packNos map[hash.ID]uint32
}

type shard struct {
	mu      sync.RWMutex // guards the fields below
	entries [][]entry    // blocks of blockLen: growth copies nothing
	count   uint32
	slots   []uint32 // open addressing: number of an entry plus one; 0: free
}

const blockLen = 256

type entry struct {
	id     hash.ID
	pack   uint32 // number of the pack, with treeFlag
	offset uint32
	length uint32 // 0: claimed, not stored yet
	raw    uint32
}

const treeFlag = 1 << 31

// New returns an empty index.
func New() *Index { return &Index{packNos: map[hash.ID]uint32{}} }

// Add records where the pack's blobs lie. A blob that is known already gets one
// place more.
func (x *Index) Add(id hash.ID, blobs []pack.Blob) {
	no := x.packNo(id)
	for _, b := range blobs {
		e := entry{id: b.ID, pack: no, offset: b.Offset, length: b.Length, raw: b.Raw}
		if b.Type == pack.Tree {
			e.pack |= treeFlag
		}
		s := x.shard(b.ID)
		s.mu.Lock()
		s.add(e)
		s.mu.Unlock()
	}
}

// Claim asks for a blob. Of several callers that ask for an unknown one, one is
// told to store it.
func (x *Index) Claim(id hash.ID, t pack.Type) Claim {
	s := x.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := entry{id: id, pack: flag(t)}
	if s.find(&e, nil) {
		return Known
	}
	s.insert(e)
	return Claimed
}

// Has reports whether a blob is known, as Claim would answer, and asks for nothing.
func (x *Index) Has(id hash.ID, t pack.Type) bool {
	s := x.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := entry{id: id, pack: flag(t)}
	return s.find(&e, nil)
}

// Lookup returns every place where the blob lies, appended to dst.
func (x *Index) Lookup(dst []Location, id hash.ID, t pack.Type) []Location {
	s := x.shard(id)
	s.mu.RLock()
	e := entry{id: id, pack: flag(t)}
	s.find(&e, func(found *entry) bool {
		if found.length != 0 {
			dst = append(dst, Location{
				Blob: pack.Blob{ID: id, Type: t, Offset: found.offset, Length: found.length, Raw: found.raw},
				Pack: x.packID(found.pack &^ treeFlag),
			})
		}
		return true
	})
	s.mu.RUnlock()
	return dst
}

// Len returns the number of places that the index holds.
func (x *Index) Len() int {
	n := 0
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.RLock()
		n += int(s.count)
		s.mu.RUnlock()
	}
	return n
}

// Packs returns the number of packs.
func (x *Index) Packs() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.packs)
}

func (x *Index) packNo(id hash.ID) uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	no, ok := x.packNos[id]
	if !ok {
		no = uint32(len(x.packs)) //nolint:gosec // 2^31 packs are 32 PiB
		x.packs = append(x.packs, id)
		x.packNos[id] = no
	}
	return no
}

func (x *Index) packID(no uint32) hash.ID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.packs[no]
}

func (x *Index) shard(id hash.ID) *shard { return &x.shards[id[0]%shards] }

func flag(t pack.Type) uint32 {
	if t == pack.Tree {
		return treeFlag
	}
	return 0
}

func (s *shard) at(n uint32) *entry { return &s.entries[n/blockLen][n%blockLen] }

// slot is where the search for an id begins. The first byte chose the shard.
func (s *shard) slot(id *hash.ID) int {
	return int(binary.LittleEndian.Uint32(id[1:])) & (len(s.slots) - 1)
}

// find calls fn for every entry of the id and type of e until fn returns false;
// without fn it stops at the first. It reports whether there was any.
func (s *shard) find(e *entry, fn func(*entry) bool) bool {
	if len(s.slots) == 0 {
		return false
	}
	hit := false
	for i := s.slot(&e.id); s.slots[i] != 0; i = (i + 1) & (len(s.slots) - 1) {
		found := s.at(s.slots[i] - 1)
		if found.id != e.id || (found.pack^e.pack)&treeFlag != 0 {
			continue
		}
		hit = true
		if fn == nil || !fn(found) {
			break
		}
	}
	return hit
}

// add records a place: in the entry that was claimed for it, or in a new one
// unless the very same is known.
func (s *shard) add(e entry) {
	done := false
	s.find(&e, func(found *entry) bool {
		if found.length == 0 {
			*found = e
			done = true
		} else if *found == e {
			done = true
		}
		return !done
	})
	if !done {
		s.insert(e)
	}
}

func (s *shard) insert(e entry) {
	if int(s.count)*8 >= len(s.slots)*7 {
		s.grow()
	}
	if s.count%blockLen == 0 {
		s.entries = append(s.entries, make([]entry, blockLen))
	}
	s.count++
	*s.at(s.count - 1) = e
	s.link(s.count - 1)
}

func (s *shard) link(n uint32) {
	i := s.slot(&s.at(n).id)
	for s.slots[i] != 0 {
		i = (i + 1) & (len(s.slots) - 1)
	}
	s.slots[i] = n + 1
}

func (s *shard) grow() {
	s.slots = make([]uint32, max(2*len(s.slots), 16))
	for n := range s.count {
		s.link(n)
	}
}

package repository

import (
	"context"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// A block is kept whole, or in parts. A file's content is a list of whole blobs, so a
// block of which little has changed is stored again all the same; once it is in parts,
// only those that have changed are. Parts compress worse, and each costs about 150 bytes
// of pack, index and tree: docs/adr/0013-blocks-in-parts.md says what was measured.
const (
	partSize = 16 << 10
	maxParts = blockSize / partSize
	// maxCut is how many blobs the index may have for more blocks to be cut: a block in
	// parts takes 32 times the memory of one that is whole.
	maxCut = 4 << 20
	// cutBelow is of how many pages at most one has changed in a block that is cut. Where a
	// fifth has, parts cost more than the whole block does, each time.
	cutBelow = 8
	// probeMisses is how many blocks in a row may have no known part before only every
	// probeEvery-th is looked at.
	probeMisses, probeEvery = 32, 8
)

// sums are the hashes of the blocks that a worker has read: of each lane's block its id,
// or those of its parts, or both.
type sums struct {
	four     hash.Four
	cut      bool // blocks are hashed in parts while they are read
	whole    [hash.Lanes]hash.ID
	hasWhole [hash.Lanes]bool
	parts    [hash.Lanes][maxParts]hash.ID
	hasParts [hash.Lanes]bool
	together *[hash.Lanes][]byte // whole blocks that lie in memory at once; nil: not all are whole
}

// begin forgets what was hashed before.
func (s *sums) begin() {
	s.hasWhole, s.hasParts, s.together = [hash.Lanes]bool{}, [hash.Lanes]bool{}, nil
	s.four.Reset()
}

// write takes a slice of each of four whole blocks, which lies at the offset in its block.
func (s *sums) write(slices *[hash.Lanes][]byte, at int) {
	if !s.cut {
		s.four.Write(slices)
		return
	}
	for from := 0; from < len(slices[0]); from += partSize {
		var pieces [hash.Lanes][]byte
		for l := range slices {
			pieces[l] = slices[l][from : from+partSize]
		}
		s.four.Write(&pieces)
		for l, id := range s.four.Finish() {
			s.parts[l][(at+from)/partSize] = id
		}
	}
}

// finish ends four whole blocks.
func (s *sums) finish(blocks *[hash.Lanes][]byte) {
	s.together = blocks
	for l := range s.whole {
		s.hasWhole[l], s.hasParts[l] = !s.cut, s.cut
	}
	if !s.cut {
		s.whole = s.four.Finish()
	}
}

// wholeOf returns the id of a lane's block. Four at once take less than two would by
// themselves, and who asks for one asks for the others soon.
func (s *sums) wholeOf(lane int, block []byte) hash.ID {
	switch {
	case s.hasWhole[lane]:
	case s.together != nil:
		s.four.Write(s.together)
		s.whole = s.four.Finish()
		for l := range s.hasWhole {
			s.hasWhole[l] = true
		}
	default:
		s.whole[lane], s.hasWhole[lane] = hash.Sum(block), true
	}
	return s.whole[lane]
}

// partsOf returns the ids of the parts of a lane's block.
func (s *sums) partsOf(lane int, block []byte) []hash.ID {
	ids := s.parts[lane][:parts(len(block))]
	if s.hasParts[lane] {
		return ids
	}
	s.hasParts[lane] = true
	i := 0
	for ; (i+hash.Lanes)*partSize <= len(block); i += hash.Lanes {
		at := [hash.Lanes]int{i, i + 1, i + 2, i + 3}
		four := s.someParts(block, at)
		copy(ids[i:], four[:])
	}
	for ; i < len(ids); i++ {
		ids[i] = hash.Sum(part(block, i))
	}
	return ids
}

// someParts returns the ids of four parts of a block that are not its short last one.
func (s *sums) someParts(block []byte, at [hash.Lanes]int) [hash.Lanes]hash.ID {
	var pieces [hash.Lanes][]byte
	for l, i := range at {
		pieces[l] = part(block, i)
	}
	s.four.Write(&pieces)
	return s.four.Finish()
}

// parts returns the number of parts of a block of n bytes.
func parts(n int) int { return (n + partSize - 1) / partSize }

// part returns one part of a block.
func part(block []byte, i int) []byte { return block[i*partSize : min((i+1)*partSize, len(block))] }

// cuts decides whether a block is kept in parts. What is known already decides before
// all: one of which nearly all parts are known stays in parts, one that is known whole
// stays whole, and one of which at least a quarter of the parts is known stays in parts. Else the block is new, or was whole when it was
// stored: then it is cut when few of its pages have changed since, for then few will
// have by the next backup, too.
func (b *blockWorker) cuts(in *input, lane int, block []byte) bool {
	if in.file.Size <= wholeFile || len(block) <= partSize {
		return false
	}
	s := &b.sums
	if s.hasParts[lane] {
		if ids := s.partsOf(lane, block); 4*b.knownParts(ids) >= 3*len(ids) {
			return true // without a look at the whole, which is not hashed yet
		}
	}
	if b.index.Has(s.wholeOf(lane, block), pack.Data) {
		return false
	}
	if s.hasParts[lane] || b.probe(block) {
		ids := s.partsOf(lane, block)
		if 4*b.knownParts(ids) >= len(ids) {
			b.missed = 0
			return true
		}
	}
	if in.file.Changed == nil || b.had+b.fresh.Load() >= maxCut {
		return false
	}
	changed, pages := in.file.Changed(block)
	return changed > 0 && cutBelow*changed <= pages
}

// knownParts returns how many of the parts are known.
func (b *blockWorker) knownParts(ids []hash.ID) int {
	n := 0
	for _, id := range ids {
		if b.index.Has(id, pack.Data) {
			n++
		}
	}
	return n
}

// probe reports whether some parts of a block may be known. Four of them tell; in a
// stretch of blocks that are new few blocks are looked at.
func (b *blockWorker) probe(block []byte) bool {
	if b.had == 0 {
		return false // the first set of a repository
	}
	if b.missed++; b.missed > probeMisses && b.missed%probeEvery != 0 {
		return false
	}
	whole := len(block) / partSize // parts that are not short
	if whole < hash.Lanes {
		return true
	}
	for _, id := range b.sums.someParts(block, [hash.Lanes]int{0, whole / 3, 2 * whole / 3, whole - 1}) {
		if b.index.Has(id, pack.Data) {
			return true
		}
	}
	return false
}

// storeParts notes a block that is kept in parts, and stores those that are not known.
func (b *blockWorker) storeParts(ctx context.Context, in *input, i int, ids []hash.ID, block []byte) error {
	in.cutMu.Lock()
	if in.parts == nil {
		in.parts = map[int][]hash.ID{}
	}
	in.parts[i] = append([]hash.ID(nil), ids...)
	in.cutMu.Unlock()
	for n, id := range ids {
		if err := b.storePiece(ctx, id, part(block, n)); err != nil {
			return err
		}
	}
	return nil
}

// pieces returns the blobs that the file is made of, when all its tasks are done.
func (in *input) pieces() []hash.ID {
	n := blocks(in.end.Load())
	if len(in.parts) == 0 {
		return in.ids[:n:n]
	}
	total := n
	for i, ids := range in.parts {
		if i < n {
			total += len(ids) - 1
		}
	}
	list := make([]hash.ID, 0, total)
	for i, id := range in.ids[:n] {
		if ids := in.parts[i]; ids != nil {
			list = append(list, ids...)
		} else {
			list = append(list, id)
		}
	}
	return list
}

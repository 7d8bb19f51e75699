package hash

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// Lanes is how many messages a [Four] hashes.
const Lanes = 4

// Four hashes four messages of equal length at once, which is several times as fast as
// one after the other where the processor's instructions are used by four lanes (the
// kernel is chosen when the program starts). It belongs to one goroutine. The zero
// value is ready.
type Four struct {
	state [Lanes][8]uint32
	n     uint64 // bytes of each message
	std   [Lanes]hash.Hash
	// What Finish adds, and what it gets: here, for they would be allocated.
	last [sha256.BlockSize]byte
	sum  [Size]byte
}

// Reset begins four new messages.
func (f *Four) Reset() { f.n = 0 }

// Write adds a piece to each message. The pieces are equally long, and their length is
// a multiple of 64.
func (f *Four) Write(p *[Lanes][]byte) {
	n := len(p[0])
	for _, piece := range p {
		if len(piece) != n || n%sha256.BlockSize != 0 {
			panic("hash: pieces of four messages differ in length, or are not whole blocks")
		}
	}
	if n == 0 {
		return
	}
	if f.n == 0 {
		f.begin()
	}
	f.n += uint64(n)
	f.write(p)
}

// begin prepares for the first piece.
func (f *Four) begin() {
	if wide {
		for l := range f.state {
			f.state[l] = initial
		}
		return
	}
	for l := range f.std {
		if f.std[l] == nil {
			f.std[l] = sha256.New()
		}
		f.std[l].Reset()
	}
}

func (f *Four) write(p *[Lanes][]byte) {
	if wide {
		blocks(&f.state, p)
		return
	}
	for l, piece := range p {
		f.std[l].Write(piece)
	}
}

// initial is the state before the first block. Source: FIPS 180-4, 5.3.3.
var initial = [8]uint32{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}

// Finish returns the ids of the messages; the next Write begins new ones.
func (f *Four) Finish() (ids [Lanes]ID) {
	if f.n == 0 {
		f.begin()
	}
	if !wide {
		for l := range ids {
			copy(ids[l][:], f.std[l].Sum(f.sum[:0]))
		}
		f.Reset()
		return ids
	}
	// What is added to a message of whole blocks is one block: FIPS 180-4, 5.1.1.
	f.last[0] = 0x80
	binary.BigEndian.PutUint64(f.last[56:], f.n*8)
	last := f.last[:]
	f.write(&[Lanes][]byte{last, last, last, last})
	for l := range ids {
		for i, word := range f.state[l] {
			binary.BigEndian.PutUint32(ids[l][4*i:], word)
		}
	}
	f.Reset()
	return ids
}

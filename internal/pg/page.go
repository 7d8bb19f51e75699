package pg

import (
	"encoding/binary"
)

// MaxBlockSize is the largest page that PostgreSQL can be built with.
const MaxBlockSize = 32768

// Offsets in a page's header. Source: PageHeaderData in
// src/include/storage/bufpage.h.
const (
	pageOffChecksum = 8
	pageOffUpper    = 14
)

// PageLSN returns the position after the WAL record that last changed the page.
func PageLSN(page []byte) LSN {
	return LSN(binary.LittleEndian.Uint32(page))<<32 | LSN(binary.LittleEndian.Uint32(page[4:]))
}

// PageStoredChecksum returns the checksum that the page carries.
func PageStoredChecksum(page []byte) uint16 {
	return binary.LittleEndian.Uint16(page[pageOffChecksum:])
}

// PageIsNew reports whether the page was never initialised: such a page carries
// no checksum, and is good only when all of it is zero.
func PageIsNew(page []byte) bool {
	return binary.LittleEndian.Uint16(page[pageOffUpper:]) == 0
}

// PageIsZero reports whether every byte of the page is zero.
func PageIsZero(page []byte) bool {
	for len(page) >= 64 {
		le := binary.LittleEndian
		if le.Uint64(page)|le.Uint64(page[8:])|le.Uint64(page[16:])|le.Uint64(page[24:])|
			le.Uint64(page[32:])|le.Uint64(page[40:])|le.Uint64(page[48:])|le.Uint64(page[56:]) != 0 {
			return false
		}
		page = page[64:]
	}
	for _, b := range page {
		if b != 0 {
			return false
		}
	}
	return true
}

// PageIsGood reports whether the page is all zero, or initialised and carries the
// checksum of its content. block is its number in the whole fork.
func PageIsGood(page []byte, block uint32) bool {
	if PageIsNew(page) {
		return PageIsZero(page)
	}
	return PageChecksum(page, block) == PageStoredChecksum(page)
}

const (
	pageLanes = 32
	pageRow   = 4 * pageLanes // bytes that feed every lane once
	fnvPrime  = 16777619
)

// pageBasis holds the start values of the lanes. Source: checksumBaseOffsets in
// src/include/storage/checksum_impl.h.
var pageBasis = [pageLanes]uint32{
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
	0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
	0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
	0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
}

// PageChecksum returns the checksum of the page that stands at the block number
// in the whole fork: segment number × blocks in a segment + place in the segment.
// The length of the page is the cluster's block size. The checksum field itself
// counts as zero. Source of the algorithm, a variant of FNV-1a in 32 lanes:
// pg_checksum_page in src/include/storage/checksum_impl.h.
func PageChecksum(page []byte, block uint32) uint16 {
	sum := pageSum(page) ^ block
	return uint16(sum%65535 + 1)
}

// pageSumPure is pageSum without a kernel in C.
func pageSumPure(page []byte) uint32 {
	var first [pageRow]byte
	copy(first[:], page)
	first[pageOffChecksum], first[pageOffChecksum+1] = 0, 0
	var sum uint32
	// Eight lanes at a time stay in registers; a page stays in the first cache.
	for lane := 0; lane < pageLanes; lane += 8 {
		sum ^= pageLanes8(page[pageRow:], &first, lane)
	}
	return sum
}

// pageLanes8 runs the eight lanes that begin with lane over the first row and the
// rest of the page, and returns their sums folded into one.
func pageLanes8(rest []byte, first *[pageRow]byte, lane int) uint32 {
	b := pageBasis[lane : lane+8 : lane+8]
	s0, s1, s2, s3, s4, s5, s6, s7 := b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]
	le := binary.LittleEndian
	r := first[4*lane : 4*lane+32 : 4*lane+32]
	for {
		s0 = fnv(s0, le.Uint32(r))
		s1 = fnv(s1, le.Uint32(r[4:]))
		s2 = fnv(s2, le.Uint32(r[8:]))
		s3 = fnv(s3, le.Uint32(r[12:]))
		s4 = fnv(s4, le.Uint32(r[16:]))
		s5 = fnv(s5, le.Uint32(r[20:]))
		s6 = fnv(s6, le.Uint32(r[24:]))
		s7 = fnv(s7, le.Uint32(r[28:]))
		if len(rest) < pageRow {
			break
		}
		r = rest[4*lane : 4*lane+32 : 4*lane+32]
		rest = rest[pageRow:]
	}
	for range 2 { // two rounds of zeros mix the last values
		s0, s1, s2, s3 = fnv(s0, 0), fnv(s1, 0), fnv(s2, 0), fnv(s3, 0)
		s4, s5, s6, s7 = fnv(s4, 0), fnv(s5, 0), fnv(s6, 0), fnv(s7, 0)
	}
	return s0 ^ s1 ^ s2 ^ s3 ^ s4 ^ s5 ^ s6 ^ s7
}

func fnv(sum, v uint32) uint32 {
	t := sum ^ v
	return t*fnvPrime ^ t>>17
}

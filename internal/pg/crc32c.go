package pg

import (
	"hash/crc32"
	"sync/atomic"
)

// castagnoli is the table of CRC-32C, which Go computes with the processor's own
// instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC32C returns the CRC-32C of b, as PostgreSQL computes it.
func CRC32C(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// UpdateCRC32C returns the CRC-32C of what crc covers, followed by b.
func UpdateCRC32C(crc uint32, b []byte) uint32 { return crc32.Update(crc, castagnoli, b) }

// The checksum of a file is put together from those of its blocks, which come in
// any order, by arithmetic on polynomials over GF(2) modulo the CRC's own P: with
// the usual conditioning, crc(AB) = crc(A)·x^(8·len B) + crc(B). So a block that
// ends at byte e of n counts as crc·x^(8(n-e)). As x has the order 2^31-1 modulo
// this P (P is x+1 times a primitive polynomial of degree 31), x^(-8e) exists, and
// the sum can be kept without knowing n, which a shrinking file changes.
const (
	crcPoly  = 0x82f63b78 // P, reversed: bit 31 is x^0
	crcOrder = 1<<31 - 1
	crcOne   = 1 << 31 // x^0
)

// crcMul returns a·b modulo P, both reversed.
func crcMul(a, b uint32) uint32 {
	var p uint32
	for m := uint32(crcOne); m != 0 && a != 0; m >>= 1 {
		if a&m != 0 {
			p ^= b
			a ^= m
		}
		b = b>>1 ^ crcPoly&-(b&1)
	}
	return p
}

// crcPowers holds x^(2^k) modulo P.
var crcPowers = func() (t [31]uint32) {
	t[0] = crcOne >> 1
	for k := 1; k < len(t); k++ {
		t[k] = crcMul(t[k-1], t[k-1])
	}
	return t
}()

// crcPower returns x^n modulo P; n is below crcOrder.
func crcPower(n uint64) uint32 {
	p := uint32(crcOne)
	for k := 0; n != 0; k++ {
		if n&1 != 0 {
			p = crcMul(crcPowers[k], p)
		}
		n >>= 1
	}
	return p
}

// bitsModOrder returns 8·n modulo the order of x.
func bitsModOrder(n int64) uint64 { return uint64(n) % crcOrder * 8 % crcOrder }

// CombineCRC32C returns the CRC-32C of A followed by B, of which B has lenB bytes.
func CombineCRC32C(a, b uint32, lenB int64) uint32 {
	return crcMul(crcPower(bitsModOrder(lenB)), a) ^ b
}

// FileCRC32C puts the CRC-32C of a file together from its blocks, which may come
// in any order and from several goroutines. The zero value is that of an empty
// file.
type FileCRC32C struct {
	sum atomic.Uint32 // of crc·x^(-8e), for every block that ends at e
}

// Add takes the block that begins at offset, and returns its part of the sum, for
// Remove.
func (f *FileCRC32C) Add(offset int64, block []byte) (part uint32) {
	e := bitsModOrder(offset + int64(len(block)))
	part = crcMul(crcPower((crcOrder-e)%crcOrder), CRC32C(block))
	f.Remove(part) // in this arithmetic, adding and taking away are one
	return part
}

// Remove takes a block away that was added.
func (f *FileCRC32C) Remove(part uint32) {
	for {
		old := f.sum.Load()
		if f.sum.CompareAndSwap(old, old^part) {
			return
		}
	}
}

// Sum returns the checksum of the file of size bytes, all of which were added and
// no others.
func (f *FileCRC32C) Sum(size int64) uint32 {
	return crcMul(crcPower(bitsModOrder(size)), f.sum.Load())
}

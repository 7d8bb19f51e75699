package pg_test

import (
	"encoding/binary"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/pg"
)

func TestPageIsGood(t *testing.T) {
	page := make([]byte, 8192)
	if !pg.PageIsZero(page) || !pg.PageIsNew(page) || !pg.PageIsGood(page, 7) {
		t.Error("a page of zeros is new and good")
	}
	page[5000] = 1
	if pg.PageIsZero(page) || pg.PageIsGood(page, 7) {
		t.Error("a new page that is not all zero is bad")
	}
	binary.LittleEndian.PutUint32(page, 1)
	binary.LittleEndian.PutUint32(page[4:], 0x28)
	binary.LittleEndian.PutUint16(page[14:], 8192)
	sum := pg.PageChecksum(page, 7)
	binary.LittleEndian.PutUint16(page[8:], sum)
	if got := pg.PageChecksum(page, 7); got != sum {
		t.Errorf("the stored checksum counts as zero: got %d, want %d", got, sum)
	}
	if !pg.PageIsGood(page, 7) || pg.PageIsGood(page, 8) {
		t.Error("a page is good at its own block only")
	}
	if got := pg.PageLSN(page); got != 0x100000028 {
		t.Errorf("LSN: got %v, want 1/28", got)
	}
	for _, i := range []int{0, 20, 127, 128, 4095, 8191} {
		page[i] ^= 0x10
		if pg.PageIsGood(page, 7) {
			t.Errorf("a changed byte %d is not seen", i)
		}
		page[i] ^= 0x10
	}
}

func BenchmarkPageChecksum(b *testing.B) {
	page := make([]byte, 8192)
	for i := range page {
		page[i] = byte(i * 7)
	}
	b.SetBytes(8192)
	var n uint16
	for b.Loop() {
		n += pg.PageChecksum(page, 3)
	}
	_ = n
}

func BenchmarkFileCRC32C(b *testing.B) {
	block := make([]byte, 512<<10)
	b.SetBytes(int64(len(block)))
	var f pg.FileCRC32C
	for b.Loop() {
		f.Add(1<<33, block)
	}
}

func TestInspectionAllocatesNothing(t *testing.T) {
	block := make([]byte, 512<<10)
	block[14] = 1
	var f pg.FileCRC32C
	if n := testing.AllocsPerRun(10, func() {
		f.Add(0, block)
		for o := 0; o < len(block); o += 8192 {
			pg.PageIsGood(block[o:o+8192], uint32(o/8192))
		}
	}); n != 0 {
		t.Errorf("got %v allocations a block, want none", n)
	}
}

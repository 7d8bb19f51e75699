package repository

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// manyBlobs saves index objects that name so many blobs, as writers of blocks of
// 512 KiB leave them: 400 blobs in a pack, and 4 GiB of database to an index object.
func manyBlobs(b *testing.B, r *Repository, n int) {
	b.Helper()
	const perPack, perIndex = 400, 8192
	seed := uint64(0)
	id := func() (id hash.ID) {
		seed++
		copy(id[:], noise(len(id), seed))
		return id
	}
	for left := n; left > 0; {
		var packs []index.Pack
		for inIndex := 0; inIndex < perIndex && left > 0; {
			p := index.Pack{ID: id()}
			offset := int64(0)
			for range min(perPack, left) {
				const stored, raw = 40 << 10, 512 << 10
				p.Blobs = append(p.Blobs, pack.Blob{ID: id(), Type: pack.Data, Offset: uint32(offset), Length: stored, Raw: raw})
				offset += stored
			}
			left -= len(p.Blobs)
			inIndex += len(p.Blobs)
			packs = append(packs, p)
		}
		data, err := index.Encode(packs)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.save(b.Context(), kindIndex(), data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoadIndex loads the index of HOLDFAST_BENCH_BLOBS blobs, one million by
// default, as every backup, restore and check begins. It reports the memory that it
// keeps, and how much more the process asked the system for while it was read.
func BenchmarkLoadIndex(b *testing.B) {
	n := 1_000_000
	if s := os.Getenv("HOLDFAST_BENCH_BLOBS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	r, _ := newDirRepository(b)
	manyBlobs(b, r, n)
	var before, after runtime.MemStats
	for b.Loop() {
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.StartTimer()
		x, err := r.loadIndex(b.Context(), refuseDamaged)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.Sys)/(1<<20), "MiB-sys")
		runtime.GC()
		runtime.ReadMemStats(&after)
		if x.Len() != n {
			b.Fatalf("got %d blobs, want %d", x.Len(), n)
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/blob")
		b.StartTimer()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "blobs/s")
}

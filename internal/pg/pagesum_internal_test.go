//go:build cgo && (amd64 || arm64)

package pg

import (
	"math/rand/v2"
	"testing"
)

// TestPageSum compares every kernel with the plain one, on pages of all sizes that
// PostgreSQL can be built with, at all alignments.
func TestPageSum(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, MaxBlockSize+64)
	for i := range buf {
		buf[i] = byte(rng.Uint32())
	}
	for size := 1024; size <= MaxBlockSize; size *= 2 {
		for at := range 64 {
			page := buf[at : at+size]
			want := pageSumPure(page)
			for k := range kernel + 1 {
				if got := pageSumBy(page, k); got != want {
					t.Fatalf("kernel %d, %d bytes at %d: got %08x, want %08x", k, size, at, got, want)
				}
			}
		}
	}
}

func BenchmarkPageSum(b *testing.B) {
	page := make([]byte, 8192)
	b.Run("pure", func(b *testing.B) {
		b.SetBytes(8192)
		for b.Loop() {
			pageSumPure(page)
		}
	})
	for k := range kernel + 1 {
		b.Run(string('0'+rune(k)), func(b *testing.B) {
			b.SetBytes(8192)
			for b.Loop() {
				pageSumBy(page, k)
			}
		})
	}
}

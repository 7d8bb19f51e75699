package hash_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// noise is an unaligned slice of bytes by chance.
func noise(rng *rand.Rand, n, off int) []byte {
	b := make([]byte, n+off)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b[off:]
}

func TestFour(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var f hash.Four
		for range rapid.IntRange(1, 3).Draw(t, "rounds") {
			var whole [hash.Lanes][]byte
			for range rapid.IntRange(0, 4).Draw(t, "writes") {
				n := 64 * rapid.IntRange(0, 70).Draw(t, "blocks")
				var p [hash.Lanes][]byte
				for l := range p {
					p[l] = noise(rng, n, rapid.IntRange(0, 17).Draw(t, "alignment"))
					whole[l] = append(whole[l], p[l]...)
				}
				f.Write(&p)
			}
			for l, got := range f.Finish() {
				if want := hash.Sum(whole[l]); got != want {
					t.Fatalf("lane %d of %d bytes: got %s, want %s", l, len(whole[l]), got, want)
				}
			}
		}
	})
}

func TestFourAllocatesNothing(t *testing.T) {
	p := four(4096)
	var f hash.Four
	f.Finish()
	if n := testing.AllocsPerRun(20, func() {
		f.Write(&p)
		f.Finish()
	}); n != 0 {
		t.Errorf("a round allocates %v times", n)
	}
}

func TestFourRefuses(t *testing.T) {
	t.Parallel()
	for name, p := range map[string][hash.Lanes][]byte{
		"other lengths": {make([]byte, 64), make([]byte, 64), make([]byte, 128), make([]byte, 64)},
		"half a block":  {make([]byte, 32), make([]byte, 32), make([]byte, 32), make([]byte, 32)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("it was hashed all the same")
				}
			}()
			var f hash.Four
			f.Write(&p)
		})
	}
}

func four(n int) (p [hash.Lanes][]byte) {
	for l := range p {
		p[l] = make([]byte, n)
	}
	return p
}

// BenchmarkFour compares four lanes with one after the other, on what a cache holds
// and on what it does not.
func BenchmarkFour(b *testing.B) {
	for _, size := range []int{16 << 10, 512 << 10, 64 << 20} {
		p := four(size)
		b.Run(fmt.Sprintf("lanes/%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(hash.Lanes * size))
			var f hash.Four
			for b.Loop() {
				f.Write(&p)
				f.Finish()
			}
		})
		b.Run(fmt.Sprintf("single/%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(hash.Lanes * size))
			for b.Loop() {
				for l := range p {
					hash.Sum(p[l])
				}
			}
		})
	}
}

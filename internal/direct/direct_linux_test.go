package direct

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDirectWrites writes pieces of all lengths, places and addresses, from several
// goroutines, and holds the file against what was written.
func TestDirectWrites(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{"disk": t.TempDir(), "memory": "/dev/shm"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, "holdfast-direct-"+filepath.Base(t.TempDir()))
			f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Remove(path) })
			var w *Writer
			d, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0)
			switch {
			case err == nil:
				w = New(d)
			case name == "disk" || !errors.Is(err, unix.EINVAL):
				t.Fatal(err)
			}
			if name == "disk" { // or nothing below would tell direct writes from others
				well := (&room{}).get(minWrite)
				if n, err := w.WriteAt(well, 0); err != nil || n != len(well) {
					t.Fatalf("past the cache: wrote %d bytes of %d, error %v", n, len(well), err)
				}
			}
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			want := make([]byte, 0, 24<<20)
			var pieces sync.WaitGroup
			for len(want) < 20<<20 {
				n := []int{512 << 10, 256 << 10, 8192, 512<<10 + 8192, 300_001, 384<<10 - 4096}[rnd.IntN(6)]
				room := make([]byte, n+memoryAlign)
				piece := room[[]int{0, 0, 512, 37}[rnd.IntN(4)]:][:n]
				for i := range piece {
					piece[i] = byte(rnd.Uint32())
				}
				at := int64(len(want))
				want = append(want, piece...)
				pieces.Go(func() {
					n, err := w.WriteAt(piece, at)
					if err == nil {
						_, err = f.WriteAt(piece[n:], at+int64(n))
					}
					if err != nil {
						t.Errorf("%d bytes at %d, %d of them past the cache: %v", len(piece), at, n, err)
					}
				})
				if rnd.IntN(3) > 0 { // the next piece lies well again
					for len(want)%fileAlign != 0 {
						want = append(want, 0)
					}
				}
			}
			pieces.Wait()
			if err := errors.Join(f.Truncate(int64(len(want))), f.Sync(), w.Close(), f.Close()); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, want %d others, error %v", len(got), len(want), err)
			}
		})
	}
}

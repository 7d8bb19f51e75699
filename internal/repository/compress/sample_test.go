package compress_test

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/repository/compress"
)

func TestHopeless(t *testing.T) {
	t.Parallel()
	noise := make([]byte, blockSize)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(noise)
	images := bytes.Clone(noise) // in pages, as TOAST keeps what does not compress
	halves := bytes.Clone(noise)
	for at := 0; at < len(noise); at += 8192 {
		copy(images[at:], make([]byte, 40))
		copy(halves[at:], make([]byte, 4096))
	}
	tail := bytes.Clone(noise)
	copy(tail[len(tail)/2:], make([]byte, len(tail)/2))
	for name, c := range map[string]struct {
		block []byte
		want  bool
	}{
		"noise":                      {noise, true},
		"images in pages":            {images, true},
		"the least that is sampled":  {noise[:64<<10], true},
		"a small block":              {noise[:64<<10-1], false},
		"nothing":                    {nil, false},
		"zeros":                      {make([]byte, blockSize), false},
		"text":                       {bytes.Repeat([]byte("a row of a table; "), blockSize/18), false},
		"noise as text":              {[]byte(base64.StdEncoding.EncodeToString(noise)[:blockSize]), false},
		"pages that are half full":   {halves, false},
		"noise, and then a free end": {tail, false},
	} {
		s := compress.NewSampler(compress.New())
		if got := s.Hopeless(c.block); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// TestLevels: what every level writes is read back.
func TestLevels(t *testing.T) {
	t.Parallel()
	c := compress.New()
	for name, want := range samples() {
		for l := compress.Level(1); l <= 19; l += 3 {
			frame, err := c.EncodeLevel(make([]byte, 0, compress.Bound(len(want))), want, l)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(want))
			if n, err := c.Decode(got, frame); err != nil || !bytes.Equal(got[:n], want) {
				t.Errorf("%s, level %d: got %d bytes, error %v", name, l, n, err)
			}
		}
	}
}

// BenchmarkHopeless says what looking costs, of blocks of both kinds, beside
// compressing them.
func BenchmarkHopeless(b *testing.B) {
	noise := make([]byte, blockSize)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(noise)
	words := bytes.Repeat([]byte("a row of a table; "), blockSize/18)
	c := compress.New()
	s := compress.NewSampler(c)
	room := make([]byte, 0, compress.Bound(blockSize))
	for name, stage := range map[string]func(){
		"noise/look":     func() { s.Hopeless(noise) },
		"noise/compress": func() { _, _ = c.Encode(room, noise) },
		"text/look":      func() { s.Hopeless(words) },
		"text/compress":  func() { _, _ = c.Encode(room, words) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(blockSize)
			for b.Loop() {
				stage()
			}
		})
	}
}

package compress_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	kzstd "github.com/klauspost/compress/zstd"

	"github.com/holdfast-backup/holdfast/internal/repository/compress"
)

func samples() map[string][]byte {
	noise := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	return map[string][]byte{
		"one byte": {7},
		"zeros":    make([]byte, 512<<10),
		"text":     bytes.Repeat([]byte("a row of a table; "), 20_000),
		"noise":    noise,
	}
}

func TestRoundTrip(t *testing.T) {
	c := compress.New()
	other, err := kzstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for name, want := range samples() {
		t.Run(name, func(t *testing.T) {
			frame, err := c.Encode(make([]byte, 0, compress.Bound(len(want))), want)
			if err != nil {
				t.Fatal(err)
			}
			if len(frame) > compress.Bound(len(want)) {
				t.Errorf("the frame has %d bytes, above the bound of %d", len(frame), compress.Bound(len(want)))
			}
			got := make([]byte, len(want))
			n, err := c.Decode(got, frame)
			if err != nil || !bytes.Equal(got[:n], want) {
				t.Errorf("got %d bytes, error %v", n, err)
			}
			if got, err := other.DecodeAll(frame, nil); err != nil || !bytes.Equal(got, want) {
				t.Errorf("another implementation reads %d bytes, error %v", len(got), err)
			}
			if _, err := c.Decode(make([]byte, len(want)-1), frame); err == nil {
				t.Error("a frame was decompressed into too little room")
			}
			if _, err := c.Decode(got, frame[:len(frame)/2]); err == nil {
				t.Error("half a frame was decompressed")
			}

			var out bytes.Buffer
			w := compress.NewWriter(&out)
			for i := 0; i < len(want); i += 1000 {
				if _, err := w.Write(want[i:min(i+1000, len(want))]); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := compress.NewReader(&out)
			if err != nil {
				t.Fatal(err)
			}
			streamed, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(streamed, want) {
				t.Errorf("the stream gives %d bytes, error %v", len(streamed), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	c := compress.New()
	for _, s := range samples() {
		if frame, err := c.Encode(nil, s[:min(len(s), 1000)]); err == nil {
			f.Add(frame)
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		c := compress.New()
		if n, err := c.Decode(make([]byte, 4096), frame); err == nil && n > 4096 {
			t.Errorf("got %d bytes in room for 4096", n)
		}
		if n, err := c.Decode(nil, frame); err == nil && n > 0 {
			t.Errorf("got %d bytes in no room", n)
		}
		r, err := compress.NewReader(bytes.NewReader(frame))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(r, 1<<20)) // must end, well or not
		_ = r.Close()
	})
}

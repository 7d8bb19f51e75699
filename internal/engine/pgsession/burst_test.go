package pgsession

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// ready is a connection that always has as much as is asked for, up to its end.
type ready struct {
	net.Conn
	rest  []byte
	reads int
}

func (r *ready) Read(p []byte) (int, error) {
	r.reads++
	if len(r.rest) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (*ready) Write(p []byte) (int, error) { return len(p), nil }

func TestBurst(t *testing.T) {
	t.Parallel()
	sent := make([]byte, 24<<20+17)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(sent)
	r := &ready{}
	b := &burst{Conn: r}
	const piece = 8 << 10 // that its user asks for
	most := burstAfter/piece + len(sent)/burstBytes + 3
	for round := range 2 {
		*r = ready{rest: sent}
		if _, err := b.Write([]byte("COPY")); err != nil {
			t.Fatal(err)
		}
		var got []byte
		for p := make([]byte, piece); len(got) < len(sent); {
			n, err := b.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, p[:n]...)
		}
		if !bytes.Equal(got, sent) {
			t.Fatalf("round %d: other bytes arrived", round)
		}
		if r.reads > most {
			t.Errorf("round %d: %d reads, want at most %d", round, r.reads, most)
		}
	}
	for range 2 {
		if n, err := b.Read(make([]byte, piece)); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("after the end: %d bytes, error %v", n, err)
		}
	}
}

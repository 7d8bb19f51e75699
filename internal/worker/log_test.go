package worker

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// taker is a control plane that only takes a log, and not always.
type taker struct {
	mu    sync.Mutex // guards the fields below
	log   []byte
	calls int
	lose  func(call int) bool // whether the answer is lost
	part  int                 // takes at most this much of a piece; 0: all
	fail  *wire.Failure
}

func (k *taker) take(m *nats.Msg) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls++
	c, err := wire.Decode[wire.Chunk](m.Data)
	if err != nil {
		panic(err)
	}
	if next := int64(len(k.log)); c.Offset <= next {
		data := c.Data[min(next-c.Offset, int64(len(c.Data))):]
		if k.part > 0 {
			data = data[:min(len(data), k.part)]
		}
		k.log = append(k.log, data...)
	}
	if k.lose != nil && k.lose(k.calls) {
		return
	}
	b, err := wire.Encode(&wire.ChunkReply{Next: int64(len(k.log)), Failure: k.fail})
	if err != nil {
		panic(err)
	}
	_ = m.Respond(b) // the test sees when nothing arrives
}

func (k *taker) got() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return string(k.log)
}

func connection(t *testing.T) *nats.Conn {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	conn, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func TestShipper(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]*taker{
		"whole pieces":   {},
		"parts":          {part: 1000},
		"answers missed": {lose: func(call int) bool { return call == 2 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := connection(t)
			sub, err := conn.Subscribe("log.1.2", k.take)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = sub.Unsubscribe() })
			s := newShipper(t.Context(), newLine(conn), "log.1.2", 3)
			var want strings.Builder
			for i := range 5000 {
				line := fmt.Sprintf("line %d of the log\n", i)
				want.WriteString(line)
				if _, err := s.Write([]byte(line)); err != nil {
					t.Fatal(err)
				}
			}
			s.flush(t.Context(), 20*time.Second)
			s.close()
			if got := k.got(); got != want.String() {
				t.Errorf("got %d bytes, want %d, the same", len(got), want.Len())
			}
		})
	}
}

// TestShipperNeverWaits writes more than fits while nobody takes it.
func TestShipperNeverWaits(t *testing.T) {
	t.Parallel()
	conn := connection(t)
	s := newShipper(t.Context(), newLine(conn), "log.1.2", 3)
	line := []byte(strings.Repeat("x", 1023) + "\n")
	began := time.Now()
	for range 4096 {
		if _, err := s.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("writing took %s: it waited", d)
	}
	k := &taker{}
	if _, err := conn.Subscribe("log.1.2", k.take); err != nil {
		t.Fatal(err)
	}
	s.flush(t.Context(), 20*time.Second)
	if _, err := s.Write([]byte("the last line\n")); err != nil {
		t.Fatal(err)
	}
	s.flush(t.Context(), 20*time.Second)
	s.close()
	got := k.got()
	if len(got) > logBuffer+1000 || !strings.Contains(got, "3072 lines of the log dropped") || !strings.HasSuffix(got, "the last line\n") {
		t.Errorf("got %d bytes that end with %q", len(got), got[max(len(got)-200, 0):])
	}
}

// TestShipperOutdated stops when the order is outdated.
func TestShipperOutdated(t *testing.T) {
	t.Parallel()
	conn := connection(t)
	k := &taker{fail: wire.NewFailure(holdfast.Errorf(holdfast.CodeConflict, "outdated"))}
	if _, err := conn.Subscribe("log.1.2", k.take); err != nil {
		t.Fatal(err)
	}
	s := newShipper(t.Context(), newLine(conn), "log.1.2", 3)
	for range 10 {
		if _, err := s.Write(bytes.Repeat([]byte("y"), 100)); err != nil {
			t.Fatal(err)
		}
		s.flush(t.Context(), 5*time.Second)
	}
	s.close()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.calls != 1 {
		t.Errorf("calls after it was refused: got %d, want 1", k.calls)
	}
}

package baas

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// oneConn is a listener with one connection.
type oneConn struct {
	net.Listener

	conn   chan net.Conn
	closed func()
}

func (l oneConn) Accept() (net.Conn, error) {
	c, ok := <-l.conn
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l oneConn) Close() error {
	l.closed()
	return nil
}

func TestABodyThatNeverArrivesIsAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, end := net.Pipe()
		defer client.Close()
		l := oneConn{conn: make(chan net.Conn, 1)}
		l.closed = sync.OnceFunc(func() { close(l.conn) })
		l.conn <- end
		s := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := readTree(w, r); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		}()
		if err := client.SetDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n{}"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatalf("after %s: %v", time.Since(start), err)
		}
		defer resp.Body.Close()
		if took := time.Since(start); resp.StatusCode != http.StatusBadRequest || took != bodyTimeout {
			t.Errorf("got %s after %s, want 400 after %s", resp.Status, took, bodyTimeout)
		}
	})
}

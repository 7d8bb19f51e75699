package fault_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/objstore/objstoretest"
)

var errBroken = errors.New("broken")

func TestBucket(t *testing.T) {
	objstoretest.Run(t, func(*testing.T) objstore.Bucket { return fault.Wrap(mem.New()) })
}

func TestOnFailsTheNamedCallOnly(t *testing.T) {
	inner := mem.New()
	b := fault.Wrap(inner, fault.On("put", 2, errBroken).Named("data/"))
	for _, c := range []struct {
		name string
		want error
	}{
		{"data/1", nil},
		{"index/1", nil}, // does not count
		{"data/2", errBroken},
		{"data/3", nil},
	} {
		if err := b.Put(t.Context(), c.name, nil); !errors.Is(err, c.want) {
			t.Errorf("put %s: got %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := inner.Stat(t.Context(), "data/2"); err == nil {
		t.Error("the failed put left an object")
	}
	if got := b.Calls(fault.Put); got != 4 {
		t.Errorf("got %d calls, want 4", got)
	}
}

func TestEveryFailsUntilCleared(t *testing.T) {
	b := fault.Wrap(mem.New())
	b.Add(
		fault.On(fault.Put, fault.Every, errBroken), fault.On(fault.Get, fault.Every, errBroken),
		fault.On(fault.Stat, fault.Every, errBroken), fault.On(fault.List, fault.Every, errBroken),
		fault.On(fault.Delete, fault.Every, errBroken),
	)
	for range 2 {
		_, getErr := b.Get(t.Context(), "a", 0, -1)
		_, statErr := b.Stat(t.Context(), "a")
		for op, err := range map[fault.Op]error{
			fault.Put:    b.Put(t.Context(), "a", nil),
			fault.Get:    getErr,
			fault.Stat:   statErr,
			fault.List:   b.List(t.Context(), "", func(objstore.Info) error { return nil }),
			fault.Delete: b.Delete(t.Context(), "a"),
		} {
			if !errors.Is(err, errBroken) {
				t.Errorf("%s: got %v, want %v", op, err, errBroken)
			}
		}
	}
	b.Clear()
	if err := b.Put(t.Context(), "a", nil); err != nil {
		t.Errorf("after Clear: %v", err)
	}
}

func TestTornPutLeavesTheObject(t *testing.T) {
	b := fault.Wrap(mem.New(), fault.Torn(fault.Put, 1, errBroken), fault.Torn(fault.Get, 1, errBroken))
	if err := b.Put(t.Context(), "a", []byte("whole")); !errors.Is(err, errBroken) {
		t.Errorf("put: got %v, want %v", err, errBroken)
	}
	if _, err := b.Get(t.Context(), "a", 0, -1); !errors.Is(err, errBroken) {
		t.Errorf("get: got %v, want %v", err, errBroken)
	}
	got, err := objstore.ReadAll(t.Context(), b, "a", 100)
	if err != nil || string(got) != "whole" {
		t.Errorf("got %q, %v, want %q", got, err, "whole")
	}
}

func TestTruncatedAndFlippedReads(t *testing.T) {
	b := fault.Wrap(mem.New(), fault.Truncate(1, 700, io.ErrUnexpectedEOF), fault.Flip(2, 700))
	data := bytes.Repeat([]byte{0x55}, 1000)
	if err := b.Put(t.Context(), "a", data); err != nil {
		t.Fatal(err)
	}
	read := func() ([]byte, error) {
		r, err := b.Get(t.Context(), "a", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var all []byte
		for {
			p := make([]byte, 64)
			n, err := r.Read(p)
			all = append(all, p[:n]...)
			if errors.Is(err, io.EOF) {
				return all, nil
			}
			if err != nil {
				return all, err
			}
		}
	}
	if got, err := read(); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 700 {
		t.Errorf("truncated: got %d bytes and %v", len(got), err)
	}
	want := bytes.Clone(data)
	want[700] ^= 1
	if got, err := read(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("flipped: got %d bytes and %v, byte 700 is %x", len(got), err, got[700])
	}
	if got, err := read(); err != nil || !bytes.Equal(got, data) {
		t.Errorf("third read: got %d bytes and %v, want no fault", len(got), err)
	}
}

func TestDelayEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := fault.Wrap(mem.New(), fault.Delay(fault.Put, fault.Every, time.Hour))
		begin := time.Now()
		if err := b.Put(t.Context(), "a", nil); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(begin); got != time.Hour {
			t.Errorf("waited %s, want 1h", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Put(ctx, "b", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's end", err)
		}
	})
}

func TestCallSeesTheNameBeforeTheCall(t *testing.T) {
	inner := mem.New()
	var seen []string
	b := fault.Wrap(inner, fault.Call(fault.Put, fault.Every, func(name string) {
		if _, err := inner.Stat(t.Context(), name); err == nil {
			t.Errorf("%s is there already", name)
		}
		seen = append(seen, name)
	}))
	if err := b.Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || seen[0] != "a" {
		t.Errorf("got %q, want the name", seen)
	}
}

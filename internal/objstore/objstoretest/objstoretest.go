// Package objstoretest is the suite that every [objstore.Bucket], and every
// decorator around one, passes.
package objstoretest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// Run runs the suite. open returns an empty bucket, which is closed by its own
// t.Cleanup when it needs that.
func Run(t *testing.T, open func(t *testing.T) objstore.Bucket) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, b objstore.Bucket)
	}{
		{"put then get returns the bytes", roundTrip},
		{"put does not keep its argument", putCopies},
		{"put refuses a name that is taken", putTwice},
		{"get reads ranges", ranges},
		{"get refuses ranges beyond the object", badRanges},
		{"missing objects are not found", missing},
		{"bad names are invalid", badNames},
		{"stat tells name and size", stat},
		{"list is sorted, whole and once", list},
		{"list selects by any prefix", listPrefix},
		{"list stops at the callback's error", listStops},
		{"list may delete what it is shown", listDeletes},
		{"delete removes, and may be repeated", remove},
		{"a deleted name can be put again", putAgain},
		{"a cancelled context is an error", cancelled},
		{"of many puts of one name one wins", putRace},
		{"many goroutines use it at once", concurrent},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func put(t *testing.T, b objstore.Bucket, name string, data []byte) {
	t.Helper()
	if err := b.Put(t.Context(), name, data); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func get(t *testing.T, b objstore.Bucket, name string, offset, length int64) []byte {
	t.Helper()
	data, err := tryGet(t.Context(), b, name, offset, length)
	if err != nil {
		t.Fatalf("get %s from %d, %d bytes: %v", name, offset, length, err)
	}
	return data
}

func tryGet(ctx context.Context, b objstore.Bucket, name string, offset, length int64) ([]byte, error) {
	r, err := b.Get(ctx, name, offset, length)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

func names(t *testing.T, b objstore.Bucket, prefix string) []string {
	t.Helper()
	got := []string{}
	err := b.List(t.Context(), prefix, func(i objstore.Info) error {
		got = append(got, i.Name)
		return nil
	})
	if err != nil {
		t.Fatalf("list %q: %v", prefix, err)
	}
	return got
}

func wantCode(t *testing.T, what string, err error, want holdfast.Code) {
	t.Helper()
	if got := holdfast.ErrorCode(err); got != want {
		t.Errorf("%s: got code %q (%v), want %q", what, got, err, want)
	}
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func roundTrip(t *testing.T, b objstore.Bucket) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 1 << 20} {
		name := fmt.Sprintf("data/%02x/size-%d", size%256, size)
		want := random(t, size)
		put(t, b, name, want)
		if got := get(t, b, name, 0, -1); !bytes.Equal(got, want) {
			t.Errorf("object of %d bytes: got %d other bytes", size, len(got))
		}
		got, err := objstore.ReadAll(t.Context(), b, name, int64(size))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("ReadAll of %d bytes: got %d bytes, %v", size, len(got), err)
		}
	}
}

func putCopies(t *testing.T, b objstore.Bucket) {
	data := []byte("before")
	put(t, b, "config", data)
	copy(data, "after!")
	if got := get(t, b, "config", 0, -1); string(got) != "before" {
		t.Errorf("got %q, want what was put", got)
	}
}

func putTwice(t *testing.T, b objstore.Bucket) {
	put(t, b, "keys/a", []byte("first"))
	for _, again := range []string{"second", "first", ""} {
		wantCode(t, "put again", b.Put(t.Context(), "keys/a", []byte(again)), holdfast.CodeConflict)
	}
	if got := get(t, b, "keys/a", 0, -1); string(got) != "first" {
		t.Errorf("after refused puts: got %q, want %q", got, "first")
	}
}

func ranges(t *testing.T, b objstore.Bucket) {
	data := random(t, 10000)
	put(t, b, "data/ab/abc", data)
	for _, c := range []struct{ offset, length, from, to int64 }{
		{0, -1, 0, 10000},
		{0, 10000, 0, 10000},
		{0, 0, 0, 0},
		{0, 1, 0, 1},
		{9999, 1, 9999, 10000},
		{9999, -1, 9999, 10000},
		{10000, 0, 10000, 10000},
		{10000, -1, 10000, 10000},
		{4096, 4096, 4096, 8192},
		{17, 333, 17, 350},
	} {
		if got := get(t, b, "data/ab/abc", c.offset, c.length); !bytes.Equal(got, data[c.from:c.to]) {
			t.Errorf("%d bytes from %d: got %d other bytes", c.length, c.offset, len(got))
		}
	}
}

func badRanges(t *testing.T, b objstore.Bucket) {
	put(t, b, "data/ab/abc", random(t, 100))
	put(t, b, "empty", nil)
	for _, c := range []struct {
		name           string
		offset, length int64
	}{
		{"data/ab/abc", 0, 101},
		{"data/ab/abc", 100, 1},
		{"data/ab/abc", 101, 0},
		{"data/ab/abc", 101, -1},
		{"data/ab/abc", -1, 1},
		{"data/ab/abc", -1, -1},
		{"data/ab/abc", 0, -2},
		{"data/ab/abc", 50, 1<<63 - 1},
		{"empty", 0, 1},
	} {
		_, err := tryGet(t.Context(), b, c.name, c.offset, c.length)
		wantCode(t, fmt.Sprintf("%s: %d bytes from %d", c.name, c.length, c.offset), err, holdfast.CodeInvalid)
	}
}

func missing(t *testing.T, b objstore.Bucket) {
	put(t, b, "data/ab/abc", []byte("x"))
	for _, name := range []string{"config", "data", "data/ab", "data/ab/ab", "data/ab/abcd", "data/ac/abc", "data/ab/abc/d"} {
		_, err := b.Get(t.Context(), name, 0, -1)
		wantCode(t, "get "+name, err, holdfast.CodeNotFound)
		_, err = b.Stat(t.Context(), name)
		wantCode(t, "stat "+name, err, holdfast.CodeNotFound)
	}
}

func badNames(t *testing.T, b objstore.Bucket) {
	for _, name := range []string{
		"", ".", "..", "/", "/config", "../config", "a/../b", "a//b", "./a", "a/", "a/.", "a\x00b", `a\b`,
		strings.Repeat("n", objstore.MaxName+1),
	} {
		wantCode(t, fmt.Sprintf("put %q", name), b.Put(t.Context(), name, nil), holdfast.CodeInvalid)
		_, err := b.Get(t.Context(), name, 0, -1)
		wantCode(t, fmt.Sprintf("get %q", name), err, holdfast.CodeInvalid)
		_, err = b.Stat(t.Context(), name)
		wantCode(t, fmt.Sprintf("stat %q", name), err, holdfast.CodeInvalid)
		wantCode(t, fmt.Sprintf("delete %q", name), b.Delete(t.Context(), name), holdfast.CodeInvalid)
	}
	if got := names(t, b, ""); len(got) != 0 {
		t.Errorf("bad names left %q", got)
	}
}

func stat(t *testing.T, b objstore.Bucket) {
	for _, size := range []int{0, 1, 70000} {
		name := fmt.Sprintf("index/%d", size)
		put(t, b, name, make([]byte, size))
		got, err := b.Stat(t.Context(), name)
		if err != nil || got.Name != name || got.Size != int64(size) {
			t.Errorf("stat: got %+v, %v, want %s with %d bytes", got, err, name, size)
		}
	}
}

// The slash sorts between the dash and the digits: a walk of directories in the
// order of their entries gets these wrong.
var tree = []string{
	"config", "data-old", "data/00/00a", "data/00/00b", "data/0a-/0aa", "data/0a/0aa", "data/ff/ff1", "data0",
	"index/1", "keys/1", "locks/x", "snapshots/1", "snapshots/10", "snapshots/2",
}

func plant(t *testing.T, b objstore.Bucket) {
	t.Helper()
	for i := range tree {
		name := tree[(i*5+3)%len(tree)] // any order but the sorted one
		put(t, b, name, []byte(name))
	}
}

func list(t *testing.T, b objstore.Bucket) {
	if got := names(t, b, ""); len(got) != 0 {
		t.Errorf("empty bucket: got %q", got)
	}
	plant(t, b)
	var got []string
	err := b.List(t.Context(), "", func(i objstore.Info) error {
		if i.Size != int64(len(i.Name)) {
			t.Errorf("%s: got size %d, want %d", i.Name, i.Size, len(i.Name))
		}
		got = append(got, i.Name)
		return nil
	})
	if err != nil || !slices.Equal(got, tree) {
		t.Errorf("got %q, %v\nwant %q", got, err, tree)
	}
}

func listPrefix(t *testing.T, b objstore.Bucket) {
	plant(t, b)
	for _, prefix := range []string{
		"c", "config", "config/", "configs", "d", "data", "data/", "data/0", "data/00", "data/00/", "data/00/00a",
		"data/00/00a/", "data/0a", "data/zz/", "nothing/", "snapshots/1", "snapshots/", "/", "//", "..", "../", "data//", "s",
	} {
		want := []string{}
		for _, n := range tree {
			if strings.HasPrefix(n, prefix) {
				want = append(want, n)
			}
		}
		if got := names(t, b, prefix); !slices.Equal(got, want) {
			t.Errorf("prefix %q: got %q, want %q", prefix, got, want)
		}
	}
}

func listStops(t *testing.T, b objstore.Bucket) {
	plant(t, b)
	enough := errors.New("enough")
	n := 0
	err := b.List(t.Context(), "", func(objstore.Info) error {
		if n++; n == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 3 {
		t.Errorf("got %d calls and %v, want 3 and the callback's error", n, err)
	}
}

func listDeletes(t *testing.T, b objstore.Bucket) {
	plant(t, b)
	err := b.List(t.Context(), "data/", func(i objstore.Info) error { return b.Delete(t.Context(), i.Name) })
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	if got := names(t, b, "data/"); len(got) != 0 {
		t.Errorf("got %q, want nothing", got)
	}
	if got, want := len(names(t, b, "")), len(tree)-5; got != want {
		t.Errorf("got %d objects, want %d", got, want)
	}
}

func remove(t *testing.T, b objstore.Bucket) {
	plant(t, b)
	for _, name := range []string{"data/00/00a", "data/00/00a", "never", "never/was", "config", "data/00"} {
		if err := b.Delete(t.Context(), name); err != nil {
			t.Errorf("delete %s: %v", name, err)
		}
		_, err := b.Stat(t.Context(), name)
		wantCode(t, "stat "+name, err, holdfast.CodeNotFound)
	}
	if got := get(t, b, "data/00/00b", 0, -1); string(got) != "data/00/00b" {
		t.Errorf("the neighbour: got %q", got)
	}
}

func putAgain(t *testing.T, b objstore.Bucket) {
	put(t, b, "locks/a", []byte("one"))
	if err := b.Delete(t.Context(), "locks/a"); err != nil {
		t.Fatal(err)
	}
	put(t, b, "locks/a", []byte("two"))
	if got := get(t, b, "locks/a", 0, -1); string(got) != "two" {
		t.Errorf("got %q, want %q", got, "two")
	}
}

func cancelled(t *testing.T, b objstore.Bucket) {
	put(t, b, "config", []byte("x"))
	cause := errors.New("somebody pulled the plug")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, getErr := tryGet(ctx, b, "config", 0, -1)
	_, statErr := b.Stat(ctx, "config")
	for what, err := range map[string]error{
		"put":    b.Put(ctx, "other", nil),
		"get":    getErr,
		"stat":   statErr,
		"list":   b.List(ctx, "", func(objstore.Info) error { return nil }),
		"delete": b.Delete(ctx, "config"),
	} {
		if !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want the context's cause", what, err)
		}
	}
	if got := names(t, b, ""); !slices.Equal(got, []string{"config"}) {
		t.Errorf("cancelled calls left %q", got)
	}
}

func putRace(t *testing.T, b objstore.Bucket) {
	const racers = 16
	var wg sync.WaitGroup
	var won atomic.Int64
	var winner atomic.Pointer[[]byte]
	for range racers {
		data := random(t, 10000)
		wg.Go(func() {
			err := b.Put(t.Context(), "snapshots/one", data)
			if err == nil {
				won.Add(1)
				winner.Store(&data)
				return
			}
			wantCode(t, "a loser's put", err, holdfast.CodeConflict)
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d puts of one name succeeded, want 1", won.Load())
	}
	if got := get(t, b, "snapshots/one", 0, -1); !bytes.Equal(got, *winner.Load()) {
		t.Error("the object is not the winner's")
	}
}

func concurrent(t *testing.T, b objstore.Bucket) {
	const workers, each = 8, 20
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("data/%02x/w%d-%d", i, w, i)
				want := bytes.Repeat([]byte{byte(w), byte(i)}, 2000)
				if err := b.Put(t.Context(), name, want); err != nil {
					t.Errorf("put %s: %v", name, err)
					return
				}
				got, err := tryGet(t.Context(), b, name, 0, -1)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("get %s: %d bytes, %v", name, len(got), err)
				}
				if err := b.List(t.Context(), fmt.Sprintf("data/%02x/", i), func(objstore.Info) error { return nil }); err != nil {
					t.Errorf("list: %v", err)
				}
				if i%2 == 1 {
					if err := b.Delete(t.Context(), name); err != nil {
						t.Errorf("delete %s: %v", name, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got, want := len(names(t, b, "data/")), workers*each/2; got != want {
		t.Errorf("got %d objects, want %d", got, want)
	}
}

package objstore_test

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
)

func TestReadAllHasALimit(t *testing.T) {
	b := mem.New()
	if err := b.Put(t.Context(), "config", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		limit int64
		want  holdfast.Code
	}{{5, ""}, {6, ""}, {4, holdfast.CodeInvalid}, {0, holdfast.CodeInvalid}} {
		data, err := objstore.ReadAll(t.Context(), b, "config", c.limit)
		if got := holdfast.ErrorCode(err); got != c.want || (err == nil) != (string(data) == "12345") {
			t.Errorf("limit %d: got %q, %v, want code %q", c.limit, data, err, c.want)
		}
	}
	_, err := objstore.ReadAll(t.Context(), b, "missing", 5)
	if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		t.Errorf("got %v, want not found", err)
	}
}

func TestReadAllDoesNotTakeAPartForTheWhole(t *testing.T) {
	b := fault.Wrap(mem.New(), fault.Truncate(1, 3, io.ErrUnexpectedEOF))
	if err := b.Put(t.Context(), "config", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	if data, err := objstore.ReadAll(t.Context(), b, "config", 10); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %q, %v, want the error of the cut transfer", data, err)
	}
}

func TestRange(t *testing.T) {
	for _, c := range []struct {
		size, offset, length, want int64
		ok                         bool
	}{
		{10, 0, -1, 10, true},
		{10, 3, -1, 7, true},
		{10, 10, -1, 0, true},
		{10, 10, 0, 0, true},
		{10, 3, 7, 7, true},
		{0, 0, -1, 0, true},
		{10, 3, 8, 0, false},
		{10, 11, -1, 0, false},
		{10, 11, 0, 0, false},
		{10, -1, 1, 0, false},
		{10, 0, -2, 0, false},
		{10, 5, 1<<63 - 1, 0, false},
	} {
		got, err := objstore.Range("x", c.size, c.offset, c.length)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%d bytes from %d of %d: got %d, %v, want %d", c.length, c.offset, c.size, got, err, c.want)
		}
	}
}

// FuzzCheckName looks for a name that passes and leads out of a directory, or to
// the directory itself, or to where another name leads.
func FuzzCheckName(f *testing.F) {
	for _, name := range []string{"config", "data/ab/abc", "", ".", "..", "../a", "a/../b", "/a", "a//b", "a\x00", `a\b`, "a/."} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if err := objstore.CheckName(name); err != nil {
			if holdfast.ErrorCode(err) != holdfast.CodeInvalid {
				t.Errorf("%q: got code %q", name, holdfast.ErrorCode(err))
			}
			return
		}
		if !filepath.IsLocal(name) || filepath.Clean(name) != name || name == "." || len(name) > objstore.MaxName ||
			strings.ContainsAny(name, "\x00\\") {
			t.Errorf("%q passes", name)
		}
	})
}

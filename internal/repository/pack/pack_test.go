package pack_test

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

func testKey(t testing.TB) *crypt.Key {
	t.Helper()
	k, err := crypt.RandomKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// build returns a pack with a blob for each content, the second half marked as
// compressed, and what it should list.
func build(t testing.TB, k *crypt.Key, buf []byte, contents ...string) ([]byte, []pack.Blob) {
	t.Helper()
	b := pack.NewBuilder(buf)
	for i, c := range contents {
		blob := pack.Blob{ID: hash.Sum([]byte(c)), Type: pack.Type(i % 2), Length: uint32(len(c) + crypt.Overhead)}
		if i >= len(contents)/2 {
			blob.Raw = uint32(1000 + i)
		}
		if err := k.SealTo(b.Reserve(blob), []byte(c)); err != nil {
			t.Fatal(err)
		}
	}
	blobs := slices.Clone(b.Blobs())
	data, err := b.Finish(k)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(data), blobs
}

func TestRoundTrip(t *testing.T) {
	k := testKey(t)
	contents := []string{"one", "two", "three", "", "five"}
	for _, buf := range [][]byte{nil, make([]byte, 0, 1<<20)} {
		data, want := build(t, k, buf, contents...)
		for i, b := range want {
			got, err := k.OpenInPlace(bytes.Clone(data[b.Offset:][:b.Length]))
			if err != nil || string(got) != contents[i] {
				t.Errorf("blob %d: got %q, error %v", i, got, err)
			}
		}
		got, err := pack.Parse(k, bytes.Clone(data))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, error %v, want %v", got, err, want)
		}
		for n := range len(data) {
			if _, err := pack.Parse(k, bytes.Clone(data[:n])); err == nil {
				t.Fatalf("a pack that was cut to %d of %d bytes was read", n, len(data))
			}
		}
	}
}

func TestFitsCountsTheHeader(t *testing.T) {
	k := testKey(t)
	const room = 4096
	b := pack.NewBuilder(make([]byte, 0, room))
	for b.Fits(50 + crypt.Overhead) {
		blob := pack.Blob{ID: hash.Sum([]byte{byte(b.Count())}), Raw: 100, Length: 50 + crypt.Overhead}
		if err := k.SealTo(b.Reserve(blob), make([]byte, 50)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := b.Finish(k)
	if err != nil {
		t.Fatal(err)
	}
	if cap(data) != room {
		t.Errorf("the buffer grew from %d to %d", room, cap(data))
	}
	if b.Count() < 20 {
		t.Errorf("only %d blobs fit", b.Count())
	}
}

func TestHostileHeaders(t *testing.T) {
	id := hash.Sum([]byte("x"))
	entry := func(kind byte, length ...byte) []byte { return append(append([]byte{kind}, length...), id[:]...) }
	for name, header := range map[string][]byte{
		"unknown type":       entry(4, 40, 0, 0, 0),
		"cut":                entry(0, 40, 0, 0, 0)[:20],
		"too short a blob":   entry(0, 31, 0, 0, 0),
		"empty blob":         entry(0, 32, 0, 0, 0),
		"beyond the data":    entry(0, 41, 0, 0, 0),
		"less than the data": entry(0, 39, 0, 0, 0),
		"4 GiB":              entry(1, 0xff, 0xff, 0xff, 0xff),
		"nothing compressed": entry(2, 40, 0, 0, 0, 0, 0, 0, 0),
		"none":               {},
	} {
		if blobs, err := pack.ParseHeader(header, 40); err == nil {
			t.Errorf("%s: read as %v", name, blobs)
		}
	}
	if _, err := pack.ParseHeader(entry(0, 40, 0, 0, 0), 40); err != nil {
		t.Error(err)
	}
	if _, err := pack.ParseHeader(nil, -1); err != nil {
		t.Log(err) // must not panic
	}
}

func TestParseType(t *testing.T) {
	for _, want := range []pack.Type{pack.Data, pack.Tree} {
		if got, err := pack.ParseType(want.String()); err != nil || got != want {
			t.Errorf("got %v, error %v, want %v", got, err, want)
		}
	}
	if _, err := pack.ParseType("snapshot"); err == nil {
		t.Error("an unknown type was taken")
	}
}

func FuzzParseHeader(f *testing.F) {
	k := testKey(f)
	f.Add([]byte{}, int64(0))
	for _, contents := range [][]string{{"one"}, {"one", "two", "three"}} {
		data, blobs := build(f, k, nil, contents...)
		last := blobs[len(blobs)-1]
		size := int64(last.Offset) + int64(last.Length)
		header, err := k.OpenInPlace(data[size : len(data)-4])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(header, size)
	}
	f.Add([]byte{3, 255, 255, 255, 255, 1}, int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, header []byte, size int64) {
		blobs, err := pack.ParseHeader(header, size)
		if err != nil || size < 0 || size > 1<<20 {
			return
		}
		b := pack.NewBuilder(nil)
		for _, blob := range blobs {
			b.Reserve(blob)
		}
		again, err := b.Finish(k)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pack.Parse(k, again)
		if err != nil || !slices.Equal(got, blobs) {
			t.Errorf("got %v, error %v, want %v", got, err, blobs)
		}
	})
}

func TestTail(t *testing.T) {
	k := testKey(t)
	data, want := build(t, k, nil, "one", "two", "three", "four")
	size := int64(len(data))
	if got := pack.Size(want); got != size {
		t.Errorf("got size %d, want %d", got, size)
	}
	n, err := pack.TailLen([4]byte(data[size-4:]), size)
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range []int64{0, 1, size - n} {
		got, err := pack.ParseTail(k, bytes.Clone(data[size-n-more:]), size)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%d bytes more: got %v, error %v", more, got, err)
		}
	}
	for _, from := range []int64{size - n + 1, size - 4, size} {
		if _, err := pack.ParseTail(k, bytes.Clone(data[from:]), size); err == nil {
			t.Errorf("a tail that begins at %d of %d passes", from, size)
		}
	}
}

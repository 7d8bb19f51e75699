package index_test

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

func id(n int) hash.ID {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	return hash.Sum(b[:])
}

func TestLookup(t *testing.T) {
	x := index.New()
	const packs, blobs = 50, 1000
	for p := range packs {
		var list []pack.Blob
		for i := range blobs {
			n := p*blobs + i
			list = append(list, pack.Blob{ID: id(n), Type: pack.Type(n % 2), Offset: uint32(n), Length: 100, Raw: uint32(n % 3)})
		}
		x.Add(id(-p-1), list)
	}
	if x.Len() != packs*blobs || x.Packs() != packs {
		t.Errorf("got %d blobs in %d packs", x.Len(), x.Packs())
	}
	for n := range packs * blobs {
		want := index.Location{
			Blob: pack.Blob{ID: id(n), Type: pack.Type(n % 2), Offset: uint32(n), Length: 100, Raw: uint32(n % 3)},
			Pack: id(-n/blobs - 1),
		}
		if got := x.Lookup(nil, want.ID, want.Type); len(got) != 1 || got[0] != want {
			t.Fatalf("got %v, want %v", got, want)
		}
		if got := x.Lookup(nil, want.ID, 1-want.Type); len(got) != 0 {
			t.Fatalf("found %v as the other type", got)
		}
	}
	if got := x.Lookup(nil, id(packs*blobs), pack.Data); len(got) != 0 {
		t.Errorf("found %v, which was never added", got)
	}
}

func TestSeveralPlaces(t *testing.T) {
	x := index.New()
	b := pack.Blob{ID: id(1), Offset: 7, Length: 100}
	x.Add(id(10), []pack.Blob{b})
	x.Add(id(10), []pack.Blob{b}) // the same place, listed twice
	x.Add(id(11), []pack.Blob{b})
	got := x.Lookup(nil, b.ID, pack.Data)
	if len(got) != 2 || got[0].Pack != id(10) || got[1].Pack != id(11) {
		t.Errorf("got %v", got)
	}
}

func TestClaimIsGivenOnce(t *testing.T) {
	x := index.New()
	x.Add(id(0), []pack.Blob{{ID: id(1), Length: 50}})
	if x.Claim(id(1), pack.Data) != index.Known {
		t.Error("a stored blob was claimed")
	}
	if x.Claim(id(1), pack.Tree) != index.Claimed {
		t.Error("a tree was taken for the data blob of the same id")
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := 2; n < 1002; n++ {
				if x.Claim(id(n), pack.Data) == index.Claimed {
					won.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if won.Load() != 1000 {
		t.Errorf("1000 blobs were claimed %d times", won.Load())
	}
	if got := x.Lookup(nil, id(2), pack.Data); len(got) != 0 {
		t.Errorf("a claim has a place: %v", got)
	}
	x.Add(id(5000), []pack.Blob{{ID: id(2), Length: 50}})
	if got := x.Lookup(nil, id(2), pack.Data); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	if x.Len() != 1002 {
		t.Errorf("the place took another entry: %d", x.Len())
	}
}

func TestMemoryPerBlob(t *testing.T) {
	const n = 200_000
	before := heap()
	x := index.New()
	r := rand.NewChaCha8([32]byte{})
	list := make([]pack.Blob, 1)
	for range n {
		_, _ = r.Read(list[0].ID[:])
		list[0].Length = 100
		x.Add(hash.ID{1}, list)
	}
	if per := float64(heap()-before) / n; per > 66 {
		t.Errorf("a blob takes %.1f bytes", per)
	}
	runtime.KeepAlive(x)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func decode(data []byte) ([]index.Pack, error) {
	var got []index.Pack
	err := index.Decode(data, func(p index.Pack) error {
		p.Blobs = slices.Clone(p.Blobs)
		got = append(got, p)
		return nil
	})
	return got, err
}

func TestEncode(t *testing.T) {
	want := []index.Pack{
		{ID: id(1), Blobs: []pack.Blob{{ID: id(2), Type: pack.Data, Length: 38}, {ID: id(3), Type: pack.Tree, Offset: 38, Length: 150, Raw: 200}}},
		{ID: id(4), Blobs: []pack.Blob{{ID: id(5), Length: 1 << 20}}},
	}
	data, err := index.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decode(data); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, error %v", got, err)
	}
}

const (
	hexA = "040b1e2c5f6a7b8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e"
	ok   = `{"supersedes":["` + hexA + `"],"packs":[{"id":"` + hexA + `","blobs":[{"id":"` + hexA + `","type":"data","offset":0,"length":38}]}]}`
)

func TestDecode(t *testing.T) {
	for _, good := range []string{ok, `{}`, `{"packs":[]}`, `{"packs":null,"x":{"y":[1]}}`} {
		if _, err := decode([]byte(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "null", "[]", `[{"id":"` + hexA + `","blobs":[]}]`, `{"packs":{}}`, `{"packs":[{}]}`, `{"packs":[1]}`,
		ok[:len(ok)-1], ok + "{}",
		`{"packs":[{"id":"` + hexA + `","blobs":[{"id":"` + hexA + `","type":"link","offset":0,"length":38}]}]}`,
		`{"packs":[{"id":"` + hexA + `","blobs":[{"id":"` + hexA + `","type":"data","offset":0,"length":3}]}]}`,
		`{"packs":[{"id":"` + hexA + `","blobs":[{"id":"` + hexA + `","type":"data","offset":-1,"length":38}]}]}`,
		`{"packs":[{"id":"` + hexA + `","blobs":[{"id":"` + hexA + `","type":"data","offset":4294967290,"length":38}]}]}`,
		`{"packs":[{"id":"../../etc/passwd","blobs":[]}]}`,
	} {
		if got, err := decode([]byte(bad)); err == nil {
			t.Errorf("%s: read as %v", bad, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(ok))
	f.Add([]byte(`{"packs":[]}`))
	f.Add([]byte(`{"packs":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		packs, err := decode(data)
		if err != nil {
			return
		}
		again, err := index.Encode(packs)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(again)
		if err != nil || len(got) != len(packs) {
			t.Errorf("got %v, error %v, want %v", got, err, packs)
		}
	})
}

func BenchmarkClaimKnown(b *testing.B) {
	x := index.New()
	const n = 1 << 18
	ids := make([]hash.ID, n)
	for i := range ids {
		ids[i] = id(i)
		x.Add(hash.ID{1}, []pack.Blob{{ID: ids[i], Length: 100}})
	}
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			x.Claim(ids[i*7919%n], pack.Data)
		}
	})
}

func TestByPack(t *testing.T) {
	x := index.New()
	want := map[hash.ID][]pack.Blob{}
	for p := range 20 {
		var list []pack.Blob
		for i := range p * 100 {
			list = append(list, pack.Blob{ID: id(p*10_000 + i), Type: pack.Type(i % 2), Offset: uint32(i * 50), Length: 50, Raw: uint32(i % 3)})
		}
		want[id(-p-1)] = slices.Clone(list)
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		x.Add(id(-p-1), list)
		x.Add(id(-p-1), list[:len(list)/2]) // listed twice
	}
	x.Claim(id(-100), pack.Data)
	err := x.ByPack(func(p hash.ID, blobs []pack.Blob) error {
		if !slices.Equal(blobs, want[p]) {
			t.Errorf("pack %s: got %d blobs, want %d", p.Short(), len(blobs), len(want[p]))
		}
		delete(want, p)
		return nil
	})
	if err != nil || len(want) != 0 {
		t.Errorf("error %v, and %d packs were left out", err, len(want))
	}
}

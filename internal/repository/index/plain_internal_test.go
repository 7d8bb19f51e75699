package index

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// written is what Encode makes of some packs.
func written(t testing.TB) string {
	t.Helper()
	id := func(n byte) hash.ID { return hash.Sum([]byte{n}) }
	data, err := Encode([]Pack{
		{ID: id(1), Blobs: []pack.Blob{
			{ID: id(2), Type: pack.Data, Length: 40}, {ID: id(3), Type: pack.Tree, Offset: 40, Length: 4_000_000_000, Raw: 4_294_967_295},
		}},
		{ID: id(4)},
		{ID: id(5), Blobs: []pack.Blob{{ID: id(6), Type: pack.Tree, Offset: 7, Length: 33, Raw: 100}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// general reads as decodeAny does, and keeps what it reads.
func general(data []byte) (all []Pack, err error) {
	err = decodeAny(data, func(p Pack) error {
		all = append(all, Pack{ID: p.ID, Blobs: slices.Clone(p.Blobs)})
		return nil
	})
	return all, err
}

// agree fails when the quick reader takes what the general one reads otherwise.
func agree(t *testing.T, data []byte) (taken bool) {
	t.Helper()
	got, ok := plain(data)
	if !ok {
		return false
	}
	want, err := general(data)
	same := func(a, b Pack) bool { return a.ID == b.ID && slices.Equal(a.Blobs, b.Blobs) }
	if err != nil || !slices.EqualFunc(got, want, same) {
		t.Errorf("%s\nquickly %v\nin general %v, error %v", data, got, want, err)
	}
	return true
}

func TestPlain(t *testing.T) {
	t.Parallel()
	w := written(t)
	for _, s := range []string{w, `{"packs":[]}`} {
		if !agree(t, []byte(s)) {
			t.Errorf("what Encode writes is not read quickly: %s", s)
		}
	}
	if got, _ := plain([]byte(w)); len(got) != 3 || !reflect.DeepEqual(got[0].Blobs[1].Raw, uint32(4_294_967_295)) {
		t.Errorf("got %v", got)
	}
	// Whatever is otherwise is left to the general reader, which takes some of it.
	for old, others := range map[string][]string{
		`"offset":0`:           {`"offset":00`, `"offset":-0`, `"offset":0.0`, `"offset": 0`, `"offset":`, `"offset":4294967296`, `"offset":18446744073709551616`},
		`"data"`:               {`"date"`, `"Data"`, `"\u0064ata"`, `"data" `},
		`{"packs":[`:           {` {"packs":[`, `{"supersedes":[],"packs":[`, `{"Packs":[`},
		`"length":40}`:         {`"length":40,"more":1}`, `"length":3}`, `"length":40,"uncompressed_length":0.5}`, `"length":40]`},
		w[len(w)-3:]:           {w[len(w)-3:] + "{}", w[len(w)-3:] + " ", ""},
		w[17 : 17+2*hash.Size]: {strings.Repeat("0", 2*hash.Size), strings.Repeat("g", 2*hash.Size), "00"},
	} {
		if !strings.Contains(w, old) {
			t.Fatalf("%s is not in %s", old, w)
		}
		for _, other := range others {
			if changed := strings.Replace(w, old, other, 1); agree(t, []byte(changed)) {
				t.Errorf("read quickly: %s", changed)
			}
		}
	}
	for n := range len(w) {
		agree(t, []byte(w[:n]))
	}
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte(written(f)))
	f.Add([]byte(`{"packs":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, data) })
}

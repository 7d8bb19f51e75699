package hash_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

func TestParse(t *testing.T) {
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, B.1
	if got := hash.Sum([]byte("abc")).String(); got != abc {
		t.Errorf("got %s, want %s", got, abc)
	}
	h := hash.New()
	h.Write([]byte("a"))
	h.Write([]byte("bc"))
	if got := hash.Finish(h); got != hash.Sum([]byte("abc")) {
		t.Errorf("the running hash gives %s", got)
	}
	id, err := hash.Parse(abc)
	if err != nil || id != hash.Sum([]byte("abc")) {
		t.Errorf("got %s, error %v", id, err)
	}
	for _, bad := range []string{"", abc[1:], abc + "0", "BA" + abc[2:], "g" + abc[1:], "../" + abc[3:]} {
		if _, err := hash.Parse(bad); err == nil {
			t.Errorf("%q was taken for an id", bad)
		}
	}
}

package fault_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
)

func TestDiskLosesWhatWasNotSynced(t *testing.T) {
	t.Parallel()
	disk := fault.NewDisk()
	b, err := fs.Open(t.TempDir(), fs.Around(disk.Around))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	put := func(name, data string) {
		t.Helper()
		if err := b.Put(t.Context(), name, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	put("a/kept", "kept")
	put("a/deleted", "deleted")
	disk.Lies = func(fs.Step) bool { return true }
	put("a/lost", "lost")
	put("b/lost", "lost")
	if err := b.Delete(t.Context(), "a/deleted"); err != nil {
		t.Fatal(err)
	}
	read := func(random *rand.Rand) map[string]string {
		t.Helper()
		dir := t.TempDir()
		if err := errors.Join(disk.Cut(dir, random), fault.NewDisk().Restart(dir)); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, name := range []string{"a/kept", "a/deleted", "a/lost", "b/lost"} {
			if data, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
				got[name] = string(data)
			}
		}
		return got
	}
	if got := read(nil); len(got) != 2 || got["a/kept"] != "kept" || got["a/deleted"] != "deleted" {
		t.Errorf("with all lost that can be: got %q", got)
	}
	seen := map[string]bool{}
	for seed := range uint64(100) {
		got := read(rand.New(rand.NewPCG(seed, 0)))
		if got["a/kept"] != "kept" {
			t.Fatalf("got %q", got)
		}
		for _, name := range []string{"a/deleted", "a/lost", "b/lost"} {
			data, there := got[name]
			if !there {
				data = "not there"
			}
			seen[name+": "+data] = true
		}
	}
	for _, want := range []string{
		"a/deleted: deleted", "a/deleted: not there", "a/lost: lost", "a/lost: lo", "a/lost: ", "a/lost: \x00\x00\x00\x00", "a/lost: not there", "b/lost: not there", "b/lost: lost",
	} {
		if !seen[want] {
			t.Errorf("a hundred power cuts have not left %q", want)
		}
	}
}

package fs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

var errGone = errors.New("the machine is gone")

// powerCut is a random history of writers in one directory, which die one after the
// other, and of what they were told.
type powerCut struct {
	random *rand.Rand
	disk   *fault.Disk
	dir    string
	there  map[string]bool // must be there afterwards, or must not; others may be
	left   int             // steps until the writer dies
}

func contentOf(name string) string { return strings.Repeat(name, 100) }

// around ends the writer between two steps.
func (p *powerCut) around(s fs.Step, do func() error) error {
	if p.left--; p.left < 0 {
		return errGone
	}
	return p.disk.Around(s, do)
}

// write puts, deletes and lists until it dies, and notes what it was told.
func (p *powerCut) write(ctx context.Context) error {
	b, err := fs.Open(p.dir, fs.Around(p.around))
	if err != nil {
		return err
	}
	defer func() { _ = b.Close() }()
	for p.left = p.random.IntN(25); p.left > 0; {
		name := fmt.Sprintf("%c/%c/%d", 'a'+p.random.IntN(2), 'a'+p.random.IntN(2), p.random.IntN(2))
		switch p.random.IntN(8) {
		default:
			delete(p.there, name)
			err := b.Put(ctx, name, []byte(contentOf(name)))
			if code := holdfast.ErrorCode(err); code == "" || code == holdfast.CodeConflict {
				p.there[name] = true
			}
		case 5, 6:
			delete(p.there, name)
			if err := b.Delete(ctx, name); err == nil {
				p.there[name] = false
			}
		case 7: // what it shows is counted on
			dir := name[:p.random.IntN(3)]
			var seen []string
			err := b.List(ctx, dir, func(i objstore.Info) error { seen = append(seen, i.Name); return nil })
			if err != nil {
				continue
			}
			for name := range p.there {
				if strings.HasPrefix(name, dir) {
					p.there[name] = false
				}
			}
			for _, name := range seen {
				p.there[name] = true
			}
		}
	}
	return nil
}

// history returns what is wrong after the power cut.
func history(t *testing.T, seed uint64, lies func(fs.Step) bool) (wrong []string) {
	t.Helper()
	p := &powerCut{random: rand.New(rand.NewPCG(seed, 0)), disk: fault.NewDisk(), dir: testkit.MemoryDir(t), there: map[string]bool{}}
	p.disk.Lies = lies
	for range 1 + p.random.IntN(4) {
		if err := p.write(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	after := testkit.MemoryDir(t)
	if err := errors.Join(p.disk.Cut(after, p.random), p.disk.Restart(after)); err != nil {
		t.Fatal(err)
	}
	b, err := fs.Open(after, fs.Around(p.disk.Around))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	left := names(t, b)
	for name, there := range p.there {
		if slices.Contains(left, name) != there {
			wrong = append(wrong, fmt.Sprintf("%s: there %t, want %t", name, !there, there))
		}
	}
	for _, name := range left {
		got, err := objstore.ReadAll(t.Context(), b, name, 1<<20)
		if err != nil || string(got) != contentOf(name) {
			wrong = append(wrong, fmt.Sprintf("%s: it holds %q, error %v", name, got, err))
		}
	}
	return wrong
}

// TestPowerCut: what a bucket has acknowledged, or shown, is so after a power cut, and
// no object is there by half.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	base := rand.Uint64()
	for seed := base; seed < base+300; seed++ {
		for _, w := range history(t, seed, nil) {
			t.Errorf("seed %d: %s", seed, w)
		}
	}
}

// TestPowerCutSeesAMissingSync takes away one sync after the other.
func TestPowerCutSeesAMissingSync(t *testing.T) {
	t.Parallel()
	for _, function := range []string{"(*Bucket).writeFile", "(*Bucket).Put", "(*Bucket).taken", "(*Bucket).openParent", "(*Bucket).Delete", "(*Bucket).readDir"} {
		t.Run(function, func(t *testing.T) {
			t.Parallel()
			lies := fault.Within(function)
			if function == "(*Bucket).Put" { // not those of what it calls
				lies = func(s fs.Step) bool {
					return fault.Within("(*Bucket).Put")(s) && s.Op == fs.SyncDir && !fault.Within("(*Bucket).openParent")(s) && !fault.Within("(*Bucket).taken")(s)
				}
			}
			for seed := range uint64(2000) {
				if len(history(t, seed, lies)) > 0 {
					t.Logf("seen by history %d", seed+1)
					return
				}
			}
			t.Error("no history has seen it")
		})
	}
}

// TestCreateSyncsWhatItMakes: each directory that it may have made is in its parent
// before anything is put into the bucket.
func TestCreateSyncsWhatItMakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synced := map[string]bool{}
	b, err := fs.Create(filepath.Join(dir, "a", "b", "c"), fs.Around(func(s fs.Step, do func() error) error {
		if s.Op == fs.SyncDir {
			synced[s.Path] = true
		}
		return do()
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	for _, parent := range []string{dir, filepath.Join(dir, "a"), filepath.Join(dir, "a", "b")} {
		if !synced[parent] {
			t.Errorf("%s was not synced", parent)
		}
	}
}

// TestListSettlesWhatIsYoung: a directory is synced before its names are shown, unless
// it has not changed for long; one that nobody can write to is shown all the same.
func TestListSettlesWhatIsYoung(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		age    time.Duration
		fails  error
		synced bool
		code   holdfast.Code
	}{
		{"young", 0, nil, true, ""},
		{"old", 2 * time.Hour, nil, false, ""},
		{"of the future", -2 * time.Hour, nil, true, ""},
		{"read-only", 0, syscall.EROFS, true, ""},
		{"of somebody else", 0, syscall.EPERM, true, ""},
		{"on a broken disk", 0, syscall.EIO, true, holdfast.CodeUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			put(t, open(t, dir), "locks/1", "x")
			when := time.Now().Add(-c.age)
			if err := os.Chtimes(filepath.Join(dir, "locks"), when, when); err != nil {
				t.Fatal(err)
			}
			synced := false
			b, err := fs.Open(dir, fs.Around(func(s fs.Step, _ func() error) error {
				synced = synced || s.Op == fs.SyncDir && s.Path == "locks"
				return c.fails
			}))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Close() }()
			seen := 0
			err = b.List(t.Context(), "locks/", func(objstore.Info) error { seen++; return nil })
			wantCode(t, "list", err, c.code)
			if synced != c.synced || (seen == 1) != (err == nil) {
				t.Errorf("synced %t, %d objects seen", synced, seen)
			}
		})
	}
}

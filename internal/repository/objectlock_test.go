package repository

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/retry"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// lockedBucket is a bucket whose versions are under retention in compliance mode.
func lockedBucket(t *testing.T) (objstore.Bucket, objstore.Versions, s3.Config) {
	t.Helper()
	c := s3test.Start(t).LockedConfig(t)
	c.Prefix = "main"
	b, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	o := retry.Options{First: time.Millisecond}
	return retry.Wrap(b, o), retry.WrapVersions(b, o), c
}

// minioOf is the client of somebody who keeps to none of our rules.
func minioOf(t *testing.T, c s3.Config) *minio.Client {
	t.Helper()
	m, err := minio.New(c.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey.Reveal(), ""), Region: c.Region, BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// resticInStore has the stock restic check a repository in a bucket.
func resticInStore(t *testing.T, c s3.Config, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "restic", append([]string{"--no-cache", "-r", "s3:http://" + c.Endpoint + "/" + c.Bucket + "/" + c.Prefix}, args...)...)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+testPassword, "AWS_ACCESS_KEY_ID="+c.AccessKey, "AWS_SECRET_ACCESS_KEY="+c.SecretKey.Reveal(), "AWS_DEFAULT_REGION="+c.Region)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("restic %v: %v\n%s", args, err, out)
	}
}

func wantSound(t *testing.T, r *Repository, snapshots int) {
	t.Helper()
	res, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Findings) > 0 || res.Snapshots != snapshots {
		t.Errorf("check: got %+v, want %d snapshots and no findings", res, snapshots)
	}
}

// TestLockedBucket backs up, refreshes locks, removes a set, checks and restores where
// nothing that was written can be deleted for good.
func TestLockedBucket(t *testing.T) {
	t.Parallel()
	b, _, c := lockedBucket(t)
	r := newRepository(t, b)
	one := set{"a": file(bytes.Repeat([]byte("one"), 100_000)), "d": directory(), "d/b": file([]byte("small"))}
	first := backUp(t, r, one)
	two := maps.Clone(one)
	two["d/b"] = file([]byte("changed"))
	w := newWriter(t, r)
	for p, n := range two {
		if err := w.Add(t.Context(), n.file(p)); err != nil {
			t.Fatal(err)
		}
		if err := w.lock.refreshOnce(t.Context()); err != nil {
			t.Fatalf("refresh: %v", err)
		}
	}
	if got := len(names(t, b, "locks/")); got != 1 {
		t.Errorf("while the writer works there are %d locks", got)
	}
	second, err := w.Commit(t.Context(), testCommit(), intendNothing)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.RemoveSnapshot(t.Context(), first); err != nil {
			t.Fatalf("expiry: %v", err)
		}
	}
	if left := names(t, b, "locks/"); len(left) > 0 {
		t.Errorf("locks are left: %v", left)
	}
	wantSound(t, r, 1)
	compare(t, readSet(t, r, second), two)
	resticInStore(t, c, "check", "--read-data")
}

// TestUndelete has somebody with the rights of the store's owner delete the whole
// repository, and brings it back.
func TestUndelete(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b, v, c := lockedBucket(t)
	r := newRepository(t, b)
	want := set{"a": file(bytes.Repeat([]byte("data"), 100_000)), "d": directory()}
	expired, kept := backUp(t, r, set{"x": file([]byte("x"))}), backUp(t, r, want)
	if err := r.RemoveSnapshot(ctx, expired); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // the store's times have the precision of a second
	since := time.Now()
	if err := b.Put(ctx, "notes/of somebody else", nil); err != nil {
		t.Fatal(err)
	}
	all := names(t, b, "")
	for _, name := range all {
		if err := b.Delete(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(ctx, b, testSecret()); err == nil {
		t.Fatal("the repository is still there")
	}
	dry, err := Undelete(ctx, v, UndeleteOptions{Since: since, DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if left := names(t, b, ""); len(left) > 0 {
		t.Errorf("the dry run brought back %v", left)
	}
	told := 0
	res, err := Undelete(ctx, v, UndeleteOptions{Since: since, Progress: func(Undeleted) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Objects) != len(all)-1 || len(dry.Objects) != len(all)-1 || told != len(all)-1 || len(res.Lost) != 0 {
		t.Errorf("got %d objects, %d in the dry run, %d told, %d gone; want %d", len(res.Objects), len(dry.Objects), told, len(res.Lost), len(all)-1)
	}
	if got := names(t, b, ""); !slices.Equal(got, slices.DeleteFunc(all, func(s string) bool { return strings.HasPrefix(s, "notes/") })) {
		t.Errorf("there is now %v", got)
	}
	again, err := Open(ctx, b, testSecret())
	if err != nil {
		t.Fatal(err)
	}
	wantSound(t, again, 1)
	compare(t, readSet(t, again, kept), want)
	resticInStore(t, c, "check", "--read-data")
	// With an earlier time, what has expired is back, too; and no lock.
	if res, err = Undelete(ctx, v, UndeleteOptions{Since: since.Add(-time.Hour)}); err != nil || len(res.Objects) != 1 {
		t.Errorf("got %+v, %v, want the expired snapshot", res, err)
	}
	wantSound(t, again, 2)
	if left := names(t, b, "locks/"); len(left) > 0 {
		t.Errorf("locks are back: %v", left)
	}
}

// TestUndeleteStops brings back packs before their index, and that before snapshots.
func TestUndeleteStops(t *testing.T) {
	t.Parallel()
	id := func(c string) string { return strings.Repeat(c, 64) }
	v := &scriptedVersions{fail: "index/" + id("b"), err: holdfast.Errorf(holdfast.CodeForbidden, "no")}
	for _, name := range []string{"snapshots/" + id("a"), "data/aa/" + id("a"), "data/ab/" + id("a"), "locks/" + id("a"), "index/" + id("b"), "index/" + id("a"), "config", "config2", "else/a", "keys/" + id("a"), "keys/a"} {
		v.all = append(v.all, objstore.Changed{Name: name, Deleted: true, Versions: make([]objstore.Version, 1)})
	}
	res, err := Undelete(t.Context(), v, UndeleteOptions{Since: time.Now()})
	wantError(t, err, holdfast.CodeForbidden, v.fail)
	var got []string
	for _, d := range res.Objects {
		if d.Name != "index/"+id("a") { // as it happens
			got = append(got, d.Name)
		}
	}
	if want := []string{"config", "keys/" + id("a"), "data/aa/" + id("a")}; !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// scriptedVersions have what no real store makes at will.
type scriptedVersions struct {
	all  []objstore.Changed
	sums map[string]hash.ID // of versions, by their ids; the others cannot be read
	top  string             // the version that is the object once the markers are gone
	fail string
	err  error

	mu       sync.Mutex // guards the field below
	restored []string   // versions
}

func (v *scriptedVersions) Changed(_ context.Context, prefix string, _ time.Time) (out []objstore.Changed, _ error) {
	for _, c := range v.all {
		if strings.HasPrefix(c.Name, prefix) {
			out = append(out, c)
		}
	}
	return out, nil
}

func (v *scriptedVersions) Sum(_ context.Context, name string, of objstore.Version) ([32]byte, error) {
	if sum, ok := v.sums[of.ID]; ok {
		return sum, nil
	}
	return [32]byte{}, holdfast.Errorf(holdfast.CodeForbidden, "version %s of %s is frozen", of.ID, name)
}

func (v *scriptedVersions) Undelete(_ context.Context, c objstore.Changed) (string, error) {
	if c.Name == v.fail {
		return "", v.err
	}
	return v.top, nil
}

func (v *scriptedVersions) Restore(_ context.Context, _ string, of objstore.Version) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.restored = append(v.restored, of.ID)
	return nil
}

// TestUndeleteChooses the version that an object shall be.
func TestUndeleteChooses(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	good, bad := hash.Sum([]byte("good")), hash.Sum([]byte("bad"))
	pack, note := packName(good), kindDamaged().name(good)
	sums := map[string]hash.ID{"good": good, "good2": good, "bad": bad, "bad2": bad}
	// A version is its id, and how many minutes after since it was written.
	type version struct {
		id     string
		minute int
	}
	for name, c := range map[string]struct {
		object   string
		deleted  bool
		versions []version // the newest first
		top      string
		done     string // empty: nothing, or lost
		restored string
		lost     bool
		fails    holdfast.Code
	}{
		"deleted":                             {object: pack, deleted: true, versions: []version{{"good", -5}}, top: "good", done: UndeletedMarker},
		"deleted, and was there alone":        {object: pack, deleted: true, versions: []version{{"frozen", -5}}, top: "frozen", done: UndeletedMarker},
		"deleted, of an unknown time":         {object: pack, deleted: true, versions: []version{{"good", 5}}, top: "good", done: UndeletedMarker},
		"put by somebody, and deleted":        {object: pack, deleted: true, versions: []version{{"bad", 5}}, lost: true},
		"nothing is left":                     {object: pack, deleted: true, lost: true},
		"overwritten":                         {object: pack, versions: []version{{"bad", 5}, {"good", -5}}, done: UndeletedAgain, restored: "good"},
		"overwritten and deleted":             {object: pack, deleted: true, versions: []version{{"bad", 5}, {"good", -5}}, done: UndeletedAgain, restored: "good"},
		"overwritten before, deleted since":   {object: pack, deleted: true, versions: []version{{"bad", -1}, {"good", -5}}, done: UndeletedAgain, restored: "good"},
		"overwritten twice":                   {object: pack, versions: []version{{"bad", 6}, {"bad2", 5}, {"good", -5}}, done: UndeletedAgain, restored: "good"},
		"the first was wrong":                 {object: pack, versions: []version{{"bad", 6}, {"good", -5}, {"bad2", -6}}, done: UndeletedAgain, restored: "good"},
		"restored already":                    {object: pack, versions: []version{{"good2", 9}, {"bad", 5}, {"good", -5}}},
		"restored already, and deleted":       {object: pack, deleted: true, versions: []version{{"good2", 9}, {"bad", 5}, {"good", -5}}, top: "good2", done: UndeletedMarker},
		"another one is the newest":           {object: pack, deleted: true, versions: []version{{"good", 5}, {"bad", 5}}, top: "bad", done: UndeletedAgain, restored: "good"},
		"no good version":                     {object: pack, versions: []version{{"bad", 5}, {"bad2", -5}}, lost: true},
		"one that cannot be read beside it":   {object: pack, versions: []version{{"frozen", 5}, {"good", -5}}, done: UndeletedAgain, restored: "good"},
		"the only good one cannot be read":    {object: pack, versions: []version{{"bad", 5}, {"frozen", -5}}, fails: holdfast.CodeForbidden},
		"config, deleted":                     {object: configName, deleted: true, versions: []version{{"frozen", -5}}, top: "frozen", done: UndeletedMarker},
		"config, overwritten":                 {object: configName, versions: []version{{"b", 5}, {"a", -5}}, done: UndeletedAgain, restored: "a"},
		"config, overwritten and deleted":     {object: configName, deleted: true, versions: []version{{"c", 6}, {"b", 5}, {"a", -5}}, done: UndeletedAgain, restored: "a"},
		"config, made again before":           {object: configName, versions: []version{{"c", 5}, {"b", -5}, {"a", -9}}, done: UndeletedAgain, restored: "b"},
		"config, by a store of unknown times": {object: configName, versions: []version{{"c", 6}, {"b", 5}, {"a", 5}}, done: UndeletedAgain, restored: "a"},
		"config, restored already":            {object: configName, versions: []version{{"good2", 6}, {"bad", 5}, {"good", 5}}},
		"a note":                              {object: note, versions: []version{{"b", 5}, {"a", -5}}, done: UndeletedAgain, restored: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := objstore.Changed{Name: c.object, Deleted: c.deleted, Markers: []string{"marker"}}
			for _, v := range c.versions {
				o.Versions = append(o.Versions, objstore.Version{ID: v.id, Time: since.Add(time.Duration(v.minute) * time.Minute)})
			}
			v := &scriptedVersions{all: []objstore.Changed{o}, sums: sums, top: c.top}
			dry, err := Undelete(t.Context(), v, UndeleteOptions{Since: since, DryRun: true})
			if c.fails != "" {
				wantError(t, err, c.fails, "frozen")
				return
			}
			if err != nil || len(v.restored) > 0 {
				t.Fatalf("dry run: restored %v, error %v", v.restored, err)
			}
			res, err := Undelete(t.Context(), v, UndeleteOptions{Since: since})
			if err != nil {
				t.Fatal(err)
			}
			if len(dry.Objects) != len(res.Objects) || len(dry.Lost) != len(res.Lost) {
				t.Errorf("dry run %+v, then %+v", dry, res)
			}
			done := ""
			if len(res.Objects) == 1 {
				done = res.Objects[0].Done
			}
			if restored := strings.Join(v.restored, " "); done != c.done || restored != c.restored || len(res.Lost) == 1 != c.lost {
				t.Errorf("got %+v, restored %q; want %q, %q, lost %t", res, restored, c.done, c.restored, c.lost)
			}
		})
	}
}

// TestUndeleteOverwritten has a thief with the rights of the store's owner write over
// objects, and delete some of them then; and has the answer to each call of the undelete
// fail, or be lost.
func TestUndeleteOverwritten(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b, v, c := lockedBucket(t)
	r := newRepository(t, b)
	want := set{"a": file(bytes.Repeat([]byte("data"), 100_000)), "d": directory()}
	kept := backUp(t, r, want)
	time.Sleep(1100 * time.Millisecond) // the store's times have the precision of a second
	since := time.Now()
	thief := minioOf(t, c)
	overwrite := func(name, with string) {
		t.Helper()
		if _, err := thief.PutObject(ctx, c.Bucket, c.Prefix+"/"+name, strings.NewReader(with), int64(len(with)), minio.PutObjectOptions{SendContentMd5: true}); err != nil {
			t.Fatal(err)
		}
	}
	steal := func() (changed int) {
		t.Helper()
		overwrite(configName, "stolen")
		for i, name := range names(t, b, "") {
			if i%4 == 3 {
				continue // untouched
			}
			changed++
			if i%4 != 0 {
				overwrite(name, "stolen")
			}
			if i%4 != 1 {
				if err := b.Delete(ctx, name); err != nil {
					t.Fatal(err)
				}
			}
		}
		return changed
	}
	all := names(t, b, "")
	changed := steal()
	if _, err := Open(ctx, b, testSecret()); err == nil {
		t.Fatal("the repository is still there")
	}
	// It has versions, and none of them is good.
	junk := kindIndex().name(hash.Sum([]byte("nobody's")))
	overwrite(junk, "one")
	overwrite(junk, "two")
	res, err := Undelete(ctx, v, UndeleteOptions{Since: since})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Objects) != changed || len(res.Lost) != 1 || res.Lost[0].Name != junk || res.Lost[0].Versions != 2 {
		t.Errorf("got %+v, want %d objects, and %s lost", res, changed, junk)
	}
	if err := b.Delete(ctx, junk); err != nil { // nobody's index
		t.Fatal(err)
	}
	sound := func() {
		t.Helper()
		if got := names(t, b, ""); !slices.Equal(got, all) {
			t.Errorf("there is now %v, want %v", got, all)
		}
		again, err := Open(ctx, b, testSecret())
		if err != nil {
			t.Fatal(err)
		}
		wantSound(t, again, 1)
		compare(t, readSet(t, again, kept), want)
	}
	sound()
	resticInStore(t, c, "check", "--read-data")
	if res, err = Undelete(ctx, v, UndeleteOptions{Since: since}); err != nil || len(res.Objects) > 0 {
		t.Errorf("again: got %+v, error %v", res, err)
	}
	for _, lost := range []bool{false, true} {
		steal()
		f := &failingVersions{Versions: v, lost: lost}
		for n := 1; ; n++ {
			if f.left.Store(int64(n)); n > 1000 {
				t.Fatal("it does not get on")
			}
			if _, err := Undelete(ctx, f, UndeleteOptions{Since: since}); err == nil {
				break
			}
		}
		sound()
	}
}

// failingVersions answer so many calls of those that change something, and fail from
// then on.
type failingVersions struct {
	objstore.Versions
	lost bool // the call is heard, and its answer lost
	left atomic.Int64
}

func (f *failingVersions) call(do func() error) error {
	gone := holdfast.Errorf(holdfast.CodeUnavailable, "the store is gone")
	last := f.left.Add(-1)
	if last < 0 || last == 0 && !f.lost {
		return gone
	}
	if err := do(); err != nil || last > 0 {
		return err
	}
	return gone
}

func (f *failingVersions) Sum(ctx context.Context, name string, of objstore.Version) (sum [32]byte, err error) {
	err = f.call(func() (err error) { sum, err = f.Versions.Sum(ctx, name, of); return err })
	return sum, err
}

func (f *failingVersions) Undelete(ctx context.Context, c objstore.Changed) (id string, err error) {
	err = f.call(func() (err error) { id, err = f.Versions.Undelete(ctx, c); return err })
	return id, err
}

func (f *failingVersions) Restore(ctx context.Context, name string, of objstore.Version) error {
	return f.call(func() error { return f.Versions.Restore(ctx, name, of) })
}

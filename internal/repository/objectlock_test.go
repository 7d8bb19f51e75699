package repository

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/retry"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
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
	res, err := Undelete(ctx, v, UndeleteOptions{Since: since, Progress: func(objstore.Deleted) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Objects) != len(all)-1 || len(dry.Objects) != len(all)-1 || told != len(all)-1 || len(res.Gone) != 0 {
		t.Errorf("got %d objects, %d in the dry run, %d told, %d gone; want %d", len(res.Objects), len(dry.Objects), told, len(res.Gone), len(all)-1)
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
	v := &countedVersions{fail: "index/b", err: holdfast.Errorf(holdfast.CodeForbidden, "no")}
	for _, name := range []string{"snapshots/a", "data/00/a", "locks/a", "index/b", "index/a", "config", "else/a", "keys/a", "else"} {
		v.all = append(v.all, objstore.Deleted{Name: name})
	}
	res, err := Undelete(t.Context(), v, UndeleteOptions{})
	wantError(t, err, holdfast.CodeForbidden, "index/b")
	var got []string
	for _, d := range res.Objects {
		got = append(got, d.Name)
	}
	if s := strings.Join(slices.DeleteFunc(got, func(s string) bool { return s == "index/a" }), " "); s != "config keys/a data/00/a" {
		t.Errorf("got %s", s)
	}
}

type countedVersions struct {
	all  []objstore.Deleted
	fail string
	err  error
}

func (v *countedVersions) Deleted(context.Context, string, time.Time) ([]objstore.Deleted, error) {
	return v.all, nil
}

func (v *countedVersions) Undelete(_ context.Context, d objstore.Deleted) error {
	if d.Name == v.fail {
		return v.err
	}
	return nil
}

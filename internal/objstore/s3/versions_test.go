package s3_test

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
)

func put(t *testing.T, b objstore.Bucket, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := b.Put(t.Context(), name, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t *testing.T, b objstore.Bucket, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := b.Delete(t.Context(), name); err != nil {
			t.Fatalf("delete %s: %v", name, err)
		}
	}
}

// changed spells what was deleted or overwritten since: the versions' sizes, the newest
// first, the markers, and whether it is deleted.
func changed(t *testing.T, v objstore.Versions, prefix string, since time.Time) ([]objstore.Changed, string) {
	t.Helper()
	all, err := v.Changed(t.Context(), prefix, since)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b objstore.Changed) int { return cmp.Compare(a.Name, b.Name) })
	words := make([]string, 0, len(all))
	for _, c := range all {
		var sizes []string
		for _, v := range c.Versions {
			sizes = append(sizes, strconv.FormatInt(v.Size, 10))
		}
		words = append(words, fmt.Sprintf("%s:%s:%d:%t", c.Name, strings.Join(sizes, ","), len(c.Markers), c.Deleted))
	}
	return all, strings.Join(words, " ")
}

// TestLockedBucket writes, reads and deletes where each version is under retention.
func TestLockedBucket(t *testing.T) {
	t.Parallel()
	b := open(t, s3test.Start(t).LockedConfig(t))
	put(t, b, "config", "data/1", "data/2", "locks/1")
	if err := b.Put(t.Context(), "data/1", []byte("other")); holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("a name that is taken: got %v, want a conflict", err)
	}
	remove(t, b, "data/1", "data/1", "locks/1")
	if _, err := b.Stat(t.Context(), "data/1"); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		t.Errorf("stat of a deleted object: got %v", err)
	}
	if _, err := b.Get(t.Context(), "data/1", 0, -1); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		t.Errorf("get of a deleted object: got %v", err)
	}
	var names []string
	if err := b.List(t.Context(), "", func(i objstore.Info) error { names = append(names, i.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(names, " "); got != "config data/2" {
		t.Errorf("got %s", got)
	}
}

// TestUndelete brings back what was deleted of buckets with versions, locked ones, too.
func TestUndelete(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	versioned := server.Config(t)
	if err := server.Client(t).EnableVersioning(t.Context(), versioned.Bucket); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]s3.Config{"versioned": versioned, "locked": server.LockedConfig(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outside := open(t, c)
			put(t, outside, "data/outside")
			remove(t, outside, "data/outside")
			c.Prefix = "a/b"
			b := open(t, c)
			put(t, b, "config", "data/1", "data/2", "data/stays", "locks/1")
			remove(t, b, "config", "data/1", "data/2", "data/2", "locks/1")
			all, got := changed(t, b, "data/", time.Time{})
			if want := "data/1:6:1:true data/2:6:2:true"; got != want {
				t.Errorf("below data/: got %s, want %s", got, want)
			}
			if _, got := changed(t, b, "", time.Now().Add(time.Minute)); got != "" {
				t.Errorf("deleted after now: got %s", got)
			}
			for range 2 { // the second time there is nothing left to do
				for _, d := range all {
					if id, err := b.Undelete(t.Context(), d); err != nil || id != d.Versions[0].ID {
						t.Fatalf("got version %q, error %v, want %q", id, err, d.Versions[0].ID)
					}
					if data, err := objstore.ReadAll(t.Context(), b, d.Name, 100); err != nil || string(data) != d.Name {
						t.Errorf("%s: got %q and %v", d.Name, data, err)
					}
				}
			}
			if _, got := changed(t, b, "", time.Time{}); got != "config:6:1:true locks/1:7:1:true" {
				t.Errorf("afterwards: got %s", got)
			}
		})
	}
}

// TestRestore makes an older version the object again, where it was overwritten and where
// it was deleted then.
func TestRestore(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	c := server.LockedConfig(t)
	c.Prefix = "a"
	b := open(t, c)
	put(t, b, "data/1", "data/2", "data/stays")
	for _, name := range []string{"data/1", "data/2"} {
		o := minio.PutObjectOptions{SendContentMd5: true}
		if _, err := server.Client(t).PutObject(t.Context(), c.Bucket, "a/"+name, strings.NewReader("bad"), 3, o); err != nil {
			t.Fatal(err)
		}
	}
	remove(t, b, "data/2")
	all, got := changed(t, b, "", time.Time{})
	if want := "data/1:3,6:0:false data/2:3,6:1:true"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	for _, o := range all {
		for i, want := range []string{"bad", o.Name} {
			if sum, err := b.Sum(t.Context(), o.Name, o.Versions[i]); err != nil || sum != sha256.Sum256([]byte(want)) {
				t.Errorf("version %d of %s: got %x, error %v", i, o.Name, sum, err)
			}
		}
		if err := b.Restore(t.Context(), o.Name, o.Versions[1]); err != nil {
			t.Fatal(err)
		}
		if data, err := objstore.ReadAll(t.Context(), b, o.Name, 100); err != nil || string(data) != o.Name {
			t.Errorf("%s: got %q, error %v", o.Name, data, err)
		}
	}
	if _, got := changed(t, b, "", time.Time{}); got != "data/1:6,3,6:0:false data/2:6,3,6:1:false" {
		t.Errorf("afterwards: got %s", got)
	}
	if _, err := b.Sum(t.Context(), "data/1", objstore.Version{ID: all[1].Versions[0].ID}); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		t.Errorf("a version that is not there: got %v", err)
	}
}

// TestUndeleteSince leaves what was deleted before that time.
func TestUndeleteSince(t *testing.T) {
	t.Parallel()
	b := open(t, s3test.Start(t).LockedConfig(t))
	put(t, b, "old", "new")
	remove(t, b, "old")
	time.Sleep(1100 * time.Millisecond) // times have the precision of a second
	since := time.Now()
	remove(t, b, "new")
	if _, got := changed(t, b, "", since); got != "new:3:1:true" {
		t.Errorf("got %s, want the new one alone", got)
	}
}

// TestDeletedByAmazon reads listings as Amazon writes them, in two pages.
func TestDeletedByAmazon(t *testing.T) {
	t.Parallel()
	at := func(minute int) string { return fmt.Sprintf("2026-11-22T10:%02d:00.000Z", minute) }
	version := func(kind, key string, latest bool, minute int) string {
		return fmt.Sprintf("<%[1]s><Key>%[2]s</Key><VersionId>%[2]s-%[4]d</VersionId><IsLatest>%[3]t</IsLatest><LastModified>%[5]s</LastModified><Size>5</Size></%[1]s>",
			kind, key, latest, minute, at(minute))
	}
	const marker, object = "DeleteMarker", "Version"
	pages := []string{
		version(marker, "a-twice", true, 40) + version(marker, "a-twice", false, 20) + version(object, "a-twice", false, 10) +
			version(object, "b-there-again", true, 45) + version(marker, "b-there-again", false, 40) + version(object, "b-there-again", false, 10) +
			version(marker, "c-again", true, 40) + version(object, "c-again", false, 30),
		version(marker, "c-again", false, 20) + version(object, "c-again", false, 10) +
			version(marker, "d-gone", true, 40) + version(object, "e-there", true, 10),
	}
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case q.Has("versioning"):
			_, _ = io.WriteString(w, "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>")
		case q.Get("key-marker") == "":
			_, _ = io.WriteString(w, "<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>c-again</NextKeyMarker><NextVersionIdMarker>1</NextVersionIdMarker>"+pages[0]+"</ListVersionsResult>")
		default:
			_, _ = io.WriteString(w, "<ListVersionsResult><IsTruncated>false</IsTruncated>"+pages[1]+"</ListVersionsResult>")
		}
	}))
	defer fake.Close()
	b := open(t, fakeConfig(fake))
	for minute, want := range map[int]string{
		0:  "a-twice:5:2:true b-there-again:5,5:1:false c-again:5,5:2:true d-gone::1:true",
		21: "b-there-again:5,5:1:false c-again:5,5:2:true d-gone::1:true", // a-twice was not there then
		41: "b-there-again:5,5:1:false",
		46: "",
	} {
		if _, got := changed(t, b, "", time.Date(2026, 11, 22, 10, minute, 0, 999, time.UTC)); got != want {
			t.Errorf("since minute %d: got %s, want %s", minute, got, want)
		}
	}
}

// TestUndeleteManyVersions lists more than a page of versions and markers.
func TestUndeleteManyVersions(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	c := server.Config(t)
	if err := server.Client(t).EnableVersioning(t.Context(), c.Bucket); err != nil {
		t.Fatal(err)
	}
	b := open(t, c)
	const n = 700
	var g errgroup.Group
	g.SetLimit(8)
	for i := range n {
		g.Go(func() error {
			name := fmt.Sprintf("data/%04d", i)
			err := b.Put(t.Context(), name, []byte(name))
			if err == nil && i%2 == 0 {
				err = b.Delete(t.Context(), name)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	all, _ := changed(t, b, "data/", time.Time{})
	for _, d := range all {
		if !d.Deleted || len(d.Versions) != 1 || d.Versions[0].Size != 9 || len(d.Markers) != 1 {
			t.Fatalf("got %+v", d)
		}
	}
	if len(all) != n/2 {
		t.Errorf("got %d objects, want %d", len(all), n/2)
	}
}

// TestVersionsRefused asks stores that keep no versions, or do not show them to us.
func TestVersionsRefused(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	c := server.Config(t)
	_, err := open(t, c).Changed(t.Context(), "", time.Time{})
	if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorHint(err), "versioning") {
		t.Errorf("no versions: got %v, %s", err, holdfast.ErrorHint(err))
	}
	locked := server.LockedConfig(t)
	_, err = open(t, server.AppendOnly(t, locked, "locks/")).Changed(t.Context(), "", time.Time{})
	if holdfast.ErrorCode(err) != holdfast.CodeForbidden || !strings.Contains(holdfast.ErrorHint(err), "s3:ListBucketVersions") {
		t.Errorf("no rights: got %v, %s", err, holdfast.ErrorHint(err))
	}
}

// TestRetained deletes and overwrites what is under retention, where a delete cannot
// leave a marker.
func TestRetained(t *testing.T) {
	t.Parallel()
	server := s3test.StartUnversioned(t)
	c := server.LockedConfig(t)
	b := open(t, c)
	put(t, b, "data/1", "data/2")
	plain := server.Client(t)
	mode, end := minio.Compliance, time.Now().Add(24*time.Hour)
	if err := plain.PutObjectRetention(t.Context(), c.Bucket, "data/1", minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &end}); err != nil {
		t.Fatal(err)
	}
	// The retention that the bucket gives is not told by this server.
	if until, ok := objstore.RetainedUntil(b.Delete(t.Context(), "data/2")); !ok || !until.IsZero() {
		t.Errorf("delete: got %s, %t", until, ok)
	}
	err := b.Delete(t.Context(), "data/1")
	until, ok := objstore.RetainedUntil(err)
	if left := time.Until(until); !ok || holdfast.ErrorCode(err) != holdfast.CodeForbidden || left < 23*time.Hour || left > 25*time.Hour {
		t.Errorf("delete: got %v, %s, %t", err, until, ok)
	}
	if err := b.Put(t.Context(), "data/1", []byte("x")); holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("put: got %v, want a conflict", err)
	}
	if err := b.CheckConditions(t.Context(), "locks/probe"); holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorHint(err), "versioning") {
		t.Errorf("conditions: got %v, %s", err, holdfast.ErrorHint(err))
	}
	// A legal hold has no end.
	hold := minio.LegalHoldEnabled
	if err := plain.PutObjectLegalHold(t.Context(), c.Bucket, "data/2", minio.PutObjectLegalHoldOptions{Status: &hold}); err != nil {
		t.Fatal(err)
	}
	if _, ok := objstore.RetainedUntil(b.Delete(t.Context(), "data/2")); !ok {
		t.Error("an object under a legal hold is not said to be under retention")
	}
}

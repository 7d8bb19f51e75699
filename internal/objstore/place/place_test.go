package place_test

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/place"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func accessOf(c s3.Config) holdfast.ObjectAccess {
	return holdfast.ObjectAccess{AccessKey: c.AccessKey, SecretKey: c.SecretKey, Region: c.Region}
}

func wantCode(t *testing.T, what string, err error, code holdfast.Code, hint string) {
	t.Helper()
	if holdfast.ErrorCode(err) != code || !strings.Contains(holdfast.ErrorHint(err), hint) {
		t.Errorf("%s: got %v with code %q and hint %q, want %q and %q", what, err, holdfast.ErrorCode(err), holdfast.ErrorHint(err), code, hint)
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	at := "file://" + dir
	log := testkit.Logger(t)
	_, err := place.Open(at, holdfast.ObjectAccess{}, log)
	wantCode(t, "a missing directory", err, holdfast.CodeNotFound, "")
	_, undo, err := place.Create(t.Context(), at, holdfast.ObjectAccess{}, log)
	if err != nil {
		t.Fatal(err)
	}
	undo()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a directory that nobody needs is still there: %v", err)
	}
	b, undo, err := place.Create(t.Context(), at, holdfast.ObjectAccess{}, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), "config", []byte("x")); err != nil {
		t.Fatal(err)
	}
	undo()
	again, err := place.Open(at, holdfast.ObjectAccess{}, log)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := objstore.ReadAll(t.Context(), again, "config", 10); err != nil || string(got) != "x" {
		t.Errorf("got %q and %v", got, err)
	}

	_, _, err = place.Create(t.Context(), at, holdfast.ObjectAccess{}, log)
	wantCode(t, "a directory with a repository", err, holdfast.CodeConflict, "connect")
	mounted := t.TempDir()
	if err := os.Mkdir(filepath.Join(mounted, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := place.Create(t.Context(), "file://"+mounted, holdfast.ObjectAccess{}, log); err != nil {
		t.Errorf("the root of a filesystem: %v", err)
	}
	others := t.TempDir()
	if err := os.Mkdir(filepath.Join(others, "cluster"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, _, err = place.Create(t.Context(), "file://"+others, holdfast.ObjectAccess{}, log)
	wantCode(t, "a directory with something else", err, holdfast.CodeConflict, "another directory")
}

func TestObjectStore(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), testkit.Logger(t)
	c := s3test.Start(t).Config(t)
	access := accessOf(c)
	at := "s3:http://" + c.Endpoint + "/" + c.Bucket + "/a/b"

	_, err := place.Open(at, holdfast.ObjectAccess{}, log)
	wantCode(t, "no access", err, holdfast.CodeInvalid, "HOLDFAST_S3_ACCESS_KEY")
	wrong := access
	wrong.SecretKey = holdfast.NewSecret("planted-secret")
	_, _, err = place.Create(ctx, at, wrong, log)
	wantCode(t, "a wrong secret", err, holdfast.CodeForbidden, "its secret")
	if strings.Contains(err.Error(), "planted") {
		t.Errorf("the error shows the secret: %v", err)
	}
	_, _, err = place.Create(ctx, "s3:http://"+c.Endpoint+"/no-bucket/a", access, log)
	wantCode(t, "no bucket", err, holdfast.CodeInvalid, "make it")

	b, undo, err := place.Create(ctx, at, access, log)
	if err != nil {
		t.Fatal(err)
	}
	undo()
	if err := b.Put(ctx, "config", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{at, strings.TrimSuffix(at, "/b"), strings.TrimSuffix(at, "/a/b")} {
		_, _, err = place.Create(ctx, other, access, log)
		wantCode(t, "a place that is not empty", err, holdfast.CodeConflict, "another prefix")
	}
	if _, _, err = place.Create(ctx, at+"c", access, log); err != nil {
		t.Errorf("a prefix beside: %v", err)
	}
	access.BytesPerSec = 1 << 20
	if b, err = place.Open(at, access, log); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := b.Put(ctx, "data/x", bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("a megabyte took %s at a megabyte a second", took)
	}
}

// TestRightsWithoutDelete: who may delete locks only can make a repository's place, and
// write there.
func TestRightsWithoutDelete(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := s3test.Start(t)
	owner := s.Config(t)
	c := s.AppendOnly(t, owner, "main/locks/")
	b, _, err := place.Create(ctx, "s3:http://"+c.Endpoint+"/"+c.Bucket+"/main", accessOf(c), testkit.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"locks/a", "data/a"} {
		if err := b.Put(ctx, name, []byte("x")); err != nil {
			t.Error(err)
		}
	}
	if err := b.Delete(ctx, "locks/a"); err != nil {
		t.Errorf("a lock cannot be deleted: %v", err)
	}
	wantCode(t, "deleting a pack", b.Delete(ctx, "data/a"), holdfast.CodeForbidden, "rights")
	wantCode(t, "writing a pack anew", b.Put(ctx, "data/a", []byte("y")), holdfast.CodeConflict, "")
}

// forgetful is a store that overwrites objects although it is asked not to: it
// says of each second one that it has taken it.
func forgetful(t *testing.T, c s3.Config) (string, []byte) {
	t.Helper()
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: c.Endpoint})
		r.Out.Host = r.In.Host // it is signed
	}}
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.StatusCode == http.StatusPreconditionFailed {
			r.StatusCode, r.Body, r.ContentLength = http.StatusOK, http.NoBody, 0
			r.Header = http.Header{"Etag": {`"0"`}}
		}
		return nil
	}
	srv := httptest.NewUnstartedServer(proxy)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of a client that does not trust it
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "https://"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
}

// TestAStoreThatOverwrites is found behind TLS, whose certificate only the access's
// own CA vouches for.
func TestAStoreThatOverwrites(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), testkit.Logger(t)
	c := s3test.Start(t).Config(t)
	host, ca := forgetful(t, c)
	at := "s3:https://" + host + "/" + c.Bucket + "/a"
	access := accessOf(c)
	access.CA = string(ca)
	_, _, err := place.Create(ctx, at, access, log)
	wantCode(t, "a store that overwrites", err, holdfast.CodeInvalid, "If-None-Match")
	b, err := place.Open(at, access, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.List(ctx, "", func(i objstore.Info) error { return leftBehind(i) }); err != nil {
		t.Error(err)
	}
	access.CA = ""
	_, _, err = place.Create(ctx, at, access, log)
	wantCode(t, "a certificate that nobody vouches for", err, holdfast.CodeForbidden, "certificates")
}

func leftBehind(i objstore.Info) error {
	return holdfast.Errorf(holdfast.CodeConflict, "object %s is left behind", i.Name)
}

// TestVersionedBucket makes a place, takes it back, and makes it again where deleted
// objects stay below their markers.
func TestVersionedBucket(t *testing.T) {
	t.Parallel()
	ctx, log := t.Context(), testkit.Logger(t)
	c := s3test.Start(t).LockedConfig(t)
	at := "s3:http://" + c.Endpoint + "/" + c.Bucket + "/main"
	for range 2 {
		if _, _, err := place.Create(ctx, at, accessOf(c), log); err != nil {
			t.Fatal(err)
		}
	}
	v, err := place.OpenVersions(at, accessOf(c), log)
	if err != nil {
		t.Fatal(err)
	}
	if gone, err := v.Changed(ctx, "locks/", time.Time{}); err != nil || len(gone) != 2 {
		t.Errorf("got %+v, %v, want the two probes", gone, err)
	}
	_, err = place.OpenVersions("file://"+t.TempDir(), holdfast.ObjectAccess{}, log)
	wantCode(t, "a directory", err, holdfast.CodeInvalid, "snapshot of its file system")
}

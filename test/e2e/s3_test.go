package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// inStore is an installation whose repository stands in a bucket.
type inStore struct {
	*rig
	store    *s3test.Server
	cfg      s3.Config
	location string
}

// newInStore registers a server for backups to a bucket.
func newInStore(t *testing.T, pg *testkit.Postgres, store *s3test.Server, cfg s3.Config) *inStore {
	t.Helper()
	r := &inStore{rig: newRig(t), store: store, cfg: cfg, location: "s3:https://" + cfg.Endpoint + "/" + cfg.Bucket + "/a/main"}
	if cfg.Plain {
		r.location = strings.Replace(r.location, "https:", "http:", 1)
	}
	r.up()
	if len(cfg.CA) > 0 {
		noError(t, os.WriteFile(r.path("ca.pem"), cfg.CA, 0o644))
		r.secret("right", cfg.SecretKey.Reveal())
		r.refuse(5, []string{"certificate"}, "repository", "create", "main", "--location", r.location, "--kit", r.path("x.kit"),
			"--access-key", cfg.AccessKey, "--secret-key-file", r.path("right"))
	}
	r.secret("right", cfg.SecretKey.Reveal())
	r.secret("wrong", "planted-wrong-secret")
	r.secret("password", password)
	r.want(0, "host", "add", "db1")
	r.refuse(5, []string{"access key", "its secret", "holdfast repository access"}, r.create("main", "--secret-key-file", r.path("wrong"))...)
	r.want(0, r.create("main", "--secret-key-file", r.path("right"))...)
	r.refuse(5, []string{"main", "another place"}, r.create("second", "--secret-key-file", r.path("right"))...)
	r.want(0, append([]string{"site", "add", "berlin", "--host", "db1", "--repository", "main", "--password-file", r.path("password")}, server(pg)...)...)
	r.want(0, "job", "create", "--site", "berlin", "--name", "nightly")
	return r
}

func (r *inStore) secret(name, value string) {
	r.t.Helper()
	noError(r.t, os.WriteFile(r.path(name), []byte(value+"\n"), 0o644))
}

func (r *inStore) create(name string, more ...string) []string {
	if len(r.cfg.CA) > 0 {
		more = append(more, "--ca-file", r.path("ca.pem"))
	}
	return append([]string{"repository", "create", name, "--location", r.location, "--kit", r.path(name + ".kit"), "--access-key", r.cfg.AccessKey}, more...)
}

// backup runs the job to its good end.
func (r *inStore) backup(runType string) chained {
	r.t.Helper()
	var e chained
	r.ask(&e, "job", "run", "berlin/nightly", "--run-type", runType, "--wait")
	if e.Outcome != "SUCCEEDED" || e.RunType != strings.ToUpper(runType) {
		r.t.Fatalf("got %+v", e)
	}
	return e
}

// restic runs stock restic on the bucket.
func (r *inStore) restic(kitPassword string, args ...string) result {
	r.t.Helper()
	cmd := testkit.Command(r.t, testkit.Require(r.t, "restic"), append([]string{"--no-cache", "--cacert", r.path("ca.pem"), "-r", r.location}, args...)...)
	cmd.Env = append(cmd.Env, "RESTIC_PASSWORD="+kitPassword, "AWS_ACCESS_KEY_ID="+r.cfg.AccessKey, "AWS_SECRET_ACCESS_KEY="+r.cfg.SecretKey.Reveal(),
		"AWS_DEFAULT_REGION="+r.cfg.Region)
	res := finish(r.t, cmd)
	if res.code != 0 {
		r.t.Fatalf("restic %s: %s%s", strings.Join(args, " "), res.stdout, res.stderr)
	}
	return res
}

// TestRepositoryInAnObjectStore backs up to a bucket under object lock in which only
// locks may be deleted, of a store with a certificate that nobody knows, and reads it
// back: through the server, and, once its owner has deleted everything and that is
// undone, with stock restic, and with the kit alone.
func TestRepositoryInAnObjectStore(t *testing.T) {
	t.Parallel()
	pg := source(t)
	store := s3test.Start(t)
	owner := store.LockedConfig(t)
	r := newInStore(t, pg, store, store.TLS(t, store.AppendOnly(t, owner, "a/main/locks/")))
	r.backup("full")
	pg.Exec(t, "", "UPDATE documents SET title = 'changed' WHERE id % 1000 = 0")
	last := r.backup("delta")
	want := pg.Content(t)

	first := r.path("restores/first")
	r.want(0, "restore", "latest", "--site", "berlin", "--to", first, "--tablespace", r.spaceOf(last.Set, "restores/first-ts1"), "--wait")
	restored(t, first, want)

	r.want(0, "repository", "check", "main", "--read-data")
	var s chained
	r.ask(&s, "set", "show", fmt.Sprint(last.Set))
	space := r.spaceOf(last.Set, "second-ts1")
	r.down()
	kit, err := os.ReadFile(r.path("main.kit"))
	noError(t, err)
	if line := field(t, string(kit), "Access"); !strings.Contains(line, r.cfg.AccessKey) || !strings.Contains(line, r.cfg.Endpoint) {
		t.Errorf("the kit says of the access: %s", line)
	}
	for _, text := range []string{string(kit), r.serve.text()} {
		if strings.Contains(text, r.cfg.SecretKey.Reveal()) || strings.Contains(text, "planted") {
			t.Error("the kit, or the server's log, shows a secret key")
		}
	}
	r.undelete(owner)
	kitPassword := field(t, string(kit), "Password")
	if list := r.restic(kitPassword, "snapshots").stdout; !strings.Contains(list, s.Copies[0].Snapshot[:8]) {
		t.Errorf("restic does not list the set:\n%s", list)
	}
	r.restic(kitPassword, "check", "--read-data")
	byRestic := r.path("restic")
	r.restic(kitPassword, "restore", s.Copies[0].Snapshot, "--target", byRestic)
	if _, err := testkit.TryRun(t, testkit.PGBin(t, "pg_controldata"), filepath.Join(byRestic, "pgdata")); err != nil {
		t.Error(err)
	}

	noError(t, os.Rename(r.state, r.path("state.away")))
	second := []string{"restore", "--offline", "--kit", r.path("main.kit"), "latest", "--to", r.path("second"), "--tablespace", space}
	r.refuse(2, []string{"HOLDFAST_S3_ACCESS_KEY"}, second...)
	cmd := r.command(second...)
	cmd.Env = append(cmd.Env, "HOLDFAST_S3_ACCESS_KEY="+r.cfg.AccessKey, "HOLDFAST_S3_SECRET_KEY="+r.cfg.SecretKey.Reveal(), "HOLDFAST_S3_REGION="+r.cfg.Region)
	if res := finish(t, cmd); res.code != 0 {
		t.Fatalf("%s%s", res.stdout, res.stderr)
	}
	restored(t, r.path("second"), want)
}

// undelete has somebody with the rights of the bucket's owner delete all objects, or write
// something else over them, or both, and the owner bring them back.
func (r *inStore) undelete(owner s3.Config) {
	r.t.Helper()
	time.Sleep(1100 * time.Millisecond) // times in the store have the precision of a second
	since := time.Now().UTC().Format(time.RFC3339)
	b, err := s3.Open(owner)
	noError(r.t, err)
	defer b.Close()
	n, overwritten := 0, 0
	var all []string
	noError(r.t, b.List(r.t.Context(), "", func(i objstore.Info) error { all = append(all, i.Name); return nil }))
	for _, name := range all {
		if n++; n%3 != 0 {
			overwritten++
			_, err := r.store.Client(r.t).PutObject(r.t.Context(), owner.Bucket, name, strings.NewReader("stolen"), 6, minio.PutObjectOptions{SendContentMd5: true})
			noError(r.t, err)
		}
		if n%3 != 1 {
			noError(r.t, b.Delete(r.t.Context(), name))
		}
	}
	undelete := func(c s3.Config, more ...string) result {
		cmd := r.command(append([]string{"repository", "undelete", "--kit", r.path("main.kit"), "--since", since, "-o", "json"}, more...)...)
		cmd.Env = append(cmd.Env, "HOLDFAST_S3_ACCESS_KEY="+c.AccessKey, "HOLDFAST_S3_SECRET_KEY="+c.SecretKey.Reveal(), "HOLDFAST_S3_REGION="+c.Region)
		return finish(r.t, cmd)
	}
	if res := undelete(r.cfg); res.code != 5 || !strings.Contains(res.stderr, "s3:ListBucketVersions") {
		r.t.Errorf("without the right to: got %d, %s", res.code, res.stderr)
	}
	for _, more := range [][]string{{"--dry-run"}, nil} {
		var report struct{ Objects []struct{ Name, Done string } }
		res := undelete(owner, more...)
		if err := json.Unmarshal([]byte(res.stdout), &report); err != nil || res.code != 0 || len(report.Objects) != n {
			r.t.Errorf("undelete %v: got %d, %d objects of %d, %v\n%s", more, res.code, len(report.Objects), n, err, res.stderr)
		}
		restored := 0
		for _, o := range report.Objects {
			if o.Done == "restored" {
				restored++
			}
		}
		if restored != overwritten {
			r.t.Errorf("undelete %v: restored %d objects of %d that were overwritten", more, restored, overwritten)
		}
	}
}

// TestObjectStoreGoesAway kills the object store while a backup writes to it, and
// gives it another secret key later.
func TestObjectStoreGoesAway(t *testing.T) {
	t.Parallel()
	pg := source(t)
	store := s3test.Start(t)
	r := newInStore(t, pg, store, store.Config(t))
	pg.Exec(t, "", "CREATE TABLE noise AS SELECT i, md5(i::text) || md5((-i)::text) AS text FROM generate_series(1, 100000) i")
	var e execution
	r.ask(&e, "job", "run", "berlin/nightly")
	for deadline := time.Now().Add(readyLimit); !r.locked(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the backup takes no lock")
		}
	}
	r.store.Kill()
	r.missed()
	r.store.Restart("")
	r.want(0, "execution", "watch", fmt.Sprint(e.ID))
	if r.ask(&e, "execution", "show", fmt.Sprint(e.ID)); e.Outcome != "SUCCEEDED" {
		t.Errorf("got %+v", e)
	}
	r.want(0, "repository", "access", "main", "--limit-bytes", "200000000")

	r.store.Kill()
	r.store.Restart("another secret of tests")
	res := r.want(1, "job", "run", "berlin/nightly", "--wait")
	if text := res.stdout + res.stderr; !strings.Contains(text, "access key") || !strings.Contains(text, "holdfast repository access") {
		t.Errorf("a backup with an old key says\n%s", text)
	}
	r.refuse(5, []string{"its secret"}, "repository", "access", "main", "--secret-key-file", r.path("wrong"))
	r.secret("new", "another secret of tests")
	if shown := r.want(0, "repository", "access", "main", "--secret-key-file", r.path("new")).stdout; !strings.Contains(shown, r.cfg.AccessKey) || strings.Contains(shown, "another secret") {
		t.Errorf("the access is shown as\n%s", shown)
	}
	last := r.backup("delta")
	dir := r.path("restores/last")
	r.want(0, "restore", "latest", "--site", "berlin", "--to", dir, "--tablespace", r.spaceOf(last.Set, "restores/last-ts1"), "--wait")
	restored(t, dir, pg.Content(t))
	r.down()
}

// locked reports whether a writer has a lock in the repository.
func (r *inStore) locked() bool {
	list, _ := os.ReadDir(filepath.Join(r.store.Dir, r.cfg.Bucket, "a", "main", "locks")) // missing: none has
	return len(list) > 0
}

// missed waits in the place of the killed store until somebody calls it.
func (r *inStore) missed() {
	r.t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(r.t.Context(), "tcp", r.store.Addr)
	noError(r.t, err)
	noError(r.t, l.(*net.TCPListener).SetDeadline(time.Now().Add(readyLimit)))
	c, err := l.Accept()
	noError(r.t, err)
	noError(r.t, errors.Join(c.Close(), l.Close()))
}

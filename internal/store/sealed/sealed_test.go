package sealed_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sealed"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
	"github.com/holdfast-backup/holdfast/internal/store/storetest"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func masterKey(t *testing.T) *seal.Master {
	t.Helper()
	m, err := seal.CreateMaster(filepath.Join(t.TempDir(), "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func openDB(t *testing.T, dir string) *sqlite.Store {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "holdfast.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// TestStore runs the contract's suite with every property of it secret that no list
// of ETLs shows.
func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		t.Helper()
		return sealed.New(openDB(t, t.TempDir()), masterKey(t), func(name string) bool { return name == "a" || name == "a.b" }, testkit.Logger(t))
	})
}

const planted = "correct horse battery staple"

func secret(name string) bool { return strings.HasSuffix(name, "password") }

// world is a store with an ETL and an execution of it that have secrets.
type world struct {
	dir string
	db  *sqlite.Store
	job holdfast.Job
	run holdfast.Execution
}

func plant(t *testing.T, key *seal.Master) world {
	t.Helper()
	w := world{dir: t.TempDir()}
	w.db = openDB(t, w.dir)
	s := sealed.New(w.db, key, secret, testkit.Logger(t))
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		accounts, err := tx.Accounts(ctx)
		if err != nil {
			return err
		}
		a := accounts[0].ID
		host := holdfast.Host{Account: a, Name: "h"}
		if err := tx.InsertHost(ctx, &host); err != nil {
			return err
		}
		site := holdfast.Site{Account: a, Slug: "shop", Host: host.ID}
		if err := tx.InsertSite(ctx, &site); err != nil {
			return err
		}
		w.job = holdfast.Job{
			Account: a, Site: site.ID, Name: "etl", Type: holdfast.JobETL, Engine: holdfast.EngineETL, Priority: 5,
			ETL: &holdfast.ETLSpec{Definition: "name: x", Sites: []holdfast.SiteID{site.ID}, Configurations: []holdfast.RunConfiguration{
				{ID: 1001, Name: "Default", Active: true, Properties: map[string]string{"day": "1", "password": planted + "1", "other_password": ""}},
			}},
		}
		if err := tx.InsertJob(ctx, &w.job); err != nil {
			return err
		}
		w.run = holdfast.Execution{
			Account: a, Job: w.job.ID, Site: site.ID, Type: holdfast.JobETL, Engine: holdfast.EngineETL, JobName: "etl", Priority: 5,
			Status: holdfast.Status{State: holdfast.StateQueued}, ETL: &holdfast.ETLRun{Properties: map[string]string{"run_password": planted + "2"}},
		}
		return tx.InsertExecution(ctx, &w.run)
	})
	return w
}

func update(t *testing.T, s store.Store, fn func(context.Context, store.Tx) error) {
	t.Helper()
	ctx := t.Context()
	if err := s.Update(ctx, func(tx store.Tx) error { return fn(ctx, tx) }); err != nil {
		t.Fatal(err)
	}
}

// read returns the job and the execution as a store has them.
func (w world) read(t *testing.T, s store.Store) (j holdfast.Job, e holdfast.Execution) {
	t.Helper()
	err := s.View(t.Context(), func(r store.Reader) (err error) {
		if j, err = r.Job(t.Context(), w.job.Account, w.job.ID); err != nil {
			return err
		}
		e, err = r.Execution(t.Context(), w.job.Account, w.run.ID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return j, e
}

func TestFilesHoldNoSecret(t *testing.T) {
	key := masterKey(t)
	w := plant(t, key)
	s := sealed.New(w.db, key, secret, testkit.Logger(t))
	update(t, s, func(ctx context.Context, tx store.Tx) error {
		j := w.job
		spec := *j.ETL
		j.ETL, spec.Configurations = &spec, []holdfast.RunConfiguration{{ID: 1001, Name: "Default", Active: true, Properties: map[string]string{"password": planted + "3"}}}
		if err := tx.UpdateJob(ctx, j); err != nil {
			return err
		}
		start, err := j.ETL.StartOf(nil)
		if err != nil {
			return err
		}
		if err := tx.KeepETLStart(ctx, w.run.ID, start); err != nil {
			return err
		}
		return tx.MoveETLRun(ctx, w.run, holdfast.ETLRun{Properties: map[string]string{"run_password": planted + "4"}, Version: 1})
	})
	j, e := w.read(t, s)
	err := s.View(t.Context(), func(r store.Reader) error {
		start, err := r.ETLStart(t.Context(), w.run.ID)
		if err == nil && !reflect.DeepEqual(start.Spec.Configurations, j.ETL.Configurations) {
			t.Errorf("start: got %v, want the run configuration of the job", start.Spec.Configurations)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := j.ETL.PropertiesOf(*e.ETL)
	if want := map[string]string{"password": planted + "3", "run_password": planted + "4"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	files, err := filepath.Glob(filepath.Join(w.dir, "holdfast.db*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("got files %q, %v; want the database and its log", files, err)
	}
	found := false
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found = found || bytes.Contains(b, []byte("run_password"))
		if bytes.Contains(b, []byte(planted)) || bytes.Contains(b, []byte(base64.StdEncoding.EncodeToString([]byte(planted))[:24])) {
			t.Errorf("%s holds a secret", filepath.Base(name))
		}
	}
	if !found {
		t.Error("no file holds the property's name")
	}
}

func TestWithoutTheKey(t *testing.T) {
	key := masterKey(t)
	w := plant(t, key)
	other := sealed.New(w.db, masterKey(t), secret, testkit.Logger(t, testkit.Allow("cannot be opened")))
	j, e := w.read(t, other)
	if _, err := j.ETL.PropertiesOf(*e.ETL); holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), `"password"`) {
		t.Errorf("properties that cannot be opened: got %v", err)
	}
	if _, err := j.ETL.PropertiesOf(holdfast.ETLRun{Properties: map[string]string{"run_password": "x"}, Removed: []string{"password"}}); err != nil {
		t.Errorf("properties of the request alone: got %v", err)
	}
	// Who writes them without having opened them loses nothing.
	update(t, other, func(ctx context.Context, tx store.Tx) error {
		j.Description = "changed"
		return tx.UpdateJob(ctx, j)
	})
	j, e = w.read(t, sealed.New(w.db, key, secret, testkit.Logger(t)))
	got, err := j.ETL.PropertiesOf(*e.ETL)
	want := map[string]string{"day": "1", "password": planted + "1", "other_password": "", "run_password": planted + "2"}
	if err != nil || j.Description != "changed" || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

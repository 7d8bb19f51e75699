package service_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/expire"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// origin is the installation that made the found sets.
const origin = "0123456789abcdef0123456789abcdef"

// foundSet is the n-th set of a job that another installation has run every day.
func foundSet(n int) service.FoundSet {
	taken := start.AddDate(0, 0, n-100)
	f := service.FoundSet{
		Snapshot: fmt.Sprintf("%064x", 0xf00+n), Origin: origin, Fence: 1, SiteSlug: "rome", JobName: "nightly",
		Server: holdfast.Server{Host: "/run/rome", Port: 5433, User: "backup", Database: "postgres"}, DataDir: "/pg/rome", Files: 10,
		Set: holdfast.BackupSet{
			ID: holdfast.SetID(2000 + n), Site: 1500, Job: 1600, Execution: holdfast.ExecutionID(3000 + n), Engine: holdfast.EnginePhysical,
			RunType: holdfast.RunDelta, Parent: holdfast.SetID(1999 + n), Started: taken, Stopped: taken.Add(time.Hour), Bytes: 1000,
			Physical: holdfast.PhysicalFacts{SystemIdentifier: 7, Version: 150004, Timeline: 1, StartLSN: 8, StopLSN: 9},
		},
	}
	if n == 1 {
		f.Set.RunType, f.Set.Parent = holdfast.RunFull, 0
	}
	return f
}

// imports imports sets on the first host, and returns what became of them.
func (r *rig) imports(sets ...service.FoundSet) []service.Imported {
	r.t.Helper()
	return must(r.svc.ImportSets(r.t.Context(), r.admin, service.Import{Repository: r.repo.ID, Host: r.hosts[0].ID, Sets: sets}))(r.t)
}

// rows is everything that an import could change.
func (r *rig) rows() any {
	r.t.Helper()
	ctx := r.t.Context()
	sites := must(r.svc.Sites(ctx, r.admin))(r.t)
	jobs, _, err := r.svc.PlainJobs(ctx, r.admin, store.JobFilter{})
	sets, _, err2 := r.svc.Sets(ctx, r.admin, store.SetFilter{})
	executions, _, err3 := r.svc.Executions(ctx, r.admin, store.ExecutionFilter{})
	for _, err := range []error{err, err2, err3} {
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return []any{sites, jobs, sets, executions, r.events(0)}
}

func TestImport(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := r.rows()
	plan := must(r.svc.ImportSets(t.Context(), r.admin, service.Import{
		Repository: r.repo.ID, Host: r.hosts[0].ID, DryRun: true, Seen: store.Sequences{Set: 9000}, Sets: []service.FoundSet{foundSet(1), foundSet(2)},
	}))(t)
	if !reflect.DeepEqual(r.rows(), before) {
		t.Error("a dry run has changed something")
	}
	done := r.imports(foundSet(1), foundSet(2))
	if !reflect.DeepEqual(done, plan) || len(done) != 2 || done[0].State != service.ImportNew || !done[0].NewSite || !done[0].NewJob || done[1].NewSite || done[1].NewJob {
		t.Errorf("got %+v, planned was %+v", done, plan)
	}

	site := must(r.svc.SiteBySlug(t.Context(), r.admin, "rome"))(t)
	if site.ID != 1500 || site.Host != r.hosts[0].ID || site.Server.Port != 5433 || site.DataDir != "/pg/rome" || site.Repository != r.repo.ID {
		t.Errorf("got the site %+v", site)
	}
	job := must(r.svc.Job(t.Context(), r.admin, 1600))(t)
	if job.Site != 1500 || job.Active || job.Retention.Count != holdfast.MaxRetention || job.Name != "nightly" {
		t.Errorf("got the job %+v", job.Job)
	}
	v := must(r.svc.Set(t.Context(), r.admin, 2002))(t)
	want := foundSet(2).Set
	want.Account, want.Site, want.Job, want.Created = r.admin.Principal.Account, 1500, 1600, start
	if !reflect.DeepEqual(v.BackupSet, want) {
		t.Errorf("got the set\n%+v\nwant\n%+v", v.BackupSet, want)
	}
	if c := v.Copies[0]; len(v.Copies) != 1 || c.State != holdfast.CopyUnconfirmed || c.Origin != origin || c.Execution != 3002 || c.Fence != 1 || c.Snapshot != foundSet(2).Snapshot {
		t.Errorf("got the copies %+v", v.Copies)
	}
	e := must(r.svc.Execution(t.Context(), r.admin, 3002))(t)
	if e.State != holdfast.StateEnded || e.Outcome != holdfast.OutcomeSucceeded || e.Set != 2002 || e.Parent != 3001 || !e.Ended.Equal(want.Stopped) {
		t.Errorf("got the execution %+v", e)
	}

	before = r.rows()
	for _, v := range r.imports(foundSet(1), foundSet(2)) {
		if v.State != service.ImportKnown {
			t.Errorf("again: got %+v", v)
		}
	}
	if !reflect.DeepEqual(r.rows(), before) {
		t.Error("the second import has changed something")
	}
}

// TestImportGivesOutNoIDTwice raises the sequences above what a repository names,
// whether it can be imported or not.
func TestImportGivesOutNoIDTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	must(r.svc.ImportSets(t.Context(), r.admin, service.Import{
		Repository: r.repo.ID, Host: r.hosts[0].ID, Seen: store.Sequences{Site: 4000, Job: 5000, Execution: 6000, Set: 7000}, Sets: []service.FoundSet{foundSet(1)},
	}))(t)
	j := r.job(0, "after")
	e, set := r.backup(j, holdfast.CopyComplete)
	if j.ID != 5001 || e.ID != 6001 || set.ID != 7001 {
		t.Errorf("got job %d, execution %d, set %d", j.ID, e.ID, set.ID)
	}
	for _, seen := range []store.Sequences{{Set: service.MaxImportID + 1}, {Job: -1}} {
		_, err := r.svc.ImportSets(t.Context(), r.admin, service.Import{Repository: r.repo.ID, Seen: seen})
		wantInvalid(t, err)
	}
}

func TestImportRefusesOneAndTakesTheOthers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "nightly")
	_, mine := r.backup(j, holdfast.CopyComplete)
	mine.Stopped = start
	r.update(func(tx store.Tx) error { return tx.UpdateSet(t.Context(), mine) })
	bad := map[string]func(*service.FoundSet){
		"the id 7":                 func(f *service.FoundSet) { f.Set.ID = 7 },
		"the id 1099511627777":     func(f *service.FoundSet) { f.Set.Job = service.MaxImportID + 1 },
		"cannot build on":          func(f *service.FoundSet) { f.Set.Parent = f.Set.ID },
		"snapshot has no id":       func(f *service.FoundSet) { f.Snapshot = "../../config" },
		"which installation":       func(f *service.FoundSet) { f.Origin = "x" },
		"the fence 0":              func(f *service.FoundSet) { f.Fence = 0 },
		"run type":                 func(f *service.FoundSet) { f.Set.RunType = "LOG" },
		"the engine \"pglogical\"": func(f *service.FoundSet) { f.Set.Engine = "pglogical" },
		"the engine \"etl\"":       func(f *service.FoundSet) { f.Set.Engine = holdfast.EngineETL },
		"times are impossible":     func(f *service.FoundSet) { f.Set.Stopped = time.Time{} },
		"size is impossible":       func(f *service.FoundSet) { f.Set.Bytes = -1 },
		"too long":                 func(f *service.FoundSet) { f.Set.Damaged = strings.Repeat("x", 5000) },
		"tablespaces": func(f *service.FoundSet) {
			f.Set.Physical.Tablespaces = []holdfast.Tablespace{{OID: 1, Path: "a/../b"}}
		},
		"site \"../x\"":       func(f *service.FoundSet) { f.SiteSlug = "../x" },
		"control character":   func(f *service.FoundSet) { f.JobName = "a\x1b[2J" },
		"name is missing":     func(f *service.FoundSet) { f.JobName = "" },
		"is another one here": func(f *service.FoundSet) { f.Set.ID, f.Set.Parent = mine.ID, 0 },
		"execution 1001 is":   func(f *service.FoundSet) { f.Set.Execution = mine.Execution },
		"a wrong place":       func(f *service.FoundSet) { f.SiteSlug = "berlin" }, // older than berlin's own, with a higher number
	}
	for want, change := range bad {
		f := foundSet(1)
		change(&f)
		got := r.imports(f)[0]
		if got.State != service.ImportRefused || !strings.Contains(got.Reason, want) || got.Hint == "" {
			t.Errorf("want %q, got %+v", want, got)
		}
	}
	before := r.rows()
	_, err := r.svc.ImportSets(t.Context(), r.admin, service.Import{Repository: r.repo.ID, Sets: []service.FoundSet{foundSet(1)}})
	wantCode(t, err, holdfast.CodeConflict)
	if !strings.Contains(err.Error(), "2 hosts") || !reflect.DeepEqual(r.rows(), before) {
		t.Errorf("with two hosts and none named: got %v, or something has changed", err)
	}
	second := foundSet(2)
	second.SiteSlug = "../x"
	got := r.imports(foundSet(1), second, foundSet(3))
	if states := fmt.Sprintf("%s %s %s", got[0].State, got[1].State, got[2].State); states != "new refused new" {
		t.Errorf("got %s", states)
	}
	again := foundSet(1)
	again.Snapshot = strings.Repeat("a", 64)
	if got := r.imports(again)[0]; got.State != service.ImportRefused || !strings.Contains(got.Reason, "by another snapshot") {
		t.Errorf("another snapshot of a set that is known: got %+v", got)
	}
}

// TestImportFindsItsPlace puts sets into sites and jobs that are here.
func TestImportFindsItsPlace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	mine := r.job(0, "nightly")
	f := foundSet(1)
	f.SiteSlug = "berlin"
	if got := r.imports(f)[0]; got.State != service.ImportNew || got.NewSite || got.NewJob {
		t.Errorf("into an empty job of the name: got %+v", got)
	}
	if v := must(r.svc.Set(t.Context(), r.admin, f.Set.ID))(t); v.Site != r.sites[0].ID || v.Job != mine.ID {
		t.Errorf("got %+v", v.BackupSet)
	}
	other := foundSet(2) // of a job that had the same name
	other.SiteSlug, other.Set.Job = "rome", 1601
	if got := r.imports(foundSet(3), other); got[0].Job != "nightly" || got[1].Job != "nightly (01234567… 1601)" || !got[1].NewJob {
		t.Errorf("two jobs of one name: got %+v", got)
	}
	plain := foundSet(4) // of a version that said nothing of its site
	plain.SiteSlug, plain.Server, plain.DataDir, plain.Set.Site, plain.Set.Job = "oslo", holdfast.Server{}, "", 1501, 1602
	r.imports(plain)
	site := must(r.svc.SiteBySlug(t.Context(), r.admin, "oslo"))(t)
	if site.Server.Host != "unknown.invalid" || site.DataDir != "" || site.ID != 1501 {
		t.Errorf("got %+v", site)
	}
	inside := foundSet(5) // where another site is on this machine
	inside.SiteSlug, inside.DataDir, inside.Set.Site, inside.Set.Job = "bonn", "/pg/berlin/x", r.sites[0].ID, mine.ID
	if got := r.imports(inside)[0]; got.State != service.ImportNew {
		t.Fatalf("got %+v", got)
	}
	site = must(r.svc.SiteBySlug(t.Context(), r.admin, "bonn"))(t)
	if site.DataDir != "" || site.ID == r.sites[0].ID {
		t.Errorf("got %+v", site)
	}
}

// TestImportAfterTheSecondLoss has the sets of an installation, and of the one that had
// imported them and gone on: one job has made them all.
func TestImportAfterTheSecondLoss(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	third := foundSet(3)
	third.Origin = strings.Repeat("b", 32)
	stray := foundSet(4) // its number is higher, and it is older
	stray.Set.Started, stray.Set.Stopped = stray.Set.Started.AddDate(0, 0, -90), stray.Set.Stopped.AddDate(0, 0, -90)
	got := r.imports(third, foundSet(1), foundSet(2), stray)
	for i, v := range got[:3] {
		if v.State != service.ImportNew || v.Job != "nightly" || v.NewJob != (i == 0) {
			t.Errorf("got %+v", v)
		}
	}
	if v := got[3]; v.State != service.ImportNew || v.Job == "nightly" {
		t.Errorf("a set in the wrong place: got %+v", v)
	}
	var ids []holdfast.SetID
	for _, v := range must(r.svc.RetentionPlan(t.Context(), r.admin, 1600))(t).Sets {
		ids = append(ids, v.Set.ID)
	}
	if !slices.Equal(ids, []holdfast.SetID{2003, 2002, 2001}) {
		t.Errorf("got the sets %v", ids)
	}
}

func TestOnlyTheSocketsOwnerImports(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.svc.ImportSets(t.Context(), r.actor(holdfast.RoleAdmin), service.Import{Repository: r.repo.ID})
	wantCode(t, err, holdfast.CodeForbidden)
	_, err = r.svc.ImportSets(t.Context(), r.admin, service.Import{Repository: unknown})
	wantCode(t, err, holdfast.CodeNotFound)
	_, err = r.svc.ImportSets(t.Context(), r.admin, service.Import{Repository: r.repo.ID, Sets: make([]service.FoundSet, service.MaxImport+1)})
	wantInvalid(t, err)
}

// TestConfirm has retention count imported sets only once they are confirmed.
func TestConfirm(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	damaged := foundSet(3)
	damaged.Set.Damaged = "a page"
	r.imports(foundSet(1), foundSet(2), damaged)
	_, err := r.svc.UpdateJob(t.Context(), r.admin, 1600, func(j *holdfast.Job) error { j.Retention.Count = 1; return nil })
	if err != nil {
		t.Fatal(err)
	}
	codes := func() string {
		var all []string
		for _, v := range must(r.svc.RetentionPlan(t.Context(), r.admin, 1600))(t).Sets {
			all = append(all, string(v.Code))
		}
		return strings.Join(all, " ")
	}
	same := strings.Repeat(string(expire.KeepUnconfirmed)+" ", 2) + string(expire.KeepUnconfirmed)
	if got := codes(); got != same {
		t.Errorf("before: got %s", got)
	}
	for id, want := range map[holdfast.SetID]holdfast.CopyState{2001: holdfast.CopyComplete, 2002: holdfast.CopyComplete, 2003: holdfast.CopyDamaged} {
		for range 2 {
			v := must(r.svc.ConfirmSet(t.Context(), r.admin, id))(t)
			if v.Copies[0].State != want || v.Copies[0].Origin != origin {
				t.Errorf("set %d: got %+v", id, v.Copies[0])
			}
		}
	}
	if got, want := codes(), fmt.Sprint(expire.KeepDamaged, " ", expire.KeepCounted, " ", expire.DropSurplus); got != want {
		t.Errorf("after: got %s, want %s", got, want)
	}
	n := 0
	for _, e := range r.events(0) {
		if e.Kind == "set.confirmed" {
			n++
		}
	}
	if n != 3 {
		t.Errorf("got %d events, want 3", n)
	}
	if err := r.svc.DeleteSet(t.Context(), r.admin, 2001); err != nil {
		t.Fatal(err)
	}
	_, err = r.svc.ConfirmSet(t.Context(), r.admin, 2001)
	wantCode(t, err, holdfast.CodeConflict)
	_, err = r.svc.ConfirmSet(t.Context(), r.actor(holdfast.RoleOperator), 2002)
	wantCode(t, err, holdfast.CodeForbidden)
}

func TestRepositoryCopies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.imports(foundSet(1), foundSet(2))
	r.backup(r.job(0, "nightly"), holdfast.CopyWriting)
	installation, all, err := r.svc.RepositoryCopies(t.Context(), r.admin, r.repo.ID, 0, 10)
	if err != nil || len(all) != 3 || all[2].State != holdfast.CopyWriting || len(installation) != 32 {
		t.Errorf("got %q, %+v, %v", installation, all, err)
	}
	if _, rest, _ := r.svc.RepositoryCopies(t.Context(), r.admin, r.repo.ID, all[0].ID, 1); len(rest) != 1 || rest[0].ID != all[1].ID {
		t.Errorf("got %+v", rest)
	}
	_, _, err = r.svc.RepositoryCopies(t.Context(), r.actor(holdfast.RoleReader, r.sites[0].ID), r.repo.ID, 0, 10)
	wantCode(t, err, holdfast.CodeForbidden)
	_, _, err = r.svc.RepositoryCopies(t.Context(), r.admin, r.repo.ID, 0, service.MaxCopies+1)
	wantInvalid(t, err)
}

func TestConnectRepository(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ask := service.ConnectRepository{
		NewRepository: service.NewRepository{Name: "old", Location: bucketURL, Access: bucketAccess()}, Password: holdfast.NewSecret("planted-kit"), FormatID: strings.Repeat("f", 64),
	}
	repo := must(r.svc.ConnectRepository(t.Context(), r.admin, ask))(t)
	n := len(r.out.passwords)
	if repo.FormatID != ask.FormatID || r.out.passwords[n-1] != "planted-kit" || r.out.passwords[n-2] == "planted-kit" {
		t.Errorf("got %+v", repo)
	}
	if got := must(r.master.Open(repo.Password))(t).Reveal(); got != r.out.passwords[n-2] {
		t.Error("the key that is stored is not the one that was made")
	}
	for name, data := range r.files() {
		if strings.Contains(string(data), "planted-kit") {
			t.Errorf("%s holds the kit's password", name)
		}
	}
	for what, change := range map[string]func(*service.ConnectRepository){
		"the place again": func(c *service.ConnectRepository) { c.Name = "again" },
		"the name again":  func(c *service.ConnectRepository) { c.Location += "2" },
		"no password":     func(c *service.ConnectRepository) { c.Name, c.Password = "x", holdfast.Secret{} },
		"no name":         func(c *service.ConnectRepository) { c.Name = "" },
		"a bad place":     func(c *service.ConnectRepository) { c.Name, c.Location = "x", "/pg" },
	} {
		c := ask
		change(&c)
		if _, err := r.svc.ConnectRepository(t.Context(), r.admin, c); err == nil || holdfast.ErrorHint(err) == "" {
			t.Errorf("%s: got %v", what, err)
		}
	}
	_, err := r.svc.ConnectRepository(t.Context(), r.actor(holdfast.RoleOperator), ask)
	wantCode(t, err, holdfast.CodeForbidden)
}

package sqlite_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// asked is one way to call a method of the Reader.
type asked struct {
	how string
	run func(ctx context.Context, r store.Reader) error
}

// called makes a call whose result is of no matter.
func called[T any](how string, fn func(ctx context.Context, r store.Reader) (T, error)) asked {
	return asked{how, func(ctx context.Context, r store.Reader) error {
		_, err := fn(ctx, r)
		return err
	}}
}

// readerCalls calls each method of the Reader in each way that leads to queries
// of its own.
func readerCalls() map[string][]asked {
	const a = holdfast.AccountID(holdfast.FirstID)
	ended := holdfast.Execution{Account: a, Job: 1001, Site: 1001, Type: holdfast.JobBackup, ID: 1001, Status: holdfast.Status{Outcome: holdfast.OutcomeFailed}}
	type ctx = context.Context
	type reader = store.Reader
	one := func(run func(ctx, reader) error) []asked { return []asked{{"", run}} }
	get := func(run func(ctx, reader) (any, error)) []asked { return []asked{called("", run)} }
	return map[string][]asked{
		"Installation":           get(func(c ctx, r reader) (any, error) { return r.Installation(c) }),
		"Accounts":               get(func(c ctx, r reader) (any, error) { return r.Accounts(c) }),
		"Account":                get(func(c ctx, r reader) (any, error) { return r.Account(c, 1001) }),
		"Organisations":          get(func(c ctx, r reader) (any, error) { return r.Organisations(c) }),
		"Principal":              get(func(c ctx, r reader) (any, error) { return r.Principal(c, a, 1001) }),
		"PrincipalByName":        get(func(c ctx, r reader) (any, error) { return r.PrincipalByName(c, a, "ada") }),
		"Principals":             get(func(c ctx, r reader) (any, error) { return r.Principals(c, a) }),
		"Credential":             get(func(c ctx, r reader) (any, error) { return r.Credential(c, a, 1001) }),
		"CredentialByHash":       get(func(c ctx, r reader) (any, error) { return r.CredentialByHash(c, []byte("h")) }),
		"CredentialsOf":          get(func(c ctx, r reader) (any, error) { return r.CredentialsOf(c, 1001) }),
		"Host":                   get(func(c ctx, r reader) (any, error) { return r.Host(c, a, 1001) }),
		"HostByName":             get(func(c ctx, r reader) (any, error) { return r.HostByName(c, a, "db1") }),
		"Hosts":                  get(func(c ctx, r reader) (any, error) { return r.Hosts(c, a) }),
		"Site":                   get(func(c ctx, r reader) (any, error) { return r.Site(c, a, 1001) }),
		"SiteBySlug":             get(func(c ctx, r reader) (any, error) { return r.SiteBySlug(c, a, "berlin") }),
		"Sites":                  get(func(c ctx, r reader) (any, error) { return r.Sites(c, a) }),
		"Repository":             get(func(c ctx, r reader) (any, error) { return r.Repository(c, a, 1001) }),
		"RepositoryByName":       get(func(c ctx, r reader) (any, error) { return r.RepositoryByName(c, a, "main") }),
		"Repositories":           get(func(c ctx, r reader) (any, error) { return r.Repositories(c, a) }),
		"Job":                    get(func(c ctx, r reader) (any, error) { return r.Job(c, a, 1001) }),
		"RepositoryUsers":        get(func(c ctx, r reader) (any, error) { return r.RepositoryUsers(c, a) }),
		"Schedule":               get(func(c ctx, r reader) (any, error) { return r.Schedule(c, a, 1001) }),
		"Schedules":              get(func(c ctx, r reader) (any, error) { return r.Schedules(c, a, 1001) }),
		"Triggers":               get(func(c ctx, r reader) (any, error) { return r.Triggers(c, a, 1001) }),
		"TriggersThatRun":        get(func(c ctx, r reader) (any, error) { return r.TriggersThatRun(c, a, 1001) }),
		"DueSchedules":           get(func(c ctx, r reader) (any, error) { return r.DueSchedules(c, farFuture(), 10) }),
		"NextRuns":               get(func(c ctx, r reader) (any, error) { return r.NextRuns(c, a, []holdfast.JobID{1001}) }),
		"Execution":              get(func(c ctx, r reader) (any, error) { return r.Execution(c, a, 1001) }),
		"LastExecutions":         get(func(c ctx, r reader) (any, error) { return r.LastExecutions(c, a, []holdfast.JobID{1001}) }),
		"LastRestores":           get(func(c ctx, r reader) (any, error) { return r.LastRestores(c, a, []holdfast.JobID{1001}) }),
		"BusyExecution":          get(func(c ctx, r reader) (any, error) { return r.BusyExecution(c, 1001) }),
		"LiveOfJob":              get(func(c ctx, r reader) (any, error) { return r.LiveOfJob(c, 1001) }),
		"EndedSoAgain":           get(func(c ctx, r reader) (any, error) { return r.EndedSoAgain(c, ended) }),
		"ETLHistory":             get(func(c ctx, r reader) (any, error) { return r.ETLHistory(c, etlJob) }),
		"ETLStart":               get(func(c ctx, r reader) (any, error) { return r.ETLStart(c, 1001) }),
		"LiveRestores":           get(func(c ctx, r reader) (any, error) { return r.LiveRestores(c, a) }),
		"ExecutionByRequest":     get(func(c ctx, r reader) (any, error) { return r.ExecutionByRequest(c, 1001, "r") }),
		"DuePlanned":             get(func(c ctx, r reader) (any, error) { return r.DuePlanned(c, farFuture(), 5) }),
		"Set":                    get(func(c ctx, r reader) (any, error) { return r.Set(c, a, 1001) }),
		"SetsOfJob":              get(func(c ctx, r reader) (any, error) { return r.SetsOfJob(c, a, 1001) }),
		"Copies":                 get(func(c ctx, r reader) (any, error) { return r.Copies(c, a, 1001) }),
		"CopiesOf":               get(func(c ctx, r reader) (any, error) { return r.CopiesOf(c, a, []holdfast.SetID{1001}) }),
		"CopiesInState":          get(func(c ctx, r reader) (any, error) { return r.CopiesInState(c, holdfast.CopyExpired, 5, 1001) }),
		"CopiesIn":               get(func(c ctx, r reader) (any, error) { return r.CopiesIn(c, 1001, 1001, 5) }),
		"CopiesOfSnapshot":       get(func(c ctx, r reader) (any, error) { return r.CopiesOfSnapshot(c, 1001, "cafe") }),
		"CopyByFence":            get(func(c ctx, r reader) (any, error) { return r.CopyByFence(c, 1001, 1) }),
		"Worker":                 get(func(c ctx, r reader) (any, error) { return r.Worker(c, 1001) }),
		"WorkerByName":           get(func(c ctx, r reader) (any, error) { return r.WorkerByName(c, a, "w") }),
		"WorkerByKey":            get(func(c ctx, r reader) (any, error) { return r.WorkerByKey(c, "U") }),
		"Workers":                get(func(c ctx, r reader) (any, error) { return r.Workers(c) }),
		"Submission":             get(func(c ctx, r reader) (any, error) { return r.Submission(c, a, 1001) }),
		"SubmissionByKey":        get(func(c ctx, r reader) (any, error) { return r.SubmissionByKey(c, a, "k") }),
		"ExecutionsOfSubmission": get(func(c ctx, r reader) (any, error) { return r.ExecutionsOfSubmission(c, 1001) }),
		"SiteEvents":             get(func(c ctx, r reader) (any, error) { return r.SiteEvents(c, a, 1001, store.Page{Limit: 5}) }),
		"NextQueued": one(func(c ctx, r reader) error {
			_, err := r.NextQueued(c, store.Ask{Pool: holdfast.DefaultPool, Hosts: []holdfast.HostID{1001, 1002}, Now: farFuture(), Batch: true, Service: true})
			return err
		}),
		"Credentials": {
			called("all", func(c ctx, r reader) (any, error) { return r.Credentials(c, a) }),
			called("of a kind", func(c ctx, r reader) (any, error) { return r.Credentials(c, a, holdfast.CredentialToken) }),
			called("of kinds", func(c ctx, r reader) (any, error) {
				return r.Credentials(c, a, holdfast.CredentialToken, holdfast.CredentialKey)
			}),
		},
		"SiteSchedules": {
			called("of every site", func(c ctx, r reader) (any, error) { return r.SiteSchedules(c, a, nil, store.Page{Limit: 5}) }),
			called("of a site", func(c ctx, r reader) (any, error) {
				return r.SiteSchedules(c, a, []holdfast.SiteID{1001}, store.Page{Limit: 5})
			}),
		},
		"LiveExecutions": {
			called("running", func(c ctx, r reader) (any, error) { return r.LiveExecutions(c, holdfast.StateRunning) }),
		},
		"ETLs": {
			called("of an account", func(c ctx, r reader) (any, error) { return r.ETLs(c, a) }),
			called("of an account, when some are known", func(c ctx, r reader) (any, error) { return r.ETLs(c, a) }),
			called("of every account", func(c ctx, r reader) (any, error) { return r.ETLs(c, 0) }),
		},
		"Events": {
			called("of an account", func(c ctx, r reader) (any, error) { return r.Events(c, a, 1001, 5) }),
			called("of the installation", func(c ctx, r reader) (any, error) { return r.Events(c, 0, 1001, 5) }),
		},
		"Jobs":       jobCalls(),
		"Sets":       setCalls(),
		"Executions": executionCalls(),
	}
}

func jobCalls() (all []asked) {
	some := store.Page{Offset: 1, Limit: 1}
	for _, c := range []struct {
		how    string
		filter store.JobFilter
	}{
		{"of the account", store.JobFilter{Page: some}},
		{"active ones", store.JobFilter{ActiveOnly: true, Types: []holdfast.JobType{holdfast.JobBackup}, Engine: holdfast.EnginePhysical, Page: some}},
		{"of a site", store.JobFilter{Sites: []holdfast.SiteID{1001}, Types: []holdfast.JobType{holdfast.JobBackup, holdfast.JobRestore}, Page: some}},
		{"of sites", store.JobFilter{Sites: []holdfast.SiteID{1001, 1002}, Page: some}},
		{"by name", store.JobFilter{Name: "berlin", Page: some}},
		{"by name at a site", store.JobFilter{Name: "Berlin", AnyCase: true, Sites: []holdfast.SiteID{1001}}},
	} {
		all = append(all, asked{c.how, func(ctx context.Context, r store.Reader) error {
			_, _, err := r.Jobs(ctx, holdfast.FirstID, c.filter)
			return err
		}})
	}
	return all
}

func setCalls() (all []asked) {
	some := store.Page{Limit: 1}
	for _, c := range []struct {
		how    string
		filter store.SetFilter
	}{
		{"of the account", store.SetFilter{Page: some}},
		{"of the account, those that are gone too", store.SetFilter{Gone: true, Page: some}},
		{"of a site", store.SetFilter{Sites: []holdfast.SiteID{1001}, Page: some}},
		{"of a site, those that are gone too", store.SetFilter{Sites: []holdfast.SiteID{1001}, Gone: true, Page: some}},
		{"of sites", store.SetFilter{Sites: []holdfast.SiteID{1001, 1002}, Page: some}},
		{"of a job", store.SetFilter{Job: 1001, Page: some}},
		{"of a job, those that are gone too", store.SetFilter{Job: 1001, Gone: true, Page: some}},
		{"by id", store.SetFilter{IDs: []holdfast.SetID{1001}, Sites: []holdfast.SiteID{1001}, Job: 1001, Gone: true}},
	} {
		all = append(all, asked{c.how, func(ctx context.Context, r store.Reader) error {
			_, _, err := r.Sets(ctx, holdfast.FirstID, c.filter)
			return err
		}})
	}
	return all
}

func executionCalls() (all []asked) {
	var sites []holdfast.SiteID
	for i := range crowdSites {
		sites = append(sites, holdfast.SiteID(1003+i))
	}
	both := []holdfast.JobType{holdfast.JobBackup, holdfast.JobRestore}
	ended := []holdfast.State{holdfast.StateEnded}
	since := time.UnixMicro(seededSince)
	for _, c := range []struct {
		how    string
		filter store.ExecutionFilter
	}{
		{"of the account", store.ExecutionFilter{}},
		{"of a type", store.ExecutionFilter{Types: []holdfast.JobType{holdfast.JobBackup}}},
		{"of a site", store.ExecutionFilter{Sites: []holdfast.SiteID{1001}, Types: both}},
		{"of a few of many sites", store.ExecutionFilter{Sites: sites[:70]}},
		{"of many sites", store.ExecutionFilter{Sites: sites, Types: both}},
		{"of a job", store.ExecutionFilter{Job: 1001}},
		{"of a job, with restores", store.ExecutionFilter{Job: 1001, Restores: true, Types: both, Sites: []holdfast.SiteID{1001}}},
		{"of jobs", store.ExecutionFilter{Jobs: []holdfast.JobID{1001, 1002}}},
		{"of a parent", store.ExecutionFilter{Parent: 1001, Types: []holdfast.JobType{holdfast.JobRestore}}},
		{"that live", store.ExecutionFilter{Sites: []holdfast.SiteID{1001}, States: []holdfast.State{holdfast.StateQueued, holdfast.StateRunning}}},
		{"that have ended", store.ExecutionFilter{States: ended}},
		{"that ended since", store.ExecutionFilter{EndedSince: since, Types: both}},
		{"that ended since, and no other", store.ExecutionFilter{EndedSince: since, States: ended}},
		{"of a site that ended since", store.ExecutionFilter{EndedSince: since, Sites: []holdfast.SiteID{1002}}},
		{"of a small site that ended since", store.ExecutionFilter{EndedSince: since, Sites: sites[:1]}},
		{"of a job, with restores, that ended since", store.ExecutionFilter{EndedSince: since, Job: 1001, Restores: true}},
	} {
		c.filter.Page = store.Page{Offset: 3000, Limit: 5}
		all = append(all, asked{c.how, func(ctx context.Context, r store.Reader) error {
			for range 2 { // and with what is known by heart
				if _, _, err := r.Executions(ctx, holdfast.FirstID, c.filter); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return all
}

// crowdSites is how many sites crowd makes, more than a page merges.
const crowdSites = 75

// crowd adds many sites with one job each, and so many executions over them that
// they are not gathered.
func crowd(t testing.TB, s *sqlite.Store, n int) {
	t.Helper()
	change(t, s, func(ctx context.Context, tx store.Tx) error {
		for i := range crowdSites {
			site := holdfast.Site{Account: holdfast.FirstID, Host: holdfast.FirstID, Slug: fmt.Sprintf("s%d", i), Pool: holdfast.DefaultPool}
			if err := tx.InsertSite(ctx, &site); err != nil {
				return err
			}
			j := holdfast.Job{Account: holdfast.FirstID, Site: site.ID, Type: holdfast.JobBackup, Name: "nightly"}
			if err := tx.InsertJob(ctx, &j); err != nil {
				return err
			}
		}
		return sqlite.Exec(ctx, tx, `
			INSERT INTO executions (account, site, job, job_name, type, engine, name, submitted, state, wanted, outcome, reason, fence, attempts,
				retries, hand_backs, detail, run_asked, run_type, run_type_reason, priority, pool, host, repository, due, abort_after, request, beat, progress, stored_size,
				ended)
			WITH RECURSIVE i (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM i WHERE i < ?1 - 1)
			SELECT 1001, j.site, j.id, j.name, j.type, 'pgphysical', '', i, 'ENDED', 0, 'SUCCEEDED', '', 1, 0, 0, 0, '', 'FULL', 'FULL', '', 5, 'default', 1001, 0, i, 0, '',
				0, '{}', 0, i
			FROM i JOIN jobs j ON j.id = (SELECT min(id) FROM jobs WHERE name = 'nightly') + i % ?2`, n, crowdSites)
	})
}

// seededSince is a time before and after which executions of seed have ended.
const seededSince = 6000

// etlJob is the ETL job of TestQueryPlans: the first after those of seed and crowd.
const etlJob = 1004 + crowdSites

// TestQueryPlans compares how SQLite runs each query of the Reader with the
// golden files. Nothing gathers statistics, so that the plans do not depend on
// how much there is.
func TestQueryPlans(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "holdfast.db"), sqlite.WithReaders(1))
	seed(t, s, 12_000)
	crowd(t, s, 12_000)
	change(t, s, func(ctx context.Context, tx store.Tx) error {
		return sqlite.Exec(ctx, tx, `INSERT INTO backup_sets (account, site, job, engine, run_type, bytes, added, damaged, protected, system_identifier, version, timeline,
			start_lsn, stop_lsn, tablespaces, readable, shown) VALUES (1001, 1001, 1001, '', '', 0, 0, '', 0, 0, 0, 0, 0, 0, '[]', 1, 1)`)
	})
	// All that is queued is of one job: make it busy.
	change(t, s, func(ctx context.Context, tx store.Tx) error {
		return sqlite.Exec(ctx, tx, "UPDATE executions SET state = 'RUNNING' WHERE id = (SELECT min(id) FROM executions WHERE state = 'QUEUED')")
	})
	change(t, s, func(ctx context.Context, tx store.Tx) error {
		return tx.InsertEvent(ctx, &holdfast.Event{Account: holdfast.FirstID, Site: 1001})
	})
	change(t, s, func(ctx context.Context, tx store.Tx) error {
		return sqlite.Exec(ctx, tx, "INSERT INTO restores (job, id, account, site, own) SELECT 1001, id, account, site, job FROM executions WHERE type = 'RESTORE' LIMIT 20")
	})
	change(t, s, func(ctx context.Context, tx store.Tx) error {
		j := holdfast.Job{Account: holdfast.FirstID, Site: 1001, Type: holdfast.JobETL, Name: "etl", ETL: &holdfast.ETLSpec{}}
		if err := tx.InsertJob(ctx, &j); err != nil {
			return err
		}
		if j.ID != etlJob {
			t.Fatalf("got ETL job %d, want %d", j.ID, etlJob)
		}
		e := holdfast.Execution{
			Account: j.Account, Site: j.Site, Job: j.ID, Type: j.Type, ETL: &holdfast.ETLRun{}, Started: farFuture(),
			Status: holdfast.Status{State: holdfast.StateRunning, Fence: 1},
		}
		return tx.InsertExecution(ctx, &e)
	})
	other := foreign(t, s.Path())
	calls := readerCalls()
	for method := range reflect.TypeFor[store.Reader]().Methods() {
		name := method.Name
		if len(calls[name]) == 0 {
			t.Errorf("%s is not called: add the ways to call it to readerCalls", name)
		}
		var b strings.Builder
		for _, c := range calls[name] {
			if c.how != "" {
				fmt.Fprintf(&b, "## %s\n\n", c.how)
			}
			sqlite.ForgetStatements(s)
			if strings.HasSuffix(c.how, "some are known") {
				change(t, s, func(ctx context.Context, tx store.Tx) error {
					return sqlite.Exec(ctx, tx, "UPDATE jobs SET description = 'changed' WHERE id = ?", etlJob)
				})
			}
			err := s.View(t.Context(), func(r store.Reader) error { return c.run(t.Context(), r) })
			if err != nil && holdfast.ErrorCode(err) != holdfast.CodeNotFound {
				t.Errorf("%s, %s: %v", name, c.how, err)
			}
			for _, text := range sqlite.Statements(s) {
				if text != "BEGIN" && text != "ROLLBACK" && !strings.HasPrefix(text, "SELECT epoch, directory, etls ") {
					describe(t, &b, other, text)
				}
			}
		}
		golden(t, filepath.Join("testdata", "plans", name+".txt"), b.String())
	}
}

// whole matches the line of a plan that reads all of a table that may be long.
var whole = regexp.MustCompile(`^SCAN (executions|execution_totals|restores|jobs|job_blocks|schedules|triggers|backup_sets|set_blocks|copies|events|event_totals|` +
	`submissions|credentials|[eonqrs])( USING|$)`)

// describe writes a query and its plan.
func describe(t *testing.T, b *strings.Builder, c *sql.Conn, text string) {
	t.Helper()
	columns := regexp.MustCompile(`SELECT (s\.)?id, (s\.)?account, [^()]*? FROM`) // of whole rows
	short := columns.ReplaceAllString(strings.Join(strings.Fields(text), " "), "SELECT … FROM")
	fmt.Fprintln(b, short)
	for _, line := range plan(t, c, text) {
		if whole.MatchString(line) {
			t.Errorf("%s\n%s", line, short)
		}
		fmt.Fprintln(b, "    "+line)
	}
	fmt.Fprintln(b)
}

// golden compares a text with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("%v: run the test with -update, and read what it wrote", err)
		return
	}
	if string(want) != got {
		t.Errorf("%s: the plans have changed: run the test with -update, and read the difference\ngot\n%s", path, got)
	}
}

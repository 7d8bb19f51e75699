package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

// versions returns the names of the program's migrations, the oldest first.
func versions(t testing.TB) []string {
	t.Helper()
	names, err := fs.Glob(sqlite.EmbeddedSchema(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// schemaUpTo is the program's schema as it was at a version.
func schemaUpTo(t testing.TB, version int) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	for _, name := range versions(t)[:version] {
		text, err := fs.ReadFile(sqlite.EmbeddedSchema(), name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	return files
}

// dump is a database's tables by name: the columns of each, and its rows.
type dump map[string]table

type table struct {
	columns []string
	rows    []string
}

// dumpOf reads every table of a closed database; of those in like only the
// columns that they have there.
func dumpOf(t testing.TB, path string, like dump) dump {
	t.Helper()
	c := foreign(t, path)
	d := dump{}
	for _, name := range texts(t, c, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'goose_db_version' AND name <> 'sqlite_sequence'") {
		if _, ok := derived()[name]; ok {
			continue // checkDerived looks at it
		}
		columns := texts(t, c, "SELECT name FROM pragma_table_info(?)", name)
		if old, ok := like[name]; ok {
			columns = old.columns
		}
		list := strings.Join(columns, ", ")
		rows := texts(t, c, "SELECT json_array("+hexed(columns)+") FROM "+name+" ORDER BY "+list)
		d[name] = table{columns: columns, rows: rows}
	}
	return d
}

// hexed is a list of columns that JSON can hold.
func hexed(columns []string) string {
	var b strings.Builder
	for i, c := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "CASE typeof(%[1]s) WHEN 'blob' THEN hex(%[1]s) ELSE %[1]s END", c)
	}
	return b.String()
}

// TestEveryVersionReadsTheSame makes a database with the oldest schema, puts
// rows into what each version has added, and goes up version by version.
func TestEveryVersionReadsTheSame(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	like := dump{}
	for i, name := range versions(t) {
		closeStore(t, open(t, path, sqlite.WithSchema(schemaUpTo(t, i+1))))
		now := dumpOf(t, path, like)
		for name, was := range like {
			if got, want := strings.Join(now[name].rows, "\n"), strings.Join(was.rows, "\n"); got != want {
				t.Errorf("version %d: got %s\n%s\nwant\n%s", i+1, name, got, want)
			}
		}
		number, _, _ := strings.Cut(name, "_")
		text, err := os.ReadFile(filepath.Join("testdata", "rows", number+".sql"))
		switch {
		case err == nil:
			runSQL(t, path, string(text))
		case !errors.Is(err, fs.ErrNotExist):
			t.Fatal(err)
		}
		like = dumpOf(t, path, nil)
	}
	for name, rows := range like {
		if len(rows.rows) == 0 {
			t.Errorf("no version has put a row into %s", name)
		}
	}
	s := open(t, path)
	checkDerived(t, s)
	checkOldRows(t, s)
}

// checkOldRows reads what older versions wrote through the contract.
func checkOldRows(t *testing.T, s *sqlite.Store) {
	t.Helper()
	at := func(n int64) time.Time { return time.UnixMicro(1700000000000000 + n).UTC() }
	ctx := t.Context()
	const account = holdfast.FirstID
	err := s.View(ctx, func(r store.Reader) error {
		id, err := r.Installation(ctx)
		check(t, "installation", id, "00112233445566778899aabbccddeeff", err)
		tenant, err := r.Account(ctx, account+1)
		check(t, "aliases", tenant.Aliases, []string{"t1"}, err)
		token, err := r.CredentialByHash(ctx, []byte{0, 0xff})
		check(t, "token", token, holdfast.Credential{
			ID: 1001, Account: account, Principal: 1001, Kind: holdfast.CredentialToken, Name: "laptop", Hash: []byte{0, 0xff}, Role: holdfast.RoleOperator,
			Sites: []holdfast.SiteID{1001}, Created: at(4), Expires: time.UnixMicro(1800000000000000).UTC(), LastUsed: at(5),
		}, err)
		session, err := r.Credential(ctx, account, 1004)
		check(t, "session", session.Parent, holdfast.CredentialID(1003), err)
		site, err := r.SiteBySlug(ctx, account, "berlin")
		check(t, "site", site.Name, "Größe", err)
		check(t, "how a site is read", site.Reading, holdfast.ReadTrust, nil)
		check(t, "a site's limit", site.BytesPerSec, 0, nil)
		check(t, "how a site is compressed", site.Compression, holdfast.CompressDefault, nil)
		repositories, err := r.Repositories(ctx, account)
		check(t, "repositories", repositories, []holdfast.Repository{
			{ID: 1001, Account: account, Name: "main", Location: "file:///backup", FormatID: "abc", Password: []byte{9, 0}, MaxRunning: 2, Created: at(9)},
			{
				ID: 1002, Account: account, Name: "far", Location: "s3:https://s3.example.com/bucket/main", FormatID: "def",
				Password: []byte{9, 1}, Access: []byte{9, 0, 0xff}, Created: at(50),
			},
		}, err)
		_, jobs, err := r.Jobs(ctx, account, store.JobFilter{})
		check(t, "jobs", jobs, 3, err)
		etl, err := r.Job(ctx, account, 1005)
		check(t, "ETL", etl.ETL, &holdfast.ETLSpec{
			Service: true, Definition: "name: orders", Sites: []holdfast.SiteID{1001}, Aborted: true,
			Configurations: []holdfast.RunConfiguration{{ID: 1001, Name: "Default", Active: true, Properties: map[string]string{"a": "ß"}}},
			Recurrence:     &holdfast.Recurrence{Start: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Period: time.Hour},
		}, err)
		live, err := r.LiveOfJob(ctx, 1005)
		check(t, "live executions of an ETL", len(live), 1, err)
		check(t, "execution of an ETL", live[0].ETL, &holdfast.ETLRun{Service: true, Properties: map[string]string{"a": "2"}, Version: 1}, nil)
		start, err := r.ETLStart(ctx, live[0].ID)
		check(t, "what an execution has started with", start.Spec, *etl.ETL, err)
		check(t, "server that an execution has started with", start.Servers, map[holdfast.SiteID]holdfast.Server{1001: site.Server}, nil)
		_, jobs, err = r.Jobs(ctx, account, store.JobFilter{ActiveOnly: true, Types: []holdfast.JobType{holdfast.JobBackup}})
		check(t, "active backup jobs", jobs, 1, err)
		schedules, err := r.Schedules(ctx, account, 1001)
		check(t, "schedules", len(schedules), 1, err)
		triggers, err := r.TriggersThatRun(ctx, account, 1001)
		check(t, "triggers", triggers, []holdfast.Trigger{{
			ID: 1001, Account: account, Job: 1005, Run: 1001, On: holdfast.OnDone, RunType: holdfast.RunDelta, Active: true, Created: at(45),
		}}, err)
		caused, err := r.Execution(ctx, account, 1007)
		check(t, "cause of an execution", caused.Cause, 1006, err)
		old, err := r.Execution(ctx, account, 1001)
		check(t, "actor of an old execution", old.Actor, "", err)
		for what, c := range map[string]struct {
			filter store.ExecutionFilter
			want   []holdfast.ExecutionID
		}{
			"all":                 {store.ExecutionFilter{}, []holdfast.ExecutionID{1007, 1006, 1004, 1003, 1002, 1001}},
			"of a job":            {store.ExecutionFilter{Job: 1001}, []holdfast.ExecutionID{1006, 1004, 1001}},
			"with restores":       {store.ExecutionFilter{Job: 1001, Restores: true}, []holdfast.ExecutionID{1006, 1004, 1002, 1001}},
			"restores":            {store.ExecutionFilter{Types: []holdfast.JobType{holdfast.JobRestore}}, []holdfast.ExecutionID{1002}},
			"that live":           {store.ExecutionFilter{States: []holdfast.State{holdfast.StateRunning}}, []holdfast.ExecutionID{1004}},
			"that ended since":    {store.ExecutionFilter{EndedSince: at(24)}, []holdfast.ExecutionID{1007, 1006, 1004, 1003}},
			"ended, of two jobs":  {store.ExecutionFilter{EndedSince: at(20), Jobs: []holdfast.JobID{1001, 1002}}, []holdfast.ExecutionID{1006, 1004, 1002}},
			"ended, and no other": {store.ExecutionFilter{EndedSince: at(24), States: []holdfast.State{holdfast.StateEnded}}, []holdfast.ExecutionID{1006, 1003}},
		} {
			list, n, err := r.Executions(ctx, account, c.filter)
			check(t, "executions "+what, executionIDs(list), c.want, err)
			check(t, "how many "+what, n, len(c.want), nil)
		}
		sets, n, err := r.Sets(ctx, account, store.SetFilter{})
		check(t, "sets", n, 1, err)
		check(t, "tablespaces", sets[0].Physical.Tablespaces, []holdfast.Tablespace{{OID: 16400}}, nil)
		events, err := r.Events(ctx, 0, 0, 0)
		check(t, "events", len(events), 5, err)
		events, err = r.SiteEvents(ctx, account, 1001, store.Page{Offset: 1})
		check(t, "events of a site", len(events), 1, err)
		submission, err := r.SubmissionByKey(ctx, account, "once")
		check(t, "submission", submission.Time, at(15), err)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func check[T any](t *testing.T, what string, got, want T, err error) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v and error %v, want %v", what, got, err, want)
	}
}

func executionIDs(list []holdfast.Execution) (ids []holdfast.ExecutionID) {
	for _, e := range list {
		ids = append(ids, e.ID)
	}
	return ids
}

// texts reads one column of texts.
func texts(t testing.TB, c *sql.Conn, text string, args ...any) (out []string) {
	t.Helper()
	rows, err := c.QueryContext(t.Context(), text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		out = append(out, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

package etl_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// outcome is what an execution came to.
type outcome struct {
	res engine.Result
	err error
}

// runWhileItWaits starts an execution, does something when one of its sessions waits for
// a lock, and returns how the execution has ended.
func runWhileItWaits(t *testing.T, on *testkit.Postgres, req engine.ETL, do func()) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	over := make(chan outcome, 1)
	go func() {
		res, err := etl.New(etl.Config{TempDir: os.TempDir()}).Run(ctx, req)
		over <- outcome{res, err}
	}()
	for on.Value(t, "", "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'holdfast%' AND wait_event_type = 'Lock'") == "0" {
		select {
		case o := <-over:
			t.Fatalf("it has not waited: %+v", o)
		case <-time.After(10 * time.Millisecond):
		}
	}
	do()
	return <-over
}

func begin(t *testing.T, p *testkit.Postgres, sql string) *pgx.Conn {
	t.Helper()
	conn := p.Connect(t)
	if _, err := conn.Exec(t.Context(), "BEGIN; "+sql); err != nil {
		t.Fatal(err)
	}
	return conn
}

func commit(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
		t.Error(err)
	}
}

// TestReadsWhatIsReplaced commits what keeps no rows for older snapshots after an
// execution has its snapshot, and before it has locked what it reads.
func TestReadsWhatIsReplaced(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	const fill = "; INSERT INTO dim SELECT g, 'new' FROM generate_series(1, 100) AS g"
	const swapped = "CREATE TABLE next (LIKE dim); INSERT INTO next SELECT id, 'new' FROM dim; "
	for i, c := range []struct{ name, before, during string }{
		{"truncated", "", "TRUNCATE dim" + fill},
		{"behind a view", "ALTER TABLE dim RENAME TO behind; CREATE VIEW dim AS SELECT * FROM behind", "TRUNCATE behind" + fill},
		{"made anew", "", "DROP TABLE dim; CREATE TABLE dim (id int, s text)" + fill},
		{"replaced by a swap", "", "LOCK dim; " + swapped + "DROP TABLE dim; ALTER TABLE next RENAME TO dim"},
		{"rewritten", "", "UPDATE dim SET s = 'new'; ALTER TABLE dim ALTER id TYPE bigint"},
		{"clustered", "CREATE INDEX by_id ON dim (id)", "UPDATE dim SET s = 'new'; CLUSTER dim USING by_id"},
		{"a partition truncated", "DROP TABLE dim; CREATE TABLE dim (id int, s text) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF dim FOR VALUES FROM (0) TO (50);" +
			"CREATE TABLE high PARTITION OF dim FOR VALUES FROM (50) TO (1000)" + fill, "TRUNCATE high; UPDATE dim SET s = 'new'; INSERT INTO high SELECT g, 'new' FROM generate_series(50, 100) AS g"},
		{
			"a partition swapped", "DROP TABLE dim; CREATE TABLE dim (id int, s text) PARTITION BY RANGE (id); CREATE TABLE a PARTITION OF dim FOR VALUES FROM (0) TO (1000); CREATE TABLE b (LIKE dim)" + fill,
			"INSERT INTO b SELECT id, 'new' FROM dim; ALTER TABLE dim DETACH PARTITION a; ALTER TABLE dim ATTACH PARTITION b FOR VALUES FROM (0) TO (1000)",
		},
		{"a view that is refreshed", "ALTER TABLE dim RENAME TO behind; CREATE MATERIALIZED VIEW dim AS SELECT * FROM behind", "UPDATE behind SET s = 'new'; REFRESH MATERIALIZED VIEW dim"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.shop.Exec(t, "", "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE dim (id int, s text)"+fill+"; UPDATE dim SET s = 'first'; "+c.before)
			p.dwh.Exec(t, "", "DROP TABLE IF EXISTS dim; CREATE TABLE dim (id bigint PRIMARY KEY, s text); INSERT INTO dim SELECT g, 'old' FROM generate_series(1, 100) AS g")
			conn := begin(t, p.shop, c.during)
			req := p.order(t, "\nextract: [{name: d, connection: shop, table: dim}]\nload: [{from: d, connection: dwh, table: dim, mode: merge, key: [id]}]\n")
			req.Execution += holdfast.ExecutionID(i)
			o := runWhileItWaits(t, p.shop, req, func() { commit(t, conn) })
			if o.err != nil {
				t.Fatalf("run: %v", o.err)
			}
			if f := o.res.Flows[0]; f.Read != 100 || f.Deleted != 0 {
				t.Errorf("got flow %+v, want 100 rows read and none deleted", f)
			}
			if got := p.dwh.Value(t, "", "SELECT count(*) FROM dim WHERE s = 'new'"); got != "100" {
				t.Errorf("got %s new rows, want 100: %q", got, p.dwh.Rows(t, "", "SELECT s, count(*) FROM dim GROUP BY 1"))
			}
		})
	}
	p.nothingLeft(t)
}

// TestReadsWhatAFunctionReads commits something between an execution's snapshot and the
// moment at which a function that it calls reads a table.
func TestReadsWhatAFunctionReads(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE TABLE dim (id int, s text); INSERT INTO dim SELECT g, 'first' FROM generate_series(1, 100) AS g; CREATE INDEX by_id ON dim (id);
		CREATE FUNCTION dims() RETURNS SETOF dim LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN QUERY SELECT * FROM dim; END $$`)
	p.dwh.Exec(t, "", "CREATE TABLE dim (id int PRIMARY KEY, s text); INSERT INTO dim SELECT g, 'old' FROM generate_series(1, 100) AS g")
	root := t.TempDir()
	const table, files = "load: [{from: d, connection: dwh, table: dim, mode: merge, key: [id]}]\n", "load: [{from: d, connection: lake, output: {path: dim, format: csv}}]\n"
	order := func(load string, number int) engine.ETL {
		req := toFiles(t, p.shop, root, "\nextract: [{name: d, connection: shop, query: 'select id, s from dims()'}]\n"+load)
		if load == table {
			roots := req.Roots
			req = p.order(t, "\nextract: [{name: d, connection: shop, query: 'select id, s from dims()'}]\n"+load)
			req.Roots = roots
		}
		req.Execution += holdfast.ExecutionID(number)
		return req
	}
	for i, c := range []struct {
		name, load, during string
		code               holdfast.Code // empty: it is loaded
	}{
		{"truncated", table, "TRUNCATE dim; INSERT INTO dim SELECT g, 'first' FROM generate_series(1, 100) AS g", holdfast.CodeUnavailable},
		{"truncated, into files", files, "TRUNCATE dim; INSERT INTO dim SELECT g, 'first' FROM generate_series(1, 100) AS g", holdfast.CodeUnavailable},
		{"other indexes", table, "REINDEX TABLE dim; CREATE INDEX again ON dim (id); ANALYZE dim; UPDATE dim SET s = 'later'", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := begin(t, p.shop, "SELECT pg_advisory_xact_lock(7)")
			o := runWhileItWaits(t, p.shop, order(c.load, i), func() {
				p.shop.Exec(t, "", c.during)
				commit(t, conn)
			})
			if c.code == "" {
				if o.err != nil {
					t.Fatalf("run: %v", o.err)
				}
				if got := p.dwh.Value(t, "", "SELECT count(*) FROM dim WHERE s = 'first'"); got != "100" {
					t.Errorf("got %s rows of the snapshot, want 100", got)
				}
				return
			}
			wantError(t, o.err, c.code, "dim was replaced", "tried again")
			if got := p.dwh.Value(t, "", "SELECT count(*) FROM dim WHERE s = 'old'"); got != "100" {
				t.Errorf("got %s old rows, want 100", got)
			}
			if versions, err := filepath.Glob(filepath.Join(root, "dim/v*")); err != nil || len(versions) > 0 {
				t.Errorf("got versions %q, %v", versions, err)
			}
		})
	}
}

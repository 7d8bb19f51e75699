package etl_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
)

func TestIncremental(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	for _, c := range []struct {
		name, columns, incremental, batch string
		rows                              func(from, to int) string // SELECT of id and counter
		all                               bool                      // rows that come later with an old counter are found
	}{
		{
			"a time with a tie, many rows to each", "id int, at timestamptz", "column: at, tie: id", "batch: {rows: 70}",
			func(from, to int) string {
				return fmt.Sprintf("SELECT g, 'epoch'::timestamptz + (g / 50) * interval '1 microsecond' FROM generate_series(%d, %d) AS g", from, to)
			}, true,
		},
		{
			"a unique number", "id int, at bigint", "column: at", "batch: {rows: 33}",
			func(from, to int) string {
				return fmt.Sprintf("SELECT g, g * 1000000000::bigint FROM generate_series(%d, %d) AS g", from, to)
			}, true,
		},
		{
			"a numeric in one unit", "id int, at numeric", "column: at, tie: id", "",
			func(from, to int) string {
				return fmt.Sprintf("SELECT g, g / 3.0 FROM generate_series(%d, %d) AS g", from, to)
			}, true,
		},
		{
			"text", "id int, at text", "column: at, tie: id", "batch: {rows: 100}",
			func(from, to int) string {
				return fmt.Sprintf(`SELECT g, lpad((g / 3)::text, 9, '0') || E'"''\\' FROM generate_series(%d, %d) AS g`, from, to)
			}, true,
		},
		{
			"a day without a tie keeps equal days together", "id int, at date", "column: at", "batch: {rows: 10}",
			func(from, to int) string {
				return fmt.Sprintf("SELECT g, 'epoch'::date + g / 25 FROM generate_series(%d, %d) AS g", from, to)
			}, false,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := "DROP TABLE IF EXISTS a; CREATE TABLE a (" + c.columns + ")"
			p.shop.Exec(t, "", table)
			p.dwh.Exec(t, "", table+"; DROP SCHEMA IF EXISTS holdfast_etl CASCADE")
			def := "\nextract: [{name: a, connection: shop, table: a, incremental: {strategy: column, " + c.incremental + "}}]\n" +
				"load: [{from: a, connection: dwh, table: a}]\n" + c.batch
			req := p.order(t, def)
			for i, step := range [][2]int{{1, 499}, {500, 749}, {750, 750}, {751, 751}} {
				if !c.all && step[0]%25 != 0 {
					step[0] += 25 - step[0]%25 // a new day
					step[1] = max(step[1], step[0])
				}
				p.shop.Exec(t, "", "INSERT INTO a "+c.rows(step[0], step[1]))
				req.Execution = holdfast.ExecutionID(1001 + i)
				res := run(t, req)
				same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
				f := res.Flows[0]
				if want := int64(step[1] - step[0] + 1); f.Loaded != want {
					t.Errorf("got %d rows loaded, want %d", f.Loaded, want)
				}
				if len(f.Counters) != 1 || f.Counters[0].After == "" || (f.Counters[0].Before == "") != (i == 0) {
					t.Errorf("got counters %+v", f.Counters)
				}
			}
			req.Execution = 2000
			res := run(t, req)
			if f := res.Flows[0]; f.Read != 0 || f.Units != 0 {
				t.Errorf("nothing is new: got flow %+v", f)
			}
			same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
		})
	}
}

func TestIncrementalEdges(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int, at timestamptz); INSERT INTO a SELECT g, now() - g * interval '1 minute' FROM generate_series(1, 10) AS g")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int, at timestamptz)")
	def := func(more string) string {
		return "\nextract: [{name: a, connection: shop, query: 'select * from a', incremental: {strategy: column, column: at" + more + "}}]\nload: [{from: a, connection: dwh, table: a}]\n"
	}
	order := func(t *testing.T, execution holdfast.ExecutionID, more string) engine.ETL {
		t.Helper()
		req := p.order(t, def(more))
		req.Execution = execution
		return req
	}
	t.Run("young rows wait", func(t *testing.T) {
		if f := run(t, order(t, 1, ", lag: 5m30s")).Flows[0]; f.Loaded != 5 {
			t.Errorf("got %d rows, want those of 6 to 10 minutes", f.Loaded)
		}
		if f := run(t, order(t, 2, "")).Flows[0]; f.Loaded != 5 {
			t.Errorf("got %d rows, want the other five", f.Loaded)
		}
	})
	t.Run("a simulation moves no counter", func(t *testing.T) {
		p.shop.Exec(t, "", "INSERT INTO a VALUES (11, now())")
		req := order(t, 3, "")
		req.Simulate = true
		if f := run(t, req).Flows[0]; f.Loaded != 1 || f.Units != 0 {
			t.Errorf("got flow %+v", f)
		}
		if f := run(t, order(t, 4, "")).Flows[0]; f.Loaded != 1 {
			t.Errorf("got flow %+v", f)
		}
		same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
	})
	t.Run("a start is exclusive", func(t *testing.T) {
		p.shop.Exec(t, "", "CREATE TABLE n (id int); INSERT INTO n SELECT generate_series(1, 10)")
		p.dwh.Exec(t, "", "CREATE TABLE n (id int)")
		req := order(t, 5, "")
		req.Definition = connections + "\nextract: [{name: n, connection: shop, table: n, incremental: {strategy: column, column: id, start: 7}}]\nload: [{from: n, connection: dwh, table: n}]\n"
		req.Job = 1002
		run(t, req)
		same(t, p.shop, "SELECT * FROM n WHERE id > 7", p.dwh, "SELECT * FROM n")
	})
	t.Run("a NULL would be lost", func(t *testing.T) {
		p.shop.Exec(t, "", "CREATE TABLE x (id int, at int); INSERT INTO x VALUES (1, 1), (2, NULL), (NULL, 5)")
		p.dwh.Exec(t, "", "CREATE TABLE x (id int, at int)")
		req := order(t, 6, "")
		req.Job = 1003
		extract := "\nextract: [{name: x, connection: shop, query: 'select * from x WHERE', incremental: {strategy: column, column: at, tie: id}}]\nload: [{from: x, connection: dwh, table: x}]\n"
		req.Definition = connections + strings.Replace(extract, "WHERE", "", 1)
		fail(t, req, holdfast.CodeInvalid, `"at"`, "NULL")
		req.Definition = connections + strings.Replace(extract, "WHERE", "where at is not null", 1)
		fail(t, req, holdfast.CodeInvalid, `"id"`, "NULL")
		req.Definition = connections + strings.Replace(extract, "WHERE", "where at is not null and id is not null", 1)
		run(t, req)
		same(t, p.shop, "SELECT * FROM x WHERE id = 1", p.dwh, "SELECT * FROM x")

		p.shop.Exec(t, "", "CREATE TABLE y (at int); INSERT INTO y VALUES (1)")
		p.dwh.Exec(t, "", "CREATE TABLE y (at int)")
		req.Job, req.Execution = 1005, 61
		req.Definition = connections + "\nextract: [{name: y, connection: shop, table: y, incremental: {strategy: column, column: at}}]\nload: [{from: y, connection: dwh, table: y}]\n"
		run(t, req)
		p.shop.Exec(t, "", "INSERT INTO y VALUES (NULL)") // and nothing else is new
		req.Execution = 62
		fail(t, req, holdfast.CodeInvalid, `"at"`, "NULL")
	})
	t.Run("nothing comes after infinity", func(t *testing.T) {
		for i, c := range [][3]string{
			{"timestamptz", "2020-01-01", "infinity"},
			{"timestamp", "2020-01-01", "infinity"},
			{"date", "2020-01-01", "infinity"},
			{"numeric", "1", "NaN"},
			{"real", "1", "Infinity"},
			{"double precision", "1", "NaN"},
		} {
			p.shop.Exec(t, "", "DROP TABLE IF EXISTS i; CREATE TABLE i (id int, at "+c[0]+"); INSERT INTO i VALUES (1, '"+c[1]+"'), (2, '"+c[2]+"')")
			p.dwh.Exec(t, "", "DROP TABLE IF EXISTS i; CREATE TABLE i (id int, at "+c[0]+")")
			req := order(t, holdfast.ExecutionID(100+i), "")
			req.Job = holdfast.JobID(1100 + i)
			req.Definition = connections + "\nextract: [{name: i, connection: shop, table: i, incremental: {strategy: column, column: at, tie: id}}]\nload: [{from: i, connection: dwh, table: i}]\n"
			fail(t, req, holdfast.CodeInvalid, `"at"`, c[2])
		}
	})
	t.Run("steps in the source see new rows only", func(t *testing.T) {
		p.shop.Exec(t, "", "CREATE TABLE s (id int, v int); INSERT INTO s SELECT g, 1 FROM generate_series(1, 10) AS g")
		p.dwh.Exec(t, "", "CREATE TABLE s (n bigint)")
		req := order(t, 7, "")
		req.Job = 1004
		req.Definition = connections + `
extract: [{name: s, connection: shop, table: s, incremental: {strategy: column, column: id}}]
transform: [{name: sum, in: source, over: s, sql: "select sum(v) as n from s -- all"}]
load: [{from: sum, connection: dwh, table: s}]
`
		run(t, req)
		p.shop.Exec(t, "", "INSERT INTO s SELECT g, 1 FROM generate_series(11, 13) AS g")
		req.Execution = 8
		run(t, req)
		if got := p.dwh.Value(t, "", "SELECT string_agg(n::text, ',' ORDER BY n) FROM s"); got != "3,10" {
			t.Errorf("got sums %s, want 3,10", got)
		}
	})
}

func TestStopBetweenUnits(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 100)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	req := p.order(t, `
extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}]
load: [{from: a, connection: dwh, table: a}]
batch: {rows: 10}
`)
	stop := make(chan struct{})
	req.Stop = stop
	units := 0
	pipeline := etl.New(etl.Config{Step: func(name string) {
		if name == "locked" {
			if units++; units == 3 {
				close(stop)
			}
		}
	}})
	res, err := pipeline.Run(t.Context(), req)
	if !errors.Is(err, engine.ErrWish) {
		t.Errorf("got error %v, want that of a wish", err)
	}
	if f := res.Flows[0]; f.Units != 3 || f.Loaded != 30 {
		t.Errorf("got flow %+v, want three units", f)
	}
	same(t, p.shop, "SELECT * FROM a WHERE id <= 30", p.dwh, "SELECT * FROM a")
	req.Stop, req.Fence = make(chan struct{}), 2
	run(t, req)
	same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
}

func TestCounterSetBetweenUnits(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 100)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	for i, c := range []struct{ set, counter, rows string }{
		{"1000", "1000", "30"}, // beyond all that the execution's snapshot has
		{"100", "100", "30"},
		{"90", "100", "40"},
		{"10", "100", "120"},
	} {
		p.dwh.Exec(t, "", "TRUNCATE a; DROP SCHEMA IF EXISTS holdfast_etl CASCADE")
		req := p.order(t, "\nextract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}]\nload: [{from: a, connection: dwh, table: a}]\nbatch: {rows: 30}\n")
		req.Execution += holdfast.ExecutionID(i)
		set := false
		pipeline := etl.New(etl.Config{Step: func(name string) {
			if name != "committed" || set {
				return
			}
			set = true
			if err := etl.New(etl.Config{}).SetCounter(context.Background(), req, "a", "a", c.set); err != nil {
				t.Errorf("set the counter: %v", err)
			}
		}})
		if _, err := pipeline.Run(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		if got := p.dwh.Value(t, "", "SELECT value::json ->> 'column' FROM holdfast_etl.counter"); got != c.counter {
			t.Errorf("set to %s: got counter %s, want %s", c.set, got, c.counter)
		}
		if got := p.dwh.Value(t, "", "SELECT count(*) FROM a"); got != c.rows {
			t.Errorf("set to %s: got %s rows, want %s", c.set, got, c.rows)
		}
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	for i, query := range []string{
		"select 1 as id from pg_sleep(600)", // the source says nothing for long
		"select g as id from generate_series(1, 2000000000) as g",
	} {
		req := p.order(t, "\nextract: [{name: a, connection: shop, query: '"+query+"'}]\nload: [{from: a, connection: dwh, table: a}]\n")
		req.Execution += holdfast.ExecutionID(i)
		cause := fmt.Errorf("killed: %w", engine.ErrWish)
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(500*time.Millisecond, func() { cancel(cause) })
		begin := time.Now()
		res, err := etl.New(etl.Config{TempDir: os.TempDir()}).Run(ctx, req)
		timer.Stop()
		if !errors.Is(err, cause) {
			t.Errorf("got error %v, want the context's cause", err)
		}
		if took := time.Since(begin); took > 8*time.Second {
			t.Errorf("it took %s to end", took)
		}
		if f := res.Flows[0]; f.Units != 0 {
			t.Errorf("got flow %+v", f)
		}
		p.nothingLeft(t)
		if got := p.dwh.Value(t, "", "SELECT count(*) FROM a"); got != "0" {
			t.Errorf("got %s rows, want none", got)
		}
		cancel(nil)
	}
}

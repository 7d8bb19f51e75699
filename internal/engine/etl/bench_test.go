package etl_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck/ducktest"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// benchRows is the size of the benchmarks' table of 12 columns.
var benchRows = flag.Int("bench-rows", 500_000, "rows of the benchmarks' table")

const benchTable = `CREATE TABLE %s (id bigint PRIMARY KEY, customer int, sku text, name text, qty int, price numeric(12,2), status text,
	created timestamptz, updated timestamptz, note text, flag boolean, score double precision)`

// startBench starts two databases of one server with the table.
func startBench(b *testing.B) (p pair, from, to string) {
	b.Helper()
	s := testkit.StartPostgres(b, testkit.PostgresOptions{Conf: map[string]string{
		"shared_buffers": "256MB", "max_wal_size": "8GB", "synchronous_commit": "off", "checkpoint_timeout": "1h", "autovacuum": "off",
	}})
	p = pair{s, s}
	s.Exec(b, "", "CREATE DATABASE dwh")
	return p, s.ConnString(""), s.ConnString("dwh")
}

// seed fills the source.
func seed(b *testing.B, s *testkit.Postgres) {
	b.Helper()
	for _, sql := range []string{
		fmt.Sprintf(benchTable, "orders"),
		fmt.Sprintf(`INSERT INTO orders SELECT g, g %% 100000, 'sku-' || g %% 5000, 'customer name ' || g, g %% 9, g %% 10000 / 7.0, 'status' || g %% 5,
			'epoch'::timestamptz + g * interval '17 seconds', 'epoch'::timestamptz + g * interval '19 seconds', CASE g %% 3 WHEN 0 THEN NULL ELSE 'a note of some length ' || g END, g %% 2 = 0, g / 3.0
			FROM generate_series(1, %d) AS g`, *benchRows),
		"CREATE TABLE customers AS SELECT g AS id, 'region ' || g % 7 AS region FROM generate_series(0, 99999) AS g",
		"VACUUM ANALYZE",
	} {
		s.Exec(b, "", sql)
	}
}

const incremental = ", incremental: {strategy: column, column: id}"

// BenchmarkLoad loads the whole table, counter and commit included, and reports how
// that compares with psql COPY | psql COPY of the same rows, run next to it.
func BenchmarkLoad(b *testing.B) {
	p, from, to := startBench(b)
	seed(b, p.shop)
	unkeyed := strings.Replace(fmt.Sprintf(benchTable, "orders"), " PRIMARY KEY", "", 1)
	for _, c := range []struct{ name, table, definition string }{
		{"relay", unkeyed, "extract: [{name: o, connection: shop, table: orders" + incremental + "}]\nload: [{from: o, connection: dwh, table: orders}]\n"},
		{"source", unkeyed, "extract: [{name: o, connection: shop, table: orders" + incremental + "}]\n" +
			"transform: [{name: t, in: source, over: o, sql: \"select id, customer, upper(sku) as sku, name, qty, price, status, created, updated, note, flag, score from o\"}]\n" +
			"load: [{from: t, connection: dwh, table: orders}]\n"},
		{"rows", unkeyed, "extract: [{name: o, connection: shop, query: \"select id, customer, sku, name as label, qty, price, status, created, updated, note, flag, score from orders\"" + incremental + "}]\n" +
			"transform: [{name: t, in: rows, over: o, rows: [{rename: {column: label, to: name}}, {cast: {name: qty, type: integer}}, {mask: {column: note, keep: 4}}, {filter: {column: status, op: \"<>\", values: [status9]}}]}]\n" +
			"load: [{from: t, connection: dwh, table: orders}]\n"},
		{"engine", unkeyed, "extract: [{name: o, connection: shop, table: orders" + incremental + "}, {name: c, connection: shop, table: customers}]\n" +
			"transform: [{name: t, in: engine, sql: \"select o.id, o.customer, upper(o.sku) as sku, c.region as name, o.qty, o.price, o.status, o.created, o.updated, o.note, o.flag, o.score from o join c on c.id = o.customer\"}]\n" +
			"load: [{from: t, connection: dwh, table: orders}]\n"},
		{"upsert", fmt.Sprintf(benchTable, "orders"), "extract: [{name: o, connection: shop, table: orders" + incremental + "}]\nload: [{from: o, connection: dwh, table: orders, mode: upsert, key: [id]}]\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			var limit, ours time.Duration
			for i := range b.N {
				p.dwh.Exec(b, "dwh", "DROP TABLE IF EXISTS orders; "+unkeyed+"; CHECKPOINT")
				limit += relayByPsql(b, from, to)
				p.dwh.Exec(b, "dwh", "DROP TABLE IF EXISTS orders; DROP SCHEMA IF EXISTS holdfast_etl CASCADE; "+c.table+"; CHECKPOINT")
				begin := time.Now()
				loadOnce(b, p, c.definition, holdfast.ExecutionID(1001+i))
				ours += time.Since(begin)
				if got := p.dwh.Value(b, "dwh", "SELECT count(*) FROM orders"); got != fmt.Sprint(*benchRows) {
					b.Fatalf("got %s rows", got)
				}
			}
			b.ReportMetric(limit.Seconds()/ours.Seconds(), "x-of-psql")
			b.ReportMetric(float64(b.N**benchRows)/ours.Seconds(), "rows/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkParquet writes the table to Parquet, and compares with COPY TO CSV.
func BenchmarkParquet(b *testing.B) {
	p, from, _ := startBench(b)
	seed(b, p.shop)
	var limit, ours time.Duration
	for i := range b.N {
		root := b.TempDir()
		begin := time.Now()
		psql(b, from, `\copy orders to '`+filepath.Join(root, "orders.csv")+`' csv`)
		limit += time.Since(begin)
		req := toFiles(b, p.shop, root, "extract: [{name: o, connection: shop, table: orders}]\nload: [{from: o, connection: lake, output: {path: o, format: parquet}}]\n")
		req.Execution += holdfast.ExecutionID(i)
		begin = time.Now()
		run(b, req)
		ours += time.Since(begin)
	}
	b.ReportMetric(limit.Seconds()/ours.Seconds(), "x-of-psql")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkCSV loads a file of CSV, and compares with \copy.
func BenchmarkCSV(b *testing.B) {
	p, from, to := startBench(b)
	seed(b, p.shop)
	root := b.TempDir()
	name := filepath.Join(root, "orders.csv")
	psql(b, from, `\copy orders to '`+name+`' csv header`)
	table := strings.Replace(fmt.Sprintf(benchTable, "orders"), " PRIMARY KEY", "", 1)
	fields := "{name: id, type: bigint}, {name: customer, type: integer}, {name: sku, type: text}, {name: name, type: text}, {name: qty, type: integer}, {name: price, type: 'numeric(12,2)'}, {name: status, type: text}, " +
		"{name: created, type: timestamptz}, {name: updated, type: timestamptz}, {name: note, type: text}, {name: flag, type: boolean}, {name: score, type: double precision}"
	for _, c := range []struct{ name, step, from string }{{"plain", "", "o"}, {"engine", "transform: [{name: t, in: engine, sql: \"select * from o where qty >= 0\"}]\n", "t"}} {
		b.Run(c.name, func(b *testing.B) {
			var limit, ours time.Duration
			for i := range b.N {
				p.dwh.Exec(b, "dwh", "DROP TABLE IF EXISTS orders; "+table+"; CHECKPOINT")
				begin := time.Now()
				psql(b, to, `\copy orders from '`+name+`' csv header`)
				limit += time.Since(begin)
				p.dwh.Exec(b, "dwh", "TRUNCATE orders; DROP SCHEMA IF EXISTS holdfast_etl CASCADE; CHECKPOINT")
				req := toFiles(b, p.shop, root, "extract: [{name: o, connection: lake, file: {path: orders.csv, format: csv, header: true, fields: ["+fields+"]}}]\n"+c.step+
					"load: [{from: "+c.from+", connection: dwh, table: orders}]\n")
				req.Execution += holdfast.ExecutionID(i)
				req.Sites["dwh"] = benchDWH(p)
				begin = time.Now()
				benchRun(b, req)
				ours += time.Since(begin)
			}
			b.ReportMetric(limit.Seconds()/ours.Seconds(), "x-of-psql")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func benchDWH(p pair) engine.Site {
	s := siteOf(p.dwh, "dwh")
	s.Server.Database = "dwh"
	return s
}

func loadOnce(b *testing.B, p pair, definition string, execution holdfast.ExecutionID) {
	b.Helper()
	req := engine.ETL{
		Installation: "here", Job: 1001, JobName: "bench", Execution: execution, Fence: 1, Definition: connections + definition,
		Sites:  map[string]engine.Site{"shop": siteOf(p.shop, "shop"), "dwh": benchDWH(p)},
		Report: &enginetest.Report{}, Log: slog.New(slog.DiscardHandler), Stop: make(chan struct{}),
	}
	benchRun(b, req)
}

func benchRun(b *testing.B, req engine.ETL) {
	b.Helper()
	if _, err := etl.New(etl.Config{DuckBinary: ducktest.Binary(b), TempDir: b.TempDir()}).Run(context.Background(), req); err != nil {
		b.Fatalf("%v (hint: %s)", err, holdfast.ErrorHint(err))
	}
}

// relayByPsql is what everybody would do by hand.
func relayByPsql(b *testing.B, from, to string) time.Duration {
	b.Helper()
	program := testkit.PGBin(b, "psql")
	out := exec.CommandContext(b.Context(), program, "-XqAt", "-d", from, "-c", "COPY orders TO STDOUT (FORMAT binary)")
	in := exec.CommandContext(b.Context(), program, "-XqAt", "-d", to, "-c", "COPY orders FROM STDIN (FORMAT binary)")
	pipe, err := out.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	in.Stdin = pipe
	begin := time.Now()
	if err := out.Start(); err != nil {
		b.Fatal(err)
	}
	if text, err := in.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, text)
	}
	if err := out.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}

// psql runs one command.
func psql(b *testing.B, at, command string) {
	b.Helper()
	if text, err := exec.CommandContext(b.Context(), testkit.PGBin(b, "psql"), "-Xq", "-d", at, "-c", command).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, text)
	}
}

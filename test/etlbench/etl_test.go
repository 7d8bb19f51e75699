// Package etlbench measures the ETL engine against PostgreSQL's own programs on
// the same rows, in the same run.
package etlbench

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck/ducktest"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

var (
	count   = flag.Int("rows", 20_000, "rows of the source table")
	rounds  = flag.Int("rounds", 1, "how often each route is measured, each time beside its baseline")
	only    = flag.String("only", "", "regular expression of the routes to measure")
	results = flag.String("results", "", "file that gets the table")
	duck    = flag.String("duck", "", "holdfast-etl (empty: built here)")
)

// route is one way through the engine, with what it is measured against.
type route struct {
	name     string
	target   float64 // ratio of rates that is wanted: the baseline's time by ours
	baseline func(r *rig)
	config   func(r *rig) string // the definition, without its head
	table    string              // that it fills, emptied before; empty: files
}

const columns = "id, customer_id, sku, qty, price, status, note, ordered_at, paid, weight, ref, updated_at"

const tableOf = `(id bigint %s, customer_id int, sku text, qty int, price numeric(12,2), status text, note text,
	ordered_at timestamptz, paid boolean, weight float8, ref uuid, updated_at timestamptz)`

func routes() []route {
	pipe := func(query, table string) func(r *rig) {
		return func(r *rig) {
			r.shell("psql -X -q '%s' -c \"copy (%s) to stdout (format binary)\" | psql -X -q '%s' -c \"copy %s from stdin (format binary)\"",
				conninfo(r.source), query, conninfo(r.target), table)
		}
	}
	all := "select " + columns + " from orders"
	load := func(body string) func(*rig) string { return func(*rig) string { return body } }
	return []route{
		{
			name: "relay", target: 0.9, table: "orders", baseline: pipe(all, "orders"),
			config: load(`
extract: [{name: orders, connection: src, table: orders}]
load: [{from: orders, connection: dst, table: orders}]
`),
		},
		{
			name: "relay with a counter", target: 0.9, table: "orders", baseline: pipe(all, "orders"),
			config: load(`
extract: [{name: orders, connection: src, table: orders, incremental: {strategy: column, column: id}}]
load: [{from: orders, connection: dst, table: orders}]
`),
		},
		{
			name: "SQL in the source", target: 0.9, table: "orders", baseline: pipe(strings.Replace(all, "sku", "upper(sku)", 1)+" where status <> 'cancelled'", "orders"),
			config: load(`
extract: [{name: orders, connection: src, table: orders}]
transform:
  - {name: clean, in: source, over: orders, sql: "select ` + strings.Replace(columns, "sku", "upper(sku) as sku", 1) + ` from orders where status <> 'cancelled'"}
load: [{from: clean, connection: dst, table: orders}]
`),
		},
		{
			name: "row steps", target: 1.0, table: "changed", baseline: pipe(all, "orders"),
			config: load(`
extract: [{name: orders, connection: src, table: orders}]
transform:
  - name: changed
    in: rows
    over: orders
    rows:
      - rename: {column: sku, to: article}
      - cast: {name: qty, type: bigint}
      - mask: {column: note, keep: 4}
      - filter: {column: status, op: "<>", values: [cancelled]}
load: [{from: changed, connection: dst, table: changed}]
`),
		},
		{
			name: "DuckDB with a join", target: 0.6, table: "joined", baseline: pipe(all, "orders"),
			config: load(`
extract:
  - {name: orders, connection: src, table: orders}
  - {name: customers, connection: src, table: customers}
transform:
  - name: joined
    in: engine
    sql: >
      select o.id, o.customer_id, c.region, upper(o.sku) as sku, o.qty, o.price, o.qty * o.price as total, o.status, o.note, o.ordered_at,
             o.paid, o.weight, o.ref, o.updated_at
      from orders o join customers c on c.id = o.customer_id where o.status <> 'cancelled'
load: [{from: joined, connection: dst, table: joined}]
`),
		},
		{
			name: "upsert into a keyed table", target: 0.25, table: "keyed", baseline: pipe(all, "orders"),
			config: load(`
extract: [{name: orders, connection: src, table: orders}]
load: [{from: orders, connection: dst, table: keyed, mode: upsert, key: [id]}]
`),
		},
		{
			name: "CSV to PostgreSQL", target: 0.95, table: "orders", baseline: func(r *rig) {
				r.shell(`psql -X -q '%s' -c "\copy orders from '%s' (format csv)"`, conninfo(r.target), r.csv())
			},
			config: load(`
extract: [{name: orders, connection: files, file: {path: orders.csv, format: csv, fields: ` + fields + `}}]
load: [{from: orders, connection: dst, table: orders}]
`),
		},
		{
			name: "CSV through DuckDB", target: 0.75, table: "orders", baseline: func(r *rig) {
				r.shell(`psql -X -q '%s' -c "\copy orders from '%s' (format csv)"`, conninfo(r.target), r.csv())
			},
			config: load(`
extract: [{name: orders, connection: files, file: {path: orders.csv, format: csv, fields: ` + fields + `}}]
transform: [{name: clean, in: engine, sql: "select ` + strings.Replace(columns, "sku", "upper(sku) as sku", 1) + ` from orders where status <> 'cancelled'"}]
load: [{from: clean, connection: dst, table: orders}]
`),
		},
		{
			name: "PostgreSQL to Parquet", target: 0.8, baseline: func(r *rig) {
				r.shell("psql -X -q '%s' -c \"copy (%s) to stdout (format csv)\" > '%s'", conninfo(r.source), all, filepath.Join(r.dir, "out.csv"))
			},
			config: load(`
extract: [{name: orders, connection: src, table: orders}]
load: [{from: orders, connection: files, output: {path: orders, format: parquet, max_kept: 1}}]
`),
		},
	}
}

const fields = `[{name: id, type: bigint}, {name: customer_id, type: integer}, {name: sku, type: text}, {name: qty, type: integer},
  {name: price, type: "numeric(12,2)"}, {name: status, type: text}, {name: note, type: text}, {name: ordered_at, type: timestamptz},
  {name: paid, type: boolean}, {name: weight, type: float8}, {name: ref, type: uuid}, {name: updated_at, type: timestamptz}]`

// rig is two servers, the rows of one, and the engine.
type rig struct {
	t              *testing.T
	source, target *testkit.Postgres
	dir            string
	engine         *etl.Pipeline
	execution      holdfast.ExecutionID
}

// conninfo has no quotes, so that it stands in those of a shell.
func conninfo(p *testkit.Postgres) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", p.SocketDir, p.Port, p.User)
}

func (r *rig) csv() string { return filepath.Join(r.dir, "orders.csv") }

func (r *rig) shell(format string, args ...any) {
	r.t.Helper()
	testkit.Run(r.t, "bash", "-c", "set -euo pipefail; "+fmt.Sprintf(format, args...))
}

// quiet leaves no work of the last measure to the next.
func (r *rig) quiet(table string) {
	if table != "" {
		r.target.Exec(r.t, "postgres", "truncate "+table)
	} else if err := os.RemoveAll(filepath.Join(r.dir, "orders")); err != nil { // each run is of a job of its own
		r.t.Fatal(err)
	}
	r.target.Exec(r.t, "postgres", "checkpoint")
	r.source.Exec(r.t, "postgres", "checkpoint")
}

func (r *rig) run(ctx context.Context, rt route) (engine.Result, time.Duration) {
	r.t.Helper()
	r.execution++
	text := `apiVersion: holdfast/etl/v1
name: bench
connections: {src: {site: src}, dst: {site: dst}, files: {directory: ` + r.dir + `}}
` + strings.TrimPrefix(rt.config(r), "\n")
	site := func(slug string, id holdfast.SiteID, p *testkit.Postgres) engine.Site {
		return engine.Site{ID: id, Slug: slug, Server: holdfast.Server{Host: p.SocketDir, Port: p.Port, User: p.User, Database: "postgres"}}
	}
	began := time.Now()
	res, err := r.engine.Run(ctx, engine.ETL{
		Installation: "bench", Job: holdfast.JobID(r.execution), JobName: rt.name, Execution: r.execution, Fence: 1, Definition: text,
		Sites: map[string]engine.Site{"src": site("src", 1001, r.source), "dst": site("dst", 1002, r.target)},
		Roots: []string{r.dir}, Stop: make(chan struct{}), Report: nobody{}, Log: testkit.Logger(r.t),
	})
	took := time.Since(began)
	if err != nil {
		r.t.Fatalf("%s: %v", rt.name, err)
	}
	return res, took
}

type nobody struct{}

func (nobody) Phase(string)       {}
func (nobody) Total(int64, int64) {}
func (nobody) Done(int64, int64)  {}

// TestRoutes runs every route beside its baseline, and writes the ratios down.
func TestRoutes(t *testing.T) {
	r := &rig{t: t, source: testkit.StartPostgres(t, testkit.PostgresOptions{}), target: testkit.StartPostgres(t, testkit.PostgresOptions{}), dir: testkit.Dir(t), execution: 1000}
	r.fill()
	if *duck == "" {
		*duck = ducktest.Binary(t)
	}
	r.engine = etl.New(etl.Config{DuckBinary: *duck, TempDir: t.TempDir()})
	var b strings.Builder
	fmt.Fprintf(&b, "| Route | Wanted | Ratio | Ours, rows/s | Baseline, rows/s | Ours, s | Baseline, s |\n|---|---:|---:|---:|---:|---:|---:|\n")
	chosen := regexp.MustCompile(*only)
	for _, rt := range routes() {
		if !chosen.MatchString(rt.name) {
			continue
		}
		var ours, base []float64
		var ratios []float64
		for range *rounds {
			r.quiet("orders")
			began := time.Now()
			rt.baseline(r)
			base = append(base, time.Since(began).Seconds())
			r.quiet("orders")
			r.quiet(rt.table)
			res, took := r.run(t.Context(), rt)
			if len(res.Flows) != 1 || res.Flows[0].Read < int64(*count)*8/10 {
				t.Errorf("%s: flows %+v", rt.name, res.Flows)
			}
			if rt.table != "" {
				if got, want := r.target.Value(t, "postgres", "select count(*) from "+rt.table), fmt.Sprint(res.Flows[0].Loaded); got != want {
					t.Errorf("%s: %s rows arrived, and %s were told", rt.name, got, want)
				}
			}
			ours = append(ours, took.Seconds())
			ratios = append(ratios, base[len(base)-1]/took.Seconds())
		}
		o, s, q := median(ours), median(base), median(ratios)
		mark := ""
		if q < rt.target && *rounds > 1 {
			mark = " **missed**"
		}
		fmt.Fprintf(&b, "| %s | ≥ %.2f | %.2f%s | %.0f | %.0f | %.2f | %.2f |\n", rt.name, rt.target, q, mark, float64(*count)/o, float64(*count)/s, o, s)
	}
	t.Log("\n" + b.String())
	if *results == "" {
		return
	}
	text := fmt.Sprintf("# How fast rows go through an ETL\n\n`make bench-etl` wrote this at %s on %d processors, %s: %d rows of 12 columns, each route %d times, each time\n"+
		"beside its baseline (`psql COPY | psql COPY`, binary, of the same rows; `\\copy` for CSV; `COPY TO` CSV for Parquet). A ratio is the baseline's\n"+
		"time by ours, the median of the pairs; claim, counter and commit are in ours. The largest resident memory was %d MiB of the measuring process\n"+
		"(engine included) and %d MiB of any child (`holdfast-etl`, limited to 512 MiB of its own).\n\n%s",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version(), *count, *rounds, maxRSS(syscall.RUSAGE_SELF), maxRSS(syscall.RUSAGE_CHILDREN), b.String())
	if err := os.WriteFile(*results, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// maxRSS is in MiB.
func maxRSS(who int) int64 {
	var u syscall.Rusage
	if syscall.Getrusage(who, &u) != nil {
		return 0
	}
	return u.Maxrss >> 10
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

func (r *rig) fill() {
	r.source.Exec(r.t, "postgres", fmt.Sprintf("create unlogged table orders "+tableOf, "primary key"))
	r.source.Exec(r.t, "postgres", fmt.Sprintf(`insert into orders select i, 1 + i %% 100000, 'sku-' || i %% 5000, 1 + i %% 9, (i %% 99991) / 100.0,
		case when i %% 10 = 0 then 'cancelled' else 'paid' end, case when i %% 3 = 0 then null else 'note ' || md5(i::text) end,
		timestamptz '2026-01-01' + i * interval '1 second', i %% 2 = 0, i / 7.0, md5(i::text)::uuid, timestamptz '2026-02-01' + i * interval '1 second'
		from generate_series(1, %d) i`, *count))
	r.source.Exec(r.t, "postgres", `create unlogged table customers (id int primary key, name text, region text)`)
	r.source.Exec(r.t, "postgres", `insert into customers select i, 'Customer ' || i, 'region ' || i % 40 from generate_series(1, 100000) i`)
	r.source.Exec(r.t, "postgres", "vacuum analyze")
	r.shell("psql -X -q '%s' -c \"copy (select %s from orders) to stdout (format csv)\" > '%s'", conninfo(r.source), columns, r.csv())
	for _, table := range []string{
		"orders " + fmt.Sprintf(tableOf, ""), "keyed " + fmt.Sprintf(tableOf, "primary key"),
		"changed " + strings.NewReplacer("sku text", "article text", "qty int", "qty bigint").Replace(fmt.Sprintf(tableOf, "")),
		"joined " + strings.NewReplacer("sku text", "region text, sku text", "status text", "total numeric, status text").Replace(fmt.Sprintf(tableOf, "")),
	} {
		r.target.Exec(r.t, "postgres", "create table "+table)
	}
}

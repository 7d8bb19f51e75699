package rows_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// benchSteps are steps of each kind, as an ETL has them.
var benchSteps = []definition.RowStep{
	{Rename: &definition.Rename{Column: "sku", To: "article"}},
	{Drop: []string{"comment"}},
	{Cast: &definition.Field{Name: "qty", Type: "numeric"}},
	{Mask: &definition.Mask{Column: "article", Keep: 4}},
	{Constant: &definition.Constant{Column: "source", Type: "text", Value: new("shop")}},
	{Filter: &definition.Check{Column: "status", Op: "<>", Values: []string{"cancelled"}}},
	{Reject: &definition.Check{Column: "price", Op: ">=", Values: []string{"0"}}},
}

const benchRows = 500_000

// benchTable fills a table like the one of an ETL's extract.
func benchTable(b *testing.B) (*testkit.Postgres, []rows.Column) {
	b.Helper()
	pg := testkit.StartPostgres(b, testkit.PostgresOptions{Conf: map[string]string{"fsync": "off", "max_wal_size": "8GB", "autovacuum": "off"}})
	conn := pg.Connect(b)
	exec(b, conn, `create table orders as select i::bigint as id, i%100000 as customer, 'sku-' || i%5000 as sku, i%7 as qty, (i%10000)/100.0 as price,
		(array['open', 'paid', 'cancelled', 'shipped'])[1+i%4] as status, '2026-01-01'::timestamptz + i * '1 s'::interval as at,
		case when i%3 = 0 then 'a comment on the order ' || i end as comment from generate_series(1, 500000) i;
		create unlogged table copy (like orders); create unlogged table changed (id bigint, customer int, article text, qty numeric, price numeric, status text, at timestamptz, source text)`)
	exec(b, conn, "vacuum analyze orders")
	d, err := conn.Prepare(b.Context(), "", "select * from orders")
	if err != nil {
		b.Fatal(err)
	}
	var columns []rows.Column
	for _, f := range d.Fields {
		columns = append(columns, rows.Column{Name: f.Name, OID: f.DataTypeOID, Type: "type"})
	}
	return pg, columns
}

// BenchmarkCopy moves rows from a table of a real server to another; psql's two
// processes are the measure.
func BenchmarkCopy(b *testing.B) {
	pg, columns := benchTable(b)
	truncate := pg.Connect(b)
	compile := func(steps []definition.RowStep) *rows.Program {
		p, err := rows.Compile(columns, shaped(steps...), nil)
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
	run := func(name string, fn func()) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				exec(b, truncate, "truncate copy, changed")
				b.StartTimer()
				fn()
			}
			b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
	run("psql", func() {
		psql := func(sql string) []string {
			return []string{testkit.Require(b, "psql"), "-X", "-q", "-d", pg.ConnString(""), "-c", sql}
		}
		from, to := psql("copy orders to stdout (format binary)"), psql("copy copy from stdin (format binary)")
		out := testkit.Command(b, from[0], from[1:]...)
		in := testkit.Command(b, to[0], to[1:]...)
		pipe, err := out.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		in.Stdin = pipe
		for _, start := range []func() error{out.Start, in.Start, in.Wait, out.Wait} {
			if err := start(); err != nil {
				b.Fatal(err)
			}
		}
	})
	src, dst := connect(b, pg), connect(b, pg)
	transfer := func(p *rows.Program, from, to string, in, out rows.Format) func() {
		return func() {
			t := rows.Transfer{From: rows.FromQuery(src.PgConn(), from), To: rows.IntoTable(dst.PgConn(), to), Program: p, In: in, Out: out}
			if err := t.Run(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	const binaryOut, binaryIn = "copy orders to stdout (format binary)", "copy copy from stdin (format binary)"
	run("relay", transfer(nil, binaryOut, binaryIn, nil, nil))
	run("program without steps", transfer(compile(nil), binaryOut, binaryIn, rows.Binary{}, rows.Binary{}))
	run("steps", transfer(compile(benchSteps), binaryOut, "copy changed from stdin (format binary)", rows.Binary{}, rows.Binary{}))
	run("hash", transfer(compile([]definition.RowStep{{Cast: &definition.Field{Name: "sku", Type: "text"}}, {Hash: &definition.Hash{Column: "sku"}}}),
		binaryOut, binaryIn, rows.Binary{}, rows.Binary{}))
	run("csv to binary", transfer(compile(nil), "copy orders to stdout (format csv)", binaryIn, rows.CSV{}, rows.Binary{}))
	run("csv relay", transfer(nil, "copy orders to stdout (format csv)", "copy copy from stdin (format csv)", nil, nil))
}

// BenchmarkProgram is the part of a transfer that is between the servers.
func BenchmarkProgram(b *testing.B) {
	pg, columns := benchTable(b)
	conn := pg.Connect(b)
	var binary, csv bytes.Buffer
	copyTo(b, conn, &binary, "copy (select * from orders limit 100000) to stdout (format binary)")
	copyTo(b, conn, &csv, "copy (select * from orders limit 100000) to stdout (format csv)")
	for _, c := range []struct {
		name    string
		steps   []definition.RowStep
		in, out rows.Format
		data    []byte
	}{
		{"tuples", nil, rows.Binary{}, rows.Binary{}, binary.Bytes()},
		{"steps", benchSteps, rows.Binary{}, rows.Binary{}, binary.Bytes()},
		{"csv to tuples", nil, rows.CSV{}, rows.Binary{}, csv.Bytes()},
		{"tuples to csv", nil, rows.Binary{}, rows.CSV{}, binary.Bytes()},
	} {
		b.Run(strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			p, err := rows.Compile(columns, shaped(c.steps...), nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(c.data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Run(bytes.NewReader(c.data), c.in, io.Discard, c.out, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(100_000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

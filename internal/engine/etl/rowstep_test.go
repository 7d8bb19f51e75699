package etl_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func TestRowSteps(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE TYPE mood AS ENUM ('sad', 'ok');
		CREATE TABLE a (id int, name text, card text, amount numeric, m mood, secret text, at timestamptz);
		INSERT INTO a SELECT g, 'n' || g, '4000' || lpad(g::text, 12, '0'), CASE g % 10 WHEN 0 THEN NULL ELSE g * 1.5 END, 'ok', 's' || g % 7, 'epoch'::timestamptz + g * interval '1 second' FROM generate_series(1, 1000) AS g`)
	p.dwh.Exec(t, "", `CREATE TYPE mood AS ENUM ('ok', 'sad');
		CREATE TABLE a (id bigint, title varchar(20), card text, amount numeric(12,2), m mood, secret text, source text)`)
	def := func(mode, reject, onReject string) string {
		return `
parameters: {salt: {type: text, default: pepper}, most: {type: integer, default: 900}}
extract: [{name: a, connection: shop, table: a` + onReject + `}]
transform:
  - name: shaped
    in: rows
    over: a
    rows:
      - filter: {column: id, op: "<=", param: most}
      - rename: {column: name, to: title}
      - mask: {column: card, keep: 4}
      - hash: {column: secret, key: salt}
      - constant: {column: source, type: text, value: shop}
      - drop: [at]` + reject + `
load: [{from: shaped, connection: dwh, table: a` + mode + `}]
`
	}
	want := `SELECT id::bigint, name::varchar(20) AS title, repeat('*', 12) || right(card, 4) AS card, amount::numeric(12,2), m::text,
		encode(sha256(NULL::bytea), 'hex') AS secret, 'shop' AS source FROM a WHERE id <= 900`
	got := "SELECT id, title, card, amount, m::text, NULL::text, source FROM a"
	for i, mode := range []string{"", ", mode: replace"} {
		req := p.order(t, def(mode, "", ""))
		req.Execution += holdfast.ExecutionID(i)
		p.dwh.Exec(t, "", "TRUNCATE a")
		if f := run(t, req).Flows[0]; f.Read != 1000 || f.Loaded != 900 || f.Rejected != 0 {
			t.Errorf("got flow %+v", f)
		}
		same(t, p.shop, want, p.dwh, got)
	}
	if got := p.dwh.Value(t, "", "SELECT count(DISTINCT secret) || ' ' || min(length(secret)) FROM a"); got != "7 64" {
		t.Errorf("got hashes %s, want 7 of 64 digits", got)
	}
	reject := "\n      - reject: {column: amount, op: is not null}"
	t.Run("rejected rows are kept", func(t *testing.T) {
		p.dwh.Exec(t, "", "TRUNCATE a")
		req := p.order(t, def("", reject, ""), testkit.Expect("rejected"))
		req.Execution = 2001
		res := run(t, req)
		if f := res.Flows[0]; f.Read != 1000 || f.Loaded != 810 || f.Rejected != 90 || len(res.Warnings) != 1 {
			t.Errorf("got flow %+v, warnings %q", f, res.Warnings)
		}
		same(t, p.shop, want+" AND amount IS NOT NULL", p.dwh, got)
		row := p.dwh.Rows(t, "", "SELECT count(*), min(job), min(job_name), min(flow), min(execution), min(extract), min(line), min(column_name), count(raw) FROM holdfast_etl.reject")[0]
		for i, w := range []string{"90", "1001", "test", "shaped", "2001", "a", "10", "amount", "0"} {
			if row[i] != w {
				t.Errorf("got rejects %q, want %q at %d", row, w, i)
			}
		}
	})
	t.Run("rejected rows show what no step hides", func(t *testing.T) {
		req := p.order(t, `
extract: [{name: a, connection: shop, table: a}]
transform: [{name: b, in: rows, over: a, rows: [{drop: [at]}, {rename: {column: name, to: title}}, {reject: {column: amount, op: is not null}}]}]
load: [{from: b, connection: dwh, table: plain_a}]
`, testkit.Expect("rejected"))
		p.dwh.Exec(t, "", "CREATE TABLE plain_a (id int, title text, card text, amount numeric, m mood, secret text)")
		req.Execution = 2006
		run(t, req)
		if got := p.dwh.Value(t, "", `SELECT count(*) FROM holdfast_etl.reject WHERE execution = 2006 AND raw LIKE '{"id": "%'`); got != "100" {
			t.Errorf("got %s rejects with their rows, want 100", got)
		}
		p.dwh.Exec(t, "", "DELETE FROM holdfast_etl.reject WHERE execution = 2006")
	})
	t.Run("a row that cannot be cast names its step", func(t *testing.T) {
		req := p.order(t, `
extract: [{name: a, connection: shop, query: "select id as number, name from a order by id"}]
transform:
  - {name: b, in: rows, over: a, rows: [{drop: [number]}]}
  - {name: numbered, in: rows, over: b, rows: [{rename: {column: name, to: title}}, {cast: {name: title, type: integer}}]}
load: [{from: numbered, connection: dwh, table: plain_a}]
`)
		req.Execution = 2007
		fail(t, req, holdfast.CodeInvalid, "row 1: transform numbered, step 2 (cast): column title: ")
		req.Definition = strings.Replace(req.Definition, "{name: title, type: integer}", "{name: name, type: integer}", 1)
		req.Execution = 2008
		fail(t, req, holdfast.CodeInvalid, "transform numbered, step 2 (cast): there is no column name", "the columns here are title")
		if got := p.dwh.Value(t, "", "SELECT string_agg(DISTINCT reason, '; ') FROM holdfast_etl.reject"); got != "transform shaped, step 7 (reject): the value does not pass the check is not null" {
			t.Errorf("got the reasons %s", got)
		}
	})
	t.Run("limits", func(t *testing.T) {
		req := p.order(t, def("", reject, ", on_reject: {max_rows: 89}"))
		req.Execution = 2002
		fail(t, req, holdfast.CodeInvalid, "89")
		req = p.order(t, def("", reject, ", on_reject: {max_ratio: 0.089}"))
		req.Execution = 2003
		fail(t, req, holdfast.CodeInvalid, "90 of 1000")
		if got := p.dwh.Value(t, "", "SELECT count(*) FROM a") + p.dwh.Value(t, "", "SELECT count(*) FROM holdfast_etl.reject"); got != "81090" {
			t.Errorf("got %s, want what was there", got)
		}
		req = p.order(t, def(", mode: replace", reject, ", on_reject: {max_ratio: 0.09, max_rows: 90, to: bad, no_raw: true}"), testkit.Expect("rejected"))
		req.Execution = 2004
		run(t, req)
		if got := p.dwh.Value(t, "", "SELECT count(*) || ' ' || count(raw) FROM bad"); got != "90 0" {
			t.Errorf("got %s, want 90 rejects without rows", got)
		}
	})
	t.Run("simulated", func(t *testing.T) {
		req := p.order(t, def("", reject, ""), testkit.Expect("rejected"))
		req.Execution, req.Simulate = 2005, true
		if f := run(t, req).Flows[0]; f.Rejected != 90 || f.Units != 0 {
			t.Errorf("got flow %+v", f)
		}
		if got := p.dwh.Value(t, "", "SELECT count(*) FROM holdfast_etl.reject"); got != "90" {
			t.Errorf("got %s rejects, want 90", got)
		}
	})
	p.nothingLeft(t)
}

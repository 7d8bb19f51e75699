package definition_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// sound is a definition that the cases of TestFaults change.
const sound = `apiVersion: holdfast/etl/v1
name: orders
mode: batch
parameters:
  day: {type: date, default: today}
connections:
  shop: {site: shop}
  dwh: {site: dwh}
  lake: {directory: /srv/lake}
  web: {url: "https://files.example.com"}
extract:
  - name: orders
    connection: shop
    query: |
      select * from orders
      where day = :day
    incremental: {strategy: column, column: id, lag: 5s}
  - name: rates
    connection: lake
    file: {path: "rates/*.csv", format: csv, fields: [{name: day, type: date}, {name: rate, type: numeric}]}
transform:
  - {name: clean, in: source, over: orders, sql: select * from orders where qty > 0}
  - {name: masked, in: rows, over: clean, rows: [{mask: {column: card, keep: 4}}]}
  - {name: priced, in: engine, sql: select * from masked join rates using (day) where day >= $day}
  - {name: latest, in: target, over: priced, sql: select distinct on (id) * from priced}
  - {name: none_free, in: target, over: latest, assert: select count(*) from latest where rate = 0, expect: 0}
load:
  - {from: latest, connection: dwh, table: mart.orders, mode: upsert, key: [id]}
`

func TestFaults(t *testing.T) {
	if _, err := definition.Parse([]byte(sound)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, old, new string // ¦ in new stands where the first fault is, and is left out
		want           string // ends of the lines of the message
	}{
		// The text.
		{"a broken mapping", "{site: shop}\n  dwh", "{site: shop\n  ¦dwh", "this is no YAML: ',' or '}' must be specified"},
		{"a tab", "  shop: {site", "¦\tshop: {site", "this is no YAML: found character '\t' that cannot start any token"},
		{"a key twice", "mode: batch", "mode: batch\n¦name: again", `the key "name" stands twice in one mapping: first in line 2`},
		{"an anchor", "{site: shop}", "¦&a {site: shop}", "anchors, aliases and merge keys are not taken: write the value out"},
		{"a merge key", "{site: shop}", "{¦<<: {}}", "anchors, aliases and merge keys are not taken: write the value out"},
		{"a tag", "name: orders\nmode", "name: ¦!!str orders\nmode", "tags are not taken: leave !!str out"},
		{"two documents", "mart.orders, mode: upsert, key: [id]}\n", "mart.orders, mode: upsert, key: [id]}\n---\n¦a: b\n", "a second document begins here: write each definition in a text of its own"},
		{"deep", "{site: shop}", "[[[[[[[[[[[[[[[[¦[]]]]]]]]]]]]]]]]]", "the text is nested more than 16 levels deep"},

		// Its structure.
		{"an unknown key", "{name: masked, in: rows,", "{name: masked, ¦inn: rows, in: rows,", "transform[1].inn: is not known here: the keys are name, in, over, sql, rows, assert, expect, severity"},
		{"a missing key", "{type: date, default: today}", "¦{default: today}", "parameters.day.type: is missing"},
		{"an empty key", "mode: batch", "¦mode:", "mode: has no value: give it one, or leave the key out"},
		{"a number for a text", "name: orders\nmode", "name: ¦12\nmode", `name: is a number where a text belongs: write it in quotes, "12"`},
		{"a boolean for a text", "name: orders\nmode", "name: ¦true\nmode", `name: is a boolean where a text belongs: write it in quotes, "true"`},
		{"a text for a number", "keep: 4", `keep: ¦"4"`, "transform[1].rows[0].mask.keep: is a text where a whole number belongs"},
		{"a fraction for a whole number", "keep: 4", `keep: ¦4.5`, "transform[1].rows[0].mask.keep: is 4.5: write a whole number in digits, below 2^63"},
		{"a list for a mapping", "{site: shop}", "¦[site, shop]", "connections.shop: is a list where a mapping belongs"},
		{"a mapping for a list", "key: [id]", "key: ¦{id: 1}", "load[0].key: is a mapping where a list belongs"},
		{"a text for a list", "key: [id]", "key: ¦id", "load[0].key: is a text where a list belongs"},
		{"a word", "mode: batch", "mode: ¦daily", `mode: is "daily": it may be batch or service`},
		{"a word of a place", "in: rows", "in: ¦row", `transform[1].in: is "row": it may be source, rows, engine or target`},
		{"a duration", "lag: 5s", "lag: ¦5 seconds", `extract[0].incremental.lag: "5 seconds" is no duration: write 30s, 5m or 1h30m`},
		{"a negative duration", "lag: 5s", "lag: ¦-5s", `extract[0].incremental.lag: "-5s" is no duration: write 30s, 5m or 1h30m`},
		{"a size", "mode: batch", "mode: batch\nresources: {memory: ¦512MB}", `resources.memory: "512MB" is no size: write 512MiB, 2GiB or a number of bytes`},

		// Its head.
		{"another version", "etl/v1", "etl/v2", `apiVersion: is "holdfast/etl/v2": this program reads "holdfast/etl/v1"`},
		{"no name", "name: orders\nmode", `name: ¦" "` + "\nmode", "name: is empty"},
		{"a control character", "name: orders\nmode", `name: ¦"a\tb"` + "\nmode", "name: holds a control character"},
		{"little memory", "mode: batch", "mode: batch\nresources: {memory: ¦1MiB}", "resources.memory: is 1MiB: it may be from 64MiB to 1TiB"},
		{"an interval for a batch", "mode: batch", "mode: batch\nservice: ¦{interval: 5s}", "service: is for mode: service only"},
		{"a service without an interval", "mode: batch", "mode: ¦service", "mode: is service, which needs the interval between its rounds: service: {interval: 30s}"},
		{"a short interval", "mode: batch", "mode: service\nservice: {interval: ¦1ms}", "service.interval: is 1ms: it may be from 100ms to 24h"},
		{"a short backoff", "mode: batch", "mode: service\nservice: {interval: 5s, idle_backoff: ¦1s}", "service.idle_backoff: is 1s: it may be from 5s to 24h"},

		// Parameters.
		{"a parameter's name", "  day: {type", "  ¦Day: {type: date}\n  day: {type", "parameters.Day: is \"Day\": a name has 1 to 63 of a to z, 0 to 9 and _, and begins with no digit"},
		{"a parameter's type", "{type: date, default: today}", "{type: ¦timestamp}", `parameters.day.type: is "timestamp": it may be text, integer, bigint, numeric, boolean, date, timestamptz or uuid`},
		{"a default", "default: today", "default: ¦soon", "parameters.day.default: is no date: write it as 2026-01-31, or as today, yesterday or tomorrow"},
		{"a default that is required", "default: today", "default: ¦today, required: true", "parameters.day.default: is never used: the parameter is required"},
		{"a default beside its enum", "default: today", "default: ¦2026-01-01, enum: [2026-01-02]", "parameters.day.default: is none of the values that are allowed: 2026-01-02"},
		{"an enum", "default: today", "enum: [2026-01-02, ¦2026-01-32]", "parameters.day.enum[1]: is no date: write it as 2026-01-31, or as today, yesterday or tomorrow"},
		{"the property of a simulation", "default: today", "property: ¦simulation.mode", `parameters.day.property: is "simulation.mode", which asks for a simulation`},
		{"a property twice", "today}", "today}\n  night: {type: date, property: ¦day}", `parameters.night.property: is "day", which gives the parameter day already`},

		// Connections.
		{"no place", "shop: {site: shop}", "¦shop: {database: shop}", "connections.shop: has none of site, directory, url or bucket: give one"},
		{"two places", "{site: shop}", "{site: shop, directory: ¦/srv}", "connections.shop.directory: stands beside site: give exactly one of site, directory, url or bucket"},
		{"a site's name", "{site: shop}", "{site: ¦the shop}", `connections.shop.site: is "the shop": write the site's name, as in its URL`},
		{"a database without a site", "/srv/lake", "/srv/lake, database: ¦x", "connections.lake.database: is for a site only"},
		{"a relative directory", "/srv/lake", "¦srv/lake", "connections.lake.directory: is not absolute: write the whole path, below one of the worker's ETL roots (--etl-root)"},
		{"a directory that climbs", "/srv/lake", "¦/srv/../etc", "connections.lake.directory: is not in its shortest form: leave out . and .. and doubled slashes"},
		{"a URL of another kind", `"https://files.example.com"`, `¦"ftp://files.example.com"`, "connections.web.url: is no URL for reading files: write http://host/path or https://host/path"},
		{"a URL with a password", `"https://files.example.com"`, `¦"https://me:secret@files.example.com"`, "connections.web.url: holds a user or a password, which a definition is no place for"},
		{"a URL with a query", `"https://files.example.com"`, `¦"https://files.example.com?a=b"`, "connections.web.url: goes on behind its path: leave out ? and # with what follows"},

		// Extracts.
		{"no connection", "connection: shop", "connection: ¦shpo", `extract[0].connection: is "shpo", which is no connection: those are dwh, lake, shop or web`},
		{"nothing to read", "    query: |\n      select * from orders\n      where day = :day\n", "", "extract[0]: has none of table, query or file: give one"},
		{"a table and a query", "    query: |", "    table: orders\n    query: ¦|", "extract[0].query: stands beside table: give exactly one of table, query or file"},
		{"a query of a directory", "connection: shop", "connection: ¦lake", "extract[0].connection: is no site: a table or query needs one"},
		{"a file of a site", "connection: lake", "connection: ¦shop", "extract[1].connection: is a site: a file needs a directory, a bucket or a URL"},
		{"a table's name", "    query: |\n      select * from orders\n      where day = :day\n", "    table: ¦a.b.c\n", "extract[0].table: has more than two parts: write schema.table, and names with dots in double quotes"},
		{"columns of a query", "    query: |", "    columns: ¦[id]\n    query: |", "extract[0].columns: is for a table only"},
		{"an undeclared parameter", "query: |\n      select * from orders\n      where day = :day", "query: ¦|\n      select * from orders\n      where day = :dya", "extract[0].query: SQL, line 2, column 13: the definition declares no parameter dya (declare it below parameters; in the slice of an array put a space behind the colon)"},
		{"no SELECT", "query: |\n      select * from orders\n      where day = :day", "query: ¦delete from orders", "extract[0].query: SQL, line 1, column 1: this is no SELECT (a step is one statement that begins with SELECT, WITH, VALUES or TABLE)"},
		{"two statements", "query: |\n      select * from orders\n      where day = :day", "query: ¦select 1; select 2", "extract[0].query: SQL, line 1, column 9: a step is one statement (make a step of each statement, without semicolons)"},
		{"a statement that breaks out", "query: |\n      select * from orders\n      where day = :day", "query: ¦select 1) union (select 2", "extract[0].query: SQL, line 1, column 9: ) closes nothing"},
		{"a relative path that climbs", "rates/*.csv", "../*.csv", "extract[1].file.path: is not in its shortest form: leave out . and .. and doubled slashes"},
		{"a pattern in a directory's name", "rates/*.csv", "*/rates.csv", "extract[1].file.path: has *, ? or [] where it cannot match: they do in the last part of a path in a directory or a bucket"},
		{"a CSV's comma in Parquet", "format: csv", `format: parquet, comma: ¦";"`, "extract[1].file.comma: is for format: csv only"},
		{"a comma of two", "format: csv", `format: csv, comma: ¦"||"`, `extract[1].file.comma: is "||": write one character of ASCII that is no letter, digit, dot, quote or backslash`},
		{"a limit for a file in a directory", "format: csv", "format: csv, max_size: ¦1GiB", "extract[1].file.max_size: is for files that are fetched by HTTP or from a bucket only"},
		{"no fields", "fields: [{name: day, type: date}, {name: rate, type: numeric}]", "fields: ¦[]", "extract[1].file.fields: is empty: name the columns and their types"},
		{"a field's type", "type: numeric", "type: ¦varchar2", `extract[1].file.fields[1].type: is no type that is known here: "varchar2"; write one of PostgreSQL's, such as text, bigint, numeric(18,6), timestamptz or text[]; or text for any other, such as an enumeration, money and "char": the target reads it as its column's`},
		{"a type's modifier", "type: numeric", `type: ¦"text(3)"`, "extract[1].file.fields[1].type: takes no modifier in parentheses"},
		{"a field twice", "{name: rate", "{name: ¦day", `extract[1].file.fields[1].name: is "day" again, after extract[1].file.fields[0]`},
		{"a file by column", "numeric}]}", "numeric}]}\n    incremental: {strategy: ¦column}", "extract[1].incremental.strategy: is column, which is for a table or query: files are read by file"},
		{"a query by file", "{strategy: column, column: id, lag: 5s}", "{strategy: ¦file}", "extract[0].incremental.strategy: is file, which is for files: a table or query is read by column"},
		{"no column", "{strategy: column, column: id, lag: 5s}", "¦{strategy: column}", "extract[0].incremental.column: is missing: name the column whose values rise"},
		{"a tie with itself", "column: id,", "column: id, tie: ¦id,", "extract[0].incremental.tie: is the column itself: name another, which orders rows with equal values"},
		{"a long lag", "lag: 5s", "lag: ¦48h", "extract[0].incremental.lag: is 48h: it may be from 0s to 24h"},
		{"a column that is not read", "    query: |\n      select * from orders\n      where day = :day\n    incremental: {strategy: column, column: id", "    table: orders\n    columns: [qty]\n    incremental: {strategy: column, column: ¦id", `extract[0].incremental.column: is "id", which is not among the columns of the extract`},
		{"a ratio", "numeric}]}", "numeric}]}\n    on_reject: {max_ratio: ¦5}", "extract[1].on_reject.max_ratio: is 5: it may be from 0 to 1"},
		{"a reject table of ours", "numeric}]}", "numeric}]}\n    on_reject: {to: ¦holdfast_etl.counter}", "extract[1].on_reject.to: is in the schema where the ETLs' own bookkeeping is"},

		// Transforms.
		{"a name twice", "name: masked", "name: ¦rates", `transform[1].name: is "rates", as that of extract[1]: relations and assertions have names of their own`},
		{"a name of ours", "name: masked", "name: ¦holdfast_masked", `transform[1].name: is "holdfast_masked": names that begin with holdfast_ are the engine's own`},
		{"no over", "over: orders, ", "", "transform[0].over: is missing: name the relation that the step reads"},
		{"over in the engine", "in: engine,", "in: engine, over: ¦masked,", "transform[2].over: is not for the engine, whose SQL names the relations that it reads"},
		{"over nothing that is", "over: orders", "over: ¦order", `transform[0].over: is "order", which is no relation: those are orders, rates, clean, masked, priced, latest`},
		{"SQL that reads another", "over: orders, sql: select", "over: orders, sql: ¦select 1 as qty from rates --", "transform[0].sql: does not read orders, which the step is over"},
		{"rows in the engine", "in: rows, over: clean, rows", "in: engine, rows", "transform[1].rows: is for in: rows only"},
		{"SQL in rows", "rows: [{mask: {column: card, keep: 4}}]", "sql: select 1 from clean", "transform[1].in: is rows, which needs rows: a list of steps"},
		{"a step of two", "{mask: {column: card, keep: 4}}", "{mask: {column: card, keep: 4}, drop: ¦[a]}", "transform[1].rows[0].drop: stands beside mask: give exactly one of rename, drop, cast, constant, hash, mask, filter or reject"},
		{"a step of none", "{mask: {column: card, keep: 4}}", "¦{}", "transform[1].rows[0]: has none of rename, drop, cast, constant, hash, mask, filter or reject: give one"},
		{"an operator", "{mask: {column: card, keep: 4}}", "{filter: {column: card, op: ¦like, values: [a]}}", `transform[1].rows[0].filter.op: is "like": it may be =, <>, <, <=, >, >=, in, is null or is not null`},
		{"a check without a value", "{mask: {column: card, keep: 4}}", "{filter: {column: card, op: ¦'='}}", `transform[1].rows[0].filter.op: is "=", which takes one of values, or param`},
		{"a key that is no parameter", "{mask: {column: card, keep: 4}}", "{hash: {column: card, key: ¦secret}}", `transform[1].rows[0].hash.key: is "secret", which is no parameter: declare it below parameters`},
		{"an undeclared parameter of the engine", "in: engine, sql: select * from masked join rates using (day) where day >= $day", "in: engine, sql: ¦select * from masked where day >= $dya", "transform[2].sql: names $dya, which is no parameter: declare it below parameters"},
		{"a parameter of the source in the engine", "in: engine, sql: select * from masked join rates using (day) where day >= $day", "in: engine, sql: ¦'select * from masked where day >= :day'", "transform[2].sql: names the parameter day as :day: in the engine it is $day"},
		{"a step in the source over rows", "in: rows, over: clean, rows: [{mask: {column: card, keep: 4}}]", "in: source, over: ¦rates, sql: select * from rates", "transform[1].over: is a file: a step in the source stands over a table, a query or another step in the source"},
		{"rows over the engine", "in: target, over: priced, sql: select distinct on (id) * from priced", "in: rows, over: ¦priced, rows: [{drop: [a]}]", "transform[3].over: is a step in the engine: row steps stand over an extract, a step in its source or other row steps"},
		{"the engine over the target", "in: engine, sql: select * from masked join rates", "in: engine, sql: ¦select * from latest join rates", "transform[2].sql: reads latest, a step in the target: the engine comes before it"},
		{"a relation that is not", "select * from masked join rates using (day) where day >= $day", "select * from masked join rate using (day)", `transform[2].sql: reads "rate", which is no relation: those are orders, rates, clean, masked, priced, latest`},
		{"an assertion without a value", ", expect: 0", "", "transform[4].expect: is missing: write the value that the assertion must select"},
		{"a value without an assertion", "over: latest, assert: select count(*) from latest where rate = 0, expect: 0", "over: latest, sql: select * from latest, expect: ¦0", "transform[4].expect: is for an assertion only"},
		{"an assertion as a relation", "from: latest", "from: ¦none_free", `load[0].from: is "none_free", an assertion, which has no rows`},
		{"an assertion in the source", "in: source, over: orders, sql: select * from orders where qty > 0", "in: source, over: orders, assert: ¦select 1 from orders, expect: 1", "transform[0].assert: is not for a source: assert in the engine, or in the target"},
		{"an assertion that is never checked", "from: latest", "from: masked", "transform[4].assert: is never checked: no load needs all that it reads"},

		// Loads.
		{"no relation", "from: latest", "from: ¦lates", `load[0].from: is "lates", which is no relation: those are orders, rates, clean, masked, priced, latest`},
		{"no target", "table: mart.orders, ", "", "load[0]: has none of table or output: give one"},
		{"no key", ", key: [id]", "", "load[0].key: is missing: mode: upsert needs the columns of a unique index"},
		{"a key of an append", "mode: upsert", "mode: append", "load[0].key: is for mode: upsert and mode: merge only"},
		{"an update of the key", "key: [id]", "key: [id], update: [qty, ¦id]", `load[0].update[1]: is "id", which is part of the key`},
		{"a table in a directory", "connection: dwh, table", "connection: ¦lake, table", "load[0].connection: is no site: a table needs one"},
		{"an output into a site", "from: latest, connection: dwh, table: mart.orders, mode: upsert, key: [id]", "from: priced, connection: ¦dwh, output: {path: a, format: csv}", "load[0].connection: is no directory and no bucket: an output needs one"},
		{"an output of JSON", "from: latest, connection: dwh, table: mart.orders, mode: upsert, key: [id]", "from: priced, connection: lake, output: {path: a, format: ¦json}", "load[0].output.format: is json: an output may be csv or parquet"},
		{"an output of a step in the target", "from: latest, connection: dwh, table: mart.orders, mode: upsert, key: [id]", "from: ¦latest, connection: lake, output: {path: a, format: csv}", "load[0].from: is a step in the target, which only a load into a table has"},
		{"a table of the server's", "mart.orders", "¦pg_catalog.pg_class", "load[0].table: is in a schema of the server's own"},
		{"two flows of a name", "key: [id]}", "key: [id]}\n  - ¦{from: latest, connection: dwh, table: b}", `load[1].name: is "latest", as that of load[0]: give each flow a name of its own`},

		// What they come to.
		{"a replace of what is new", "mode: upsert, key: [id]", "mode: ¦replace", "load[0].mode: is replace, which would delete what was loaded before: the extract orders reads what is new only; use mode: upsert or append"},
		{"a merge of what is new", "mode: upsert", "mode: ¦merge", "load[0].mode: is merge, which would delete what was loaded before: the extract orders reads what is new only; use mode: upsert or append"},
		{"a cycle", "select * from masked join rates using (day) where day >= $day}", "select * from masked join b using (day)}\n  - {name: b, in: engine, sql: select * from priced}", "transform[2]: reads itself: priced reads b reads priced"},
		{"a step that reads itself", "select * from masked join rates using (day) where day >= $day}", "select * from masked join priced using (day)}", "transform[2]: reads itself: priced reads priced"},
		{"an extract twice in a flow", "select * from masked join rates using (day)", "select * from masked join clean using (day)", "load[0].from: reads the incremental extract orders twice, as clean and as masked: let the steps that differ be in the engine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			testFault(t, c.old, c.new, c.want)
		})
	}
}

func testFault(t *testing.T, old, changed, want string) {
	t.Helper()
	if strings.Count(sound, old) != 1 {
		t.Fatalf("%q stands %d times in the definition", old, strings.Count(sound, old))
	}
	text := strings.Replace(sound, old, changed, 1)
	before, after, marked := strings.Cut(text, "¦")
	_, err := definition.Parse([]byte(before + after))
	if err == nil {
		t.Fatalf("Parse took\n%s", before+after)
	}
	if code := holdfast.ErrorCode(err); code != holdfast.CodeInvalid {
		t.Errorf("the code is %s", code)
	}
	faults := definition.Faults(err)
	if len(faults) == 0 {
		t.Fatalf("Parse: %v, without faults", err)
	}
	f := faults[0]
	if marked {
		line := strings.Count(before, "\n") + 1
		column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
		if f.Line != line || f.Column != column {
			t.Errorf("the fault is in line %d, column %d, want line %d, column %d", f.Line, f.Column, line, column)
		}
	}
	got := f.Text
	if f.Path != "" {
		got = f.Path + ": " + f.Text
	}
	if got != want || len(faults) != 1 {
		t.Errorf("got %s\nwant one, %s", holdfast.ErrorMessage(err), want)
	}
}

// plain reads all rows of a table each time.
const plain = `apiVersion: holdfast/etl/v1
name: orders
connections: {shop: {site: shop}, dwh: {site: dwh}, lake: {directory: /srv}}
extract:
  - {name: orders, connection: shop, table: orders}
load:
  - {from: orders, connection: dwh, table: orders}
`

func TestFaultsOfFlows(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"a service that appends", "connections", "mode: service\nservice: {interval: 5s}\nconnections", "line 9, column 5: load[0]: appends all rows again in each round of the service: make an extract incremental, or use mode: upsert, merge or replace"},
		{"a batch of all rows", "connections", "batch: {rows: 10}\nconnections", "line 3, column 15: batch.rows: needs exactly one extract with incremental: {strategy: column} in each flow: load[0] has another number of them, or another strategy"},
		{"a batch of a replace", "orders}\n`", "orders, mode: replace}\nbatch: {rows: 10}\n`", "line 8, column 15: batch.rows: cannot go with mode: replace of load[0], which is one unit of work"},
		{"nothing to reject", "table: orders}\nload", "table: orders, on_reject: {max_rows: 1}}\nload", "line 5, column 64: extract[0].on_reject: has nothing to reject: no row steps stand over the extract"},
		{
			"rejected rows of an output", "load:\n  - {from: orders, connection: dwh, table: orders}",
			"transform: [{name: good, in: rows, over: orders, rows: [{reject: {column: id, op: is not null}}]}]\nload:\n  - {from: good, connection: lake, output: {path: a, format: csv}}",
			"line 8, column 44: load[0].output: has no table for the rows of good that are rejected: use filter instead, or load into a table",
		},
		{
			"an assertion in the target of an output", "load:\n  - {from: orders, connection: dwh, table: orders}",
			"transform: [{name: some, in: target, over: orders, assert: select count(*) from orders, expect: 1}]\nload:\n  - {from: orders, connection: lake, output: {path: a, format: csv}}",
			"line 8, column 12: load[0].from: has an assertion in the target, some: that needs a load into a table",
		},
		{
			"a key that is no column", "table: orders}\nload:\n  - {from: orders, connection: dwh, table: orders}",
			"table: orders, columns: [id, qty]}\nload:\n  - {from: orders, connection: dwh, table: orders, mode: upsert, key: [ident]}",
			`line 7, column 72: load[0].key[0]: is "ident", which is no column here: those are id or qty`,
		},
		{
			"a row step over no column", "table: orders}\nload:\n  - {from: orders",
			"table: orders, columns: [id, qty]}\ntransform: [{name: t, in: rows, over: orders, rows: [{rename: {column: qty, to: n}}, {mask: {column: qty, keep: 1}}]}]\nload:\n  - {from: t",
			`line 6, column 102: transform[0].rows[1].mask.column: is "qty", which is no column here: those are id or n`,
		},
		{
			"a column twice", "table: orders}\nload:\n  - {from: orders",
			"table: orders, columns: [id, qty]}\ntransform: [{name: t, in: rows, over: orders, rows: [{constant: {column: id, type: text}}]}]\nload:\n  - {from: t",
			`line 6, column 74: transform[0].rows[0].constant.column: is "id", as a column is called here: drop or rename that first`,
		},
		{
			"all columns dropped", "table: orders}\nload:\n  - {from: orders",
			"table: orders, columns: [id, qty]}\ntransform: [{name: t, in: rows, over: orders, rows: [{drop: [qty, id]}]}]\nload:\n  - {from: t",
			`line 6, column 61: transform[0].rows[0].drop: leaves no column`,
		},
		{
			"a replace of what another load has loaded", "dwh, table: orders}\n`",
			"dwh, table: orders}\n  - {name: b, from: orders, connection: dwh, table: '\"orders\"', mode: replace}\n`",
			"line 8, column 53: load[1].table: is that of load[0], and mode: replace deletes what the other one has loaded: use mode: append or upsert for both",
		},
		{
			"an output twice", "connection: dwh, table: orders}\n`",
			"connection: lake, output: {path: a, format: csv}}\n  - {name: b, from: orders, connection: lake, output: {path: a, format: csv}}\n`",
			"line 8, column 62: load[1].output.path: is that of load[0]: give each output a directory of its own",
		},
		{
			"no extract", "load:\n  - {from: orders", "transform: [{name: one, in: engine, sql: select 1 as x}]\nload:\n  - {from: one",
			`line 8, column 12: load[0].from: is "one", for which no extract is read`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.TrimSuffix(strings.Replace(plain+"`", c.old, c.new, 1), "`")
			_, err := definition.Parse([]byte(text))
			if got := holdfast.ErrorMessage(err); got != c.want {
				t.Errorf("got %s\nwant %s\nof\n%s", got, c.want, text)
			}
		})
	}
}

func TestFaultsTogether(t *testing.T) {
	text := "apiVersion: holdfast/etl/v1\nname: ''\nconnections: {}\nextract: []\nload: []\n"
	_, err := definition.Parse([]byte(text))
	const want = `line 2, column 7: name: is empty
line 4, column 10: extract: is empty: an ETL reads at least one relation
line 5, column 7: load: is empty: an ETL loads at least one relation`
	if got := holdfast.ErrorMessage(err); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestFaultsBesideStructure keeps one mistake in the structure from hiding what is
// wrong elsewhere, and from bringing faults that are its consequences.
func TestFaultsBesideStructure(t *testing.T) {
	const unmended = "more faults may show when these are mended"
	for _, c := range []struct{ name, text, want, hint string }{
		{"a key misspelled", `apiVersion: holdfast/etl/v1
name: a
connections: {shop: {site: shop}, dwh: {site: dwh, databse: x}, lake: {directory: srv}}
parameters: {day: {tpye: date, default: soon}}
extract:
  - {name: a, connection: shop, qurey: select 1}
  - {name: B, connection: shpo, table: b}
  - {name: c, connection: lake, file: {path: /c, formt: csv, fields: [{name: x, type: nope}]}}
load:
  - {from: a, connection: dwh, table: a.b.c, mode: upsert, kye: [id]}
  - {from: a, connection: dwh, table: pg_catalog.x}
`, `line 3, column 52: connections.dwh.databse: is not known here: the keys are site, database, directory, url, bucket
line 3, column 83: connections.lake.directory: is not absolute: write the whole path, below one of the worker's ETL roots (--etl-root)
line 4, column 19: parameters.day.type: is missing
line 4, column 20: parameters.day.tpye: is not known here: the keys are type, default, required, enum, property
line 6, column 33: extract[0].qurey: is not known here: the keys are name, connection, table, columns, query, file, incremental, on_reject
line 7, column 12: extract[1].name: is "B": a name has 1 to 63 of a to z, 0 to 9 and _, and begins with no digit
line 7, column 27: extract[1].connection: is "shpo", which is no connection: those are dwh, lake or shop
line 8, column 39: extract[2].file.format: is missing
line 8, column 50: extract[2].file.formt: is not known here: the keys are path, format, header, comma, null_text, fields, max_size
line 8, column 87: extract[2].file.fields[0].type: is no type that is known here: "nope"; write one of PostgreSQL's, such as text, bigint, numeric(18,6), timestamptz or text[]; or text for any other, such as an enumeration, money and "char": the target reads it as its column's
line 10, column 39: load[0].table: has more than two parts: write schema.table, and names with dots in double quotes
line 10, column 60: load[0].kye: is not known here: the keys are name, from, connection, table, output, mode, key, update
line 11, column 5: load[1].name: is "a", as that of load[0]: give each flow a name of its own
line 11, column 39: load[1].table: is in a schema of the server's own`, unmended},
		{
			"a section misspelled", strings.Replace(strings.Replace(sound, "parameters:", "parametres:", 1), "connections:", "conections:", 1),
			`line 1, column 1: connections: is missing
line 4, column 1: parametres: is not known here: the keys are apiVersion, name, description, mode, service, parameters, unknown_properties, connections, extract, transform, load, batch, resources, empty
line 6, column 1: conections: is not known here: the keys are apiVersion, name, description, mode, service, parameters, unknown_properties, connections, extract, transform, load, batch, resources, empty`, unmended,
		},
		{
			"another version", "apiVersion: holdfast/etl/v2\nname: a\nsources: {}\n",
			`line 1, column 13: apiVersion: is "holdfast/etl/v2": this program reads "holdfast/etl/v1"`, unmended,
		},
		{
			"references beside a connection", strings.NewReplacer("{site: shop}", "{siet: shop}", "from: latest", "from: latets").Replace(sound),
			`line 7, column 10: connections.shop.siet: is not known here: the keys are site, database, directory, url, bucket
line 28, column 12: load[0].from: is "latets", which is no relation: those are orders, rates, clean, masked, priced, latest`, unmended,
		},
		{
			"the last checks", plain + "  - {from: orders, name: b, connection: dwh, table: orders, mode: replace}\n",
			"line 8, column 53: load[1].table: is that of load[0], and mode: replace deletes what the other one has loaded: use mode: append or upsert for both", "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := definition.Parse([]byte(c.text))
			if got := holdfast.ErrorMessage(err); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			if got := holdfast.ErrorHint(err); got != c.hint {
				t.Errorf("got the hint %q, want %q", got, c.hint)
			}
		})
	}
}

func TestFaultsMany(t *testing.T) {
	text := strings.Replace(sound, "key: [id]", "key: ["+strings.Repeat("1, ", 30)+"1]", 1)
	_, err := definition.Parse([]byte(strings.ReplaceAll(text, "site: dwh", "site: 'the dwh'")))
	if n := len(definition.Faults(err)); n != 20 {
		t.Errorf("%d faults, want 20", n)
	}
	if m := holdfast.ErrorMessage(err); !strings.HasSuffix(m, "\nand 11 more") && !strings.HasSuffix(m, "\nand 12 more") {
		t.Errorf("got %s", m)
	}
}

func TestParseText(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":      {"", "line 1, column 1: the text is empty"},
		"comments":   {"# nothing\n", "line 1, column 1: the text is empty"},
		"a list":     {"- a\n", "line 1, column 1: is a list where a mapping belongs"},
		"long":       {strings.Repeat("#", definition.MaxText+1), "line 1, column 1: the text is longer than 256 KiB"},
		"no UTF-8":   {"name: \xff", "line 1, column 1: the text is not in UTF-8"},
		"a NUL":      {`{"apiVersion": "holdfast/etl/v1", "name": "a\u0000b", "connections": {}, "extract": [], "load": []}`, "line 1, column 43: name: holds a NUL character, which no database takes"},
		"JSON twice": {"{\"name\": 1,\n\t\"name\": 2}", `line 2, column 2: the key "name" stands twice in one mapping: first in line 1`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := definition.Parse([]byte(c.text))
			if got := holdfast.ErrorMessage(err); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestParseDefaults(t *testing.T) {
	d, err := definition.Parse([]byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ got, want any }{
		"mode":               {d.Mode, definition.ModeBatch},
		"unknown_properties": {d.UnknownProperties, definition.UnknownIgnore},
		"empty":              {d.Empty, definition.Severity("")},
		"memory":             {d.Resources.Memory, definition.Size(512 << 20)},
		"temp":               {d.Resources.Temp, definition.Size(20 << 30)},
		"property":           {d.Parameters["day"].Property, "day"},
		"comma":              {d.Extract[1].File.Comma, ","},
		"severity":           {d.Transform[4].Severity, definition.SeverityError},
		"expect":             {d.Transform[4].Expect, "0"},
		"flow":               {d.Load[0].Name, "latest"},
		"lag":                {d.Extract[0].Incremental.Lag, definition.Duration(5 * time.Second)},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", what, c.got, c.want)
		}
	}
}

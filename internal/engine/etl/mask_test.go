package etl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
)

// ears hear what an execution logs, and everything that is said beside it.
type ears struct {
	mu   sync.Mutex // guards the field below
	text bytes.Buffer
}

func (e *ears) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.Write(b)
}

func (e *ears) all() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.String()
}

// error hears what is said to clients and logs of an error.
func (e *ears) error(err error) {
	_, _ = fmt.Fprintf(e, "%v %+v %s %s\n", err, err, holdfast.ErrorMessage(err), holdfast.ErrorHint(err))
}

// TestSecrets runs definitions that make servers and the engine repeat a secret: it
// leaves the engine in no form.
func TestSecrets(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'x')")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE n (v int)")
	long := "LONGSEKRIT-" + strings.Repeat("0123456789", 60)
	for name, c := range map[string]struct{ property, value, definition string }{
		"in a source": {"api_token", "SEKRIT99", `
parameters: {api_token: {type: text}}
extract: [{name: a, connection: shop, query: "select cast(:api_token as int) as v from a"}]
load: [{from: a, connection: dwh, table: n}]
`},
		"with quotes": {"api_token", "SEKRIT\t\"'99", `
parameters: {api_token: {type: text}}
extract: [{name: a, connection: shop, query: "select cast(:api_token as int) as v from a"}]
load: [{from: a, connection: dwh, table: n}]
`},
		"cut off": {"api_token", long, `
parameters: {api_token: {type: text}}
extract: [{name: a, connection: shop, query: "select :api_token || '!' as v from a"}]
load: [{from: a, connection: dwh, table: n, mode: append}]
`},
		"on its way into the target": {"api_token", "SEKRIT99", `
parameters: {api_token: {type: text}}
extract: [{name: a, connection: shop, query: "select :api_token as v from a"}]
load: [{from: a, connection: dwh, table: n}]
`},
		"the key of a hash": {"pepper", "SEKRIT99", `
parameters: {pepper: {type: text}}
extract: [{name: a, connection: shop, query: "select cast(:pepper as int) as id, v from a"}]
transform: [{name: b, over: a, in: rows, rows: [{hash: {column: v, key: pepper}}]}]
load: [{from: b, connection: dwh, table: a}]
`},
		"as a counter": {"api_token", "SEKRIT99", `
parameters: {api_token: {type: text}}
extract: [{name: a, connection: shop, query: "select id, :api_token as v from a", incremental: {strategy: column, column: v}}]
load: [{from: a, connection: dwh, table: a}]
`},
	} {
		t.Run(name, func(t *testing.T) {
			heard, report := &ears{}, &enginetest.Report{}
			req := p.order(t, c.definition)
			req.Properties = map[string]string{c.property: c.value}
			req.Log = slog.New(slog.NewTextHandler(heard, &slog.HandlerOptions{Level: slog.LevelDebug}))
			req.Report = report
			res, err := etl.New(etl.Config{}).Run(t.Context(), req)
			heard.error(err)
			b, _ := json.Marshal(res)
			_, _ = heard.Write(b)
			_, _ = fmt.Fprintln(heard, report.Phases())
			shown, err := etl.New(etl.Config{}).Preview(t.Context(), req, 10)
			heard.error(err)
			b, _ = json.Marshal(shown)
			_, _ = heard.Write(b)
			if text := heard.all(); strings.Contains(text, "SEKRIT") || !strings.Contains(text, holdfast.MaskedProperty) {
				t.Errorf("got %s", text)
			}
		})
	}
}

// TestSecretsOfService changes a secret while a service runs: neither value leaves
// the engine.
func TestSecretsOfService(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, v text); INSERT INTO a VALUES (1, 'x')")
	p.dwh.Exec(t, "", "CREATE TABLE n (v int)")
	heard, report := &ears{}, &enginetest.Report{}
	req := p.order(t, `
mode: service
service: {interval: 100ms}
parameters: {api_token: {type: text}}
extract: [{name: a, connection: shop, query: "select cast(:api_token as int) as v from a"}]
load: [{from: a, connection: dwh, table: n, mode: replace}]
`)
	req.Properties = map[string]string{"api_token": "111199"}
	req.Log, req.Report = slog.New(slog.NewTextHandler(heard, nil)), report
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := serve(t, ctx, req)
	s.wait(t, p.dwh, "SELECT count(*) FROM n WHERE v = 111199", "1")
	s.changed <- map[string]string{"api_token": "111199 SEKRIT99"}
	heard.error(s.end(t))
	_, _ = fmt.Fprintln(heard, report.Phases())
	if text := heard.all(); strings.Contains(text, "SEKRIT") || strings.Contains(text, "111199") || !strings.Contains(text, "given up") {
		t.Errorf("got %s", text)
	}
}

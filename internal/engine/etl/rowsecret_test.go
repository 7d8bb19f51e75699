package etl_test

import (
	"context"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
)

// The server's detail is the whole row, and stood in hints and events.
func TestConstraintsShowNoRow(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int, v text, card text); INSERT INTO a VALUES (1, NULL, '4711-0815')")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int UNIQUE, v text NOT NULL, card text); CREATE TABLE b (id int UNIQUE CONSTRAINT large CHECK (id > 5), v text, card text)")
	for i, c := range []struct{ load, want string }{
		{"table: a", "give v a value"},
		{"table: a, mode: upsert, key: [id]", "give v a value"},
		{"table: b", "constraint large"},
		{"table: b, mode: upsert, key: [id]", "constraint large"},
	} {
		req := p.order(t, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, "+c.load+"}]\n")
		req.Execution = holdfast.ExecutionID(1 + i)
		_, err := etl.New(etl.Config{}).Run(context.WithoutCancel(t.Context()), req)
		wantError(t, err, holdfast.CodeInvalid, c.want)
		if text := holdfast.ErrorMessage(err) + holdfast.ErrorHint(err) + err.Error(); strings.Contains(text, "4711") {
			t.Errorf("%s: the row is in %q", c.load, text)
		}
	}
}

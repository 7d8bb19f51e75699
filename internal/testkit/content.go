package testkit

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Content is what one table holds: how many rows, and a hash that does not
// depend on their order.
type Content struct {
	Rows int64
	Sum  string
}

// ContentHash returns what every table of the session's database holds, by its
// qualified name; also sequences, and the large objects under "large objects".
// Two databases with equal results hold the same rows.
func ContentHash(t testing.TB, conn *pgx.Conn) map[string]Content {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandTimeout)
	defer cancel()
	all, err := contentHash(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sumSQL adds up the two halves of each row's MD5: the order does not matter,
// and a row that is there twice counts twice.
const sumSQL = `SELECT count(*), coalesce(sum(('x' || left(h, 16))::bit(64)::bigint), 0) || '/' ||
	coalesce(sum(('x' || right(h, 16))::bit(64)::bigint), 0) FROM (SELECT md5(%s) AS h FROM %s AS t) AS hashes`

const relationsSQL = `SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'm', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_t%'
	ORDER BY 1, 2`

func contentHash(ctx context.Context, conn *pgx.Conn) (map[string]Content, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // read only
	// Both sides must write values the same way, whatever their configuration.
	_, err = tx.Exec(ctx, `SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true),
		set_config('IntervalStyle', 'postgres', true), set_config('extra_float_digits', '1', true),
		set_config('bytea_output', 'hex', true), set_config('search_path', 'pg_catalog', true)`)
	if err != nil {
		return nil, err
	}
	relations, err := textRows(ctx, conn, relationsSQL)
	if err != nil {
		return nil, err
	}
	all := map[string]Content{}
	hash := func(key, row, from string) error {
		rows, err := textRows(ctx, conn, fmt.Sprintf(sumSQL, row, from))
		if err != nil {
			return fmt.Errorf("hash %s: %w", key, err)
		}
		n, err := strconv.ParseInt(rows[0][0], 10, 64)
		all[key] = Content{Rows: n, Sum: rows[0][1]}
		return err
	}
	for _, r := range relations {
		name, row := pgx.Identifier{r[0], r[1]}.Sanitize(), "t::text"
		if r[2] == "S" {
			row = "last_value || ' ' || is_called"
		}
		if err := hash(r[0]+"."+r[1], row, name); err != nil {
			return nil, err
		}
	}
	if err := hash("large objects", "oid || ' ' || md5(lo_get(oid))", "pg_largeobject_metadata"); err != nil {
		return nil, err
	}
	return all, nil
}

// Content returns what every database of the server holds, by the database's
// name, a slash, and the key of [ContentHash].
func (p *Postgres) Content(t testing.TB) map[string]Content {
	t.Helper()
	all := map[string]Content{}
	for _, row := range p.Rows(t, "", "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate") {
		p.session(t, row[0], func(ctx context.Context, conn *pgx.Conn) error {
			tables, err := contentHash(ctx, conn)
			for name, c := range tables {
				all[row[0]+"/"+name] = c
			}
			return err
		})
	}
	return all
}

package bench

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // reads and fills the database beside the server
)

// scale is how much there is.
type scale struct {
	sites, jobs, executions, sets, schedules, events, sessions int
}

var (
	// full is what the measure is made for.
	full = scale{sites: 1000, jobs: 100_000, executions: 1_000_000, sets: 200_000, schedules: 20_000, events: 1_000_000, sessions: 20_000}
	// small has a little of everything, to see that each read answers.
	small = scale{sites: 40, jobs: 400, executions: 6000, sets: 1000, schedules: 80, events: 2000, sessions: 50}
)

// statements fill the database. Ids begin at 1001; ?1 is the microsecond of now,
// the others are the scale. h scatters the number i.
//
// Site 1001 has half of the jobs, the others share the rest; every tenth site is
// a second account's. Job 1001 has a tenth of the executions, ten others a
// hundredth each, and the others run as schedules of one time make them: round
// after round, nearly in the order of the jobs; one in a hundred is a restore. They
// cover 400 days; each lasts a minute to an hour, one in a hundred up to
// eight hours, a few are old and suspended, and the newest have not ended. One job
// in ten is an ETL of the first account, and one ETL in ten a service.
func (s scale) statements(now time.Time) []statement {
	const h = "(i * 2654435761 % 1000003)"
	n := func(count int) string {
		return fmt.Sprintf("WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d - 1) ", count)
	}
	micros := now.UnixMicro()
	newYear := time.Date(now.Year()+1, 1, 1, 1, 0, 0, 0, time.UTC)         // 2 o'clock in Berlin: nothing becomes due while it is measured
	step := int64(400*24*time.Hour/time.Microsecond) / int64(s.executions) // between two executions
	first := micros - step*int64(s.executions)
	return []statement{
		{"accounts", "INSERT INTO accounts (organisation, name, created) VALUES (1001, 'tenant', ?)", []any{micros}},
		{"hosts", n(s.sites/2) + `INSERT INTO hosts (account, name, address, created)
			SELECT CASE WHEN i % 10 = 9 THEN 1002 ELSE 1001 END, 'db' || i, '192.0.2.1', ? FROM n`, []any{micros}},
		{"repositories", n(10) + `INSERT INTO repositories (account, name, location, format_id, password, max_running, created)
			SELECT CASE WHEN i = 9 THEN 1002 ELSE 1001 END, 'repository' || i, 'file:///srv/backup/' || i, hex(randomblob(32)), randomblob(80), 4, ? FROM n`, []any{micros}},
		{"sites", n(s.sites) + `INSERT INTO sites (account, host, slug, name, server_host, server_port, server_user, database, ssl_mode, password, data_dir, pool,
				repository, max_running, created)
			SELECT CASE WHEN i % 10 = 9 THEN 1002 ELSE 1001 END, CASE WHEN i % 10 = 9 THEN 1010 ELSE 1001 + (i / 2) / 10 * 10 + (i / 2) % 9 END,
				'site' || i, 'Site ' || i, '/run/postgresql', 5432, 'backup', 'postgres', 'prefer', randomblob(80), '/var/lib/postgresql/15/site' || i,
				'default', CASE WHEN i % 10 = 9 THEN 1010 ELSE 1001 + i % 9 END, 0, ? FROM n`, []any{micros}},
		{
			"jobs", n(s.jobs) + fmt.Sprintf(`INSERT INTO jobs (account, site, type, engine, name, description, active, priority, repository, retention_unit,
				retention_count, auto_abort_active, auto_abort_after, restore, etl, definition, annotations, created, deleted)
			SELECT CASE WHEN i %% 2 = 1 AND (1 + i / 2 %% (%[1]d - 1)) %% 10 = 9 THEN 1002 ELSE 1001 END,
				1001 + CASE WHEN i %% 2 = 0 THEN 0 ELSE 1 + i / 2 %% (%[1]d - 1) END,
				CASE WHEN i %% 100 = 99 THEN 'RESTORE' WHEN i %% 10 = 4 THEN 'ETL' ELSE 'BACKUP' END, CASE WHEN i %% 10 = 4 THEN 'etl' ELSE 'pgphysical' END, 'job-' || i, 'Made to be read', i %% 10 <> 3, 5, CASE WHEN i %% 4 = 0 THEN 1001 + i / 4 %% 9 END, 'SETS', 7, 1,
				28800000000, CASE WHEN i %% 100 = 99 THEN '{"set":1001,"host":1001,"directory":"/restore/a"}' END,
				CASE WHEN i %% 10 = 4 THEN json_object('sites', json('[1001]'), 'service', json(CASE WHEN i %% 100 = 14 THEN 'true' ELSE 'false' END), 'configurations',
					json_array(json_object('id', 1001 + i, 'name', 'Default', 'active', json('true'),
						'properties', json_object('general.log.level', CAST(i %% 11 AS TEXT), 'region', 'region-' || (i %% 1000))))) END,
				CASE WHEN i %% 10 = 4 THEN 'apiVersion: holdfast/etl/v1' || char(10) || 'name: job-' || i || char(10) || replace(hex(zeroblob(500)), '00', '# ') END,
				CASE WHEN i %% 3 = 0 THEN '{"baas":{"backup_mechanism":"DSA","priority":"MEDIUM"}}' END, ?, CASE WHEN i %% 100 = 57 THEN ? END FROM n`, s.sites),
			[]any{micros, micros},
		},
		{"schedules", fmt.Sprintf(`INSERT INTO schedules (account, job, expression, time_zone, run_type, active, next_run, created, changed)
			SELECT account, id, '0 2 1 1 *', 'Europe/Berlin', 'DELTA', 1, ?, created, created
			FROM jobs WHERE (id - 1001) %% (%d / %d) = 0 AND active AND deleted IS NULL`, s.jobs, s.schedules), []any{newYear.UnixMicro()}},
		{"submissions", n(s.executions/5+1) + `INSERT INTO submissions (account, principal, dialect, idempotency_key, time, request)
			SELECT 1001, NULL, 'native', '', ?, '{"taskInfo":{"associations":[{"clientName":"db1"}]}}' FROM n`, []any{micros}},
		{"executions", n(s.executions) + fmt.Sprintf(`INSERT INTO executions (account, site, job, job_name, submission, type, engine, name, submitted, schedule,
				actor, state, wanted, outcome, reason, fence, attempts, retries, hand_backs, detail, run_asked, run_type, run_type_reason, priority, pool, host,
				repository, restore, etl, service, due, abort_after, worker, request, beat, progress, backup_set, parent, result, started, restarted, wanted_at, ended, stored_size)
			SELECT j.account, j.site, j.id, j.name, 1001 + i / 5, j.type, j.engine, '', at, NULL, 'scheduler', state, 0,
				CASE WHEN state <> 'ENDED' THEN '' WHEN h %% 20 = 0 THEN 'FAILED' WHEN h %% 20 = 1 THEN 'WARNING' WHEN h %% 20 = 2 THEN 'KILLED' ELSE 'SUCCEEDED' END,
				CASE WHEN state = 'ENDED' AND h %% 20 = 0 THEN 'ERROR' ELSE '' END, CASE WHEN state IN ('QUEUED', 'PLANNED') THEN 0 ELSE 1 END, 0, 0, 0,
				CASE WHEN h %% 20 = 0 THEN 'connect to the server: connection refused' ELSE '' END,
				CASE WHEN j.type = 'ETL' THEN '' ELSE 'FULL' END, CASE WHEN j.type = 'ETL' THEN '' ELSE 'FULL' END, '', 5, 'default', 1001,
				CASE WHEN j.type = 'ETL' THEN 0 ELSE 1001 END, j.restore,
				CASE WHEN j.type = 'ETL' THEN CASE WHEN json_extract(j.etl, '$.service') THEN '{"service":true}' ELSE '{"properties":{"region":"north"}}' END END,
				coalesce(json_extract(j.etl, '$.service'), 0), at, 0, CASE WHEN state IN ('QUEUED', 'PLANNED') THEN NULL ELSE 1001 END, '', 7,
				'{"phase":"done","done_bytes":104857600,"total_bytes":104857600,"done_files":1012,"total_files":1012,"added_bytes":1048576}',
				CASE WHEN state = 'ENDED' AND j.type = 'BACKUP' AND h %% 20 NOT IN (0, 2) AND i >= %[2]d THEN 1001 + i END,
				CASE WHEN j.type = 'RESTORE' AND i > 0 THEN 1001 + h %% i END,
				CASE WHEN state = 'ENDED' THEN '{"bytes":104857600,"started":"2026-01-01T00:00:00Z","stopped":"2026-01-01T00:10:00Z"}' END,
				CASE WHEN state IN ('QUEUED', 'PLANNED') THEN NULL ELSE at + 1000000 END, NULL, NULL, CASE WHEN state = 'ENDED' THEN ended END, 1048576
			FROM (SELECT *, CASE WHEN i %% (%[3]d / 20) = 123 THEN 'SUSPENDED'
					WHEN i < %[3]d - %[3]d / 2000 THEN CASE WHEN ended < %[4]d THEN 'ENDED' ELSE 'RUNNING' END
					WHEN i %% 10 = 0 THEN 'RUNNING' WHEN i %% 10 < 3 THEN 'SUSPENDED' WHEN i %% 10 < 5 THEN 'PLANNED' ELSE 'QUEUED' END AS state
				FROM (SELECT i, h, at, at + (60 + h %% 3600 + CASE WHEN h %% 100 = 0 THEN h %% 28800 ELSE 0 END) * 1000000 AS ended,
						1001 + CASE WHEN i %% 10 = 0 THEN 0 WHEN i %% 10 = 1 THEN 2 * (h %% 10) ELSE (i + h %% 100) %% %[5]d END AS job
					FROM (SELECT i, %[1]s AS h, %[6]d + i * %[7]d AS at FROM n)) x) x JOIN jobs j ON j.id = x.job
			ORDER BY i`, h, s.firstSet(), s.executions, micros, s.jobs, first, step), nil},
		{"sets", fmt.Sprintf(`INSERT INTO backup_sets (id, account, site, job, execution, parent, engine, run_type, started, stopped, bytes, added, damaged, protected,
				system_identifier, version, timeline, start_lsn, stop_lsn, tablespaces, created)
			SELECT backup_set, account, site, job, id, NULL, engine, run_type, started, ended, 104857600, 1048576, '', id %% 500 = 0, 7123456789012345678, 150006, 1,
				id * 16777216, id * 16777216 + 4096, '[]', ended
			FROM executions WHERE id >= 1001 + %d AND backup_set IS NOT NULL ORDER BY id`, s.firstSet()), nil},
		{"copies", `INSERT INTO copies (account, backup_set, repository, snapshot, state, execution, fence, intended, verified)
			SELECT account, id, 1001, printf('%064x', id), CASE WHEN id % 20 = 0 THEN 'EXPIRED' WHEN id % 20 = 1 THEN 'DELETED' ELSE 'COMPLETE' END, execution, 1,
				stopped, stopped FROM backup_sets ORDER BY id`, nil},
		{
			"events", n(s.events) + `INSERT INTO events (account, time, actor, dialect, subject, site, kind, data)
			SELECT CASE WHEN i % 10 = 9 THEN 1002 ELSE 1001 END, ?, 'scheduler', '', 'execution ' || (1001 + i),
				1001 + CASE WHEN i % 10 = 9 THEN 9 WHEN i % 2 = 0 THEN 0 ELSE i % 97 / 10 * 10 + i % 9 END, 'execution.ended', '{"outcome":"SUCCEEDED","job":1001}' FROM n`,
			[]any{micros},
		},
		{"principals", n(200) + `INSERT INTO principals (account, kind, name, disabled, created)
			SELECT CASE WHEN i % 10 = 9 THEN 1002 ELSE 1001 END, 'PERSON', 'person' || i, 0, ? FROM n`, []any{micros}},
		{"sessions", n(s.sessions) + `INSERT INTO credentials (account, principal, kind, name, hash, role, sites, hosts, pools, created, expires, idle)
			SELECT p.account, p.id, CASE WHEN i % 100 = 0 THEN 'TOKEN' ELSE 'SESSION' END, 'c' || i, randomblob(32), 'operator', '[]', '[]', '[]', ?1, ?1, 0
			FROM n JOIN principals p ON p.name = 'person' || (i % 200)`, []any{micros}},
		{"workers", n(20) + `INSERT INTO workers (name, key, seal_key, pools, hosts, slots, maintenance, version, created, seen)
			SELECT 'worker' || i, 'U' || i, 'X' || i, '["default"]', '[1001]', 4, 0, '1', ?1, ?1 FROM n`, []any{micros}},
	}
}

// firstSet is the first execution that leaves a set.
func (s scale) firstSet() int { return max(s.executions-s.sets*100/85*100/95, 0) }

type statement struct {
	what, text string
	args       []any
}

// database opens an installation's database as another program would.
func (r *rig) database(pragmas ...string) *sql.DB {
	r.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(r.state, "holdfast.db"))
	noError(r.t, err)
	db.SetMaxOpenConns(1)
	r.t.Cleanup(func() { _ = db.Close() }) // closed when it was filled
	for _, p := range append([]string{"busy_timeout = 60000"}, pragmas...) {
		_, err := db.ExecContext(r.t.Context(), "PRAGMA "+p)
		noError(r.t, err)
	}
	return db
}

// fill makes an installation with so much in it.
func (r *rig) fill(s scale) {
	r.t.Helper()
	r.up()
	r.down()
	db := r.database("synchronous = OFF", "cache_size = -500000", "temp_store = MEMORY")
	begin := time.Now()
	tx, err := db.BeginTx(r.t.Context(), nil)
	noError(r.t, err)
	for _, st := range s.statements(begin) {
		at := time.Now()
		if _, err := tx.ExecContext(r.t.Context(), st.text, st.args...); err != nil {
			r.t.Fatalf("fill %s: %v", st.what, err)
		}
		r.t.Logf("filled %s in %s", st.what, time.Since(at).Round(time.Millisecond))
	}
	noError(r.t, tx.Commit())
	_, err = db.ExecContext(r.t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)")
	noError(r.t, err)
	noError(r.t, db.Close())
	r.t.Logf("filled in %s", time.Since(begin).Round(time.Second))
}

// cached returns an installation that an earlier run has filled with the same
// schema, or fills one.
func cached(t testing.TB, dir string, s scale) *rig {
	t.Helper()
	sum := sha256.New()
	files, err := filepath.Glob("../../internal/store/sqlite/migrations/*.sql")
	noError(t, err)
	for _, name := range append(files, "fill_test.go") {
		b, err := os.ReadFile(name)
		noError(t, err)
		sum.Write(b)
	}
	state := filepath.Join(dir, fmt.Sprintf("%x", sum.Sum(nil)[:8]))
	r := &rig{t: t, state: state}
	if _, err := os.Stat(state); err == nil {
		return r
	}
	old, err := filepath.Glob(filepath.Join(dir, strings.Repeat("[0-9a-f]", 16)+"*"))
	noError(t, err)
	for _, name := range old { // filled with another schema
		noError(t, os.RemoveAll(name))
	}
	part := &rig{t: t, state: state + ".part"}
	noError(t, os.RemoveAll(part.state))
	noError(t, os.MkdirAll(dir, 0o700))
	part.fill(s)
	noError(t, os.Rename(part.state, state))
	return r
}

// one reads one column.
func one[T any](ctx context.Context, t testing.TB, db *sql.DB, text string, args ...any) []T {
	t.Helper()
	rows, err := db.QueryContext(ctx, text, args...)
	noError(t, err)
	defer func() { _ = rows.Close() }()
	var out []T
	for rows.Next() {
		var v T
		noError(t, rows.Scan(&v))
		out = append(out, v)
	}
	noError(t, rows.Err())
	if len(out) == 0 {
		t.Fatalf("nothing is found by: %s", text)
	}
	return out
}

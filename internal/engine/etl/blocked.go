package etl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
)

// How long a session waits for a lock until somebody is told who has it, and how often
// it is looked at again.
const (
	blockedAfter = 3 * time.Second
	blockedEvery = 5 * time.Second
)

// blocker is a session that has a lock which another one waits for.
type blocker struct {
	pid                      int32
	user, application, since string // empty: not known, or not ours to see
}

// String is the blocker in a phase.
func (b blocker) String() string {
	if b.pid == 0 {
		return "a prepared transaction"
	}
	s := fmt.Sprintf("process %d", b.pid)
	if b.application != "" {
		s += " (" + clip(b.application, 63) + ")"
	}
	if b.since != "" {
		s += " since " + b.since
	}
	return s
}

// tellBlockers says in the log, and in the phase, who has the lock that a session of ours
// waits for, as soon as it has waited for some seconds. The function that it returns
// ends that, and has to be called.
func (e *execution) tellBlockers(ctx context.Context, t place, conn *pgx.Conn, phase string) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	pid := conn.PgConn().PID()
	go func() {
		defer close(over)
		told := ""
		for wait := blockedAfter; ; wait = blockedEvery {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			b, ok, err := e.blockerOf(ctx, t, pid)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil || !ok || b.String() == told: // the wait itself has a limit, and says how it ends
				continue
			}
			told = b.String()
			e.req.Report.Phase(e.mask.text(phase + ", blocked by " + told))
			e.log.InfoContext(ctx, "a lock in the target is waited for", "site", t.site, "pid", b.pid, "user", b.user, "application", b.application, "since", b.since)
		}
	}()
	return func() {
		cancel()
		<-over
	}
}

// blockerOf is who has what the session with the process id waits for; the one that has
// been at work the longest, if there are several. It asks over a session of its own.
func (e *execution) blockerOf(ctx context.Context, t place, pid uint32) (b blocker, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, pgsession.QueryLimit)
	defer cancel()
	conn, err := e.lookOn(ctx, t)
	if err != nil {
		return b, false, err
	}
	defer pgsession.Close(ctx, conn)
	err = conn.QueryRow(ctx, `SELECT b.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
			coalesce(pg_catalog.to_char(coalesce(a.xact_start, a.backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '')
		FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS b (pid) LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid
		ORDER BY coalesce(a.xact_start, a.backend_start) LIMIT 1`, int32(pid)).Scan(&b.pid, &b.user, &b.application, &b.since) //nolint:gosec // process ids are small
	if errors.Is(err, pgx.ErrNoRows) {
		return b, false, nil
	}
	b.application = strings.ToValidUTF8(b.application, "")
	return b, err == nil, err
}

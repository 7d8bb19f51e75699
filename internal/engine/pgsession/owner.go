package pgsession

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// Owner is the execution that sessions and slots on a server belong to. Several
// installations may use one server, and each counts its executions from 1001.
type Owner struct {
	Installation string
	Execution    holdfast.ExecutionID
}

// prefix begins the application_name of every session of the owner; the fence
// follows. The server keeps 63 bytes of it, so the installation is shortened.
func (o Owner) prefix() string {
	if o.Installation == "" {
		return fmt.Sprintf("holdfast execution %d fence ", o.Execution)
	}
	return fmt.Sprintf("holdfast %s execution %d fence ", o.short(), o.Execution)
}

// Session is the application_name of a session with the fence.
func (o Owner) Session(f holdfast.Fence) string {
	return o.prefix() + strconv.FormatUint(uint64(f), 10)
}

// Slot is the name of the slot that a backup holds. It is temporary: it lives as
// long as its session.
func (o Owner) Slot(f holdfast.Fence) string {
	if o.Installation == "" {
		return fmt.Sprintf("holdfast_%d_%d", o.Execution, f)
	}
	return fmt.Sprintf("holdfast_%s_%d_%d", o.short(), o.Execution, f)
}

func (o Owner) short() string {
	sum := sha256.Sum256([]byte(o.Installation))
	return hex.EncodeToString(sum[:4])
}

// End terminates the execution's sessions up to the fence over a session of its
// own, and returns when they have ended.
func (o Owner) End(ctx context.Context, site engine.Site, upTo holdfast.Fence) error {
	conn, err := Connect(ctx, site, Options{Name: fmt.Sprintf("holdfast cleanup of execution %d", o.Execution)})
	if err != nil {
		return err
	}
	defer Close(ctx, conn)
	return o.EndOver(ctx, conn, upTo)
}

// EndOver terminates the execution's other sessions up to the fence, and returns
// when they have ended. A session with a higher fence makes us the outdated one:
// [engine.ErrStale].
func (o Owner) EndOver(ctx context.Context, conn *pgx.Conn, upTo holdfast.Fence) error {
	for deadline := time.Now().Add(goneLimit); ; {
		pids, err := o.sessions(ctx, conn, upTo)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return holdfast.Errorf(holdfast.CodeUnavailable, "%d sessions of an earlier attempt do not end", len(pids)).
				WithHint("end them on the server: SELECT pg_terminate_backend(%d)", pids[0])
		}
		for _, pid := range pids {
			var ok bool
			if err := QueryRow(ctx, conn, QueryLimit, "SELECT pg_catalog.pg_terminate_backend($1)", []any{pid}, &ok); err != nil {
				return QueryError(err, "end a session of an earlier attempt")
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// sessions lists the execution's other sessions. Only those of our own role count:
// anybody may give a session the name of ours.
func (o Owner) sessions(ctx context.Context, conn *pgx.Conn, upTo holdfast.Fence) ([]int32, error) {
	ctx, cancel := context.WithTimeout(ctx, QueryLimit)
	defer cancel()
	prefix := o.prefix()
	rows, err := conn.Query(ctx, `SELECT pid, application_name FROM pg_catalog.pg_stat_activity
		WHERE pg_catalog.starts_with(application_name, $1::text) AND pid <> pg_catalog.pg_backend_pid() AND usename = session_user`, prefix)
	if err != nil {
		return nil, QueryError(err, "list the sessions")
	}
	defer rows.Close()
	var pids []int32
	stale := false
	for rows.Next() {
		var pid int32
		var name string
		if err := rows.Scan(&pid, &name); err != nil {
			return nil, QueryError(err, "list the sessions")
		}
		fence, err := strconv.ParseUint(strings.TrimPrefix(name, prefix), 10, 64)
		switch {
		case err != nil: // somebody else's name that begins as ours
		case holdfast.Fence(fence) <= upTo:
			pids = append(pids, pid)
		default:
			stale = true
		}
	}
	if err := rows.Err(); err != nil {
		return nil, QueryError(err, "list the sessions")
	}
	if stale {
		return nil, engine.ErrStale
	}
	return pids, nil
}

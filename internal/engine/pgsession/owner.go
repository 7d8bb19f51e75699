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
	// Identity tells executions with one number apart; a name holds its beginning.
	// Empty: there is none.
	Identity string
	// Job is that of the execution when its sessions are to be found by it, too; see
	// [Owner.EndOthers]. Zero: they are not.
	Job holdfast.JobID
}

// identityLength is how much of an identity a name holds, in bytes. Two that begin alike
// are taken for one: the fence says which goes on.
const identityLength = 4

// nameLimit is how much of an application_name the server keeps: NAMEDATALEN - 1.
const nameLimit = 63

// prefix begins the application_name of every session of the owner; the fence
// follows, and the job. The server keeps so little of it that the installation is
// shortened.
func (o Owner) prefix() string {
	identity := ""
	if o.Identity != "" {
		identity = "-" + o.Identity[:min(len(o.Identity), identityLength)]
	}
	return fmt.Sprintf("%s%d%s fence ", o.anybody(), o.Execution, identity)
}

// anybody begins the application_name of the sessions of every execution.
func (o Owner) anybody() string {
	if o.Installation == "" {
		return "holdfast execution "
	}
	return "holdfast " + o.short() + " execution "
}

// suffix ends the application_name of the sessions of every execution of the job.
func (o Owner) suffix() string { return fmt.Sprintf(" job %d", o.Job) }

// Session is the application_name of a session with the fence.
func (o Owner) Session(f holdfast.Fence) string {
	name := o.prefix() + strconv.FormatUint(uint64(f), 10)
	// A number that was cut would be another job's.
	if with := name + o.suffix(); o.Job != 0 && len(with) <= nameLimit {
		return with
	}
	return name
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
	return end(ctx, conn, func() ([]int32, error) { return o.sessions(ctx, conn, upTo) })
}

// EndOthers terminates the sessions of the job's other executions, and returns when
// they have ended.
func (o Owner) EndOthers(ctx context.Context, conn *pgx.Conn) error {
	if o.Job == 0 {
		return nil
	}
	return end(ctx, conn, func() ([]int32, error) {
		ctx, cancel := context.WithTimeout(ctx, QueryLimit)
		defer cancel()
		rows, err := conn.Query(ctx, `SELECT pid FROM pg_catalog.pg_stat_activity WHERE pg_catalog.starts_with(application_name, $1::text)
			AND pg_catalog.right(application_name, pg_catalog.length($2::text)) OPERATOR(pg_catalog.=) $2::text
			AND NOT pg_catalog.starts_with(application_name, $3::text) AND pid <> pg_catalog.pg_backend_pid() AND usename = session_user`, o.anybody(), o.suffix(), o.prefix())
		if err != nil {
			return nil, QueryError(err, "list the sessions")
		}
		pids, err := pgx.CollectRows(rows, pgx.RowTo[int32])
		if err != nil {
			return nil, QueryError(err, "list the sessions")
		}
		return pids, nil
	})
}

// end terminates sessions until there are none.
func end(ctx context.Context, conn *pgx.Conn, list func() ([]int32, error)) error {
	for deadline := time.Now().Add(goneLimit); ; {
		pids, err := list()
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
		number, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), " job ")
		fence, err := strconv.ParseUint(number, 10, 64)
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

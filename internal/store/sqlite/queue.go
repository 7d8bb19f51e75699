package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// BusyExecution returns the execution that keeps the job busy, the oldest when
// there are several.
func (r reader) BusyExecution(ctx context.Context, job holdfast.JobID) (holdfast.Execution, error) {
	// As holdfast.Status.Busy.
	return one(ctx, r.s, named("unfinished execution of job", job), executionFields,
		"SELECT "+executionColumns+` FROM executions WHERE job = ? AND state <> 'ENDED' AND state IN ('QUEUED', 'RUNNING', 'SUSPENDED')
			ORDER BY id LIMIT 1`, job)
}

// LiveExecutions returns every execution in one of the states, by id.
func (r reader) LiveExecutions(ctx context.Context, states ...holdfast.State) ([]holdfast.Execution, error) {
	if len(states) == 0 {
		return nil, nil
	}
	wanted, err := selected(states)
	if err != nil {
		return nil, err
	}
	table := "executions INDEXED BY executions_live WHERE state <> 'ENDED' AND"
	if slices.Contains(states, holdfast.StateEnded) {
		table = "executions WHERE"
	}
	return many(ctx, r.s, executionFields,
		"SELECT "+executionColumns+" FROM "+table+" state IN (SELECT value FROM json_each(?)) ORDER BY id", wanted)
}

// ExecutionByRequest returns the running execution whose order was given to this
// ask.
func (r reader) ExecutionByRequest(ctx context.Context, w holdfast.WorkerID, request string) (holdfast.Execution, error) {
	return one(ctx, r.s, quoted("running execution of request", request), executionFields,
		"SELECT "+executionColumns+" FROM executions WHERE worker = ? AND request = ? AND state = 'RUNNING' ORDER BY id LIMIT 1", w, request)
}

// DuePlanned returns the planned executions that are due, the longest due first.
func (r reader) DuePlanned(ctx context.Context, now time.Time, limit int) ([]holdfast.Execution, error) {
	n, _ := limits(store.Page{Limit: limit})
	return many(ctx, r.s, executionFields,
		"SELECT "+executionColumns+" FROM executions WHERE state = 'PLANNED' AND due <= ? ORDER BY due, id"+limited, comparableMicros{&now}, n)
}

// headScan bounds how many queued executions are looked at one by one, before
// the queue is looked at by groups.
const headScan = 32

// startable is what keeps a queued execution q from starting, but for its time,
// pool and host.
const startable = `
	NOT EXISTS (SELECT 1 FROM executions o WHERE o.job = q.job AND o.state <> 'ENDED' AND o.state IN ('RUNNING', 'SUSPENDED'))
	AND NOT EXISTS (SELECT 1 FROM sites s WHERE s.id = q.site AND s.max_running > 0 AND s.max_running <=
		(SELECT count(*) FROM executions o WHERE o.site = q.site AND o.state = 'RUNNING'))
	AND NOT EXISTS (SELECT 1 FROM repositories r WHERE r.id = q.repository AND r.max_running > 0 AND r.max_running <=
		(SELECT count(*) FROM executions o WHERE o.repository = q.repository AND o.state = 'RUNNING'))`

// candidate is a queued execution that may start.
type candidate struct {
	id  holdfast.ExecutionID
	due int64
}

func (c candidate) before(d candidate) bool {
	return d.id == 0 || c.due < d.due || c.due == d.due && c.id < d.id
}

// room is the kinds of executions that an ask has room for, as the column service
// has them.
func room(ask store.Ask) (kinds []int) {
	if ask.Batch {
		kinds = append(kinds, 0)
	}
	if ask.Service {
		kinds = append(kinds, 1)
	}
	return kinds
}

// NextQueued returns the execution that should start now for the ask.
func (r reader) NextQueued(ctx context.Context, ask store.Ask) (holdfast.Execution, error) {
	hosts, err := selected(ask.Hosts)
	if err != nil {
		return holdfast.Execution{}, err
	}
	kinds, err := selected(room(ask))
	if err != nil {
		return holdfast.Execution{}, err
	}
	for after := int64(-1 << 62); len(ask.Hosts) > 0 && (ask.Batch || ask.Service); {
		priority, found, err := r.nextPriority(ctx, ask.Pool, hosts, kinds, after)
		if err != nil {
			return holdfast.Execution{}, err
		}
		if !found {
			break
		}
		var best candidate
		for _, h := range ask.Hosts {
			for _, service := range room(ask) {
				c, err := r.head(ctx, ask, h, service, priority)
				if err != nil {
					return holdfast.Execution{}, err
				}
				if c.id != 0 && c.before(best) {
					best = c
				}
			}
		}
		if best.id != 0 {
			return r.Execution(ctx, 0, best.id)
		}
		after = priority
	}
	return holdfast.Execution{}, holdfast.Errorf(holdfast.CodeNotFound, "there is no execution that may start in pool %q", ask.Pool)
}

// nextPriority returns the highest priority below after that anything queued has.
func (r reader) nextPriority(ctx context.Context, pool, hosts, kinds string, after int64) (priority int64, found bool, err error) {
	var p sql.NullInt64
	err = r.s.each(ctx, func(rows *sql.Rows) error { return rows.Scan(&p) }, `
		SELECT min(p) FROM (
			SELECT (SELECT min(e.priority) FROM executions e
				WHERE e.state = 'QUEUED' AND e.pool = ? AND e.host = h.value AND e.service = k.value AND e.priority > ?) AS p
			FROM json_each(?) h, json_each(?) k)`, pool, after, hosts, kinds)
	return p.Int64, p.Valid, err
}

// head returns the first that may start of those with this host, kind and
// priority, or nothing. Usually it is among the first few. When many wait behind a
// limit or a running execution of their job, those are passed over by groups: of
// one job, site and repository either the first may start or none.
func (r reader) head(ctx context.Context, ask store.Ask, h holdfast.HostID, service int, priority int64) (candidate, error) {
	var c candidate
	scanned := 0
	err := r.s.each(ctx, func(rows *sql.Rows) error {
		var id holdfast.ExecutionID
		var due int64
		var ok bool
		scanned++
		if err := rows.Scan(&id, &due, &ok); err != nil {
			return err
		}
		if ok {
			c = candidate{id: id, due: due}
			return errEnough
		}
		return nil
	}, `SELECT q.id, q.due, `+startable+` FROM executions q
		WHERE q.state = 'QUEUED' AND q.pool = ? AND q.host = ? AND q.service = ? AND q.priority = ? AND q.due <= ?
		ORDER BY q.due, q.id`+limited, ask.Pool, h, service, priority, comparableMicros{&ask.Now}, headScan)
	if errors.Is(err, errEnough) {
		return c, nil
	}
	if err != nil || scanned < headScan {
		return candidate{}, err
	}
	err = r.s.each(ctx, func(rows *sql.Rows) error { return rows.Scan(&c.id, &c.due) }, groupHeads,
		ask.Pool, h, priority, comparableMicros{&ask.Now}, service)
	return c, err
}

// groupHeads jumps from group to group: each step is one look into the index,
// however many executions a group has. (A comparison of all three columns at once
// would walk through a group to find its end.)
const groupHeads = `
	WITH RECURSIVE groups (job, site, repository) AS (
		SELECT -1, -1, -1
		UNION ALL
		SELECT n.job, n.site, n.repository FROM groups g JOIN executions n ON n.id = coalesce (
			(SELECT e.id FROM executions e WHERE e.state = 'QUEUED' AND e.pool = ?1 AND e.host = ?2 AND e.service = ?5 AND e.priority = ?3
				AND e.job = g.job AND e.site = g.site AND e.repository > g.repository ORDER BY e.repository LIMIT 1),
			(SELECT e.id FROM executions e WHERE e.state = 'QUEUED' AND e.pool = ?1 AND e.host = ?2 AND e.service = ?5 AND e.priority = ?3
				AND e.job = g.job AND e.site > g.site ORDER BY e.site, e.repository LIMIT 1),
			(SELECT e.id FROM executions e WHERE e.state = 'QUEUED' AND e.pool = ?1 AND e.host = ?2 AND e.service = ?5 AND e.priority = ?3
				AND e.job > g.job ORDER BY e.job, e.site, e.repository LIMIT 1))
	)
	SELECT q.id, q.due FROM groups g JOIN executions q ON q.id = (
		SELECT e.id FROM executions e
		WHERE e.state = 'QUEUED' AND e.pool = ?1 AND e.host = ?2 AND e.service = ?5 AND e.priority = ?3
			AND e.job = g.job AND e.site = g.site AND e.repository = g.repository AND e.due <= ?4
		ORDER BY e.due, e.id LIMIT 1)
	WHERE ` + startable + ` ORDER BY q.due, q.id LIMIT 1`

// errEnough ends the reading of rows.
var errEnough = errors.New("enough")

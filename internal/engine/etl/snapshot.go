package etl

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
)

// A snapshot does not show what was committed after it, and so shows no rows at all of
// a table that was emptied, rewritten or made anew after it: none of these keeps the old
// rows (PostgreSQL's manual, "Caveats" of concurrency control). Such a table reads as
// empty, without an error. Other ETLs do it with every replace.
//
// So a source locks all that its flow reads right after its snapshot: from there on
// nobody can do it any more until the flow has ended. When somebody was faster, it
// takes another snapshot. What is only known when it is read, in the bodies of
// functions, is looked at before what was read is committed. What a function that is
// PARALLEL SAFE reads in another process of the server alone is not seen.

// holdTries is how many snapshots a source takes before it gives up.
const holdTries = 10

// changedSQL names a relation that the session has locked, and of which its snapshot may
// miss rows: its storage is another one than in the snapshot, or it, or one of its
// partitions, has another parent now. pg_class and pg_inherits are read with the
// snapshot; what the functions answer is as it is now. CLUSTER and VACUUM FULL give a
// table other storage and keep its rows for everybody, which cannot be told from here:
// after them a snapshot more is taken than had to be. Indexes and sequences have other
// storage often, and no rows that a snapshot could miss.
const changedSQL = `WITH held AS (
	SELECT l.relation::pg_catalog.regclass AS name, l.relation, pg_catalog.pg_relation_filenode(l.relation::pg_catalog.regclass) AS storage, c.oid, c.relkind, c.relfilenode
	FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation
	WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.relation OPERATOR(pg_catalog.>=) 16384
		AND pg_catalog.pg_get_indexdef(l.relation) IS NULL AND c.relkind IS DISTINCT FROM 'S')
SELECT name::text FROM held WHERE storage IS NOT NULL AND (oid IS NULL OR relfilenode <> storage)
	OR EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(name) WITH ORDINALITY AS up (relid, n)
		WHERE n OPERATOR(pg_catalog.=) 2 AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = relation AND i.inhparent = up.relid::pg_catalog.oid))
	OR relkind = 'p' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i
		WHERE i.inhparent = relation AND NOT coalesce((pg_catalog.to_jsonb(i) OPERATOR(pg_catalog.->>) 'inhdetachpending'::text)::boolean, false)
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(i.inhrelid::pg_catalog.regclass) AS up (relid) WHERE up.relid::pg_catalog.oid = relation))
LIMIT 1`

// changed names a relation of which the source's snapshot may miss rows; empty: there is
// none among those that it has locked.
func (s *source) changed(ctx context.Context) (string, error) {
	rows, err := s.tx.Query(ctx, changedSQL)
	if err != nil {
		return "", queryError(err, "look whether what is read was replaced")
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", queryError(err, "look whether what is read was replaced")
	}
	if len(names) == 0 {
		return "", nil
	}
	return names[0], nil
}

func replacedError(name string) error {
	return holdfast.Errorf(holdfast.CodeUnavailable, "%s was replaced, emptied or altered while the flow began to read it: its rows may be missing from what was read", name).
		WithHint("it is tried again")
}

// hold locks what the flow reads in a source, in a snapshot that misses none of it.
func (f *flow) hold(ctx context.Context, s *source, p place) error {
	var name string
	for range holdTries {
		if err := f.lockInputs(ctx, s, p); err != nil {
			return err
		}
		var err error
		if name, err = s.changed(ctx); err != nil {
			return err
		}
		if name == "" {
			return s.identify(ctx)
		}
		if err := s.tx.Rollback(ctx); err != nil {
			return queryError(err, "end a transaction")
		}
		if err := s.begin(ctx); err != nil {
			return err
		}
	}
	return replacedError(name)
}

// identify notes under which numbers the source's transaction holds its locks.
func (s *source) identify(ctx context.Context) error {
	err := s.tx.QueryRow(ctx, "SELECT pid, virtualtransaction FROM pg_catalog.pg_locks WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'virtualxid'").Scan(&s.pid, &s.transaction)
	if err != nil {
		return queryError(err, "look at the source's own locks")
	}
	return nil
}

// lockInputs locks the tables of the flow's extracts in a source, with views' and their
// partitions: planning a query does.
func (f *flow) lockInputs(ctx context.Context, s *source, p place) error {
	for i := range f.plan.Inputs {
		in := &f.plan.Inputs[i]
		if in.Extract.File != nil || placeOf(f.e.plan.Definition.Connections[in.Extract.Connection]) != p {
			continue
		}
		sql, err := f.e.bound(in.Query(in.Base))
		if err != nil {
			return err
		}
		// Sent so that it cannot be several statements.
		read := s.conn.PgConn().ExecParams(ctx, "EXPLAIN SELECT * FROM (\n"+sql+"\n) AS q", nil, nil, nil, nil).Read()
		if read.Err != nil {
			r := &reading{f: f, in: in, src: s}
			return r.explain(queryError(read.Err, "read extract "+in.Extract.Name))
		}
	}
	return nil
}

// checkRead looks at what the unit has read before it is committed: whether it is
// whole, and whether it may be nothing.
func (f *flow) checkRead(ctx context.Context, c counts) error {
	for _, s := range f.sources {
		name, err := s.changed(ctx)
		switch {
		case err != nil:
			return err
		case name != "":
			return replacedError(name)
		}
	}
	return f.checkEmpty(c)
}

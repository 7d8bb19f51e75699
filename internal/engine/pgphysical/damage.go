package pgphysical

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
)

// Names of relations are asked for in a few databases only, and not for long: the
// file, the fork and the block name a page well enough.
const (
	maxNamedDatabases = 10
	nameLimit         = 5 * time.Second
)

// damage puts the bad pages in words: the warnings, and one line for the set.
func (b *backup) damage(ctx context.Context) (warnings []string, damaged string) {
	b.in.mu.Lock()
	bad, count := slices.Clone(b.in.bad), b.in.badCount
	b.in.mu.Unlock()
	if count == 0 {
		return nil, ""
	}
	slices.SortFunc(bad, func(x, y pageID) int {
		if x.path != y.path {
			return slices.Compare([]byte(x.path), []byte(y.path))
		}
		return int(int64(x.block) - int64(y.block))
	})
	databases, relations := b.names(ctx, bad)
	for i, p := range bad {
		warnings = append(warnings, p.text(databases[p.rel.Database], relations[i]))
	}
	if more := count - int64(len(bad)); more > 0 {
		warnings = append(warnings, fmt.Sprintf("and %d more pages whose checksum does not match", more))
	}
	return warnings, fmt.Sprintf("pages whose checksum does not match: %d; first in %s, block %d", count, bad[0].path, bad[0].block)
}

// names looks the names of databases and relations up, as far as the server tells.
func (b *backup) names(ctx context.Context, bad []pageID) (databases map[uint32]string, relations map[int]string) {
	databases, relations = map[uint32]string{}, map[int]string{}
	byDatabase := map[uint32][]int{}
	for i, p := range bad {
		byDatabase[p.rel.Database] = append(byDatabase[p.rel.Database], i)
	}
	for oid, pages := range byDatabase {
		if len(databases) == maxNamedDatabases {
			break
		}
		name := b.site.Server.Database
		if oid != 0 {
			err := pgsession.QueryRow(ctx, b.session.conn, nameLimit, "SELECT datname::text FROM pg_database WHERE oid = $1", []any{oidOf(oid)}, &name)
			if err != nil {
				continue
			}
			databases[oid] = name
		}
		if err := b.relationNames(ctx, name, bad, pages, relations); err != nil {
			b.log.InfoContext(ctx, "relations of damaged pages cannot be named", "database", name, "error", err)
		}
	}
	return databases, relations
}

func (b *backup) relationNames(ctx context.Context, database string, bad []pageID, pages []int, into map[int]string) error {
	site := b.site
	site.Server.Database = database
	ctx, cancel := context.WithTimeout(ctx, nameLimit)
	defer cancel()
	conn, err := connect(ctx, site, b.by.Session(b.fence))
	if err != nil {
		return err
	}
	defer pgsession.Close(ctx, conn)
	for _, i := range pages {
		r := bad[i].rel
		var name *string
		err := conn.QueryRow(ctx, "SELECT pg_filenode_relation($1, $2)::regclass::text", oidOf(r.Tablespace), oidOf(r.Node)).Scan(&name)
		if err != nil {
			return pgsession.QueryError(err, "name a relation")
		}
		if name != nil {
			into[i] = *name
		}
	}
	return nil
}

func oidOf(n uint32) pgtype.Uint32 { return pgtype.Uint32{Uint32: n, Valid: true} }

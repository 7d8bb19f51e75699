package pgphysical

import (
	"path"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/pg"
)

// Directories of the data directory whose content is of no use to a restored
// server, or is added apart (pg_wal). The directories themselves stay.
var emptied = map[string]bool{
	"pg_wal": true, "pg_replslot": true, "pg_dynshmem": true, "pg_notify": true, "pg_serial": true,
	"pg_snapshots": true, "pg_stat_tmp": true, "pg_subtrans": true,
}

// leftOut reports whether the file or directory at p, below the data directory
// and with slashes, is no part of a backup. Forks of unlogged relations are
// decided by [unlogged].
func leftOut(p string) bool {
	dir, name := path.Split(p)
	dir = strings.TrimSuffix(dir, "/")
	if emptied[strings.SplitN(p, "/", 2)[0]] && dir != "" {
		return true
	}
	for _, prefix := range []string{"pgsql_tmp", "pg_internal.init"} { // at any depth
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	if dir == "" {
		for _, prefix := range []string{"backup_label", "tablespace_map", "current_logfiles"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		switch name {
		case "postmaster.pid", "postmaster.opts", pg.ManifestName:
			return true
		}
		if strings.HasSuffix(name, ".auto.conf.tmp") {
			return true
		}
	}
	f, ok := pg.ParseRelationPath(p)
	return ok && f.Temporary
}

// unlogged returns the relations among the file names of one directory that have
// an init fork: a restored server makes their other forks anew from it, so only
// it is kept.
func unlogged(names []string) map[uint32]bool {
	var nodes map[uint32]bool
	for _, name := range names {
		if !strings.Contains(name, "_init") {
			continue
		}
		if f, ok := pg.ParseRelationName(name); ok && f.Fork == pg.ForkInit && !f.Temporary {
			if nodes == nil {
				nodes = map[uint32]bool{}
			}
			nodes[f.Node] = true
		}
	}
	return nodes
}

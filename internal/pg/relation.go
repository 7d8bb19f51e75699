package pg

import (
	"strconv"
	"strings"
)

// Fork is one of the parts in which a relation is stored.
type Fork string

// The forks. The main one has no suffix in its file name.
const (
	ForkMain          Fork = "main"
	ForkFreeSpace     Fork = "fsm"
	ForkVisibilityMap Fork = "vm"
	ForkInit          Fork = "init" // what an unlogged relation is reset to
)

// Tablespaces that every cluster has; their files lie in base and global.
const (
	DefaultTablespace = 1663
	GlobalTablespace  = 1664
)

// RelationFile is what the name of a relation's file says.
type RelationFile struct {
	Tablespace uint32 // its oid
	Database   uint32 // its oid; zero for shared relations
	Node       uint32 // number of the file, not the relation's oid
	Fork       Fork
	Segment    uint32
	Temporary  bool // of one session; never part of a backup
	Backend    uint32
}

// ParseRelationPath reads the path of a relation's file below the data directory,
// with slashes: base/5/16384_vm.1, global/1262,
// pg_tblspc/16390/PG_15_202209061/5/16391. It returns false for every other file.
func ParseRelationPath(p string) (RelationFile, bool) {
	parts := strings.Split(p, "/")
	var f RelationFile
	var ok bool
	switch {
	case len(parts) == 2 && parts[0] == "global":
		f.Tablespace = GlobalTablespace
	case len(parts) == 3 && parts[0] == "base":
		f.Tablespace = DefaultTablespace
		if f.Database, ok = parseOID(parts[1]); !ok {
			return RelationFile{}, false
		}
	case len(parts) == 5 && parts[0] == "pg_tblspc" && strings.HasPrefix(parts[2], "PG_"):
		if f.Tablespace, ok = parseOID(parts[1]); !ok {
			return RelationFile{}, false
		}
		if f.Database, ok = parseOID(parts[3]); !ok {
			return RelationFile{}, false
		}
	default:
		return RelationFile{}, false
	}
	n, ok := ParseRelationName(parts[len(parts)-1])
	if !ok || n.Temporary && f.Tablespace == GlobalTablespace {
		return RelationFile{}, false
	}
	n.Tablespace, n.Database = f.Tablespace, f.Database
	return n, true
}

// ParseRelationName reads the name of a relation's file in the directory of its
// database: 16384, 16384_vm.1, t3_16384. It returns false for every other name.
func ParseRelationName(name string) (RelationFile, bool) {
	f := RelationFile{Fork: ForkMain}
	var ok bool
	rest := name
	if base, seg, found := strings.Cut(rest, "."); found {
		if f.Segment, ok = parseOID(seg); !ok {
			return RelationFile{}, false
		}
		rest = base
	}
	if strings.HasPrefix(rest, "t") {
		backend, node, found := strings.Cut(rest[1:], "_")
		if !found {
			return RelationFile{}, false
		}
		if f.Backend, ok = parseNumber(backend); !ok {
			return RelationFile{}, false
		}
		f.Temporary, rest = true, node
	}
	if node, fork, found := strings.Cut(rest, "_"); found {
		switch f.Fork = Fork(fork); f.Fork {
		case ForkFreeSpace, ForkVisibilityMap, ForkInit:
		case ForkMain:
			return RelationFile{}, false
		default:
			return RelationFile{}, false
		}
		rest = node
	}
	if f.Node, ok = parseOID(rest); !ok {
		return RelationFile{}, false
	}
	return f, true
}

// Name returns the name of the file in the directory of its database.
func (f RelationFile) Name() string {
	b := make([]byte, 0, 32)
	if f.Temporary {
		b = append(b, 't')
		b = strconv.AppendUint(b, uint64(f.Backend), 10)
		b = append(b, '_')
	}
	b = strconv.AppendUint(b, uint64(f.Node), 10)
	if f.Fork != ForkMain {
		b = append(b, '_')
		b = append(b, f.Fork...)
	}
	if f.Segment > 0 {
		b = append(b, '.')
		b = strconv.AppendUint(b, uint64(f.Segment), 10)
	}
	return string(b)
}

// ParseOID reads an object id as it stands in a file name: decimal, without sign
// or leading zero, not zero.
func ParseOID(s string) (uint32, bool) { return parseOID(s) }

func parseOID(s string) (uint32, bool) {
	n, ok := parseNumber(s)
	return n, ok && n > 0
}

func parseNumber(s string) (uint32, bool) {
	if s == "" || len(s) > 10 || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

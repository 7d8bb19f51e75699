package repository

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// What a tree may hold. Names and depth come from a repository and become paths
// on a disk.
const (
	maxNameLen  = 1 << 10
	maxDepth    = 256
	maxFileSize = 1 << 62
)

// The types of nodes that we write.
const (
	typeFile    = "file"
	typeDir     = "dir"
	typeSymlink = "symlink"
)

// otherType returns the mode bits of the types that only others write.
func otherType(t string) fs.FileMode {
	switch t {
	case "dev":
		return fs.ModeDevice
	case "chardev":
		return fs.ModeDevice | fs.ModeCharDevice
	case "fifo":
		return fs.ModeNamedPipe
	case "socket":
		return fs.ModeSocket
	}
	return fs.ModeIrregular
}

// nodeJSON is one entry of a tree. The names and their order are the format's.
type nodeJSON struct {
	Name       string     `json:"name"` // quoted as Go quotes, without the quotes
	Type       string     `json:"type"`
	Mode       uint32     `json:"mode,omitempty"` // as in io/fs
	ModTime    time.Time  `json:"mtime"`
	AccessTime time.Time  `json:"atime"`
	ChangeTime *time.Time `json:"ctime,omitempty"`
	UID        uint32     `json:"uid"`
	GID        uint32     `json:"gid"`
	User       string     `json:"user,omitempty"`
	Group      string     `json:"group,omitempty"`
	Inode      uint64     `json:"inode,omitempty"`
	Size       uint64     `json:"size,omitempty"`
	Link       string     `json:"linktarget,omitempty"`
	LinkRaw    []byte     `json:"linktarget_raw,omitempty"` // when the target is not valid UTF-8
	Content    []hash.ID  `json:"content"`                  // null for what is no file
	Subtree    *hash.ID   `json:"subtree,omitempty"`
}

func typeOf(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return typeFile
	case mode.IsDir():
		return typeDir
	case mode&fs.ModeSymlink != 0:
		return typeSymlink
	}
	return ""
}

// quoteName writes a name as the format does: valid UTF-8 that prints stays.
func quoteName(name string) string {
	q := strconv.Quote(name)
	return q[1 : len(q)-1]
}

// unquoteName reads a name, and refuses one that would leave its directory.
func unquoteName(s string) (string, error) {
	name := s
	if strings.ContainsAny(s, "\\\"\n") {
		var err error
		if name, err = strconv.Unquote(`"` + s + `"`); err != nil {
			return "", holdfast.Wrap(holdfast.CodeInvalid, err, "the name %q in a tree is not quoted as it should be", s)
		}
	}
	if name == "" || name == "." || name == ".." || len(name) > maxNameLen || strings.ContainsAny(name, "/\x00") {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the name %q in a tree is not the name of a file", name)
	}
	return name, nil
}

// node is a nodeJSON that was checked.
type node struct {
	name    string
	mode    fs.FileMode // with the type's bits
	modTime time.Time
	uid     uint32
	gid     uint32
	size    int64
	inode   uint64    // zero: not known
	changed time.Time // zero: not known
	link    string
	content []hash.ID
	subtree hash.ID
}

// parse checks a node.
func (j *nodeJSON) parse() (n node, err error) {
	if n.name, err = unquoteName(j.Name); err != nil {
		return n, err
	}
	n.mode = fs.FileMode(j.Mode) &^ fs.ModeType
	n.modTime, n.uid, n.gid = j.ModTime, j.UID, j.GID
	switch j.Type {
	case typeFile:
		if j.Size > maxFileSize {
			return n, holdfast.Errorf(holdfast.CodeInvalid, "file %q in a tree has a size of %d bytes", n.name, j.Size)
		}
		n.size, n.content = int64(j.Size), j.Content //nolint:gosec // checked above
		n.inode = j.Inode
		if j.ChangeTime != nil {
			n.changed = *j.ChangeTime
		}
	case typeDir:
		if j.Subtree == nil {
			return n, holdfast.Errorf(holdfast.CodeInvalid, "directory %q in a tree has no tree of its own", n.name)
		}
		n.mode |= fs.ModeDir
		n.subtree = *j.Subtree
	case typeSymlink:
		n.mode |= fs.ModeSymlink
		if n.link = j.Link; len(j.LinkRaw) > 0 {
			n.link = string(j.LinkRaw)
		}
		if strings.ContainsRune(n.link, 0) {
			return n, holdfast.Errorf(holdfast.CodeInvalid, "the target of link %q in a tree holds a zero byte", n.name)
		}
	case "":
		return n, holdfast.Errorf(holdfast.CodeInvalid, "%q in a tree has no type", n.name)
	default:
		n.mode |= otherType(j.Type)
	}
	return n, nil
}

// engineNode returns the node as engines know it.
func (n node) engineNode(path string) engine.Node {
	return engine.Node{
		Path: path, Mode: n.mode, ModTime: n.modTime, UID: n.uid, GID: n.gid, Size: n.size, Link: n.link,
		Inode: n.inode, ChangeTime: n.changed,
	}
}

// appendNode appends the JSON of a node.
func appendNode(dst []byte, j *nodeJSON) ([]byte, error) {
	b, err := json.Marshal(j)
	if err != nil {
		return dst, fmt.Errorf("encode node %q: %w", j.Name, err)
	}
	return append(dst, b...), nil
}

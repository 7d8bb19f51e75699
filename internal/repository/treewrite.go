package repository

import (
	"bytes"
	"context"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	hashid "github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// missingDirMode is the mode of a parent that nobody added.
const missingDirMode = fs.ModeDir | 0o700

// dir is a directory of the set, with what was added below it.
type dir struct {
	entry *entry // nil: nobody added it
	dirs  map[string]*dir
	other map[string]*entry
}

func newDir() *dir { return &dir{dirs: map[string]*dir{}, other: map[string]*entry{}} }

// layOut arranges the entries by directory. What has vanished is left out.
func layOut(entries map[string]*entry) (*dir, error) {
	root := newDir()
	for path, e := range entries {
		if e.vanished {
			continue
		}
		d, rest := root, path
		for {
			name, below, more := strings.Cut(rest, "/")
			if !more && !e.node.Mode.IsDir() {
				d.other[name] = e
				break
			}
			sub := d.dirs[name]
			if sub == nil {
				sub = newDir()
				d.dirs[name] = sub
			}
			if !more {
				sub.entry = e
				break
			}
			d, rest = sub, below
		}
	}
	return root, root.check("")
}

// check refuses a name that is a directory and something else.
func (d *dir) check(path string) error {
	for name, sub := range d.dirs {
		if _, ok := d.other[name]; ok {
			return holdfast.Errorf(holdfast.CodeInvalid, "%q was added as a file and as a directory", path+name)
		}
		if err := sub.check(path + name + "/"); err != nil {
			return err
		}
	}
	return nil
}

// treeWriter stores the trees of one set.
type treeWriter struct {
	*Writer
	now    time.Time // of directories that nobody added
	users  map[uint32]string
	groups map[uint32]string
	line   []byte // JSON of one node
}

// write stores the directory's tree after those below it and returns its id.
func (t *treeWriter) write(ctx context.Context, d *dir, path string) (hashid.ID, error) {
	subtrees := make(map[string]hashid.ID, len(d.dirs))
	for _, name := range slices.Sorted(maps.Keys(d.dirs)) {
		id, err := t.write(ctx, d.dirs[name], path+name+"/")
		if err != nil {
			return id, err
		}
		subtrees[name] = id
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(d.dirs)), maps.Keys(d.other))
	slices.Sort(names)
	enc := newTreeEncoder(t.repo.compresses())
	for _, name := range names {
		if ctx.Err() != nil {
			return hashid.ID{}, context.Cause(ctx)
		}
		var j nodeJSON
		if sub, ok := d.dirs[name]; ok {
			id := subtrees[name]
			j = t.node(name, t.dirNode(sub), nil)
			j.Subtree = &id
		} else {
			j = t.node(name, d.other[name].node, d.other[name].content)
		}
		var err error
		if t.line, err = appendNode(t.line[:0], &j); err != nil {
			return hashid.ID{}, err
		}
		if err := enc.add(t.line); err != nil {
			return hashid.ID{}, err
		}
	}
	return t.store(ctx, enc, path)
}

// store ends the tree and packs it unless it is known.
func (t *treeWriter) store(ctx context.Context, enc *treeEncoder, path string) (hashid.ID, error) {
	id, raw, content, err := enc.finish()
	if err != nil {
		return id, fmt.Errorf("encode directory %q: %w", path, err)
	}
	if raw > maxTree || int64(len(content)) > maxTree {
		return id, treeTooLarge(path)
	}
	if t.index.Claim(id, pack.Tree) == index.Known {
		return id, nil
	}
	b := pack.Blob{ID: id, Type: pack.Tree, Length: uint32(len(content) + crypt.Overhead)} //nolint:gosec // at most maxTree
	if t.repo.compresses() {
		b.Raw = uint32(raw) //nolint:gosec // at most maxTree
	}
	return id, t.packer.seal(ctx, b, content)
}

func (t *treeWriter) dirNode(d *dir) engine.Node {
	if d.entry != nil {
		return d.entry.node
	}
	return engine.Node{
		Mode: missingDirMode, ModTime: t.now,
		UID: uint32(max(os.Getuid(), 0)), GID: uint32(max(os.Getgid(), 0)), //nolint:gosec // ids have 32 bits
	}
}

func (t *treeWriter) node(name string, n engine.Node, content []hashid.ID) nodeJSON {
	j := nodeJSON{
		Name: quoteName(name), Type: typeOf(n.Mode), Mode: uint32(n.Mode),
		ModTime: jsonTime(n.ModTime), UID: n.UID, GID: n.GID,
		User:  lookUp(t.users, n.UID, userName),
		Group: lookUp(t.groups, n.GID, groupName),
	}
	j.AccessTime = j.ModTime // what others set on restore
	switch j.Type {
	case typeFile:
		j.Size = uint64(max(n.Size, 0)) //nolint:gosec // not negative
		j.Inode = n.Inode
		if !n.ChangeTime.IsZero() {
			at := jsonTime(n.ChangeTime)
			j.ChangeTime = &at
		}
		if j.Content = content; content == nil {
			j.Content = []hashid.ID{} // null means that it is no file
		}
	case typeSymlink:
		j.Link = n.Link
		if !utf8.ValidString(n.Link) {
			j.LinkRaw = []byte(n.Link)
		}
	}
	return j
}

// jsonTime returns a time that JSON can carry.
func jsonTime(t time.Time) time.Time {
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 {
		return time.Unix(0, 0).UTC()
	}
	return t
}

func lookUp(known map[uint32]string, id uint32, find func(string) string) string {
	name, ok := known[id]
	if !ok {
		name = find(strconv.FormatUint(uint64(id), 10))
		known[id] = name
	}
	return name
}

func userName(id string) string {
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "" // no name: the number says it all
}

func groupName(id string) string {
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return ""
}

// treeEncoder turns nodes into the content of one tree blob, and keeps no more
// of it than its compressed form.
type treeEncoder struct {
	hash   hash.Hash
	raw    int64
	out    bytes.Buffer
	z      io.WriteCloser // nil: the repository does not compress
	buf    []byte         // not hashed yet
	inside bool
}

const treeChunk = 64 << 10

func newTreeEncoder(compressed bool) *treeEncoder {
	e := &treeEncoder{hash: hashid.New()}
	if compressed {
		e.z = compress.NewWriter(&e.out)
	}
	e.buf = append(e.buf, `{"nodes":[`...)
	return e
}

func (e *treeEncoder) add(node []byte) error {
	if e.inside {
		e.buf = append(e.buf, ',')
	}
	e.inside = true
	e.buf = append(e.buf, node...)
	if len(e.buf) < treeChunk {
		return nil
	}
	return e.drain()
}

func (e *treeEncoder) drain() error {
	e.raw += int64(len(e.buf))
	e.hash.Write(e.buf)
	var err error
	if e.z != nil {
		_, err = e.z.Write(e.buf)
	} else {
		_, err = e.out.Write(e.buf)
	}
	e.buf = e.buf[:0]
	return err
}

// finish returns the tree's id, its length, and what to seal.
func (e *treeEncoder) finish() (id hashid.ID, raw int64, content []byte, err error) {
	e.buf = append(e.buf, "]}\n"...) // the id covers the newline, too
	err = e.drain()
	if e.z != nil {
		if cerr := e.z.Close(); err == nil {
			err = cerr
		}
	}
	return hashid.Finish(e.hash), e.raw, e.out.Bytes(), err
}

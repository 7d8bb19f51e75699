package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// treeRepair writes the trees of one snapshot anew, as far as they have lost something.
type treeRepair struct {
	*snapshotRepair
	trees  treeWriter
	from   Snapshot
	notice []byte // nil: there is none
}

// write stores what is left of a tree, and returns its id.
func (t *treeRepair) write(ctx context.Context, id hash.ID, dir string) (hash.ID, error) {
	state := t.snapshotRepair.trees[id]
	noticed := t.leadsToNotice(dir)
	switch {
	case !state.hurt && !noticed:
		return id, nil
	case state.fresh != nil && !noticed:
		return *state.fresh, nil
	}
	enc := newTreeEncoder(t.writer.repo.compresses())
	add := t.adder(ctx, enc, dir)
	if !state.lost {
		plain, err := t.plainTree(ctx, id, dir)
		if err != nil {
			return id, err
		}
		if err := eachRawNode(plain, func(raw []byte, n node) error { return t.node(ctx, state, dir, raw, n, add) }); err != nil {
			return id, err
		}
	}
	if err := add("", nil); err != nil {
		return id, err
	}
	fresh, err := t.trees.store(ctx, enc, dir)
	if err == nil && !noticed {
		state.fresh = &fresh
	}
	return fresh, err
}

// plainTree reads a tree that could be read before. Large directories are large here;
// few are repaired.
func (t *treeRepair) plainTree(ctx context.Context, id hash.ID, dir string) ([]byte, error) {
	var plain bytes.Buffer
	whole, err := t.readTree(ctx, id, func(b pack.Blob, content []byte) error {
		plain.Reset()
		return copyTree(&plain, b, content)
	})
	if err == nil && !whole {
		err = holdfast.Errorf(holdfast.CodeUnavailable, "directory %q cannot be read any more", "/"+dir)
	}
	return plain.Bytes(), err
}

// leadsToNotice reports whether the notice is in the directory, or below it.
func (t *treeRepair) leadsToNotice(dir string) bool {
	return t.notice != nil && (dir == "" || strings.HasPrefix(t.options.Notice.Path, dir+"/"))
}

// adder returns what adds a node to a tree, and the notice in its place among the
// others; an empty name ends the tree.
func (t *treeRepair) adder(ctx context.Context, enc *treeEncoder, dir string) func(name string, raw []byte) error {
	file := path.Base(t.options.Notice.Path)
	wait := t.notice != nil && path.Dir(t.options.Notice.Path) == path.Join(".", dir)
	return func(name string, raw []byte) error {
		if wait && (name == "" || name >= file) {
			wait = false
			var old []byte
			if name == file {
				old = raw
			}
			own, err := t.noticeNode(ctx, old)
			if err == nil {
				err = enc.add(own)
			}
			if err != nil || name == file {
				return err
			}
		}
		if name == "" {
			return nil
		}
		return enc.add(raw)
	}
}

// noticeNode stores the notice, and returns its node: the one before, with another
// content.
func (t *treeRepair) noticeNode(ctx context.Context, old []byte) ([]byte, error) {
	j := nodeJSON{Name: quoteName(path.Base(t.options.Notice.Path)), Type: typeFile, Mode: 0o600, ModTime: jsonTime(t.from.Time)}
	j.AccessTime = j.ModTime
	if old != nil {
		j = nodeJSON{}
		if err := json.Unmarshal(old, &j); err != nil {
			return nil, badTree(err)
		}
	}
	id := hash.Sum(t.notice)
	j.Size, j.Content = uint64(len(t.notice)), []hash.ID{id}
	if t.writer.index.Claim(id, pack.Data) == index.Claimed {
		b := pack.Blob{ID: id, Type: pack.Data, Length: uint32(len(t.notice) + crypt.Overhead)} //nolint:gosec // as small as its file may be
		if err := t.writer.packer.seal(ctx, b, t.notice); err != nil {
			return nil, err
		}
	}
	return appendNode(nil, &j)
}

// node adds what is left of a node to the tree.
func (t *treeRepair) node(ctx context.Context, state *treeState, dir string, raw []byte, n node, add func(string, []byte) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	p := path.Join(dir, n.name)
	if !n.mode.IsDir() {
		lost := slices.ContainsFunc(state.files, func(f LostNode) bool { return f.Path == n.name })
		if lost && (t.notice == nil || p != t.options.Notice.Path) {
			return nil
		}
		return add(n.name, raw)
	}
	fresh, err := t.write(ctx, n.subtree, p)
	if err != nil {
		return err
	}
	if fresh != n.subtree {
		// Quotes in a name are written otherwise, so this is the field.
		was, is := `"subtree":"`+n.subtree.String()+`"`, `"subtree":"`+fresh.String()+`"`
		if bytes.Count(raw, []byte(was)) != 1 {
			return holdfast.Errorf(holdfast.CodeInvalid, "the node of directory %q is not written as they are", "/"+p)
		}
		raw = bytes.Replace(raw, []byte(was), []byte(is), 1)
	}
	return add(n.name, raw)
}

// eachRawNode calls fn for each node of a plain tree, with its JSON.
func eachRawNode(plain []byte, fn func(raw []byte, n node) error) error {
	var tree struct {
		Nodes []json.RawMessage `json:"nodes"`
	}
	if err := json.Unmarshal(plain, &tree); err != nil {
		return badTree(err)
	}
	for _, raw := range tree.Nodes {
		var j nodeJSON
		if err := json.Unmarshal(raw, &j); err != nil {
			return badTree(err)
		}
		n, err := j.parse()
		if err != nil {
			return err
		}
		if err := fn(raw, n); err != nil {
			return err
		}
	}
	return nil
}

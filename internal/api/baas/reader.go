package baas

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// reader takes typed values out of a tree and keeps the first fault. An absent
// key and null are the same: the caller's default holds.
type reader struct {
	err error
}

// node is an object of the tree, and where it stands.
type node struct {
	path string
	m    map[string]any
}

func (r *reader) fail(at, want string) {
	if r.err == nil {
		r.err = holdfast.Errorf(holdfast.CodeInvalid, "%s must be %s", at, want)
	}
}

func (r *reader) object(path string, v any) node {
	switch m := v.(type) {
	case nil:
	case map[string]any:
		return node{path, m}
	default:
		r.fail(path, "an object")
	}
	return node{path, nil}
}

func (r *reader) child(n node, key string) node { return r.object(join(n.path, key), n.m[key]) }

func (r *reader) list(n node, key string) []node {
	v := n.m[key]
	if v == nil {
		return nil
	}
	items, ok := v.([]any)
	if !ok {
		r.fail(join(n.path, key), "an array")
		return nil
	}
	nodes := make([]node, len(items))
	for i, item := range items {
		at := fmt.Sprintf("%s[%d]", join(n.path, key), i)
		if item == nil {
			r.fail(at, "an object")
		}
		nodes[i] = r.object(at, item)
	}
	return nodes
}

// text returns nil for an absent key.
func (r *reader) text(n node, key string) *string {
	switch v := n.m[key].(type) {
	case nil:
	case string:
		return &v
	default:
		r.fail(join(n.path, key), "a string")
	}
	return nil
}

// textOf returns "" for an absent key.
func (r *reader) textOf(n node, key string) string {
	if s := r.text(n, key); s != nil {
		return *s
	}
	return ""
}

// idOf returns an id that stands as text or as a number, "" for an absent key.
func (r *reader) idOf(n node, key string) string {
	if v, ok := n.m[key].(json.Number); ok {
		return v.String()
	}
	return strings.TrimSpace(r.textOf(n, key))
}

func (r *reader) flag(n node, key string, def bool) bool {
	switch v := n.m[key].(type) {
	case nil:
		return def
	case bool:
		return v
	}
	r.fail(join(n.path, key), "true or false")
	return def
}

func (r *reader) number(n node, key string, def int64) int64 {
	switch v := n.m[key].(type) {
	case nil:
		return def
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
	}
	r.fail(join(n.path, key), "a whole number")
	return def
}

package definition

import "fmt"

// kind is what stands at a place of the text.
type kind uint8

const (
	kindNull kind = iota
	kindText
	kindNumber
	kindBoolean
	kindList
	kindMapping
)

func (k kind) String() string {
	return [...]string{"nothing", "a text", "a number", "a boolean", "a list", "a mapping"}[k]
}

// place is where something stands in the text, in lines and characters from 1.
type place struct{ line, column int }

// node is a value of the text: what YAML and JSON have in common.
type node struct {
	place
	kind    kind
	text    string // of a scalar: as it was written, without quotes and escapes
	items   []*node
	entries []entry
}

// entry is a key of a mapping, with its value.
type entry struct {
	place
	key   string
	value *node
}

func (n *node) isScalar() bool {
	return n.kind == kindText || n.kind == kindNumber || n.kind == kindBoolean
}

// Bounds of a text. A definition needs nine levels.
const (
	maxDepth = 16
	maxNodes = 20_000 // of 1,600 fields with all their keys are a quarter
)

// collector counts what a text holds while its nodes are built.
type collector struct {
	nodes  int
	faults []Fault
}

func (c *collector) fault(at place, format string, args ...any) {
	c.faults = append(c.faults, Fault{Line: at.line, Column: at.column, Text: fmt.Sprintf(format, args...)})
}

// enter is called for each node, and returns false when the text is refused for
// its size. The fault is told once.
func (c *collector) enter(at place, depth int) bool {
	c.nodes++
	if c.nodes > maxNodes {
		if c.nodes == maxNodes+1 {
			c.fault(at, "the text has more than %d values", maxNodes)
		}
		return false
	}
	if depth > maxDepth {
		c.fault(at, "the text is nested more than %d levels deep", maxDepth)
		c.nodes = maxNodes + 1
		return false
	}
	return true
}

// duplicate tells of a key that stands twice in one mapping.
func (c *collector) duplicate(seen map[string]place, key string, at place) bool {
	first, ok := seen[key]
	if ok {
		c.fault(at, "the key %q stands twice in one mapping: first in line %d", shorten(key), first.line)
		return true
	}
	seen[key] = at
	return false
}

// shorten makes what a text says fit for a message.
func shorten(s string) string {
	const limit = 60
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return s
}

package definition

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of what the parser is given. It takes time in the square of the keys of
// one mapping, and descends a level for each; and in the square of the keys and
// entries without a value.
const (
	maxTokens = 3 * maxNodes
	maxKeys   = 1024
	maxEmpty  = 256
)

// yamlReader builds the node of a YAML text.
type yamlReader struct{ collector }

func readYAML(text []byte) (*node, []Fault) {
	r := &yamlReader{}
	var bodies []ast.Node
	for _, doc := range r.parse(string(text)) {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch {
	case len(r.faults) > 0:
	case len(bodies) == 0:
		r.fault(place{1, 1}, "the text is empty")
	case len(bodies) > 1:
		r.fault(nodePlace(bodies[1]), "a second document begins here: write each definition in a text of its own")
	default:
		n := r.value(bodies[0], 1)
		return n, r.faults
	}
	return nil, r.faults
}

// parse returns the documents of a text. A text is foreign, and the parser is
// large: where it would panic, the text is refused.
func (r *yamlReader) parse(text string) (docs []*ast.DocumentNode) {
	defer func() {
		if p := recover(); p != nil {
			r.fault(place{1, 1}, "this is no YAML that can be read: %v", p)
		}
	}()
	tokens := lexer.Tokenize(text)
	if !r.bounded(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // which are found here
	if err != nil {
		r.syntax(err)
		return nil
	}
	return file.Docs
}

// bounded refuses what would make the parser descend deep or work long, and what a
// definition has no use for.
func (r *yamlReader) bounded(tokens token.Tokens) bool {
	if len(tokens) > maxTokens {
		r.fault(tokenPlace(tokens[maxTokens]), "the text has more than %d values", maxNodes)
		return false
	}
	b := bounds{keys: map[int]int{}}
	for _, t := range tokens {
		if wrong := b.take(t); wrong != "" {
			r.fault(tokenPlace(t), "%s", wrong)
			return false
		}
	}
	return true
}

// bounds counts what a text makes the parser do.
type bounds struct {
	flow    int // brackets and braces that are open
	line    int
	entries int         // dashes and keys on this line, outside of brackets
	keys    map[int]int // of the open mappings, by column
	empty   int
}

// take counts one token, and says what is wrong with it.
func (b *bounds) take(t *token.Token) string {
	if t.Position.Line != b.line {
		b.line, b.entries = t.Position.Line, 0
	}
	switch t.Type { //nolint:exhaustive // the others neither nest nor refer
	case token.AnchorType, token.AliasType, token.MergeKeyType:
		return "anchors, aliases and merge keys are not taken: write the value out"
	case token.TagType:
		return "tags are not taken: leave " + shorten(t.Value) + " out"
	case token.DirectiveType:
		return "directives are not taken: leave the line out"
	case token.MappingStartType, token.SequenceStartType:
		b.flow++
	case token.MappingEndType, token.SequenceEndType:
		b.flow--
	case token.SequenceEntryType, token.MappingKeyType:
		b.entries++
		b.value(t, t.Position.Column)
	case token.MappingValueType:
		if b.flow == 0 && t.Prev != nil {
			b.entries++
			b.value(t, t.Prev.Position.Column)
			b.keys[t.Prev.Position.Column]++
		}
	}
	switch {
	case b.flow > maxDepth || b.entries > maxDepth:
		return fmt.Sprintf("the text is nested more than %d levels deep", maxDepth)
	case t.Prev != nil && b.keys[t.Prev.Position.Column] > maxKeys:
		return fmt.Sprintf("a mapping has more than %d keys", maxKeys)
	case b.empty > maxEmpty:
		return fmt.Sprintf("more than %d keys and entries have no value", maxEmpty)
	}
	return ""
}

// value counts what begins at a column: what stood behind it has ended. Its own
// value is missing when a token no deeper follows.
func (b *bounds) value(t *token.Token, column int) {
	maps.DeleteFunc(b.keys, func(c, _ int) bool { return c > column })
	if t.Next == nil {
		b.empty++
		return
	}
	next := t.Next.Position
	list := t.Type == token.MappingValueType && t.Next.Type == token.SequenceEntryType && next.Column == column // need not be deeper
	if next.Line > t.Position.Line && next.Column <= column && !list {
		b.empty++
	}
}

// syntax tells of what the parser refused.
func (r *yamlReader) syntax(err error) {
	at, text := place{1, 1}, ""
	if e, ok := errors.AsType[yaml.Error](err); ok {
		at, text = tokenPlace(e.GetToken()), e.GetMessage()
	} else {
		text = err.Error() // of the other kind it would take long: it quotes the text
	}
	text, _, _ = strings.Cut(text, "\n")
	r.fault(at, "this is no YAML: %s", text)
}

func tokenPlace(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{1, 1}
	}
	return place{max(t.Position.Line, 1), max(t.Position.Column, 1)}
}

// nodePlace is where a value begins: a mapping in lines does with its first key.
func nodePlace(n ast.Node) place {
	switch v := n.(type) {
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return nodePlace(v.Values[0])
		}
	case *ast.MappingValueNode:
		return tokenPlace(v.Key.GetToken())
	}
	return tokenPlace(n.GetToken())
}

// value reads one value; nil when the text was refused.
func (r *yamlReader) value(from ast.Node, depth int) *node {
	n := &node{place: nodePlace(from)}
	if !r.enter(n.place, depth) {
		return nil
	}
	switch v := from.(type) {
	case *ast.MappingNode:
		return r.mapping(n, v.Values, depth)
	case *ast.MappingValueNode:
		return r.mapping(n, []*ast.MappingValueNode{v}, depth)
	case *ast.SequenceNode:
		return r.list(n, v.Values, depth)
	case *ast.LiteralNode:
		n.kind, n.text = kindText, v.Value.Value
	case *ast.StringNode:
		n.kind, n.text = kindText, v.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		n.kind, n.text = kindNumber, from.GetToken().Value
	case *ast.BoolNode:
		n.kind, n.text = kindBoolean, from.GetToken().Value
	case *ast.NullNode:
	default:
		r.fault(n.place, "this has no place in a definition")
		return nil
	}
	return n
}

func (r *yamlReader) list(n *node, values []ast.Node, depth int) *node {
	n.kind = kindList
	for _, from := range values {
		v := r.value(from, depth+1)
		if v == nil {
			return nil
		}
		n.items = append(n.items, v)
	}
	return n
}

func (r *yamlReader) mapping(n *node, values []*ast.MappingValueNode, depth int) *node {
	n.kind = kindMapping
	seen := map[string]place{}
	for _, from := range values {
		at := tokenPlace(from.Key.GetToken())
		key, ok := keyText(from.Key)
		if !ok {
			r.fault(at, "this is no key: write a name and a colon")
			return nil
		}
		v := r.value(from.Value, depth+1)
		if v == nil {
			return nil
		}
		if v.kind == kindNull {
			v.place = at // it may be nowhere
		}
		if !r.duplicate(seen, key, at) {
			n.entries = append(n.entries, entry{at, key, v})
		}
	}
	return n
}

// keyText returns the text of a key that is a scalar.
func keyText(key ast.MapKeyNode) (string, bool) {
	switch k := key.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
		return key.GetToken().Value, true
	}
	return "", false
}

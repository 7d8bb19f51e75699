package definition

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxTokens bounds what the parser is given: some of its steps take time in the
// square of it.
const maxTokens = 4 * maxNodes

// yamlReader builds the node of a YAML text.
type yamlReader struct{ collector }

func readYAML(text []byte) (*node, []Fault) {
	r := &yamlReader{}
	tokens := lexer.Tokenize(string(text))
	if !r.bounded(tokens) {
		return nil, r.faults
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // which are found here
	if err != nil {
		r.syntax(err)
		return nil, r.faults
	}
	docs := file.Docs
	if len(docs) == 0 || docs[0].Body == nil {
		r.fault(place{1, 1}, "the text is empty")
		return nil, r.faults
	}
	if len(docs) > 1 {
		r.fault(tokenPlace(docs[1].GetToken()), "the text has more than one document: write each definition in a text of its own")
		return nil, r.faults
	}
	n := r.value(docs[0].Body, 1)
	return n, r.faults
}

// bounded refuses what would make the parser descend deep or work long, and what a
// definition has no use for.
func (r *yamlReader) bounded(tokens token.Tokens) bool {
	if len(tokens) > maxTokens {
		r.fault(tokenPlace(tokens[maxTokens]), "the text has more than %d values", maxNodes)
		return false
	}
	flow, entries, line := 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, entries = t.Position.Line, 0
		}
		switch t.Type { //nolint:exhaustive // the others neither nest nor refer
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			r.fault(tokenPlace(t), "anchors, aliases and merge keys are not taken: write the value out")
			return false
		case token.TagType:
			r.fault(tokenPlace(t), "tags are not taken: leave %s out", shorten(t.Value))
			return false
		case token.DirectiveType:
			r.fault(tokenPlace(t), "directives are not taken: leave the line out")
			return false
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType, token.MappingKeyType:
			entries++
		}
		if flow > maxDepth || entries > maxDepth {
			r.fault(tokenPlace(t), "the text is nested more than %d levels deep", maxDepth)
			return false
		}
	}
	return true
}

// syntax tells of what the parser refused.
func (r *yamlReader) syntax(err error) {
	at, text := place{1, 1}, err.Error()
	if e, ok := errors.AsType[yaml.Error](err); ok {
		at, text = tokenPlace(e.GetToken()), e.GetMessage()
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

// value reads one value; nil when the text was refused.
func (r *yamlReader) value(from ast.Node, depth int) *node {
	n := &node{place: tokenPlace(from.GetToken())}
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
	for i, from := range values {
		at := tokenPlace(from.Key.GetToken())
		if i == 0 {
			n.place = at
		}
		key, ok := keyText(from.Key)
		if !ok {
			r.fault(at, "this is no key: write a name and a colon")
			return nil
		}
		v := r.value(from.Value, depth+1)
		if v == nil {
			return nil
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

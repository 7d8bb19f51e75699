package bind

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
)

// kind says what a token is.
type kind uint8

const (
	word      kind = iota // unquoted identifier or keyword
	quoted                // "identifier"
	text                  // a string of any sort
	number                //
	parameter             // :name
	dollar                // $name or $1
	mark                  // one of ( ) [ ] { } , ; . : or ::, :=, ..
	operator              // a run of operator characters
)

// token is a piece of SQL; what is between two is white space and comments.
type token struct {
	kind       kind
	start, end int // bytes
}

// scanner cuts SQL as PostgreSQL does, and DuckDB, whose scanner descends from
// it, with standard_conforming_strings on. Source: src/backend/parser/scan.l.
type scanner struct {
	sql string
	pos int
}

// scan cuts SQL into tokens. What it cannot cut for sure, it refuses.
func scan(sql string) ([]token, error) {
	if !utf8.ValidString(sql) || strings.IndexByte(sql, 0) >= 0 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the SQL is not valid UTF-8 text")
	}
	s := scanner{sql: sql}
	var all []token
	for {
		if err := s.space(); err != nil {
			return nil, err
		}
		if s.pos == len(sql) {
			return all, nil
		}
		start := s.pos
		k, err := s.next()
		if err != nil {
			return nil, err
		}
		all = append(all, token{k, start, s.pos})
	}
}

// at returns the byte that is n bytes ahead; 0 behind the end.
func (s *scanner) at(n int) byte {
	if s.pos+n < len(s.sql) {
		return s.sql[s.pos+n]
	}
	return 0
}

// space skips white space and comments.
func (s *scanner) space() error {
	for s.pos < len(s.sql) {
		switch c := s.at(0); {
		case isSpace(c):
			s.pos++
		case c == '-' && s.at(1) == '-':
			s.pos = lineEnd(s.sql, s.pos)
		case c == '/' && s.at(1) == '*':
			if err := s.blockComment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// blockComment skips a block comment, in which others may nest.
func (s *scanner) blockComment() error {
	start, depth := s.pos, 0
	for s.pos < len(s.sql) {
		switch {
		case s.at(0) == '/' && s.at(1) == '*':
			depth++
			s.pos += 2
		case s.at(0) == '*' && s.at(1) == '/':
			depth--
			s.pos += 2
			if depth == 0 {
				return nil
			}
		default:
			s.pos++
		}
	}
	return s.fault(start, "this comment is not closed").WithHint("comments nest: each /* needs its */")
}

// next reads one token; there is one.
func (s *scanner) next() (kind, error) {
	c := s.at(0)
	switch {
	case (c == 'e' || c == 'E') && s.at(1) == '\'':
		return text, s.str(2, true)
	case (c == 'b' || c == 'B' || c == 'x' || c == 'X' || c == 'n' || c == 'N') && s.at(1) == '\'':
		return text, s.str(2, false)
	case (c == 'u' || c == 'U') && s.at(1) == '&' && s.at(2) == '\'':
		return text, s.str(3, false)
	case (c == 'u' || c == 'U') && s.at(1) == '&' && s.at(2) == '"':
		return quoted, s.fault(s.pos, `identifiers like U&"..." are not read here`).WithHint("write the identifier's characters themselves, between double quotes")
	case isWordStart(c):
		return word, s.word()
	case c == '\'':
		return text, s.str(1, false)
	case c == '"':
		return quoted, s.identifier()
	case isDigit(c), c == '.' && isDigit(s.at(1)):
		return number, s.number()
	case c == '$':
		return s.dollar()
	case c == ':':
		return s.colon()
	case strings.IndexByte("()[]{},;", c) >= 0:
		s.pos++
		return mark, nil
	case c == '.':
		s.pos++
		if s.at(0) == '.' {
			s.pos++
		}
		return mark, nil
	case isOperator(c):
		s.operator()
		return operator, nil
	}
	return 0, s.fault(s.pos, "the character %q has no meaning in SQL", c)
}

// word reads an unquoted identifier or keyword. Some scanners take characters for
// white space that others take for letters: these are refused.
func (s *scanner) word() error {
	start := s.pos
	for s.pos < len(s.sql) && isWordPart(s.at(0)) {
		s.pos++
	}
	for i, r := range s.sql[start:s.pos] {
		if unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) {
			return s.fault(start+i, "the invisible character %U is neither a space nor a letter", r).WithHint("type a plain space")
		}
	}
	return nil
}

// colon reads :name, ::, := or a colon alone, as in an array's slice.
func (s *scanner) colon() (kind, error) {
	start := s.pos
	s.pos++
	switch c := s.at(0); {
	case c == ':' || c == '=':
		s.pos++
		return mark, nil
	case isTagStart(c):
		return parameter, s.name(start)
	}
	return mark, nil
}

// name reads the name of a parameter that begins at start.
func (s *scanner) name(start int) error {
	for s.pos < len(s.sql) && isNamePart(s.at(0)) {
		s.pos++
	}
	if isWordPart(s.at(0)) {
		return s.fault(start, "the name of a parameter has letters, digits and underscores only, of ASCII")
	}
	return nil
}

// operator reads operator characters up to the next comment.
func (s *scanner) operator() {
	for s.pos < len(s.sql) && isOperator(s.at(0)) {
		if s.at(0) == '-' && s.at(1) == '-' || s.at(0) == '/' && s.at(1) == '*' {
			return // not at the first character: space has been here
		}
		s.pos++
	}
}

// str reads a string whose quote ends the opening bytes, with the parts that
// continue it on later lines: these have the escapes of the first.
func (s *scanner) str(opening int, escapes bool) error {
	start := s.pos
	s.pos += opening
	for s.pos < len(s.sql) {
		c := s.at(0)
		s.pos++
		switch {
		case c == '\\' && escapes && s.pos < len(s.sql):
			s.pos++
		case c == '\'' && s.at(0) == '\'':
			s.pos++
		case c == '\'':
			next, ok := continuation(s.sql, s.pos)
			if !ok {
				return nil
			}
			s.pos = next
		}
	}
	return s.fault(start, "this string is not closed").WithHint("a quote inside a string is written twice")
}

// continuation returns where a string goes on whose quote was closed before pos:
// behind a quote on a later line, with nothing but white space and line comments
// between.
func continuation(sql string, pos int) (int, bool) {
	newline := false
	for pos < len(sql) {
		switch c := sql[pos]; {
		case isSpace(c):
			newline = newline || c == '\n' || c == '\r'
			pos++
		case c == '-' && strings.HasPrefix(sql[pos:], "--"):
			pos = lineEnd(sql, pos)
		case c == '\'' && newline:
			return pos + 1, true
		default:
			return 0, false
		}
	}
	return 0, false
}

// identifier reads a quoted identifier.
func (s *scanner) identifier() error {
	start := s.pos
	s.pos++
	for s.pos < len(s.sql) {
		c := s.at(0)
		s.pos++
		if c != '"' {
			continue
		}
		if s.at(0) != '"' {
			if s.pos-start == 2 {
				return s.fault(start, "an identifier cannot be empty").WithHint("strings stand between single quotes")
			}
			return nil
		}
		s.pos++
	}
	return s.fault(start, "this identifier is not closed").WithHint("a double quote inside an identifier is written twice")
}

// number reads a number. Older servers take what is joined to one for the next
// token, newer ones for a fault, as is done here.
func (s *scanner) number() error {
	start := s.pos
	if c := s.at(1) | 0x20; s.at(0) == '0' && (c == 'x' || c == 'o' || c == 'b') {
		s.pos += 2
		for isHex(s.at(0)) || s.at(0) == '_' {
			s.pos++
		}
		if s.pos == start+2 {
			return s.fault(start, "this number has no digits")
		}
	} else {
		s.digits()
		if s.at(0) == '.' && s.at(1) != '.' {
			s.pos++
			s.digits()
		}
		if s.at(0)|0x20 == 'e' {
			sign := 0
			if s.at(1) == '+' || s.at(1) == '-' {
				sign = 1
			}
			if isDigit(s.at(1 + sign)) {
				s.pos += 1 + sign
				s.digits()
			}
		}
	}
	if isWordStart(s.at(0)) {
		return s.fault(start, "something is joined to this number").WithHint("put a space behind the number")
	}
	return nil
}

func (s *scanner) digits() {
	for isDigit(s.at(0)) || s.at(0) == '_' {
		s.pos++
	}
}

// dollar reads a dollar-quoted string, or $name or $1.
func (s *scanner) dollar() (kind, error) {
	start, tag := s.pos, s.pos+1
	if tag < len(s.sql) && isTagStart(s.sql[tag]) {
		for tag < len(s.sql) && (isTagStart(s.sql[tag]) || isDigit(s.sql[tag])) {
			tag++
		}
	}
	if tag < len(s.sql) && s.sql[tag] == '$' {
		quote := s.sql[start : tag+1]
		end := strings.Index(s.sql[tag+1:], quote)
		if end < 0 {
			return text, s.fault(start, "this string is not closed").WithHint("it ends with %s", quote)
		}
		s.pos = tag + 1 + end + len(quote)
		return text, nil
	}
	s.pos++
	if !isWordPart(s.at(0)) {
		return dollar, s.fault(start, "a dollar sign has no meaning alone")
	}
	return dollar, s.name(start)
}

// fault is an error at a place of the SQL.
func (s *scanner) fault(at int, format string, args ...any) *holdfast.Error {
	return fault(s.sql, at, format, args...)
}

// fault is an error at a place of the SQL, in lines and characters from 1.
func fault(sql string, at int, format string, args ...any) *holdfast.Error {
	before := sql[:at]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return holdfast.Errorf(holdfast.CodeInvalid, "SQL, line %d, column %d: "+format, append([]any{line, column}, args...)...)
}

// lineEnd returns the place of the next end of a line.
func lineEnd(sql string, pos int) int {
	if n := strings.IndexAny(sql[pos:], "\r\n"); n >= 0 {
		return pos + n
	}
	return len(sql)
}

func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isHex(c byte) bool    { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// Parameters' names are ASCII, as names of settings are.
func isNameStart(c byte) bool { return isLetter(c) || c == '_' }
func isNamePart(c byte) bool  { return isNameStart(c) || isDigit(c) }

func isTagStart(c byte) bool  { return isLetter(c) || c == '_' || c >= 0x80 }
func isWordStart(c byte) bool { return isTagStart(c) }
func isWordPart(c byte) bool  { return isWordStart(c) || isDigit(c) || c == '$' }
func isOperator(c byte) bool  { return strings.IndexByte("~!@#^&|`?+-*/%<>=", c) >= 0 }

package definition

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// maxIdentifier is the length of a name in PostgreSQL, in bytes: NAMEDATALEN - 1.
const maxIdentifier = 63

// Table is the name of a table.
type Table struct {
	Schema string // empty: the first of the search path that has it
	Name   string
}

// ParseTable reads schema.table or table. Names are meant as they are written:
// case counts, and nothing is folded. A name that holds a dot stands in double
// quotes, in which a doubled quote is one.
func ParseTable(text string) (Table, error) {
	first, rest, err := cutIdentifier(text)
	if err != nil {
		return Table{}, err
	}
	if rest == "" {
		return Table{Name: first}, nil
	}
	second, rest, err := cutIdentifier(rest[1:])
	if err != nil {
		return Table{}, err
	}
	if rest != "" {
		return Table{}, errors.New("has more than two parts: write schema.table, and names with dots in double quotes")
	}
	return Table{Schema: first, Name: second}, nil
}

// cutIdentifier splits text after its first identifier; rest is empty or begins
// with a dot.
func cutIdentifier(text string) (name, rest string, err error) {
	if strings.HasPrefix(text, `"`) {
		name, rest, err = cutQuoted(text)
	} else {
		i := strings.IndexByte(text, '.')
		if i < 0 {
			i = len(text)
		}
		name, rest = text[:i], text[i:]
		if strings.ContainsAny(name, "\" \t\r\n") {
			err = errors.New("has a name with a space or a quote: write such a name in double quotes")
		}
	}
	if err != nil {
		return "", "", err
	}
	return name, rest, checkIdentifier(name)
}

func cutQuoted(text string) (name, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			b.WriteByte(text[i])
			continue
		}
		if i+1 < len(text) && text[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		rest = text[i+1:]
		if rest != "" && rest[0] != '.' {
			return "", "", errors.New("goes on after the closing quote of a name")
		}
		return b.String(), rest, nil
	}
	return "", "", errors.New("has a double quote that is not closed")
}

// checkIdentifier says what is wrong with a name in PostgreSQL.
func checkIdentifier(name string) error {
	switch {
	case name == "":
		return errors.New("has an empty name")
	case len(name) > maxIdentifier:
		return errors.New("has a name longer than 63 bytes")
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return errors.New("has a name with characters that a database cannot hold")
	}
	return nil
}

// SQL returns the name as SQL knows it, quoted.
func (t Table) SQL() string {
	if t.Schema == "" {
		return QuoteIdentifier(t.Name)
	}
	return QuoteIdentifier(t.Schema) + "." + QuoteIdentifier(t.Name)
}

// QuoteIdentifier returns name as an identifier in SQL. The name has no NUL.
func QuoteIdentifier(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

func quoteIdentifiers(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = QuoteIdentifier(n)
	}
	return strings.Join(quoted, ", ")
}

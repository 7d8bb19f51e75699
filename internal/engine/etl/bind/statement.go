package bind

import (
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// SingleSelect returns nil for one statement that only reads, and that can stand
// between parentheses: COPY (\n...\n) TO STDOUT. A line comment may end it, so a
// new line has to follow. It does not know what the functions do that the statement
// calls: for that there are read-only transactions.
func SingleSelect(sql string) error {
	tokens, err := scan(sql)
	if err != nil {
		return err
	}
	if len(tokens) == 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "the SQL is empty").WithHint("write one SELECT")
	}
	first := tokens[0]
	for _, t := range tokens {
		if first = t; sql[t.start:t.end] != "(" {
			break
		}
	}
	if !slices.Contains([]string{"select", "with", "values", "table"}, keyword(sql, first)) {
		return fault(sql, first.start, "this is no SELECT").WithHint("a step is one statement that begins with SELECT, WITH, VALUES or TABLE")
	}
	if err := nesting(sql, tokens); err != nil {
		return err
	}
	for i, t := range tokens {
		if t.kind == mark && sql[t.start:t.end] == ";" {
			f := fault(sql, t.start, "a step is one statement")
			if i == len(tokens)-1 {
				return f.WithHint("leave out the semicolon")
			}
			return f.WithHint("make a step of each statement, without semicolons")
		}
		if err := reading(sql, tokens, i); err != nil {
			return err
		}
	}
	return nil
}

// nesting checks that what is opened is closed, in order.
func nesting(sql string, tokens []token) error {
	var open []token
	for _, t := range tokens {
		if t.kind != mark {
			continue
		}
		switch c := sql[t.start]; c {
		case '(', '[', '{':
			open = append(open, t)
		case ')', ']', '}':
			if len(open) == 0 {
				return fault(sql, t.start, "%c closes nothing", c)
			}
			last := open[len(open)-1]
			if o := sql[last.start]; o == '(' != (c == ')') || o == '[' != (c == ']') {
				return fault(sql, t.start, "%c does not close the %c before it", c, o)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		last := open[len(open)-1]
		return fault(sql, last.start, "%c is not closed", sql[last.start])
	}
	return nil
}

// reading refuses the i-th token when a part of the statement that writes may
// begin with it: INTO, which no column is called without quotes, or the first word
// of INSERT, UPDATE, DELETE or MERGE with a further word behind it, in WITH or after
// it. Columns may have these four names; they have to be quoted where a word
// follows.
func reading(sql string, tokens []token, i int) error {
	w := keyword(sql, tokens[i])
	if w != "into" && w != "insert" && w != "update" && w != "delete" && w != "merge" {
		return nil
	}
	if i > 0 {
		before := tokens[i-1]
		if sql[before.start:before.end] == "." || keyword(sql, before) == "as" {
			return nil // a column, or the name of one
		}
		locks := keyword(sql, before) == "for" || i > 1 && keyword(sql, before) == "key" && keyword(sql, tokens[i-2]) == "no"
		if w == "update" && locks {
			return nil
		}
	}
	if w == "into" {
		return fault(sql, tokens[i].start, "a step only reads: INTO makes a table").WithHint("the load names the table")
	}
	if i+1 < len(tokens) && (tokens[i+1].kind == word || tokens[i+1].kind == quoted) {
		return fault(sql, tokens[i].start, "a step only reads: %s changes tables", strings.ToUpper(w)).
			WithHint(`a column of this name has to stand between double quotes: "%s"`, w)
	}
	return nil
}

// keyword returns an unquoted word in lower case, and nothing for other tokens.
func keyword(sql string, t token) string {
	if t.kind != word {
		return ""
	}
	return lower(sql[t.start:t.end])
}

// lower folds ASCII letters, as servers do with UTF-8 databases.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

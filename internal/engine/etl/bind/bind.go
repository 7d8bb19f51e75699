// Package bind gives SQL the values of an execution's parameters without making
// them part of it. It cuts SQL into tokens, so that a parameter is never looked for
// in a string, a quoted identifier or a comment, and refuses what it cannot cut for
// sure.
//
// COPY (query) TO STDOUT takes no parameters, so a value becomes a setting of the
// transaction, and :name in the SQL becomes an expression that reads it:
//
//	sql, err := bind.Postgres("select * from orders where price >= :min_price", types, values)
//	// select * from orders where price >= (pg_catalog.current_setting('holdfast.p_min_price')::pg_catalog.numeric)
//	for _, s := range bind.Settings(values) {
//		_, err := tx.Exec(ctx, "select pg_catalog.set_config($1, $2, true)", s[0], s[1])
//	}
//
// All functions are pure. Their errors have the code invalid, and say where in the
// SQL the fault is.
package bind

import (
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// types are the types that a parameter may have, and their names in a server.
var types = map[string]string{
	"text":        "text",
	"integer":     "int4",
	"bigint":      "int8",
	"numeric":     "numeric",
	"boolean":     "bool",
	"date":        "date",
	"timestamptz": "timestamptz",
	"uuid":        "uuid",
}

// Parameters returns the names that SQL for PostgreSQL reads as :name, each once,
// in the order of their first use. In the slice of an array, a[lower : upper], a
// space keeps the upper bound from being a parameter.
func Parameters(sql string) ([]string, error) {
	tokens, err := scan(sql)
	if err != nil {
		return nil, err
	}
	return names(sql, tokens, parameter), nil
}

// EngineParameters returns the names that SQL for the engine reads as $name, each
// once, in the order of their first use. Parameters without a name are refused.
func EngineParameters(sql string) ([]string, error) {
	tokens, err := scan(sql)
	if err != nil {
		return nil, err
	}
	for _, t := range tokens {
		unnamed := t.kind == dollar && !isNameStart(sql[t.start+1]) || t.kind == operator && strings.Contains(sql[t.start:t.end], "?")
		if unnamed {
			return nil, fault(sql, t.start, "the parameter %s has no name", sql[t.start:t.end]).WithHint("write a parameter of the definition as $name")
		}
	}
	return names(sql, tokens, dollar), nil
}

// names returns the names of one kind of parameters.
func names(sql string, tokens []token, k kind) []string {
	var all []string
	for _, t := range tokens {
		if name := sql[t.start+1 : t.end]; t.kind == k && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// Postgres rewrites SQL so that each :name reads the value that [Settings] gives
// to the transaction. NULL becomes the NULL of the parameter's type, so what it
// returns is good for these values' NULLs only: rewrite again for other values.
// A name that declared has no type for is refused; a name that values lacks is
// NULL.
func Postgres(sql string, declared map[string]string, values map[string]*string) (string, error) {
	tokens, err := scan(sql)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	done := 0
	for _, t := range tokens {
		switch t.kind {
		case dollar:
			return "", fault(sql, t.start, "%s is not a parameter here", sql[t.start:t.end]).WithHint("write a parameter of the definition as :name")
		case parameter:
			name := sql[t.start+1 : t.end]
			e, err := expression(name, declared, values)
			if err != nil {
				f := fault(sql, t.start, "%s", holdfast.ErrorMessage(err))
				f.Hint = holdfast.ErrorHint(err)
				return "", f
			}
			b.WriteString(sql[done:t.start])
			b.WriteString(e)
			done = t.end
		case word, quoted, text, number, mark, operator: // as they are
		}
	}
	b.WriteString(sql[done:])
	return b.String(), nil
}

// expression is what reads a parameter: built of its name and type, which are
// checked, and never of its value.
func expression(name string, declared map[string]string, values map[string]*string) (string, error) {
	d, ok := declared[name]
	if !ok {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the definition declares no parameter %s", name).
			WithHint("declare it below parameters; in the slice of an array put a space behind the colon")
	}
	typ, ok := types[d]
	if !ok {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the parameter %s cannot have the type %q", name, d).
			WithHint("the types are %s", strings.Join(slices.Sorted(maps.Keys(types)), ", "))
	}
	if values[name] == nil {
		return "(null::pg_catalog." + typ + ")", nil
	}
	return "(pg_catalog.current_setting('" + setting(name) + "')::pg_catalog." + typ + ")", nil
}

// setting is the name of the setting that holds a parameter's value. Servers fold
// the case of settings' names, parameters' names differ by case.
func setting(name string) string {
	b := []byte("holdfast.p_")
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			b = append(b, '$', c|0x20)
			continue
		}
		b = append(b, c)
	}
	return string(b)
}

// Settings returns names and values for select set_config($1, $2, true), by name:
// in each transaction that runs what [Postgres] returned, before it. They end with
// the transaction. One of them makes the server read strings as this package does.
func Settings(values map[string]*string) [][2]string {
	all := [][2]string{{"standard_conforming_strings", "on"}}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if v := values[name]; v != nil {
			all = append(all, [2]string{setting(name), *v})
		}
	}
	return all
}

package session

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// parameter is a value that SQL may name. It is bound as text, under a name of ours,
// and cast where it stands: the type of what is bound would be the engine's guess, and
// a name that the driver does not find is bound to another's value.
type parameter struct {
	bound string // name in the prepared statement
	typ   string
	value *string
}

// expression is what stands in SQL for the parameter's name.
func (p parameter) expression() string { return "CAST($" + p.bound + " AS " + p.typ + ")" }

// parameterTypes are the engine's types of parameters; numeric depends on its value.
var parameterTypes = map[string]string{
	"text": "VARCHAR", "integer": "INTEGER", "bigint": "BIGINT", "boolean": "BOOLEAN",
	"date": "DATE", "timestamptz": "TIMESTAMPTZ", "uuid": "UUID",
}

// set gives parameters their values.
func (s *Session) set(ctx context.Context, set *duck.Set) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range set.Parameters {
		p := parameter{bound: "hf" + strconv.Itoa(len(s.parameters)), value: d.Value}
		if old, ok := s.parameters[d.Name]; ok {
			p.bound = old.bound
		}
		var err error
		if p.typ, p.value, err = parameterType(d); err != nil {
			return err
		}
		var ignored any
		row := s.db.QueryRowContext(ctx, "SELECT "+p.expression(), p.argument())
		if err := row.Scan(&ignored); err != nil {
			return holdfast.Wrap(holdfast.CodeInvalid, err, "the value of the parameter %s is no %s", d.Name, d.Type)
		}
		s.parameters[d.Name] = p
	}
	return nil
}

func (p parameter) argument() any {
	if p.value == nil {
		return sql.Named(p.bound, nil)
	}
	return sql.Named(p.bound, *p.value)
}

// parameterType returns the engine's type for a parameter, and its value as that
// type reads it.
func parameterType(d duck.Parameter) (string, *string, error) {
	if d.Type != "numeric" {
		typ, ok := parameterTypes[d.Type]
		if !ok {
			return "", nil, holdfast.Errorf(holdfast.CodeInvalid, "the parameter %s cannot have the type %q", d.Name, d.Type).
				WithHint("the types are numeric, %s", strings.Join(slices.Sorted(maps.Keys(parameterTypes)), ", "))
		}
		return typ, d.Value, nil
	}
	if d.Value == nil {
		return "DECIMAL(18,3)", nil, nil
	}
	typ, value, err := exact(strings.TrimSpace(*d.Value))
	if err != nil {
		return "", nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the value of the parameter %s is no number of at most 38 digits", d.Name)
	}
	return typ, &value, nil
}

// number matches what PostgreSQL reads as a finite numeric.
var number = regexp.MustCompile(`^[+-]?(\d+\.?|\d*\.\d+|\d+\.\d+)([eE]([+-]?\d{1,2}))?$`)

// exact returns the smallest type that holds a number as it is written, so that what
// is computed with it stays within 38 digits, and the number without an exponent.
func exact(text string) (typ, plain string, err error) {
	m := number.FindStringSubmatch(text)
	if m == nil {
		return "", "", fmt.Errorf("%q is no number", text)
	}
	_, fraction, _ := strings.Cut(m[1], ".")
	scale := len(fraction)
	if m[3] != "" {
		exponent, err := strconv.Atoi(m[3])
		if err != nil {
			return "", "", err
		}
		scale = max(scale-exponent, 0)
	}
	value, ok := new(big.Rat).SetString(text)
	if !ok {
		return "", "", fmt.Errorf("%q is no number", text)
	}
	plain = value.FloatString(scale)
	digits := len(strings.TrimLeft(strings.NewReplacer("-", "", ".", "").Replace(plain), "0"))
	digits = max(digits, min(scale+1, 38)) // a zero before the point
	if digits > 38 || scale > 38 {
		return "", "", fmt.Errorf("%q has more than 38 digits", text)
	}
	return fmt.Sprintf("DECIMAL(%d,%d)", digits, scale), plain, nil
}

// rewritten is SQL of a definition, ready for the engine.
type rewritten struct {
	sql        string
	reads      []string // folded names of what it may read
	parameters []string
}

// rewrite checks that SQL is one SELECT, and puts its parameters in. The caller holds
// the session's lock.
func (s *Session) rewrite(sql string) (rewritten, error) {
	if err := bind.SingleSelect(sql); err != nil {
		return rewritten{}, err
	}
	expressions := make(map[string]string, len(s.parameters))
	for name, p := range s.parameters {
		expressions[name] = p.expression()
	}
	text, used, err := bind.Engine(sql, expressions)
	if err != nil {
		return rewritten{}, err
	}
	relations, _, err := bind.Relations(sql)
	if err != nil {
		return rewritten{}, err
	}
	var reads []string
	for _, r := range relations {
		reads = append(reads, fold(r.Name))
	}
	return rewritten{sql: text, reads: reads, parameters: used}, nil
}

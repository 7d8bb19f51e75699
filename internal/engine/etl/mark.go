package etl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// mark is a counter's value: the text of the last row's counting column, and of
// the column that tells rows with equal ones apart.
type mark struct {
	Column string  `json:"column"`
	Tie    *string `json:"tie,omitempty"`
}

// parseMark reads what a counter holds. A person may have written a plain value.
func parseMark(value string) mark {
	var m struct {
		Column *string `json:"column"`
		Tie    *string `json:"tie"`
	}
	dec := json.NewDecoder(strings.NewReader(value))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil || m.Column == nil || dec.More() {
		return mark{Column: value}
	}
	return mark{Column: *m.Column, Tie: m.Tie}
}

func (m mark) String() string {
	b, err := json.Marshal(m)
	if err != nil { // strings always marshal
		return m.Column
	}
	return string(b)
}

// tracker reads an incremental extract by column: from the last mark to the end
// that it takes once, in the flow's snapshot.
type tracker struct {
	src    *source
	in     *definition.Input
	number int    // of the input: keeps its settings apart from those of others
	base   string // the extract's own SELECT, bound
	column column
	tie    *column
	end    *mark // the newest row in the snapshot; nil: none
	// schemas of the operators that order the columns, quoted, by type.
	schemas map[uint32]string
}

func (f *flow) track(ctx context.Context, src *source, in *definition.Input, number int) (*tracker, error) {
	base, err := f.e.bound(in.Base)
	if err != nil {
		return nil, err
	}
	t := &tracker{src: src, in: in, number: number, base: base}
	columns, err := describe(ctx, src.conn, base, "extract "+in.Extract.Name)
	if err != nil {
		return nil, err
	}
	find := func(name string) (*column, error) {
		for i := range columns {
			if columns[i].name == name {
				return &columns[i], nil
			}
		}
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "extract %s counts by its column %q, which it does not have", in.Extract.Name, name).
			WithHint("its columns are %s", strings.Join(names(columns), ", "))
	}
	c, err := find(in.Extract.Incremental.Column)
	if err != nil {
		return nil, err
	}
	t.column = *c
	if name := in.Extract.Incremental.Tie; name != "" {
		if t.tie, err = find(name); err != nil {
			return nil, err
		}
	}
	return t, t.findOperators(ctx)
}

// setting is the name of the setting with one of the interval's ends.
func (t *tracker) setting(what string) string {
	return "holdfast.c_" + strconv.Itoa(t.number) + "_" + what
}

// value is SQL that reads an end of the interval.
func (t *tracker) value(what string, c column) string {
	return "pg_catalog.current_setting('" + t.setting(what) + "')::" + c.typ
}

// compare is SQL that compares a row with an end of the interval; op is > or <=.
func (t *tracker) compare(op, what string, m mark) string {
	column := "q." + definition.QuoteIdentifier(t.column.name)
	value := t.value(what, t.column)
	if t.tie == nil || m.Tie == nil {
		return column + t.operator(op, t.column) + value
	}
	tie, tieValue := "q."+definition.QuoteIdentifier(t.tie.name), t.value(what+"_tie", *t.tie)
	if t.schemas[t.column.oid] == t.schemas[t.tie.oid] {
		return "ROW(" + column + ", " + tie + ")" + t.operator(op, t.column) + "ROW(" + value + ", " + tieValue + ")"
	}
	// One operator compares all of a row.
	return "(" + column + t.operator(op[:1]+"=", t.column) + value + " AND (" + column + t.operator(op[:1], t.column) + value + " OR " + tie + t.operator(op, *t.tie) + tieValue + "))"
}

// operator is the operator by which the server orders values of the column. Named
// alone it could be anybody's own that fits the type better.
func (t *tracker) operator(op string, c column) string {
	return " OPERATOR(" + t.schemas[c.oid] + "." + op + ") "
}

// findOperators finds the schemas of the operators that order the columns.
func (t *tracker) findOperators(ctx context.Context) error {
	t.schemas = map[uint32]string{t.column.oid: "pg_catalog"}
	if t.tie != nil {
		t.schemas[t.tie.oid] = "pg_catalog"
	}
	for oid := range t.schemas {
		if _, ok := builtInName(oid, -1); ok {
			continue
		}
		var schema string
		err := t.src.tx.QueryRow(ctx, `SELECT n.nspname FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
			JOIN pg_catalog.pg_amop a ON a.amopfamily = c.opcfamily AND a.amoplefttype = c.opcintype AND a.amoprighttype = c.opcintype AND a.amopstrategy = 1
			JOIN pg_catalog.pg_operator o ON o.oid = a.amopopr JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
			WHERE c.opcdefault AND c.opcintype = $1`, oid).Scan(&schema)
		switch {
		case errors.Is(err, pgx.ErrNoRows): // an enum, which the server's own operators compare
		case err != nil:
			return queryError(err, "look for the order of extract "+t.in.Extract.Name)
		default:
			t.schemas[oid] = definition.QuoteIdentifier(schema)
		}
	}
	return nil
}

// put gives an end of the interval its value.
func (t *tracker) put(ctx context.Context, what string, m mark) error {
	all := [][2]string{{t.setting(what), m.Column}}
	if m.Tie != nil {
		all = append(all, [2]string{t.setting(what + "_tie"), *m.Tie})
	}
	return set(ctx, t.src.tx, all)
}

// last is where the extract goes on; nil: at its beginning.
func (t *tracker) last(counter string, ok bool) *mark {
	switch {
	case ok:
		m := parseMark(counter)
		return &m
	case t.in.Extract.Incremental.Start != nil:
		return &mark{Column: *t.in.Extract.Incremental.Start}
	}
	return nil
}

// conditions puts together what rows have to meet.
func conditions(all ...string) string {
	var b strings.Builder
	for _, c := range all {
		if c == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(" AND ")
		}
		b.WriteString(c)
	}
	if b.Len() == 0 {
		return ""
	}
	return " WHERE " + b.String()
}

// orderBy orders by the counter.
func (t *tracker) orderBy(direction string) string {
	s := " ORDER BY q." + definition.QuoteIdentifier(t.column.name) + direction
	if t.tie != nil {
		s += ", q." + definition.QuoteIdentifier(t.tie.name) + direction
	}
	return s
}

// pick returns the mark of one row of the extract; nil when there is none.
func (t *tracker) pick(ctx context.Context, where, tail string) (*mark, error) {
	tie := "NULL::text"
	if t.tie != nil {
		tie = "q." + definition.QuoteIdentifier(t.tie.name) + "::text"
	}
	var m mark
	err := t.src.tx.QueryRow(ctx, "SELECT q."+definition.QuoteIdentifier(t.column.name)+"::text, "+tie+" FROM (\n"+t.base+"\n) AS q"+where+tail).Scan(&m.Column, &m.Tie)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil //nolint:nilnil // no row is an answer
	case err != nil:
		return nil, queryError(err, "look for new rows of extract "+t.in.Extract.Name)
	}
	return &m, nil
}

// interval is what one unit reads.
type interval struct {
	sql   string // the extract's rows in it, in no order
	order string // by the counter
	upto  *mark  // nil: there is nothing new
	last  bool   // there is no more
}

// next chooses what comes after the last mark: at most rows of it, when rows is
// not 0, and rows with equal marks together.
func (t *tracker) next(ctx context.Context, last *mark, rows int64) (interval, error) {
	lower := "q." + definition.QuoteIdentifier(t.column.name) + " IS NOT NULL"
	if last != nil {
		if err := t.put(ctx, "from", *last); err != nil {
			return interval{}, err
		}
		lower = t.compare(">", "from", *last)
	}
	fresh := t.end == nil
	if fresh {
		if err := t.takeEnd(ctx, lower); err != nil {
			return interval{}, err
		}
		if t.end != nil {
			if err := t.put(ctx, "end", *t.end); err != nil {
				return interval{}, err
			}
		}
		if err := t.checkNulls(ctx, last); err != nil {
			return interval{}, err
		}
		if t.end == nil {
			return interval{last: true}, nil
		}
	}
	upper := t.compare("<=", "end", *t.end)
	i := interval{upto: t.end, last: true, order: t.orderBy("")}
	if rows > 0 {
		m, err := t.pick(ctx, conditions(lower, upper), t.orderBy("")+fmt.Sprintf(" OFFSET %d LIMIT 1", rows-1))
		if err != nil {
			return interval{}, err
		}
		if m != nil {
			i.upto, i.last = m, m.String() == t.end.String()
			if err := t.put(ctx, "upto", *m); err != nil {
				return interval{}, err
			}
			upper = t.compare("<=", "upto", *m)
		}
	}
	if i.last && !fresh {
		// A person may have set the counter beyond the end meanwhile: it stays there.
		if m, err := t.pick(ctx, conditions(lower, upper), " LIMIT 1"); err != nil || m == nil {
			return interval{last: true}, err
		}
	}
	i.sql = "SELECT * FROM (\n" + t.base + "\n) AS q" + conditions(lower, upper)
	return i, nil
}

// takeEnd finds the newest row of the snapshot that is old enough.
func (t *tracker) takeEnd(ctx context.Context, lower string) (err error) {
	old := ""
	if lag := time.Duration(t.in.Extract.Incremental.Lag); lag > 0 {
		// The transaction's time is before its snapshot.
		now := fmt.Sprintf("(pg_catalog.now() OPERATOR(pg_catalog.-) '%d microseconds'::pg_catalog.interval)", lag.Microseconds())
		if t.column.oid != pgtype.TimestamptzOID {
			// What has no time zone was written in the server's own, as far as it says.
			now = "pg_catalog.timezone((SELECT s.reset_val FROM pg_catalog.pg_settings AS s WHERE s.name = 'TimeZone'), " + now + ")"
		}
		old = "q." + definition.QuoteIdentifier(t.column.name) + t.operator("<=", t.column) + now + "::" + t.column.typ
	}
	t.end, err = t.pick(ctx, conditions(lower, old), t.orderBy(" DESC")+" LIMIT 1")
	if err == nil && t.end != nil && boundless(t.column.oid, t.end.Column) {
		return holdfast.Errorf(holdfast.CodeInvalid, "extract %s counts by column %q, which is %s in some rows: nothing that comes later would ever be loaded",
			t.in.Extract.Name, t.column.name, t.end.Column).
			WithHint("give these rows another value, or leave them out in the extract's query")
	}
	return err
}

// boundless reports whether no value of the type is greater: a counter that stands
// on it stays there.
func boundless(oid uint32, value string) bool {
	switch oid {
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID:
		return value == "infinity"
	case pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID:
		return value == "Infinity" || value == "NaN"
	}
	return false
}

// checkNulls refuses rows that no comparison would ever find: such a row would be
// lost without a word. What a table declares is not asked: outer joins, foreign
// tables and constraints that are not valid bring NULLs all the same.
func (t *tracker) checkNulls(ctx context.Context, last *mark) error {
	look := func(c column, where string) error {
		var found bool
		null := "q." + definition.QuoteIdentifier(c.name) + " IS NULL"
		err := t.src.tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM (\n"+t.base+"\n) AS q"+conditions(where, null)+")").Scan(&found)
		switch {
		case err != nil:
			return queryError(err, "look for NULLs in extract "+t.in.Extract.Name)
		case found:
			return holdfast.Errorf(holdfast.CodeInvalid, "extract %s counts by column %q, which is NULL in some rows: they would never be loaded", t.in.Extract.Name, c.name).
				WithHint("give these rows a value, or leave them out in the extract's query")
		}
		return nil
	}
	if err := look(t.column, ""); err != nil {
		return err
	}
	if t.tie == nil || t.end == nil {
		return nil
	}
	column := "q." + definition.QuoteIdentifier(t.column.name)
	lower, upper := "", column+t.operator("<=", t.column)+t.value("end", t.column)
	if last != nil {
		lower = column + t.operator(">=", t.column) + t.value("from", t.column)
	}
	return look(*t.tie, strings.TrimPrefix(conditions(lower, upper), " WHERE "))
}

package rows

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// compiler builds a program step by step: names lead to slots, and a changed value
// gets a slot of its own, so that rows can be shown as they came.
type compiler struct {
	p       *Program
	columns []Column // as they are now
	slots   []int
	params  map[string]*string
	at      place // of the step at hand
}

// place says which step an op comes from.
type place struct {
	transform int    // by number; -1: what comes behind them, for where the rows go
	shown     string // for errors; empty behind them
}

// Compile makes a program of transforms in rows, for rows with these columns.
// Parameters are given by name; nil is NULL. Errors have the code invalid, and name
// transform and step.
func Compile(columns []Column, transforms []definition.RowTransform, params map[string]*string) (*Program, error) {
	c := compiler{p: &Program{in: slices.Clone(columns)}, columns: slices.Clone(columns), params: params}
	for i := range columns {
		c.slots = append(c.slots, i)
	}
	for i, t := range transforms {
		c.p.counts = append(c.p.counts, TransformCounts{Name: t.Name})
		for k, s := range t.Steps {
			c.at = place{i, fmt.Sprintf("transform %s, step %d (%s)", t.Name, k+1, s.Kind())}
			if err := c.step(s); err != nil {
				return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s: %s", c.at.shown, holdfast.ErrorMessage(err)).WithHint("%s", holdfast.ErrorHint(err))
			}
		}
	}
	c.p.out, c.p.slot = c.columns, c.slots
	return c.p, nil
}

// Into makes the rows that come out have a target's types: its columns stand for
// those of the program, one by one, and keep the program's names. Values that do not
// fit are rejects. It is an error when rows cannot be cast so on their way.
func (p *Program) Into(target []Column) error {
	if len(target) != len(p.out) {
		return holdfast.Errorf(holdfast.CodeInvalid, "the rows have %d columns, and the target takes %d", len(p.out), len(target))
	}
	c := compiler{p: p, columns: p.out, slots: p.slot, at: place{transform: -1}}
	for i, to := range target {
		to.Name = c.columns[i].Name
		if err := c.cast(i, to); err != nil {
			return err
		}
	}
	return nil
}

// Bound makes rows with a value that a bound refuses bad ones. of returns the bound of a
// column, for its values in binary; nil: there is none.
func (p *Program) Bound(of func(Column) func(value []byte) error) {
	c := compiler{p: p, at: place{transform: -1}}
	for i, col := range p.out {
		bound, slot := of(col), p.slot[i]
		if bound == nil {
			continue
		}
		c.add(func(r *row) verdict {
			if v := r.values[slot]; v != nil {
				if err := bound(v); err != nil {
					r.bad = badRow{column: col.Name, reason: "the value " + err.Error()}
					return refuse
				}
			}
			return pass
		})
	}
}

// slot adds a slot whose value is v in each row, until an op sets it.
func (c *compiler) slot(v []byte) int {
	c.p.constant = append(c.p.constant, v)
	return len(c.p.in) + len(c.p.constant) - 1
}

// find returns where a column is.
func (c *compiler) find(name string) (int, error) {
	for i, col := range c.columns {
		if col.Name == name {
			return i, nil
		}
	}
	names := make([]string, len(c.columns))
	for i, col := range c.columns {
		names[i] = col.Name
	}
	return 0, holdfast.Errorf(holdfast.CodeInvalid, "there is no column %s", name).WithHint("the columns here are %s", strings.Join(names, ", "))
}

// free refuses a name that a column has.
func (c *compiler) free(name string) error {
	if _, err := c.find(name); err == nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "there is a column %s already", name).WithHint("drop or rename it first")
	}
	return nil
}

func (c *compiler) step(s definition.RowStep) error {
	switch {
	case s.Rename != nil:
		return c.rename(*s.Rename)
	case len(s.Drop) > 0:
		return c.drop(s.Drop)
	case s.Cast != nil:
		i, err := c.find(s.Cast.Name)
		if err != nil {
			return err
		}
		to, err := NewColumn(s.Cast.Name, s.Cast.Type)
		if err != nil {
			return err
		}
		return c.cast(i, to)
	case s.Constant != nil:
		return c.addConstant(*s.Constant)
	case s.Hash != nil:
		return c.hash(*s.Hash)
	case s.Mask != nil:
		return c.mask(*s.Mask)
	case s.Filter != nil:
		return c.check(*s.Filter, drop)
	case s.Reject != nil:
		return c.check(*s.Reject, refuse)
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "the step is empty").WithHint("name what it does: rename, drop, cast, constant, hash, mask, filter or reject")
}

func (c *compiler) rename(r definition.Rename) error {
	i, err := c.find(r.Column)
	if err != nil {
		return err
	}
	if err := c.free(r.To); err != nil && r.To != r.Column {
		return err
	}
	c.columns[i].Name = r.To
	return nil
}

func (c *compiler) drop(names []string) error {
	for _, name := range names {
		i, err := c.find(name)
		if err != nil {
			return err
		}
		c.columns = slices.Delete(c.columns, i, i+1)
		c.slots = slices.Delete(c.slots, i, i+1)
	}
	return nil
}

func (c *compiler) cast(i int, to Column) error {
	from, source := c.columns[i], c.slots[i]
	fn, err := convert(from, to)
	if err != nil {
		return err
	}
	c.columns[i] = to
	if fn != nil {
		c.change(i, source, fn)
	}
	return nil
}

// change adds an op that makes a new value of a column's value; NULL stays NULL.
func (c *compiler) change(i, source int, fn converter) {
	target, name := c.slot(nil), c.columns[i].Name
	c.slots[i] = target
	c.add(func(r *row) verdict {
		v := r.values[source]
		if v == nil {
			r.values[target] = nil
			return pass
		}
		var err error
		if r.arena, r.values[target], err = fn(r.arena, v); err != nil {
			r.bad = badRow{column: name, reason: "the value " + err.Error()}
			return refuse
		}
		return pass
	})
}

// add adds an op of the step at hand.
func (c *compiler) add(o op) {
	c.p.ops, c.p.places = append(c.p.ops, o), append(c.p.places, c.at)
}

// parameter returns a parameter's value.
func (c *compiler) parameter(name string) (*string, error) {
	v, ok := c.params[name]
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "there is no parameter %s", name).WithHint("declare it below parameters")
	}
	return v, nil
}

func (c *compiler) addConstant(k definition.Constant) error {
	if err := c.free(k.Column); err != nil {
		return err
	}
	col, err := NewColumn(k.Column, k.Type)
	if err != nil {
		return err
	}
	text := k.Value
	if k.Param != "" {
		if text, err = c.parameter(k.Param); err != nil {
			return err
		}
	}
	var value []byte
	if text != nil {
		if value, err = encode(col, *text); err != nil {
			return err
		}
	}
	c.columns = append(c.columns, col)
	c.slots = append(c.slots, c.slot(value))
	return nil
}

// encode returns the value of a column that a text stands for.
func encode(c Column, text string) ([]byte, error) {
	decode, ok := decoderOf(c)
	if !ok {
		return nil, noText(c)
	}
	v, err := decode([]byte{}, []byte(text))
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "column %s: the value that it is given or compared with %s", c.Name, err).
			WithHint("write the value as text of the type %s", c.Type)
	}
	return v, nil
}

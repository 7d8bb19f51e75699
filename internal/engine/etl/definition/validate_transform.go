package definition

import "slices"

func (v *validator) transforms() {
	v.atMost("transform", len(v.d.Transform), maxTransforms, "transforms")
	for i, t := range v.d.Transform {
		v.transform(index("transform", i), t)
	}
}

func (v *validator) transform(at string, t Transform) {
	v.name(at+".name", t.Name)
	switch {
	case t.In == InEngine && t.Over != "":
		v.fault(at+".over", "is not for the engine, whose SQL names the relations that it reads")
	case t.In != InEngine && t.Over == "":
		v.fault(at+".over", "is missing: name the relation that the step reads")
	}
	v.expectation(at, t)
	if !v.exactlyOne(at, choice{"sql", t.SQL != ""}, choice{"rows", len(t.Rows) > 0}, choice{"assert", t.Assert != ""}) {
		return
	}
	switch {
	case t.In == InRows && len(t.Rows) == 0:
		v.fault(at+".in", "is rows, which needs rows: a list of steps")
		return
	case t.In != InRows && len(t.Rows) > 0:
		v.fault(at+".rows", "is for in: rows only")
		return
	case t.In == InSource && t.Assert != "":
		v.fault(at+".assert", "is not for a source: assert in the engine, or in the target")
		return
	}
	switch {
	case len(t.Rows) > 0:
		v.rowSteps(at+".rows", t.Rows)
	case t.In == InEngine && t.Assert != "":
		v.engine(at+".assert", t.Assert)
	case t.In == InEngine:
		v.engine(at+".sql", t.SQL)
	case t.Assert != "":
		v.postgres(at+".assert", t.Assert)
	default:
		v.postgres(at+".sql", t.SQL)
	}
}

// expectation checks what belongs to an assertion.
func (v *validator) expectation(at string, t Transform) {
	switch {
	case t.Assert != "" && t.Expect == "":
		v.fault(at+".expect", "is missing: write the value that the assertion must select")
	case t.Assert != "" && t.Severity == SeverityOK:
		v.fault(at+".severity", "is ok: an assertion that fails is a warning or an error")
	case t.Assert == "" && t.Expect != "":
		v.fault(at+".expect", "is for an assertion only")
	case t.Assert == "" && t.Severity != "":
		v.fault(at+".severity", "is for an assertion only")
	}
}

func (v *validator) rowSteps(at string, steps []RowStep) {
	v.atMost(at, len(steps), maxRowSteps, "steps")
	for i, s := range steps {
		v.rowStep(index(at, i), s)
	}
}

func (v *validator) rowStep(at string, s RowStep) {
	if !v.exactlyOne(
		at, choice{"rename", s.Rename != nil}, choice{"drop", len(s.Drop) > 0}, choice{"cast", s.Cast != nil}, choice{"constant", s.Constant != nil},
		choice{"hash", s.Hash != nil}, choice{"mask", s.Mask != nil}, choice{"filter", s.Filter != nil}, choice{"reject", s.Reject != nil},
	) {
		return
	}
	switch {
	case s.Rename != nil:
		v.column(at+".rename.column", s.Rename.Column)
		if v.column(at+".rename.to", s.Rename.To) && s.Rename.To == s.Rename.Column {
			v.fault(at+".rename.to", "is the name that the column has")
		}
	case len(s.Drop) > 0:
		v.columns(at+".drop", s.Drop)
	case s.Cast != nil:
		v.column(at+".cast.name", s.Cast.Name)
		v.typeOf(at+".cast.type", s.Cast.Type)
	case s.Constant != nil:
		v.constant(at+".constant", *s.Constant)
	case s.Hash != nil:
		v.column(at+".hash.column", s.Hash.Column)
		if s.Hash.Key != "" {
			v.declared(at+".hash.key", s.Hash.Key)
		}
	case s.Mask != nil:
		v.column(at+".mask.column", s.Mask.Column)
		v.number(at+".mask.keep", int64(s.Mask.Keep), 0, 1000)
	case s.Filter != nil:
		v.check(at+".filter", *s.Filter)
	default:
		v.check(at+".reject", *s.Reject)
	}
}

func (v *validator) constant(at string, c Constant) {
	v.column(at+".column", c.Column)
	v.typeOf(at+".type", c.Type)
	if c.Param != "" {
		v.declared(at+".param", c.Param)
		if c.Value != nil {
			v.fault(at+".value", "stands beside param: give exactly one of value or param")
		}
	}
}

// checkOperators are what a check compares with, and how many values it takes.
var checkOperators = []string{"=", "<>", "<", "<=", ">", ">=", "in", "is null", "is not null"}

func (v *validator) check(at string, c Check) {
	v.column(at+".column", c.Column)
	if !slices.Contains(checkOperators, c.Op) {
		v.fault(at+".op", "is %q: it may be %s", shorten(c.Op), oneOf(checkOperators))
		return
	}
	if c.Param != "" {
		v.declared(at+".param", c.Param)
	}
	v.atMost(at+".values", len(c.Values), maxEnum, "values")
	n := len(c.Values)
	switch c.Op {
	case "is null", "is not null":
		if n > 0 || c.Param != "" {
			v.fault(at+".op", "is %q, which takes no value", c.Op)
		}
	case "in":
		if n == 0 || c.Param != "" {
			v.fault(at+".op", "is in, which takes values")
		}
	default:
		if n > 1 || (n == 1) == (c.Param != "") {
			v.fault(at+".op", "is %q, which takes one of values, or param", c.Op)
		}
	}
}

package definition

import "slices"

// columnsKnown follows the columns of relations whose columns the definition names:
// those of files, of tables with columns, and of row steps over them. Of the others
// only a server knows.
func (v *validator) columnsKnown() {
	known := map[*relation][]string{}
	var follow func(r *relation) []string
	follow = func(r *relation) []string {
		columns, ok := known[r]
		if ok {
			return columns
		}
		switch r.place {
		case inExtract:
			columns = r.extract.columns()
		case InSource, InEngine, InTarget: // a server knows
		case InRows:
			if columns = follow(r.over); columns != nil {
				columns = v.throughRows(r, columns)
			}
		}
		known[r] = columns
		return columns
	}
	for _, r := range v.graph.all {
		follow(r)
	}
	for i, l := range v.d.Load {
		if columns := known[v.graph.byName[l.From]]; columns != nil {
			at := index("load", i)
			v.among(at+".key", l.Key, columns)
			v.among(at+".update", l.Update, columns)
		}
	}
}

// columns returns the names of an extract's columns; nil when the definition does
// not say.
func (e *Extract) columns() []string {
	if e.File == nil {
		return e.Columns
	}
	names := make([]string, len(e.File.Fields))
	for i, f := range e.File.Fields {
		names[i] = f.Name
	}
	return names
}

// among checks that each of names is a column.
func (v *validator) among(at string, names, columns []string) {
	for i, name := range names {
		v.has(index(at, i), name, columns)
	}
}

func (v *validator) has(at, name string, columns []string) bool {
	if slices.Contains(columns, name) {
		return true
	}
	v.fault(at, "is %q, which is no column here: those are %s", shorten(name), shorten(oneOf(columns)))
	return false
}

// throughRows returns the columns behind row steps; nil when a step names one that
// is not there.
func (v *validator) throughRows(r *relation, columns []string) []string {
	columns = slices.Clone(columns)
	for i, s := range r.transform.Rows {
		at := index(r.at+".rows", i)
		var ok bool
		if columns, ok = v.throughRow(at, s, columns); !ok {
			return nil
		}
	}
	return columns
}

func (v *validator) throughRow(at string, s RowStep, columns []string) ([]string, bool) {
	switch {
	case s.Rename != nil:
		if !v.has(at+".rename.column", s.Rename.Column, columns) || !v.free(at+".rename.to", s.Rename.To, columns) {
			return nil, false
		}
		columns[slices.Index(columns, s.Rename.Column)] = s.Rename.To
	case len(s.Drop) > 0:
		for i, name := range s.Drop {
			if !v.has(index(at+".drop", i), name, columns) {
				return nil, false
			}
		}
		columns = slices.DeleteFunc(columns, func(c string) bool { return slices.Contains(s.Drop, c) })
		if len(columns) == 0 {
			v.fault(at+".drop", "leaves no column")
			return nil, false
		}
	case s.Constant != nil:
		if !v.free(at+".constant.column", s.Constant.Column, columns) {
			return nil, false
		}
		columns = append(columns, s.Constant.Column)
	case s.Cast != nil:
		return columns, v.has(at+".cast.name", s.Cast.Name, columns)
	case s.Hash != nil:
		return columns, v.has(at+".hash.column", s.Hash.Column, columns)
	case s.Mask != nil:
		return columns, v.has(at+".mask.column", s.Mask.Column, columns)
	case s.Filter != nil:
		return columns, v.has(at+".filter.column", s.Filter.Column, columns)
	case s.Reject != nil:
		return columns, v.has(at+".reject.column", s.Reject.Column, columns)
	}
	return columns, true
}

// free checks that no column has a name yet.
func (v *validator) free(at, name string, columns []string) bool {
	if !slices.Contains(columns, name) {
		return true
	}
	v.fault(at, "is %q, as a column is called here: drop or rename that first", shorten(name))
	return false
}

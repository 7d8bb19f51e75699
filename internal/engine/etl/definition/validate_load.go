package definition

import "slices"

func (v *validator) loads() {
	if len(v.d.Load) == 0 {
		v.fault("load", "is empty: an ETL loads at least one relation")
	}
	v.atMost("load", len(v.d.Load), maxLoads, "loads")
	names := map[string]int{}
	for i, l := range v.d.Load {
		at := index("load", i)
		v.load(at, l)
		if first, ok := names[l.Name]; ok {
			v.fault(at+".name", "is %q, as that of load[%d]: give each flow a name of its own", shorten(l.Name), first)
			continue
		}
		names[l.Name] = i
	}
}

func (v *validator) load(at string, l Load) {
	if l.Name != l.From { // else it is told of as from
		v.name(at+".name", l.Name)
	}
	c, known := v.connection(at+".connection", l.Connection)
	if !v.exactlyOne(at, choice{"table", l.Table != ""}, choice{"output", l.Output != nil}) {
		return
	}
	if l.Output != nil {
		v.output(at, l, c, known)
		return
	}
	if known && c.Site == "" {
		v.fault(at+".connection", "is no site: a table needs one")
	}
	v.target(at+".table", l.Table)
	v.keys(at, l)
	if l.Mode != LoadAppend && l.Mode != LoadUpsert && v.d.Batch.Rows > 0 {
		v.fault("batch.rows", "cannot go with mode: %s of %s, which is one unit of work", l.Mode, at)
	}
}

// keys checks the columns of a load's mode.
func (v *validator) keys(at string, l Load) {
	byKey := l.Mode == LoadUpsert || l.Mode == LoadMerge
	switch {
	case byKey && len(l.Key) == 0:
		v.fault(at+".key", "is missing: mode: %s needs the columns of a unique index", l.Mode)
	case !byKey && len(l.Key) > 0:
		v.fault(at+".key", "is for mode: upsert and mode: merge only")
	case !byKey && len(l.Update) > 0:
		v.fault(at+".update", "is for mode: upsert and mode: merge only")
	}
	v.columns(at+".key", l.Key)
	v.columns(at+".update", l.Update)
	for i, c := range l.Update {
		if slices.Contains(l.Key, c) {
			v.fault(index(at+".update", i), "is %q, which is part of the key", shorten(c))
		}
	}
}

func (v *validator) output(at string, l Load, c Connection, known bool) {
	if known && c.Directory == "" && c.Bucket == nil {
		v.fault(at+".connection", "is no directory and no bucket: an output needs one")
	}
	o := *l.Output
	if err := checkPath(o.Path, false); err != nil {
		v.fault(at+".output.path", "%v", err)
	}
	if o.Format == FormatJSON {
		v.fault(at+".output.format", "is json: an output may be csv or parquet")
	}
	if o.MaxKept < 0 {
		v.fault(at+".output.max_kept", "is %d: write how many versions stay, or leave it out for all", o.MaxKept)
	}
	if l.Mode != LoadAppend {
		v.fault(at+".mode", "is for a table: each execution writes a new version of an output")
	}
	for _, k := range []choice{{"key", len(l.Key) > 0}, {"update", len(l.Update) > 0}} {
		if k.given {
			v.fault(at+"."+k.key, "is for a table only")
		}
	}
}

// names checks that each relation has a name of its own.
func (v *validator) names() {
	first := map[string]string{}
	one := func(at, name string) {
		if before, ok := first[name]; ok {
			v.fault(at+".name", "is %q, as that of %s: relations and assertions have names of their own", shorten(name), before)
			return
		}
		first[name] = at
	}
	for i, e := range v.d.Extract {
		one(index("extract", i), e.Name)
	}
	for i, t := range v.d.Transform {
		one(index("transform", i), t.Name)
	}
}

package etl

import (
	"context"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// phases are what went through the parts of a flow, in the units that it has
// committed since it began: in this attempt, and of a service in this round.
type phases struct {
	units    int64
	extracts []extracted // by input
	load     counts
}

// extracted is what an extract brought, and what its transforms in rows made of it.
type extracted struct {
	name               string
	rows, bytes, files int64
	transforms         []rows.TransformCounts
}

// add counts a unit.
func (p *phases) add(w *work, c counts) {
	p.units++
	p.load.add(c)
	for i, r := range w.readings {
		if i == len(p.extracts) {
			p.extracts = append(p.extracts, extracted{name: r.in.Extract.Name})
		}
		x := &p.extracts[i]
		if w.feeding == nil { // there is one
			x.rows += c.read
		} else {
			x.rows += r.read
		}
		x.bytes += r.bytes
		for _, f := range r.files {
			x.files++
			x.bytes += f.seen.Size
		}
		if x.transforms == nil {
			x.transforms = r.transforms
			continue
		}
		for k, t := range r.transforms {
			s := &x.transforms[k]
			s.In, s.Filtered, s.Rejected = s.In+t.In, s.Filtered+t.Filtered, s.Rejected+t.Rejected
		}
	}
}

// logPhases writes the counts of each part into the execution's log.
func (f *flow) logPhases(ctx context.Context) {
	p := f.phases
	if p.units == 0 {
		return
	}
	for _, x := range p.extracts {
		attrs := []any{"flow", f.plan.Load.Name, "extract", x.name, "rows", x.rows, "bytes", x.bytes}
		if x.files > 0 {
			attrs = append(attrs, "files", x.files)
		}
		f.e.log.InfoContext(ctx, "extract ended", attrs...)
		for _, t := range x.transforms {
			f.e.log.InfoContext(ctx, "transform ended", "flow", f.plan.Load.Name, "transform", t.Name, "in", t.In, "out", t.Out(),
				"filtered", t.Filtered, "rejected", t.Rejected)
		}
	}
	f.e.log.InfoContext(ctx, "load ended", "flow", f.plan.Load.Name, "rows", p.load.loaded, "deleted", p.load.deleted, "duplicates", p.load.duplicates)
}

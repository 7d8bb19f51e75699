package worker

import (
	"fmt"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// builder is where an engine puts its files, and what it may build on.
type builder struct {
	engine.Sink
	base  *engine.Base // nil: nothing
	delta Delta        // nil: nothing
}

// buildOn lets a DELTA take from its base what has not changed. A base that cannot be
// read is no reason not to back up: then every file is read.
func (r *run) buildOn(w Writer) (builder, error) {
	plain := builder{Sink: w}
	b := r.order.Base
	switch {
	case b == nil || r.order.RunType != holdfast.RunDelta:
		return plain, nil
	case r.order.Site.Reading == holdfast.ReadAll:
		r.log.InfoContext(r.link, "every file is read", "reason", "the site says so")
		return plain, nil
	case b.Snapshot == "":
		r.log.InfoContext(r.link, "every file is read", "reason", fmt.Sprintf("no copy of set %d is known to be whole", b.Set))
		return plain, nil
	}
	delta, err := w.BuildOn(r.soft, b.Snapshot)
	if err != nil {
		return plain, r.withoutBase(err)
	}
	result, err := r.baseResult(delta.Base())
	if err != nil {
		_ = delta.Close() // nothing was read beside it yet
		return plain, r.withoutBase(err)
	}
	return builder{Sink: delta, delta: delta, base: &engine.Base{Set: b.Set, Source: delta.Base(), Result: result}}, nil
}

// withoutBase says in the log that the base cannot be read, unless the run ends.
func (r *run) withoutBase(err error) error {
	if r.soft.Err() != nil || r.transient(err) {
		return err
	}
	r.log.WarnContext(r.link, "the base cannot be read, so every file is", "backup_set", r.order.Base.Set, "error", err)
	return nil
}

// baseResult reads what the base says of itself, and makes sure that it is the set
// that is meant.
func (r *run) baseResult(src engine.Source) (engine.Result, error) {
	m, err := readManifest(r.soft, src)
	if err != nil {
		return engine.Result{}, err
	}
	o := r.order
	if m.Installation != o.Installation || m.Site != o.Site.ID || m.Set != o.Base.Set || m.Engine != o.Engine {
		return engine.Result{}, holdfast.Errorf(holdfast.CodeInvalid, "snapshot %s holds set %d of site %d of installation %s",
			wire.Clip(o.Base.Snapshot, 16), m.Set, m.Site, wire.Clip(m.Installation, 64))
	}
	return m.Result, nil
}

// close ends the reading of the base.
func (b builder) close(r *run) {
	if b.delta == nil {
		return
	}
	if err := b.delta.Err(); err != nil && r.soft.Err() == nil {
		r.log.WarnContext(r.link, "the base could not be read to its end; the files behind that were read", "backup_set", r.order.Base.Set, "error", err)
	}
	_ = b.delta.Close() // it only reads
}

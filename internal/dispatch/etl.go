package dispatch

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// etlLimit is how long a worker may take to answer a question about an ETL.
const etlLimit = 30 * time.Second

// etlParts is what an order of an ETL needs besides its execution.
type etlParts struct {
	spec       holdfast.ETLSpec
	properties map[string]string
	sites      []holdfast.Site
}

// etlOf reads what the ETL of an execution does: what it has started with, or before
// that, what its job does now. CodeInvalid when it cannot run: a site is gone, or no
// run configuration is active.
func etlOf(ctx context.Context, r store.Reader, e holdfast.Execution) (p etlParts, err error) {
	start, err := r.ETLStart(ctx, e.ID)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		start, err = startNow(ctx, r, e)
	}
	if err != nil {
		return p, fmt.Errorf("read what execution %d does: %w", e.ID, err)
	}
	p.spec = start.Spec
	if p.sites, err = sitesOf(ctx, r, e.Account, p.spec.Sites); err != nil {
		return p, err
	}
	for i := range p.sites {
		if server, ok := start.Servers[p.sites[i].ID]; ok {
			p.sites[i].Server = server
		}
	}
	p.properties, err = p.spec.PropertiesOf(*e.ETL)
	return p, err
}

// startNow is what the execution would start with now.
func startNow(ctx context.Context, r store.Reader, e holdfast.Execution) (holdfast.ETLStart, error) {
	j, err := r.Job(ctx, e.Account, e.Job)
	if err != nil {
		return holdfast.ETLStart{}, fmt.Errorf("read job %d: %w", e.Job, err)
	}
	if j.ETL == nil || e.ETL == nil {
		return holdfast.ETLStart{}, holdfast.Errorf(holdfast.CodeInvalid, "job %d does not say what its ETL does", e.Job).WithHint("give it a definition")
	}
	sites, err := sitesOf(ctx, r, e.Account, j.ETL.Sites)
	if err != nil {
		return holdfast.ETLStart{}, err
	}
	return j.ETL.StartOf(sites)
}

func sitesOf(ctx context.Context, r store.Reader, a holdfast.AccountID, ids []holdfast.SiteID) ([]holdfast.Site, error) {
	sites := make([]holdfast.Site, 0, len(ids))
	for _, id := range ids {
		s, err := r.Site(ctx, a, id)
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "site %d, which the ETL names, does not exist", id).
				WithHint("name another site in the definition")
		}
		if err != nil {
			return nil, fmt.Errorf("read site %d: %w", id, err)
		}
		sites = append(sites, s)
	}
	return sites, nil
}

// simulateAsOf lets an execution that has not started be a simulation, or none, as
// the property of the run configuration has it by now: it gets its other properties
// of that one, too. One that was asked for as a simulation stays one once it waits
// for its turn.
func simulateAsOf(ctx context.Context, tx store.Tx, spec holdfast.ETLSpec, e holdfast.Execution) (holdfast.Execution, error) {
	run := spec.RunOf(e.ETL.Properties, e.ETL.Removed, false)
	if run.Simulate == e.ETL.Simulate || !run.Simulate && e.State != holdfast.StatePlanned {
		return e, nil
	}
	next := *e.ETL
	next.Simulate, next.Version = run.Simulate, e.ETL.Version+1
	if err := tx.MoveETLRun(ctx, e, next); err != nil {
		return e, err
	}
	e.ETL = &next
	return e, nil
}

// keepStart keeps what an execution that a worker is to have for the first time
// starts with. Where that cannot be said its order says what is wrong.
func keepStart(ctx context.Context, tx store.Tx, e holdfast.Execution) (holdfast.Execution, error) {
	if e.ETL == nil {
		return e, nil
	}
	if _, err := tx.ETLStart(ctx, e.ID); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return e, err // it has started before
	}
	start, err := startNow(ctx, tx, e)
	if code := holdfast.ErrorCode(err); code == holdfast.CodeNotFound || code == holdfast.CodeInvalid {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	if e, err = simulateAsOf(ctx, tx, start.Spec, e); err != nil {
		return e, err
	}
	return e, tx.KeepETLStart(ctx, e.ID, start)
}

// wireETL is the part of a message that says what an ETL does.
func wireETL(spec holdfast.ETLSpec, sites []holdfast.Site) *wire.ETL {
	out := &wire.ETL{Definition: spec.Definition, Service: spec.Service, Sites: make([]wire.Site, 0, len(sites))}
	for _, s := range sites {
		out.Sites = append(out.Sites, siteOf(s))
	}
	return out
}

// etlOrder adds to an order what is an ETL's. CodeInvalid when the order is more
// than a message holds.
func (d *Dispatcher) etlOrder(w holdfast.Worker, o *wire.Order, e holdfast.Execution, p etlParts) (err error) {
	o.ETL = wireETL(p.spec, p.sites)
	o.ETL.Identity, o.ETL.Version, o.ETL.Simulate, o.ETL.Service = e.ETL.Identity, e.ETL.Version, e.ETL.Simulate, e.ETL.Service
	if o.Sealed, err = d.sealETL(w, p.sites, p.properties); err != nil {
		return err
	}
	if _, err = wire.Encode(&wire.AskReply{Order: o}); holdfast.ErrorCode(err) == holdfast.CodeInvalid {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the ETL takes more than an order to a worker holds").
			WithHint("shorten the definition or its properties")
	}
	return err
}

// sealETL opens the passwords of the sites, and seals them to the worker together
// with the properties.
func (d *Dispatcher) sealETL(w holdfast.Worker, sites []holdfast.Site, properties map[string]string) ([]byte, error) {
	s := wire.Secrets{Sites: map[holdfast.SiteID]holdfast.Secret{}, Properties: properties}
	for _, site := range sites {
		if len(site.Password) == 0 {
			continue
		}
		password, err := d.cfg.Opener.Open(site.Password)
		if err != nil {
			return nil, fmt.Errorf("open the password of site %s: %w", site.Slug, err)
		}
		s.Sites[site.ID] = password
	}
	if len(s.Sites) == 0 && len(properties) == 0 {
		return nil, nil
	}
	return sealed(w, s)
}

// sealed seals secrets to the worker.
func sealed(w holdfast.Worker, s wire.Secrets) ([]byte, error) {
	packed, err := s.Pack()
	if err != nil {
		return nil, err
	}
	b, err := seal.ForWorker(w.SealKey, packed)
	if err != nil {
		return nil, fmt.Errorf("seal the secrets to worker %s: %w", w.Name, err)
	}
	return b, nil
}

// addProperties puts the newest properties of a service into the answer to a beat
// of an older version. What cannot be read now is told with a later beat.
func (d *Dispatcher) addProperties(ctx context.Context, from holdfast.WorkerID, id holdfast.ExecutionID, answer *wire.BeatReply) {
	answer.Version = 0
	var p etlParts
	var e holdfast.Execution
	var worker holdfast.Worker
	err := d.view(ctx, func(r store.Reader) (err error) {
		if worker, err = r.Worker(ctx, from); err != nil {
			return err
		}
		if e, err = r.Execution(ctx, 0, id); err != nil {
			return err
		}
		p, err = etlOf(ctx, r, e)
		return err
	})
	if err != nil {
		d.log.InfoContext(ctx, "new properties not told", "execution", int64(id), "error", err)
		return
	}
	told := wire.BeatReply{Wanted: answer.Wanted, Version: e.ETL.Version}
	if told.Sealed, err = d.sealETL(worker, nil, p.properties); err == nil {
		err = told.Validate()
	}
	if err != nil {
		d.log.WarnContext(ctx, "new properties not told", "execution", int64(id), "error", err)
		return
	}
	*answer = told
}

// forgive counts the failures of a service anew: a round was good.
func (d *Dispatcher) forgive(ctx context.Context, tx store.Tx, w watch) error {
	prev, err := tx.Execution(ctx, 0, w.id)
	if err != nil {
		return err
	}
	if prev.State != holdfast.StateRunning || prev.Fence != w.fence || !failedBefore(prev) {
		return nil
	}
	next := prev
	next.Attempts, next.Retries, next.HandBacks = 0, 0, 0
	return tx.MoveExecution(ctx, prev, next)
}

// failedBefore reports whether failures of the execution are counted.
func failedBefore(e holdfast.Execution) bool { return e.Attempts+e.Retries+e.HandBacks > 0 }

// leftBy is what is needed to end what a fence of an ETL that is to be closed without
// its worker may have left; nil when that cannot be said. It is read before: at its
// end an execution forgets what it has started with.
func (d *Dispatcher) leftBy(ctx context.Context, r store.Reader, e holdfast.Execution) (*etlParts, error) {
	if e.Type != holdfast.JobETL {
		return nil, nil //nolint:nilnil // a backup's is asked for when it is released
	}
	p, err := etlOf(ctx, r, e)
	if code := holdfast.ErrorCode(err); code == holdfast.CodeNotFound || code == holdfast.CodeInvalid {
		d.log.WarnContext(ctx, "what an execution may have left on its servers cannot be released", "execution", int64(e.ID), "error", err)
		return nil, nil //nolint:nilnil // the execution is moved on all the same
	}
	return &p, err
}

// releaseETL has a worker on the host of the job's site end what the execution left
// on the servers that it worked with.
func (d *Dispatcher) releaseETL(ctx context.Context, r release) error {
	if r.etl == nil {
		return nil
	}
	var site holdfast.Site
	err := d.view(ctx, func(tx store.Reader) (err error) {
		site, err = tx.Site(ctx, r.execution.Account, r.execution.Site)
		return err
	})
	if err != nil {
		return err
	}
	c := wire.Command{
		Kind: wire.CommandRelease, Installation: d.installation, Engine: r.execution.Engine, Execution: r.execution.ID, Fence: r.fence,
		Job: r.execution.Job, JobName: r.execution.JobName, ETL: wireETL(r.etl.spec, r.etl.sites),
	}
	c.ETL.Identity, c.ETL.Simulate = r.execution.ETL.Identity, r.execution.ETL.Simulate
	_, err = d.commandETL(ctx, site, r.etl.sites, r.etl.properties, releaseLimit, c)
	return err
}

// commandETL asks a worker that stands on the site's host; the command gets the
// passwords of all the sites, and the properties.
func (d *Dispatcher) commandETL(ctx context.Context, at holdfast.Site, sites []holdfast.Site, properties map[string]string, limit time.Duration, c wire.Command) (wire.Answer, error) {
	return d.commandHost(ctx, at, limit, func(w holdfast.Worker) (wire.Command, error) {
		var err error
		c.Sealed, err = d.sealETL(w, sites, properties)
		return c, err
	})
}

// ETLCounters asks a worker on the host of the ETL's site how far each flow has
// been loaded. CodeUnavailable when none answers.
func (d *Dispatcher) ETLCounters(ctx context.Context, t holdfast.ETLTask) ([]engine.FlowCounter, error) {
	a, err := d.ask(ctx, t, wire.Command{Kind: wire.CommandCounters})
	if err != nil {
		return nil, err
	}
	out := make([]engine.FlowCounter, 0, len(a.Counters))
	for _, c := range a.Counters {
		out = append(out, engine.FlowCounter(c))
	}
	return out, nil
}

// SetETLCounter has a worker make the next execution go on from another value; an
// empty one means from the beginning. Without an answer it is not known whether it
// has.
func (d *Dispatcher) SetETLCounter(ctx context.Context, t holdfast.ETLTask, flow, extract, value string) error {
	_, err := d.ask(ctx, t, wire.Command{Kind: wire.CommandSetCounter, Flow: flow, Extract: extract, Value: value})
	return err
}

// PreviewETL has a worker read the first rows of each relation that the definition
// names. What does not fit into an answer is cut.
func (d *Dispatcher) PreviewETL(ctx context.Context, t holdfast.ETLTask, rows int) ([]engine.Relation, error) {
	a, err := d.ask(ctx, t, wire.Command{Kind: wire.CommandPreview, Rows: rows})
	if err != nil {
		return nil, err
	}
	out := make([]engine.Relation, 0, len(a.Relations))
	for _, r := range a.Relations {
		relation := engine.Relation{Name: r.Name, Columns: make([]engine.Column, 0, len(r.Columns)), Rows: r.Rows, Rejected: r.Rejected, Reason: r.Reason}
		for _, c := range r.Columns {
			relation.Columns = append(relation.Columns, engine.Column(c))
		}
		out = append(out, relation)
	}
	return out, nil
}

// ask puts a question about an ETL.
func (d *Dispatcher) ask(ctx context.Context, t holdfast.ETLTask, c wire.Command) (wire.Answer, error) {
	if t.Job.ETL == nil {
		return wire.Answer{}, holdfast.Errorf(holdfast.CodeInvalid, "job %d is no ETL", t.Job.ID)
	}
	c.Installation, c.Engine, c.Job, c.JobName = d.installation, cmp.Or(t.Job.Engine, holdfast.EngineETL), t.Job.ID, t.Job.Name
	c.ETL = wireETL(*t.Job.ETL, t.Sites)
	return d.commandETL(ctx, t.Site, t.Sites, t.Properties, etlLimit, c)
}

package worker

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

const (
	commandLimit  = 5 * time.Minute
	questionLimit = 30 * time.Second // for what somebody waits for
)

// handleCommand takes a command. A wish is taken in at once; what takes longer
// runs beside.
func (w *Worker) handleCommand(m *nats.Msg) {
	c, err := wire.Decode[wire.Command](m.Data)
	if err != nil {
		w.log.WarnContext(w.life, "command dropped", "error", err)
		w.answer(m, wire.Answer{Failure: wire.NewFailure(err)})
		return
	}
	if c.Kind == wire.CommandWish {
		w.mu.Lock()
		r := w.running[runKey{c.Execution, c.Fence}]
		w.mu.Unlock()
		if r != nil {
			r.wish(c.Wanted)
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.draining {
		w.answer(m, wire.Answer{Failure: &wire.Failure{Code: holdfast.CodeUnavailable, Msg: "the worker is shutting down"}})
		return
	}
	w.commands.Go(func() {
		ctx, cancel := context.WithTimeout(w.life, limitOf(c.Kind))
		defer cancel()
		a, err := w.command(ctx, c)
		if err != nil {
			w.log.InfoContext(ctx, "command failed", "command", string(c.Kind), "error", err)
			a = wire.Answer{Failure: wire.NewFailure(err)}
		}
		w.answer(m, a)
	})
}

// limitOf is how long a command may take: nobody waits longer for the answer to a
// question about an ETL.
func limitOf(k wire.CommandKind) time.Duration {
	switch k {
	case wire.CommandCounters, wire.CommandSetCounter, wire.CommandPreview:
		return questionLimit
	case wire.CommandWish, wire.CommandTest, wire.CommandRelease, wire.CommandReap:
	}
	return commandLimit
}

func (w *Worker) answer(m *nats.Msg, a wire.Answer) {
	if m.Reply == "" {
		return
	}
	b, err := wire.Encode(&a)
	if err != nil { // who asked should hear of it
		b, err = wire.Encode(&wire.Answer{Failure: wire.NewFailure(holdfast.Wrap(holdfast.CodeInvalid, err, "the answer is more than a message holds"))})
	}
	if err == nil {
		err = m.Respond(b)
	}
	if err != nil {
		w.log.WarnContext(w.life, "answer to a command not sent", "error", err)
	}
}

func (w *Worker) command(ctx context.Context, c wire.Command) (wire.Answer, error) {
	secrets, err := w.secrets(c.Sealed)
	if err != nil {
		return wire.Answer{}, err
	}
	switch c.Kind {
	case wire.CommandTest:
		return w.test(ctx, c, secrets)
	case wire.CommandCounters, wire.CommandSetCounter, wire.CommandPreview:
		return w.commandETL(ctx, c, secrets)
	case wire.CommandRelease:
		if c.ETL != nil {
			return w.commandETL(ctx, c, secrets)
		}
		e, err := w.engine(c.Engine)
		if err != nil {
			return wire.Answer{}, err
		}
		return wire.Answer{}, e.Release(ctx, engine.Backup{
			Site: siteOf(*c.Site, secrets.Site), Installation: c.Installation, Execution: c.Execution, Fence: c.Fence, Report: &progress{}, Log: w.log,
		})
	case wire.CommandReap:
		if w.cfg.MaintenanceKey != "" && secrets.Access.AccessKey != "" {
			secrets.Access.AccessKey, secrets.Access.SecretKey, secrets.Access.SessionToken = w.cfg.MaintenanceKey, w.cfg.MaintenanceSecret, holdfast.Secret{}
		}
		repo, err := w.openRepository(ctx, *c.Repository, secrets, nil)
		if err != nil {
			return wire.Answer{}, err
		}
		var tags []string
		if c.Installation != "" && c.Execution != 0 { // an imported set is of no execution of ours
			tags = ownTags(c.Installation, c.Execution, c.Fence)
		}
		found, err := repo.RemoveSnapshot(ctx, c.Snapshot, tags)
		if until, ok := objstore.RetainedUntil(err); ok {
			return wire.Answer{Found: true, Retained: true, Until: until}, nil
		}
		return wire.Answer{Found: found}, err
	case wire.CommandWish: // taken in before
	}
	return wire.Answer{}, holdfast.Errorf(holdfast.CodeInvalid, "command %q is unknown", c.Kind)
}

// engine returns an engine for a command; CodeUnavailable when this worker has
// none, for another one may.
func (w *Worker) engine(name holdfast.Engine) (engine.Engine, error) {
	e, ok := w.cfg.Engines[name]
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "worker %s has no engine %q", w.cfg.Name, name).WithHint("upgrade the worker")
	}
	return e, nil
}

// commandETL asks the engine of an ETL.
func (w *Worker) commandETL(ctx context.Context, c wire.Command, secrets wire.Secrets) (a wire.Answer, err error) {
	p, err := w.pipeline(c.Engine)
	if err != nil {
		return a, err
	}
	req := etlOf(c.ETL, secrets)
	req.Installation, req.Job, req.JobName, req.Execution, req.Fence = c.Installation, c.Job, c.JobName, c.Execution, c.Fence
	req.Roots, req.Report, req.Log = w.cfg.ETLRoots, &progress{}, w.log
	switch c.Kind {
	case wire.CommandRelease:
		return a, p.Release(ctx, req)
	case wire.CommandSetCounter:
		return a, p.SetCounter(ctx, req, c.Flow, c.Extract, c.Value)
	case wire.CommandCounters:
		counters, err := p.Counters(ctx, req)
		for _, k := range counters {
			a.Counters = append(a.Counters, wire.FlowCounter(k))
		}
		return a, err
	case wire.CommandPreview:
		relations, err := p.Preview(ctx, req, c.Rows)
		for _, r := range relations {
			out := wire.Relation{Name: r.Name, Columns: make([]wire.Column, 0, len(r.Columns)), Rows: r.Rows, Rejected: r.Rejected, Reason: r.Reason}
			for _, column := range r.Columns {
				out.Columns = append(out.Columns, wire.Column(column))
			}
			a.Relations = append(a.Relations, out)
		}
		a.Relations = wire.Bound(a.Relations)
		return a, err
	case wire.CommandWish, wire.CommandTest, wire.CommandReap: // not of an ETL
	}
	return a, holdfast.Errorf(holdfast.CodeInvalid, "command %q is unknown", c.Kind)
}

// tester returns how the engine looks at a site.
func (w *Worker) tester(name holdfast.Engine) (func(context.Context, engine.Site) ([]engine.Finding, error), error) {
	if name == holdfast.EngineETL {
		p, err := w.pipeline(name)
		if err != nil {
			return nil, err
		}
		return p.Test, nil
	}
	e, err := w.engine(name)
	if err != nil {
		return nil, err
	}
	return e.Test, nil
}

func (w *Worker) test(ctx context.Context, c wire.Command, secrets wire.Secrets) (wire.Answer, error) {
	look, err := w.tester(c.Engine)
	if err != nil {
		return wire.Answer{}, err
	}
	findings, err := look(ctx, siteOf(*c.Site, secrets.Site))
	if err != nil {
		return wire.Answer{}, err
	}
	var a wire.Answer
	for _, f := range findings {
		a.Findings = append(a.Findings, wire.Finding{Name: f.Name, OK: f.OK, Text: f.Text, Fix: f.Fix})
	}
	return a, nil
}

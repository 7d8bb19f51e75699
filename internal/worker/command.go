package worker

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

const commandLimit = 5 * time.Minute

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
		ctx, cancel := context.WithTimeout(w.life, commandLimit)
		defer cancel()
		a, err := w.command(ctx, c)
		if err != nil {
			w.log.InfoContext(ctx, "command failed", "command", string(c.Kind), "error", err)
			a = wire.Answer{Failure: wire.NewFailure(err)}
		}
		w.answer(m, a)
	})
}

func (w *Worker) answer(m *nats.Msg, a wire.Answer) {
	if m.Reply == "" {
		return
	}
	b, err := wire.Encode(&a)
	if err == nil {
		err = m.Respond(b)
	}
	if err != nil {
		w.log.WarnContext(w.life, "answer to a command not sent", "error", err)
	}
}

func (w *Worker) command(ctx context.Context, c wire.Command) (wire.Answer, error) {
	var secrets wire.Secrets
	if len(c.Sealed) > 0 {
		packed, err := w.cfg.Opener.Open(c.Sealed)
		if err != nil {
			return wire.Answer{}, err
		}
		if secrets, err = wire.UnpackSecrets(packed); err != nil {
			return wire.Answer{}, err
		}
	}
	switch c.Kind {
	case wire.CommandTest:
		return w.test(ctx, c, secrets)
	case wire.CommandRelease:
		e, err := w.engine(c.Engine)
		if err != nil {
			return wire.Answer{}, err
		}
		return wire.Answer{}, e.Release(ctx, engine.Backup{
			Site: siteOf(*c.Site, secrets.Site), Installation: c.Installation, Execution: c.Execution, Fence: c.Fence, Report: &progress{}, Log: w.log,
		})
	case wire.CommandReap:
		repo, err := w.openRepository(ctx, *c.Repository, secrets.Repository)
		if err != nil {
			return wire.Answer{}, err
		}
		var tags []string
		if c.Installation != "" && c.Execution != 0 { // an imported set is of no execution of ours
			tags = ownTags(c.Installation, c.Execution, c.Fence)
		}
		found, err := repo.RemoveSnapshot(ctx, c.Snapshot, tags)
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

func (w *Worker) test(ctx context.Context, c wire.Command, secrets wire.Secrets) (wire.Answer, error) {
	e, err := w.engine(c.Engine)
	if err != nil {
		return wire.Answer{}, err
	}
	findings, err := e.Test(ctx, siteOf(*c.Site, secrets.Site))
	if err != nil {
		return wire.Answer{}, err
	}
	var a wire.Answer
	for _, f := range findings {
		a.Findings = append(a.Findings, wire.Finding{Name: f.Name, OK: f.OK, Text: f.Text, Fix: f.Fix})
	}
	return a, nil
}

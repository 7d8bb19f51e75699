package dispatch

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

const testLimit = 30 * time.Second

// command asks one worker, and waits for its answer. CodeUnavailable when it is
// not there or does not answer in time.
func (d *Dispatcher) command(ctx context.Context, w holdfast.Worker, c wire.Command) (wire.Answer, error) {
	b, err := wire.Encode(&c)
	if err != nil {
		return wire.Answer{}, err
	}
	m, err := d.conn.RequestWithContext(ctx, wire.CommandSubject(w.ID), b)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return wire.Answer{}, holdfast.Wrap(holdfast.CodeUnavailable, err, "worker %s is not connected", w.Name).
			WithHint("start the worker")
	case err != nil:
		return wire.Answer{}, holdfast.Wrap(holdfast.CodeUnavailable, err, "worker %s does not answer", w.Name)
	}
	a, err := wire.Decode[wire.Answer](m.Data)
	if err != nil {
		return wire.Answer{}, err
	}
	return a, a.Failure.Err()
}

// commandSite asks a worker that stands on the site's host. The command gets the
// site and its password.
func (d *Dispatcher) commandSite(ctx context.Context, site holdfast.Site, limit time.Duration, c wire.Command) (wire.Answer, error) {
	s := siteOf(site)
	c.Site = &s
	return d.commandHost(ctx, site, limit, func(w holdfast.Worker) (_ wire.Command, err error) {
		c.Sealed, err = d.secretsFor(w, site.Password, holdfast.Repository{})
		return c, err
	})
}

// commandHost asks the workers that stand on the site's host, one after the other,
// until one is there. command makes what each of them is asked.
func (d *Dispatcher) commandHost(
	ctx context.Context, site holdfast.Site, limit time.Duration, command func(holdfast.Worker) (wire.Command, error),
) (wire.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var workers []holdfast.Worker
	err := d.view(ctx, func(r store.Reader) (err error) {
		workers, err = r.Workers(ctx)
		return err
	})
	if err != nil {
		return wire.Answer{}, err
	}
	var last error = holdfast.Errorf(holdfast.CodeUnavailable, "no worker stands on the host of site %s", site.Slug).
		WithHint("invite a worker for that host, and start it there")
	there := slices.DeleteFunc(workers, func(w holdfast.Worker) bool { return !w.Removed.IsZero() || !w.StandsOn(site.Host) })
	for _, w := range there {
		c, err := command(w)
		if err != nil {
			return wire.Answer{}, err
		}
		// One that is frozen must leave time for the others.
		tryCtx, cancel := context.WithTimeout(ctx, limit/time.Duration(len(there)))
		a, err := d.command(tryCtx, w, c)
		cancel()
		if err == nil || holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
			return a, err
		}
		last = err
	}
	return wire.Answer{}, last
}

// TestSite asks a worker that stands on the site's host to look at the site with
// an engine's eyes. CodeUnavailable when no such worker answers.
func (d *Dispatcher) TestSite(ctx context.Context, site holdfast.Site, e holdfast.Engine) ([]engine.Finding, error) {
	a, err := d.commandSite(ctx, site, testLimit, wire.Command{Kind: wire.CommandTest, Engine: e})
	if err != nil {
		return nil, err
	}
	out := make([]engine.Finding, 0, len(a.Findings))
	for _, f := range a.Findings {
		out = append(out, engine.Finding{Name: f.Name, OK: f.OK, Text: f.Text, Fix: f.Fix})
	}
	return out, nil
}

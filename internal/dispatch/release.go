package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// release is a fence that was closed without its engine.
type release struct {
	execution holdfast.Execution
	fence     holdfast.Fence
	etl       *etlParts // of an ETL, see leftBy
}

const (
	releaseTries   = 5
	releaseWait    = 5 * time.Second
	releaseLimit   = 30 * time.Second
	releasesAtOnce = 16
)

// release has a worker on the site's host end what the execution left on the
// server, or on those of an ETL.
func (d *Dispatcher) release(r release) {
	if r.execution.Type == holdfast.JobRestore {
		return
	}
	select {
	case d.releases <- r:
	default:
		d.log.Warn("what an execution left on its server is not released: too many wait", "execution", int64(r.execution.ID))
	}
}

// releaseLoop works on several at once: a server that does not answer, or a host
// without a worker, must not keep the others waiting.
func (d *Dispatcher) releaseLoop(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(releasesAtOnce)
	for {
		select {
		case <-ctx.Done():
			return g.Wait()
		case r := <-d.releases:
			g.Go(func() error {
				d.releaseOne(ctx, r)
				return nil
			})
		}
	}
}

func (d *Dispatcher) releaseOne(ctx context.Context, r release) {
	var err error
	for range releaseTries {
		if r.execution.Type == holdfast.JobETL {
			err = d.releaseETL(ctx, r)
		} else {
			err = d.releaseBackup(ctx, r)
		}
		if err == nil || errors.Is(err, context.Canceled) || holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(releaseWait):
		}
	}
	if err != nil {
		d.log.InfoContext(ctx, "what an execution may have left on its server was not released", "execution", int64(r.execution.ID),
			"error", fmt.Errorf("release: %w", err))
	}
}

func (d *Dispatcher) releaseBackup(ctx context.Context, r release) error {
	var site holdfast.Site
	err := d.view(ctx, func(tx store.Reader) (err error) {
		site, err = tx.Site(ctx, r.execution.Account, r.execution.Site)
		return err
	})
	if err != nil {
		return err
	}
	_, err = d.commandSite(ctx, site, releaseLimit, wire.Command{
		Kind: wire.CommandRelease, Installation: d.installation, Engine: r.execution.Engine, Execution: r.execution.ID, Fence: r.fence,
	})
	return err
}

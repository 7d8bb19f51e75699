package dispatch

import (
	"context"
	"fmt"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// orderParts is what an order needs besides its execution.
type orderParts struct {
	site       holdfast.Site
	repository holdfast.Repository
	snapshot   string // of a restore's source
	base       holdfast.BackupSet
	baseCopy   string        // snapshot of the base in the repository; empty: there is none to build on
	target     holdfast.Site // of a restore in place
	etl        etlParts
}

func (d *Dispatcher) orderParts(ctx context.Context, r store.Reader, e holdfast.Execution) (orderParts, error) {
	var (
		p   orderParts
		err error
	)
	if p.site, err = r.Site(ctx, e.Account, e.Site); err != nil {
		return p, fmt.Errorf("read site %d: %w", e.Site, err)
	}
	repository := e.Repository
	if e.Type == holdfast.JobRestore {
		c, err := readableCopy(ctx, r, e)
		if err != nil {
			return p, err
		}
		p.snapshot, repository = c.Snapshot, c.Repository
		if p.target, err = inPlace(ctx, r, e); err != nil {
			return p, err
		}
	}
	if e.Type == holdfast.JobETL {
		p.etl, err = etlOf(ctx, r, e)
		return p, err
	}
	if repository == 0 {
		return p, holdfast.Errorf(holdfast.CodeInvalid, "site %s has no repository", p.site.Slug).
			WithHint("create a repository, and name it in the site or in the job")
	}
	if p.repository, err = r.Repository(ctx, e.Account, repository); err != nil {
		return p, fmt.Errorf("read repository %d: %w", repository, err)
	}
	if p.base, _, err = baseOf(ctx, r, e); err != nil || p.base.ID == 0 {
		return p, err
	}
	p.baseCopy, err = goodCopy(ctx, r, e, p.base.ID)
	return p, err
}

// goodCopy returns the snapshot of the set in the execution's repository; empty when
// no copy there is known to be whole.
func goodCopy(ctx context.Context, r store.Reader, e holdfast.Execution, set holdfast.SetID) (string, error) {
	copies, err := r.Copies(ctx, e.Account, set)
	if err != nil {
		return "", fmt.Errorf("read copies of backup set %d: %w", set, err)
	}
	for _, c := range copies {
		if c.Repository == e.Repository && (c.State == holdfast.CopyComplete || c.State == holdfast.CopyVerified) {
			return c.Snapshot, nil
		}
	}
	return "", nil
}

// inPlace returns the site into whose data directory the execution restores; the
// zero value when it restores elsewhere. CodeInvalid when the site has another data
// directory by now: nobody has said that that one may be replaced.
func inPlace(ctx context.Context, r store.Reader, e holdfast.Execution) (holdfast.Site, error) {
	if e.Restore == nil || e.Restore.Site == 0 {
		return holdfast.Site{}, nil
	}
	site, err := r.Site(ctx, e.Account, e.Restore.Site)
	if err != nil {
		return site, fmt.Errorf("read site %d: %w", e.Restore.Site, err)
	}
	if site.DataDir != e.Restore.Directory || site.Host != e.Restore.Host {
		return site, holdfast.Errorf(holdfast.CodeInvalid, "the data directory of site %s is not %s any more", site.Slug, e.Restore.Directory).
			WithHint("ask for the restore again")
	}
	return site, nil
}

// readableCopy returns the copy that a restore reads: the best that is known, in the
// repository that was asked for.
func readableCopy(ctx context.Context, r store.Reader, e holdfast.Execution) (holdfast.Copy, error) {
	copies, err := r.Copies(ctx, e.Account, e.Set)
	if err != nil {
		return holdfast.Copy{}, fmt.Errorf("read copies of backup set %d: %w", e.Set, err)
	}
	rank := map[holdfast.CopyState]int{
		holdfast.CopyVerified: 4, holdfast.CopyComplete: 3, holdfast.CopyUnconfirmed: 2, holdfast.CopyDamaged: 1,
	}
	var best holdfast.Copy
	for _, c := range copies {
		if e.Restore != nil && e.Restore.Repository != 0 && c.Repository != e.Restore.Repository {
			continue
		}
		if rank[c.State] > rank[best.State] {
			best = c
		}
	}
	if !best.Readable() {
		return best, holdfast.Errorf(holdfast.CodeNotFound, "backup set %d has no copy that can be read", e.Set).
			WithHint("restore another backup set")
	}
	return best, nil
}

// order makes the order, with the secrets opened and sealed again to the worker.
func (d *Dispatcher) order(w holdfast.Worker, e holdfast.Execution, p orderParts) (*wire.Order, error) {
	o := &wire.Order{
		Request: e.Request, Installation: d.installation, Account: e.Account, Execution: e.ID, Fence: e.Fence,
		Type: e.Type, Engine: e.Engine, Job: e.Job, JobName: e.JobName, AbortAfter: e.AbortAfter,
		Site: siteOf(p.site),
	}
	if e.Type == holdfast.JobETL {
		return o, d.etlOrder(w, o, e, p.etl)
	}
	return o, d.copyOrder(w, o, e, p)
}

// copyOrder adds to an order what a backup or a restore needs.
func (d *Dispatcher) copyOrder(w holdfast.Worker, o *wire.Order, e holdfast.Execution, p orderParts) (err error) {
	o.Repository, o.Set, o.RunType, o.RunTypeReason = repositoryOf(p.repository), e.Set, e.RunType, e.RunTypeReason
	o.Restore, o.Snapshot = e.Restore, p.snapshot
	if p.base.ID != 0 {
		o.Base = &wire.Base{Set: p.base.ID, SystemIdentifier: p.base.Physical.SystemIdentifier, Snapshot: p.baseCopy}
	}
	if p.target.ID != 0 {
		target := siteOf(p.target)
		o.Target = &target
	}
	if o.Sealed, err = d.secretsFor(w, p.site.Password, p.repository); err != nil {
		return err
	}
	return o.Validate()
}

func siteOf(s holdfast.Site) wire.Site {
	return wire.Site{ID: s.ID, Slug: s.Slug, Server: s.Server, DataDir: s.DataDir, Reading: s.Reading, Compression: s.Compression, BytesPerSec: s.BytesPerSec}
}

func repositoryOf(r holdfast.Repository) wire.Repository {
	return wire.Repository{ID: r.ID, Location: r.Location, FormatID: r.FormatID}
}

// secretsFor opens what the database keeps sealed, and seals it to the worker.
// The zero site or repository needs none.
func (d *Dispatcher) secretsFor(w holdfast.Worker, site []byte, repository holdfast.Repository) ([]byte, error) {
	var (
		s   wire.Secrets
		err error
	)
	if len(site) == 0 && len(repository.Password) == 0 && len(repository.Access) == 0 {
		return nil, nil
	}
	if len(site) > 0 {
		if s.Site, err = d.cfg.Opener.Open(site); err != nil {
			return nil, fmt.Errorf("open the site's password: %w", err)
		}
	}
	if len(repository.Password) > 0 {
		if s.Repository, err = d.cfg.Opener.Open(repository.Password); err != nil {
			return nil, fmt.Errorf("open the repository's password: %w", err)
		}
	}
	if len(repository.Access) > 0 {
		packed, err := d.cfg.Opener.Open(repository.Access)
		if err != nil {
			return nil, fmt.Errorf("open the access to the repository's object store: %w", err)
		}
		if s.Access, err = holdfast.UnpackObjectAccess(packed); err != nil {
			return nil, err
		}
	}
	return sealed(w, s)
}

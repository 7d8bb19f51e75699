package service

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// What a site gets that names no port and no database: PostgreSQL's own.
const (
	defaultPort     = 5432
	defaultDatabase = "postgres"
)

// NewSite is a site with its password in the clear. Site.Password is ignored.
type NewSite struct {
	Site     holdfast.Site
	Password holdfast.Secret // of Site.Server.User; in an update, zero keeps the old one
	// NoPassword makes an update forget the password.
	NoPassword bool
}

func siteWord(id holdfast.SiteID) string { return fmt.Sprintf("site %d", id) }

// findSite returns the site when the actor may do op to it.
func findSite(ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, id holdfast.SiteID) (holdfast.Site, error) {
	site, err := r.Site(ctx, actor.Principal.Account, id)
	if err != nil {
		return holdfast.Site{}, found(err, siteWord(id))
	}
	return site, allow(actor, op, target{what: siteWord(id), sites: []holdfast.SiteID{id}})
}

// sitesInScope lists the sites that the credential covers. The list is shared:
// callers do not change it.
func sitesInScope(ctx context.Context, r store.Reader, actor holdfast.Actor) ([]holdfast.Site, error) {
	list, err := r.Sites(ctx, actor.Principal.Account)
	if err != nil || !bound(actor) {
		return list, err
	}
	return those(list, func(site holdfast.Site) bool { return actor.Credential.Covers(site.ID) }), nil
}

// siteDefaults fills what a request may leave out.
func siteDefaults(site holdfast.Site) holdfast.Site {
	if site.Name == "" {
		site.Name = site.Slug
	}
	if site.Pool == "" {
		site.Pool = holdfast.DefaultPool
	}
	if site.Server.Port == 0 {
		site.Server.Port = defaultPort
	}
	if site.Server.Database == "" {
		site.Server.Database = defaultDatabase
	}
	if site.Reading == "" {
		site.Reading = holdfast.ReadTrust
	}
	if site.Compression == "" {
		site.Compression = holdfast.CompressDefault
	}
	return site
}

// seal seals a password; nothing stays nothing.
func (s *Service) seal(p holdfast.Secret) ([]byte, error) {
	if p.IsZero() {
		return nil, nil
	}
	sealed, err := s.cfg.Sealer.Seal(p)
	if err != nil {
		return nil, fmt.Errorf("seal password: %w", err)
	}
	return sealed, nil
}

// siteParts checks that host and repository exist, and lets the worker inside
// serve take the site's pool when it stands on the site's host.
func siteParts(ctx context.Context, tx store.Tx, actor holdfast.Actor, op Operation, site holdfast.Site) error {
	if _, err := findHost(ctx, tx, actor, op, site.Host); err != nil {
		return err
	}
	if site.Repository != 0 {
		if _, err := findRepository(ctx, tx, actor, op, site.Repository); err != nil {
			return err
		}
	}
	return serveLocal(ctx, tx, site.Host, site.Pool)
}

// CreateSite makes a site. Left out, its name is its slug, its pool the default
// one, its port 5432, its database "postgres", its reading and compression the
// default ones; without a data directory it is
// for ETLs only. CodeNotFound for a host or
// repository that does not exist, CodeConflict for a slug that is taken and for a
// data directory inside or around another site's, CodeInvalid for one inside or
// around a repository.
func (s *Service) CreateSite(ctx context.Context, actor holdfast.Actor, in NewSite) (holdfast.Site, error) {
	if err := allow(actor, opCreateSite, account()); err != nil {
		return holdfast.Site{}, err
	}
	asked := siteDefaults(in.Site)
	if err := asked.Validate(); err != nil {
		return holdfast.Site{}, err
	}
	sealed, err := s.seal(in.Password)
	if err != nil {
		return holdfast.Site{}, err
	}
	now := s.now()
	asked.ID, asked.Account, asked.Password, asked.Created = 0, actor.Principal.Account, sealed, now
	var site holdfast.Site
	err = s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		site = asked
		_, err := tx.SiteBySlug(ctx, actor.Principal.Account, site.Slug)
		if err := free(err, "site", site.Slug); err != nil {
			return err
		}
		if err := siteParts(ctx, tx, actor, opCreateSite, site); err != nil {
			return err
		}
		if err := placeFree(ctx, tx, site); err != nil {
			return err
		}
		if err := tx.InsertSite(ctx, &site); err != nil {
			return err
		}
		return recordSite(ctx, tx, actor, now, site.ID, "site.created", siteFacts(site))
	})
	if err != nil {
		return holdfast.Site{}, err
	}
	s.cfg.Log.InfoContext(ctx, "site created", "site", site.ID, "actor", actor.String())
	return site, nil
}

// siteFacts says what a site is, without its password.
func siteFacts(site holdfast.Site) facts {
	return facts{
		"slug": site.Slug, "host": site.Host, "server": site.Server.Host, "port": site.Server.Port, "user": site.Server.User,
		"data_dir": site.DataDir, "pool": site.Pool, "repository": site.Repository,
		"reading": site.Reading, "compression": site.Compression, "bytes_per_second": site.BytesPerSec,
	}
}

// Sites lists the sites that the credential covers.
func (s *Service) Sites(ctx context.Context, actor holdfast.Actor) ([]holdfast.Site, error) {
	if err := allow(actor, opSites, account()); err != nil {
		return nil, err
	}
	var list []holdfast.Site
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		shared, err := sitesInScope(ctx, r, actor)
		list = slices.Clone(shared)
		return err
	})
	return list, err
}

// Site returns a site.
func (s *Service) Site(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID) (holdfast.Site, error) {
	return s.site(ctx, actor, opSite, id)
}

func (s *Service) site(ctx context.Context, actor holdfast.Actor, op Operation, id holdfast.SiteID) (holdfast.Site, error) {
	var site holdfast.Site
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		site, err = findSite(ctx, r, actor, op, id)
		return err
	})
	if err != nil {
		return holdfast.Site{}, err
	}
	return site, nil
}

// SiteBySlug returns a site by its text id.
func (s *Service) SiteBySlug(ctx context.Context, actor holdfast.Actor, slug string) (holdfast.Site, error) {
	what := fmt.Sprintf("site %q", slug)
	var site holdfast.Site
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		site, err = r.SiteBySlug(ctx, actor.Principal.Account, slug)
		if err != nil {
			return found(err, what)
		}
		return allow(actor, opSiteBySlug, target{what: what, sites: []holdfast.SiteID{site.ID}})
	})
	if err != nil {
		return holdfast.Site{}, err
	}
	return site, nil
}

// UpdateSite puts in.Site in the place of the site with its id. Slug and time of
// creation never change: empty keeps the slug, another one is CodeInvalid. A new
// data directory is refused as by CreateSite.
// Executions that wait follow the site to another host or pool.
func (s *Service) UpdateSite(ctx context.Context, actor holdfast.Actor, in NewSite) (holdfast.Site, error) {
	// The decision comes first: nothing is sealed, and no mistake in the request
	// is told, for somebody who may not.
	if _, err := s.site(ctx, actor, opUpdateSite, in.Site.ID); err != nil {
		return holdfast.Site{}, err
	}
	sealed, err := s.seal(in.Password)
	if err != nil {
		return holdfast.Site{}, err
	}
	now := s.now()
	var site holdfast.Site
	var moved bool
	err = s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		old, err := findSite(ctx, tx, actor, opUpdateSite, in.Site.ID)
		if err != nil {
			return err
		}
		site, err = changedSite(old, in, sealed)
		if err != nil {
			return err
		}
		if err := siteParts(ctx, tx, actor, opUpdateSite, site); err != nil {
			return err
		}
		if err := keepsDataDir(ctx, tx, old, site); err != nil {
			return err
		}
		if site.DataDir != old.DataDir || site.Host != old.Host { // else it can be corrected step by step
			if err := placeFree(ctx, tx, site); err != nil {
				return err
			}
		}
		if err := tx.UpdateSite(ctx, site); err != nil {
			return err
		}
		moved = site.Host != old.Host || site.Pool != old.Pool
		if moved {
			if err := moveLive(ctx, tx, actor, site); err != nil {
				return err
			}
		}
		data := siteFacts(site)
		data["password_changed"] = in.NoPassword || !in.Password.IsZero()
		return recordSite(ctx, tx, actor, now, site.ID, "site.updated", data)
	})
	if err != nil {
		return holdfast.Site{}, err
	}
	if moved {
		s.cfg.Dispatcher.Ring(site.Pool)
	}
	s.cfg.Log.InfoContext(ctx, "site updated", "site", site.ID, "actor", actor.String())
	return site, nil
}

// errNoDataDir refuses to back up what is there for ETLs only.
func errNoDataDir(site holdfast.Site) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "site %q has no data directory: ETLs use it, and it cannot be backed up", site.Slug).
		WithHint("to back it up, say where its files are: holdfast site update %s --data-dir DIR; SHOW data_directory tells it", site.Slug)
}

// keepsDataDir refuses to take a data directory away that backups are made of.
func keepsDataDir(ctx context.Context, r store.Reader, old, site holdfast.Site) error {
	if site.DataDir != "" || old.DataDir == "" {
		return nil
	}
	jobs, _, err := r.Jobs(ctx, site.Account, store.JobFilter{Sites: []holdfast.SiteID{site.ID}})
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.Type == holdfast.JobBackup {
			return holdfast.Errorf(holdfast.CodeConflict, "job %q backs site %q up, and needs its data directory", j.Name, site.Slug).
				WithHint("delete the job first, or leave the data directory")
		}
	}
	return nil
}

// moveLive lets the site's executions that have not ended follow it: nobody
// serves what they waited for any more. One that runs goes on where it is, and
// follows when it is queued again; a restore stays with its own host.
func moveLive(ctx context.Context, tx store.Tx, actor holdfast.Actor, site holdfast.Site) error {
	list, err := live(ctx, tx, actor)
	if err != nil {
		return err
	}
	for _, prev := range list {
		if prev.Site != site.ID {
			continue
		}
		next := prev
		if next.Type == holdfast.JobRestore {
			next.Pool, err = restorePool(ctx, tx, site, next.Host)
		} else {
			next.Host, next.Pool = site.Host, site.Pool
		}
		if err != nil {
			return err
		}
		if err := tx.MoveExecution(ctx, prev, next); err != nil {
			return err
		}
	}
	return nil
}

func changedSite(old holdfast.Site, in NewSite, sealed []byte) (holdfast.Site, error) {
	site := in.Site
	if site.Slug != "" && site.Slug != old.Slug {
		return holdfast.Site{}, holdfast.Errorf(holdfast.CodeInvalid, "the slug of site %d cannot change from %q", old.ID, old.Slug).
			WithHint("make another site")
	}
	site.Slug, site.Account, site.Created = old.Slug, old.Account, old.Created
	site.Password = old.Password
	switch {
	case in.NoPassword:
		site.Password = nil
	case sealed != nil:
		site.Password = sealed
	}
	site = siteDefaults(site)
	return site, site.Validate()
}

// DeleteSite deletes a site; CodeConflict while it has jobs or backup sets.
func (s *Service) DeleteSite(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID) error {
	now := s.now()
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		site, err := findSite(ctx, tx, actor, opDeleteSite, id)
		if err != nil {
			return err
		}
		if err := tx.DeleteSite(ctx, actor.Principal.Account, id); err != nil {
			return err
		}
		return recordSite(ctx, tx, actor, now, id, "site.deleted", facts{"slug": site.Slug})
	})
	if err == nil {
		s.cfg.Log.InfoContext(ctx, "site deleted", "site", id, "actor", actor.String())
	}
	return err
}

// TestSite lets a worker on the site's host look at the site, and returns what
// jobs of a type would miss: backups, or ETLs. Empty means backups, and ETLs for a
// site without a data directory. CodeUnavailable when no such worker answers.
func (s *Service) TestSite(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID, jobs holdfast.JobType) ([]engine.Finding, error) {
	site, err := s.site(ctx, actor, opTestSite, id)
	if err != nil {
		return nil, err
	}
	switch {
	case jobs == holdfast.JobETL, jobs == "" && site.DataDir == "":
		ctx, cancel := context.WithTimeout(ctx, testTimeout)
		defer cancel()
		return s.cfg.Dispatcher.TestSite(ctx, site, holdfast.EngineETL)
	case jobs != "" && jobs != holdfast.JobBackup:
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a site is not tested for jobs of the type %s", jobs).WithHint("test it for backup or etl")
	case site.DataDir == "":
		return nil, errNoDataDir(site)
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	findings, err := s.cfg.Dispatcher.TestSite(ctx, site, holdfast.EnginePhysical)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		f, err := placeFinding(ctx, r, site)
		if f != nil {
			findings = append(findings, *f)
		}
		return err
	})
	return findings, err
}

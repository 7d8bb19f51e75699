package sqlite

import (
	"context"
	"fmt"

	"github.com/holdfast-backup/holdfast"
)

const (
	siteColumns  = "id, account, " + siteChanging
	siteChanging = "host, slug, name, server_host, server_port, server_user, database, ssl_mode, password, data_dir, pool, repository, max_running, reading, compression, bytes_per_sec, created"
)

func siteFields(s *holdfast.Site) []any {
	return []any{
		idOf(&s.ID), &s.Account, &s.Host, &s.Slug, &s.Name, &s.Server.Host, &s.Server.Port, &s.Server.User, &s.Server.Database,
		&s.Server.SSLMode, &s.Password, &s.DataDir, &s.Pool, idOf(&s.Repository), &s.MaxRunning,
		&s.Reading, &s.Compression, &s.BytesPerSec,
		micros{&s.Created},
	}
}

// plural says how many there are of something.
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Site returns one site.
func (r reader) Site(ctx context.Context, a holdfast.AccountID, id holdfast.SiteID) (holdfast.Site, error) {
	return one(ctx, r.s, named("site", id), siteFields, "SELECT "+siteColumns+" FROM sites WHERE id = ? AND "+mine, id, a, a)
}

// SiteBySlug returns one site.
func (r reader) SiteBySlug(ctx context.Context, a holdfast.AccountID, slug string) (holdfast.Site, error) {
	var w where
	w.add("slug = ?", slug)
	w.account(a)
	return one(ctx, r.s, quoted("site", slug), siteFields, "SELECT "+siteColumns+" FROM sites"+w.String()+" ORDER BY id LIMIT 1", w.args...)
}

// Sites lists the account's sites, by id.
func (r reader) Sites(ctx context.Context, a holdfast.AccountID) ([]holdfast.Site, error) {
	return remembered(ctx, r, a, func(d *directory) map[holdfast.AccountID][]holdfast.Site { return d.sites }, func(ctx context.Context) ([]holdfast.Site, error) {
		return many(ctx, r.s, siteFields, "SELECT "+siteColumns+" FROM sites WHERE "+mine+" ORDER BY id", a, a)
	})
}

// InsertSite makes a site.
func (t tx) InsertSite(ctx context.Context, s *holdfast.Site) error {
	n, err := t.s.insert(ctx, "INSERT INTO sites ("+siteColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", siteFields(s)...)
	if err != nil {
		return taken(err, "site %q", s.Slug)
	}
	s.ID = holdfast.SiteID(n)
	return nil
}

// UpdateSite writes everything but id and account.
func (t tx) UpdateSite(ctx context.Context, s holdfast.Site) error {
	args := append(siteFields(&s)[2:], s.ID, s.Account)
	n, err := t.s.exec(ctx, "UPDATE sites SET ("+siteChanging+") = (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id = ? AND account = ?", args...)
	return changed(n, taken(err, "site %q", s.Slug), "site %d", s.ID)
}

// DeleteSite removes a site that has no jobs, that no ETL names or works with, with
// nothing under way, and no backup sets but those whose every copy is deleted. The history of its
// deleted jobs stays.
func (t tx) DeleteSite(ctx context.Context, a holdfast.AccountID, id holdfast.SiteID) error {
	site, err := t.Site(ctx, a, id)
	if err != nil {
		return err
	}
	for _, c := range []struct{ noun, hint, count string }{
		{"job", "delete its jobs first", "SELECT count(*) FROM jobs WHERE account = ? AND site = ? AND deleted IS NULL"},
		{
			"ETL that names it", "take it out of their definitions, or delete them",
			`SELECT count(*) FROM jobs j INDEXED BY jobs_account WHERE account = ? AND type = 'ETL' AND deleted IS NULL
				AND EXISTS (SELECT 1 FROM json_each(j.etl, '$.sites') s WHERE s.value = ?)`,
		},
		{
			"unfinished execution of an ETL that named it", "wait until they have ended, or stop them",
			`SELECT count(*) FROM etl_starts k JOIN executions e ON e.id = k.execution WHERE e.account = ?
				AND EXISTS (SELECT 1 FROM json_each(k.etl, '$.sites') s WHERE s.value = ?)`,
		},
		{
			"unfinished execution", "wait until they have ended, or stop them",
			"SELECT count(*) FROM executions WHERE account = ? AND site = ? AND state <> 'ENDED' AND state IN ('PLANNED', 'QUEUED', 'RUNNING', 'SUSPENDED')",
		},
		{
			"backup set", "its backup sets would be out of reach",
			`SELECT count(*) FROM backup_sets s WHERE account = ? AND site = ? AND (
				EXISTS (SELECT 1 FROM copies c WHERE c.backup_set = s.id AND c.state <> 'DELETED')
				OR NOT EXISTS (SELECT 1 FROM copies c WHERE c.backup_set = s.id))`,
		},
	} {
		n, err := t.s.number(ctx, c.count, site.Account, id)
		if err != nil {
			return err
		}
		if n > 0 {
			return holdfast.Errorf(holdfast.CodeConflict, "site %d still has %s", id, plural(n, c.noun)).WithHint("%s", c.hint)
		}
	}
	n, err := t.s.exec(ctx, "DELETE FROM sites WHERE id = ? AND account = ?", id, site.Account)
	return changed(n, err, "site %d", id)
}

package service

import (
	"context"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// inside reports whether p lies in the directory, or is it. Both are clean; an empty
// one is no directory.
func inside(p, dir string) bool { return dir != "" && strings.HasPrefix(p+"/", dir+"/") }

// overlap reports whether one of two directories is the other, or lies in it.
func overlap(a, b string) bool { return inside(a, b) || inside(b, a) }

// locationDir is the directory in which a repository stands; empty when its location
// is of another kind.
func locationDir(location string) string {
	l, err := holdfast.ParseLocation(location)
	if err != nil {
		return ""
	}
	return l.Dir
}

// repositoryAt returns the account's repository that stands in the directory, or
// around it; nil: none does. Repositories stand under one path on every machine, so
// the host does not matter.
func repositoryAt(ctx context.Context, r store.Reader, a holdfast.AccountID, dir string) (*holdfast.Repository, error) {
	list, err := r.Repositories(ctx, a)
	if err != nil {
		return nil, err
	}
	for _, repo := range list {
		if at := locationDir(repo.Location); at != "" && overlap(at, dir) {
			return &repo, nil
		}
	}
	return nil, nil //nolint:nilnil // none is no error
}

// outsideSites refuses a repository where a site's data directory is: a restore in
// place would move it aside with the data directory that it is there to bring back.
func outsideSites(ctx context.Context, r store.Reader, a holdfast.AccountID, l holdfast.Location) error {
	sites, err := r.Sites(ctx, a)
	if err != nil {
		return err
	}
	for _, site := range sites {
		if overlap(l.Dir, site.DataDir) {
			return holdfast.Errorf(holdfast.CodeInvalid, "a repository at %s and the data directory %s of site %q lie inside each other", l, site.DataDir, site.Slug).
				WithHint("choose a directory outside of every server's files: a backup must not be lost together with what it is of")
		}
	}
	return nil
}

// placeFree checks that the site's data directory is no repository's, and that it
// lies neither inside nor around another site's or a repository. Two sites may name
// the same server.
func placeFree(ctx context.Context, r store.Reader, site holdfast.Site) error {
	sites, err := r.Sites(ctx, site.Account)
	if err != nil {
		return err
	}
	for _, other := range sites {
		switch {
		case other.ID == site.ID, other.Host != site.Host, other.DataDir == site.DataDir:
		case overlap(other.DataDir, site.DataDir):
			return holdfast.Errorf(holdfast.CodeConflict, "data directory %s and that of site %q, %s, lie inside each other", site.DataDir, other.Slug, other.DataDir).
				WithHint("name the server's own data directory: SHOW data_directory tells it; when that of site %q is wrong, correct it, or run holdfast site remove %s", other.Slug, other.Slug)
		}
	}
	repo, err := repositoryAt(ctx, r, site.Account, site.DataDir)
	if err != nil || repo == nil {
		return err
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "data directory %s and repository %q at %s lie inside each other", site.DataDir, repo.Name, repo.Location).
		WithHint("make a repository outside of every server's files, and remove this one: a backup must not be lost together with what it is of")
}

// placeFinding says of a site that was made earlier what placeFree would refuse of
// its repository; nil: nothing.
func placeFinding(ctx context.Context, r store.Reader, site holdfast.Site) (*engine.Finding, error) {
	repo, err := repositoryAt(ctx, r, site.Account, site.DataDir)
	if err != nil || repo == nil {
		return nil, err
	}
	return &engine.Finding{
		Name: "repository",
		Text: "repository " + repo.Name + " at " + repo.Location + " and the data directory lie inside each other: one is lost with the other",
		Fix:  "let the site's jobs use a repository outside of every server's files",
	}, nil
}

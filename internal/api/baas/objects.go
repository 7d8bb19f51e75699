package baas

import (
	"context"

	"github.com/holdfast-backup/holdfast"
)

// What the calls about objects say. A physical save set holds the files of a
// whole cluster, and no list of what is in its databases.
const (
	onlyWhole = "a physical save set holds the files of a whole cluster, and its objects are not listed"
	wholeHint = "restore the execution as a whole, without objects"
)

// prepareObjects would prepare the list of an execution's objects (E6).
func (h *handler) prepareObjects(ctx context.Context, c *Call) error { return h.noObjects(ctx, c) }

// objects would list the objects of an execution's save set (E8).
func (h *handler) objects(ctx context.Context, c *Call) error { return h.noObjects(ctx, c) }

func (h *handler) noObjects(ctx context.Context, c *Call) error {
	_, e, err := h.findBackup(ctx, c)
	if err != nil {
		return err
	}
	if err := withSet(e); err != nil {
		return err
	}
	return unavailable(onlyWhole, wholeHint, opRestore)
}

// preparation tells of the newest preparation on the site (E7). There is none:
// SUCCESSFUL would be a lie.
func (h *handler) preparation(ctx context.Context, c *Call) error {
	if _, err := h.Scope.Site(ctx, c); err != nil {
		return err
	}
	return holdfast.Errorf(holdfast.CodeNotFound, "no objects have been prepared on this site").WithHint("%s: %s", onlyWhole, wholeHint)
}

// databases would list the databases of a site's server (E12).
func (h *handler) databases(ctx context.Context, c *Call) error {
	if _, err := h.Scope.Site(ctx, c); err != nil {
		return err
	}
	return notBrowsed("databases")
}

// databaseObjects would list what is in the databases of a site's server.
func (h *handler) databaseObjects(ctx context.Context, c *Call) error {
	if _, err := h.Scope.Site(ctx, c); err != nil {
		return err
	}
	if err := checkCredentials(c.Request.Header); err != nil {
		return err
	}
	return notBrowsed("objects")
}

func notBrowsed(what string) error {
	return unavailable("the "+what+" of a running server are not listed: backups of this version take the whole cluster as files",
		"leave objects out of backup jobs and restores: everything is meant; list the server's own with psql")
}

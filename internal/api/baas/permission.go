package baas

import (
	"context"
	"net/http"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// restorePermissions says whether the caller may restore the site's save sets
// (E11). Who sees the site gets an answer, and 403 is none.
func (h *handler) restorePermissions(ctx context.Context, c *Call) error {
	site, err := h.Scope.Site(ctx, c)
	if err != nil {
		return err
	}
	if err := checkCredentials(c.Request.Header); err != nil {
		return err
	}
	tree, err := c.Body()
	if err != nil {
		return err
	}
	if err := canonicalRestore(tree); err != nil {
		return err
	}
	r := reader{}
	top := r.object("", map[string]any(tree))
	target := strings.TrimSpace(r.textOf(top, targetSiteKey))
	readSettings(&r, top, true)
	if r.err != nil {
		return r.err
	}
	p := Permission{Has: true, Missing: []string{}, Status: statusSuccessful}
	if !c.Actor.Credential.Role.Includes(holdfast.RoleOperator) {
		p.Has, p.Missing = false, append(p.Missing, "role "+string(holdfast.RoleOperator))
	}
	if target != "" && target != site.Slug {
		_, err := h.Service.SiteBySlug(ctx, c.Actor, target)
		switch {
		case holdfast.ErrorCode(err) == holdfast.CodeNotFound: // or does not exist: the two are not told apart
			p.Has, p.Missing = false, append(p.Missing, "site "+short(target))
		case err != nil:
			return err
		}
	}
	writeJSON(c.w, http.StatusOK, p)
	return nil
}

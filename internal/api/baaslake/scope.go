package baaslake

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/baas"
)

// scope is how this dialect's requests say who asks and which site they are
// about: by a token that the caller has signed, by the account in the path, and
// by the job or the account's only site.
type scope struct {
	Config
}

// Actor takes a token that the caller has signed (L1 to L4), or one of ours.
func (s scope) Actor(r *http.Request) (holdfast.Actor, error) {
	token, err := bearer(r.Header)
	if err != nil {
		return holdfast.Actor{}, err
	}
	if strings.Count(token, ".") == 2 { // three parts: a JSON web token
		return s.signed(r.Context(), token)
	}
	return s.Service.Authenticate(r.Context(), token, Dialect)
}

// bearer returns the token of the Authorization header.
func bearer(h http.Header) (string, error) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(h.Get("Authorization")), " ")
	rest = strings.TrimSpace(rest)
	if !strings.EqualFold(scheme, "Bearer") || rest == "" {
		return "", holdfast.Errorf(holdfast.CodeUnauthenticated, "the request carries no bearer token").
			WithHint("send Authorization: Bearer with a token that you have signed, as docs/api/lake.md shows")
	}
	return rest, nil
}

// Account compares the account of the path with the caller's own: by its form
// acc-…, by its name, and by its aliases. Another account's is unknown
//
func (s scope) Account(ctx context.Context, c *baas.Call) (string, error) {
	a, err := s.Service.Account(ctx, c.Actor)
	if err != nil {
		return "", err
	}
	id := accountID(a.ID)
	asked, ok := c.Path["account"]
	if !ok || asked == id || asked == a.Name {
		return id, nil
	}
	for _, alias := range a.Aliases {
		if strings.EqualFold(asked, alias) {
			return id, nil
		}
	}
	return "", baas.Unknown("account", asked)
}

// accountID is the internal form of an account's id.
func accountID(id holdfast.AccountID) string { return fmt.Sprintf("acc-%d", id) }

// siteNames are the spellings of the parameter that names a site.
func siteNames() []string { return []string{"site-id", "site_id", "siteId"} }

// Site returns the site that the request is about: the job's, the one that
// query or body names, or the account's only one.
func (s scope) Site(ctx context.Context, c *baas.Call) (holdfast.Site, error) {
	named, err := s.named(ctx, c)
	if err != nil {
		return holdfast.Site{}, err
	}
	if _, ok := c.Path["job"]; ok {
		j, err := c.Job(ctx)
		if err != nil {
			return holdfast.Site{}, err
		}
		if named.ID != 0 && named.ID != j.Site {
			return holdfast.Site{}, baas.Unknown("job", c.Path["job"])
		}
		return s.Service.Site(ctx, c.Actor, j.Site)
	}
	if named.ID != 0 {
		return named, nil
	}
	all, err := s.Service.Sites(ctx, c.Actor)
	if err != nil {
		return holdfast.Site{}, err
	}
	if len(all) == 1 {
		return all[0], nil
	}
	slugs := make([]string, len(all))
	for i, site := range all {
		slugs[i] = site.Slug
	}
	if len(slugs) == 0 {
		return holdfast.Site{}, holdfast.Errorf(holdfast.CodeInvalid, "the account has no site").
			WithHint("register one with: holdfast site add")
	}
	return holdfast.Site{}, holdfast.Errorf(holdfast.CodeInvalid, "the account has several sites, and the request names none").
		WithHint("name one with site-id in the query, or site_id in the body: %s", strings.Join(slugs, ", "))
}

// named returns the site that the query or the body of the request names, or
// none.
func (s scope) named(ctx context.Context, c *baas.Call) (holdfast.Site, error) {
	q, err := c.Query()
	if err != nil {
		return holdfast.Site{}, err
	}
	slug, err := q.Text(siteNames()...)
	if err != nil {
		return holdfast.Site{}, err
	}
	if c.Request.Method == http.MethodPost || c.Request.Method == http.MethodPut {
		body, err := c.Body()
		if err != nil {
			return holdfast.Site{}, err
		}
		for _, name := range []string{"site_id", "siteId"} {
			text, ok := body[name].(string)
			switch {
			case !ok || strings.TrimSpace(text) == "":
			case slug != "" && slug != strings.TrimSpace(text):
				return holdfast.Site{}, holdfast.Errorf(holdfast.CodeInvalid, "the request names two sites, %q and %q", slug, text).
					WithHint("name one")
			default:
				slug = strings.TrimSpace(text)
			}
		}
	}
	if slug == "" {
		return holdfast.Site{}, nil
	}
	site, err := s.Service.SiteBySlug(ctx, c.Actor, slug)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		err = baas.Unknown("site", slug)
	}
	return site, err
}

// Base is the account's path.
func (s scope) Base(c *baas.Call, _ holdfast.Site) string {
	return Root + "/" + accountID(c.Actor.Principal.Account) + "/baas"
}

// organisation says which organisation the caller belongs to (L4): its id and its
// name are what tokens carry as org_id and org_key.
func (s scope) organisation(ctx context.Context, c *baas.Call) error {
	a, err := s.Service.Account(ctx, c.Actor)
	if err != nil {
		return err
	}
	o := a.Organisation
	c.WriteJSON(http.StatusOK, organisation{
		ID: baas.ID(o.ID), OrgID: baas.ID(o.ID), OrgKey: o.Name, Name: o.Name, Description: "organization " + o.Name,
	})
	return nil
}

type organisation struct {
	ID          string `json:"id"`
	OrgID       string `json:"org_id"`
	OrgKey      string `json:"org_key"`
	Name        string `json:"name"`
	Description string `json:"description"`
}

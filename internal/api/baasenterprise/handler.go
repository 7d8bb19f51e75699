// Package baasenterprise serves the Backup-as-a-Service API of Teradata
// VantageCloud Enterprise: /data-protection/v2. What it answers, and where each
// fact comes from, is in docs/api/enterprise.md. It knows how this dialect's
// requests say who asks and which site they are about; the routes are those of
// package baas.
package baasenterprise

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/baas"
)

// Root is the path below which the API lives.
const Root = "/data-protection/v2"

// Dialect is the name of this API in events.
const Dialect = "baasenterprise"

// Service is what this dialect needs of the use cases.
type Service interface {
	baas.Service
	Authenticate(ctx context.Context, bearer, dialect string) (holdfast.Actor, error)
	LocalActor(ctx context.Context, dialect, account string) (holdfast.Actor, error)
}

// Config is what the dialect is made of.
type Config struct {
	Service Service
	// FromSocket reports whether the request came through the Unix socket, whose
	// owner is admin and needs no token; nil: never.
	FromSocket func(context.Context) bool
	Prefix     string // of the path, before Root; empty: none
	Words      baas.Words
	Log        *slog.Logger
}

func dialect() baas.Dialect {
	return baas.Dialect{
		Root: Root, Site: "sites/{site}", Document: "docs/api/enterprise.md", OneProtected: true,
		Challenges: []string{`Bearer realm="holdfast"`, `Basic realm="holdfast", charset="UTF-8"`},
	}
}

// Routes lists the calls of the dialect.
func Routes() []baas.Route { return dialect().Routes() }

// Handler serves the API below Prefix and [Root]. Nothing of it is anonymous.
// Whoever calls it has set [baas.RequestIDHeader] on the response.
func Handler(cfg Config) http.Handler {
	return baas.New(baas.Config{
		Dialect: dialect(), Scope: scope{cfg}, Service: cfg.Service, Prefix: cfg.Prefix, Words: cfg.Words, Log: cfg.Log,
	})
}

// scope is how this dialect's requests say who asks and which site they are
// about: by a token, and by the path.
type scope struct {
	Config
}

// Actor takes a token, or the owner of the Unix socket.
func (s scope) Actor(r *http.Request) (holdfast.Actor, error) {
	token, err := baas.Token(r.Header)
	switch {
	case err != nil:
		return holdfast.Actor{}, err
	case token != "":
		return s.Service.Authenticate(r.Context(), token, Dialect)
	case s.FromSocket != nil && s.FromSocket(r.Context()):
		return s.Service.LocalActor(r.Context(), Dialect, "")
	}
	return holdfast.Actor{}, baas.ErrNoToken()
}

// Account is empty: this dialect's paths name none.
func (scope) Account(context.Context, *baas.Call) (string, error) { return "", nil }

// Site returns the site of the path.
func (s scope) Site(ctx context.Context, c *baas.Call) (holdfast.Site, error) {
	slug := c.Path["site"]
	site, err := s.Service.SiteBySlug(ctx, c.Actor, slug)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		err = baas.Unknown("site", slug)
	}
	return site, err
}

// Base is the site's path.
func (s scope) Base(_ *baas.Call, site holdfast.Site) string {
	return s.Prefix + Root + "/sites/" + site.Slug
}

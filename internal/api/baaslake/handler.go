// Package baaslake serves the Backup-as-a-Service API of Teradata VantageCloud
// Lake: /api/accounts/{account}/baas. What it answers, and where each fact comes
// from, is in docs/api/lake.md. It knows how this dialect's requests say who asks
// and which site they are about; the routes are those of package baas.
package baaslake

import (
	"context"
	"crypto/rsa"
	"log/slog"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/baas"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// What is below these paths is this dialect's.
const (
	Root             = "/api/accounts"
	OrganisationRoot = "/api/my-organization"
)

// Dialect is the name of this API in events.
const Dialect = "baaslake"

// Service is what this dialect needs of the use cases.
type Service interface {
	baas.Service
	Authenticate(ctx context.Context, bearer, dialect string) (holdfast.Actor, error)
	// PublicKey returns the key with the name. For a name that nobody has it is a
	// key that nobody has: the difference must not be told.
	PublicKey(ctx context.Context, name service.KeyName) (*rsa.PublicKey, error)
	// AuthenticatePAT returns who has the key and the token. What was signed with
	// the key has been verified before.
	AuthenticatePAT(ctx context.Context, proof service.PATProof, dialect string) (holdfast.Actor, error)
	Account(ctx context.Context, actor holdfast.Actor) (service.AccountView, error)
	SiteBySlug(ctx context.Context, actor holdfast.Actor, slug string) (holdfast.Site, error)
	Site(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID) (holdfast.Site, error)
}

// Config is what the dialect is made of.
type Config struct {
	Service Service
	// TokenLife is the longest time between iat and exp of a token; 0:
	// [DefaultTokenLife].
	TokenLife time.Duration
	Words     baas.Words
	Now       func() time.Time
	Log       *slog.Logger
}

func dialect(s scope) baas.Dialect {
	return baas.Dialect{
		Root: Root + "/{account}/baas", Document: "docs/api/lake.md", EmptyBodies: true,
		Challenges: []string{`Bearer realm="holdfast"`},
		Own: []baas.Path{{
			Pattern: OrganisationRoot, Methods: map[string]baas.Endpoint{http.MethodGet: s.organisation},
		}},
	}
}

// Routes lists the calls of the dialect.
func Routes() []baas.Route { return dialect(scope{}).Routes() }

// Handler serves the API below [Root] and [OrganisationRoot]. Nothing of it is
// anonymous. Whoever calls it has set [baas.RequestIDHeader] on the response.
func Handler(cfg Config) http.Handler {
	if cfg.TokenLife == 0 {
		cfg.TokenLife = DefaultTokenLife
	}
	s := scope{cfg}
	return baas.New(baas.Config{Dialect: dialect(s), Scope: s, Service: cfg.Service, Words: cfg.Words, Log: cfg.Log})
}

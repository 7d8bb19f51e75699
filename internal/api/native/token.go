package native

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// Token is a bearer token, without its secret.
type Token struct {
	ID       holdfast.CredentialID `json:"id"`
	Name     string                `json:"name"`
	Role     holdfast.Role         `json:"role" enum:"reader,operator,admin"`
	Sites    []string              `json:"sites,omitempty" doc:"Slugs of the sites that it covers; left out: every site"`
	SiteIDs  []holdfast.SiteID     `json:"site_ids,omitempty"`
	Created  time.Time             `json:"created"`
	Expires  time.Time             `json:"expires,omitzero"`
	Revoked  time.Time             `json:"revoked,omitzero"`
	LastUsed time.Time             `json:"last_used,omitzero" doc:"To the minute"`
}

// NewToken asks for a token.
type NewToken struct {
	Name    string        `json:"name" maxLength:"63"`
	Role    holdfast.Role `json:"role" enum:"reader,operator,admin"`
	Sites   []string      `json:"sites,omitempty" doc:"Ids or slugs; left out: every site"`
	Expires time.Time     `json:"expires,omitzero"`
}

// CreatedToken is a new token with its secret.
type CreatedToken struct {
	Token
	Secret string `json:"secret" doc:"The token to send; shown this once"`
}

func (n names) token(c holdfast.Credential) Token {
	return Token{
		ID: c.ID, Name: c.Name, Role: c.Role, Sites: n.slugs(c.Sites), SiteIDs: c.Sites,
		Created: utc(c.Created), Expires: utc(c.Expires), Revoked: utc(c.Revoked), LastUsed: utc(c.LastUsed),
	}
}

type tokenPath struct {
	Token holdfast.CredentialID `path:"token" minimum:"1"`
}

func (a *api) registerTokens() {
	register(a, operation{id: "list-tokens", method: http.MethodGet, path: "/tokens", tag: "tokens", summary: "List tokens, revoked ones too"},
		func(ctx context.Context, actor holdfast.Actor, _ *none) (*listOutput[Token], error) {
			all, err := a.Service.Tokens(ctx, actor)
			if err != nil {
				return nil, err
			}
			n, err := a.names(ctx, actor)
			if err != nil {
				return nil, err
			}
			return listOf(all, -1, n.token), nil
		})
	register(a, operation{
		id: "create-token", method: http.MethodPost, path: "/tokens", tag: "tokens", status: http.StatusCreated,
		summary: "Create a token; its secret is in this answer and nowhere else",
	}, a.createToken)
	register(a, operation{id: "revoke-token", method: http.MethodDelete, path: "/tokens/{token}", tag: "tokens", summary: "End a token"},
		func(ctx context.Context, actor holdfast.Actor, in *tokenPath) (*none, error) {
			return &none{}, a.Service.RevokeToken(ctx, actor, in.Token)
		})
}

func (a *api) createToken(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewToken }) (*created[CreatedToken], error) {
	sites, err := a.sites(ctx, actor, in.Body.Sites)
	if err != nil {
		return nil, err
	}
	c, secret, err := a.Service.CreateToken(ctx, actor, service.NewToken{
		Name: in.Body.Name, Role: in.Body.Role, Sites: sites, Expires: in.Body.Expires,
	})
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return &created[CreatedToken]{
		Location: fmt.Sprintf("%s/tokens/%d", Root, c.ID),
		Body:     CreatedToken{Token: n.token(c), Secret: secret.Reveal()},
	}, nil
}

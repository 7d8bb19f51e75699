package native

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// PAT is a user's personal access token, without its secret. It allows nothing
// without a key of the user.
type PAT struct {
	ID          holdfast.CredentialID `json:"id"`
	UserID      holdfast.PrincipalID  `json:"user_id"`
	User        string                `json:"user"`
	Role        holdfast.Role         `json:"role" enum:"reader,operator,admin"`
	Sites       []string              `json:"sites,omitempty" doc:"Slugs of the sites that it covers; left out: every site"`
	SiteIDs     []holdfast.SiteID     `json:"site_ids,omitempty"`
	Created     time.Time             `json:"created"`
	Expires     time.Time             `json:"expires"`
	IdleMinutes int64                 `json:"idle_minutes,omitempty" doc:"Without use, after which it ends; left out: never"`
	Revoked     time.Time             `json:"revoked,omitzero"`
	LastUsed    time.Time             `json:"last_used,omitzero" doc:"To the minute"`
}

// NewPAT asks for a personal access token.
type NewPAT struct {
	User        string        `json:"user" doc:"Id or name"`
	Role        holdfast.Role `json:"role,omitempty" enum:"reader,operator,admin" doc:"At most the user's; left out: the user's"`
	Sites       []string      `json:"sites,omitempty" doc:"Ids or slugs, of those of the user; left out: the user's"`
	Expires     time.Time     `json:"expires,omitzero" doc:"Within ten years; left out: in a year"`
	IdleMinutes int64         `json:"idle_minutes,omitempty" minimum:"0" maximum:"5256000" doc:"Without use, after which it ends; left out: never"`
}

// CreatedPAT is a new personal access token with its secret.
type CreatedPAT struct {
	PAT
	Secret string `json:"secret" doc:"What goes into a signed token; shown this once"`
}

func (n names) pat(k service.UserKey) PAT {
	return PAT{
		ID: k.ID, UserID: k.Principal, User: k.User, Role: k.Role, Sites: n.slugs(k.Sites), SiteIDs: k.Sites, Created: utc(k.Created),
		Expires: utc(k.Expires), IdleMinutes: int64(k.Idle / time.Minute), Revoked: utc(k.Revoked), LastUsed: utc(k.LastUsed),
	}
}

func (a *api) registerPATs() {
	register(a, operation{
		id: "list-pats", method: http.MethodGet, path: "/pats", tag: "pats", summary: "List the users' personal access tokens, ended ones too",
	}, func(ctx context.Context, actor holdfast.Actor, in *ofUser) (*listOutput[PAT], error) {
		all, err := a.listed(ctx, actor, in.User, a.Service.PATs)
		if err != nil {
			return nil, err
		}
		n, err := a.names(ctx, actor)
		if err != nil {
			return nil, err
		}
		return listOf(all, -1, n.pat), nil
	})
	register(a, operation{
		id: "create-pat", method: http.MethodPost, path: "/pats", tag: "pats", status: http.StatusCreated,
		summary: "Create a personal access token; its secret is in this answer and nowhere else",
	}, a.createPAT)
	register(a, operation{id: "revoke-pat", method: http.MethodDelete, path: "/pats/{pat}", tag: "pats", summary: "End a personal access token"},
		func(ctx context.Context, actor holdfast.Actor, in *struct {
			PAT holdfast.CredentialID `path:"pat" minimum:"1"`
		},
		) (*none, error) {
			return &none{}, a.Service.RevokePAT(ctx, actor, in.PAT)
		})
}

func (a *api) createPAT(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewPAT }) (*created[CreatedPAT], error) {
	u, err := a.user(ctx, actor, in.Body.User)
	if err != nil {
		return nil, err
	}
	sites, err := a.sites(ctx, actor, in.Body.Sites)
	if err != nil {
		return nil, err
	}
	k, secret, err := a.Service.CreatePAT(ctx, actor, service.NewPAT{
		User: u.ID, Role: in.Body.Role, Sites: sites, Expires: in.Body.Expires, Idle: time.Duration(in.Body.IdleMinutes) * time.Minute,
	})
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return &created[CreatedPAT]{
		Location: fmt.Sprintf("%s/pats/%d", Root, k.ID),
		Body:     CreatedPAT{PAT: n.pat(k), Secret: secret.Reveal()},
	}, nil
}

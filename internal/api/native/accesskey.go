package native

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// AccessKey is a user's access key, without its secret half.
type AccessKey struct {
	ID        holdfast.CredentialID `json:"id"`
	Name      string                `json:"name"`
	UserID    holdfast.PrincipalID  `json:"user_id"`
	User      string                `json:"user"`
	AccessKey string                `json:"access_key" doc:"The public half, which a log-in sends with the secret one"`
	Role      holdfast.Role         `json:"role" enum:"reader,operator,admin"`
	Sites     []string              `json:"sites,omitempty" doc:"Slugs of the sites that it covers; left out: every site"`
	SiteIDs   []holdfast.SiteID     `json:"site_ids,omitempty"`
	Created   time.Time             `json:"created"`
	Expires   time.Time             `json:"expires,omitzero" doc:"Left out: never"`
	Revoked   time.Time             `json:"revoked,omitzero"`
	LastUsed  time.Time             `json:"last_used,omitzero" doc:"To the minute"`
}

// NewAccessKey asks for an access key.
type NewAccessKey struct {
	User    string        `json:"user" doc:"Id or name"`
	Name    string        `json:"name" maxLength:"128" doc:"For people; unique among the user's access keys in use"`
	Role    holdfast.Role `json:"role,omitempty" enum:"reader,operator,admin" doc:"At most the user's; left out: the user's"`
	Sites   []string      `json:"sites,omitempty" doc:"Ids or slugs, of those of the user; left out: the user's"`
	Expires time.Time     `json:"expires,omitzero" doc:"Left out: never"`
}

// CreatedAccessKey is a new access key with its secret half.
type CreatedAccessKey struct {
	AccessKey
	Secret string `json:"access_secret_key" doc:"Shown this once"`
}

func (n names) accessKey(k service.UserKey) AccessKey {
	return AccessKey{
		ID: k.ID, Name: k.Name, UserID: k.Principal, User: k.User, AccessKey: string(k.PublicKey), Role: k.Role, Sites: n.slugs(k.Sites),
		SiteIDs: k.Sites, Created: utc(k.Created), Expires: utc(k.Expires), Revoked: utc(k.Revoked), LastUsed: utc(k.LastUsed),
	}
}

func (a *api) registerAccessKeys() {
	register(a, operation{
		id: "list-access-keys", method: http.MethodGet, path: "/access-keys", tag: "access-keys", summary: "List the users' access keys, ended ones too",
	}, func(ctx context.Context, actor holdfast.Actor, in *ofUser) (*listOutput[AccessKey], error) {
		all, err := a.listed(ctx, actor, in.User, a.Service.AccessKeys)
		if err != nil {
			return nil, err
		}
		n, err := a.names(ctx, actor)
		if err != nil {
			return nil, err
		}
		return listOf(all, -1, n.accessKey), nil
	})
	register(a, operation{
		id: "create-access-key", method: http.MethodPost, path: "/access-keys", tag: "access-keys", status: http.StatusCreated,
		summary: "Create an access key; its secret half is in this answer and nowhere else",
	}, a.createAccessKey)
	register(a, operation{
		id: "revoke-access-key", method: http.MethodDelete, path: "/access-keys/{key}", tag: "access-keys",
		summary: "End an access key, and every log-in that it opened",
	}, func(ctx context.Context, actor holdfast.Actor, in *struct {
		Key holdfast.CredentialID `path:"key" minimum:"1"`
	},
	) (*none, error) {
		return &none{}, a.Service.RevokeAccessKey(ctx, actor, in.Key)
	})
}

func (a *api) createAccessKey(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewAccessKey }) (*created[CreatedAccessKey], error) {
	u, err := a.user(ctx, actor, in.Body.User)
	if err != nil {
		return nil, err
	}
	sites, err := a.sites(ctx, actor, in.Body.Sites)
	if err != nil {
		return nil, err
	}
	k, secret, err := a.Service.CreateAccessKey(ctx, actor, service.NewAccessKey{
		User: u.ID, Name: in.Body.Name, Role: in.Body.Role, Sites: sites, Expires: in.Body.Expires,
	})
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return &created[CreatedAccessKey]{
		Location: fmt.Sprintf("%s/access-keys/%d", Root, k.ID),
		Body:     CreatedAccessKey{AccessKey: n.accessKey(k), Secret: secret.Reveal()},
	}, nil
}

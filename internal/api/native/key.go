package native

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// Key is a public key with which a user signs.
type Key struct {
	ID        holdfast.CredentialID `json:"id"`
	Name      string                `json:"name" doc:"As a signature's header names it"`
	UserID    holdfast.PrincipalID  `json:"user_id"`
	User      string                `json:"user"`
	PublicKey []byte                `json:"public_key" doc:"PKIX, DER, in base64"`
	Created   time.Time             `json:"created"`
	Revoked   time.Time             `json:"revoked,omitzero"`
}

// NewKey asks for a public key to be taken for a user.
type NewKey struct {
	User      string `json:"user" doc:"Id or name"`
	Name      string `json:"name" maxLength:"128" doc:"As a signature's header names it; unique among the user's keys in use"`
	PublicKey string `json:"public_key" maxLength:"16384" doc:"RSA, 2048 to 8192 bits, in PEM"`
}

func keyOf(k service.UserKey) Key {
	return Key{
		ID: k.ID, Name: k.Name, UserID: k.Principal, User: k.User, PublicKey: k.PublicKey, Created: utc(k.Created), Revoked: utc(k.Revoked),
	}
}

// ofUser selects a user's part of a list.
type ofUser struct {
	User string `query:"user" doc:"Id or name of a user; left out: every user's"`
}

// lister lists keys, or personal access tokens, of every user.
type lister func(context.Context, holdfast.Actor) ([]service.UserKey, error)

// listed returns what list holds of the user, or all when ref is empty.
func (a *api) listed(ctx context.Context, actor holdfast.Actor, ref string, list lister) ([]service.UserKey, error) {
	all, err := list(ctx, actor)
	if err != nil || ref == "" {
		return all, err
	}
	u, err := a.user(ctx, actor, ref)
	if err != nil {
		return nil, err
	}
	var of []service.UserKey
	for _, k := range all {
		if k.Principal == u.ID {
			of = append(of, k)
		}
	}
	return of, nil
}

func (a *api) registerKeys() {
	register(a, operation{id: "list-keys", method: http.MethodGet, path: "/keys", tag: "keys", summary: "List the users' public keys, revoked ones too"},
		func(ctx context.Context, actor holdfast.Actor, in *ofUser) (*listOutput[Key], error) {
			all, err := a.listed(ctx, actor, in.User, a.Service.Keys)
			if err != nil {
				return nil, err
			}
			return listOf(all, -1, keyOf), nil
		})
	register(a, operation{
		id: "add-key", method: http.MethodPost, path: "/keys", tag: "keys", status: http.StatusCreated, summary: "Take a public key for a user",
	}, func(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewKey }) (*created[Key], error) {
		u, err := a.user(ctx, actor, in.Body.User)
		if err != nil {
			return nil, err
		}
		k, err := a.Service.AddKey(ctx, actor, service.NewKey{User: u.ID, Name: in.Body.Name, PEM: []byte(in.Body.PublicKey)})
		if err != nil {
			return nil, err
		}
		return &created[Key]{Location: fmt.Sprintf("%s/keys/%d", Root, k.ID), Body: keyOf(k)}, nil
	})
	register(a, operation{id: "revoke-key", method: http.MethodDelete, path: "/keys/{key}", tag: "keys", summary: "End a public key"},
		func(ctx context.Context, actor holdfast.Actor, in *struct {
			Key holdfast.CredentialID `path:"key" minimum:"1"`
		},
		) (*none, error) {
			return &none{}, a.Service.RevokeKey(ctx, actor, in.Key)
		})
}

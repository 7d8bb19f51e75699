package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// Accounts lists the accounts that the caller may know of.
func (c *Client) Accounts(ctx context.Context) ([]native.Account, error) {
	return items[native.Account](ctx, c, get("accounts"))
}

// CreateAccount makes an account.
func (c *Client) CreateAccount(ctx context.Context, in native.NewAccount) (native.Account, error) {
	return call[native.Account](ctx, c, post(in, "accounts"))
}

// ChangeAliases adds and removes aliases of the account with this id or name.
func (c *Client) ChangeAliases(ctx context.Context, ref string, in native.AliasChange) (native.Account, error) {
	return call[native.Account](ctx, c, request{method: http.MethodPatch, path: []string{"accounts", ref, "aliases"}, body: in})
}

// Users lists users.
func (c *Client) Users(ctx context.Context) ([]native.User, error) {
	return items[native.User](ctx, c, get("users"))
}

// CreateUser makes a user.
func (c *Client) CreateUser(ctx context.Context, in native.NewUser) (native.User, error) {
	return call[native.User](ctx, c, post(newUser{in, in.Password.Reveal()}, "users"))
}

// SetPassword sets the password of the user with this id or name.
func (c *Client) SetPassword(ctx context.Context, ref string, password holdfast.Secret) error {
	return drop(ctx, c, request{method: http.MethodPut, path: []string{"users", ref, "password"}, body: newPassword{password.Reveal()}})
}

// The bodies that hold a password: a Secret itself prints as [redacted].
type (
	newUser struct {
		native.NewUser
		Password string `json:"password,omitempty"`
	}
	newPassword struct {
		Password string `json:"password,omitempty"`
	}
)

// DisableUser refuses the user with this id or name from now on.
func (c *Client) DisableUser(ctx context.Context, ref string) (native.User, error) {
	return call[native.User](ctx, c, post(nil, "users", ref, "disable"))
}

// EnableUser lets the user with this id or name in again.
func (c *Client) EnableUser(ctx context.Context, ref string) (native.User, error) {
	return call[native.User](ctx, c, post(nil, "users", ref, "enable"))
}

// ofUser asks for a user's part of a list; empty: all.
func ofUser(user string, path ...string) request {
	r := get(path...)
	if user != "" {
		r.query = url.Values{"user": {user}}
	}
	return r
}

// Keys lists the public keys of a user; empty: of every user.
func (c *Client) Keys(ctx context.Context, user string) ([]native.Key, error) {
	return items[native.Key](ctx, c, ofUser(user, "keys"))
}

// AddKey has a public key taken for a user.
func (c *Client) AddKey(ctx context.Context, in native.NewKey) (native.Key, error) {
	return call[native.Key](ctx, c, post(in, "keys"))
}

// RevokeKey ends a public key.
func (c *Client) RevokeKey(ctx context.Context, k holdfast.CredentialID) error {
	return drop(ctx, c, del("keys", id(k)))
}

// PATs lists the personal access tokens of a user; empty: of every user.
func (c *Client) PATs(ctx context.Context, user string) ([]native.PAT, error) {
	return items[native.PAT](ctx, c, ofUser(user, "pats"))
}

// CreatePAT makes a personal access token. Its secret comes this once.
func (c *Client) CreatePAT(ctx context.Context, in native.NewPAT) (native.CreatedPAT, error) {
	return call[native.CreatedPAT](ctx, c, post(in, "pats"))
}

// RevokePAT ends a personal access token.
func (c *Client) RevokePAT(ctx context.Context, p holdfast.CredentialID) error {
	return drop(ctx, c, del("pats", id(p)))
}

// AccessKeys lists the access keys of a user; empty: of every user.
func (c *Client) AccessKeys(ctx context.Context, user string) ([]native.AccessKey, error) {
	return items[native.AccessKey](ctx, c, ofUser(user, "access-keys"))
}

// CreateAccessKey makes an access key. Its secret half comes this once.
func (c *Client) CreateAccessKey(ctx context.Context, in native.NewAccessKey) (native.CreatedAccessKey, error) {
	return call[native.CreatedAccessKey](ctx, c, post(in, "access-keys"))
}

// RevokeAccessKey ends an access key.
func (c *Client) RevokeAccessKey(ctx context.Context, k holdfast.CredentialID) error {
	return drop(ctx, c, del("access-keys", id(k)))
}

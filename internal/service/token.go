package service

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// A token is its prefix and 256 random bits in lower-case base32. The prefix lets
// people and secret scanners recognise it.
const (
	tokenPrefix = "hf_"
	joinPrefix  = "hfjoin_"
	secretLen   = 52 // characters of 256 bits in base32
)

// NewToken asks for a token.
type NewToken struct {
	Name    string // unique among the tokens that are in use
	Role    holdfast.Role
	Sites   []holdfast.SiteID // empty: every site of the account
	Expires time.Time         // zero: never
}

// localPrincipal is who acts through the Unix socket.
const localPrincipal = "local"

// newSecret returns a prefix and 256 random bits as text.
func newSecret(prefix string) (holdfast.Secret, error) {
	var b [32]byte
	if _, err := rand.Read(b[:]); err != nil {
		return holdfast.Secret{}, fmt.Errorf("make secret: %w", err)
	}
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])
	return holdfast.NewSecret(prefix + strings.ToLower(text)), nil
}

// hashSecret is what the store knows of a token: SHA-256 of its whole text. The
// token is random enough that the hash needs no salt, and looking the hash up
// tells an attacker who measures time nothing of a token.
func hashSecret(s holdfast.Secret) []byte {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return sum[:]
}

// errUnauthenticated does not tell why a token is refused.
func errUnauthenticated() error {
	return holdfast.Errorf(holdfast.CodeUnauthenticated, "the token is missing or not valid").
		WithHint("make one with: holdfast token create")
}

// Authenticate returns who a bearer token is, for calls through the dialect.
// CodeUnauthenticated for a token that is unknown, revoked, expired or of no
// use here, without saying which. It asks the store each time, so that a
// revoked token ends at once.
func (s *Service) Authenticate(ctx context.Context, bearer, dialect string) (holdfast.Actor, error) {
	bearer = strings.TrimSpace(bearer)
	if !strings.HasPrefix(bearer, tokenPrefix) || len(bearer) != len(tokenPrefix)+secretLen {
		return holdfast.Actor{}, errUnauthenticated()
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now := s.now()
	actor := holdfast.Actor{Dialect: dialect}
	err := s.cfg.Store.View(ctx, func(r store.Reader) error {
		c, err := r.CredentialByHash(ctx, hashSecret(holdfast.NewSecret(bearer)))
		if err != nil {
			return err
		}
		p, err := r.Principal(ctx, c.Account, c.Principal)
		if err != nil {
			return err
		}
		actor.Principal, actor.Credential = p, c
		return nil
	})
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return holdfast.Actor{}, errUnauthenticated()
	case err != nil:
		return holdfast.Actor{}, fmt.Errorf("look token up: %w", err)
	case actor.Credential.Kind != holdfast.CredentialToken, !actor.Credential.Valid(now), actor.Principal.Disabled:
		return holdfast.Actor{}, errUnauthenticated()
	}
	s.uses.touch(ctx, actor.Credential, now)
	actor.Credential.Hash = nil
	return actor, nil
}

// LocalActor returns the owner of the Unix socket: an admin of the account with
// the name or the alias, by default of the default account, who needs no token.
// The caller has made sure of the socket's mode. CodeNotFound when there is no
// such account.
func (s *Service) LocalActor(ctx context.Context, dialect, accountName string) (holdfast.Actor, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var id holdfast.AccountID
	var p holdfast.Principal
	err := s.cfg.Store.View(ctx, func(r store.Reader) error {
		a, err := accountNamed(ctx, r, accountName)
		if err != nil {
			return err
		}
		id = a.ID
		p, err = r.PrincipalByName(ctx, id, localPrincipal)
		return err
	})
	switch {
	case holdfast.ErrorCode(err) != holdfast.CodeNotFound:
	case id == 0:
		return holdfast.Actor{}, holdfast.Errorf(holdfast.CodeNotFound, "account %q does not exist", accountName).
			WithHint("see: holdfast account list")
	default:
		now := s.now()
		err = s.cfg.Store.Update(ctx, func(tx store.Tx) error {
			var err error
			p, err = ensurePrincipal(ctx, tx, id, localPrincipal, holdfast.PrincipalPerson, now)
			return err
		})
	}
	if err != nil {
		return holdfast.Actor{}, fmt.Errorf("look local principal up: %w", err)
	}
	return holdfast.Actor{
		Principal:  p,
		Credential: holdfast.Credential{Account: id, Principal: p.ID, Role: holdfast.RoleAdmin},
		Dialect:    dialect,
	}, nil
}

// ensurePrincipal returns the principal with the name and makes it when there is
// none.
func ensurePrincipal(ctx context.Context, tx store.Tx, a holdfast.AccountID, name string, kind holdfast.PrincipalKind, now time.Time) (holdfast.Principal, error) {
	p, err := tx.PrincipalByName(ctx, a, name)
	if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return p, err
	}
	p = holdfast.Principal{Account: a, Kind: kind, Name: name, Created: now}
	err = tx.InsertPrincipal(ctx, &p)
	return p, err
}

// CreateToken makes a token and returns its secret, which is not kept: it is
// shown once. CodeNotFound for a site that does not exist, CodeConflict for the
// name of a token that is in use.
func (s *Service) CreateToken(ctx context.Context, actor holdfast.Actor, in NewToken) (holdfast.Credential, holdfast.Secret, error) {
	var none holdfast.Secret
	if err := allow(actor, opCreateToken, account()); err != nil {
		return holdfast.Credential{}, none, err
	}
	now := s.now()
	if err := in.validate(now); err != nil {
		return holdfast.Credential{}, none, err
	}
	secret, err := newSecret(tokenPrefix)
	if err != nil {
		return holdfast.Credential{}, none, err
	}
	sites := slices.Compact(slices.Sorted(slices.Values(in.Sites)))
	var c holdfast.Credential
	err = s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		for _, id := range sites {
			if _, err := findSite(ctx, tx, actor, opCreateToken, id); err != nil {
				return err
			}
		}
		if err := tokenNameFree(ctx, tx, actor.Principal.Account, in.Name, now); err != nil {
			return err
		}
		p, err := ensurePrincipal(ctx, tx, actor.Principal.Account, in.Name, holdfast.PrincipalService, now)
		if err != nil {
			return err
		}
		if p.Kind != holdfast.PrincipalService || p.Disabled {
			return holdfast.Errorf(holdfast.CodeConflict, "the name %q is taken", in.Name).WithHint("choose another name")
		}
		c = holdfast.Credential{
			Account: actor.Principal.Account, Principal: p.ID, Kind: holdfast.CredentialToken, Name: in.Name,
			Hash: hashSecret(secret), Role: in.Role, Sites: sites, Created: now, Expires: in.Expires.UTC(),
		}
		if err := tx.InsertCredential(ctx, &c); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, fmt.Sprintf("token %d", c.ID), "token.created",
			facts{"name": c.Name, "role": c.Role, "sites": c.Sites, "expires": c.Expires})
	})
	if err != nil {
		return holdfast.Credential{}, none, err
	}
	s.cfg.Log.InfoContext(ctx, "token created", "token", c.Name, "role", c.Role, "actor", actor.String())
	c.Hash = nil
	return c, secret, nil
}

func (in NewToken) validate(now time.Time) error {
	if err := holdfast.ValidName("token", in.Name); err != nil {
		return err
	}
	if !slices.Contains(holdfast.Roles(), in.Role) {
		return holdfast.Errorf(holdfast.CodeInvalid, "role %q is unknown", in.Role).WithHint("use reader, operator or admin")
	}
	if !in.Expires.IsZero() && !in.Expires.After(now) {
		return holdfast.Errorf(holdfast.CodeInvalid, "the token would have expired already, at %s", in.Expires.UTC().Format(time.RFC3339)).
			WithHint("give a time to come, or none")
	}
	return nil
}

func tokenNameFree(ctx context.Context, r store.Reader, a holdfast.AccountID, name string, now time.Time) error {
	list, err := r.Credentials(ctx, a, holdfast.CredentialToken)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.Name == name && c.Valid(now) {
			return holdfast.Errorf(holdfast.CodeConflict, "a token %q is in use", name).
				WithHint("choose another name, or revoke token %d first", c.ID)
		}
	}
	return nil
}

// Tokens lists the account's tokens, revoked and expired ones too, without their
// hashes.
func (s *Service) Tokens(ctx context.Context, actor holdfast.Actor) ([]holdfast.Credential, error) {
	if err := allow(actor, opTokens, account()); err != nil {
		return nil, err
	}
	var list []holdfast.Credential
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		list, err = r.Credentials(ctx, actor.Principal.Account, holdfast.CredentialToken)
		return err
	})
	for i := range list {
		list[i].Hash = nil
	}
	return list, err
}

// RevokeToken ends a token at once; a revoked one stays as it is.
func (s *Service) RevokeToken(ctx context.Context, actor holdfast.Actor, id holdfast.CredentialID) error {
	if err := allow(actor, opRevokeToken, account()); err != nil {
		return err
	}
	now := s.now()
	what := fmt.Sprintf("token %d", id)
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Credential(ctx, actor.Principal.Account, id)
		switch {
		case err != nil:
			return found(err, what)
		case c.Kind != holdfast.CredentialToken:
			return notFound(what)
		case !c.Revoked.IsZero():
			return nil
		}
		c.Revoked = now
		if err := tx.UpdateCredential(ctx, c); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, what, "token.revoked", facts{"name": c.Name})
	})
	if err == nil {
		s.cfg.Log.InfoContext(ctx, "token revoked", "token", id, "actor", actor.String())
	}
	return err
}

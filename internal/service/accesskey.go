package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// An access key has a public half, which names it, and a secret one.
const (
	accessPrefix       = "HFAK"
	accessRandom       = 10 // bytes of the public half
	accessSecretPrefix = "hfsk_"
)

// NewAccessKey asks for an access key.
type NewAccessKey struct {
	User    holdfast.PrincipalID
	Name    string            // for people; unique among the user's access keys that are in use
	Role    holdfast.Role     // at most the user's; empty: the user's
	Sites   []holdfast.SiteID // of those of the user; empty: the user's
	Expires time.Time         // zero: never
}

func accessWord(id holdfast.CredentialID) string { return fmt.Sprintf("access key %d", id) }

// newAccessHalf returns a public half. It is random so that it tells nothing of
// other keys; nobody has to keep it secret.
func newAccessHalf() (string, error) {
	var b [accessRandom]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make access key: %w", err)
	}
	return accessPrefix + base32.StdEncoding.EncodeToString(b[:]), nil
}

// hashAccess is what the store knows of an access key's two halves together.
func hashAccess(public string, secret holdfast.Secret) []byte {
	sum := sha256.Sum256([]byte(public + "\x00" + secret.Reveal()))
	return sum[:]
}

// CreateAccessKey makes an access key and returns its secret half, which is not
// kept: it is shown once. The public half is [holdfast.Credential.PublicKey].
// CodeConflict for a name that is in use.
func (s *Service) CreateAccessKey(ctx context.Context, actor holdfast.Actor, in NewAccessKey) (UserKey, holdfast.Secret, error) {
	var none holdfast.Secret
	if err := allow(actor, opCreateAccessKey, account()); err != nil {
		return UserKey{}, none, err
	}
	now := s.now()
	in, err := in.clean(now)
	if err != nil {
		return UserKey{}, none, err
	}
	public, err := newAccessHalf()
	if err != nil {
		return UserKey{}, none, err
	}
	secret, err := newSecret(accessSecretPrefix)
	if err != nil {
		return UserKey{}, none, err
	}
	var k UserKey
	err = s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		m, err := findMember(ctx, tx, actor, in.User)
		if err != nil {
			return err
		}
		role, sites, err := within(m, NewPAT{Role: in.Role, Sites: in.Sites})
		if err != nil {
			return err
		}
		for _, id := range in.Sites { // one of the user's own may be gone, and stays in the scope
			if _, err := findSite(ctx, tx, actor, opCreateAccessKey, id); err != nil {
				return err
			}
		}
		keys := m.inUse(holdfast.CredentialAccessKey, now)
		if i := slices.IndexFunc(keys, func(c holdfast.Credential) bool { return c.Name == in.Name }); i >= 0 {
			return holdfast.Errorf(holdfast.CodeConflict, "user %q has an access key %q already", m.Name, in.Name).
				WithHint("choose another name, or revoke access key %d first", keys[i].ID)
		}
		if len(keys) >= maxInUse {
			return errTooMany(m, "access keys")
		}
		c := holdfast.Credential{
			Account: m.Account, Principal: m.ID, Kind: holdfast.CredentialAccessKey, Name: in.Name, Hash: hashAccess(public, secret),
			PublicKey: []byte(public), Role: role, Sites: sites, Created: now, Expires: in.Expires,
		}
		if err := tx.InsertCredential(ctx, &c); err != nil {
			return err
		}
		k = userKey(m.Principal, c)
		return record(ctx, tx, actor, now, accessWord(c.ID), "accesskey.created",
			facts{"name": c.Name, "user": m.Name, "access_key": public, "role": c.Role, "sites": c.Sites, "expires": c.Expires})
	})
	if err != nil {
		return UserKey{}, none, err
	}
	s.cfg.Log.InfoContext(ctx, "access key created", "credential", k.ID, "user", k.User, "role", k.Role, "actor", actor.String())
	return k, secret, nil
}

// clean checks the name, the role and the time.
func (in NewAccessKey) clean(now time.Time) (NewAccessKey, error) {
	if err := validKeyName(in.Name); err != nil {
		return in, err
	}
	if in.Role != "" {
		if err := validRole(in.Role); err != nil {
			return in, err
		}
	}
	if !in.Expires.IsZero() && !in.Expires.After(now) {
		return in, holdfast.Errorf(holdfast.CodeInvalid, "the access key would have expired already, at %s", in.Expires.UTC().Format(time.RFC3339)).
			WithHint("give a time to come, or none")
	}
	if !in.Expires.IsZero() {
		in.Expires = in.Expires.UTC()
	}
	in.Sites = slices.Compact(slices.Sorted(slices.Values(in.Sites)))
	return in, nil
}

// AccessKeys lists the account's access keys, revoked and expired ones too, by
// id.
func (s *Service) AccessKeys(ctx context.Context, actor holdfast.Actor) ([]UserKey, error) {
	return s.userKeys(ctx, actor, opAccessKeys, holdfast.CredentialAccessKey)
}

// RevokeAccessKey ends an access key at once, and every log-in that it opened; a
// revoked one stays as it is.
func (s *Service) RevokeAccessKey(ctx context.Context, actor holdfast.Actor, id holdfast.CredentialID) error {
	return s.revokeOf(ctx, actor, opRevokeAccessKey, holdfast.CredentialAccessKey, id)
}

// accessOwner returns the user of an access key that is valid.
func accessOwner(ctx context.Context, r store.Reader, c holdfast.Credential, now time.Time) (holdfast.Principal, error) {
	if c.Kind != holdfast.CredentialAccessKey || !c.Valid(now) {
		return holdfast.Principal{}, errLogIn()
	}
	p, err := r.Principal(ctx, c.Account, c.Principal)
	if err == nil && p.Disabled {
		err = errLogIn()
	}
	return p, err
}

// errLogIn does not tell why a log-in has ended.
func errLogIn() error {
	return holdfast.Errorf(holdfast.CodeUnauthenticated, "the token is missing, not valid or has expired").
		WithHint("log in again with an access key")
}

// accessLockEvent tells that an access key was locked; nil when nobody has it.
func (s *Service) accessLockEvent(ctx context.Context, public, dialect string, now time.Time) (*lateEvent, error) {
	var late *lateEvent
	err := s.cfg.Store.View(ctx, func(r store.Reader) error {
		late = nil
		all, err := r.Credentials(ctx, 0, holdfast.CredentialAccessKey)
		i := slices.IndexFunc(all, func(c holdfast.Credential) bool { return bytes.Equal(c.PublicKey, []byte(public)) })
		if err != nil || i < 0 {
			return err
		}
		late = &lateEvent{holdfast.Event{
			Account: all[i].Account, Time: now, Actor: "service", Dialect: dialect, Subject: accessWord(all[i].ID), Kind: "accesskey.locked",
		}, facts{"name": all[i].Name, "failures": maxFailures, "until": now.Add(lockTime)}}
		return nil
	})
	return late, err
}

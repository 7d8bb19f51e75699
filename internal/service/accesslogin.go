package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const refreshPrefix = "hfr_"

// Limits of log-ins with access keys.
const (
	// RefreshLife is how long a refresh token renews a log-in. Source:
	// docs/api/bmc.md, "Tokens".
	RefreshLife = 24 * time.Hour
	// maxRefresh is how many log-ins one access key has; the oldest ends. Hundreds of
	// scripts may log in with one at the same minute, and work on for a while.
	maxRefresh = 1000
	// maxAddressFailures of one address lock it: many scripts may stand behind one.
	maxAddressFailures = 50
)

// AccessLogin asks for a log-in with an access key.
type AccessLogin struct {
	Key     string // public half
	Secret  holdfast.Secret
	Tenant  string // name, number or alias of the account; empty: the key's
	Address string // of the caller, without its port; empty: not known
}

// AccessSession is a log-in with an access key.
type AccessSession struct {
	ID      holdfast.CredentialID // for [Service.AuthenticateAccess]
	Actor   holdfast.Actor        // its credential is the access key
	Refresh holdfast.Secret       // which is not kept; none when the log-in is renewed
	Ends    time.Time             // of the log-in, with everything that came of it
}

// LoginAccessKey opens a log-in. Its error is CodeUnauthenticated with a
// [LoginError] as its cause, the same for a key that nobody has, a secret that is
// wrong and another tenant; failures are counted by the key and by the address.
func (s *Service) LoginAccessKey(ctx context.Context, in AccessLogin, dialect string) (AccessSession, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if in.Address != "" {
		from, err := s.addresses.begin(ctx, newLockKey("address", in.Address), s.now)
		if err != nil {
			return AccessSession{}, s.refuseAccess(ctx, in, dialect, err)
		}
		defer from.end()
		session, err := s.loginAccessKey(ctx, in, dialect)
		// One script that goes on with a locked key does not lock its neighbours out.
		if why, ok := errors.AsType[*LoginError](err); ok && !why.Locked {
			from.failed(s.now())
		}
		return session, err
	}
	return s.loginAccessKey(ctx, in, dialect)
}

func (s *Service) loginAccessKey(ctx context.Context, in AccessLogin, dialect string) (AccessSession, error) {
	try, err := s.lockouts.begin(ctx, newLockKey("access key", in.Key), s.now)
	if err != nil {
		return AccessSession{}, s.refuseAccess(ctx, in, dialect, err)
	}
	defer try.end()
	now := s.now()
	session, err := s.openAccess(ctx, in, dialect, now)
	switch {
	case err == nil:
		try.succeeded()
		s.uses.touch(ctx, session.Actor.Credential, now)
		session.Actor.Credential.Hash = nil
		return session, nil
	case holdfast.ErrorCode(err) != holdfast.CodeUnauthenticated:
		return AccessSession{}, fmt.Errorf("log in with an access key: %w", err)
	}
	refusal := LoginError{}
	if try.failed(now) {
		refusal = LoginError{Locked: true, Remaining: lockTime}
		late, err := s.accessLockEvent(ctx, in.Key, dialect, now)
		if err != nil {
			return AccessSession{}, fmt.Errorf("look access key up: %w", err)
		}
		s.uses.note(ctx, late)
	}
	return AccessSession{}, s.refuseAccess(ctx, in, dialect, errAccess(refusal))
}

func errAccess(cause LoginError) error {
	if cause.Locked {
		return errLogin(cause)
	}
	return holdfast.Wrap(holdfast.CodeUnauthenticated, &cause, "the access key or its secret is wrong").
		WithHint("look at access_key, access_secret_key and tenant_id")
}

// refuseAccess notes in the log that a log-in is refused, and why.
func (s *Service) refuseAccess(ctx context.Context, in AccessLogin, dialect string, cause error) error {
	s.cfg.Log.InfoContext(ctx, "login refused", "access_key", clip(in.Key), "address", clip(in.Address), "dialect", dialect, "cause", holdfast.ErrorMessage(cause))
	return cause
}

// openAccess makes the refresh token. Guesses are looked at before they may wait
// for the writer.
func (s *Service) openAccess(ctx context.Context, in AccessLogin, dialect string, now time.Time) (AccessSession, error) {
	var found holdfast.Credential
	err := s.cfg.Store.View(ctx, func(r store.Reader) error {
		var err error
		found, err = findAccess(ctx, r, in, now)
		return err
	})
	if err != nil {
		return AccessSession{}, err
	}
	secret, err := newSecret(refreshPrefix)
	if err != nil {
		return AccessSession{}, err
	}
	session := AccessSession{Refresh: secret, Ends: now.Add(RefreshLife)}
	err = s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		key, err := tx.Credential(ctx, found.Account, found.ID)
		if err != nil {
			return err
		}
		p, err := accessOwner(ctx, tx, key, now)
		if err != nil {
			return err
		}
		session.Actor = holdfast.Actor{Principal: p, Credential: key, Dialect: dialect}
		if err := roomForRefresh(ctx, tx, key, now); err != nil {
			return err
		}
		c := holdfast.Credential{
			Account: key.Account, Principal: p.ID, Kind: holdfast.CredentialRefresh, Hash: hashSecret(secret), Parent: key.ID, Created: now, Expires: session.Ends,
		}
		if err := tx.InsertCredential(ctx, &c); err != nil {
			return err
		}
		session.ID = c.ID
		return record(ctx, tx, session.Actor, now, userWord(p.ID), "session.opened", facts{"name": p.Name, "session": c.ID, "access_key": key.ID})
	})
	return session, err
}

// findAccess returns the access key that a log-in proves. Its error is
// CodeUnauthenticated whatever is wrong.
func findAccess(ctx context.Context, r store.Reader, in AccessLogin, now time.Time) (holdfast.Credential, error) {
	c, err := r.CredentialByHash(ctx, hashAccess(in.Key, in.Secret))
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound || err == nil && !bytes.Equal(c.PublicKey, []byte(in.Key)) {
		err = errAccess(LoginError{})
	}
	if err != nil {
		return holdfast.Credential{}, err
	}
	if _, err := accessOwner(ctx, r, c, now); err != nil {
		return holdfast.Credential{}, err
	}
	return c, ofTenant(ctx, r, c.Account, in.Tenant)
}

// ofTenant refuses another tenant than the key's. An installation with one
// account takes any: scripts bring the id that they had elsewhere. With several,
// known and unknown ones are refused alike, so that nobody learns which there
// are.
func ofTenant(ctx context.Context, r store.Reader, id holdfast.AccountID, tenant string) error {
	all, err := r.Accounts(ctx)
	if err != nil || len(all) < 2 || tenant == "" {
		return err
	}
	for _, a := range all {
		if a.ID == id && (tenant == a.Name || tenant == strconv.FormatInt(int64(a.ID), 10) ||
			slices.ContainsFunc(a.Aliases, func(alias string) bool { return strings.EqualFold(alias, tenant) })) {
			return nil
		}
	}
	return errAccess(LoginError{})
}

// roomForRefresh deletes refresh tokens of the key that have expired, and the
// oldest when there are too many.
func roomForRefresh(ctx context.Context, tx store.Tx, key holdfast.Credential, now time.Time) error {
	all, err := tx.CredentialsOf(ctx, key.Principal)
	if err != nil {
		return err
	}
	var live []holdfast.Credential
	for _, c := range all {
		switch {
		case c.Kind != holdfast.CredentialRefresh || c.Parent != key.ID:
		case c.Valid(now):
			live = append(live, c) // by id: the oldest first
		default:
			if err := tx.DeleteCredential(ctx, c.Account, c.ID); err != nil {
				return err
			}
		}
	}
	for i := 0; i <= len(live)-maxRefresh; i++ {
		if err := tx.DeleteCredential(ctx, live[i].Account, live[i].ID); err != nil {
			return err
		}
	}
	return nil
}

// RenewAccess goes on with the log-in of a refresh token, which stays good until
// its end. CodeUnauthenticated when it, its access key or its user has ended.
func (s *Service) RenewAccess(ctx context.Context, refresh holdfast.Secret, dialect string) (AccessSession, error) {
	text := refresh.Reveal()
	if !strings.HasPrefix(text, refreshPrefix) || len(text) != len(refreshPrefix)+secretLen {
		return AccessSession{}, errLogIn()
	}
	return s.accessSession(ctx, dialect, func(ctx context.Context, r store.Reader) (holdfast.Credential, error) {
		return r.CredentialByHash(ctx, hashSecret(refresh))
	})
}

// AuthenticateAccess returns who has opened the log-in with the id, for calls
// through the dialect. The caller has checked what the id came in: it proves
// nothing. CodeUnauthenticated when the log-in, its access key or its user has
// ended.
func (s *Service) AuthenticateAccess(ctx context.Context, a holdfast.AccountID, id holdfast.CredentialID, dialect string) (holdfast.Actor, error) {
	if a == 0 {
		return holdfast.Actor{}, errLogIn()
	}
	session, err := s.accessSession(ctx, dialect, func(ctx context.Context, r store.Reader) (holdfast.Credential, error) {
		return r.Credential(ctx, a, id)
	})
	return session.Actor, err
}

// accessSession returns the log-in that find finds.
func (s *Service) accessSession(ctx context.Context, dialect string, find func(context.Context, store.Reader) (holdfast.Credential, error)) (AccessSession, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now := s.now()
	session := AccessSession{Actor: holdfast.Actor{Dialect: dialect}}
	err := s.cfg.Store.View(ctx, func(r store.Reader) error {
		c, err := find(ctx, r)
		if err != nil {
			return err
		}
		if c.Kind != holdfast.CredentialRefresh || !c.Valid(now) {
			return errLogIn()
		}
		session.ID, session.Ends = c.ID, c.Expires
		if session.Actor.Credential, err = r.Credential(ctx, c.Account, c.Parent); err != nil {
			return err
		}
		session.Actor.Principal, err = accessOwner(ctx, r, session.Actor.Credential, now)
		return err
	})
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return AccessSession{}, errLogIn()
	case err != nil:
		return AccessSession{}, err
	}
	s.uses.touch(ctx, session.Actor.Credential, now)
	session.Actor.Credential.Hash = nil
	return session, nil
}

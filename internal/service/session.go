package service

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const sessionPrefix = "hfs_"

// Limits of sessions.
const (
	defaultIdle = 30 * time.Minute
	minIdle     = time.Minute
	maxIdle     = 24 * time.Hour
	sessionLife = 7 * 24 * time.Hour // whatever the use: the password is asked for again
	// renewWithin is how long after its idle end a session may be renewed: a script
	// that runs once a day.
	renewWithin = 24 * time.Hour
	maxSessions = 100 // of one user; the one that was not used the longest goes
	maxLogName  = 64  // characters of a name that nobody has checked, in a log
)

// Login asks for a session.
type Login struct {
	Account  string // name or alias; empty: the default account
	User     string
	Password holdfast.Secret
	Idle     time.Duration // without use, after which the session ends; 0: 30 minutes; brought between a minute and a day
	Device   string        // what the client calls itself, to renew the session; may be empty
}

// Session is a session with its secret, which is not kept.
type Session struct {
	Secret  holdfast.Secret
	Actor   holdfast.Actor
	Idle    time.Duration // without use, after which it ends
	Expires time.Time     // its end, whatever the use
}

// candidate is who a login may be; all zero when nobody is.
type candidate struct {
	account holdfast.AccountID
	member
}

// Login opens a session of a user with a password. Its error is
// CodeUnauthenticated with a [LoginError] as its cause, and takes the same time
// for an account, a user or a password that is wrong, and for a user who is
// disabled; CodeUnavailable when too many log in at once.
func (s *Service) Login(ctx context.Context, in Login, dialect string) (Session, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	who, err := s.candidate(ctx, in)
	if err != nil {
		return Session{}, fmt.Errorf("look user up: %w", err)
	}
	key := newLockKey("?"+in.Account, in.User)
	if who.account != 0 {
		key = newLockKey(accountWord(who.account), in.User)
	}
	try, err := s.lockouts.begin(ctx, key, s.now)
	if err != nil {
		s.logRefused(ctx, in, dialect, err)
		return Session{}, err
	}
	defer try.end()
	right, err := s.passwords.verify(ctx, who.grant.Hash, in.Password)
	if err != nil {
		return Session{}, err
	}
	now := s.now()
	if !right || who.Disabled {
		refusal := LoginError{}
		if try.failed(now) {
			refusal = LoginError{Locked: true, Remaining: lockTime}
			s.uses.note(ctx, s.lockEvent(who, dialect, now))
		}
		err := errLogin(refusal)
		s.logRefused(ctx, in, dialect, err)
		return Session{}, err
	}
	session, err := s.openSession(ctx, who, in, dialect, now)
	if err != nil {
		return Session{}, err
	}
	try.succeeded()
	return session, nil
}

// candidate looks for the user that a login names.
func (s *Service) candidate(ctx context.Context, in Login) (candidate, error) {
	var who candidate
	err := s.cfg.Store.View(ctx, func(r store.Reader) error {
		who = candidate{}
		a, err := accountNamed(ctx, r, in.Account)
		if err != nil {
			return err
		}
		who.account = a.ID
		p, err := r.PrincipalByName(ctx, a.ID, in.User)
		if err != nil || !isUser(p) {
			return err
		}
		who.member, err = readMember(ctx, r, p)
		return err
	})
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		err = nil
	}
	return who, err
}

// userLock is the key under which failed logins of a user are counted.
func userLock(p holdfast.Principal) lockKey { return newLockKey(accountWord(p.Account), p.Name) }

func (s *Service) logRefused(ctx context.Context, in Login, dialect string, cause error) {
	s.cfg.Log.InfoContext(ctx, "login refused", "account", clip(in.Account), "user", clip(in.User), "dialect", dialect, "cause", holdfast.ErrorMessage(cause))
}

// clip shortens what anybody may send.
func clip(s string) string {
	r := []rune(strings.ToValidUTF8(s, "?"))
	if len(r) > maxLogName {
		return string(r[:maxLogName]) + "…"
	}
	return string(r)
}

// openSession makes the session, unless the user was disabled or got another
// password while this one was looked at.
func (s *Service) openSession(ctx context.Context, who candidate, in Login, dialect string, now time.Time) (Session, error) {
	secret, err := newSecret(sessionPrefix)
	if err != nil {
		return Session{}, err
	}
	idle := in.Idle
	if idle == 0 {
		idle = defaultIdle
	}
	c := holdfast.Credential{
		Account: who.Account, Principal: who.ID, Kind: holdfast.CredentialSession, Name: deviceName(in.Device), Hash: hashSecret(secret),
		Parent: who.grant.ID, Role: who.grant.Role, Sites: who.grant.Sites, Created: now, Expires: now.Add(sessionLife),
		Idle: min(max(idle, minIdle), maxIdle),
	}
	actor := holdfast.Actor{Dialect: dialect}
	err = s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		p, err := tx.Principal(ctx, who.Account, who.ID)
		if err != nil {
			return err
		}
		m, err := readMember(ctx, tx, p)
		if err != nil {
			return err
		}
		if p.Disabled || m.grant.ID != who.grant.ID {
			return errLogin(LoginError{})
		}
		if err := s.makeRoom(ctx, tx, m, now); err != nil {
			return err
		}
		actor.Principal, actor.Credential = p, c
		if err := tx.InsertCredential(ctx, &actor.Credential); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, userWord(p.ID), "session.opened", facts{"name": p.Name, "session": actor.Credential.ID})
	})
	if err != nil {
		return Session{}, err
	}
	s.uses.touch(ctx, who.grant, now)
	return newSession(secret, actor), nil
}

func newSession(secret holdfast.Secret, actor holdfast.Actor) Session {
	actor.Credential.Hash = nil
	return Session{Secret: secret, Actor: actor, Idle: actor.Credential.Idle, Expires: actor.Credential.Expires}
}

// deviceName is what is kept of a client's name: two are compared, none is read.
func deviceName(device string) string {
	sum := sha256.Sum256([]byte(device))
	return hex.EncodeToString(sum[:])
}

// makeRoom deletes the user's sessions that nobody can renew any more, and those
// that were not used the longest when there are too many.
func (s *Service) makeRoom(ctx context.Context, tx store.Tx, m member, now time.Time) error {
	var live []holdfast.Credential
	for _, c := range m.all {
		if c.Kind != holdfast.CredentialSession {
			continue
		}
		c = s.uses.fresh(c)
		if renewable(c, now) {
			live = append(live, c)
			continue
		}
		if err := tx.DeleteCredential(ctx, c.Account, c.ID); err != nil {
			return err
		}
	}
	slices.SortStableFunc(live, func(a, b holdfast.Credential) int { return a.IdleEnd().Add(-a.Idle).Compare(b.IdleEnd().Add(-b.Idle)) })
	for i := 0; i <= len(live)-maxSessions; i++ {
		if err := tx.DeleteCredential(ctx, live[i].Account, live[i].ID); err != nil {
			return err
		}
	}
	return nil
}

// renewable reports whether a session is valid, or ended by idleness lately.
func renewable(c holdfast.Credential, now time.Time) bool {
	return c.Revoked.IsZero() && now.Before(c.Expires) && now.Before(c.IdleEnd().Add(renewWithin))
}

// errSession does not tell why a session is refused.
func errSession() error {
	return holdfast.Errorf(holdfast.CodeUnauthenticated, "the session does not exist or has ended").WithHint("log in again")
}

// AuthenticateSession returns who a session's secret is, for calls through the
// dialect. CodeUnauthenticated for one that does not exist or has ended, without
// saying which.
func (s *Service) AuthenticateSession(ctx context.Context, secret holdfast.Secret, dialect string) (holdfast.Actor, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now := s.now()
	var actor holdfast.Actor
	err := s.cfg.Store.View(ctx, func(r store.Reader) error {
		var err error
		actor, err = s.findSession(ctx, r, secret, dialect)
		return err
	})
	if err != nil {
		return holdfast.Actor{}, err
	}
	if !actor.Credential.Valid(now) {
		return holdfast.Actor{}, errSession()
	}
	s.uses.touch(ctx, actor.Credential, now)
	actor.Credential.Hash = nil
	return actor, nil
}

// findSession returns the session with the secret, as long as its user and its
// password are there; its time may be over.
func (s *Service) findSession(ctx context.Context, r store.Reader, secret holdfast.Secret, dialect string) (holdfast.Actor, error) {
	text := secret.Reveal()
	if !strings.HasPrefix(text, sessionPrefix) || len(text) != len(sessionPrefix)+secretLen {
		return holdfast.Actor{}, errSession()
	}
	c, err := r.CredentialByHash(ctx, hashSecret(secret))
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound || err == nil && c.Kind != holdfast.CredentialSession {
		err = errSession()
	}
	if err != nil {
		return holdfast.Actor{}, err
	}
	p, err := r.Principal(ctx, c.Account, c.Principal)
	if err != nil {
		return holdfast.Actor{}, err
	}
	parent, err := r.Credential(ctx, c.Account, c.Parent)
	if err != nil {
		return holdfast.Actor{}, err
	}
	if p.Disabled || !parent.Revoked.IsZero() {
		return holdfast.Actor{}, errSession()
	}
	return holdfast.Actor{Principal: p, Credential: s.uses.fresh(c), Dialect: dialect}, nil
}

// RenewSession gives a new session for one that is valid or ended by idleness
// within the last day, to the device that logged in. The old one ends, and the
// new one keeps its absolute end. CodeUnauthenticated for any other.
func (s *Service) RenewSession(ctx context.Context, old holdfast.Secret, device, dialect string) (Session, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	secret, err := newSecret(sessionPrefix)
	if err != nil {
		return Session{}, err
	}
	now := s.now()
	var actor holdfast.Actor
	err = s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		var err error
		if actor, err = s.findSession(ctx, tx, old, dialect); err != nil {
			return err
		}
		c := &actor.Credential
		if !renewable(*c, now) || !bytes.Equal([]byte(c.Name), []byte(deviceName(device))) {
			return errSession()
		}
		if err := tx.DeleteCredential(ctx, c.Account, c.ID); err != nil {
			return err
		}
		before := c.ID
		c.ID, c.Hash, c.Created, c.LastUsed = 0, hashSecret(secret), now, time.Time{}
		if err := tx.InsertCredential(ctx, c); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, userWord(actor.Principal.ID), "session.renewed",
			facts{"name": actor.Principal.Name, "session": c.ID, "before": before})
	})
	if err != nil {
		return Session{}, err
	}
	return newSession(secret, actor), nil
}

// Logout ends a session for good; one that does not exist has ended already.
func (s *Service) Logout(ctx context.Context, secret holdfast.Secret) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now := s.now()
	err := s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		actor, err := s.findSession(ctx, tx, secret, "")
		if err != nil {
			return err
		}
		if err := tx.DeleteCredential(ctx, actor.Credential.Account, actor.Credential.ID); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, userWord(actor.Principal.ID), "session.closed",
			facts{"name": actor.Principal.Name, "session": actor.Credential.ID})
	})
	if holdfast.ErrorCode(err) == holdfast.CodeUnauthenticated {
		return nil
	}
	return err
}

// lockEvent tells that a name was locked; nil when nobody has it.
func (s *Service) lockEvent(who candidate, dialect string, now time.Time) *lateEvent {
	if who.ID == 0 {
		return nil
	}
	return &lateEvent{holdfast.Event{
		Account: who.Account, Time: now, Actor: "service", Dialect: dialect, Subject: userWord(who.ID), Kind: "user.locked",
	}, facts{"name": who.Name, "failures": maxFailures, "until": now.Add(lockTime)}}
}

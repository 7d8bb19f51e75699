package service

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// User is a person with what the person may do. Its grant is its credential of
// kind PASSWORD, which a user has even without a password; sessions and personal
// access tokens get theirs from it.
type User struct {
	holdfast.Principal
	Role        holdfast.Role
	Sites       []holdfast.SiteID // empty: every site of the account
	HasPassword bool
	LastLogin   time.Time // to the minute; zero: never
}

// NewUser asks for a user.
type NewUser struct {
	Name     string
	Role     holdfast.Role
	Sites    []holdfast.SiteID
	Password holdfast.Secret // empty: the user cannot log in, but may have keys and tokens
}

func userWord(id holdfast.PrincipalID) string { return fmt.Sprintf("user %d", id) }

// CreateUser makes a user. CodeConflict for a name that a user or a token has, in
// whatever letter case.
func (s *Service) CreateUser(ctx context.Context, actor holdfast.Actor, in NewUser) (User, error) {
	if err := allow(actor, opCreateUser, account()); err != nil {
		return User{}, err
	}
	if err := in.validate(); err != nil {
		return User{}, err
	}
	hash, err := s.passwordHash(ctx, in.Password)
	if err != nil {
		return User{}, err
	}
	now := s.now()
	sites := slices.Compact(slices.Sorted(slices.Values(in.Sites)))
	var u User
	err = s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		for _, id := range sites {
			if _, err := findSite(ctx, tx, actor, opCreateUser, id); err != nil {
				return err
			}
		}
		if err := userNameFree(ctx, tx, actor.Principal.Account, in.Name); err != nil {
			return err
		}
		p := holdfast.Principal{Account: actor.Principal.Account, Kind: holdfast.PrincipalPerson, Name: in.Name, Created: now}
		if err := tx.InsertPrincipal(ctx, &p); err != nil {
			return err
		}
		c := holdfast.Credential{
			Account: p.Account, Principal: p.ID, Kind: holdfast.CredentialPassword, Hash: hash, Role: in.Role, Sites: sites, Created: now,
		}
		if err := tx.InsertCredential(ctx, &c); err != nil {
			return err
		}
		u = userOf(p, c)
		return record(ctx, tx, actor, now, userWord(p.ID), "user.created",
			facts{"name": u.Name, "role": u.Role, "sites": u.Sites, "password": u.HasPassword})
	})
	if err != nil {
		return User{}, err
	}
	s.cfg.Log.InfoContext(ctx, "user created", "user", u.Name, "role", u.Role, "actor", actor.String())
	return u, nil
}

func (in NewUser) validate() error {
	if err := holdfast.ValidName("user", in.Name); err != nil {
		return err
	}
	if in.Name == localPrincipal {
		return holdfast.Errorf(holdfast.CodeConflict, "the owner of the server's socket is called %q", in.Name).WithHint("choose another name")
	}
	if err := validRole(in.Role); err != nil {
		return err
	}
	if in.Password.IsZero() {
		return nil
	}
	return checkPassword(in.Password)
}

// userNameFree refuses a name that differs from another in its letter case alone:
// failed logins are counted without it, and a user's own login would forgive
// those of the other.
func userNameFree(ctx context.Context, r store.Reader, a holdfast.AccountID, name string) error {
	people, err := r.Principals(ctx, a)
	if err != nil {
		return err
	}
	for _, p := range people {
		if strings.EqualFold(p.Name, name) {
			return free(nil, "a user or token", p.Name)
		}
	}
	return nil
}

func validRole(r holdfast.Role) error {
	if !slices.Contains(holdfast.Roles(), r) {
		return holdfast.Errorf(holdfast.CodeInvalid, "role %q is unknown", r).WithHint("use reader, operator or admin")
	}
	return nil
}

// passwordHash returns what the store knows of a password, and of none.
func (s *Service) passwordHash(ctx context.Context, password holdfast.Secret) ([]byte, error) {
	if password.IsZero() {
		return s.passwords.none(), nil
	}
	return s.passwords.hash(ctx, password)
}

func userOf(p holdfast.Principal, grant holdfast.Credential) User {
	return User{
		Principal: p, Role: grant.Role, Sites: grant.Sites,
		HasPassword: bytes.HasPrefix(grant.Hash, []byte(passwordPrefix)), LastLogin: grant.LastUsed,
	}
}

// isUser reports whether the principal is one that people manage.
func isUser(p holdfast.Principal) bool {
	return p.Kind == holdfast.PrincipalPerson && p.Name != localPrincipal
}

// member is a user with its credentials.
type member struct {
	holdfast.Principal
	grant holdfast.Credential
	all   []holdfast.Credential // the grant too
}

// findMember returns a user of the actor's account.
func findMember(ctx context.Context, r store.Reader, actor holdfast.Actor, id holdfast.PrincipalID) (member, error) {
	p, err := r.Principal(ctx, actor.Principal.Account, id)
	switch {
	case err != nil:
		return member{}, found(err, userWord(id))
	case !isUser(p):
		return member{}, notFound(userWord(id))
	}
	return readMember(ctx, r, p)
}

func readMember(ctx context.Context, r store.Reader, p holdfast.Principal) (member, error) {
	all, err := r.CredentialsOf(ctx, p.ID)
	if err != nil {
		return member{}, err
	}
	m := member{Principal: p, all: all}
	i := slices.IndexFunc(all, func(c holdfast.Credential) bool { return c.Kind == holdfast.CredentialPassword && c.Revoked.IsZero() })
	if i < 0 {
		return m, holdfast.Errorf(holdfast.CodeInternal, "user %d has no grant", p.ID)
	}
	m.grant = all[i]
	return m, nil
}

// inUse lists the credentials of a kind that are valid.
func (m member) inUse(kind holdfast.CredentialKind, now time.Time) []holdfast.Credential {
	return slices.DeleteFunc(slices.Clone(m.all), func(c holdfast.Credential) bool { return c.Kind != kind || !c.Valid(now) })
}

// endSessions deletes every credential of the user that is of one of these kinds.
func (m member) endSessions(ctx context.Context, tx store.Tx, kinds ...holdfast.CredentialKind) (int, error) {
	n := 0
	for _, c := range m.all {
		if !slices.Contains(kinds, c.Kind) {
			continue
		}
		if err := tx.DeleteCredential(ctx, c.Account, c.ID); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Users lists the account's users, disabled ones too, by id.
func (s *Service) Users(ctx context.Context, actor holdfast.Actor) ([]User, error) {
	if err := allow(actor, opUsers, account()); err != nil {
		return nil, err
	}
	var list []User
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		people, err := r.Principals(ctx, actor.Principal.Account)
		if err != nil {
			return err
		}
		all, err := r.Credentials(ctx, actor.Principal.Account, holdfast.CredentialPassword)
		if err != nil {
			return err
		}
		grants := map[holdfast.PrincipalID]holdfast.Credential{}
		for _, c := range all {
			if c.Revoked.IsZero() {
				grants[c.Principal] = c
			}
		}
		list = nil
		for _, p := range people {
			if isUser(p) {
				list = append(list, userOf(p, grants[p.ID]))
			}
		}
		return nil
	})
	return list, err
}

// SetPassword gives a user a new password, or takes the password away when it is
// empty. The user's sessions end, and so does a lock.
func (s *Service) SetPassword(ctx context.Context, actor holdfast.Actor, id holdfast.PrincipalID, password holdfast.Secret) error {
	if err := allow(actor, opSetPassword, account()); err != nil {
		return err
	}
	if !password.IsZero() {
		if err := checkPassword(password); err != nil {
			return err
		}
	}
	hash, err := s.passwordHash(ctx, password)
	if err != nil {
		return err
	}
	now := s.now()
	var m member
	err = s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		var err error
		if m, err = findMember(ctx, tx, actor, id); err != nil {
			return err
		}
		ended, err := m.endSessions(ctx, tx, holdfast.CredentialSession)
		if err != nil {
			return err
		}
		// A new row: what was proved with the old password names the old one.
		if err := tx.DeleteCredential(ctx, m.Account, m.grant.ID); err != nil {
			return err
		}
		c := holdfast.Credential{
			Account: m.Account, Principal: id, Kind: holdfast.CredentialPassword, Hash: hash, Role: m.grant.Role, Sites: m.grant.Sites,
			Created: now, LastUsed: m.grant.LastUsed,
		}
		if err := tx.InsertCredential(ctx, &c); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, userWord(id), "user.password_changed",
			facts{"name": m.Name, "password": !password.IsZero(), "sessions_ended": ended})
	})
	if err != nil {
		return err
	}
	s.lockouts.forgive(userLock(m.Principal))
	s.cfg.Log.InfoContext(ctx, "password changed", "user", m.Name, "actor", actor.String())
	return nil
}

// DisableUser refuses everything that a user has from now on. Sessions and log-ins
// with access keys end for good; keys and tokens rest, and come back with
// EnableUser. A user is never deleted: the history names it.
func (s *Service) DisableUser(ctx context.Context, actor holdfast.Actor, id holdfast.PrincipalID) (User, error) {
	return s.setDisabled(ctx, actor, opDisableUser, id, true)
}

// EnableUser lets a disabled user in again, and ends a lock, also of one who was
// not disabled.
func (s *Service) EnableUser(ctx context.Context, actor holdfast.Actor, id holdfast.PrincipalID) (User, error) {
	u, err := s.setDisabled(ctx, actor, opEnableUser, id, false)
	if err == nil {
		s.lockouts.forgive(userLock(u.Principal))
	}
	return u, err
}

func (s *Service) setDisabled(ctx context.Context, actor holdfast.Actor, op Operation, id holdfast.PrincipalID, disabled bool) (User, error) {
	if err := allow(actor, op, account()); err != nil {
		return User{}, err
	}
	kind := "user.enabled"
	if disabled {
		kind = "user.disabled"
	}
	now := s.now()
	var u User
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		m, err := findMember(ctx, tx, actor, id)
		if err != nil {
			return err
		}
		was := m.Disabled
		m.Disabled = disabled
		u = userOf(m.Principal, m.grant)
		if was && disabled {
			return nil
		}
		if disabled {
			if _, err := m.endSessions(ctx, tx, holdfast.CredentialSession, holdfast.CredentialRefresh); err != nil {
				return err
			}
		}
		if err := tx.UpdatePrincipal(ctx, m.Principal); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, userWord(id), kind, facts{"name": m.Name})
	})
	if err != nil {
		return User{}, err
	}
	s.cfg.Log.InfoContext(ctx, "user changed", "user", u.Name, "disabled", disabled, "actor", actor.String())
	return u, nil
}

package service

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const patPrefix = "hfpat_"

// Limits of personal access tokens.
const (
	patLife    = 365 * 24 * time.Hour // when nothing is asked for
	maxPATLife = 10 * patLife
	maxPATIdle = maxPATLife
)

// NewPAT asks for a personal access token.
type NewPAT struct {
	User    holdfast.PrincipalID
	Role    holdfast.Role     // at most the user's; empty: the user's
	Sites   []holdfast.SiteID // of those of the user; empty: the user's
	Expires time.Time         // zero: in a year
	Idle    time.Duration     // without use, after which it ends; 0: never
}

// KeyName names a key as a signed request does.
type KeyName struct {
	Organisation string // name, or number
	User         string
	Key          string
	// PAT is the personal access token that the request holds. It says which
	// account's user is meant, and proves nothing before the signature does.
	PAT holdfast.Secret
}

// PATProof is a personal access token inside of what the named key has signed.
// The caller has checked the signature with [Service.PublicKey].
type PATProof struct {
	KeyName
	Once  []byte    // what makes the request unique, if it may be used once; nil: as often as one likes
	Until time.Time // when the request ends anyway; with Once
}

func patWord(id holdfast.CredentialID) string { return fmt.Sprintf("personal access token %d", id) }

// CreatePAT makes a personal access token and returns its secret, which is not
// kept: it is shown once. It allows nothing without a key of its user.
func (s *Service) CreatePAT(ctx context.Context, actor holdfast.Actor, in NewPAT) (UserKey, holdfast.Secret, error) {
	var none holdfast.Secret
	if err := allow(actor, opCreatePAT, account()); err != nil {
		return UserKey{}, none, err
	}
	now := s.now()
	in, err := in.clean(now)
	if err != nil {
		return UserKey{}, none, err
	}
	secret, err := newSecret(patPrefix)
	if err != nil {
		return UserKey{}, none, err
	}
	var k UserKey
	err = s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		m, err := findMember(ctx, tx, actor, in.User)
		if err != nil {
			return err
		}
		role, sites, err := within(m, in)
		if err != nil {
			return err
		}
		for _, id := range in.Sites { // one of the user's own may be gone, and stays in the scope
			if _, err := findSite(ctx, tx, actor, opCreatePAT, id); err != nil {
				return err
			}
		}
		if len(m.inUse(holdfast.CredentialPAT, now)) >= maxInUse {
			return errTooMany(m, "personal access tokens")
		}
		c := holdfast.Credential{
			Account: m.Account, Principal: m.ID, Kind: holdfast.CredentialPAT, Hash: hashSecret(secret), Role: role, Sites: sites,
			Created: now, Expires: in.Expires, Idle: in.Idle,
		}
		if err := tx.InsertCredential(ctx, &c); err != nil {
			return err
		}
		k = userKey(m.Principal, c)
		return record(ctx, tx, actor, now, patWord(c.ID), "pat.created",
			facts{"user": m.Name, "role": c.Role, "sites": c.Sites, "expires": c.Expires, "idle": c.Idle.String()})
	})
	if err != nil {
		return UserKey{}, none, err
	}
	s.cfg.Log.InfoContext(ctx, "personal access token created", "credential", k.ID, "user", k.User, "role", k.Role, "actor", actor.String())
	return k, secret, nil
}

// clean checks the times, and fills their defaults.
func (in NewPAT) clean(now time.Time) (NewPAT, error) {
	if in.Expires.IsZero() {
		in.Expires = now.Add(patLife)
	}
	in.Expires = in.Expires.UTC()
	in.Sites = slices.Compact(slices.Sorted(slices.Values(in.Sites)))
	switch {
	case !in.Expires.After(now) || in.Expires.After(now.Add(maxPATLife)):
		return in, holdfast.Errorf(holdfast.CodeInvalid, "the token would expire at %s", in.Expires.Format(time.RFC3339)).
			WithHint("give a time within the next ten years")
	case in.Idle != 0 && (in.Idle < minIdle || in.Idle > maxPATIdle):
		return in, holdfast.Errorf(holdfast.CodeInvalid, "the token would end when it is not used for %s", in.Idle).
			WithHint("give %s at least and ten years at most, or none", minIdle)
	}
	if in.Role == "" {
		return in, nil
	}
	return in, validRole(in.Role)
}

// within returns what the token may do: no more than its user.
func within(m member, in NewPAT) (holdfast.Role, []holdfast.SiteID, error) {
	role, sites := in.Role, in.Sites
	if role == "" {
		role = m.grant.Role
	}
	if len(sites) == 0 {
		sites = m.grant.Sites
	}
	if !m.grant.Role.Includes(role) {
		return "", nil, holdfast.Errorf(holdfast.CodeInvalid, "the role %q is more than user %q has", role, m.Name).
			WithHint("use %q, or leave the role out", m.grant.Role)
	}
	for _, id := range sites {
		if !m.grant.Covers(id) {
			return "", nil, holdfast.Errorf(holdfast.CodeInvalid, "site %d is none of those of user %q", id, m.Name).
				WithHint("name sites of the user, or leave them out")
		}
	}
	return role, sites, nil
}

// PATs lists the account's personal access tokens, revoked and expired ones too,
// by id.
func (s *Service) PATs(ctx context.Context, actor holdfast.Actor) ([]UserKey, error) {
	return s.userKeys(ctx, actor, opPATs, holdfast.CredentialPAT)
}

// RevokePAT ends a personal access token at once; a revoked one stays as it is.
func (s *Service) RevokePAT(ctx context.Context, actor holdfast.Actor, id holdfast.CredentialID) error {
	return s.revokeOf(ctx, actor, opRevokePAT, holdfast.CredentialPAT, id)
}

// errPAT does not tell why a proof is refused.
func errPAT() error {
	return holdfast.Errorf(holdfast.CodeUnauthenticated, "the signed token is not valid").
		WithHint("look at its organisation, its user, its key's name, and its personal access token: each must be in use")
}

// PublicKey returns the key with which a request must be signed. What is not
// known gives a key that nobody can sign with, so that a client learns nothing.
func (s *Service) PublicKey(ctx context.Context, name KeyName) (*rsa.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var der []byte
	err := s.cfg.Store.View(ctx, func(r store.Reader) error {
		_, key, err := s.findProof(ctx, r, name)
		der = key.PublicKey
		return err
	})
	if holdfast.ErrorCode(err) == holdfast.CodeUnauthenticated {
		return s.decoyKey()
	}
	if err != nil {
		return nil, fmt.Errorf("look key up: %w", err)
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	pub, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("a stored public key is a %T", key)
	}
	return pub, nil
}

// AuthenticatePAT returns who has signed, for calls through the dialect.
// CodeUnauthenticated for a proof that does not hold, without saying why, and for
// one that was used before, which it says.
func (s *Service) AuthenticatePAT(ctx context.Context, in PATProof, dialect string) (holdfast.Actor, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now := s.now()
	actor := holdfast.Actor{Dialect: dialect}
	find := func(r store.Reader) error {
		pat, _, err := s.findProof(ctx, r, in.KeyName)
		if err != nil {
			return err
		}
		actor.Credential = pat
		actor.Principal, err = r.Principal(ctx, pat.Account, pat.Principal)
		return err
	}
	var err error
	if in.Once == nil {
		err = s.cfg.Store.View(ctx, find)
	} else {
		err = s.cfg.Store.Update(ctx, func(tx store.Tx) error {
			if err := find(tx); err != nil {
				return err
			}
			err := tx.UseOnce(ctx, hashOnce(actor.Credential.ID, in.Once), now, in.Until)
			if holdfast.ErrorCode(err) == holdfast.CodeConflict {
				return holdfast.Errorf(holdfast.CodeUnauthenticated, "the signed token was used before").
					WithHint("sign a new one for each request, or one that may be used often")
			}
			return err
		})
	}
	if err != nil {
		return holdfast.Actor{}, err
	}
	s.uses.touch(ctx, actor.Credential, now)
	actor.Credential.Hash = nil
	return actor, nil
}

// hashOnce keeps apart what two tokens call unique.
func hashOnce(pat holdfast.CredentialID, once []byte) []byte {
	sum := sha256.Sum256(append(fmt.Appendf(nil, "%d\x00", pat), once...))
	return sum[:]
}

// findProof returns the personal access token and the key that a name means:
// both are valid and of one user, who is not disabled, in an account of the
// organisation.
func (s *Service) findProof(ctx context.Context, r store.Reader, name KeyName) (pat, key holdfast.Credential, err error) {
	none := holdfast.Credential{}
	now := s.now()
	text := name.PAT.Reveal()
	if !strings.HasPrefix(text, patPrefix) || len(text) != len(patPrefix)+secretLen {
		return none, none, errPAT()
	}
	pat, err = r.CredentialByHash(ctx, hashSecret(name.PAT))
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return none, none, errPAT()
	case err != nil:
		return none, none, err
	case pat.Kind != holdfast.CredentialPAT, !s.uses.fresh(pat).Valid(now):
		return none, none, errPAT()
	}
	p, err := r.Principal(ctx, pat.Account, pat.Principal)
	if err != nil {
		return none, none, err
	}
	view, err := readAccount(ctx, r, pat.Account)
	if err != nil {
		return none, none, err
	}
	o := view.Organisation
	if p.Disabled || p.Name != name.User || name.Organisation != o.Name && name.Organisation != strconv.FormatInt(int64(o.ID), 10) {
		return none, none, errPAT()
	}
	all, err := r.CredentialsOf(ctx, p.ID)
	if err != nil {
		return none, none, err
	}
	for _, c := range all {
		if c.Kind == holdfast.CredentialKey && c.Name == name.Key && c.Valid(now) {
			return pat, c, nil
		}
	}
	return none, none, errPAT()
}

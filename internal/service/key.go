package service

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Limits of keys. RSA below 2048 bits is broken within reach; above 8192 checking
// a signature is work that a stranger can ask for.
const (
	minKeyBits = 2048
	maxKeyBits = 8192
	maxKeyName = 128      // characters
	maxKeyPEM  = 16 << 10 // bytes
	maxInUse   = 100      // keys, and personal access tokens, of one user
)

// NewKey asks for a public key to be taken for a user.
type NewKey struct {
	User holdfast.PrincipalID
	Name string // unique among the user's keys that are in use
	PEM  []byte // PUBLIC KEY or RSA PUBLIC KEY
}

// UserKey is a key or a personal access token with the name of its user.
type UserKey struct {
	holdfast.Credential // without its hash
	User                string
}

func keyWord(id holdfast.CredentialID) string { return fmt.Sprintf("key %d", id) }

// AddKey takes a public key for a user. CodeConflict for a name that is in use,
// and for a key that the user has or had: a revoked one may be in wrong hands.
func (s *Service) AddKey(ctx context.Context, actor holdfast.Actor, in NewKey) (UserKey, error) {
	if err := allow(actor, opAddKey, account()); err != nil {
		return UserKey{}, err
	}
	if err := validKeyName(in.Name); err != nil {
		return UserKey{}, err
	}
	_, der, err := parsePublicKey(in.PEM)
	if err != nil {
		return UserKey{}, err
	}
	now := s.now()
	var k UserKey
	err = s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		m, err := findMember(ctx, tx, actor, in.User)
		if err != nil {
			return err
		}
		keys := m.inUse(holdfast.CredentialKey, now)
		if i := slices.IndexFunc(keys, func(c holdfast.Credential) bool { return c.Name == in.Name }); i >= 0 {
			return holdfast.Errorf(holdfast.CodeConflict, "user %q has a key %q already", m.Name, in.Name).
				WithHint("choose another name, or revoke key %d first", keys[i].ID)
		}
		if len(keys) >= maxInUse {
			return errTooMany(m, "keys")
		}
		c := holdfast.Credential{
			Account: m.Account, Principal: m.ID, Kind: holdfast.CredentialKey, Name: in.Name, Hash: hashKey(m.ID, der), PublicKey: der, Created: now,
		}
		err = tx.InsertCredential(ctx, &c)
		if holdfast.ErrorCode(err) == holdfast.CodeConflict {
			return holdfast.Wrap(holdfast.CodeConflict, err, "user %q has, or had, this key under a name", m.Name).
				WithHint("make a new pair of keys")
		}
		if err != nil {
			return err
		}
		k = userKey(m.Principal, c)
		return record(ctx, tx, actor, now, keyWord(c.ID), "key.added", facts{"name": c.Name, "user": m.Name})
	})
	if err != nil {
		return UserKey{}, err
	}
	s.cfg.Log.InfoContext(ctx, "key added", "key", k.ID, "user", k.User, "actor", actor.String())
	return k, nil
}

func errTooMany(m member, what string) error {
	return holdfast.Errorf(holdfast.CodeConflict, "user %q has %d %s in use", m.Name, maxInUse, what).WithHint("revoke those that nobody needs")
}

func userKey(p holdfast.Principal, c holdfast.Credential) UserKey {
	c.Hash = nil
	return UserKey{Credential: c, User: p.Name}
}

// hashKey makes the same key of two users two rows.
func hashKey(p holdfast.PrincipalID, der []byte) []byte {
	sum := sha256.Sum256(fmt.Appendf(slices.Clip(der), "%d", p))
	return sum[:]
}

// validKeyName takes what a signature's header can name.
func validKeyName(name string) error {
	n := utf8.RuneCountInString(name)
	odd := func(r rune) bool { return !unicode.IsPrint(r) }
	if n < 1 || n > maxKeyName || !utf8.ValidString(name) || strings.ContainsFunc(name, odd) || strings.TrimSpace(name) != name {
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is not a valid name of a key", clip(name)).
			WithHint("use 1 to %d printable characters, and no blank at either end", maxKeyName)
	}
	return nil
}

// parsePublicKey reads one RSA public key, and returns its PKIX form, too.
func parsePublicKey(text []byte) (*rsa.PublicKey, []byte, error) {
	bad := holdfast.Errorf(holdfast.CodeInvalid, "this is not a public key in PEM").
		WithHint("make one from the private key with: openssl rsa -in KEY.pem -pubout")
	if len(text) > maxKeyPEM {
		return nil, nil, holdfast.Errorf(holdfast.CodeInvalid, "the public key is longer than %d bytes", maxKeyPEM)
	}
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, nil, bad
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, nil, holdfast.Errorf(holdfast.CodeInvalid, "this is a private key, which nobody but its owner should have").
			WithHint("take its public half with: openssl rsa -in KEY.pem -pubout")
	case len(strings.TrimSpace(string(rest))) > 0:
		return nil, nil, holdfast.Errorf(holdfast.CodeInvalid, "there is more than one public key").WithHint("give each key a name of its own")
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return nil, nil, bad
	}
	if err != nil {
		return nil, nil, bad
	}
	pub, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, nil, holdfast.Errorf(holdfast.CodeInvalid, "this is not an RSA key").WithHint("make one with: holdfast key create")
	}
	if n := pub.N.BitLen(); n < minKeyBits || n > maxKeyBits || pub.N.Bit(0) == 0 || pub.E < 3 || pub.E%2 == 0 {
		return nil, nil, holdfast.Errorf(holdfast.CodeInvalid, "an RSA key of %d bits and exponent %d is not taken", n, pub.E).
			WithHint("use %d to %d bits and the usual exponent 65537", minKeyBits, maxKeyBits)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, nil, fmt.Errorf("encode public key: %w", err)
	}
	return pub, der, nil
}

// Keys lists the account's keys, revoked ones too, by id.
func (s *Service) Keys(ctx context.Context, actor holdfast.Actor) ([]UserKey, error) {
	return s.userKeys(ctx, actor, opKeys, holdfast.CredentialKey)
}

func (s *Service) userKeys(ctx context.Context, actor holdfast.Actor, op Operation, kind holdfast.CredentialKind) ([]UserKey, error) {
	if err := allow(actor, op, account()); err != nil {
		return nil, err
	}
	var list []UserKey
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		people, err := r.Principals(ctx, actor.Principal.Account)
		if err != nil {
			return err
		}
		byID := map[holdfast.PrincipalID]holdfast.Principal{}
		for _, p := range people {
			byID[p.ID] = p
		}
		all, err := r.Credentials(ctx, actor.Principal.Account, kind)
		list = nil
		for _, c := range all {
			list = append(list, userKey(byID[c.Principal], c))
		}
		return err
	})
	return list, err
}

// RevokeKey ends a key at once; a revoked one stays as it is.
func (s *Service) RevokeKey(ctx context.Context, actor holdfast.Actor, id holdfast.CredentialID) error {
	return s.revokeOf(ctx, actor, opRevokeKey, holdfast.CredentialKey, id)
}

// revokeOf ends a key, a personal access token or an access key, and what was
// opened with it.
func (s *Service) revokeOf(
	ctx context.Context, actor holdfast.Actor, op Operation, kind holdfast.CredentialKind, id holdfast.CredentialID,
) error {
	if err := allow(actor, op, account()); err != nil {
		return err
	}
	what, event := keyWord(id), "key.revoked"
	if kind == holdfast.CredentialPAT {
		what, event = patWord(id), "pat.revoked"
	}
	if kind == holdfast.CredentialAccessKey {
		what, event = accessWord(id), "accesskey.revoked"
	}
	now := s.now()
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Credential(ctx, actor.Principal.Account, id)
		switch {
		case err != nil:
			return found(err, what)
		case c.Kind != kind:
			return notFound(what)
		case !c.Revoked.IsZero():
			return nil
		}
		p, err := tx.Principal(ctx, c.Account, c.Principal)
		if err != nil {
			return err
		}
		c.Revoked = now
		if err := tx.UpdateCredential(ctx, c); err != nil {
			return err
		}
		if err := endChildren(ctx, tx, c); err != nil {
			return err
		}
		data := facts{"user": p.Name}
		if c.Name != "" {
			data["name"] = c.Name
		}
		return record(ctx, tx, actor, now, what, event, data)
	})
	if err == nil {
		s.cfg.Log.InfoContext(ctx, "credential revoked", "kind", kind, "credential", id, "actor", actor.String())
	}
	return err
}

// endChildren deletes the credentials that were opened with one.
func endChildren(ctx context.Context, tx store.Tx, parent holdfast.Credential) error {
	all, err := tx.CredentialsOf(ctx, parent.Principal)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Parent != parent.ID {
			continue
		}
		if err := tx.DeleteCredential(ctx, c.Account, c.ID); err != nil {
			return err
		}
	}
	return nil
}

// newDecoyKey makes a key that nobody can sign with: its modulus has no known
// factors, and nobody gets to see it.
func newDecoyKey() (*rsa.PublicKey, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), minKeyBits))
	if err != nil {
		return nil, fmt.Errorf("make decoy key: %w", err)
	}
	n.SetBit(n, minKeyBits-1, 1).SetBit(n, 0, 1)
	return &rsa.PublicKey{N: n, E: 65537}, nil
}

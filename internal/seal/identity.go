package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nats-io/nkeys"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/durable"
)

// What is sealed to a worker is
//
//	offset  length  what
//	0       1       version: 1
//	1       56      public curve key of the sender (X…), made for this one message
//	57      n       box as [nkeys.KeyPair.Seal] of a curve key makes it
//
// The sender's key says nothing of who it is: that comes from the connection.
const (
	boxVersion   = 1
	publicKeyLen = 56
)

// Identity is a worker's own keys: a user key with which it proves who it is,
// and a curve key to which its secrets are sealed. Neither leaves its machine.
type Identity struct {
	user  nkeys.KeyPair
	curve nkeys.KeyPair
}

// NewIdentity makes an identity that lasts as long as the process.
func NewIdentity() (*Identity, error) {
	user, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("make user key: %w", err)
	}
	curve, err := nkeys.CreateCurveKeys()
	if err != nil {
		return nil, fmt.Errorf("make curve key: %w", err)
	}
	return &Identity{user: user, curve: curve}, nil
}

// CreateIdentity makes an identity and its file; CodeConflict when there is one.
// On return the file is durable.
func CreateIdentity(path string) (*Identity, error) {
	id, err := NewIdentity()
	if err != nil {
		return nil, err
	}
	userSeed, err := id.user.Seed()
	if err != nil {
		return nil, fmt.Errorf("encode user key: %w", err)
	}
	curveSeed, err := id.curve.Seed()
	if err != nil {
		return nil, fmt.Errorf("encode curve key: %w", err)
	}
	err = durable.Create(path, fmt.Appendf(nil, "%s\n%s\n", userSeed, curveSeed), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, holdfast.Wrap(holdfast.CodeConflict, err, "identity file %s exists already", path)
	}
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeUnavailable, err, "identity file %s cannot be written", path)
	}
	return id, nil
}

// LoadIdentity reads the file that CreateIdentity made. CodeNotFound when it is
// missing, CodeForbidden when others than its owner may read it, CodeInvalid
// when it holds no identity.
func LoadIdentity(path string) (*Identity, error) {
	data, err := readFile("identity", path)
	if err != nil {
		return nil, err
	}
	id, ok := parseIdentity(data)
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "identity file %s does not hold a user key and a curve key", path).
			WithHint("remove the worker, and join it again with a new token")
	}
	return id, nil
}

// parseIdentity returns no error: the errors of nkeys may show what they read.
func parseIdentity(data []byte) (*Identity, bool) {
	lines := bytes.Fields(data)
	if len(lines) != 2 {
		return nil, false
	}
	user, err := nkeys.FromSeed(lines[0])
	if err != nil {
		return nil, false
	}
	if public, err := user.PublicKey(); err != nil || !nkeys.IsValidPublicUserKey(public) {
		return nil, false
	}
	curve, err := nkeys.FromCurveSeed(lines[1])
	if err != nil {
		return nil, false
	}
	return &Identity{user: user, curve: curve}, true
}

// PublicKey returns the public user key (U…).
func (i *Identity) PublicKey() (string, error) { return i.user.PublicKey() }

// SealKey returns the public curve key (X…), for ForWorker.
func (i *Identity) SealKey() (string, error) { return i.curve.PublicKey() }

// Sign signs a server's nonce with the user key.
func (i *Identity) Sign(nonce []byte) ([]byte, error) { return i.user.Sign(nonce) }

// Open decrypts what ForWorker sealed to this identity. CodeInvalid when a newer
// version sealed it, CodeForbidden when it was sealed to another key or is
// damaged.
func (i *Identity) Open(sealed []byte) (holdfast.Secret, error) {
	switch {
	case len(sealed) > 0 && sealed[0] != boxVersion:
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInvalid, "the secret was sealed in format %d, which this worker does not know", sealed[0]).
			WithHint("upgrade the worker")
	case len(sealed) < 1+publicKeyLen:
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeForbidden, "the sealed secret is cut short")
	}
	plain, err := i.curve.Open(sealed[1+publicKeyLen:], string(sealed[1:1+publicKeyLen]))
	if err != nil {
		return holdfast.Secret{}, holdfast.Wrap(holdfast.CodeForbidden, err, "the secret is not sealed to this worker's key, or is damaged").
			WithHint("restart the worker, so that it tells its key again")
	}
	return holdfast.NewSecret(string(plain)), nil
}

// ForWorker seals s to a worker's public curve key (X…): only the identity that
// has it can open it.
func ForWorker(publicCurveKey string, s holdfast.Secret) ([]byte, error) {
	if !nkeys.IsValidPublicCurveKey(publicCurveKey) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the worker's key is not a public curve key").
			WithHint("remove the worker, and join it again with a new token")
	}
	sender, err := nkeys.CreateCurveKeys()
	if err != nil {
		return nil, fmt.Errorf("make curve key: %w", err)
	}
	defer sender.Wipe()
	public, err := sender.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("encode curve key: %w", err)
	}
	box, err := sender.Seal([]byte(s.Reveal()), publicCurveKey)
	if err != nil {
		return nil, fmt.Errorf("seal to worker: %w", err)
	}
	out := make([]byte, 0, 1+publicKeyLen+len(box))
	out = append(out, boxVersion)
	out = append(out, public...)
	return append(out, box...), nil
}

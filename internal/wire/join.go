package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/holdfast-backup/holdfast"
)

// Join is how a new worker introduces itself.
type Join struct {
	Secret  string `json:"secret"`   // of its join token
	Name    string `json:"name"`     // used when the invitation names none
	Key     string `json:"key"`      // public nkey that identifies it (U…)
	SealKey string `json:"seal_key"` // public curve key to which its secrets are sealed (X…)
	Slots   int    `json:"slots"`
	Version string `json:"version,omitempty"`
}

// Validate checks the introduction.
func (j *Join) Validate() error {
	switch {
	case j.Secret == "" || len(j.Secret) > maxText:
		return holdfast.Errorf(holdfast.CodeInvalid, "the join token's secret is missing")
	case !nkeys.IsValidPublicUserKey(j.Key):
		return holdfast.Errorf(holdfast.CodeInvalid, "the worker's key is not a public user key")
	case !nkeys.IsValidPublicCurveKey(j.SealKey):
		return holdfast.Errorf(holdfast.CodeInvalid, "the worker's seal key is not a public curve key")
	case j.Slots < 1 || j.Slots > 1<<20:
		return holdfast.Errorf(holdfast.CodeInvalid, "%d slots are out of range", j.Slots)
	}
	return first(holdfast.ValidName("worker", j.Name), short("version", j.Version, maxText))
}

// JoinReply tells a new worker who it is.
type JoinReply struct {
	Failure *Failure          `json:"failure,omitempty"`
	Worker  holdfast.WorkerID `json:"worker,omitempty"`
	Name    string            `json:"name,omitempty"`
	Pools   []string          `json:"pools,omitempty"`
}

// Validate checks the answer.
func (r *JoinReply) Validate() error {
	if r.Failure != nil {
		return r.Failure.validate()
	}
	for _, p := range r.Pools {
		if err := ValidPool(p); err != nil {
			return err
		}
	}
	return first(positive("worker", r.Worker), short("name", r.Name, maxText))
}

// tokenPrefix begins every join token, so that people and secret scanners know
// one when they see it.
const tokenPrefix = "hfjoin1."

// JoinToken is what a person carries to a new worker: where the control plane
// listens, how to know it, and a secret that works once.
type JoinToken struct {
	Address string          // host:port of the listener for workers
	Pin     string          // SHA-256 of the listener's certificate, in hexadecimal
	Secret  holdfast.Secret // works once
}

type tokenJSON struct {
	Address string `json:"a"`
	Pin     string `json:"p"`
	Secret  string `json:"s"`
}

// Pin returns the fingerprint of a certificate in DER.
func Pin(certificate []byte) string {
	sum := sha256.Sum256(certificate)
	return hex.EncodeToString(sum[:])
}

// Encode writes the token as one word.
func (t JoinToken) Encode() (string, error) {
	if err := t.validate(); err != nil {
		return "", err
	}
	b, err := json.Marshal(tokenJSON{Address: t.Address, Pin: t.Pin, Secret: t.Secret.Reveal()})
	if err != nil {
		return "", err
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b), nil
}

// ParseJoinToken reads a token that Encode wrote. Its errors show nothing of it.
func ParseJoinToken(s string) (JoinToken, error) {
	bad := holdfast.Errorf(holdfast.CodeInvalid, "this is not a join token").
		WithHint("copy the whole token that the invitation printed; it begins with %s", tokenPrefix)
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok || len(rest) > 4*maxText {
		return JoinToken{}, bad
	}
	b, err := base64.RawURLEncoding.DecodeString(rest)
	if err != nil {
		return JoinToken{}, bad
	}
	var j tokenJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return JoinToken{}, bad
	}
	t := JoinToken{Address: j.Address, Pin: j.Pin, Secret: holdfast.NewSecret(j.Secret)}
	if err := t.validate(); err != nil {
		return JoinToken{}, bad
	}
	return t, nil
}

func (t JoinToken) validate() error {
	if _, _, err := net.SplitHostPort(t.Address); err != nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is not host:port", Clip(t.Address, maxText))
	}
	if t.Secret.IsZero() || len(t.Secret.Reveal()) > maxText {
		return holdfast.Errorf(holdfast.CodeInvalid, "the join token's secret is missing")
	}
	return hexID("certificate pin", t.Pin)
}

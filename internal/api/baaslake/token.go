package baaslake

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// What a token must be like. Source: docs/api/lake.md, "Tokens".
const (
	audience  = "td:service:authentication"
	algorithm = "RS256"
	// DefaultTokenLife bounds exp - iat: the longest documented is 12 hours.
	DefaultTokenLife = 24 * time.Hour
	leeway           = 60 * time.Second // between the clocks of caller and server
	maxToken         = 16 << 10         // bytes
)

// claims is what a token says.
type claims struct {
	jwt.RegisteredClaims
	OrgKey   string `json:"org_key"`
	OrgID    string `json:"org_id"`
	MultiUse bool   `json:"multi-use"`
	PAT      string `json:"pat"`
}

// Validate checks what the library does not; it is called by the parser.
func (c *claims) Validate() error {
	switch {
	case c.OrgKey == "" && c.OrgID == "":
		return errors.New("neither org_key nor org_id")
	case c.OrgKey != "" && c.OrgID != "" && c.OrgKey != c.OrgID:
		return errors.New("org_key and org_id differ")
	case c.Subject == "", c.PAT == "":
		return errors.New("no sub or no pat")
	case c.IssuedAt == nil:
		return errors.New("no iat")
	}
	return nil
}

func (c *claims) organisation() string {
	if c.OrgKey != "" {
		return c.OrgKey
	}
	return c.OrgID
}

// signed returns who has signed the token. Every failure is the same for the
// caller, except one that he may repair by himself: a token that has expired, was
// used before, or lives too long.
func (s scope) signed(ctx context.Context, token string) (holdfast.Actor, error) {
	if len(token) > maxToken {
		return holdfast.Actor{}, errToken()
	}
	var c claims
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{algorithm}), jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway), jwt.WithTimeFunc(s.Now), jwt.WithStrictDecoding(),
	)
	var name service.KeyName
	var stored error
	_, err := parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical { // RFC 7515, 4.1.11: what is not understood must be refused
			return nil, errToken()
		}
		kid, _ := t.Header["kid"].(string)
		name = service.KeyName{
			Organisation: c.organisation(), User: c.Subject, Key: strings.TrimSuffix(kid, ".pem"), PAT: holdfast.NewSecret(c.PAT),
		}
		key, err := s.Service.PublicKey(ctx, name)
		stored = err
		return key, err
	})
	switch {
	case stored != nil:
		return holdfast.Actor{}, stored
	case errors.Is(err, jwt.ErrTokenExpired):
		return holdfast.Actor{}, holdfast.Errorf(holdfast.CodeUnauthenticated, "the token has expired").WithHint("sign a new one")
	case err != nil:
		return holdfast.Actor{}, errToken()
	case c.ExpiresAt.Sub(c.IssuedAt.Time) > s.TokenLife:
		return holdfast.Actor{}, holdfast.Errorf(holdfast.CodeUnauthenticated, "the token lives too long").
			WithHint("sign one whose exp is at most %s after its iat", s.TokenLife)
	}
	proof := service.PATProof{KeyName: name}
	if !c.MultiUse {
		proof.Once, proof.Until = once(token, &c), c.ExpiresAt.Add(leeway)
	}
	return s.Service.AuthenticatePAT(ctx, proof, Dialect)
}

// once is what a single-use token is known by: its jti, or all that is signed
// . The signature is left out, since the same one may be written in more
// than one way.
func once(token string, c *claims) []byte {
	text := token[:strings.LastIndexByte(token, '.')]
	if c.ID != "" {
		text = "jti\x00" + c.organisation() + "\x00" + c.Subject + "\x00" + c.ID
	}
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func errToken() error {
	return holdfast.Errorf(holdfast.CodeUnauthenticated, "the token is not valid").
		WithHint("sign it as docs/api/lake.md shows: RS256, kid, aud, iat, exp, org_key or org_id, sub and pat")
}

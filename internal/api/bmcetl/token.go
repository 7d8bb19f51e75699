package bmcetl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// What the tokens of log-ins are like. Source: docs/api/bmc.md, "Tokens".
const (
	issuer    = "holdfast"
	tokenLife = 15 * time.Minute
	leeway    = 60 * time.Second // between the clocks of several servers
	maxToken  = 4 << 10          // bytes; ours have some 500
)

// claims is what a token says. It proves which log-in it is of; whether that goes on,
// and what its access key may do, is looked up at each call.
type claims struct {
	jwt.RegisteredClaims
	Account     holdfast.AccountID    `json:"tenant_id"`
	LogIn       holdfast.CredentialID `json:"session_id"`
	Key         holdfast.CredentialID `json:"access_key_id"` // for people and scripts, as are
	Permissions []string              `json:"permissions"`
}

// permissions are the vendor's names of what a role may do.
func permissions(r holdfast.Role) []string {
	list := []string{"capacity_optimization.admin.etls_read", "capacity_optimization.admin.admin_section_read"}
	if r.Includes(holdfast.RoleOperator) {
		list = append(list, "capacity_optimization.custom_etl.edit")
	}
	if r.Includes(holdfast.RoleAdmin) {
		list = append(list, "capacity_optimization.admin.admin_section_edit")
	}
	return list
}

// sign makes a token of a log-in, which it does not outlive.
func (h *handler) sign(session service.AccessSession) (text string, life time.Duration, err error) {
	now, actor := h.Now(), session.Actor
	life = min(tokenLife, session.Ends.Sub(now))
	text, err = jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: actor.Principal.Name, IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
		},
		Account: actor.Credential.Account, LogIn: session.ID, Key: actor.Credential.ID, Permissions: permissions(actor.Credential.Role),
	}).SignedString(h.Key)
	if err != nil {
		return "", 0, fmt.Errorf("sign token: %w", err)
	}
	return text, life, nil
}

// ofToken returns who has logged in to get the token. Why it is refused is only
// told when it has expired.
func (h *handler) ofToken(ctx context.Context, text string) (holdfast.Actor, error) {
	if len(text) > maxToken {
		return holdfast.Actor{}, unauthenticated("the token is not valid")
	}
	var c claims
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithIssuer(issuer), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway), jwt.WithTimeFunc(h.Now), jwt.WithStrictDecoding(),
	)
	_, err := parser.ParseWithClaims(text, &c, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical { // RFC 7515, 4.1.11: what is not understood must be refused
			return nil, errors.New("critical header")
		}
		return h.Key, nil
	})
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return holdfast.Actor{}, unauthenticated("the token has expired")
	case err != nil:
		return holdfast.Actor{}, unauthenticated("the token is not valid")
	}
	return h.Service.AuthenticateAccess(ctx, c.Account, c.LogIn, Dialect)
}

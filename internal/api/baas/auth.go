package baas

import (
	"net/http"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// Token returns the token that a request carries: as a bearer, or as the
// password of HTTP Basic with any user, for clients that speak nothing else. It
// is empty when the request has no Authorization header.
func Token(h http.Header) (string, error) {
	v := strings.TrimSpace(h.Get("Authorization"))
	if v == "" {
		return "", nil
	}
	scheme, rest, _ := strings.Cut(v, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(scheme, "Bearer") && rest != "":
		return rest, nil
	case strings.EqualFold(scheme, "Basic"):
		if _, token, _ := basicPair(rest); token != "" {
			return token, nil
		}
	}
	return "", unauthenticated("the Authorization header is not understood")
}

// ErrNoToken is the answer to a request that does not say who asks.
func ErrNoToken() error { return unauthenticated("the request carries no token") }

func unauthenticated(msg string) error {
	return holdfast.Errorf(holdfast.CodeUnauthenticated, "%s", msg).
		WithHint("send Authorization: Bearer with a token from: holdfast token create; or the token as the password of Basic")
}

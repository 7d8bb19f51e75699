package bmcetl

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// actor says who asks: by a token of a log-in, or by one of ours.
func (h *handler) actor(ctx context.Context, r *http.Request) (holdfast.Actor, error) {
	text, err := authorization(r.Header)
	if err != nil {
		return holdfast.Actor{}, err
	}
	if text == "" {
		if h.FromSocket != nil && h.FromSocket(ctx) {
			return h.Service.LocalActor(ctx, Dialect, "")
		}
		return holdfast.Actor{}, unauthenticated("the request carries no token")
	}
	token := bearer(text)
	switch {
	case token == "":
		return holdfast.Actor{}, unauthenticated("the Authorization header is not understood")
	case strings.Count(token, ".") == 2: // three parts: a JSON web token
		return h.ofToken(ctx, token)
	}
	actor, err := h.Service.Authenticate(ctx, token, Dialect)
	if holdfast.ErrorCode(err) == holdfast.CodeUnauthenticated {
		return holdfast.Actor{}, unauthenticated(holdfast.ErrorMessage(err))
	}
	return actor, err
}

// authorization returns the value of the Authorization header, which may stand
// there twice when both say the same.
func authorization(head http.Header) (string, error) {
	values := head.Values("Authorization")
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
		if values[i] != values[0] {
			return "", holdfast.Errorf(holdfast.CodeInvalid, "the request has two Authorization headers that differ").WithHint("send one")
		}
	}
	if len(values) == 0 {
		return "", nil
	}
	return values[0], nil
}

// bearer returns the token of an Authorization header; that of HTTP Basic is the
// password, with any user, for older scripts. Empty: there is none.
func bearer(text string) string {
	scheme, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return rest
	case strings.EqualFold(scheme, "Basic"):
		pair, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return ""
		}
		_, password, _ := strings.Cut(string(pair), ":")
		return password
	}
	return ""
}

func unauthenticated(msg string) error {
	return holdfast.Errorf(holdfast.CodeUnauthenticated, "%s", msg).
		WithHint("log in with an access key at %s/access_keys/login, and send Authorization: Bearer with its json_web_token", imsRoot)
}

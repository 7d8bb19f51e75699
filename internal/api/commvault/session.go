package commvault

import (
	"context"
	"net/http"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

func (h *handler) sessionRoutes(_, open adder) {
	open(http.MethodGet, "", h.probe)
}

// probe answers at the root: clients ask there whether the server is reachable,
// before they log in.
func (h *handler) probe(context.Context, call) (any, error) {
	return struct{}{}, nil
}

// token returns the token that a request carries, without the word before it:
// QSDK, SAML or Bearer.
func token(h http.Header) string {
	v := strings.TrimSpace(h.Get("Authtoken"))
	if v == "" {
		v = strings.TrimSpace(h.Get("Authorization"))
	}
	return bare(v)
}

// bare takes the word before a token away.
func bare(v string) string {
	if word, rest, ok := strings.Cut(v, " "); ok {
		switch strings.ToUpper(word) {
		case "QSDK", "SAML", "BEARER":
			return strings.TrimSpace(rest)
		}
	}
	return v
}

// actor says who asks.
func (h *handler) actor(ctx context.Context, r *http.Request) (holdfast.Actor, error) {
	if t := token(r.Header); t != "" {
		return h.Service.Authenticate(ctx, t, Dialect)
	}
	if h.FromSocket != nil && h.FromSocket(ctx) {
		return h.Service.LocalActor(ctx, Dialect, "")
	}
	return holdfast.Actor{}, holdfast.Errorf(holdfast.CodeUnauthenticated, "the request carries no token")
}

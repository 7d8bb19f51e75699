package native

import (
	"context"
	"net/http"
	"reflect"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

type actorKey struct{}

func actorOf(ctx context.Context) holdfast.Actor {
	actor, _ := ctx.Value(actorKey{}).(holdfast.Actor)
	return actor
}

// authenticated lets a request through when it carries a bearer token, or came
// through the local socket without one.
func (a *api) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The server's own limit is shorter than the longest call. A connection
		// without deadlines, as in tests, is fine.
		_ = http.NewResponseController(w).SetWriteDeadline(a.Now().Add(answerTimeout))
		actor, err := a.actor(r.Context(), r.Header)
		if err != nil {
			p := a.problem(r.Context(), "authenticate", err)
			if p.Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="holdfast"`)
			}
			writeProblem(w, p)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, actor)))
	})
}

// AccountHeader says for which account, by its name or an alias, the owner of the
// local socket acts. With a token it must not be sent: a token has its account.
const AccountHeader = "Holdfast-Account"

func (a *api) actor(ctx context.Context, h http.Header) (holdfast.Actor, error) {
	authorization, account := h.Get("Authorization"), h.Get(AccountHeader)
	if authorization == "" {
		if a.FromSocket(ctx) {
			return a.Service.LocalActor(ctx, dialect, account)
		}
		return holdfast.Actor{}, holdfast.Errorf(holdfast.CodeUnauthenticated, "the request carries no token").
			WithHint("send Authorization: Bearer with a token from: holdfast token create")
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return holdfast.Actor{}, holdfast.Errorf(holdfast.CodeUnauthenticated, "the Authorization header is not understood").
			WithHint("send Authorization: Bearer with a token from: holdfast token create")
	}
	actor, err := a.Service.Authenticate(ctx, token, dialect)
	if err == nil && account != "" {
		err = holdfast.Errorf(holdfast.CodeInvalid, "an account cannot be chosen with a token").
			WithHint("leave the account out: a token is of one account")
	}
	return actor, err
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

package commvault

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

func (h *handler) sessionRoutes(add, open adder) {
	open(http.MethodGet, "", h.probe)
	open(http.MethodPost, "Login", h.login)
	// The old token may have ended: a 401 would make the SDK renew it again.
	open(http.MethodPost, "RenewLoginToken", h.renew)
	add(http.MethodPost, "WhoAmI", h.whoAmI)
	add(http.MethodPost, "Logout", h.logout)
}

// probe answers at the root: clients ask there whether the server is reachable,
// before they log in.
func (h *handler) probe(context.Context, call) (any, error) {
	return struct{}{}, nil
}

// tokenWord stands before the token of a session.
const tokenWord = "QSDK "

// apiToken begins the tokens that are made with holdfast token create. Sessions'
// tokens are hexadecimal.
const apiToken = "hf_"

// token returns the token that a request carries, without the word before it.
func token(h http.Header) string {
	if t := bare(h.Get("Authtoken")); t != "" {
		return t
	}
	return bare(h.Get("Authorization"))
}

// bare takes the word before a token away: QSDK, SAML or Bearer.
func bare(v string) string {
	v = strings.TrimSpace(v)
	word, rest, _ := strings.Cut(v, " ")
	switch strings.ToUpper(word) {
	case "QSDK", "SAML", "BEARER":
		return strings.TrimSpace(rest)
	}
	return v
}

// sessionToken shows the secret of a session as clients expect a token to look.
func sessionToken(secret holdfast.Secret) string {
	return tokenWord + hex.EncodeToString([]byte(secret.Reveal()))
}

// sessionSecret is the inverse of sessionToken, without its word.
func sessionSecret(token string) holdfast.Secret {
	b, err := hex.DecodeString(token)
	if err != nil {
		return holdfast.Secret{}
	}
	return holdfast.NewSecret(string(b))
}

// actor says who asks.
func (h *handler) actor(ctx context.Context, r *http.Request) (holdfast.Actor, error) {
	t := token(r.Header)
	switch {
	case strings.HasPrefix(t, apiToken):
		return h.Service.Authenticate(ctx, t, Dialect)
	case t != "":
		return h.Service.AuthenticateSession(ctx, sessionSecret(t), Dialect)
	case h.FromSocket != nil && h.FromSocket(ctx):
		return h.Service.LocalActor(ctx, Dialect, "")
	}
	return holdfast.Actor{}, holdfast.Errorf(holdfast.CodeUnauthenticated, "the request carries no token")
}

// loginReply tells how a log-in went. It is 200 in any case: clients take 401 for
// a fault of TLS.
type loginReply struct {
	Token         string       `json:"token,omitempty"`
	User          string       `json:"userName,omitempty"`
	Alias         string       `json:"aliasName,omitempty"`
	GUID          string       `json:"userGUID,omitempty"`
	CommCell      int64        `json:"ccn"`
	Capability    int64        `json:"capability"`
	Provider      int          `json:"providerType"` // 1: the CommCell's own users
	Errors        []loginError `json:"errList"`
	ForceChange   bool         `json:"forcePasswordChange"`
	Locked        bool         `json:"isAccountLocked"`
	Attempts      int          `json:"loginAttempts"`
	RemainingLock int64        `json:"remainingLockTime"` // seconds
}

type loginError struct {
	Code int64  `json:"errorCode"`
	Text string `json:"errLogMessage"`
}

// Log-ins of accounts and users.
const ownProvider = 1

// login opens a session. An account that is not the default one is given as the
// domain, or before the user and a backslash.
func (h *handler) login(ctx context.Context, c call) (any, error) {
	in, xml, err := readLogin(c.body)
	if err != nil {
		return nil, badBody()
	}
	ask := service.Login{
		Account: in.Domain, User: in.User, Password: holdfast.NewSecret(plainPassword(in.Password)),
		Idle: time.Duration(in.Timeout) * time.Minute, Device: in.Device,
	}
	if domain, user, ok := strings.Cut(in.User, `\`); ok && ask.Account == "" {
		ask.Account, ask.User = domain, user
	}
	var reply loginReply
	session, err := h.Service.Login(ctx, ask, Dialect)
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeUnauthenticated:
		reply = refusal(err)
	case err != nil:
		return nil, err
	default:
		p := session.Actor.Principal
		reply = loginReply{
			Token: sessionToken(session.Secret), User: p.Name, Alias: p.Name, GUID: guid(typeUser, int64(p.ID)), CommCell: commCellID,
			Provider: ownProvider, Errors: []loginError{},
		}
	}
	if xmlWanted(c.header, xml) {
		return reply.xml(), nil
	}
	return reply, nil
}

// refusal is the answer to wrong credentials, and to any while the user is
// locked.
func refusal(err error) loginReply {
	reply := loginReply{Provider: ownProvider, Errors: []loginError{{codeLogin, textOf(err)}}}
	if why, ok := errors.AsType[*service.LoginError](err); ok && why.Locked {
		reply.Errors[0].Code = codeLocked
		reply.Locked, reply.RemainingLock = true, max(1, int64(why.Remaining/time.Second))
	}
	return reply
}

// renew gives a new token for one that has ended lately, to the device that
// logged in.
func (h *handler) renew(ctx context.Context, c call) (any, error) {
	var in struct {
		Session string `json:"sessionId"`
		Device  string `json:"deviceId"`
	}
	if err := decode(c.body, &in); err != nil {
		return nil, badBody()
	}
	t := bare(in.Session)
	if t == "" {
		t = token(c.header)
	}
	session, err := h.Service.RenewSession(ctx, sessionSecret(t), in.Device, Dialect)
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeUnauthenticated:
		return map[string]loginError{"error": {codeRenew, textOf(err)}}, nil
	case err != nil:
		return nil, err
	}
	return map[string]string{"token": sessionToken(session.Secret)}, nil
}

type whoAmIReply struct {
	User struct {
		Name string `json:"userName"`
		ID   int64  `json:"userId"`
		GUID string `json:"userGUID"`
	} `json:"user"`
	Code int `json:"errorCode"`
}

func (h *handler) whoAmI(_ context.Context, c call) (any, error) {
	p := c.actor.Principal
	var r whoAmIReply
	r.User.Name, r.User.ID, r.User.GUID = p.Name, int64(p.ID), guid(typeUser, int64(p.ID))
	return r, nil
}

// logout ends the session. A token that was not made by a log-in stays: it is
// revoked where it was made.
func (h *handler) logout(ctx context.Context, c call) (any, error) {
	text := "User logged out"
	if t := token(c.header); strings.HasPrefix(t, apiToken) {
		text = "An access token stays until it is revoked"
	} else if err := h.Service.Logout(ctx, sessionSecret(t)); err != nil {
		return nil, err
	}
	return struct {
		Text string `json:"errorMessage"`
		Code int    `json:"errorCode"`
	}{Text: text}, nil
}

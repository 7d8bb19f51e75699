package bmcetl

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// loggedIn is what a log-in gives.
type loggedIn struct {
	Token   string `json:"json_web_token"`
	Refresh string `json:"token,omitempty"` // renews the log-in; of the first answer only
	Life    int64  `json:"expires_in"`      // seconds, of Token
}

// login takes an access key.
func (h *handler) login(ctx context.Context, c *call) error {
	in, err := h.object(c, maxSmall)
	if err != nil {
		return err
	}
	key, err := in.text("access_key", true)
	if err != nil {
		return err
	}
	secret, err := in.text("access_secret_key", true)
	if err != nil {
		return err
	}
	tenant, err := in.text("tenant_id", false)
	if err != nil {
		return err
	}
	session, err := h.Service.LoginAccessKey(ctx, service.AccessLogin{
		Key: key, Secret: holdfast.NewSecret(secret), Tenant: tenant, Address: address(c.request),
	}, Dialect)
	if err != nil {
		return err
	}
	return h.give(c, session)
}

// renew takes the refresh token of a log-in.
func (h *handler) renew(ctx context.Context, c *call) error {
	in, err := h.object(c, maxSmall)
	if err != nil {
		return err
	}
	refresh, err := in.text("token", true)
	if err != nil {
		return err
	}
	session, err := h.Service.RenewAccess(ctx, holdfast.NewSecret(refresh), Dialect)
	if err != nil {
		return err
	}
	return h.give(c, session)
}

func (h *handler) give(c *call, session service.AccessSession) error {
	text, life, err := h.sign(session)
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, loggedIn{Token: text, Refresh: session.Refresh.Reveal(), Life: int64(life / time.Second)})
	return nil
}

// address is where a request comes from; empty for the Unix socket.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

package dispatch

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

const (
	internalUser = "internal"
	authLimit    = 5 * time.Second
	joinLife     = time.Minute // of a connection that joins
	answerLife   = time.Minute // in which a worker may answer a command
)

// HashJoinSecret is how the secret of a join token is stored: see
// [holdfast.Credential.Hash].
func HashJoinSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// Check decides who a new connection is; the server calls it. Without TLS there
// are only connections inside the process: no other listener is open.
func (s *Server) Check(c natsserver.ClientAuthentication) bool {
	if c.Kind() != natsserver.CLIENT {
		return false
	}
	o := c.GetOpts()
	if c.GetTLSConnectionState() == nil {
		inside := c.RemoteAddress() != nil && c.RemoteAddress().Network() == "pipe"
		return inside && o.Username == internalUser &&
			subtle.ConstantTimeCompare([]byte(o.Password), []byte(s.internal)) == 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), authLimit)
	defer cancel()
	if o.Nkey != "" {
		return s.checkWorker(ctx, c)
	}
	return o.Token != "" && s.checkJoin(ctx, c)
}

func (s *Server) checkWorker(ctx context.Context, c natsserver.ClientAuthentication) bool {
	o := c.GetOpts()
	if !signed(o.Nkey, o.Sig, c.GetNonce()) {
		s.refuse(ctx, c, "its signature is wrong")
		return false
	}
	w, err := s.workerByKey(ctx, o.Nkey)
	if err != nil {
		s.refuse(ctx, c, err.Error())
		return false
	}
	// Noted before it is read again: a removal that comes between is seen here,
	// and one that comes later finds the connection.
	s.remember(w.ID, c.GetID())
	w, err = s.workerByKey(ctx, o.Nkey)
	if err != nil {
		s.refuse(ctx, c, err.Error())
		return false
	}
	c.RegisterUser(&natsserver.User{Username: w.Name, Permissions: workerPermissions(w)})
	s.cfg.Log.InfoContext(ctx, "worker connected", "worker", w.Name, "worker_id", int64(w.ID))
	return true
}

func (s *Server) workerByKey(ctx context.Context, key string) (holdfast.Worker, error) {
	var w holdfast.Worker
	err := s.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		w, err = r.WorkerByKey(ctx, key)
		return err
	})
	if err == nil && !w.Removed.IsZero() {
		err = holdfast.Errorf(holdfast.CodeForbidden, "worker %s has been removed", w.Name)
	}
	return w, err
}

func (s *Server) checkJoin(ctx context.Context, c natsserver.ClientAuthentication) bool {
	secret := holdfast.NewSecret(c.GetOpts().Token)
	var cred holdfast.Credential
	err := s.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		cred, err = r.CredentialByHash(ctx, HashJoinSecret(secret.Reveal()))
		return err
	})
	if err != nil || cred.Kind != holdfast.CredentialJoin || !mayJoin(cred, s.cfg.Now()) {
		s.refuse(ctx, c, "its join token is unknown, used or expired")
		return false
	}
	c.RegisterUser(&natsserver.User{
		Username:           "join " + cred.Name,
		ConnectionDeadline: time.Now().Add(joinLife),
		Permissions: &natsserver.Permissions{
			Publish:   &natsserver.SubjectPermission{Allow: []string{wire.JoinSubject}},
			Subscribe: &natsserver.SubjectPermission{Allow: []string{wire.JoinInboxPrefix(secret) + ".>"}},
		},
	})
	return true
}

// mayJoin reports whether a connection may introduce itself with the join token.
// One that has been used may, until it expires: the worker that used it may have
// lost the answer together with its connection. Everybody else is refused when
// it says who it is, by its key.
func mayJoin(c holdfast.Credential, now time.Time) bool {
	if c.Revoked.Equal(c.LastUsed) {
		c.Revoked = time.Time{}
	}
	return c.Valid(now)
}

func (s *Server) refuse(ctx context.Context, c natsserver.ClientAuthentication, why string) {
	from := ""
	if a := c.RemoteAddress(); a != nil {
		from = a.String()
	}
	s.cfg.Log.InfoContext(ctx, "connection of a worker refused", "from", from, "reason", why)
}

func signed(key, sig string, nonce []byte) bool {
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil {
		return false
	}
	if !nkeys.IsValidPublicUserKey(key) || len(nonce) == 0 {
		return false
	}
	public, err := nkeys.FromPublicKey(key)
	return err == nil && public.Verify(nonce, raw) == nil
}

// workerPermissions is everything that a worker on another machine may say and
// hear.
func workerPermissions(w holdfast.Worker) *natsserver.Permissions {
	publish := []string{
		wire.WorkerSubjects(wire.KindBeat, w.ID),
		wire.WorkerSubjects(wire.KindLog, w.ID),
		wire.WorkerSubjects(wire.KindIntend, w.ID),
		wire.WorkerSubjects(wire.KindFinish, w.ID),
	}
	subscribe := []string{wire.CommandSubject(w.ID), wire.InboxPrefix(w.ID) + ".>"}
	for _, p := range w.Pools {
		if wire.ValidPool(p) != nil {
			continue
		}
		publish = append(publish, wire.AskSubject(w.ID, p))
		subscribe = append(subscribe, wire.BellSubject(p))
	}
	return &natsserver.Permissions{
		Publish:   &natsserver.SubjectPermission{Allow: publish},
		Subscribe: &natsserver.SubjectPermission{Allow: subscribe},
		// One answer to each command.
		Response: &natsserver.ResponsePermission{MaxMsgs: 1, Expires: answerLife},
	}
}

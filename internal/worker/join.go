package worker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/durable"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

const (
	joinLimit     = 20 * time.Second
	connectLimit  = 10 * time.Second
	reconnectWait = 500 * time.Millisecond
	reconnectSoon = 20 // attempts before they become rarer
	reconnectMost = 10 // times reconnectWait: the longest wait
	pingInterval  = 5 * time.Second
)

// Membership is what a worker has learnt by joining, and needs to connect again.
// It holds nothing secret.
type Membership struct {
	Address string            `json:"address"` // host:port of the control plane's listener for workers
	Pin     string            `json:"pin"`     // SHA-256 of its certificate, in hexadecimal
	Worker  holdfast.WorkerID `json:"worker"`
	Name    string            `json:"name"`
	Pools   []string          `json:"pools"`
}

// Save writes the membership to a file.
func (m Membership) Save(path string) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode membership: %w", err)
	}
	if err := durable.Replace(path, append(b, '\n'), 0o600); err != nil {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s cannot be written", path)
	}
	return nil
}

// LoadMembership reads what Save wrote; CodeNotFound when the worker has not
// joined yet.
func LoadMembership(path string) (Membership, error) {
	var m Membership
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, holdfast.Wrap(holdfast.CodeNotFound, err, "this worker has not joined").
			WithHint("invite it on the server, then start it with --join TOKEN")
	}
	if err != nil {
		return m, holdfast.Wrap(holdfast.CodeForbidden, err, "%s cannot be read", path)
	}
	if err := json.Unmarshal(b, &m); err != nil || m.Worker == 0 || m.Address == "" || len(m.Pin) != 64 {
		return m, holdfast.Wrap(holdfast.CodeInvalid, err, "%s does not hold a membership", path).
			WithHint("remove the worker on the server, and join it again")
	}
	return m, nil
}

// Joining is how a new worker introduces itself.
type Joining struct {
	Token    string // as the invitation printed it
	Name     string // used when the invitation names none
	Identity *seal.Identity
	Slots    int
	Version  string
}

// Join uses a join token, once, and returns what the worker is from now on.
func Join(ctx context.Context, j Joining) (Membership, error) {
	token, err := wire.ParseJoinToken(j.Token)
	if err != nil {
		return Membership{}, err
	}
	key, err := j.Identity.PublicKey()
	if err != nil {
		return Membership{}, fmt.Errorf("read user key: %w", err)
	}
	sealKey, err := j.Identity.SealKey()
	if err != nil {
		return Membership{}, fmt.Errorf("read curve key: %w", err)
	}
	conn, err := connect(token.Address, token.Pin,
		nats.Token(token.Secret.Reveal()), nats.CustomInboxPrefix(wire.JoinInboxPrefix(token.Secret)), nats.NoReconnect(), nats.Name("join"))
	if err != nil {
		return Membership{}, joinError(err, token.Address)
	}
	defer conn.Close()
	r, err := introduce(ctx, newLine(conn), &wire.Join{
		Secret: token.Secret.Reveal(), Name: j.Name, Key: key, SealKey: sealKey, Slots: max(j.Slots, 1), Version: j.Version,
	})
	if err != nil {
		return Membership{}, err
	}
	return Membership{Address: token.Address, Pin: token.Pin, Worker: r.Worker, Name: r.Name, Pools: r.Pools}, nil
}

// introduce asks until it is answered: the same question of the same worker is
// answered alike.
func introduce(ctx context.Context, l *line, j *wire.Join) (wire.JoinReply, error) {
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	for {
		r, err := request[wire.JoinReply](ctx, l, wire.JoinSubject, j, requestLimit)
		if err == nil {
			err = r.Failure.Err()
		}
		if err == nil || holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, err
		case <-time.After(retryFirst):
		}
	}
}

func joinError(err error, address string) error {
	if errors.Is(err, nats.ErrAuthorization) {
		return holdfast.Wrap(holdfast.CodeForbidden, err, "the join token is unknown, used or expired").
			WithHint("invite the worker again on the server")
	}
	return connectError(err, address)
}

func connectError(err error, address string) error {
	var pin pinError
	switch {
	case errors.As(err, &pin):
		return holdfast.Wrap(holdfast.CodeForbidden, err, "the server at %s is not the one that this worker knows", address).
			WithHint("if the server has a new certificate, remove the worker and join it again")
	case errors.Is(err, nats.ErrAuthorization):
		return holdfast.Wrap(holdfast.CodeForbidden, err, "the server at %s refuses this worker", address).
			WithHint("it may have been removed: invite it again, and join with the new token")
	}
	return holdfast.Wrap(holdfast.CodeUnavailable, err, "the server at %s cannot be reached", address).
		WithHint("check the address, the firewall, and that the server runs with --listen-workers")
}

// Dial connects a worker that has joined. The connection reconnects for ever;
// the caller closes it.
func Dial(m Membership, id *seal.Identity, log *slog.Logger) (*nats.Conn, error) {
	key, err := id.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("read user key: %w", err)
	}
	conn, err := connect(m.Address, m.Pin,
		nats.Nkey(key, id.Sign),
		nats.Name(m.Name),
		nats.CustomInboxPrefix(wire.InboxPrefix(m.Worker)),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.IgnoreAuthErrorAbort(),
		nats.IgnoreDiscoveredServers(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Info("connection to the control plane lost", "error", err) }),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("connected to the control plane again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("the control plane's message server reports an error", "error", err)
		}),
	)
	if err != nil {
		return nil, connectError(err, m.Address)
	}
	return conn, nil
}

// reconnectDelay is how long to wait before the next attempt: not long while the
// control plane may just be starting anew, and then longer. One that refuses
// this worker, because it was removed, is not asked all the time.
func reconnectDelay(attempts int) time.Duration {
	wait := reconnectWait
	if attempts > reconnectSoon {
		wait = time.Duration(min(attempts-reconnectSoon, reconnectMost)) * reconnectWait
	}
	return wait + mathrand.N(reconnectWait)
}

func connect(address, pin string, opts ...nats.Option) (*nats.Conn, error) {
	all := append([]nats.Option{
		nats.Secure(&tls.Config{
			MinVersion: tls.VersionTLS13,
			// The pin takes the place of a chain and a name: the certificate itself
			// is known.
			InsecureSkipVerify: true,
			VerifyConnection:   func(s tls.ConnectionState) error { return checkPin(s.PeerCertificates, pin) },
		}),
		nats.TLSHandshakeFirst(),
		nats.Timeout(connectLimit),
	}, opts...)
	return nats.Connect("tls://"+address, all...)
}

// pinError is a certificate other than the known one.
type pinError struct{ got string }

// Error names the certificate.
func (e pinError) Error() string { return "the certificate's fingerprint is " + e.got }

func checkPin(certificates []*x509.Certificate, pin string) error {
	if len(certificates) == 0 {
		return pinError{"missing"}
	}
	if got := wire.Pin(certificates[0].Raw); got != pin {
		return pinError{got}
	}
	return nil
}

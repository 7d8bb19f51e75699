// Package bmcetl serves the ETL calls of BMC Helix Continuous Optimization, with
// the log-in that comes before them and the older calls in XML. What it answers,
// and where each fact comes from, is in docs/api/bmc.md.
package bmcetl

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// The paths below which the API lives.
const (
	etlRoot   = "/opt/api"
	imsRoot   = "/ims/api/v1"
	olderRoot = "/dh-services/backend"
)

// Roots are the paths below which the API lives.
func Roots() []string { return []string{etlRoot, imsRoot, olderRoot} }

// Dialect is the name of this API in events.
const Dialect = "bmcetl"

// callTimeout ends a call before scripts give up: they do after 30 seconds.
const callTimeout = 20 * time.Second

// KeyPurpose is what the key of [Config] is derived for.
const KeyPurpose = "bmcetl tokens"

// Config is what the dialect is made of.
type Config struct {
	Service Service
	// FromSocket reports whether the request came through the Unix socket, whose
	// owner is admin and needs no token; nil: never.
	FromSocket func(context.Context) bool
	// Key signs the tokens that a log-in gives: 32 bytes, the same in every process
	// of the installation.
	Key     []byte
	Version string
	Now     func() time.Time
	Log     *slog.Logger
}

type handler struct {
	Config
	routes []route
	// hashing bounds how many keys are made of passphrases at once.
	hashing chan struct{}
	lists   listTexts
}

// call is one request, after authentication.
type call struct {
	actor   holdfast.Actor // zero for a call that needs no token
	request *http.Request
	path    map[string]string
	w       http.ResponseWriter
	route   *route
	// concerns is the number that an error answers with: 0, or -1 once the ETL is
	// known to be a service.
	concerns int64
}

// endpoint answers the call, or returns why it does not.
type endpoint func(ctx context.Context, c *call) error

// Handler serves the API below [Roots]. Whoever calls it has set X-Request-Id on
// the response.
func Handler(cfg Config) http.Handler {
	h := &handler{Config: cfg, hashing: make(chan struct{}, maxHashing)}
	h.routes = h.table()
	return h
}

// ServeHTTP authenticates before it looks at anything else but the path, and looks
// at the role before it looks for anything.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), callTimeout,
		holdfast.Errorf(holdfast.CodeUnavailable, "the call took longer than %s", callTimeout))
	defer cancel()
	c := &call{request: r.WithContext(ctx), w: w}
	if err := h.serve(ctx, c); err != nil {
		h.writeError(ctx, c, err)
	}
}

func (h *handler) serve(ctx context.Context, c *call) error {
	found, err := h.find(c)
	c.route = found
	if found == nil || !found.Open {
		actor, authErr := h.actor(ctx, c.request)
		if authErr != nil {
			return authErr
		}
		c.actor = actor
	}
	if err != nil {
		return err
	}
	if !found.Open && !c.actor.Credential.Role.Includes(found.role) {
		return errRole(c.actor.Credential.Role, found.role)
	}
	return found.serve(ctx, c)
}

func errRole(has, needs holdfast.Role) error {
	return holdfast.Errorf(holdfast.CodeForbidden, "the role %q is not enough for this", has).WithHint("use a key or token with the role %q", needs)
}

const jsonType = "application/json; charset=utf-8"

// writeJSON answers with v, which is one of this package's shapes.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // a shape that JSON cannot hold is a fault in this package
	}
	write(w, status, jsonType, bytes.TrimRight(b.Bytes(), "\n"))
}

func write(w http.ResponseWriter, status int, media string, body []byte) {
	head := w.Header()
	head.Set("Content-Type", media)
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}

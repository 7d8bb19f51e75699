package baas

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// callTimeout ends a call before clients give up: they do after 30 seconds.
const callTimeout = 20 * time.Second

// The names of operations in availableOperations.
const (
	opExecute = "execute"
	opAbort   = "abort"
	opRestore = "restore"
	opConfirm = "confirm"
)

type handler struct {
	Config
	paths []Path
}

// New serves a dialect below its prefix and root. Nothing of it is anonymous.
// Whoever calls it has set [RequestIDHeader] on the response.
func New(cfg Config) http.Handler {
	h := &handler{Config: cfg}
	h.paths = cfg.Dialect.paths(h)
	return h
}

// ServeHTTP authenticates before it looks at anything else, so that a caller
// without a valid token learns nothing.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), callTimeout,
		holdfast.Errorf(holdfast.CodeUnavailable, "the call took longer than %s", callTimeout))
	defer cancel()
	r = r.WithContext(ctx)
	actor, err := h.Scope.Actor(r)
	if err == nil {
		err = h.serve(ctx, &Call{Actor: actor, Request: r, w: w, svc: h.Service})
	}
	if err != nil {
		h.writeError(ctx, w, err)
	}
}

func (h *handler) serve(ctx context.Context, c *Call) error {
	segments, ok := Segments(c.Request.URL, h.Prefix)
	if !ok {
		return h.noPath()
	}
	for _, p := range h.paths {
		values, ok := p.match(segments)
		if !ok {
			continue
		}
		c.Path = values
		var err error
		if c.account, err = h.Scope.Account(ctx, c); err != nil {
			return err
		}
		method := c.Request.Method
		if method == http.MethodHead { // net/http leaves the body out
			method = http.MethodGet
		}
		serve, ok := p.Methods[method]
		if !ok {
			return WrongMethod(c.Request.Method, p.allow(), p.Hint)
		}
		return serve(ctx, c)
	}
	return h.noPath()
}

func (h *handler) noPath() error {
	return holdfast.Errorf(holdfast.CodeNotFound, "there is nothing at this path").WithHint("see %s", h.Dialect.Document)
}

// methods lists what the path takes, in order.
func (p Path) methods() []string { return slices.Sorted(maps.Keys(p.Methods)) }

func (p Path) allow() []string {
	methods := p.methods()
	if p.Methods[http.MethodGet] != nil {
		methods = append(methods, http.MethodHead)
	}
	slices.Sort(methods)
	return methods
}

package commvault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Roots are the paths below which the API lives. They match without regard to
// letter case and to repeated slashes.
func Roots() []string { return []string{"/commandcenter/api", "/webconsole/api"} }

// Dialect is the name of this API in events.
const Dialect = "commvault"

// DefaultName is the name of the CommServe when the configuration gives none.
const DefaultName = "holdfast"

// Limits of a call.
const (
	callTimeout = 20 * time.Second // the SDK waits for minutes, scripts for 30 s
	maxBody     = 1 << 20          // bytes
)

// Config is what the dialect is made of.
type Config struct {
	Service Service
	// FromSocket reports whether the request came through the Unix socket, whose
	// owner is admin and needs no token; nil: never.
	FromSocket func(context.Context) bool
	Name       string // of the CommServe; empty: DefaultName
	Prefix     string // of the path, before the root; empty: none
	Now        func() time.Time
	Log        *slog.Logger
}

type handler struct {
	Config
	routes []route
}

// call is one request, after authentication.
type call struct {
	actor  holdfast.Actor // zero for a call that needs no token
	path   map[string]string
	query  query
	header http.Header
	body   []byte // at most maxBody
}

// endpoint returns the answer, which is sent as JSON with the status 200: clients
// take no other for a success.
type endpoint func(ctx context.Context, c call) (any, error)

// Handler serves the API below Prefix and [Roots]. Whoever calls it has set
// X-Request-Id on the response.
func Handler(cfg Config) http.Handler {
	if cfg.Name == "" {
		cfg.Name = DefaultName
	}
	h := &handler{Config: cfg}
	h.routes = h.table()
	return h
}

// ServeHTTP authenticates before it looks at anything else but the path, so that
// a caller without a valid token learns nothing.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), callTimeout,
		holdfast.Errorf(holdfast.CodeUnavailable, "the call took longer than %s", callTimeout))
	defer cancel()
	reply, err := h.serve(ctx, w, r)
	if err != nil {
		writeError(ctx, w, h.Log, err)
		return
	}
	if b, ok := reply.(xmlBody); ok {
		write(w, http.StatusOK, "application/xml; charset=utf-8", b)
		return
	}
	writeJSON(w, http.StatusOK, reply)
}

func (h *handler) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) (any, error) {
	found, values, err := h.find(r)
	open := err == nil && found.Open
	c := call{path: values, header: r.Header}
	if !open {
		actor, authErr := h.actor(ctx, r)
		if authErr != nil {
			return nil, authErr
		}
		c.actor = actor
	}
	if err != nil {
		return nil, err
	}
	if c.query, err = readQuery(r.URL); err != nil {
		return nil, err
	}
	if r.Method == http.MethodPost {
		if c.body, err = readBody(w, r); err != nil {
			return nil, err
		}
	}
	return found.serve(ctx, c)
}

// readBody reads the body, whatever media type it says it has: clients send
// nothing as application/xml.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &Failure{
			Status: http.StatusRequestEntityTooLarge, Code: codeTooLarge,
			Message: "the body is too large: send at most " + strconv.Itoa(maxBody) + " bytes",
		}
	case err != nil:
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the body did not arrive whole").WithHint("send the request again")
	}
	return b, nil
}

// writeJSON answers with v, which is one of this package's shapes.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // a shape that JSON cannot hold is a fault in this package
	}
	write(w, status, "application/json; charset=utf-8", bytes.TrimRight(b.Bytes(), "\n"))
}

func write(w http.ResponseWriter, status int, media string, body []byte) {
	head := w.Header()
	head.Set("Content-Type", media)
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}

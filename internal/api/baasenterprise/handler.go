// Package baasenterprise serves the Backup-as-a-Service API of Teradata
// VantageCloud Enterprise: /data-protection/v2. What it answers, and where each
// fact comes from, is in docs/api/enterprise.md; shapes and translation are in
// package baas.
package baasenterprise

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/baas"
)

// Root is the path below which the API lives.
const Root = "/data-protection/v2"

// Dialect is the name of this API in events.
const Dialect = "baasenterprise"

// callTimeout ends a call before clients give up: they do after 30 seconds.
const callTimeout = 20 * time.Second

// Config is what the dialect is made of.
type Config struct {
	Service Service
	// FromSocket reports whether the request came through the Unix socket, whose
	// owner is admin and needs no token; nil: never.
	FromSocket func(context.Context) bool
	Prefix     string // of the path, before Root; empty: none
	Words      baas.Words
	Log        *slog.Logger
}

type handler struct {
	Config
	routes []route
}

// call is what the path of a request names, and who asks.
type call struct {
	actor holdfast.Actor
	path  map[string]string // by the placeholder's name
}

type endpoint func(w http.ResponseWriter, r *http.Request, c call) error

// route is a path, with placeholders in braces, and what it takes.
type route struct {
	path    []string
	methods map[string]endpoint
	hint    string // for a method that it does not take
}

// Handler serves the API below Prefix and [Root]. Nothing of it is anonymous.
// Whoever calls it has set [baas.RequestIDHeader] on the response.
func Handler(cfg Config) http.Handler {
	h := &handler{Config: cfg}
	h.routes = []route{
		{path: path("sites"), methods: map[string]endpoint{http.MethodGet: h.sites}},
		{path: path("sites/{site}/jobs"), methods: map[string]endpoint{http.MethodGet: h.jobs, http.MethodPost: h.createJob}},
		{path: path("sites/{site}/jobs/{job}"), methods: map[string]endpoint{
			http.MethodGet: h.job, http.MethodPut: h.replaceJob, http.MethodPatch: h.patchJob, http.MethodDelete: h.deleteJob,
		}},
		{
			path: path("sites/{site}/jobs/{job}/execute"), methods: map[string]endpoint{http.MethodPost: h.execute},
			hint: "POST to this path starts a run; to read the job, GET its path without /execute",
		},
		{path: path("sites/{site}/jobs/{job}/abort"), methods: map[string]endpoint{http.MethodPost: h.abortJob}},
		{path: path("sites/{site}/executions"), methods: map[string]endpoint{http.MethodGet: h.siteExecutions}},
		{path: path("sites/{site}/jobs/{job}/executions"), methods: map[string]endpoint{http.MethodGet: h.jobExecutions}},
		{path: path("sites/{site}/jobs/{job}/executions/{execution}"), methods: map[string]endpoint{http.MethodGet: h.execution}},
		{path: path("sites/{site}/jobs/{job}/executions/{execution}/abort"), methods: map[string]endpoint{http.MethodPost: h.abortExecution}},
	}
	return h
}

func path(p string) []string { return strings.Split(p, "/") }

// ServeHTTP authenticates before it looks at anything else, so that a caller
// without a valid token learns nothing.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), callTimeout,
		holdfast.Errorf(holdfast.CodeUnavailable, "the call took longer than %s", callTimeout))
	defer cancel()
	r = r.WithContext(ctx)
	actor, err := h.actor(r)
	if err == nil {
		err = h.serve(w, r, actor)
	}
	if err != nil {
		baas.WriteError(ctx, w, h.Log, err)
	}
}

func (h *handler) actor(r *http.Request) (holdfast.Actor, error) {
	token, err := baas.Token(r.Header)
	switch {
	case err != nil:
		return holdfast.Actor{}, err
	case token != "":
		return h.Service.Authenticate(r.Context(), token, Dialect)
	case h.FromSocket != nil && h.FromSocket(r.Context()):
		return h.Service.LocalActor(r.Context(), Dialect)
	}
	return holdfast.Actor{}, baas.ErrNoToken()
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, actor holdfast.Actor) error {
	segments, ok := baas.Segments(r.URL, h.Prefix+Root)
	if !ok {
		return noPath()
	}
	for _, route := range h.routes {
		values, ok := route.match(segments)
		if !ok {
			continue
		}
		method := r.Method
		if method == http.MethodHead { // net/http leaves the body out
			method = http.MethodGet
		}
		serve, ok := route.methods[method]
		if !ok {
			return baas.WrongMethod(r.Method, route.allow(), route.hint)
		}
		return serve(w, r, call{actor, values})
	}
	return noPath()
}

func noPath() error {
	return holdfast.Errorf(holdfast.CodeNotFound, "there is nothing at this path").WithHint("see docs/api/enterprise.md")
}

func (r route) match(segments []string) (map[string]string, bool) {
	if len(segments) != len(r.path) {
		return nil, false
	}
	values := map[string]string{}
	for i, want := range r.path {
		if strings.HasPrefix(want, "{") {
			values[strings.Trim(want, "{}")] = segments[i]
		} else if want != segments[i] {
			return nil, false
		}
	}
	return values, true
}

func (r route) allow() []string {
	methods := slices.Collect(maps.Keys(r.methods))
	if r.methods[http.MethodGet] != nil {
		methods = append(methods, http.MethodHead)
	}
	slices.Sort(methods)
	return methods
}

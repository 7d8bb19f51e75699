package native

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holdfast-backup/holdfast"
)

// Root is the path below which the API lives.
const Root = "/api/v1"

const (
	dialect     = "native"
	maxBody     = 64 << 10 // bytes: the largest request is a restore with many tablespaces
	bodyTimeout = 10 * time.Second
	callTimeout = 30 * time.Second
	// answerTimeout is how long a client may take to read an answer, and the
	// server to make it: more than createTimeout, the longest call's.
	answerTimeout = 165 * time.Second
)

// Config is what the API is made of. Every field is needed.
type Config struct {
	Service Service
	// FromSocket reports whether the request came through the Unix socket in the
	// state directory, whose owner is admin.
	FromSocket func(context.Context) bool
	Version    string
	Now        func() time.Time
	Log        *slog.Logger
}

type api struct {
	Config
	huma huma.API
	spec []byte
}

// Handler serves the API below [Root]. Nothing of it is anonymous.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	hc := huma.DefaultConfig("Holdfast", cfg.Version)
	hc.Info.Description = "Backup and restore of PostgreSQL servers."
	hc.OpenAPIPath, hc.DocsPath, hc.SchemasPath = "", "", ""
	hc.CreateHooks = nil // no $schema fields
	hc.Transformers = []huma.Transformer{hideValues}
	hc.RejectUnknownQueryParameters = true
	hc.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}}
	hc.Security = []map[string][]string{{"bearer": {}}}
	a := &api{Config: cfg, huma: humago.New(mux, hc)}
	a.registerHosts()
	a.registerSites()
	a.registerRepositories()
	a.registerConnect()
	a.registerImport()
	a.registerCopies()
	a.registerJobs()
	a.registerExecutions()
	a.registerStreams()
	a.registerSets()
	a.registerRetention()
	a.registerSchedules()
	a.registerTriggers()
	a.registerTokens()
	a.registerAccounts()
	a.registerUsers()
	a.registerKeys()
	a.registerPATs()
	a.registerETLs()
	a.registerAccessKeys()
	a.registerWorkers()
	a.registerEvents()
	a.describe()
	mux.HandleFunc("GET "+Root+"/openapi.json", a.serveSpec)
	return a.authenticated(a.problems(mux))
}

// operation describes one call.
type operation struct {
	id, method, path, tag, summary string
	status                         int // of success; 0: 200, or 204 without a body
	timeout                        time.Duration
}

// register adds a call whose handler gets the actor and returns errors of the
// service.
func register[I, O any](a *api, op operation, h func(ctx context.Context, actor holdfast.Actor, in *I) (*O, error)) {
	timeout := op.timeout
	if timeout == 0 {
		timeout = callTimeout
	}
	huma.Register(a.huma, op.huma(), func(ctx context.Context, in *I) (*O, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, timeout,
			holdfast.Errorf(holdfast.CodeUnavailable, "the call took longer than %s", timeout))
		defer cancel()
		out, err := h(ctx, actorOf(ctx), in)
		if err != nil {
			return nil, a.problem(ctx, op.id, err)
		}
		return out, nil
	})
}

func (op operation) huma() huma.Operation {
	return huma.Operation{
		OperationID: op.id, Method: op.method, Path: Root + op.path, Tags: []string{op.tag}, Summary: op.summary,
		DefaultStatus: op.status, MaxBodyBytes: maxBody, BodyReadTimeout: bodyTimeout,
	}
}

// problem translates an error, and logs what the client does not get to see.
func (a *api) problem(ctx context.Context, call string, err error) *Problem {
	if ctx.Err() != nil && holdfast.ErrorCode(err) == holdfast.CodeInternal {
		err = holdfast.Wrap(holdfast.CodeUnavailable, err, "the call took too long").WithHint("try again")
	}
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		a.Log.ErrorContext(ctx, "native call failed", "call", call, "error", err)
	}
	return p
}

// describe gives every operation the same error, and renders the document.
func (a *api) describe() {
	doc := a.huma.OpenAPI()
	schema := huma.SchemaFromType(doc.Components.Schemas, typeOf[Problem]())
	doc.Components.Schemas.Map()["Problem"] = schema
	failure := &huma.Response{
		Description: "What failed, and what to do about it",
		Content:     map[string]*huma.MediaType{problemType: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}},
	}
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete, item.Patch} {
			if op == nil {
				continue
			}
			for code := range op.Responses {
				if !strings.HasPrefix(code, "2") {
					delete(op.Responses, code)
				}
			}
			op.Responses["default"] = failure
		}
	}
	for _, name := range []string{"ErrorModel", "ErrorDetail"} {
		delete(doc.Components.Schemas.Map(), name)
	}
	spec, err := json.Marshal(doc)
	if err != nil {
		panic(err) // the document is made of this package's types alone
	}
	a.spec = spec
}

func (a *api) serveSpec(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+json")
	_, _ = w.Write(a.spec) // a client that has gone needs no answer
}

// problems answers what no operation takes: unknown paths and wrong methods. The
// mux would redirect a path that is not clean, and a redirected request may lose
// its body.
func (a *api) problems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !clean(r.URL.EscapedPath()) {
			writeProblem(w, nothingAt(r.URL))
			return
		}
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &discard{header: http.Header{}}
		mux.ServeHTTP(probe, r)
		p := nothingAt(r.URL)
		if probe.status == http.StatusMethodNotAllowed {
			p.Status, p.Code = probe.status, holdfast.CodeInvalid
			p.Detail = r.Method + " is not taken here"
			p.Hint = "use " + probe.header.Get("Allow")
			w.Header().Set("Allow", probe.header.Get("Allow"))
		}
		writeProblem(w, p)
	})
}

// clean reports whether the mux takes the path as it is.
func clean(p string) bool { return strings.TrimSuffix(p, "/") == path.Clean(p) }

func nothingAt(u *url.URL) *Problem {
	return &Problem{Status: http.StatusNotFound, Code: holdfast.CodeNotFound, Detail: "there is nothing at " + u.Path}
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	p.Title = http.StatusText(p.Status)
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(p); err != nil {
		b.Reset()
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_, _ = w.Write(b.Bytes()) // a client that has gone needs no answer
}

// discard takes the answer of a mux that found no operation.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

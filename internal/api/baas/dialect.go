package baas

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// Dialect is what one Teradata API says of itself. The routes below a site, what
// they take and what they answer, are the same in all of them.
type Dialect struct {
	// Root is the path below which the dialect lives, without its prefix.
	Root string
	// Site is the path from Root to what belongs to a site; empty when requests
	// name their site otherwise.
	Site string
	// Own are paths that no other dialect has. Their patterns begin at the prefix.
	Own []Path
	// Document describes the dialect; errors refer to it.
	Document string
	// Challenges are the values of WWW-Authenticate in a 401.
	Challenges []string
	// EmptyBodies is true when DELETE answers 200 and an empty object, not 204
	//
	EmptyBodies bool
	// OneProtected is true when one save set of a job may be protected, and
	// another one takes its place when the request confirms it.
	OneProtected bool
}

// Scope is how the requests of a dialect say who asks, and what it is about.
type Scope interface {
	// Actor authenticates a request, before anything else is looked at.
	Actor(r *http.Request) (holdfast.Actor, error)
	// Account returns the account_id that jobs carry; empty: none. CodeNotFound
	// when the path names another account than the caller's. It comes before
	// every endpoint.
	Account(ctx context.Context, c *Call) (string, error)
	// Site returns the site that the call is about. One that the caller may not
	// see is [Unknown].
	Site(ctx context.Context, c *Call) (holdfast.Site, error)
	// Base is the path of Location headers before /jobs.
	Base(c *Call, site holdfast.Site) string
}

// Config is what the handler of a dialect is made of.
type Config struct {
	Dialect Dialect
	Scope   Scope
	Service Service
	Prefix  string // of the path, before Root; empty: none
	Words   Words
	Log     *slog.Logger
}

// Endpoint serves one method of a path.
type Endpoint func(ctx context.Context, c *Call) error

// Path is a path with what it takes.
type Path struct {
	Pattern string // placeholders stand in braces
	Methods map[string]Endpoint
	Hint    string // for a method that it does not take
}

// Route is one call of a dialect.
type Route struct {
	Method  string
	Pattern string // of the path, from the prefix on; placeholders stand in braces
}

// Routes lists the calls of a dialect, in the order in which they are matched.
func (d Dialect) Routes() []Route {
	var all []Route
	for _, p := range d.paths(&handler{}) {
		for _, m := range p.methods() {
			all = append(all, Route{m, p.Pattern})
		}
	}
	return all
}

// paths is the table of what the dialect serves.
func (d Dialect) paths(h *handler) []Path {
	all := append([]Path{}, d.Own...)
	all = append(all, Path{Pattern: d.Root + "/sites", Methods: map[string]Endpoint{http.MethodGet: h.sites}})
	base := d.Root + "/"
	if d.Site != "" {
		base += d.Site + "/"
	}
	for _, p := range h.sitePaths() {
		p.Pattern = base + p.Pattern
		all = append(all, p)
	}
	return all
}

// sitePaths is what belongs to a site.
func (h *handler) sitePaths() []Path {
	return []Path{
		{Pattern: "jobs", Methods: map[string]Endpoint{http.MethodGet: h.jobs, http.MethodPost: h.createJob}},
		{Pattern: "jobs/{job}", Methods: map[string]Endpoint{
			http.MethodGet: h.job, http.MethodPut: h.replaceJob, http.MethodPatch: h.patchJob, http.MethodDelete: h.deleteJob,
		}},
		{
			Pattern: "jobs/{job}/execute", Methods: map[string]Endpoint{http.MethodPost: h.execute},
			Hint: "POST to this path starts a run; to read the job, GET its path without /execute",
		},
		{Pattern: "jobs/{job}/abort", Methods: map[string]Endpoint{http.MethodPost: h.abortJob}},
		{Pattern: "executions", Methods: map[string]Endpoint{http.MethodGet: h.siteExecutions}},
		{Pattern: "jobs/{job}/executions", Methods: map[string]Endpoint{http.MethodGet: h.jobExecutions}},
		{Pattern: "jobs/{job}/executions/{execution}", Methods: map[string]Endpoint{http.MethodGet: h.execution}},
		{Pattern: "jobs/{job}/executions/{execution}/abort", Methods: map[string]Endpoint{http.MethodPost: h.abortExecution}},
		{Pattern: "jobs/{job}/executions/{execution}/prepare-objects", Methods: map[string]Endpoint{http.MethodPost: h.prepareObjects}},
		{Pattern: "objects-preparation-status", Methods: map[string]Endpoint{http.MethodGet: h.preparation}},
		{Pattern: "jobs/{job}/executions/{execution}/objects", Methods: map[string]Endpoint{http.MethodGet: h.objects}},
		{Pattern: "restores", Methods: map[string]Endpoint{http.MethodGet: h.siteRestores}},
		{Pattern: "restore-permissions", Methods: map[string]Endpoint{http.MethodPost: h.restorePermissions}},
		{Pattern: "databases", Methods: map[string]Endpoint{http.MethodGet: h.databases}},
		{Pattern: "database-objects", Methods: map[string]Endpoint{http.MethodGet: h.databaseObjects}},
		{Pattern: "jobs/{job}/executions/{execution}/restores", Methods: map[string]Endpoint{
			http.MethodGet: h.restores, http.MethodPost: h.createRestore,
		}},
		{Pattern: "jobs/{job}/executions/{execution}/restores/{restore}", Methods: map[string]Endpoint{
			http.MethodGet: h.restore, http.MethodPatch: h.patchRestore,
		}},
		{Pattern: "jobs/{job}/executions/{execution}/restores/{restore}/rerun", Methods: map[string]Endpoint{http.MethodPost: h.rerun}},
		{Pattern: "jobs/{job}/schedules", Methods: map[string]Endpoint{http.MethodGet: h.schedules, http.MethodPost: h.createSchedule}},
		{Pattern: "jobs/{job}/schedules/preview", Methods: map[string]Endpoint{http.MethodPost: h.previewSchedule}},
		{Pattern: "jobs/{job}/schedules/{schedule}", Methods: map[string]Endpoint{
			http.MethodGet: h.schedule, http.MethodPut: h.replaceSchedule, http.MethodDelete: h.deleteSchedule,
		}},
		{Pattern: "jobs/{job}/next-runs", Methods: map[string]Endpoint{http.MethodGet: h.nextRuns}},
		{Pattern: "retained-copies", Methods: map[string]Endpoint{http.MethodGet: h.siteCopies}},
		{Pattern: "jobs/{job}/retained-copies", Methods: map[string]Endpoint{http.MethodGet: h.jobCopies}},
		{Pattern: "jobs/{job}/retained-copies/{saveset}", Methods: map[string]Endpoint{
			http.MethodGet: h.retainedCopy, http.MethodPut: h.protectCopy,
		}},
		{Pattern: "activity", Methods: map[string]Endpoint{http.MethodGet: h.activity}},
		{Pattern: "notifications/settings", Methods: map[string]Endpoint{http.MethodGet: h.notifications, http.MethodPut: h.notifications}},
	}
}

// match returns the values of the pattern's placeholders.
func (p Path) match(segments []string) (map[string]string, bool) {
	pattern := strings.Split(strings.TrimPrefix(p.Pattern, "/"), "/")
	if len(segments) != len(pattern) {
		return nil, false
	}
	values := map[string]string{}
	for i, want := range pattern {
		if strings.HasPrefix(want, "{") {
			values[strings.Trim(want, "{}")] = segments[i]
		} else if want != segments[i] {
			return nil, false
		}
	}
	return values, true
}

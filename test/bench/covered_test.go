package bench

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/baas"
	"github.com/holdfast-backup/holdfast/internal/api/baasenterprise"
	"github.com/holdfast-backup/holdfast/internal/api/baaslake"
	"github.com/holdfast-backup/holdfast/internal/api/bmcetl"
	"github.com/holdfast-backup/holdfast/internal/api/commvault"
)

// unmeasured is the reads that answer from nothing that grows, by the end of
// their path, and the posts that are reads.
func unmeasured() []string {
	return []string{
		"/api/v1/executions/{execution}/events", // a stream
		// Answered with the documented refusal, because no logical engine exists.
		"/objects", "/objects-preparation-status", "/databases", "/database-objects", "/notifications/settings",
		// The answer does not depend on what there is, or is another read's.
		"/VSAClientAndClientGroupList", "/etls/schema", "/about", "/openapi.yaml", "/checkReportExecutionStatus/{execution}",
		"/CommCell/Credentials", "/AdvancedDetails", "/GetId", commandCenter + "/",
		"/etls/{job}/counters",              // a worker asks the targets
		"/repositories/{repository}/access", // the row of "repository"; those here are directories, which have none
	}
}

// checkCovered fails for each read of an API that is not sent.
func (w *world) checkCovered(t *testing.T, all []read) {
	t.Helper()
	var paths []string
	rng := rand.New(rand.NewPCG(1, 1))
	for _, rd := range all {
		r := rd.make(w, rng)
		path, _, _ := strings.Cut(r.path, "?")
		paths = append(paths, path)
	}
	placeholder := regexp.MustCompile(`\\\{[^}]*\\\}|\\\(\\\)`)
	for _, pattern := range w.gets(t) {
		covered := false
		for _, end := range unmeasured() {
			covered = covered || strings.HasSuffix(pattern, end)
		}
		match := regexp.MustCompile("^" + placeholder.ReplaceAllString(regexp.QuoteMeta(pattern), `[^/]+`) + "$")
		for _, p := range paths {
			covered = covered || match.MatchString(p)
		}
		if !covered {
			t.Errorf("GET %s is not measured: add a read of it", pattern)
		}
	}
}

// gets lists the paths that every API reads at.
func (w *world) gets(t *testing.T) (all []string) {
	t.Helper()
	req, err := request{path: "/api/v1/openapi.json", header: bearer(w.every)}.http(t.Context(), w.url)
	noError(t, err)
	resp, err := http.DefaultClient.Do(req)
	noError(t, err)
	defer resp.Body.Close()
	var spec struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	noError(t, json.NewDecoder(resp.Body).Decode(&spec))
	for path, methods := range spec.Paths {
		if _, ok := methods["get"]; ok {
			all = append(all, path)
		}
	}
	vendors := map[string][]baas.Route{"enterprise": baasenterprise.Routes(), "lake": baaslake.Routes()}
	for _, routes := range vendors {
		for _, r := range routes {
			if r.Method == http.MethodGet {
				all = append(all, r.Pattern)
			}
		}
	}
	for _, r := range bmcetl.Routes() {
		if r.Method == http.MethodGet {
			all = append(all, r.Path)
		}
	}
	for _, r := range commvault.Routes() {
		if r.Method == http.MethodGet {
			all = append(all, commandCenter+"/"+strings.Trim(r.Path, "/"))
		}
	}
	if len(all) < 80 {
		t.Errorf("got %d paths, want those of every API", len(all))
	}
	return all
}

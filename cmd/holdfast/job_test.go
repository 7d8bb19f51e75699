package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
)

func TestJobDeletionSaysWhatGoes(t *testing.T) {
	set := func(job holdfast.JobID, s holdfast.CopyState) native.Set {
		return native.Set{JobID: job, Copies: []native.Copy{{State: s}}}
	}
	for _, c := range []struct {
		name string
		sets bool
		made []native.Set
		last bool
		says []string
	}{
		{"the job alone", false, []native.Set{set(7, holdfast.CopyComplete)}, false, []string{"job 7 berlin/nightly with its schedules (2)?", "backup sets stay"}},
		{"no sets", true, nil, false, []string{"with its schedules (2) and every backup set", "cannot be recovered"}},
		{"another job's good set stays", true, []native.Set{set(7, holdfast.CopyComplete), set(8, holdfast.CopyVerified)}, false, []string{"every backup set"}},
		{"nothing good is among them", true, []native.Set{set(7, holdfast.CopyDamaged)}, false, []string{"every backup set"}},
		{
			"the last good ones", true,
			[]native.Set{set(7, holdfast.CopyComplete), set(7, holdfast.CopyVerified), set(8, holdfast.CopyDamaged)},
			true,
			[]string{"last good backup set of site berlin", "every backup set"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var answer any = native.List[native.Set]{Items: c.made, Total: len(c.made)}
				if strings.HasSuffix(r.URL.Path, "/jobs/7/schedules") {
					answer = native.List[native.Schedule]{Items: make([]native.Schedule, 2), Total: 2}
				}
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(answer)
			}))
			t.Cleanup(srv.Close)
			cl, err := client.New(client.Options{Server: srv.URL, Token: holdfast.NewSecret("t"), Version: "test"})
			if err != nil {
				t.Fatal(err)
			}
			question, last, err := jobDeletion(t.Context(), cl, native.Job{ID: 7, SiteID: 3, Site: "berlin", Name: "nightly"}, c.sets)
			if err != nil || last != c.last {
				t.Errorf("got last=%v, %v; want %v", last, err, c.last)
			}
			for _, s := range c.says {
				if !strings.Contains(question, s) {
					t.Errorf("got %q, want %q in it", question, s)
				}
			}
			if c.last != strings.Contains(question, "nothing can be restored") {
				t.Errorf("got %q", question)
			}
		})
	}
}

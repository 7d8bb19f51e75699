package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestPrune: what it would do, what it does, and what it finds on the next day.
func TestPrune(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	all, err := s.repo.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	prune := func(want string, args ...string) pruneReport {
		t.Helper()
		code, out, errs := s.run(append([]string{"prune", "-o", "json"}, args...)...)
		var r pruneReport
		if err := json.Unmarshal([]byte(out), &r); code != 0 || err != nil {
			t.Fatalf("code %d: %s%s", code, out, errs)
		}
		got, err := json.Marshal(map[string]any{"keep": r.Plan.Keep.Packs, "condemn": r.Plan.Condemn.Packs, "delete": r.Plan.Delete.Packs, "waiting": len(r.Plan.Waiting)})
		if err != nil || string(got) != want {
			t.Errorf("prune %v: got %s, want %s", args, got, want)
		}
		return r
	}
	prune(`{"condemn":0,"delete":0,"keep":2,"waiting":0}`)
	if err := s.repo.RemoveSnapshot(t.Context(), all[0].ID); err != nil {
		t.Fatal(err)
	}
	if r := prune(`{"condemn":2,"delete":0,"keep":0,"waiting":0}`, "--dry-run"); r.Done != nil || !r.DryRun {
		t.Errorf("a dry run has done %+v", r.Done)
	}
	if r := prune(`{"condemn":2,"delete":0,"keep":0,"waiting":0}`); r.Done.Condemned.Packs != 2 || r.Done.Deleted.Packs != 0 {
		t.Errorf("got %+v", r.Done)
	}
	if r := prune(`{"condemn":0,"delete":0,"keep":0,"waiting":1}`); r.Plan.Waiting[0].Packs != 2 || r.Plan.Waiting[0].Bytes == 0 {
		t.Errorf("got %+v", r.Plan)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"stats"}, 0, "condemned"},
		{[]string{"check"}, 0, "no damage"},
		{[]string{"prune", "--dry-run"}, 0, "nothing was changed"},
		{[]string{"prune"}, 0, "until 20"},
		{[]string{"prune", "--max-unused", "0.1", "--repack-limit", "1GiB", "--wait", "0s"}, 0, "deleted 2 packs"},
		{[]string{"prune"}, 0, "nothing to do"},
		{[]string{"prune", "--max-unused", "101%"}, 2, "share"},
		{[]string{"prune", "--wait", "-1h"}, 2, "negative"},
	} {
		code, out, errs := s.run(c.args...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%v: code %d\n%s%s", c.args, code, out, errs)
		}
	}
}

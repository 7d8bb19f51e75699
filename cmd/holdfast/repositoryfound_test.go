package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

const (
	ours   = "0123456789abcdef0123456789abcdef"
	theirs = "fedcba9876543210fedcba9876543210"
)

// manifest is what a set of an installation says of itself.
func manifest(installation string, set holdfast.SetID) worker.SetManifest {
	taken := time.Date(2026, 3, 1, 2, int(set%60), 0, 0, time.UTC)
	return worker.SetManifest{
		Version: 1, Installation: installation, Site: 1001, SiteSlug: "berlin", Job: 1001, JobName: fmt.Sprint("nightly ", set), Execution: holdfast.ExecutionID(1000 + set),
		Fence: 1, Set: set, Engine: holdfast.EnginePhysical, RunType: holdfast.RunFull,
		Result: engine.Result{Started: taken, Stopped: taken, Bytes: 1, Files: 1, Physical: &holdfast.PhysicalFacts{SystemIdentifier: 1 << 63}},
	}
}

// tagsOf are the tags of the snapshot that has the manifest.
func tagsOf(m worker.SetManifest, more ...string) []string {
	return append([]string{
		fmt.Sprintf("set=%d", m.Set), "site=" + m.SiteSlug, "installation=" + m.Installation, fmt.Sprintf("execution=%d", m.Execution), fmt.Sprintf("fence=%d", m.Fence),
	}, more...)
}

// put adds a snapshot, with the file set.json unless that is empty, and returns its id.
func (s *shelf) put(setJSON string, taken time.Time, tags ...string) string {
	s.t.Helper()
	w, err := s.repo.NewWriter(s.t.Context(), repository.WriterOptions{Holder: "test"})
	if err != nil {
		s.t.Fatal(err)
	}
	name := worker.SetFile
	if setJSON == "" {
		name = "pgdata/PG_VERSION"
	}
	err = w.Add(s.t.Context(), engine.File{
		Node: engine.Node{Path: name, Mode: 0o600, Size: int64(len(setJSON))},
		Open: func() (engine.Content, error) { return bytesContent{bytes.NewReader([]byte(setJSON))}, nil },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	id, err := w.Commit(s.t.Context(), repository.Commit{Time: taken, Hostname: "berlin", Tags: tags, Paths: []string{"/pgdata"}},
		func(context.Context, string) error { return nil })
	if err != nil {
		s.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	return id
}

func (s *shelf) set(m worker.SetManifest, more ...string) string {
	s.t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.put(string(b), m.Result.Stopped, tagsOf(m, more...)...)
}

// TestWhatSnapshotsAre has every kind of snapshot in one repository.
func TestWhatSnapshotsAre(t *testing.T) {
	t.Parallel()
	s := newShelf(t) // with a set that names no installation
	known, gone := s.set(manifest(ours, 1002)), s.set(manifest(ours, 1003))
	second := manifest(theirs, 1004)
	second.Fence = 2
	want := map[string]snapshotKind{
		known:                                  snapshotRecorded,
		gone:                                   snapshotDeleted,
		s.set(manifest(ours, 1005)):            snapshotUnrecorded,
		s.set(manifest(theirs, 1004)):          snapshotSuperseded,
		s.set(second):                          snapshotOther,
		s.set(manifest(theirs, 1006)):          snapshotOther,
		s.put("", time.Now(), "daily"):         snapshotForeign,
		s.put("", time.Now().Add(time.Second)): snapshotForeign,
		s.set(manifest(theirs, 1006), repository.RepairedFromTag+"=x"): snapshotRemains,
		s.set(manifest(theirs, 1007), repository.CopiedFromTag+"=x"):   snapshotCopied,
		s.set(manifest(ours, 1002), repository.CopiedFromTag+"=x"):     snapshotSuperseded,
	}
	list, err := s.repo.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := &foundSnapshots{installation: ours, copies: map[string]native.RepositoryCopy{
		known: {ID: 1, SetID: 1002, Snapshot: known, State: holdfast.CopyUnconfirmed}, gone: {ID: 2, SetID: 1003, Snapshot: gone, State: holdfast.CopyDeleted},
		strings.Repeat("a", 64): {ID: 3, SetID: 1009, Snapshot: strings.Repeat("a", 64), State: holdfast.CopyComplete},
		strings.Repeat("b", 64): {ID: 4, SetID: 1010, Snapshot: strings.Repeat("b", 64), State: holdfast.CopyExpired},
	}}
	found.classify(list)
	for _, v := range found.all {
		if kind, ok := want[v.ID]; ok && v.kind != kind {
			t.Errorf("%v: got %s, want %s", v.Tags, v.kind, kind)
		}
	}
	var sets []string
	for _, v := range found.importable("") {
		sets = append(sets, v.set.set)
	}
	if got := strings.Join(sets, " "); got != "1001 1004 1006 1007 1005" { // the shelf's own set is the newest, and names no installation
		t.Errorf("got %s", got)
	}
	if one := found.importable(ours); len(one) != 1 || one[0].set.set != "1005" {
		t.Errorf("of one installation: got %+v", one)
	}

	p := &openedRepository{Repository: s.repo, name: "main", location: "file:///x"}
	r, err := p.snapshotReport(t.Context(), found)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, f := range r.Findings {
		kinds = append(kinds, f.Kind)
		if f.What == "" || f.Hint == "" {
			t.Errorf("it says too little: %+v", f)
		}
	}
	slices.Sort(kinds)
	if got := strings.Join(kinds, " "); got != "deleted foreign foreign missing other other other remains superseded superseded unrecorded" || r.Recorded != 1 || r.Copied != 1 {
		t.Errorf("got %s, %+v", got, r)
	}
	if text := r.text(p.title()); !strings.Contains(text, "11 things to look at") || !strings.Contains(text, "1 copied here") {
		t.Errorf("got\n%s", text)
	}
}

// TestImportReadsWhatItCan refuses what is damaged, foreign or of a later version, by
// name, and takes the others.
func TestImportReadsWhatItCan(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.set(manifest(theirs, 1002))
	later, lying, repaired, long := manifest(theirs, 1003), manifest(theirs, 1004), manifest(theirs, 1005), manifest(theirs, 1006)
	later.Version = 2
	b, err := json.Marshal(lying)
	if err != nil {
		t.Fatal(err)
	}
	lying.Execution++
	repaired.Repaired = &worker.Repaired{From: "x", Lost: 1}
	long.SiteSlug = strings.Repeat("x", importBatch)
	s.set(later)
	s.put(string(b), lying.Result.Stopped, tagsOf(lying)...)
	s.set(repaired)
	s.set(long)
	s.put("{", time.Now(), tagsOf(manifest(theirs, 1007))...)
	s.put("", time.Now(), tagsOf(manifest(theirs, 1008))...)
	s.set(manifest(theirs, 1009))

	list, err := s.repo.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := &foundSnapshots{installation: ours}
	found.classify(list)
	im := &importing{p: &openedRepository{Repository: s.repo}, names: map[jobKey]string{}}
	for _, v := range found.all {
		im.seeTags(v)
	}
	if err := im.p.manifests(t.Context(), found.importable(theirs), im.take); err != nil {
		t.Fatal(err)
	}
	if len(im.sets) != 2 || im.sets[0].Set != 1002 || im.sets[1].Set != 1009 || im.sets[0].Physical.SystemIdentifier != "9223372036854775808" {
		t.Errorf("got %+v", im.sets)
	}
	if name := im.names[jobKey{theirs, 1001}]; name != "nightly 1009" {
		t.Errorf("the job is called %q, want its newest name", name)
	}
	if im.seen != (native.Sequences{Site: 1001, Job: 1001, Execution: 2009, Set: 1009}) {
		t.Errorf("got %+v", im.seen)
	}
	want := map[string]string{
		"1003": "version 2", "1004": "tag execution=", "1005": "a repair has left", "1006": "too long", "1007": "not the JSON", "1008": "is not there",
	}
	for _, v := range im.report.Sets {
		if v.State != service.ImportRefused || want[v.Set] == "" || !strings.Contains(v.Reason, want[v.Set]) {
			t.Errorf("set %s: got %q, want %q", v.Set, v.Reason, want[v.Set])
		}
		delete(want, v.Set)
	}
	if len(want) > 0 {
		t.Errorf("not refused: %v", want)
	}
}

// TestABadAttemptHidesNoGoodOne: of a set there are several snapshots, and those that say
// that they are the newest attempts are damaged, or made up.
func TestABadAttemptHidesNoGoodOne(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	good := s.set(manifest(theirs, 1004))
	older := manifest(theirs, 1004)
	older.Result.Stopped = older.Result.Stopped.Add(-time.Minute)
	s.set(older)
	claims := manifest(theirs, 1004)
	claims.Fence = 7
	s.put("", time.Now(), tagsOf(claims)...)
	s.put("{", time.Now().Add(time.Second), tagsOf(claims)...)

	list, err := s.repo.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := &foundSnapshots{installation: ours}
	found.classify(list)
	im := &importing{p: &openedRepository{Repository: s.repo}, names: map[jobKey]string{}}
	if err := im.p.manifests(t.Context(), found.importable(theirs), im.take); err != nil {
		t.Fatal(err)
	}
	if len(im.sets) != 1 || im.sets[0].Snapshot != good || im.report.Refused != 2 {
		t.Errorf("got %+v, %d refused, want the snapshot %s", im.sets, im.report.Refused, good)
	}
}

package expire_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/expire"
	"github.com/holdfast-backup/holdfast/internal/store"
)

var update = flag.Bool("update", false, "rewrite the golden file")

// given reads a history: words like 3F+p, which are a set's number, its run type
// (F, D or C), the state of its copy (+ complete, v verified, x damaged, u
// unconfirmed, w being written, e expired) and, after that, p for protected and r
// for a restore that needs it.
func given(t testing.TB, text string) (sets []store.SetCopies, restores []holdfast.Execution) {
	t.Helper()
	for word := range strings.FieldsSeq(text) {
		at := strings.IndexAny(word, "FDC")
		n, err := strconv.Atoi(word[:max(at, 0)])
		if err != nil || at+2 > len(word) {
			t.Fatalf("the history's word %q cannot be read", word)
		}
		s := store.SetCopies{Set: holdfast.BackupSet{ID: holdfast.SetID(n), Job: job}}
		s.Set.RunType = map[byte]holdfast.RunType{'F': holdfast.RunFull, 'D': holdfast.RunDelta, 'C': holdfast.RunCumulative}[word[at]]
		state := map[byte]holdfast.CopyState{
			'+': holdfast.CopyComplete, 'v': holdfast.CopyVerified, 'x': holdfast.CopyDamaged, 'u': holdfast.CopyUnconfirmed,
			'w': holdfast.CopyWriting, 'e': holdfast.CopyExpired,
		}[word[at+1]]
		s.Copies = []holdfast.Copy{{Set: s.Set.ID, State: state}}
		if state == holdfast.CopyDamaged {
			s.Set.Damaged = "a page"
		}
		s.Set.Protected = strings.Contains(word[at+2:], "p")
		if strings.Contains(word[at+2:], "r") {
			restores = append(restores, holdfast.Execution{ID: holdfast.ExecutionID(9000 + n), Set: s.Set.ID})
		}
		sets = append(sets, s)
	}
	return sets, restores
}

const job = holdfast.JobID(1001)

func schedule(id holdfast.ScheduleID, run holdfast.RunType, active bool) holdfast.Schedule {
	return holdfast.Schedule{ID: id, Job: job, RunType: run, Active: active}
}

// text is a plan as people read it.
func text(p expire.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "keeps %d %s, because %s; there are %d\n", p.Count, p.Unit, p.UnitReason, p.Good)
	for _, v := range p.Sets {
		word := "keep"
		if v.Drop {
			word = "DROP"
		}
		fmt.Fprintf(&b, "%s %2d %-5s of %2d  %-15s %s\n", word, v.Set.ID, v.Set.RunType, v.Generation, v.Code, v.Reason)
	}
	return b.String()
}

func TestPlans(t *testing.T) {
	fulls := []holdfast.Schedule{schedule(7, holdfast.RunDelta, true), schedule(8, holdfast.RunFull, true)}
	cases := []struct {
		name      string
		count     int
		unit      holdfast.RetentionUnit
		schedules []holdfast.Schedule
		history   string
		deleted   bool
	}{
		{name: "nothing", count: 2},
		{name: "fewer than the number", count: 7, history: "1F+ 2F+"},
		{name: "the newest sets stay", count: 2, history: "1F+ 2F+ 3F+ 4F+"},
		{name: "one stays", count: 1, history: "1F+ 2F+"},
		{name: "sets come in any order", count: 2, history: "3F+ 1F+ 2F+"},
		{name: "no number is one", count: 0, history: "1F+ 2F+"},
		{name: "what is being written or gone is not looked at", count: 1, history: "1F+ 2Fe 3F+ 4Fw"},
		{name: "deltas are sets", count: 2, history: "1F+ 2D+ 3D+ 4D+"},
		{name: "generations by the schedule", count: 2, schedules: fulls, history: "1F+ 2D+ 3F+ 4D+ 5D+ 6F+ 7D+"},
		{name: "generations by the job", count: 1, unit: holdfast.RetainGenerations, history: "1F+ 2D+ 3F+ 4C+"},
		{name: "sets without FULL runs", count: 2, schedules: []holdfast.Schedule{schedule(7, holdfast.RunDelta, true)}, history: "1F+ 2D+ 3D+"},
		{name: "sets by the job, against its schedule", count: 2, unit: holdfast.RetainSets, schedules: fulls, history: "1F+ 2D+ 3D+ 4F+"},
		{name: "a pause of the schedule changes nothing", count: 2, schedules: []holdfast.Schedule{schedule(8, holdfast.RunFull, false)}, history: "1F+ 2D+ 3F+ 4D+ 5D+"},
		{name: "orphans are one generation", count: 2, schedules: fulls, history: "1D+ 2D+ 3F+ 4F+"},
		{name: "orphans are a good generation", count: 2, schedules: fulls, history: "1D+ 2D+ 3F+"},
		{name: "a damaged full with a good delta", count: 1, schedules: fulls, history: "1F+ 2D+ 3Fx 4D+"},
		{name: "a damaged generation pushes nothing out", count: 1, schedules: fulls, history: "1F+ 2D+ 3Fx 4Dx"},
		{name: "a damaged newest set pushes nothing out", count: 2, history: "1F+ 2F+ 3Fx"},
		{name: "damaged sets among the good ones stay, older ones go", count: 2, history: "1Fx 2F+ 3Fx 4F+"},
		{name: "damaged sets stay while the number is not reached", count: 3, history: "1Fx 2F+ 3F+"},
		{name: "nothing but damaged sets", count: 1, history: "1Fx 2Fx 3Fx"},
		{name: "protected sets stay and do not count", count: 2, history: "1F+p 2F+ 3F+p 4F+ 5F+"},
		{name: "the only good set is protected", count: 1, history: "1Fx 2F+p 3Fx"},
		{name: "a protected full does not keep its generation", count: 1, schedules: fulls, history: "1F+p 2D+ 3F+ 4D+"},
		{name: "a generation of protected sets does not count", count: 1, schedules: fulls, history: "1F+ 2F+p 3D+p"},
		{name: "the newest verified set stays", count: 2, history: "1Fv 2Fv 3F+ 4F+ 5F+"},
		{name: "the newest verified set counts where it stands", count: 2, history: "1Fv 2F+ 3Fv 4F+"},
		{name: "a restore keeps its set", count: 1, history: "1F+r 2Fxr 3F+r"},
		{name: "what is not confirmed stays and does not count", count: 1, history: "1F+ 2Fu 3F+ 4Fu"},
		{name: "a person deletes what a deleted job has left", count: 1, history: "1F+ 2F+ 3Fx", deleted: true},
	}
	var got bytes.Buffer
	for _, c := range cases {
		sets, restores := given(t, c.history)
		j := holdfast.Job{ID: job, Retention: holdfast.Retention{Unit: c.unit, Count: c.count}}
		if c.deleted {
			j.Deleted = j.Created.AddDate(1, 0, 0)
		}
		p := expire.Decide(expire.Input{Job: j, Schedules: c.schedules, Sets: sets, Restores: restores})
		fmt.Fprintf(&got, "## %s: keep %d of %s\n%s\n", c.name, c.count, c.history, text(p))
	}
	file := filepath.Join("testdata", "plans.golden")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the plans differ from %s (-update rewrites it):\n%s", file, firstDifference(got.String(), string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d:\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}

// TestManyGoOneAfterTheOther drops what has gathered in several plans, the
// oldest first.
func TestManyGoOneAfterTheOther(t *testing.T) {
	const extra = 3
	var all []store.SetCopies
	for n := range expire.MaxDrops + extra + 1 {
		id := holdfast.SetID(n + 1)
		all = append(all, store.SetCopies{Set: holdfast.BackupSet{ID: id}, Copies: []holdfast.Copy{{Set: id, State: holdfast.CopyComplete}}})
	}
	in := expire.Input{Job: holdfast.Job{Retention: holdfast.Retention{Count: 1}}, Sets: all}
	p := expire.Decide(in)
	drops := p.Drops()
	if len(drops) != expire.MaxDrops || drops[0].Set.ID != expire.MaxDrops {
		t.Fatalf("got %d drops, the newest set %d; want the %d oldest", len(drops), drops[0].Set.ID, expire.MaxDrops)
	}
	for i, want := range []expire.Code{expire.KeepCounted, expire.KeepLater, expire.KeepLater, expire.KeepLater, expire.DropSurplus} {
		if got := p.Sets[i].Code; got != want {
			t.Errorf("set %d: got %s, want %s", p.Sets[i].Set.ID, got, want)
		}
	}
	in.Sets = without(in.Sets, drops)
	if again := expire.Decide(in).Drops(); len(again) != extra {
		t.Errorf("got %d drops in the next plan, want the %d that were left", len(again), extra)
	}
}

// without returns the sets as they are after the drops.
func without(sets []store.SetCopies, drops []expire.Verdict) []store.SetCopies {
	return slices.DeleteFunc(slices.Clone(sets), func(s store.SetCopies) bool {
		return slices.ContainsFunc(drops, func(v expire.Verdict) bool { return v.Set.ID == s.Set.ID })
	})
}

package expire_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/expire"
	"github.com/holdfast-backup/holdfast/internal/store"
)

var (
	runTypes = rapid.SampledFrom([]holdfast.RunType{holdfast.RunFull, holdfast.RunDelta, holdfast.RunCumulative})
	states   = rapid.SampledFrom([]holdfast.CopyState{
		holdfast.CopyComplete, holdfast.CopyComplete, holdfast.CopyVerified, holdfast.CopyDamaged, holdfast.CopyUnconfirmed,
		holdfast.CopyWriting, holdfast.CopyOrphaned, holdfast.CopyExpired, holdfast.CopyDeleted,
	})
)

func drawSet(t *rapid.T, id holdfast.SetID) store.SetCopies {
	s := store.SetCopies{Set: holdfast.BackupSet{
		ID: id, RunType: runTypes.Draw(t, "run type"), Protected: rapid.IntRange(0, 5).Draw(t, "protected") == 0,
	}}
	if rapid.IntRange(0, 4).Draw(t, "damaged") == 0 {
		s.Set.Damaged = "a page"
	}
	for range rapid.IntRange(0, 2).Draw(t, "copies") {
		s.Copies = append(s.Copies, holdfast.Copy{Set: id, State: states.Draw(t, "state")})
	}
	return s
}

func draw(t *rapid.T) expire.Input {
	in := expire.Input{Job: holdfast.Job{ID: job, Retention: holdfast.Retention{
		Count: rapid.IntRange(1, 4).Draw(t, "count"),
		Unit:  rapid.SampledFrom([]holdfast.RetentionUnit{"", holdfast.RetainSets, holdfast.RetainGenerations}).Draw(t, "unit"),
	}}}
	for n := range rapid.IntRange(0, 2).Draw(t, "schedules") {
		in.Schedules = append(in.Schedules, schedule(holdfast.ScheduleID(n+1), runTypes.Draw(t, "run type"), rapid.Bool().Draw(t, "active")))
	}
	for n := range rapid.IntRange(0, 12).Draw(t, "sets") {
		in.Sets = append(in.Sets, drawSet(t, holdfast.SetID(n+1)))
	}
	for n := range rapid.IntRange(0, 2).Draw(t, "restores") {
		in.Restores = append(in.Restores, holdfast.Execution{ID: holdfast.ExecutionID(n + 1), Set: holdfast.SetID(rapid.IntRange(1, 14).Draw(t, "set"))})
	}
	return in
}

func in(s store.SetCopies, states ...holdfast.CopyState) bool {
	return slices.ContainsFunc(s.Copies, func(c holdfast.Copy) bool { return slices.Contains(states, c.State) })
}

func visible(s store.SetCopies) bool {
	return in(s, holdfast.CopyComplete, holdfast.CopyVerified, holdfast.CopyDamaged, holdfast.CopyUnconfirmed)
}

func good(s store.SetCopies) bool {
	return s.Set.Damaged == "" && in(s, holdfast.CopyComplete, holdfast.CopyVerified)
}

// newest returns the newest set that ok is true of; 0: none.
func newest(sets []store.SetCopies, ok func(store.SetCopies) bool) (id holdfast.SetID) {
	for _, s := range sets {
		if ok(s) {
			id = max(id, s.Set.ID)
		}
	}
	return id
}

// goodUnits counts units that hold a good set which is not protected, without
// what the package does.
func goodUnits(sets []store.SetCopies, unit holdfast.RetentionUnit) int {
	n, counted := 0, false
	for _, s := range sets { // by id
		if !visible(s) {
			continue
		}
		if unit == holdfast.RetainSets || s.Set.RunType == holdfast.RunFull {
			counted = false
		}
		if good(s) && !s.Set.Protected && !counted {
			n, counted = n+1, true
		}
	}
	return n
}

func dropped(p expire.Plan) []holdfast.SetID {
	var ids []holdfast.SetID
	for _, v := range p.Drops() {
		ids = append(ids, v.Set.ID)
	}
	return ids
}

func TestWhatAPlanNeverDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := draw(t)
		p := expire.Decide(given)
		drops := dropped(p)

		var shown []holdfast.SetID
		for _, s := range given.Sets {
			if visible(s) {
				shown = append(shown, s.Set.ID)
			}
			if !slices.Contains(drops, s.Set.ID) {
				continue
			}
			needed := slices.ContainsFunc(given.Restores, func(e holdfast.Execution) bool { return e.Set == s.Set.ID })
			if s.Set.Protected || needed || !visible(s) || !good(s) && in(s, holdfast.CopyUnconfirmed) {
				t.Errorf("set %d is dropped: %+v", s.Set.ID, s)
			}
		}
		var verdicts []holdfast.SetID
		for _, v := range p.Sets {
			verdicts = append(verdicts, v.Set.ID)
			if v.Code == "" || v.Reason == "" {
				t.Errorf("set %d: no reason", v.Set.ID)
			}
		}
		slices.Reverse(shown)
		if !slices.Equal(verdicts, shown) {
			t.Errorf("verdicts on %v, want one on each of %v", verdicts, shown)
		}
		for what, id := range map[string]holdfast.SetID{
			"good": newest(given.Sets, good), "verified": newest(given.Sets, func(s store.SetCopies) bool { return good(s) && in(s, holdfast.CopyVerified) }),
		} {
			if slices.Contains(drops, id) {
				t.Errorf("the newest %s set %d is dropped", what, id)
			}
		}
		before, after := goodUnits(given.Sets, p.Unit), goodUnits(without(given.Sets, p.Drops()), p.Unit)
		if before != p.Good || after < min(before, given.Job.Retention.Count) {
			t.Errorf("%d good units (the plan counts %d) become %d, want at least %d", before, p.Good, after, min(before, given.Job.Retention.Count))
		}
	})
}

func TestTheNextPlanDropsNothingMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := draw(t)
		given.Sets = without(given.Sets, expire.Decide(given).Drops())
		if again := dropped(expire.Decide(given)); len(again) > 0 {
			t.Errorf("the next plan drops %v", again)
		}
	})
}

func TestADamagedNewerSetChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := draw(t)
		before := dropped(expire.Decide(given))
		bad := drawSet(t, 100)
		bad.Set.Damaged = "a page"
		given.Sets = append(given.Sets, bad)
		if after := dropped(expire.Decide(given)); !slices.Equal(after, before) {
			t.Errorf("with the damaged set %v go, without it %v", after, before)
		}
	})
}

func TestANewerSetThatIsNotVerifiedKeepsTheVerifiedOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := draw(t)
		given.Sets = append(given.Sets, store.SetCopies{
			Set: holdfast.BackupSet{ID: 100, RunType: runTypes.Draw(t, "run type")}, Copies: []holdfast.Copy{{State: holdfast.CopyComplete}},
		})
		id := newest(given.Sets, func(s store.SetCopies) bool { return good(s) && in(s, holdfast.CopyVerified) })
		if slices.Contains(dropped(expire.Decide(given)), id) {
			t.Errorf("the newest verified set %d is dropped", id)
		}
	})
}

func TestALargerNumberDropsNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := draw(t)
		fewer := dropped(expire.Decide(given))
		given.Job.Retention.Count++
		for _, id := range dropped(expire.Decide(given)) {
			if !slices.Contains(fewer, id) {
				t.Errorf("set %d goes only when more are to stay", id)
			}
		}
	})
}

func TestADeletedJobDropsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := draw(t)
		given.Job.Deleted = given.Job.Created.AddDate(1, 0, 0)
		if ids := dropped(expire.Decide(given)); len(ids) > 0 {
			t.Errorf("%v go", ids)
		}
	})
}

func TestTheOrderOfTheInputDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := draw(t)
		want := dropped(expire.Decide(given))
		given.Sets = rapid.Permutation(given.Sets).Draw(t, "order")
		if got := dropped(expire.Decide(given)); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestTheNextGoodSetTakesThePlace holds what a plan says of the next good set to
// what the next plan does.
func TestTheNextGoodSetTakesThePlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		given := draw(t)
		before := expire.Decide(given)
		given.Sets = append(given.Sets, store.SetCopies{
			Set: holdfast.BackupSet{ID: 100, RunType: holdfast.RunFull}, Copies: []holdfast.Copy{{State: holdfast.CopyComplete}},
		})
		after := map[holdfast.SetID]expire.Code{}
		for _, v := range expire.Decide(given).Sets {
			after[v.Set.ID] = v.Code
		}
		for _, v := range before.Sets {
			if v.Code != expire.KeepCounted {
				continue
			}
			said := strings.HasSuffix(v.Reason, "the next good one takes its place")
			code := after[v.Set.ID]
			if goes := code == expire.DropSurplus || code == expire.KeepRestore; goes != said {
				t.Errorf("set %d: the plan says %q, and then it is %s", v.Set.ID, v.Reason, code)
			}
		}
	})
}

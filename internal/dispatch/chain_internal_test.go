package dispatch

import (
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const (
	here  = holdfast.RepositoryID(1001)
	there = holdfast.RepositoryID(1002)
)

// made is a set of execution 2000 + id with one copy.
func made(id holdfast.SetID, t holdfast.RunType, in holdfast.RepositoryID, state holdfast.CopyState) store.SetCopies {
	return store.SetCopies{
		Set:    holdfast.BackupSet{ID: id, RunType: t, Engine: holdfast.EnginePhysical, Execution: holdfast.ExecutionID(2000 + id)},
		Copies: []holdfast.Copy{{Set: id, Repository: in, State: state}},
	}
}

// TestChoose has sets of a job, the newest first.
func TestChoose(t *testing.T) {
	t.Parallel()
	const full, delta, cumulative = holdfast.RunFull, holdfast.RunDelta, holdfast.RunCumulative
	const complete, verified, damaged = holdfast.CopyComplete, holdfast.CopyVerified, holdfast.CopyDamaged
	with := func(l store.SetCopies, change func(*store.SetCopies)) store.SetCopies {
		change(&l)
		return l
	}
	broken := with(made(3, delta, here, complete), func(l *store.SetCopies) { l.Set.Damaged = "a page of t" })
	for name, c := range map[string]struct {
		asked  holdfast.RunType
		past   past
		want   holdfast.SetID
		reason string
	}{
		"a delta on a full":               {delta, past{sets: []store.SetCopies{made(1, full, here, complete)}}, 1, ""},
		"a delta on the newest delta":     {delta, past{sets: []store.SetCopies{made(3, delta, here, complete), made(2, cumulative, here, complete), made(1, full, here, complete)}}, 3, ""},
		"a delta on a cumulative":         {delta, past{sets: []store.SetCopies{made(2, cumulative, here, verified), made(1, full, here, complete)}}, 2, ""},
		"a delta without a full left":     {delta, past{sets: []store.SetCopies{made(2, delta, here, complete)}, lost: 1}, 2, ""},
		"a cumulative on the newest full": {cumulative, past{sets: []store.SetCopies{made(4, delta, here, complete), made(3, full, here, complete), made(1, full, here, complete)}}, 3, ""},
		"past a damaged set":              {delta, past{sets: []store.SetCopies{broken, made(1, full, here, complete)}}, 1, ""},
		"past a damaged copy":             {delta, past{sets: []store.SetCopies{made(2, delta, here, damaged), made(1, full, here, complete)}}, 1, ""},
		"past a set elsewhere":            {delta, past{sets: []store.SetCopies{made(2, delta, there, complete), made(1, full, here, complete)}}, 1, ""},
		"the copy here counts": {delta, past{sets: []store.SetCopies{with(made(2, delta, there, damaged), func(l *store.SetCopies) {
			l.Copies = append(l.Copies, holdfast.Copy{Repository: here, State: complete})
		})}}, 2, ""},
		"past another engine's":             {delta, past{sets: []store.SetCopies{with(made(2, delta, here, complete), func(l *store.SetCopies) { l.Set.Engine = "pglogical" }), made(1, full, here, complete)}}, 1, ""},
		"the first backup":                  {delta, past{}, 0, "DELTA runs as FULL: this is the first backup of the job"},
		"after failures only":               {cumulative, past{tried: true}, 0, "CUMULATIVE runs as FULL: no backup of the job has succeeded yet"},
		"the repository was changed":        {delta, past{sets: []store.SetCopies{made(2, delta, there, complete), made(1, full, there, complete)}}, 0, "DELTA runs as FULL: the job's repository was changed, and nothing is there to build on"},
		"everything was deleted":            {delta, past{lost: 7, tried: true}, 0, "DELTA runs as FULL: the last backup (set 7) was deleted, by retention or by a person"},
		"the full was deleted":              {cumulative, past{sets: []store.SetCopies{made(2, delta, here, complete)}, lost: 1}, 0, "CUMULATIVE runs as FULL: the last FULL (set 1) was deleted, by retention or by a person"},
		"there is no record of a full":      {cumulative, past{sets: []store.SetCopies{made(2, delta, here, complete)}}, 0, "CUMULATIVE runs as FULL: the job has no FULL to build on"},
		"all are damaged":                   {delta, past{sets: []store.SetCopies{broken, made(1, full, here, damaged)}}, 0, "DELTA runs as FULL: the newest set (3) is damaged, and there is no older one to build on"},
		"the only full is damaged":          {cumulative, past{sets: []store.SetCopies{made(2, delta, here, complete), made(1, full, here, damaged)}}, 0, "CUMULATIVE runs as FULL: the newest FULL set (1) is damaged, and there is no older one to build on"},
		"imported":                          {delta, past{sets: []store.SetCopies{made(1, full, here, holdfast.CopyUnconfirmed)}}, 0, "DELTA runs as FULL: the newest set (1) was imported, and nobody has confirmed it, and there is no older one to build on"},
		"of no execution":                   {delta, past{sets: []store.SetCopies{with(made(1, full, here, verified), func(l *store.SetCopies) { l.Set.Execution = 0 })}}, 0, "DELTA runs as FULL: the newest set (1) was imported, and is of no execution, and there is no older one to build on"},
		"of another engine":                 {delta, past{sets: []store.SetCopies{with(made(1, full, here, complete), func(l *store.SetCopies) { l.Set.Engine = "pglogical" })}}, 0, "DELTA runs as FULL: the newest set (1) was made by the engine pglogical, and there is no older one to build on"},
		"an expired copy here is no reason": {delta, past{sets: []store.SetCopies{made(1, full, here, holdfast.CopyExpired)}}, 0, "DELTA runs as FULL: the job's repository was changed, and nothing is there to build on"},
	} {
		e := holdfast.Execution{RunAsked: c.asked, Repository: here, Engine: holdfast.EnginePhysical}
		slices.Reverse(c.past.sets)
		got := choose(e, c.past)
		run, parent := holdfast.RunFull, holdfast.ExecutionID(0)
		if c.want != 0 {
			run, parent = c.asked, holdfast.ExecutionID(2000+c.want)
		}
		if got.base.ID != c.want || got.reason != c.reason || got.runType != run {
			t.Errorf("%s: got %s on set %d (%q), want %s on set %d (%q)", name, got.runType, got.base.ID, got.reason, run, c.want, c.reason)
		}
		if got.apply(&e); e.RunType != run || e.RunTypeReason != c.reason || e.Parent != parent {
			t.Errorf("%s: the execution is %s (%q) with parent %d, want %s with parent %d", name, e.RunType, e.RunTypeReason, e.Parent, run, parent)
		}
	}
}

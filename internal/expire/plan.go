package expire

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// MaxDrops bounds how many sets one plan drops, so that its transaction stays
// short; the others go with the next plan.
const MaxDrops = 500

// Code is why a set stays or goes.
type Code string

// The codes of sets that stay.
const (
	KeepJobDeleted  Code = "job_deleted" // only a person deletes it
	KeepProtected   Code = "protected"
	KeepUnconfirmed Code = "unconfirmed"     // imported; neither counts nor goes
	KeepCounted     Code = "counted"         // in one of the newest good units
	KeepVerified    Code = "newest_verified" // newer sets that are not verified do not push it out
	KeepDamaged     Code = "damaged_newer"   // damaged, but newer than what the good units reach back to
	KeepRestore     Code = "restore"         // an execution needs it
	KeepLater       Code = "later"           // MaxDrops others go first
)

// The codes of sets that go.
const (
	DropSurplus Code = "surplus"       // good, but there are newer good units enough
	DropDamaged Code = "damaged_older" // damaged, and there are newer good units enough
)

// Input is what a plan is made of.
type Input struct {
	Job       holdfast.Job
	Schedules []holdfast.Schedule  // of the job
	Sets      []store.SetCopies    // of the job, in any order; those that no reader sees are not looked at
	Restores  []holdfast.Execution // that have not ended; those of other jobs' sets are not looked at
}

// Plan says of each set of a job whether it stays.
type Plan struct {
	Job        holdfast.JobID
	Unit       holdfast.RetentionUnit // what is counted
	UnitReason string                 // why, for people
	Count      int                    // how many good units stay
	Good       int                    // how many units count
	Sets       []Verdict              // the newest first
}

// Verdict is what becomes of one set, and why.
type Verdict struct {
	store.SetCopies
	Generation holdfast.SetID // the set that its generation begins with
	Drop       bool
	Code       Code
	Reason     string // for people
}

// Drops returns the sets that go, the newest first.
func (p Plan) Drops() []Verdict {
	var drops []Verdict
	for _, v := range p.Sets {
		if v.Drop {
			drops = append(drops, v)
		}
	}
	return drops
}

// Good reports whether the set is good.
func Good(s store.SetCopies) bool {
	return s.Set.Damaged == "" && (has(s, holdfast.CopyComplete) || has(s, holdfast.CopyVerified))
}

func has(s store.SetCopies, state holdfast.CopyState) bool {
	return slices.ContainsFunc(s.Copies, func(c holdfast.Copy) bool { return c.State == state })
}

// unit is what is counted: some sets, the oldest first.
type unit struct {
	sets   []store.SetCopies
	counts bool
	place  int // among the units that count, the newest being 1
}

func (u unit) first() holdfast.BackupSet { return u.sets[0].Set }

// Decide says what becomes of each set. It depends on nothing but its input.
func Decide(in Input) Plan {
	p := Plan{Job: in.Job.ID, Count: max(in.Job.Retention.Count, 1)}
	p.Unit, p.UnitReason = unitOf(in.Job, in.Schedules)
	sets := slices.DeleteFunc(slices.Clone(in.Sets), func(s store.SetCopies) bool {
		return !slices.ContainsFunc(s.Copies, holdfast.Copy.Readable)
	})
	slices.SortFunc(sets, func(a, b store.SetCopies) int { return cmp.Compare(a.Set.ID, b.Set.ID) })

	units := units(sets, p.Unit)
	for i := len(units) - 1; i >= 0; i-- {
		if units[i].counts {
			p.Good++
			units[i].place = p.Good
		}
	}
	d := decision{plan: p, deleted: !in.Job.Deleted.IsZero(), restores: map[holdfast.SetID]holdfast.ExecutionID{}}
	for _, e := range in.Restores {
		d.restores[e.Set] = e.ID
	}
	for _, u := range units {
		if u.place == p.Count {
			d.boundary = u.first().ID
		}
	}
	for _, s := range sets {
		if Good(s) && has(s, holdfast.CopyVerified) {
			d.verified = s.Set.ID
		}
	}
	generation := holdfast.SetID(0)
	drops := 0
	for _, u := range units {
		for _, s := range u.sets {
			if generation == 0 || s.Set.RunType == holdfast.RunFull {
				generation = s.Set.ID
			}
			v := Verdict{SetCopies: s, Generation: generation}
			v.Drop, v.Code, v.Reason = d.decide(u, s)
			if v.Drop && drops == MaxDrops { // the oldest go first
				v.Drop, v.Code = false, KeepLater
				v.Reason = fmt.Sprintf("goes with a later backup: at most %d go at once", MaxDrops)
			}
			if v.Drop {
				drops++
			}
			p.Sets = append(p.Sets, v)
		}
	}
	slices.Reverse(p.Sets)
	return p
}

// unitOf says what the job's retention counts, and why. A schedule counts while
// it is not active, too: whoever pauses the FULL runs for a week must not lose
// what the generations hold.
func unitOf(j holdfast.Job, schedules []holdfast.Schedule) (holdfast.RetentionUnit, string) {
	if j.Retention.Unit != "" {
		return j.Retention.Unit, "the job says so"
	}
	for _, s := range schedules {
		if s.RunType == holdfast.RunFull {
			return holdfast.RetainGenerations, fmt.Sprintf("schedule %d makes FULL runs", s.ID)
		}
	}
	return holdfast.RetainSets, "no schedule makes FULL runs"
}

// units groups the sets, which come the oldest first.
func units(sets []store.SetCopies, by holdfast.RetentionUnit) []unit {
	var all []unit
	for _, s := range sets {
		if len(all) == 0 || by == holdfast.RetainSets || s.Set.RunType == holdfast.RunFull {
			all = append(all, unit{})
		}
		u := &all[len(all)-1]
		u.sets = append(u.sets, s)
		u.counts = u.counts || Good(s) && !s.Set.Protected
	}
	return all
}

// decision is what the verdict on one set depends on besides the set.
type decision struct {
	plan     Plan // without its sets
	deleted  bool // the job is
	boundary holdfast.SetID
	verified holdfast.SetID // the newest
	restores map[holdfast.SetID]holdfast.ExecutionID
}

func (d decision) decide(u unit, s store.SetCopies) (drop bool, code Code, reason string) {
	good := Good(s)
	switch {
	case d.deleted:
		return false, KeepJobDeleted, "its job is deleted: only a person deletes it"
	case s.Set.Protected:
		return false, KeepProtected, "protected"
	case !good && has(s, holdfast.CopyUnconfirmed):
		return false, KeepUnconfirmed, "imported, and not confirmed yet"
	case good && u.place <= d.plan.Count:
		return false, KeepCounted, d.place(u, s.Set.ID)
	case s.Set.ID == d.verified:
		return false, KeepVerified, "the newest verified set"
	case !good && d.boundary == 0:
		return false, KeepDamaged, fmt.Sprintf("damaged, but there are only %d of %d good %s", d.plan.Good, d.plan.Count, noun(d.plan.Unit, d.plan.Count))
	case !good && s.Set.ID >= d.boundary:
		return false, KeepDamaged, fmt.Sprintf("damaged, but not older than the good %s", stay(d.plan))
	case d.restores[s.Set.ID] != 0:
		return false, KeepRestore, fmt.Sprintf("execution %d restores it", d.restores[s.Set.ID])
	case !good:
		return true, DropDamaged, fmt.Sprintf("damaged, and older than the good %s", stay(d.plan))
	}
	return true, DropSurplus, fmt.Sprintf("older than the good %s", stay(d.plan))
}

// place says where the unit of a set stands among those that stay.
func (d decision) place(u unit, id holdfast.SetID) string {
	text := fmt.Sprintf("good %s %d of %d", noun(d.plan.Unit, 1), u.place, d.plan.Count)
	if d.plan.Unit == holdfast.RetainGenerations {
		text += fmt.Sprintf(", which begins with set %d", u.first().ID)
	}
	if u.place == d.plan.Count && id != d.verified {
		text += "; the next good one takes its place"
	}
	return text
}

// stay names the units that stay.
func stay(p Plan) string {
	if p.Count == 1 {
		return noun(p.Unit, 1) + " that stays"
	}
	return fmt.Sprintf("%s that stay", noun(p.Unit, p.Count))
}

func noun(u holdfast.RetentionUnit, n int) string {
	word := "set"
	if u == holdfast.RetainGenerations {
		word = "generation"
	}
	if n != 1 {
		word += "s"
	}
	return word
}

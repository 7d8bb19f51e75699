package dispatch

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// chainBack is how many executions of a job are looked at to say why there is no
// base.
const chainBack = 200

// chain is what a backup is in the chain of its job. A set restores without the
// one before it: the chain is a record.
type chain struct {
	runType holdfast.RunType   // what runs
	reason  string             // why it is not what was asked for; empty: it is
	base    holdfast.BackupSet // that it builds on; the zero value for a FULL
}

// apply writes the place in the chain into the execution.
func (c chain) apply(e *holdfast.Execution) {
	e.RunType, e.RunTypeReason, e.Parent = c.runType, c.reason, c.base.Execution
}

// past is what is known of the earlier backups of a job.
type past struct {
	sets  []store.SetCopies // that readers may see, the oldest first
	lost  holdfast.SetID    // the newest set that could have been the base, and was deleted; zero: none
	tried bool              // an earlier execution of the job has ended
}

// chainOf decides what a backup that starts now builds on.
func chainOf(ctx context.Context, r store.Reader, e holdfast.Execution) (chain, error) {
	if full(e.RunAsked) {
		return chain{runType: holdfast.RunFull}, nil
	}
	sets, err := r.SetsOfJob(ctx, e.Account, e.Job)
	if err != nil {
		return chain{}, fmt.Errorf("read backup sets of job %d: %w", e.Job, err)
	}
	p := past{sets: sets}
	if c := choose(e, p); c.base.ID != 0 {
		return c, nil
	}
	if err := p.look(ctx, r, e); err != nil {
		return chain{}, err
	}
	return choose(e, p), nil
}

// full reports whether nothing is built on; an execution that was asked for
// without a run type is a FULL.
func full(t holdfast.RunType) bool { return t != holdfast.RunDelta && t != holdfast.RunCumulative }

// look learns what became of the sets that readers do not see any more.
func (p *past) look(ctx context.Context, r store.Reader, e holdfast.Execution) error {
	runs, _, err := r.Executions(ctx, e.Account, store.ExecutionFilter{
		Job: e.Job, Types: []holdfast.JobType{holdfast.JobBackup}, Page: store.Page{Limit: chainBack},
	})
	if err != nil {
		return fmt.Errorf("read executions of job %d: %w", e.Job, err)
	}
	for _, run := range runs {
		if run.ID == e.ID || run.State != holdfast.StateEnded {
			continue
		}
		p.tried = true
		made := run.Outcome == holdfast.OutcomeSucceeded || run.Outcome == holdfast.OutcomeWarning
		seen := slices.ContainsFunc(p.sets, func(s store.SetCopies) bool { return s.Set.ID == run.Set })
		if p.lost == 0 && made && !seen && run.Set != 0 && fits(e.RunAsked, run.RunType) {
			p.lost = run.Set
		}
	}
	return nil
}

// fits reports whether a backup of the run type asked may build on a set of the
// run type made.
func fits(asked, made holdfast.RunType) bool {
	return asked == holdfast.RunDelta || asked == holdfast.RunCumulative && made == holdfast.RunFull
}

// choose returns what the execution builds on: a DELTA on the newest good set of
// its job, a CUMULATIVE on the newest good FULL. Without one it is a FULL, and the
// reason says why.
func choose(e holdfast.Execution, p past) chain {
	for _, s := range slices.Backward(p.sets) {
		if fits(e.RunAsked, s.Set.RunType) && flaw(e, s) == "" {
			return chain{runType: e.RunAsked, base: s.Set}
		}
	}
	return chain{runType: holdfast.RunFull, reason: asFull(e.RunAsked, p.why(e))}
}

// asFull says that and why a backup runs as FULL.
func asFull(asked holdfast.RunType, why string) string {
	return fmt.Sprintf("%s runs as FULL: %s", asked, why)
}

// elsewhere is the flaw of a set that is good, but not where the backup goes.
const elsewhere = "is in another repository"

// flaw says why the execution cannot build on the set; empty: it can.
func flaw(e holdfast.Execution, s store.SetCopies) string {
	var here []holdfast.CopyState
	for _, c := range s.Copies {
		if c.Repository == e.Repository && c.Readable() {
			here = append(here, c.State)
		}
	}
	switch {
	case len(here) == 0:
		return elsewhere
	case s.Set.Engine != e.Engine:
		return fmt.Sprintf("was made by the engine %s", s.Set.Engine)
	case s.Set.Damaged != "":
		return "is damaged"
	case slices.Contains(here, holdfast.CopyComplete), slices.Contains(here, holdfast.CopyVerified):
		if s.Set.Execution == 0 {
			return "was imported, and is of no execution"
		}
		return ""
	case slices.Contains(here, holdfast.CopyUnconfirmed):
		return "was imported, and nobody has confirmed it"
	}
	return "is damaged"
}

// why says to people why there is nothing to build on.
func (p past) why(e holdfast.Execution) string {
	what, last := "set", "backup"
	if e.RunAsked == holdfast.RunCumulative {
		what, last = "FULL set", "FULL"
	}
	moved := false
	for _, s := range slices.Backward(p.sets) {
		if !fits(e.RunAsked, s.Set.RunType) {
			continue
		}
		if f := flaw(e, s); f != elsewhere {
			return fmt.Sprintf("the newest %s (%d) %s, and there is no older one to build on", what, s.Set.ID, f)
		}
		moved = true
	}
	switch {
	case moved:
		return "the job's repository was changed, and nothing is there to build on"
	case p.lost != 0:
		return fmt.Sprintf("the last %s (set %d) was deleted, by retention or by a person", last, p.lost)
	case len(p.sets) > 0:
		return "the job has no FULL to build on"
	case p.tried:
		return "no backup of the job has succeeded yet"
	}
	return "this is the first backup of the job"
}

// baseOf returns the set that the execution builds on; false when it builds on
// none, or the record of it is gone.
func baseOf(ctx context.Context, r store.Reader, e holdfast.Execution) (holdfast.BackupSet, bool, error) {
	if e.Type != holdfast.JobBackup || e.Parent == 0 {
		return holdfast.BackupSet{}, false, nil
	}
	parent, err := r.Execution(ctx, e.Account, e.Parent)
	if err == nil {
		var set holdfast.BackupSet
		if set, err = r.Set(ctx, e.Account, parent.Set); err == nil {
			return set, true, nil
		}
	}
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return holdfast.BackupSet{}, false, nil
	}
	return holdfast.BackupSet{}, false, fmt.Errorf("read the base of execution %d: %w", e.ID, err)
}

// chainAtEnd is the place in the chain of a backup that has come to its end. Only
// then it is known which cluster was backed up: a set of another cluster than
// that of its base is a FULL.
func chainAtEnd(ctx context.Context, r store.Reader, e holdfast.Execution, made holdfast.PhysicalFacts) (chain, error) {
	base, ok, err := baseOf(ctx, r, e)
	if err != nil {
		return chain{}, err
	}
	if !ok {
		base.Execution = e.Parent
	}
	c := chain{runType: e.RunType, reason: e.RunTypeReason, base: base}
	was, is := base.Physical.SystemIdentifier, made.SystemIdentifier // zero: its engine knows none
	if ok && was != 0 && is != 0 && was != is {
		c = chain{runType: holdfast.RunFull, reason: asFull(e.RunAsked, fmt.Sprintf("the site's server is another cluster than that of set %d", base.ID))}
	}
	return c, nil
}

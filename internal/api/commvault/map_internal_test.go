package commvault

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// reasons lists every reason.
func reasons() []holdfast.Reason {
	return []holdfast.Reason{
		holdfast.ReasonNone, holdfast.ReasonLost, holdfast.ReasonHandedBack, holdfast.ReasonTransient, holdfast.ReasonError,
		holdfast.ReasonDamaged, holdfast.ReasonWish, holdfast.ReasonTimeLimit, holdfast.ReasonSkipped, holdfast.ReasonExpired,
	}
}

// statuses are all that an execution can have.
func statuses() []holdfast.Status {
	var all []holdfast.Status
	for _, state := range holdfast.States() {
		for _, wanted := range holdfast.Wishes() {
			for _, outcome := range append(holdfast.Outcomes(), holdfast.OutcomeNone) {
				for _, reason := range reasons() {
					for _, fence := range []holdfast.Fence{0, 1} {
						s := holdfast.Status{State: state, Wanted: wanted, Outcome: outcome, Reason: reason, Fence: fence}
						if s.Check() == nil {
							all = append(all, s)
						}
					}
				}
			}
		}
	}
	return all
}

// TestStatusWords holds every status to the table of docs/api/commvault.md.
func TestStatusWords(t *testing.T) {
	ended := map[holdfast.Outcome]string{
		holdfast.OutcomeSucceeded: "Completed",
		holdfast.OutcomeWarning:   "Completed w/ one or more warnings",
		holdfast.OutcomeFailed:    "Failed",
		holdfast.OutcomeStopped:   "Killed",
		holdfast.OutcomeAborted:   "Killed",
		holdfast.OutcomeKilled:    "Killed",
		holdfast.OutcomeCancelled: "Killed",
	}
	running := map[holdfast.Wanted]string{
		holdfast.WantRun: "Running", holdfast.WantSuspend: "Suspend Pending", holdfast.WantStop: "Kill Pending",
		holdfast.WantAbort: "Kill Pending", holdfast.WantKill: "Kill Pending",
	}
	seen := map[string]bool{}
	for _, s := range statuses() {
		for _, kept := range []bool{false, true} {
			for _, waits := range []bool{false, true} {
				want := ""
				switch s.State {
				case holdfast.StatePlanned:
					want = "Queued"
				case holdfast.StateQueued:
					want = "Queued"
					if s.Reason == holdfast.ReasonTransient && waits {
						want = "Pending"
					}
				case holdfast.StateRunning:
					want = running[s.Wanted]
				case holdfast.StateSuspended:
					want = "Suspended"
				case holdfast.StateEnded:
					want = ended[s.Outcome]
					if s.Outcome == holdfast.OutcomeStopped && kept {
						want = "Committed"
					}
				}
				got := statusWord(s, kept, waits)
				if got != want {
					t.Errorf("%+v, kept %v, waits %v: got %q, want %q", s, kept, waits, got, want)
				}
				seen[got] = true
				if final := finished(got); final != (s.State == holdfast.StateEnded) {
					t.Errorf("%+v: the SDK takes %q for finished: %v", s, got, final)
				}
			}
		}
	}
	if len(seen) != 11 {
		t.Errorf("%d words were seen, want all 11: %v", len(seen), seen)
	}
}

// finished is how the SDK knows the end of a job.
func finished(status string) bool {
	status = strings.ToLower(status)
	return slices.ContainsFunc([]string{"completed", "killed", "committed", "failed"}, func(s string) bool { return strings.Contains(status, s) })
}

func TestLevelNames(t *testing.T) {
	for run, want := range map[holdfast.RunType]string{
		holdfast.RunFull: "Full", holdfast.RunDelta: "Incremental", holdfast.RunCumulative: "Differential", "": "",
	} {
		if got := levelName(holdfast.Execution{Type: holdfast.JobBackup, RunType: run}); got != want {
			t.Errorf("%s: got %q, want %q", run, got, want)
		}
		if got := levelName(holdfast.Execution{Type: holdfast.JobRestore, RunType: run}); got != "" {
			t.Errorf("a restore of %s: got %q, want none", run, got)
		}
	}
}

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		name        string
		outcome     holdfast.Outcome
		done, total int64
		want        int
	}{
		{"nothing is known", "", 0, 0, 0},
		{"some of what is not known", "", 10, 0, 0},
		{"a third", "", 1, 3, 33},
		{"all, but not ended", "", 3, 3, 99},
		{"more than all", "", 5, 3, 99},
		{"less than nothing", "", -5, 3, 0},
		{"ended well", holdfast.OutcomeSucceeded, 0, 0, 100},
		{"with a warning", holdfast.OutcomeWarning, 1, 3, 100},
		{"failed half-way", holdfast.OutcomeFailed, 1, 2, 50},
		{"as much as can be", "", 1<<63 - 1, 1<<63 - 1, 99},
	} {
		e := holdfast.Execution{Status: holdfast.Status{Outcome: c.outcome}, Progress: holdfast.Progress{DoneBytes: c.done, TotalBytes: c.total}}
		if got := percent(e); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestTypesNamed(t *testing.T) {
	backup, restore := holdfast.JobBackup, holdfast.JobRestore
	for _, c := range []struct {
		words string
		want  []holdfast.JobType
	}{
		{"Backup", []holdfast.JobType{backup}},
		{"Backup,SYNTHFULL", []holdfast.JobType{backup}},
		{"restore", []holdfast.JobType{restore}},
		{" Backup , Restore ", []holdfast.JobType{backup, restore}},
		{"AUXCOPY", nil},
		{"", nil},
	} {
		if got := typesNamed(strings.Split(c.words, ",")); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %v, want %v", c.words, got, c.want)
		}
	}
}

func TestElapsed(t *testing.T) {
	start := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		e    holdfast.Execution
		want time.Duration
	}{
		{"never started", holdfast.Execution{Submitted: start}, 0},
		{"running", holdfast.Execution{Started: start}, time.Hour},
		{"ended", holdfast.Execution{Started: start, Ended: start.Add(time.Minute)}, time.Minute},
		{"ended before it began, by a clock that was set back", holdfast.Execution{Started: start, Ended: start.Add(-time.Minute)}, 0},
	} {
		if got := elapsed(c.e, start.Add(time.Hour)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestBackupSetIDs(t *testing.T) {
	seen := map[int64]bool{}
	for site := holdfast.SiteID(holdfast.FirstID); site < holdfast.FirstID+100; site++ {
		for _, k := range []setKind{fsSet, dumpSet} {
			id := backupsetID(site, k)
			if seen[id] {
				t.Errorf("id %d stands for two backup sets", id)
			}
			seen[id] = true
			if gotSite, gotKind := backupset(id); gotSite != site || gotKind != k {
				t.Errorf("%d: got %s of %d, want %s of %d", id, gotKind, gotSite, k, site)
			}
		}
	}
	if got := backupsetID(1001, fsSet); got != 2002 {
		t.Errorf("got %d, want 2002: clients keep these numbers", got)
	}
	if got := backupsetID(1001, dumpSet); got != 2003 {
		t.Errorf("got %d, want 2003: clients keep these numbers", got)
	}
}

func TestTheCommServeHasANameOfItsOwn(t *testing.T) {
	hosts := []holdfast.Host{{Name: "db1"}, {Name: "Holdfast"}, {Name: "holdfast-commserve"}}
	if got := commServeName("vault", hosts); got != "vault" {
		t.Errorf("got %q, want the name that was given", got)
	}
	if got := commServeName("holdfast", hosts); got != "holdfast-commserve-commserve" {
		t.Errorf("got %q, want one that no client has, in any letter case", got)
	}
}

func TestGUIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range []int{typeBackupset, typeSubclient, typeUser} {
		for _, id := range []int64{1, 1001, 1 << 48, 1<<48 + 1, holdfast.MaxID, 2*holdfast.MaxID + 1} {
			g := guid(kind, id)
			if len(g) != 36 || seen[g] {
				t.Errorf("%d %d: got %q, which is no UUID or is another's", kind, id, g)
			}
			seen[g] = true
		}
	}
}

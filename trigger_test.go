package holdfast_test

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// triggerJobs are jobs of one account by what they are.
func triggerJobs() map[string]holdfast.Job {
	etl := func(id holdfast.JobID, service bool) holdfast.Job {
		return holdfast.Job{
			ID: id, Account: 1001, Site: 1, Type: holdfast.JobETL, Engine: holdfast.EngineETL, Name: "etl", Active: true, Priority: 2,
			ETL: &holdfast.ETLSpec{Service: service, Configurations: []holdfast.RunConfiguration{{ID: 1, Name: "d", Active: true}}},
		}
	}
	return map[string]holdfast.Job{
		"backup":  {ID: 1, Account: 1001, Site: 1, Type: holdfast.JobBackup, Engine: holdfast.EnginePhysical, Name: "backup", Active: true, Priority: 3},
		"batch":   etl(2, false),
		"service": etl(3, true),
		"restore": {ID: 4, Account: 1001, Type: holdfast.JobRestore, Active: true},
		"foreign": {ID: 5, Account: 1002, Type: holdfast.JobBackup, Active: true},
		"spoilt":  {ID: 6, Account: 1001, Type: holdfast.JobETL, Active: true},
	}
}

func TestTriggerValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		job, run string
		on       holdfast.TriggerOn
		runType  holdfast.RunType
		good     bool
	}{
		{"batch", "backup", holdfast.OnSucceeded, holdfast.RunDelta, true},
		{"backup", "batch", holdfast.OnDone, "", true},
		{"restore", "batch", holdfast.OnDone, "", true},
		{"backup", "backup", holdfast.OnDone, holdfast.RunFull, false},
		{"batch", "batch", holdfast.OnDone, "", false},
		{"batch", "backup", "FAILED", holdfast.RunDelta, false},
		{"batch", "backup", "", holdfast.RunDelta, false},
		{"batch", "backup", holdfast.OnDone, "", false},
		{"batch", "backup", holdfast.OnDone, "HALF", false},
		{"backup", "batch", holdfast.OnDone, holdfast.RunDelta, false},
		{"service", "backup", holdfast.OnDone, holdfast.RunDelta, false},
		{"backup", "service", holdfast.OnDone, "", false},
		{"backup", "restore", holdfast.OnDone, "", false},
		{"backup", "spoilt", holdfast.OnDone, "", false},
		{"backup", "foreign", holdfast.OnDone, holdfast.RunDelta, false},
		{"foreign", "backup", holdfast.OnDone, holdfast.RunDelta, false},
	} {
		job, run := triggerJobs()[c.job], triggerJobs()[c.run]
		tr := holdfast.Trigger{Account: 1001, Job: job.ID, Run: run.ID, On: c.on, RunType: c.runType}
		err := tr.Validate(job, run)
		if (err == nil) != c.good || err != nil && (holdfast.ErrorCode(err) != holdfast.CodeInvalid || holdfast.ErrorMessage(err) == "") {
			t.Errorf("%s after %s, on %q with run type %q: got %v, want good: %t", c.run, c.job, c.on, c.runType, err, c.good)
		}
	}
}

func TestParseTriggerOn(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]holdfast.TriggerOn{"succeeded": holdfast.OnSucceeded, " Done ": holdfast.OnDone, "DONE": holdfast.OnDone, "": "", "FAILED": ""} {
		got, err := holdfast.ParseTriggerOn(s)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q and %v, want %q", s, got, err, want)
		}
	}
}

// TestTriggerFires ends executions in every way.
func TestTriggerFires(t *testing.T) {
	t.Parallel()
	good := holdfast.Trigger{Account: 1001, Job: 2, Active: true}
	for _, on := range []holdfast.TriggerOn{holdfast.OnSucceeded, holdfast.OnDone} {
		for _, o := range append(holdfast.Outcomes(), holdfast.OutcomeNone) {
			tr := good
			tr.On = on
			e := holdfast.Execution{Account: 1001, Job: 2, ETL: &holdfast.ETLRun{}, Status: holdfast.Status{State: holdfast.StateEnded, Outcome: o}}
			want := o == holdfast.OutcomeSucceeded || o == holdfast.OutcomeWarning && on == holdfast.OnDone
			if got := tr.Fires(e); got != want {
				t.Errorf("on %s, at %q: got %t, want %t", on, o, got, want)
			}
			for what, change := range map[string]func(*holdfast.Trigger, *holdfast.Execution){
				"inactive":     func(tr *holdfast.Trigger, _ *holdfast.Execution) { tr.Active = false },
				"another job":  func(_ *holdfast.Trigger, e *holdfast.Execution) { e.Job++ },
				"another's":    func(_ *holdfast.Trigger, e *holdfast.Execution) { e.Account++ },
				"simulated":    func(_ *holdfast.Trigger, e *holdfast.Execution) { e.ETL.Simulate = true },
				"not yet over": func(_ *holdfast.Trigger, e *holdfast.Execution) { e.State = holdfast.StateRunning },
			} {
				other, run := tr, e
				run.ETL = &holdfast.ETLRun{}
				if change(&other, &run); other.Fires(run) {
					t.Errorf("on %s, at %q, %s: it fires", on, o, what)
				}
			}
		}
	}
}

func TestTriggerExecution(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	site := holdfast.Site{ID: 1, Slug: "berlin", Pool: "fast", Host: 7, Repository: 9}
	after := holdfast.Execution{ID: 1234}
	tr := holdfast.Trigger{RunType: holdfast.RunDelta}
	jobs := triggerJobs()
	backup, err := tr.Execution(jobs["backup"], site, after, now, "trigger")
	if err != nil || backup.RunAsked != holdfast.RunDelta || backup.RunType != holdfast.RunDelta || backup.Repository != 9 || backup.Pool != "fast" ||
		backup.Host != 7 || backup.State != holdfast.StateQueued || backup.Cause != 1234 || backup.Actor != "trigger" || backup.Priority != 3 || !backup.Due.Equal(now) {
		t.Errorf("backup: got %+v and %v", backup, err)
	}
	etl, err := tr.Execution(jobs["batch"], site, after, now, "trigger")
	if err != nil || etl.RunAsked != "" || etl.ETL == nil || etl.ETL.Service || etl.Cause != 1234 || etl.State != holdfast.StateQueued || etl.Engine != holdfast.EngineETL {
		t.Errorf("ETL: got %+v and %v", etl, err)
	}
	for what, c := range map[string]struct {
		of     string
		change func(*holdfast.Job)
		code   holdfast.Code
	}{
		"deleted":          {"backup", func(j *holdfast.Job) { j.Deleted = now }, holdfast.CodeNotFound},
		"inactive":         {"backup", func(j *holdfast.Job) { j.Active = false }, holdfast.CodeInvalid},
		"no configuration": {"batch", func(j *holdfast.Job) { j.ETL.Configurations[0].Active = false }, holdfast.CodeInvalid},
		"a service":        {"service", func(*holdfast.Job) {}, holdfast.CodeInvalid},
		"a restore":        {"restore", func(*holdfast.Job) {}, holdfast.CodeInvalid},
		"without its ETL":  {"spoilt", func(*holdfast.Job) {}, holdfast.CodeInvalid},
	} {
		j := triggerJobs()[c.of]
		c.change(&j)
		if _, err := tr.Execution(j, site, after, now, "trigger"); holdfast.ErrorCode(err) != c.code {
			t.Errorf("%s: got %v, want %s", what, err, c.code)
		}
	}
	site.Repository = 0
	if _, err := tr.Execution(jobs["backup"], site, after, now, "trigger"); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Errorf("without a repository: got %v, want %s", err, holdfast.CodeInvalid)
	}
}

func TestTriggerDecide(t *testing.T) {
	t.Parallel()
	const backup, etl = holdfast.JobBackup, holdfast.JobETL
	live := func(id holdfast.ExecutionID, s holdfast.State, f holdfast.Fence) holdfast.Execution {
		return holdfast.Execution{ID: id, RunAsked: holdfast.RunFull, Status: holdfast.Status{State: s, Fence: f}}
	}
	given := func(id holdfast.ExecutionID, level string) holdfast.Execution {
		e := live(id, holdfast.StateQueued, 0)
		e.ETL = &holdfast.ETLRun{Properties: map[string]string{"level": level}}
		return e
	}
	running, planned := live(1, holdfast.StateRunning, 1), live(2, holdfast.StatePlanned, 0)
	retried, suspended := live(3, holdfast.StateQueued, 1), live(4, holdfast.StateSuspended, 1)
	waits := live(5, holdfast.StateQueued, 0)
	waitsSame := waits
	waitsSame.RunAsked = holdfast.RunDelta
	etlWaits := waits
	etlWaits.ETL = &holdfast.ETLRun{}
	full := make([]holdfast.Execution, holdfast.MaxFollowUps)
	for i := range full {
		full[i] = given(holdfast.ExecutionID(100+i), string(rune('a'+i)))
	}
	for name, c := range map[string]struct {
		of   holdfast.JobType
		live []holdfast.Execution
		want holdfast.Firing
	}{
		"idle":                          {of: backup},
		"planned":                       {of: backup, live: []holdfast.Execution{planned}},
		"running":                       {backup, []holdfast.Execution{running}, holdfast.Firing{Skip: holdfast.SkipBusy, Execution: 1}},
		"suspended":                     {backup, []holdfast.Execution{planned, suspended}, holdfast.Firing{Skip: holdfast.SkipBusy, Execution: 4}},
		"another run type waits":        {backup, []holdfast.Execution{waits}, holdfast.Firing{Skip: holdfast.SkipBusy, Execution: 5}},
		"the same waits":                {backup, []holdfast.Execution{waitsSame}, holdfast.Firing{Skip: holdfast.SkipQueued, Execution: 5}},
		"an idle ETL":                   {of: etl, live: []holdfast.Execution{planned}},
		"an ETL that runs":              {of: etl, live: []holdfast.Execution{running}},
		"an ETL that is tried again":    {of: etl, live: []holdfast.Execution{retried}},
		"an ETL that waits, too":        {etl, []holdfast.Execution{running, etlWaits}, holdfast.Firing{Skip: holdfast.SkipQueued, Execution: 5}},
		"an ETL that waits otherwise":   {of: etl, live: []holdfast.Execution{running, given(6, "x")}},
		"a full queue":                  {etl, full, holdfast.Firing{Skip: holdfast.SkipFull, Execution: 100}},
		"a full queue behind one":       {etl, append([]holdfast.Execution{running}, full...), holdfast.Firing{Skip: holdfast.SkipFull, Execution: 1}},
		"a queue that is almost full":   {of: etl, live: append([]holdfast.Execution{running}, full[1:]...)},
		"the same in a queue, and full": {etl, append([]holdfast.Execution{etlWaits}, full...), holdfast.Firing{Skip: holdfast.SkipQueued, Execution: 5}},
	} {
		next := holdfast.Execution{Type: c.of, RunAsked: holdfast.RunDelta}
		if c.of == etl {
			next.RunAsked, next.ETL = "", &holdfast.ETLRun{}
		}
		if got := (holdfast.Trigger{}).Decide(next, c.live); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

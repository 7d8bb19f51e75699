package bmcetl

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// past is an execution that started and has ended at noon.
func past(o holdfast.Outcome, r holdfast.Reason) *holdfast.Execution {
	return &holdfast.Execution{
		ID: 1001, Status: holdfast.Status{State: holdfast.StateEnded, Outcome: o, Reason: r, Fence: 1}, Started: noon.Add(-time.Hour), Ended: noon,
	}
}

func live(s holdfast.State, w holdfast.Wanted) *holdfast.Execution {
	return &holdfast.Execution{ID: 1002, Status: holdfast.Status{State: s, Wanted: w}, WantedAt: noon}
}

func plan(asked time.Time) *holdfast.Execution {
	return &holdfast.Execution{ID: 1003, Status: holdfast.Status{State: holdfast.StatePlanned}, Submitted: asked, Due: noon.Add(time.Hour)}
}

// TestTaskWord is the table of docs/api/bmc.md, "Status".
func TestTaskWord(t *testing.T) {
	batch, svc, marked := holdfast.ETLSpec{}, holdfast.ETLSpec{Service: true}, holdfast.ETLSpec{Service: true, Aborted: true}
	again := holdfast.ETLSpec{Scheduled: noon.Add(time.Second)}
	early, late := plan(noon.Add(-time.Hour)), plan(noon.Add(time.Second))
	cancelled := past(holdfast.OutcomeCancelled, holdfast.ReasonWish)
	for _, c := range []struct {
		name                             string
		spec                             holdfast.ETLSpec
		current, last, finished, planned *holdfast.Execution
		want, exit                       string
	}{
		{"never ran", batch, nil, nil, nil, nil, "", ""},
		{"only cancelled", batch, nil, cancelled, nil, nil, "", ""},
		{"queued", batch, live(holdfast.StateQueued, holdfast.WantRun), nil, nil, nil, "RUNNING", ""},
		{"running", batch, live(holdfast.StateRunning, holdfast.WantRun), nil, past(holdfast.OutcomeFailed, holdfast.ReasonError), nil, "RUNNING", "ERROR"},
		{"running beside a plan", batch, live(holdfast.StateRunning, holdfast.WantRun), nil, nil, late, "RUNNING", ""},
		{"stopping", batch, live(holdfast.StateRunning, holdfast.WantStop), nil, nil, nil, "RUNNING", ""},
		{"being killed", batch, live(holdfast.StateRunning, holdfast.WantKill), nil, nil, nil, "RUNNING", ""},
		{"suspended", batch, live(holdfast.StateSuspended, holdfast.WantSuspend), nil, nil, nil, "RUNNING", ""},
		{"planned", batch, nil, nil, nil, early, "WAITING", ""},
		{"succeeded", batch, nil, nil, past(holdfast.OutcomeSucceeded, holdfast.ReasonNone), nil, "ENDED", "OK"},
		{"succeeded, and planned", batch, nil, nil, past(holdfast.OutcomeSucceeded, holdfast.ReasonNone), early, "WAITING", "OK"},
		{"a warning", batch, nil, nil, past(holdfast.OutcomeWarning, holdfast.ReasonDamaged), nil, "ENDED", "WARNING"},
		{"failed", batch, nil, nil, past(holdfast.OutcomeFailed, holdfast.ReasonError), nil, "ENDED", "ERROR"},
		{"failed, and planned", batch, nil, nil, past(holdfast.OutcomeFailed, holdfast.ReasonTransient), early, "WAITING", "ERROR"},
		{"lost", batch, nil, nil, past(holdfast.OutcomeFailed, holdfast.ReasonLost), nil, "ABORTED", "ERROR"},
		{"stopped", batch, nil, nil, past(holdfast.OutcomeStopped, holdfast.ReasonWish), nil, "ENDED", "WARNING"},
		{"timed out", batch, nil, nil, past(holdfast.OutcomeAborted, holdfast.ReasonTimeLimit), nil, "ABORTED", "ERROR"},
		{"killed", batch, nil, nil, past(holdfast.OutcomeKilled, holdfast.ReasonWish), nil, "ABORTED", "ERROR"},
		{"killed, planned before", batch, nil, nil, past(holdfast.OutcomeKilled, holdfast.ReasonWish), early, "ABORTED", "ERROR"},
		{"killed, planned before, scheduled again", again, nil, nil, past(holdfast.OutcomeKilled, holdfast.ReasonWish), early, "WAITING", "ERROR"},
		{"killed, planned since because it recurs", batch, nil, nil, past(holdfast.OutcomeKilled, holdfast.ReasonWish), late, "ABORTED", "ERROR"},
		{"succeeded, then one cancelled", batch, nil, cancelled, past(holdfast.OutcomeSucceeded, holdfast.ReasonNone), nil, "ENDED", "OK"},
		{"killed, then one cancelled", batch, nil, cancelled, past(holdfast.OutcomeKilled, holdfast.ReasonWish), nil, "ABORTED", "ERROR"},

		{"service never on", svc, nil, nil, nil, nil, "", ""},
		{"service waits for a slot", svc, live(holdfast.StateQueued, holdfast.WantRun), nil, nil, nil, "SERVICE_ON", ""},
		{"service on", svc, live(holdfast.StateRunning, holdfast.WantRun), nil, nil, nil, "SERVICE_ON", ""},
		{"service stopping", svc, live(holdfast.StateRunning, holdfast.WantStop), nil, nil, nil, "SERVICE_ON", ""},
		{"service being killed", svc, live(holdfast.StateRunning, holdfast.WantKill), nil, nil, nil, "SERVICE_ON", ""},
		{"service stopped", svc, nil, nil, past(holdfast.OutcomeStopped, holdfast.ReasonWish), nil, "SERVICE_OFF", ""},
		{"service stopped, to start later", svc, nil, nil, past(holdfast.OutcomeStopped, holdfast.ReasonWish), late, "SERVICE_OFF", ""},
		{"service ended by itself", svc, nil, nil, past(holdfast.OutcomeSucceeded, holdfast.ReasonNone), nil, "SERVICE_OFF", ""},
		{"service killed", svc, nil, nil, past(holdfast.OutcomeKilled, holdfast.ReasonWish), nil, "ABORTED", ""},
		{"service gave up", svc, nil, nil, past(holdfast.OutcomeFailed, holdfast.ReasonError), nil, "ABORTED", ""},
		{"service lost", svc, nil, nil, past(holdfast.OutcomeFailed, holdfast.ReasonLost), nil, "ABORTED", ""},
		{"service killed while off", marked, nil, nil, past(holdfast.OutcomeStopped, holdfast.ReasonWish), nil, "ABORTED", ""},
		{"service on again", marked, live(holdfast.StateRunning, holdfast.WantRun), nil, nil, nil, "SERVICE_ON", ""},
	} {
		got := statusOfTask(service.ETLStatus{
			Job: holdfast.Job{ID: 1, ETL: &c.spec}, Current: c.current, Last: c.last, Finished: c.finished, LastStarted: c.finished, Planned: c.planned,
		}, noon)
		if word(got.Status) != c.want || word(got.Exit) != c.exit {
			t.Errorf("%s: got %q with %q, want %q with %q", c.name, word(got.Status), word(got.Exit), c.want, c.exit)
		}
		if c.spec.Service != (got.Execution == ofService) {
			t.Errorf("%s: got the number %d", c.name, got.Execution)
		}
	}
}

func word(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func TestStopOverdue(t *testing.T) {
	for _, c := range []struct {
		name    string
		current *holdfast.Execution
		after   time.Duration
		want    bool
	}{
		{"within five minutes", live(holdfast.StateRunning, holdfast.WantStop), 5 * time.Minute, false},
		{"after them", live(holdfast.StateRunning, holdfast.WantStop), 5*time.Minute + time.Second, true},
		{"a kill is not a stop", live(holdfast.StateRunning, holdfast.WantKill), time.Hour, false},
		{"nobody wants it", live(holdfast.StateRunning, holdfast.WantRun), time.Hour, false},
	} {
		st := service.ETLStatus{Job: holdfast.Job{ETL: &holdfast.ETLSpec{}}, Current: c.current}
		if got := statusOfTask(st, noon.Add(c.after)).Overdue; got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

// TestWordsOfEveryStatus: what any sequence of moves reaches has a word in the
// older API, and what has ended after a start has an exit code.
func TestWordsOfEveryStatus(t *testing.T) {
	seen := map[holdfast.Status]bool{}
	queue := []holdfast.Status{{State: holdfast.StatePlanned}, {State: holdfast.StateQueued}}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if seen[s] || s.Fence > 3 || s.Attempts > 2 || s.Retries > 2 || s.HandBacks > 2 {
			continue
		}
		seen[s] = true
		ended := s.State == holdfast.StateEnded
		w, exit := olderWord(s), exitWord(s.Outcome)
		if started := ended && s.Outcome != holdfast.OutcomeCancelled; started != (exit != "") {
			t.Errorf("%+v: got the exit code %q", s, exit)
		}
		if final := w == olderFinished || w == olderFailed || w == olderTimedOut; final != (exit != "") {
			t.Errorf("%+v: got %s with the exit code %q", s, w, exit)
		}
		for _, m := range holdfast.Moves() {
			if next, err := s.Next(m); err == nil {
				queue = append(queue, next)
			}
		}
	}
}

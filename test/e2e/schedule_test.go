package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// soon is a time that a command has passed before it comes, also on a machine
// that is busy.
const soon = 8 * time.Second

// once is the expression of a time from now, and that time.
func once(after time.Duration) (string, time.Time) {
	at := time.Now().UTC().Add(after).Truncate(time.Second)
	return at.Format("at(2006-01-02T15:04:05)"), at
}

// scheduled is what these tests read of the executions of schedules.
type scheduled struct {
	Schedule int       `json:"schedule_id"`
	Outcome  string    `json:"outcome"`
	RunAsked string    `json:"run_asked"`
	Due      time.Time `json:"due"`
}

// waitFor waits until as many executions have ended well.
func (r *rig) waitFor(n int) []scheduled {
	r.t.Helper()
	var all []scheduled
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		r.ask(&all, "execution", "list")
		if len(all) == n && !slices.ContainsFunc(all, func(e scheduled) bool { return e.Outcome != "SUCCEEDED" }) {
			slices.Reverse(all)
			return all
		}
	}
	r.t.Fatalf("got executions %+v, want %d that ended well", all, n)
	return nil
}

// A schedule runs on its moment; one whose moment comes while the server is dead
// runs once, as soon as the server is back.
func TestScheduleRunsAndSurvivesAKill(t *testing.T) {
	t.Parallel()
	pg := source(t)
	r := newRig(t)
	r.up()
	r.register(pg)
	var made struct {
		ID int `json:"id"`
	}
	text, first := once(soon)
	r.ask(&made, "schedule", "create", "nightly", text, "--run-type", "delta")
	all := r.waitFor(1)
	if e := all[0]; e.Schedule != made.ID || !e.Due.Equal(first) || e.RunAsked != "DELTA" {
		t.Errorf("got %+v, want a run of schedule %d for %s", e, made.ID, first)
	}

	text, second := once(soon)
	r.ask(&made, "schedule", "update", "nightly", fmt.Sprint(made.ID), "--expression", text)
	r.serve.stop(syscall.SIGKILL)
	time.Sleep(time.Until(second.Add(time.Second)))
	r.up()
	all = r.waitFor(2)
	if e := all[1]; !e.Due.Equal(second) {
		t.Errorf("got %+v, want a run for %s, late", e, second)
	}
	if out := r.want(0, "job", "show", "nightly").stdout; !strings.Contains(out, "next run    -") {
		t.Errorf("got a next run after the last one:\n%s", out)
	}
	r.down()
}

// What the command line says of schedules.
func TestScheduleCommands(t *testing.T) {
	t.Parallel()
	pg := source(t)
	r := newRig(t)
	r.up("--no-worker")
	r.register(pg)
	if res := r.want(0, "schedule", "create", "nightly", "0 3 1 1 *", "--zone", "Europe/Berlin"); !strings.Contains(res.stdout, "next run") || res.stderr != "" {
		t.Errorf("got\n%s%s", res.stdout, res.stderr)
	}
	if res := r.want(0, "schedule", "create", "berlin/nightly", "0 2 1 1 *", "--run-type", "delta"); !strings.Contains(res.stderr, "warning: ") || !strings.Contains(res.stderr, "schedule 1001 of job nightly is due as well") {
		t.Errorf("got no warning of a schedule at the same time:\n%s", res.stderr)
	}
	if out := r.want(0, "schedule", "preview", "nightly", "30 2 * * *", "--zone", "Europe/Berlin", "--runs", "3").stdout; strings.Count(out, "02:30:00 CE") != 3 {
		t.Errorf("got\n%swant three nights", out)
	}
	r.want(0, "schedule", "update", "nightly", "1002", "--inactive")
	out := r.want(0, "schedule", "list").stdout
	for _, line := range []string{
		`1001  berlin/nightly  0 3 1 1 *   Europe/Berlin  FULL      yes`,
		`1002  berlin/nightly  0 2 1 1 *   UTC            DELTA     no      -`,
	} {
		if !strings.Contains(out, line) {
			t.Errorf("got\n%swant %q in it", out, line)
		}
	}
	if out := r.want(0, "job", "list").stdout; !strings.Contains(out, "NEXT-RUN") || !strings.Contains(out, "-01-01 0") {
		t.Errorf("got no next run in\n%s", out)
	}
	r.want(0, "schedule", "delete", "nightly", "1001")
	var left []struct {
		ID int `json:"id"`
	}
	r.ask(&left, "schedule", "list", "nightly")
	if len(left) != 1 || left[0].ID != 1002 {
		t.Errorf("got schedules %+v, want 1002", left)
	}
	r.refuse(2, []string{"none of its months"}, "schedule", "create", "nightly", "0 0 31 2 *")
	r.refuse(2, []string{"Berlin/Europe"}, "schedule", "preview", "nightly", "@daily", "--zone", "Berlin/Europe")
	r.refuse(2, []string{`"first"`}, "schedule", "delete", "nightly", "first")
	r.refuse(2, []string{"one job, or none"}, "schedule", "list", "a", "b")
	r.want(4, "schedule", "delete", "nightly", "1001")
	r.down()
}

package dispatch

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// TestWatchDue looks at watches at times of their clock.
func TestWatchDue(t *testing.T) {
	t.Parallel()
	const silence, kill = 10 * time.Second, 10 * time.Second
	for name, c := range map[string]struct {
		w          watch
		now, heard time.Duration
		want       holdfast.Move
	}{
		"just heard":                       {watch{since: 5 * time.Second}, 5 * time.Second, 0, ""},
		"nearly silent":                    {watch{since: 5 * time.Second}, 15*time.Second - 1, 0, ""},
		"silent":                           {watch{since: 5 * time.Second}, 15 * time.Second, 0, holdfast.MoveSilence},
		"we were deaf ourselves":           {watch{since: 5 * time.Second}, 60 * time.Second, 55 * time.Second, ""},
		"deaf, then silent":                {watch{since: 5 * time.Second}, 65 * time.Second, 55 * time.Second, holdfast.MoveSilence},
		"kill just wanted":                 {watch{since: 1 * time.Second, wanted: holdfast.WantKill, wantedAt: 1 * time.Second}, 9 * time.Second, 0, ""},
		"kill not confirmed":               {watch{since: 10 * time.Second, wanted: holdfast.WantKill, wantedAt: 1 * time.Second}, 11 * time.Second, 0, holdfast.MoveDecide},
		"kill not confirmed, silent":       {watch{wanted: holdfast.WantKill, wantedAt: 1 * time.Second}, 11 * time.Second, 0, holdfast.MoveDecide},
		"kill told before we were deaf":    {watch{since: 40 * time.Second, wanted: holdfast.WantKill, wantedAt: 1 * time.Second}, 45 * time.Second, 40 * time.Second, ""},
		"time limit passes":                {watch{since: 5 * time.Second, abortAt: 7 * time.Second}, 7 * time.Second, 0, holdfast.MoveAbort},
		"time limit, aborted already":      {watch{since: 5 * time.Second, abortAt: 7 * time.Second, wanted: holdfast.WantAbort, wantedAt: 7 * time.Second}, 8 * time.Second, 0, ""},
		"time limit of one that suspends":  {watch{since: 5 * time.Second, abortAt: 7 * time.Second, wanted: holdfast.WantSuspend}, 8 * time.Second, 0, holdfast.MoveAbort},
		"stop wanted has no limit":         {watch{since: 500 * time.Second, wanted: holdfast.WantStop}, 505 * time.Second, 0, ""},
		"silence counts before time limit": {watch{since: 5 * time.Second, abortAt: 7 * time.Second}, 20 * time.Second, 0, holdfast.MoveSilence},
	} {
		if got := c.w.due(c.now, c.heard, silence, kill); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestWatchWant(t *testing.T) {
	t.Parallel()
	var w watch
	for _, step := range []struct{ told, want holdfast.Wanted }{
		{holdfast.WantSuspend, holdfast.WantSuspend},
		{holdfast.WantRun, holdfast.WantRun},
		{holdfast.WantStop, holdfast.WantStop},
		{holdfast.WantSuspend, holdfast.WantStop},
		{holdfast.WantRun, holdfast.WantStop},
		{holdfast.WantKill, holdfast.WantKill},
		{holdfast.WantAbort, holdfast.WantKill},
	} {
		w.want(step.told, 3*time.Second)
		if w.wanted != step.want {
			t.Errorf("told %s: got %s, want %s", step.told, w.wanted, step.want)
		}
	}
	w.want(holdfast.WantKill, 9*time.Second)
	if w.wantedAt != 3*time.Second {
		t.Errorf("a wish heard twice: got its time %s, want that of the first", w.wantedAt)
	}
}

func TestBackOff(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]time.Duration{
		0: 5 * time.Second, 1: 5 * time.Second, 2: 10 * time.Second, 3: 20 * time.Second, 4: 40 * time.Second, 8: 10 * time.Minute, 1000: 10 * time.Minute,
	} {
		if got := backOff(5*time.Second, 10*time.Minute, n); got != want {
			t.Errorf("failure %d: got %s, want %s", n, got, want)
		}
	}
}

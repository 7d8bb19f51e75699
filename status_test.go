package holdfast_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
)

// moves is the whole table of how an execution lives, as the design has it
// (state, wish, outcome): what is not here is refused. From: the state (QUEUED
// as NEW when it never started, as AGAIN when it did), the wish, and LAST when
// this was the last attempt, retry or hand-back that it had. To: the state, the wish, the
// outcome, the reason ("=" keeps it), and what is counted.
const moves = `
PLANNED   run      | due       | QUEUED    run      -         =           -
PLANNED   run      | skip      | ENDED     run      CANCELLED skipped     -
PLANNED   run      | stop      | ENDED     stop     CANCELLED wish        -
PLANNED   run      | abort     | ENDED     abort    CANCELLED wish        -
PLANNED   run      | kill      | ENDED     kill     CANCELLED wish        -

NEW       run      | start     | RUNNING   run      -         none        fence
NEW       run      | suspend   | SUSPENDED suspend  -         =           -
NEW       run      | stop      | ENDED     stop     CANCELLED wish        -
NEW       run      | abort     | ENDED     abort    CANCELLED wish        -
NEW       run      | kill      | ENDED     kill     CANCELLED wish        -

AGAIN     run      | start     | RUNNING   run      -         none        fence
AGAIN     run      | suspend   | SUSPENDED suspend  -         =           -
AGAIN     run      | stop      | ENDED     stop     STOPPED   wish        -
AGAIN     run      | abort     | ENDED     abort    ABORTED   time_limit  -
AGAIN     run      | kill      | ENDED     kill     KILLED    wish        -

SUSPENDED suspend  | resume    | QUEUED    run      -         none        -
SUSPENDED suspend  | stop      | ENDED     stop     STOPPED   wish        -
SUSPENDED suspend  | abort     | ENDED     abort    ABORTED   time_limit  -
SUSPENDED suspend  | kill      | ENDED     kill     KILLED    wish        -

RUNNING   run      | suspend   | RUNNING   suspend  -         =           -
RUNNING   run      | stop      | RUNNING   stop     -         =           -
RUNNING   run      | abort     | RUNNING   abort    -         =           -
RUNNING   run      | kill      | RUNNING   kill     -         =           -
RUNNING   run      | succeed   | ENDED     run      SUCCEEDED none        -
RUNNING   run      | warn      | ENDED     run      WARNING   damaged     -
RUNNING   run      | fail      | ENDED     run      FAILED    error       -
RUNNING   run      | rest      | QUEUED    run      -         none        -
RUNNING   run      | hand_back | QUEUED    run      -         handed_back hand_back
RUNNING   run LAST | hand_back | ENDED     run      FAILED    handed_back hand_back
RUNNING   run      | retry     | QUEUED    run      -         transient   retry
RUNNING   run LAST | retry     | ENDED     run      FAILED    error       retry
RUNNING   run      | silence   | QUEUED    run      -         lost        attempt
RUNNING   run LAST | silence   | ENDED     run      FAILED    lost        attempt

RUNNING   suspend  | resume    | RUNNING   run      -         =           -
RUNNING   suspend  | stop      | RUNNING   stop     -         =           -
RUNNING   suspend  | abort     | RUNNING   abort    -         =           -
RUNNING   suspend  | kill      | RUNNING   kill     -         =           -
RUNNING   suspend  | succeed   | ENDED     suspend  SUCCEEDED none        -
RUNNING   suspend  | warn      | ENDED     suspend  WARNING   damaged     -
RUNNING   suspend  | fail      | ENDED     suspend  FAILED    error       -
RUNNING   suspend  | rest      | SUSPENDED suspend  -         =           -
RUNNING   suspend  | hand_back | SUSPENDED suspend  -         =           -
RUNNING   suspend  | retry     | SUSPENDED suspend  -         =           -
RUNNING   suspend  | silence   | SUSPENDED suspend  -         =           -

RUNNING   stop     | abort     | RUNNING   abort    -         =           -
RUNNING   stop     | kill      | RUNNING   kill     -         =           -
RUNNING   stop     | succeed   | ENDED     stop     SUCCEEDED none        -
RUNNING   stop     | warn      | ENDED     stop     WARNING   damaged     -
RUNNING   stop     | fail      | ENDED     stop     FAILED    error       -
RUNNING   stop     | rest      | ENDED     stop     STOPPED   wish        -
RUNNING   stop     | hand_back | ENDED     stop     STOPPED   wish        -
RUNNING   stop     | retry     | ENDED     stop     STOPPED   wish        -
RUNNING   stop     | silence   | ENDED     stop     STOPPED   wish        -

RUNNING   abort    | kill      | RUNNING   kill     -         =           -
RUNNING   abort    | rest      | ENDED     abort    ABORTED   time_limit  -
RUNNING   abort    | hand_back | ENDED     abort    ABORTED   time_limit  -
RUNNING   abort    | retry     | ENDED     abort    ABORTED   time_limit  -
RUNNING   abort    | silence   | ENDED     abort    ABORTED   time_limit  -
RUNNING   abort    | decide    | ENDED     abort    ABORTED   time_limit  fence

RUNNING   kill     | rest      | ENDED     kill     KILLED    wish        -
RUNNING   kill     | hand_back | ENDED     kill     KILLED    wish        -
RUNNING   kill     | retry     | ENDED     kill     KILLED    wish        -
RUNNING   kill     | silence   | ENDED     kill     KILLED    wish        -
RUNNING   kill     | decide    | ENDED     kill     KILLED    wish        fence
`

// row is the right side of the table.
type row struct{ state, wanted, outcome, reason, counts string }

// readMoves returns the table by "FROM wish[ LAST] move".
func readMoves(t *testing.T) map[string]row {
	t.Helper()
	table := map[string]row{}
	for line := range strings.Lines(moves) {
		cells := strings.Split(line, "|")
		if len(cells) != 3 {
			continue
		}
		from, to := strings.Fields(cells[0]), strings.Fields(cells[2])
		if len(to) != 5 {
			t.Fatalf("the table's row %q has %d words on its right side", line, len(to))
		}
		key := strings.Join(append(from, strings.TrimSpace(cells[1])), " ")
		if _, twice := table[key]; twice {
			t.Fatalf("the table has two rows %q", key)
		}
		table[key] = row{to[0], to[1], to[2], to[3], to[4]}
	}
	return table
}

// lookUp returns what the table says of a move.
func lookUp(table map[string]row, s holdfast.Status, m holdfast.Move) (row, bool) {
	from := string(s.State)
	if s.State == holdfast.StateQueued {
		from = "NEW"
		if s.Fence > 0 {
			from = "AGAIN"
		}
	}
	key := fmt.Sprintf("%s %s", from, s.Wanted)
	last := m == holdfast.MoveSilence && s.Attempts+1 == holdfast.DefaultAttempts ||
		m == holdfast.MoveRetry && s.Retries+1 == holdfast.DefaultRetries ||
		m == holdfast.MoveHandBack && s.HandBacks+1 == holdfast.DefaultHandBacks
	if last {
		if r, ok := table[key+" LAST "+string(m)]; ok {
			return r, true
		}
	}
	r, ok := table[key+" "+string(m)]
	return r, ok
}

// apply returns the status that a row of the table leads to.
func apply(t *testing.T, s holdfast.Status, r row) holdfast.Status {
	t.Helper()
	s.State = holdfast.State(r.state)
	if err := s.Wanted.UnmarshalText([]byte(r.wanted)); err != nil {
		t.Fatal(err)
	}
	if r.outcome != "-" {
		s.Outcome = holdfast.Outcome(r.outcome)
	}
	switch r.reason {
	case "=":
	case "none":
		s.Reason = holdfast.ReasonNone
	default:
		s.Reason = holdfast.Reason(r.reason)
	}
	switch r.counts {
	case "fence":
		s.Fence++
	case "attempt":
		s.Attempts++
	case "retry":
		s.Retries++
	case "hand_back":
		s.HandBacks++
	case "-":
	default:
		t.Fatalf("the table counts %q", r.counts)
	}
	return s
}

// combinations returns every state × wish × outcome, each with and without a
// start behind it, at the first and the last attempt, retry and hand-back.
func combinations() []holdfast.Status {
	var all []holdfast.Status
	for _, state := range holdfast.States() {
		for _, wanted := range holdfast.Wishes() {
			for _, outcome := range append(holdfast.Outcomes(), holdfast.OutcomeNone) {
				for _, fence := range []holdfast.Fence{0, 1, 7} {
					for _, attempts := range []int{0, holdfast.DefaultAttempts - 2, holdfast.DefaultAttempts - 1} {
						for _, retries := range []int{0, holdfast.DefaultRetries - 1} {
							for _, handBacks := range []int{0, holdfast.DefaultHandBacks - 1} {
								all = append(all, holdfast.Status{
									State: state, Wanted: wanted, Outcome: outcome, Fence: fence,
									Attempts: attempts, Retries: retries, HandBacks: handBacks,
								})
							}
						}
					}
				}
			}
		}
	}
	return all
}

func TestNextWalksEveryCombination(t *testing.T) {
	table := readMoves(t)
	taken := map[string]bool{}
	legal := 0
	for _, s := range combinations() {
		if s.Check() != nil {
			continue
		}
		legal++
		for _, m := range holdfast.Moves() {
			got, err := s.Next(m)
			r, ok := lookUp(table, s, m)
			if !ok {
				if holdfast.ErrorCode(err) != holdfast.CodeConflict || got != s {
					t.Errorf("%+v, %s: got %+v, %v, want a conflict and no change", s, m, got, err)
				}
				continue
			}
			if want := apply(t, s, r); err != nil || got != want {
				t.Errorf("%+v, %s:\ngot  %+v, %v\nwant %+v", s, m, got, err, want)
			}
			taken[fmt.Sprintf("%s %s %s %t", s.State, s.Wanted, m, r.outcome == "-")] = true
		}
	}
	if legal == 0 || len(taken) == 0 {
		t.Fatal("nothing was walked")
	}
	for key, r := range table {
		words := strings.Fields(key)
		state := strings.NewReplacer("NEW", "QUEUED", "AGAIN", "QUEUED").Replace(words[0])
		if !taken[fmt.Sprintf("%s %s %s %t", state, words[1], words[len(words)-1], r.outcome == "-")] {
			t.Errorf("no combination takes the table's row %q", key)
		}
	}
}

func TestTableKnowsEveryMove(t *testing.T) {
	known := map[string]bool{}
	for key := range readMoves(t) {
		known[key[strings.LastIndexByte(key, ' ')+1:]] = true
	}
	for _, m := range holdfast.Moves() {
		if !known[string(m)] {
			t.Errorf("no state takes the move %q", m)
		}
	}
	if got, want := len(known), len(holdfast.Moves()); got != want {
		t.Errorf("the table has %d moves, want %d", got, want)
	}
}

// submitted are the statuses that an execution can begin with.
var submitted = []holdfast.Status{
	{State: holdfast.StatePlanned},
	{State: holdfast.StateQueued},
	{State: holdfast.StateSuspended, Wanted: holdfast.WantSuspend},
}

func TestEveryReachableStatusPassesCheck(t *testing.T) {
	table := readMoves(t)
	type abstract struct {
		state   holdfast.State
		wanted  holdfast.Wanted
		outcome holdfast.Outcome
	}
	seen := map[holdfast.Status]bool{}
	kinds := map[abstract]bool{}
	for next := slices.Clone(submitted); len(next) > 0; {
		s := next[0]
		next = next[1:]
		key := s
		key.Fence = min(s.Fence, 2)
		if seen[key] {
			continue
		}
		seen[key] = true
		kinds[abstract{s.State, s.Wanted, s.Outcome}] = true
		if err := s.Check(); err != nil {
			t.Errorf("the table leads to %+v: %v", s, err)
		}
		for _, m := range holdfast.Moves() {
			if r, ok := lookUp(table, s, m); ok {
				next = append(next, apply(t, s, r))
			}
		}
	}
	outcomes := map[holdfast.Outcome]bool{holdfast.OutcomeNone: true}
	for k := range kinds {
		outcomes[k.outcome] = true
	}
	if got, want := len(outcomes), len(holdfast.Outcomes())+1; got != want {
		t.Errorf("the table reaches %d outcomes, want %d: %v", got, want, outcomes)
	}
	// 1 planned, 1 queued, 1 suspended, 5 running; ended: 3 × 3 as the worker
	// says, 3 by a wish, 4 cancelled.
	if got, want := len(kinds), 1+1+1+5+3*3+3+4; got != want {
		t.Errorf("the table reaches %d combinations of state, wish and outcome, want %d: %v", got, want, kinds)
	}
}

func TestCheckRefusesUnreachableStatuses(t *testing.T) {
	for _, c := range []struct {
		name string
		s    holdfast.Status
	}{
		{"ended without an outcome", holdfast.Status{State: holdfast.StateEnded, Fence: 1}},
		{"an outcome before the end", holdfast.Status{State: holdfast.StateRunning, Outcome: holdfast.OutcomeFailed, Fence: 1}},
		{"planned and to be suspended", holdfast.Status{State: holdfast.StatePlanned, Wanted: holdfast.WantSuspend}},
		{"planned and to be killed", holdfast.Status{State: holdfast.StatePlanned, Wanted: holdfast.WantKill}},
		{"queued and to be stopped", holdfast.Status{State: holdfast.StateQueued, Wanted: holdfast.WantStop}},
		{"suspended and to be run", holdfast.Status{State: holdfast.StateSuspended}},
		{"suspended and to be stopped", holdfast.Status{State: holdfast.StateSuspended, Wanted: holdfast.WantStop}},
		{"running without a fence", holdfast.Status{State: holdfast.StateRunning}},
		{"planned with a fence", holdfast.Status{State: holdfast.StatePlanned, Fence: 1}},
		{"succeeded without a start", holdfast.Status{State: holdfast.StateEnded, Outcome: holdfast.OutcomeSucceeded}},
		{"succeeded under a kill", holdfast.Status{State: holdfast.StateEnded, Outcome: holdfast.OutcomeSucceeded, Wanted: holdfast.WantKill, Fence: 1}},
		{"stopped without the wish", holdfast.Status{State: holdfast.StateEnded, Outcome: holdfast.OutcomeStopped, Fence: 1}},
		{"killed without the wish", holdfast.Status{State: holdfast.StateEnded, Outcome: holdfast.OutcomeKilled, Wanted: holdfast.WantStop, Fence: 1}},
		{"an unknown state", holdfast.Status{State: "RESTING"}},
		{"cancelled after a start", holdfast.Status{State: holdfast.StateEnded, Outcome: holdfast.OutcomeCancelled, Fence: 1}},
	} {
		if err := c.s.Check(); err == nil {
			t.Errorf("%s: got no error", c.name)
		}
	}
}

func TestPropertiesOfEveryHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(submitted).Draw(t, "submitted")
		moves := rapid.SliceOfN(rapid.SampledFrom(holdfast.Moves()), 0, 60).Draw(t, "moves")
		started := false
		for _, m := range moves {
			n, err := s.Next(m)
			if err != nil {
				if n != s || holdfast.ErrorCode(err) != holdfast.CodeConflict {
					t.Fatalf("%+v refuses %s with %+v, %v", s, m, n, err)
				}
				continue
			}
			started = started || m == holdfast.MoveStart
			switch {
			case n == s:
				t.Fatalf("%+v takes %s and stays as it is", s, m)
			case s.State == holdfast.StateEnded:
				t.Fatalf("%+v has ended, and takes %s", s, m)
			case n.Check() != nil:
				t.Fatalf("%+v, %s: %+v: %v", s, m, n, n.Check())
			case n.Wanted < s.Wanted && (m != holdfast.MoveResume || s.Wanted != holdfast.WantSuspend || n.Wanted != holdfast.WantRun):
				t.Fatalf("%+v, %s: the wish falls to %s", s, m, n.Wanted)
			case n.Fence < s.Fence, n.Attempts < s.Attempts, n.Retries < s.Retries, n.HandBacks < s.HandBacks:
				t.Fatalf("%+v, %s: a counter falls: %+v", s, m, n)
			case (n.Fence != s.Fence) != (m == holdfast.MoveStart || m == holdfast.MoveDecide):
				t.Fatalf("%+v, %s: the fence goes to %d", s, m, n.Fence)
			case n.Attempts > holdfast.DefaultAttempts, n.Retries > holdfast.DefaultRetries, n.HandBacks > holdfast.DefaultHandBacks:
				t.Fatalf("%+v, %s: more attempts than allowed: %+v", s, m, n)
			case n.Outcome == holdfast.OutcomeCancelled && started:
				t.Fatalf("%+v, %s: cancelled after a start", s, m)
			case n.State == holdfast.StateRunning && !started:
				t.Fatalf("%+v, %s: runs without a start", s, m)
			case s.Wanted > holdfast.WantStop && (n.Outcome == holdfast.OutcomeSucceeded || n.Outcome == holdfast.OutcomeWarning):
				t.Fatalf("%+v, %s: an aborted or killed execution succeeds", s, m)
			}
			s = n
		}
	})
}

func TestSilenceEndsAfterTheLastAttempt(t *testing.T) {
	s := holdfast.Status{State: holdfast.StateQueued}
	step := func(m holdfast.Move) {
		t.Helper()
		n, err := s.Next(m)
		if err != nil {
			t.Fatal(err)
		}
		s = n
	}
	for range holdfast.DefaultAttempts {
		// Neither of these costs an attempt.
		step(holdfast.MoveStart)
		step(holdfast.MoveHandBack)
		step(holdfast.MoveStart)
		step(holdfast.MoveSilence)
	}
	want := holdfast.Status{
		State: holdfast.StateEnded, Outcome: holdfast.OutcomeFailed, Reason: holdfast.ReasonLost,
		Fence: 2 * holdfast.DefaultAttempts, Attempts: holdfast.DefaultAttempts, HandBacks: holdfast.DefaultAttempts,
	}
	if s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

func TestHandBacksHaveALimitOfTheirOwn(t *testing.T) {
	s := holdfast.Status{State: holdfast.StateQueued}
	for range holdfast.DefaultHandBacks {
		for _, m := range []holdfast.Move{holdfast.MoveStart, holdfast.MoveHandBack} {
			n, err := s.Next(m)
			if err != nil {
				t.Fatal(err)
			}
			s = n
		}
	}
	want := holdfast.Status{
		State: holdfast.StateEnded, Outcome: holdfast.OutcomeFailed, Reason: holdfast.ReasonHandedBack,
		Fence: holdfast.DefaultHandBacks, HandBacks: holdfast.DefaultHandBacks,
	}
	if s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

func TestBusy(t *testing.T) {
	want := map[holdfast.State]bool{
		holdfast.StatePlanned: false, holdfast.StateQueued: true, holdfast.StateRunning: true,
		holdfast.StateSuspended: true, holdfast.StateEnded: false,
	}
	for _, s := range holdfast.States() {
		if got := (holdfast.Status{State: s}).Busy(); got != want[s] {
			t.Errorf("%s: got %t, want %t", s, got, want[s])
		}
	}
}

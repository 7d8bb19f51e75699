package holdfast_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	const job, other = holdfast.JobID(1), holdfast.JobID(2)
	now := time.Date(2026, 3, 1, 2, 0, 1, 0, time.UTC)
	at := now.Truncate(time.Minute)
	due := func(s holdfast.ScheduleID, j holdfast.JobID, p holdfast.Priority, rt holdfast.RunType) holdfast.DueRun {
		return holdfast.DueRun{Schedule: s, Job: j, Priority: p, RunType: rt, At: at}
	}
	live := func(j holdfast.JobID, p holdfast.Priority, s holdfast.State) holdfast.Execution {
		return holdfast.Execution{ID: 77, Job: j, Priority: p, Type: holdfast.JobBackup, Status: holdfast.Status{State: s}}
	}
	endless := live(other, 1, holdfast.StateRunning)
	endless.Type, endless.ETL = holdfast.JobETL, &holdfast.ETLRun{Service: true}
	batch := endless
	batch.ETL = &holdfast.ETLRun{}
	full, delta, cumulative := holdfast.RunFull, holdfast.RunDelta, holdfast.RunCumulative
	late := func(d holdfast.DueRun, by time.Duration) holdfast.DueRun {
		d.At = now.Add(-by)
		return d
	}
	refused := func(d holdfast.DueRun) holdfast.DueRun {
		d.Refused = true
		return d
	}
	run := holdfast.Firing{}
	missed := holdfast.Firing{Skip: holdfast.SkipMissed}
	busy := holdfast.Firing{Skip: holdfast.SkipBusy, Execution: 77}
	outranked := holdfast.Firing{Skip: holdfast.SkipPriority, Execution: 77}
	for _, c := range []struct {
		name   string
		policy holdfast.SchedulePolicy
		due    []holdfast.DueRun
		live   []holdfast.Execution
		want   []holdfast.Firing
	}{
		{"nothing is due", holdfast.SchedulePolicy{}, nil, []holdfast.Execution{live(job, 5, holdfast.StateRunning)}, nil},
		{"on time", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 5, full)}, nil, []holdfast.Firing{run}},
		{"late, within the grace", holdfast.SchedulePolicy{}, []holdfast.DueRun{late(due(1, job, 5, full), time.Hour)}, nil, []holdfast.Firing{run}},
		{"too late", holdfast.SchedulePolicy{}, []holdfast.DueRun{late(due(1, job, 5, full), time.Hour+1)}, nil, []holdfast.Firing{missed}},
		{"a grace that is set", holdfast.SchedulePolicy{Grace: 2 * time.Hour}, []holdfast.DueRun{late(due(1, job, 5, full), time.Hour+1)}, nil, []holdfast.Firing{run}},
		{"the job runs", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{live(job, 5, holdfast.StateRunning)}, []holdfast.Firing{busy}},
		{"the job waits", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{live(job, 5, holdfast.StateQueued)}, []holdfast.Firing{busy}},
		{"the job rests", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{live(job, 5, holdfast.StateSuspended)}, []holdfast.Firing{busy}},
		{"the job is planned", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{live(job, 5, holdfast.StatePlanned)}, []holdfast.Firing{run}},
		{"busy, and deferring does not help", holdfast.SchedulePolicy{DeferLower: true}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{live(job, 5, holdfast.StateRunning)}, []holdfast.Firing{busy}},
		{"it cannot run", holdfast.SchedulePolicy{}, []holdfast.DueRun{refused(due(1, job, 5, full))}, nil, []holdfast.Firing{{Skip: holdfast.SkipRefused}}},
		{"a service of a higher priority runs", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{endless}, []holdfast.Firing{run}},
		{"a batch of a higher priority runs", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{batch}, []holdfast.Firing{outranked}},
		{
			"three schedules of one job",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(1, job, 5, delta), due(2, job, 5, full), due(3, job, 5, cumulative)},
			nil,
			[]holdfast.Firing{{Skip: holdfast.SkipSame, Schedule: 2}, run, {Skip: holdfast.SkipSame, Schedule: 2}},
		},
		{
			"the same type twice: the older schedule",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(9, job, 5, full), due(4, job, 5, full)},
			nil,
			[]holdfast.Firing{{Skip: holdfast.SkipSame, Schedule: 4}, run},
		},
		{
			"caught up together: the full one",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(1, job, 5, delta), late(due(2, job, 5, full), 30*time.Minute)},
			nil,
			[]holdfast.Firing{{Skip: holdfast.SkipSame, Schedule: 2}, run},
		},
		{
			"the full one is too late: the delta runs",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(1, job, 5, delta), late(due(2, job, 5, full), 2*time.Hour)},
			nil,
			[]holdfast.Firing{run, missed},
		},
		{
			"a higher priority is due",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(1, job, 5, full), due(2, other, 1, delta)},
			nil,
			[]holdfast.Firing{{Skip: holdfast.SkipPriority, Schedule: 2}, run},
		},
		{
			"a higher priority is due, and lower ones wait",
			holdfast.SchedulePolicy{DeferLower: true},
			[]holdfast.DueRun{due(1, job, 5, full), due(2, other, 1, delta)},
			nil,
			[]holdfast.Firing{run, run},
		},
		{
			"equal priorities",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(1, job, 3, full), due(2, other, 3, full)},
			nil,
			[]holdfast.Firing{run, run},
		},
		{
			"three priorities",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(1, 1, 3, full), due(2, 2, 2, full), due(3, 3, 1, full)},
			nil,
			[]holdfast.Firing{{Skip: holdfast.SkipPriority, Schedule: 2}, {Skip: holdfast.SkipPriority, Schedule: 3}, run},
		},
		{
			"the higher priority cannot run",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(1, job, 5, full), refused(due(2, other, 1, full))},
			nil,
			[]holdfast.Firing{run, {Skip: holdfast.SkipRefused}},
		},
		{
			"the higher priority is too late",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(1, job, 5, full), late(due(2, other, 1, full), 2*time.Hour)},
			nil,
			[]holdfast.Firing{run, missed},
		},
		{
			"the higher priority was due at another time",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(1, job, 5, full), late(due(2, other, 1, full), 20*time.Minute)},
			nil,
			[]holdfast.Firing{run, run},
		},
		{
			"the higher priority is busy, so it runs",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(1, job, 5, full), due(2, other, 1, full)},
			[]holdfast.Execution{live(other, 1, holdfast.StateRunning)},
			[]holdfast.Firing{outranked, busy},
		},
		{"a higher priority runs", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{live(other, 4, holdfast.StateRunning)}, []holdfast.Firing{outranked}},
		{"a higher priority waits for a slot", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{live(other, 4, holdfast.StateQueued)}, []holdfast.Firing{outranked}},
		{"a higher priority rests", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{live(other, 4, holdfast.StateSuspended)}, []holdfast.Firing{run}},
		{"an equal priority runs", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{live(other, 5, holdfast.StateRunning)}, []holdfast.Firing{run}},
		{"a lower priority runs", holdfast.SchedulePolicy{}, []holdfast.DueRun{due(1, job, 2, full)}, []holdfast.Execution{live(other, 5, holdfast.StateRunning)}, []holdfast.Firing{run}},
		{"a higher priority runs, and lower ones wait", holdfast.SchedulePolicy{DeferLower: true}, []holdfast.DueRun{due(1, job, 5, full)}, []holdfast.Execution{live(other, 4, holdfast.StateRunning)}, []holdfast.Firing{run}},
		{
			"a restore holds nothing",
			holdfast.SchedulePolicy{},
			[]holdfast.DueRun{due(1, job, 5, full)},
			[]holdfast.Execution{{ID: 77, Job: other, Priority: 1, Type: holdfast.JobRestore, Status: holdfast.Status{State: holdfast.StateRunning}}},
			[]holdfast.Firing{run},
		},
	} {
		if got := c.policy.Decide(now, c.due, c.live); !slices.Equal(got, c.want) {
			t.Errorf("%s\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

// Whatever is due at one time, of each job at most one schedule runs, and
// something runs unless each has a reason of its own.
func TestDecideRunsOneOfEachJob(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
		n := rapid.IntRange(1, 12).Draw(rt, "schedules")
		due := make([]holdfast.DueRun, n)
		for i := range due {
			j := rapid.Int64Range(1, 4).Draw(rt, "job")
			due[i] = holdfast.DueRun{
				Schedule: holdfast.ScheduleID(i + 1), Job: holdfast.JobID(j), Priority: holdfast.Priority(1 + j/2),
				RunType: rapid.SampledFrom([]holdfast.RunType{holdfast.RunFull, holdfast.RunDelta, holdfast.RunCumulative}).Draw(rt, "type"),
				At:      now,
			}
		}
		runs := map[holdfast.JobID]int{}
		highest := holdfast.LowestPriority
		for i, f := range (holdfast.SchedulePolicy{}).Decide(now, due, nil) {
			highest = min(highest, due[i].Priority)
			if f.Skip == holdfast.SkipNone {
				runs[due[i].Job]++
			}
		}
		for _, d := range due {
			want := 0
			if d.Priority == highest {
				want = 1
			}
			if runs[d.Job] != want {
				rt.Fatalf("job %d of priority %d runs %d times, want %d: %+v", d.Job, d.Priority, runs[d.Job], want, due)
			}
		}
	})
}

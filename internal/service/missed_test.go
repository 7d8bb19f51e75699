package service_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// TestManySchedulesThatMissedMuchKeepNobodyWaiting wakes many schedules of a site
// after nine days: all of them run once, in a transaction that counts no more of
// what they missed than the site's share.
func TestManySchedulesThatMissedMuchKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	const many = 40
	r := newRig(t)
	r.clock.add(55 * time.Minute)
	jobs := make([]holdfast.Job, many)
	for i := range jobs {
		jobs[i] = r.job(0, fmt.Sprintf("job %d", i))
		r.schedule(jobs[i], "* * * * *", "UTC", holdfast.RunFull)
	}
	r.clock.add(9 * 24 * time.Hour)
	began := time.Now()
	r.look()
	t.Logf("the look took %s", time.Since(began))
	for _, j := range jobs {
		if got := r.dues(j, "UTC"); !slices.Equal(got, []string{"03-10T02:55Z"}) {
			t.Errorf("job %d: got runs %q, want the newest", j.ID, got)
		}
	}
	late := r.kinds("schedule.late")
	if len(late) != many {
		t.Fatalf("got %d events of runs that missed others, want %d", len(late), many)
	}
	for _, e := range late {
		if e["missed"] != 20000.0/many {
			t.Errorf("got %v missed runs, want %d that are counted", e["missed"], 20000/many)
		}
	}
}

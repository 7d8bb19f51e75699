package scheduler_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-backup/holdfast/internal/scheduler"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// due is a Service with one thing to do at certain times.
type due struct {
	mu       sync.Mutex // guards the fields below
	jump     time.Duration
	next     []time.Time // when something is due
	ran      []time.Time // when it was run
	looks    int
	repairs  []time.Time
	err      error // of RunDue
	repairOf error // of RepairSchedules
}

func (d *due) RunDue(context.Context) (time.Time, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looks++
	now := time.Now().Add(d.jump)
	if d.err != nil {
		return now, d.err
	}
	for len(d.next) > 0 && !d.next[0].After(now) {
		d.ran = append(d.ran, now)
		d.next = d.next[1:]
	}
	if len(d.next) > 0 && d.next[0].Before(now.Add(time.Second)) {
		return d.next[0], nil
	}
	return now.Add(time.Second), nil
}

func (d *due) RepairSchedules(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.repairs = append(d.repairs, time.Now())
	return d.repairOf
}

func (d *due) now() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Add(d.jump)
}

// with changes or looks at the fields.
func (d *due) with(fn func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fn()
}

// start runs a scheduler until the test ends.
func start(t *testing.T, d *due, logs ...testkit.LogOption) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := scheduler.New(scheduler.Config{Service: d, Now: d.now, Log: testkit.Logger(t, logs...)})
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("got error %v, want none", err)
		}
	})
}

func TestItRunsOnTheMoment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		want := []time.Time{begin.Add(300 * time.Millisecond), begin.Add(90 * time.Second), begin.Add(90*time.Second + 1), begin.Add(time.Hour)}
		d := &due{next: slices.Clone(want)}
		start(t, d)
		time.Sleep(2 * time.Hour)
		d.with(func() {
			if !slices.EqualFunc(d.ran, want, time.Time.Equal) {
				t.Errorf("got runs at %v, want %v", d.ran, want)
			}
			if most := 7200 + 10; d.looks > most {
				t.Errorf("got %d looks in two hours, want at most %d", d.looks, most)
			}
			if len(d.repairs) != 1 {
				t.Errorf("got repairs at %v, want one at the start", d.repairs)
			}
		})
	})
}

// Whatever jump the clock makes, what is due is seen within a second.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		jump    time.Duration
		repairs int
	}{
		{"forward", 26 * time.Hour, 1},
		{"back by two hours", -2 * time.Hour, 1},
		{"back by a day", -24 * time.Hour, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &due{}
				start(t, d)
				time.Sleep(10*time.Minute + time.Millisecond)
				d.with(func() {
					d.jump = c.jump
					d.next = []time.Time{time.Now().Add(d.jump + 5*time.Minute)}
				})
				time.Sleep(5*time.Minute + time.Second)
				d.with(func() {
					if len(d.ran) != 1 {
						t.Errorf("got runs at %v, want one", d.ran)
					}
					if len(d.repairs) != c.repairs {
						t.Errorf("got repairs at %v, want %d", d.repairs, c.repairs)
					}
				})
			})
		})
	}
}

// A store that fails is tried again each second, and told of once.
func TestFailuresAreTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &due{err: errors.New("disk is full"), next: []time.Time{time.Now()}}
		start(t, d, testkit.Expect("schedules cannot be run"))
		time.Sleep(10*time.Second + time.Millisecond)
		d.with(func() {
			if d.looks != 11 {
				t.Errorf("got %d looks in ten seconds, want 11", d.looks)
			}
			d.err = nil
		})
		time.Sleep(time.Second)
		d.with(func() {
			if len(d.ran) != 1 {
				t.Errorf("got runs at %v, want one", d.ran)
			}
		})
	})
}

func TestAFailedRepairIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &due{repairOf: errors.New("disk is full")}
		start(t, d, testkit.Expect("schedules cannot be run"))
		time.Sleep(3*time.Second + time.Millisecond)
		d.with(func() { d.repairOf = nil })
		time.Sleep(time.Minute)
		d.with(func() {
			if len(d.repairs) != 5 {
				t.Errorf("got %d repairs, want 5", len(d.repairs))
			}
		})
	})
}

// A loop that has nothing to wait for ends when it is told to.
func TestItEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := scheduler.New(scheduler.Config{Service: &due{}, Now: time.Now, Log: testkit.Logger(t)})
	if err := s.Run(ctx); err != nil {
		t.Errorf("got error %v, want none", err)
	}
}

// Package scheduler says when: it has the service run the schedules that are due,
// for as long as the program runs.
package scheduler

import (
	"context"
	"log/slog"
	"time"
)

// Service is what the scheduler needs of the use cases.
type Service interface {
	// RunDue runs what is due, and says when to look again. What failed is still
	// due.
	RunDue(ctx context.Context) (again time.Time, err error)
	// RepairSchedules finds the next runs anew that were found while the clock was
	// far ahead.
	RepairSchedules(ctx context.Context) error
}

const (
	// longest is the longest time between two looks, and between two tries of what
	// failed.
	longest = time.Second
	// setBack is the least by which a clock that was set back calls for a repair:
	// what is less moves no next run, so that nothing runs twice.
	setBack = 12 * time.Hour
)

// Config is what a Scheduler is made of. Every field is needed.
type Config struct {
	Service Service
	Now     func() time.Time // what the clock shows
	Log     *slog.Logger
}

// Scheduler is the loop. Several may run on one store.
type Scheduler struct {
	cfg     Config
	failing bool // the last look failed
	wrong   bool // next runs may lie too far ahead
}

// New returns a Scheduler.
func New(cfg Config) *Scheduler { return &Scheduler{cfg: cfg} }

// Run looks for what is due until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	s.wrong = true // the clock may have been set back while nobody looked
	began, shown, passed := time.Now(), s.wall(), time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		wasShown, hadPassed := shown, passed
		shown, passed = s.wall(), time.Since(began)
		if back := passed - hadPassed - shown.Sub(wasShown); back >= setBack {
			s.wrong = true
		}
		t.Reset(s.look(ctx))
	}
}

// wall is the time without its monotonic reading: two of them differ by what the
// clock was set by, too.
func (s *Scheduler) wall() time.Time { return s.cfg.Now().Round(0) }

// look runs what is due, and returns how long to wait for the next look.
func (s *Scheduler) look(ctx context.Context) time.Duration {
	again, err := s.cfg.Service.RunDue(ctx)
	if err == nil && s.wrong { // afterwards: it takes seconds where there are very many jobs
		if err = s.cfg.Service.RepairSchedules(ctx); err == nil {
			s.wrong = false
		}
	}
	switch {
	case ctx.Err() != nil:
		return longest
	case err != nil && !s.failing:
		s.cfg.Log.WarnContext(ctx, "schedules cannot be run; it is tried again each second", "error", err)
	case err == nil && s.failing:
		s.cfg.Log.InfoContext(ctx, "schedules are run again")
	}
	s.failing = err != nil
	if err != nil {
		return longest
	}
	return min(max(again.Sub(s.wall()), 0), longest)
}

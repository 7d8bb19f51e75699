package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func triggerWord(id holdfast.TriggerID) string { return fmt.Sprintf("trigger %d", id) }

// CreateTrigger makes a trigger. Left out, it waits for SUCCEEDED, and the run type
// of a backup is DELTA. CodeInvalid when one of the jobs cannot be part of a chain,
// and when the chain would become a loop; CodeConflict when the job has
// [holdfast.MaxTriggers], or one for the same run. The credential must cover the
// sites of both jobs, and all that an ETL which is run names.
func (s *Service) CreateTrigger(ctx context.Context, actor holdfast.Actor, in holdfast.Trigger) (holdfast.Trigger, error) {
	now := s.now()
	var made holdfast.Trigger
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		j, err := liveJob(ctx, tx, actor, opCreateTrigger, in.Job)
		if err != nil {
			return err
		}
		run, err := liveJob(ctx, tx, actor, opCreateTrigger, in.Run)
		if err != nil {
			return err
		}
		made = triggerDefaults(in, run)
		made.ID, made.Account, made.Created = 0, j.Account, now
		if err := made.Validate(j, run); err != nil {
			return err
		}
		if err := roomForTrigger(ctx, tx, made); err != nil {
			return err
		}
		if err := tx.InsertTrigger(ctx, &made); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, triggerWord(made.ID), "trigger.created", triggerFacts(made, j))
	})
	if err != nil {
		return holdfast.Trigger{}, err
	}
	s.cfg.Log.InfoContext(ctx, "trigger created", "trigger", made.ID, "job", made.Job, "run", made.Run, "actor", actor.String())
	return made, nil
}

// triggerDefaults fills what a request may leave out.
func triggerDefaults(t holdfast.Trigger, run holdfast.Job) holdfast.Trigger {
	if t.On == "" {
		t.On = holdfast.OnSucceeded
	}
	if t.RunType == "" && run.Type == holdfast.JobBackup {
		t.RunType = holdfast.RunDelta
	}
	return t
}

// roomForTrigger refuses a trigger beside those that there are.
func roomForTrigger(ctx context.Context, r store.Reader, t holdfast.Trigger) error {
	all, err := r.Triggers(ctx, t.Account, t.Job)
	if err != nil {
		return err
	}
	if len(all) >= holdfast.MaxTriggers {
		return holdfast.Errorf(holdfast.CodeConflict, "job %d has %d triggers already", t.Job, len(all)).WithHint("delete one first")
	}
	for _, other := range all {
		if other.Run == t.Run {
			return holdfast.Errorf(holdfast.CodeConflict, "trigger %d runs job %d after job %d already", other.ID, t.Run, t.Job).
				WithHint("delete it first, or activate it")
		}
	}
	return noLoop(ctx, r, t)
}

// noLoop refuses a trigger whose run leads back to where it comes from. Triggers
// that are not active count: they may become so.
func noLoop(ctx context.Context, r store.Reader, t holdfast.Trigger) error {
	seen := map[holdfast.JobID]bool{t.Run: true}
	for next := []holdfast.JobID{t.Run}; len(next) > 0; next = next[1:] {
		all, err := r.Triggers(ctx, t.Account, next[0])
		if err != nil {
			return err
		}
		for _, other := range all {
			if other.Run == t.Job {
				return holdfast.Errorf(holdfast.CodeInvalid, "a chain of triggers leads from job %d to job %d already, and this one would make it a loop", t.Run, t.Job).
					WithHint("leave it out, or take another one out of the chain")
			}
			if !seen[other.Run] {
				seen[other.Run] = true
				next = append(next, other.Run)
			}
		}
	}
	return nil
}

// Triggers lists the triggers that wait for a job, by id. Those that run a job which
// the credential does not cover are not shown.
func (s *Service) Triggers(ctx context.Context, actor holdfast.Actor, job holdfast.JobID) ([]holdfast.Trigger, error) {
	var list []holdfast.Trigger
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		j, err := liveJob(ctx, r, actor, opTriggers, job)
		if err != nil {
			return err
		}
		list, err = triggersOf(ctx, r, actor, j)
		return err
	})
	return list, err
}

// triggersOf lists the triggers of a job that the actor may see.
func triggersOf(ctx context.Context, r store.Reader, actor holdfast.Actor, j holdfast.Job) ([]holdfast.Trigger, error) {
	all, err := r.Triggers(ctx, j.Account, j.ID)
	if err != nil {
		return nil, err
	}
	var list []holdfast.Trigger
	for _, t := range all {
		_, err := findJob(ctx, r, actor, opTriggers, t.Run)
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// triggerOf returns a trigger when it waits for the job.
func triggerOf(ctx context.Context, r store.Reader, actor holdfast.Actor, j holdfast.Job, id holdfast.TriggerID) (holdfast.Trigger, error) {
	list, err := triggersOf(ctx, r, actor, j)
	if err != nil {
		return holdfast.Trigger{}, err
	}
	i := slices.IndexFunc(list, func(t holdfast.Trigger) bool { return t.ID == id })
	if i < 0 {
		return holdfast.Trigger{}, notFound(triggerWord(id))
	}
	return list[i], nil
}

// SetTriggerActive lets a trigger that waits for the job rest, or fire again. The
// credential must be one that could make the trigger.
func (s *Service) SetTriggerActive(
	ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.TriggerID, active bool,
) (holdfast.Trigger, error) {
	now := s.now()
	var t holdfast.Trigger
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		j, err := liveJob(ctx, tx, actor, opSetTriggerActive, job)
		if err != nil {
			return err
		}
		if t, err = triggerOf(ctx, tx, actor, j, id); err != nil {
			return err
		}
		if _, err := liveJob(ctx, tx, actor, opSetTriggerActive, t.Run); err != nil {
			return err
		}
		if t.Active == active {
			return nil
		}
		t.Active = active
		if err := tx.UpdateTrigger(ctx, t); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, triggerWord(id), "trigger.updated", triggerFacts(t, j))
	})
	if err != nil {
		return holdfast.Trigger{}, err
	}
	s.cfg.Log.InfoContext(ctx, "trigger updated", "trigger", id, "job", job, "active", active, "actor", actor.String())
	return t, nil
}

// DeleteTrigger deletes a trigger that waits for the job; what it made stays.
func (s *Service) DeleteTrigger(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.TriggerID) error {
	now := s.now()
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		j, err := liveJob(ctx, tx, actor, opDeleteTrigger, job)
		if err != nil {
			return err
		}
		t, err := triggerOf(ctx, tx, actor, j, id)
		if err != nil {
			return err
		}
		return dropTrigger(ctx, tx, actor, j, t, now)
	})
	if err == nil {
		s.cfg.Log.InfoContext(ctx, "trigger deleted", "trigger", id, "job", job, "actor", actor.String())
	}
	return err
}

// dropTriggers deletes the triggers of a job that is deleted: those that wait for
// it, and those that run it.
func dropTriggers(ctx context.Context, tx store.Tx, actor holdfast.Actor, j holdfast.Job, now time.Time) error {
	waiting, err := tx.Triggers(ctx, j.Account, j.ID)
	if err != nil {
		return err
	}
	running, err := tx.TriggersThatRun(ctx, j.Account, j.ID)
	if err != nil {
		return err
	}
	for _, t := range append(waiting, running...) {
		if err := dropTrigger(ctx, tx, actor, j, t, now); err != nil {
			return err
		}
	}
	return nil
}

func dropTrigger(ctx context.Context, tx store.Tx, actor holdfast.Actor, j holdfast.Job, t holdfast.Trigger, now time.Time) error {
	if err := tx.DeleteTrigger(ctx, t.Account, t.ID); err != nil {
		return found(err, triggerWord(t.ID))
	}
	return record(ctx, tx, actor, now, triggerWord(t.ID), "trigger.deleted", triggerFacts(t, j))
}

// triggerFacts is what events tell of a trigger. They belong to the history of the
// site of j.
func triggerFacts(t holdfast.Trigger, j holdfast.Job) facts {
	f := facts{"site": j.Site, "job": t.Run, "after": t.Job, "on": t.On, "active": t.Active}
	if t.RunType != "" {
		f["run_type"] = t.RunType
	}
	return f
}

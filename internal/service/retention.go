package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/expire"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// OtherProtected says what protecting a set means for the other protected sets
// of its job.
type OtherProtected int

// The answers to other protected sets.
const (
	AllowOthers   OtherProtected = iota // they stay protected
	RefuseOthers                        // CodeConflict
	ReplaceOthers                       // they are protected no longer
)

// Protection asks for a set to be protected, or not any more.
type Protection struct {
	On     bool
	Others OtherProtected // when On
}

// setSubject names a set in events.
func setSubject(id holdfast.SetID) string { return fmt.Sprintf("backup_set %d", id) }

// RetentionPlan says what the retention of a job would let go now, and why. It is
// carried out when the next backup of the job ends well, with that backup's set
// in it. A deleted job has a plan, too.
func (s *Service) RetentionPlan(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (expire.Plan, error) {
	var p expire.Plan
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		j, err := findJob(ctx, r, actor, opRetentionPlan, id)
		if err != nil {
			return err
		}
		if j.Type != holdfast.JobBackup {
			return holdfast.Errorf(holdfast.CodeInvalid, "job %d is a %s job, which makes no backup sets", id, j.Type).
				WithHint("name the backup job")
		}
		in, err := expire.Read(ctx, r, j)
		if err != nil {
			return err
		}
		p = expire.Decide(in)
		return nil
	})
	return p, err
}

// Protect has retention leave a set alone, or not any more. A protected set does
// not count towards the number that stays. What is so already is no error.
// CodeConflict when the set is gone from every repository, and for other
// protected sets with [RefuseOthers].
func (s *Service) Protect(ctx context.Context, actor holdfast.Actor, id holdfast.SetID, in Protection) (SetView, error) {
	now := s.now()
	var v SetView
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		var err error
		if v, err = findSet(ctx, tx, actor, opProtect, id); err != nil {
			return err
		}
		if in.On {
			if err := protectAlone(ctx, tx, actor, v, in.Others, now); err != nil {
				return err
			}
		}
		return setProtected(ctx, tx, actor, &v.BackupSet, in.On, now)
	})
	if err != nil {
		return SetView{}, err
	}
	return v, nil
}

// protectAlone checks that the set can be protected, and sees to the others of
// its job.
func protectAlone(ctx context.Context, tx store.Tx, actor holdfast.Actor, v SetView, others OtherProtected, now time.Time) error {
	if !readable(v.Copies) {
		return errGone(v.ID)
	}
	if others == AllowOthers || v.Job == 0 {
		return nil
	}
	sets, err := tx.SetsOfJob(ctx, v.Account, v.Job)
	if err != nil {
		return err
	}
	for _, other := range sets {
		if !other.Set.Protected || other.Set.ID == v.ID {
			continue
		}
		if others != ReplaceOthers {
			return holdfast.Errorf(holdfast.CodeConflict, "backup set %d of the same job is protected already", other.Set.ID).
				WithHint("say that it is to be replaced, or unprotect it first")
		}
		if err := setProtected(ctx, tx, actor, &other.Set, false, now); err != nil {
			return err
		}
	}
	return nil
}

func setProtected(ctx context.Context, tx store.Tx, actor holdfast.Actor, set *holdfast.BackupSet, on bool, now time.Time) error {
	if set.Protected == on {
		return nil
	}
	set.Protected = on
	if err := tx.UpdateSet(ctx, *set); err != nil {
		return err
	}
	kind := "set.unprotected"
	if on {
		kind = "set.protected"
	}
	return record(ctx, tx, actor, now, setSubject(set.ID), kind, facts{"site": set.Site, "job": set.Job})
}

// DeleteSet deletes a set: no reader sees it any more, and its snapshots are
// removed soon. CodeConflict when it is protected, when a restore that has not
// ended needs it (with Error.Execution), when it is gone already, and, with [ErrLastGood],
// when it is the last good set of its site.
func (s *Service) DeleteSet(ctx context.Context, actor holdfast.Actor, id holdfast.SetID) error {
	return s.deleteSet(ctx, actor, opDeleteSet, id)
}

// DeleteLastSet is [Service.DeleteSet] that deletes the last good set of its
// site, too.
func (s *Service) DeleteLastSet(ctx context.Context, actor holdfast.Actor, id holdfast.SetID) error {
	return s.deleteSet(ctx, actor, opDeleteLastSet, id)
}

func (s *Service) deleteSet(ctx context.Context, actor holdfast.Actor, op Operation, id holdfast.SetID) error {
	now := s.now()
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		v, err := findSet(ctx, tx, actor, op, id)
		if err != nil {
			return err
		}
		if !readable(v.Copies) {
			return errGone(id)
		}
		set := store.SetCopies{Set: v.BackupSet, Copies: v.Copies}
		restores, err := tx.LiveRestores(ctx, v.Account)
		if err != nil {
			return err
		}
		if err := deletable(set, restores); err != nil {
			return err
		}
		if op == opDeleteSet {
			if err := notLast(ctx, tx, set); err != nil {
				return err
			}
		}
		return expire.Drop(ctx, tx, deletedBy(actor, now), set)
	})
	if err == nil {
		s.cfg.Log.InfoContext(ctx, "backup set deleted", "backup_set", id, "actor", actor.String())
	}
	return err
}

// DeleteJobAndSets deletes a job and every set that it made. CodeConflict, and
// nothing is deleted, while the job is busy, one of the sets is protected, or a
// restore that has not ended needs one of them, the first and the last with
// Error.Execution; and, with [ErrLastGood], when the site would have no good set
// any more.
func (s *Service) DeleteJobAndSets(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) error {
	return s.deleteJobAndSets(ctx, actor, opDeleteJobAndSets, id)
}

// DeleteJobAndLastSets is [Service.DeleteJobAndSets] that deletes the last good
// sets of the site, too.
func (s *Service) DeleteJobAndLastSets(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) error {
	return s.deleteJobAndSets(ctx, actor, opDeleteJobAndLast, id)
}

func (s *Service) deleteJobAndSets(ctx context.Context, actor holdfast.Actor, op Operation, id holdfast.JobID) error {
	now := s.now()
	gone := 0
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		if err := deleteJob(ctx, tx, actor, op, id, now); err != nil {
			return err
		}
		sets, err := tx.SetsOfJob(ctx, actor.Principal.Account, id)
		if err != nil {
			return err
		}
		restores, err := tx.LiveRestores(ctx, actor.Principal.Account)
		if err != nil {
			return err
		}
		for _, set := range sets {
			if err := deletable(set, restores); err != nil {
				return err
			}
			if err := expire.Drop(ctx, tx, deletedBy(actor, now), set); err != nil {
				return err
			}
		}
		gone = len(sets)
		if op == opDeleteJobAndLast {
			return nil
		}
		// All of them are gone now: whatever good set there is, is another job's.
		i := slices.IndexFunc(sets, expire.Good)
		if i < 0 {
			return nil
		}
		if other, err := anotherGood(ctx, tx, sets[i].Set); err != nil || other {
			return err
		}
		return holdfast.Wrap(holdfast.CodeConflict, ErrLastGood, "the last good backup set of the site is among those of job %d", id).
			WithHint(hintLastGood)
	})
	if err == nil {
		s.cfg.Log.InfoContext(ctx, "job and its backup sets deleted", "job", id, "sets", gone, "actor", actor.String())
	}
	return err
}

func deletedBy(actor holdfast.Actor, now time.Time) expire.Cause {
	return expire.Cause{Kind: expire.KindDeleted, Time: now, Actor: actor.String(), Dialect: actor.Dialect}
}

// deletable refuses a set that a person must not delete now.
func deletable(s store.SetCopies, restores []holdfast.Execution) error {
	if s.Set.Protected {
		return holdfast.Errorf(holdfast.CodeConflict, "backup set %d is protected", s.Set.ID).WithHint("unprotect it first")
	}
	for _, e := range restores {
		if e.Set == s.Set.ID {
			err := holdfast.Errorf(holdfast.CodeConflict, "execution %d restores backup set %d, and is %s", e.ID, s.Set.ID, e.State).
				WithHint("wait until it has ended, or stop it")
			err.Execution = e.ID
			return err
		}
	}
	return nil
}

// ErrLastGood is in the tree of the error that keeps the last good set of a site.
var ErrLastGood = errors.New("the site would have no good backup set any more")

const hintLastGood = "make another backup first, or confirm that the last one is to go"

// lastPage is how many sets are looked at together for another good one.
const lastPage = 100

// notLast refuses, with [ErrLastGood], the last good set of its site.
func notLast(ctx context.Context, r store.Reader, s store.SetCopies) error {
	if !expire.Good(s) {
		return nil
	}
	if other, err := anotherGood(ctx, r, s.Set); err != nil || other {
		return err
	}
	return holdfast.Wrap(holdfast.CodeConflict, ErrLastGood, "backup set %d is the last good one of its site", s.Set.ID).
		WithHint(hintLastGood)
}

// anotherGood reports whether the site of the set has another good one.
func anotherGood(ctx context.Context, r store.Reader, set holdfast.BackupSet) (bool, error) {
	f := store.SetFilter{Sites: []holdfast.SiteID{set.Site}, Page: store.Page{Limit: lastPage}}
	for {
		sets, _, err := r.Sets(ctx, set.Account, f)
		if err != nil {
			return false, err
		}
		for _, other := range sets {
			if other.ID == set.ID {
				continue
			}
			copies, err := r.Copies(ctx, other.Account, other.ID)
			if err != nil {
				return false, err
			}
			if expire.Good(store.SetCopies{Set: other, Copies: copies}) {
				return true, nil
			}
		}
		if len(sets) < lastPage {
			return false, nil
		}
		f.Page.Offset += lastPage
	}
}

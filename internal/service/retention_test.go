package service_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/expire"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// keeps makes a job that keeps so many sets, and has made the sets.
func (r *rig) keeps(name string, count int, states ...holdfast.CopyState) (holdfast.Job, []holdfast.BackupSet) {
	r.t.Helper()
	j := must(r.svc.CreateJob(r.t.Context(), r.admin, holdfast.Job{
		Site: r.sites[0].ID, Name: name, Active: true, Retention: holdfast.Retention{Count: count},
	}))(r.t)
	var sets []holdfast.BackupSet
	for _, state := range states {
		_, set := r.backup(j, state)
		if state == holdfast.CopyDamaged {
			set.Damaged = "a page"
			r.update(func(tx store.Tx) error { return tx.UpdateSet(r.t.Context(), set) })
		}
		sets = append(sets, set)
	}
	return j, sets
}

// state is the state of a set's only copy.
func (r *rig) state(id holdfast.SetID) holdfast.CopyState {
	r.t.Helper()
	v := must(r.svc.Set(r.t.Context(), r.admin, id))(r.t)
	if len(v.Copies) != 1 {
		r.t.Fatalf("set %d has %d copies, want 1", id, len(v.Copies))
	}
	return v.Copies[0].State
}

// wantConflict checks for a conflict that names the execution in the way, and
// says what to do.
func wantConflict(t testing.TB, err error, words string, in holdfast.ExecutionID) {
	t.Helper()
	wantCode(t, err, holdfast.CodeConflict)
	e, _ := errors.AsType[*holdfast.Error](err)
	if e.Execution != in || e.Hint == "" || !strings.Contains(e.Msg, words) {
		t.Errorf("got %q (hint %q) about execution %d, want %q about %d", e.Msg, e.Hint, e.Execution, words, in)
	}
}

func TestRetentionPlanChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j, sets := r.keeps("nightly", 1, holdfast.CopyComplete, holdfast.CopyVerified, holdfast.CopyComplete, holdfast.CopyDamaged)
	p := must(r.svc.RetentionPlan(t.Context(), r.actor(holdfast.RoleReader), j.ID))(t)
	var got []string
	for _, v := range p.Sets {
		got = append(got, fmt.Sprintf("%d %t %s", v.Set.ID-sets[0].ID, v.Drop, v.Code))
	}
	want := []string{"3 false damaged_newer", "2 false counted", "1 false newest_verified", "0 true surplus"}
	if !slices.Equal(got, want) || p.Unit != holdfast.RetainSets {
		t.Errorf("got %q of %s, want %q of sets", got, p.Unit, want)
	}
	if got := r.state(sets[0].ID); got != holdfast.CopyComplete {
		t.Errorf("after the dry run a set is %s", got)
	}

	r.update(func(tx store.Tx) error {
		return tx.InsertSchedule(t.Context(), &holdfast.Schedule{Account: j.Account, Job: j.ID, RunType: holdfast.RunFull, Active: true})
	})
	if p := must(r.svc.RetentionPlan(t.Context(), r.admin, j.ID))(t); p.Unit != holdfast.RetainGenerations {
		t.Errorf("with a schedule of FULL runs: got %s", p.Unit)
	}
	if err := r.svc.DeleteJob(t.Context(), r.admin, j.ID); err != nil {
		t.Fatal(err)
	}
	if p := must(r.svc.RetentionPlan(t.Context(), r.admin, j.ID))(t); len(p.Sets) != 4 || len(p.Drops()) > 0 || p.Sets[0].Code != expire.KeepJobDeleted {
		t.Errorf("of a deleted job: got %+v", p)
	}
	restore := must(r.svc.Restore(t.Context(), r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{Set: sets[1].ID, Tablespaces: spaces(), Directory: "/restores/a"}}))(t)
	_, err := r.svc.RetentionPlan(t.Context(), r.admin, restore.Job)
	wantInvalid(t, err)
}

func TestProtect(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, sets := r.keeps("nightly", 2, holdfast.CopyComplete, holdfast.CopyComplete, holdfast.CopyComplete, holdfast.CopyDeleted)
	_, others := r.keeps("other", 2, holdfast.CopyComplete)
	protect := func(set holdfast.BackupSet, on bool, o service.OtherProtected) (service.SetView, error) {
		return r.svc.Protect(ctx, r.admin, set.ID, service.Protection{On: on, Others: o})
	}
	isProtected := func(want ...bool) {
		t.Helper()
		var got []bool
		for _, s := range append(sets[:3:3], others[0]) {
			got = append(got, must(r.svc.Set(ctx, r.admin, s.ID))(t).Protected)
		}
		if !slices.Equal(got, want) {
			t.Errorf("protected: got %v, want %v", got, want)
		}
	}
	if v := must(protect(sets[0], true, service.RefuseOthers))(t); !v.Protected || len(v.Copies) != 1 {
		t.Errorf("got %+v", v)
	}
	if e := r.lastEvent(); e.Kind != "set.protected" || e.Subject != fmt.Sprintf("backup_set %d", sets[0].ID) {
		t.Errorf("event: got %s of %s", e.Kind, e.Subject)
	}
	must(protect(others[0], true, service.RefuseOthers))(t) // another job's
	isProtected(true, false, false, true)

	_, err := protect(sets[1], true, service.RefuseOthers)
	wantConflict(t, err, fmt.Sprintf("backup set %d", sets[0].ID), 0)
	isProtected(true, false, false, true)
	must(protect(sets[1], true, service.AllowOthers))(t)
	isProtected(true, true, false, true)
	must(protect(sets[2], true, service.ReplaceOthers))(t)
	isProtected(false, false, true, true)

	before := len(r.events(0))
	must(protect(sets[2], true, service.RefuseOthers))(t)
	must(protect(sets[0], false, service.RefuseOthers))(t)
	if n := len(r.events(0)); n != before {
		t.Errorf("what is so already made %d events", n-before)
	}
	must(protect(sets[2], false, service.AllowOthers))(t)
	if e := r.lastEvent(); e.Kind != "set.unprotected" {
		t.Errorf("event: got %s", e.Kind)
	}
	isProtected(false, false, false, true)

	_, err = protect(sets[3], true, service.AllowOthers)
	wantConflict(t, err, "no repository", 0)
	if v := must(r.svc.Set(ctx, r.admin, sets[3].ID))(t); v.Protected {
		t.Error("a set that is gone is protected")
	}
}

func TestDeleteSet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, sets := r.keeps("nightly", 7, holdfast.CopyComplete, holdfast.CopyComplete, holdfast.CopyDamaged, holdfast.CopyComplete)
	must(r.svc.Protect(ctx, r.admin, sets[0].ID, service.Protection{On: true}))(t)
	wantConflict(t, r.svc.DeleteSet(ctx, r.admin, sets[0].ID), "protected", 0)
	wantConflict(t, r.svc.DeleteLastSet(ctx, r.admin, sets[0].ID), "protected", 0)
	must(r.svc.Protect(ctx, r.admin, sets[0].ID, service.Protection{}))(t)

	spec := holdfast.RestoreSpec{Set: sets[0].ID, Tablespaces: spaces(), Directory: "/restores/a"}
	restore := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec}))(t)
	wantConflict(t, r.svc.DeleteSet(ctx, r.admin, sets[0].ID), "restores backup set", restore.ID)
	must(r.svc.Kill(ctx, r.admin, restore.ID))(t)
	if err := r.svc.DeleteSet(ctx, r.admin, sets[0].ID); err != nil {
		t.Fatal(err)
	}
	if got := r.state(sets[0].ID); got != holdfast.CopyExpired {
		t.Errorf("after the deletion: got %s, want %s", got, holdfast.CopyExpired)
	}
	if e := r.lastEvent(); e.Kind != expire.KindDeleted || e.Actor != r.admin.String() || e.Subject != fmt.Sprintf("backup_set %d", sets[0].ID) {
		t.Errorf("event: got %+v", e)
	}
	wantConflict(t, r.svc.DeleteSet(ctx, r.admin, sets[0].ID), "no repository", 0)
	_, err := r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec})
	wantConflict(t, err, "no repository", 0)
	if _, n, err := r.svc.Sets(ctx, r.admin, store.SetFilter{}); n != 3 || err != nil {
		t.Errorf("sets in the list: got %d (%v), want 3", n, err)
	}

	if err := r.svc.DeleteSet(ctx, r.admin, sets[3].ID); err != nil {
		t.Fatal(err)
	}
	wantConflict(t, r.svc.DeleteSet(ctx, r.admin, sets[1].ID), "last good one", 0)
	if err := r.svc.DeleteSet(ctx, r.admin, sets[2].ID); err != nil {
		t.Errorf("a damaged set is none of the good ones: %v", err)
	}
	_, more := r.keeps("another job of the site", 7, holdfast.CopyVerified)
	if err := r.svc.DeleteSet(ctx, r.admin, sets[1].ID); err != nil {
		t.Errorf("another job of the site has a good one: %v", err)
	}
	if err := r.svc.DeleteLastSet(ctx, r.admin, more[0].ID); err != nil {
		t.Error(err)
	}
}

// TestLastGoodSetBehindManyDamagedOnes looks for another good set on every page.
func TestLastGoodSetBehindManyDamagedOnes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j, sets := r.keeps("nightly", 7, holdfast.CopyComplete, holdfast.CopyComplete)
	r.update(func(tx store.Tx) error {
		for range 250 {
			s := holdfast.BackupSet{Account: j.Account, Site: j.Site, Job: j.ID, Damaged: "a page"}
			if err := tx.InsertSet(ctx, &s); err != nil {
				return err
			}
			c := holdfast.Copy{Account: j.Account, Set: s.ID, Repository: r.repo.ID, State: holdfast.CopyDamaged}
			if err := tx.InsertCopy(ctx, &c); err != nil {
				return err
			}
		}
		return nil
	})
	if err := r.svc.DeleteSet(ctx, r.admin, sets[1].ID); err != nil {
		t.Errorf("the other good set was not found: %v", err)
	}
	wantConflict(t, r.svc.DeleteSet(ctx, r.admin, sets[0].ID), "last good one", 0)
}

func TestDeleteJobAndSets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j, sets := r.keeps("nightly", 7, holdfast.CopyComplete, holdfast.CopyDamaged, holdfast.CopyDeleted)
	_, others := r.keeps("other", 7, holdfast.CopyComplete)
	unchanged := func(why string) {
		t.Helper()
		if v, err := r.svc.Job(ctx, r.admin, j.ID); err != nil || r.state(sets[0].ID) != holdfast.CopyComplete || r.state(sets[1].ID) != holdfast.CopyDamaged {
			t.Errorf("%s: something is gone: %+v, %v", why, v, err)
		}
	}
	must(r.svc.Protect(ctx, r.admin, sets[1].ID, service.Protection{On: true}))(t)
	wantConflict(t, r.svc.DeleteJobAndSets(ctx, r.admin, j.ID), "protected", 0)
	unchanged("protected")
	must(r.svc.Protect(ctx, r.admin, sets[1].ID, service.Protection{}))(t)

	restore := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{Set: sets[0].ID, Tablespaces: spaces(), Directory: "/restores/a"}}))(t)
	wantConflict(t, r.svc.DeleteJobAndSets(ctx, r.admin, j.ID), "restores backup set", restore.ID)
	unchanged("restored")
	must(r.svc.Kill(ctx, r.admin, restore.ID))(t)

	busy := r.run(j)
	wantConflict(t, r.svc.DeleteJobAndSets(ctx, r.admin, j.ID), "busy", busy.ID)
	unchanged("busy")
	must(r.svc.Kill(ctx, r.admin, busy.ID))(t)

	if err := r.svc.DeleteJobAndSets(ctx, r.admin, j.ID); err != nil {
		t.Fatal(err)
	}
	_, err := r.svc.Job(ctx, r.admin, j.ID)
	wantCode(t, err, holdfast.CodeNotFound)
	for i, want := range []holdfast.CopyState{holdfast.CopyExpired, holdfast.CopyExpired, holdfast.CopyDeleted} {
		if got := r.state(sets[i].ID); got != want {
			t.Errorf("set %d of the job: got %s, want %s", i, got, want)
		}
	}
	if got := r.state(others[0].ID); got != holdfast.CopyComplete {
		t.Errorf("another job's set: got %s", got)
	}
	wantCode(t, r.svc.DeleteJobAndSets(ctx, r.admin, j.ID), holdfast.CodeNotFound)
}

// TestDeleteJobAndLastSets wants no site to lose its last good set unasked.
func TestDeleteJobAndLastSets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, bad := r.keeps("other", 7, holdfast.CopyDamaged)
	j, sets := r.keeps("nightly", 7, holdfast.CopyComplete, holdfast.CopyComplete)
	err := r.svc.DeleteJobAndSets(ctx, r.admin, j.ID)
	wantConflict(t, err, "last good backup set", 0)
	if !errors.Is(err, service.ErrLastGood) || holdfast.ErrorHint(err) == "" {
		t.Errorf("got %v (hint %q), want ErrLastGood and a hint", err, holdfast.ErrorHint(err))
	}
	for _, s := range sets {
		if got := r.state(s.ID); got != holdfast.CopyComplete {
			t.Errorf("set %d was refused: got %s", s.ID, got)
		}
	}
	if _, err := r.svc.Job(ctx, r.admin, j.ID); err != nil {
		t.Errorf("the job was refused: %v", err)
	}
	if err := r.svc.DeleteJobAndLastSets(ctx, r.admin, j.ID); err != nil {
		t.Fatal(err)
	}
	for _, s := range sets {
		if got := r.state(s.ID); got != holdfast.CopyExpired {
			t.Errorf("set %d was confirmed: got %s", s.ID, got)
		}
	}
	// Nothing good is lost with a job whose sets are all damaged.
	if err := r.svc.DeleteJobAndSets(ctx, r.admin, bad[0].Job); err != nil {
		t.Errorf("a damaged set: %v", err)
	}
}

package service_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// secondRepository holds copies of sets.
func (r *rig) secondRepository() holdfast.Repository {
	r.t.Helper()
	repo, _, err := r.svc.CreateRepository(r.t.Context(), r.admin, service.NewRepository{Name: "second", Location: "file:///backup/second"})
	if err != nil {
		r.t.Fatal(err)
	}
	return repo
}

// copies imports sets from a repository, and returns what became of them.
func (r *rig) copies(from holdfast.Repository, sets ...service.FoundSet) []service.Imported {
	r.t.Helper()
	return must(r.svc.ImportSets(r.t.Context(), r.admin, service.Import{Repository: from.ID, Host: r.hosts[0].ID, Sets: sets}))(r.t)
}

// copied is the set's copy in another repository, as repository copy makes it.
func copied(f service.FoundSet) service.FoundSet {
	f.Snapshot = fmt.Sprintf("%064x", 0xc0000+int(f.Set.ID))
	return f
}

// TestImportOfASecondCopy has a repository and its copy, in both orders: the sets are
// known once, and their copies twice.
func TestImportOfASecondCopy(t *testing.T) {
	t.Parallel()
	for name, swap := range map[string]bool{"the repository first": false, "the copy first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			ctx := t.Context()
			second := r.secondRepository()
			first := []service.FoundSet{foundSet(1), foundSet(2)}
			then := []service.FoundSet{copied(foundSet(1)), copied(foundSet(2)), copied(foundSet(3))}
			if swap {
				first, then[0], then[1] = []service.FoundSet{then[0], then[1]}, first[0], first[1]
			}
			r.imports(first...)
			must(r.svc.ConfirmSet(ctx, r.admin, 2002))(t)
			before := r.rows()
			ask := service.Import{Repository: second.ID, Host: r.hosts[0].ID, DryRun: true, Sets: then}
			plan := must(r.svc.ImportSets(ctx, r.admin, ask))(t)
			if !reflect.DeepEqual(r.rows(), before) {
				t.Error("a dry run has changed something")
			}
			done := r.copies(second, then...)
			if states := fmt.Sprint(done[0].State, done[1].State, done[2].State); states != "copycopynew" || !reflect.DeepEqual(done, plan) {
				t.Errorf("got %+v, planned was %+v", done, plan)
			}
			v := must(r.svc.Set(ctx, r.admin, 2002))(t)
			if c := v.Copies; len(c) != 2 || c[0].State != holdfast.CopyComplete || c[1].State != holdfast.CopyUnconfirmed || c[1].Repository != second.ID ||
				c[1].Snapshot != then[1].Snapshot || c[1].Origin != origin || c[1].Execution != 3002 || c[1].Fence != 1 {
				t.Errorf("got the copies %+v", v.Copies)
			}
			before = r.rows()
			for _, v := range r.copies(second, then...) {
				if v.State != service.ImportKnown {
					t.Errorf("again: got %+v", v)
				}
			}
			if !reflect.DeepEqual(r.rows(), before) {
				t.Error("the second import has changed something")
			}
			v = must(r.svc.ConfirmSet(ctx, r.admin, 2002))(t)
			if v.Copies[0].State != holdfast.CopyComplete || v.Copies[1].State != holdfast.CopyComplete {
				t.Errorf("confirmed: got %+v", v.Copies)
			}
			if err := r.svc.DeleteSet(ctx, r.admin, 2001); err != nil {
				t.Fatal(err)
			}
			expired := 0
			r.update(func(tx store.Tx) error {
				list, err := tx.CopiesInState(ctx, holdfast.CopyExpired, 0)
				expired = len(list)
				return err
			})
			if expired != 2 {
				t.Errorf("got %d copies to be removed, want both", expired)
			}
			third := copied(foundSet(1))
			third.Snapshot = strings.Repeat("e", 64)
			if got := r.copies(second, third)[0]; got.State != service.ImportRefused {
				t.Errorf("a set that was dropped: got %+v", got)
			}
		})
	}
}

// TestImportedJobGoesOnWhereItsSetsAre: not into whatever its site has by default.
func TestImportedJobGoesOnWhereItsSetsAre(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	second := r.secondRepository()
	f := foundSet(1)
	f.SiteSlug = "berlin" // it is here, and its repository is the first
	r.copies(second, f)
	if j := must(r.svc.Job(t.Context(), r.admin, 1600))(t); j.Repository != second.ID {
		t.Errorf("got repository %d, want %d", j.Repository, second.ID)
	}
	made := foundSet(2)
	made.Set.Job = 1601
	r.copies(second, made)
	j, site := must(r.svc.Job(t.Context(), r.admin, 1601))(t), must(r.svc.SiteBySlug(t.Context(), r.admin, "rome"))(t)
	if j.Repository != 0 || site.Repository != second.ID {
		t.Errorf("of a site that was made: got repository %d, and %d of the site", j.Repository, site.Repository)
	}
}

// TestImportOfACopyOfAnOwnSet has the copy of a set that this installation has made:
// copied since, or known to a state that is lost.
func TestImportOfACopyOfAnOwnSet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	second := r.secondRepository()
	j := r.job(0, "nightly")
	e, mine := r.backup(j, holdfast.CopyComplete)
	mine.Started, mine.Stopped, mine.Bytes = start.Add(123456*time.Microsecond), start.Add(time.Hour), 1000
	r.update(func(tx store.Tx) error { return tx.UpdateSet(t.Context(), mine) })
	installation, _, err := r.svc.RepositoryCopies(t.Context(), r.admin, r.repo.ID, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	own := service.FoundSet{
		Snapshot: strings.Repeat("c", 64), Origin: installation, Fence: e.Fence, Set: mine, SiteSlug: "berlin", JobName: "nightly", Files: 10,
	}
	own.Set.Started = own.Set.Started.Add(789 * time.Nanosecond) // as the snapshot has it
	for want, change := range map[string]func(*service.FoundSet){
		"is another one here":        func(f *service.FoundSet) { f.Origin = origin },
		"another attempt":            func(f *service.FoundSet) { f.Fence++ },
		"its begin is":               func(f *service.FoundSet) { f.Set.Started = f.Set.Started.Add(time.Millisecond) },
		"its end is":                 func(f *service.FoundSet) { f.Set.Stopped = f.Set.Stopped.Add(time.Second) },
		"its size is 1, and 1000":    func(f *service.FoundSet) { f.Set.Bytes = 1 },
		"its run type is DELTA":      func(f *service.FoundSet) { f.Set.RunType = holdfast.RunDelta },
		"its system identifier is 9": func(f *service.FoundSet) { f.Set.Physical.SystemIdentifier = 9 },
		"its server's version is":    func(f *service.FoundSet) { f.Set.Physical.Version++ },
		"its timeline is":            func(f *service.FoundSet) { f.Set.Physical.Timeline++ },
		"its first LSN is":           func(f *service.FoundSet) { f.Set.Physical.StartLSN++ },
		"its last LSN is":            func(f *service.FoundSet) { f.Set.Physical.StopLSN++ },
	} {
		f := own
		change(&f)
		if got := r.copies(second, f)[0]; got.State != service.ImportRefused || !strings.Contains(got.Reason, want) || got.Hint == "" {
			t.Errorf("want %q, got %+v", want, got)
		}
	}
	if got := r.copies(r.repo, own)[0]; got.State != service.ImportRefused || !strings.Contains(got.Reason, "known here by another snapshot") {
		t.Errorf("a second snapshot in one repository: got %+v", got)
	}
	if got := r.copies(second, own)[0]; got.State != service.ImportCopy || got.Set != mine.ID {
		t.Errorf("got %+v", got)
	}
	v := must(r.svc.Set(t.Context(), r.admin, mine.ID))(t)
	if c := v.Copies; len(c) != 2 || c[1].Origin != "" || c[1].State != holdfast.CopyUnconfirmed || c[1].Repository != second.ID {
		t.Errorf("got the copies %+v", v.Copies)
	}
	if plan := must(r.svc.RetentionPlan(t.Context(), r.admin, j.ID))(t); plan.Good != 1 {
		t.Errorf("beside its good copy one that nobody has confirmed: got %+v", plan)
	}
	_, half := r.backup(r.job(0, "half"), holdfast.CopyOrphaned)
	f := own
	f.Snapshot, f.Set.ID, f.Set.Execution = strings.Repeat("d", 64), half.ID, half.Execution
	f.Set.Job = half.Job
	half.Started, half.Stopped, half.Bytes = mine.Started, mine.Stopped, mine.Bytes
	r.update(func(tx store.Tx) error { return tx.UpdateSet(t.Context(), half) })
	if got := r.copies(second, f)[0]; got.State != service.ImportRefused || !strings.Contains(got.Reason, "was dropped here") {
		t.Errorf("of a set that was never complete: got %+v", got)
	}
}

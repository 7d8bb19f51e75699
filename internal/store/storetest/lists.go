package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// page is what a page of a list should be.
func page[T any](all []T, p store.Page) []T {
	all = all[min(p.Offset, len(all)):]
	if p.Limit > 0 {
		all = all[:min(p.Limit, len(all))]
	}
	return all
}

func testJobs(t *testing.T, f *fixture) {
	munich := f.addSite(t, "munich", nil)
	weekly := f.addJob(t, munich, "weekly")
	idle := f.addJob(t, munich, "idle")
	gone := f.addJob(t, munich, "gone")
	restore := holdfast.Job{
		Account: f.account, Site: f.site.ID, Type: holdfast.JobRestore, Engine: "pglogical", Name: "restore", Active: true, Priority: 1,
		Restore: &holdfast.RestoreSpec{Directory: "/r"},
	}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		idle.Active = false
		gone.Deleted = at(1)
		return firstError(
			func() error { return tx.InsertJob(ctx, &restore) },
			func() error { return tx.UpdateJob(ctx, idle) },
			func() error { return tx.UpdateJob(ctx, gone) },
		)
	})
	for _, c := range []struct {
		name   string
		filter store.JobFilter
		want   []holdfast.Job
	}{
		{"all", store.JobFilter{}, []holdfast.Job{f.job, weekly, idle, restore}},
		{"by site", store.JobFilter{Sites: []holdfast.SiteID{munich.ID}}, []holdfast.Job{weekly, idle}},
		{"by sites", store.JobFilter{Sites: []holdfast.SiteID{f.site.ID, munich.ID}}, []holdfast.Job{f.job, weekly, idle, restore}},
		{"by a site that is not", store.JobFilter{Sites: []holdfast.SiteID{5}}, nil},
		{"by type", store.JobFilter{Types: []holdfast.JobType{holdfast.JobRestore}}, []holdfast.Job{restore}},
		{"active", store.JobFilter{ActiveOnly: true, Types: []holdfast.JobType{holdfast.JobBackup}}, []holdfast.Job{f.job, weekly}},
		{"by types", store.JobFilter{Types: []holdfast.JobType{holdfast.JobRestore, holdfast.JobBackup}}, []holdfast.Job{f.job, weekly, idle, restore}},
		{"by a type that no job has", store.JobFilter{Types: []holdfast.JobType{holdfast.JobETL}}, nil},
		{"by engine", store.JobFilter{Engine: holdfast.EnginePhysical}, []holdfast.Job{f.job, weekly, idle}},
		{"by another engine", store.JobFilter{Engine: "pglogical"}, []holdfast.Job{restore}},
		{"by engine, type and site", store.JobFilter{
			Engine: "pglogical", Types: []holdfast.JobType{holdfast.JobRestore}, Sites: []holdfast.SiteID{f.site.ID}, ActiveOnly: true,
		}, []holdfast.Job{restore}},
		{"by name", store.JobFilter{Name: "weekly"}, []holdfast.Job{weekly}},
		{"by name in another case", store.JobFilter{Name: "WeekLy"}, nil},
		{"by name in any case", store.JobFilter{Name: "WeekLy", AnyCase: true}, []holdfast.Job{weekly}},
		{"in any case, without a name", store.JobFilter{AnyCase: true, Sites: []holdfast.SiteID{munich.ID}}, []holdfast.Job{weekly, idle}},
		{"by name and site", store.JobFilter{Name: "weekly", Sites: []holdfast.SiteID{f.site.ID}}, nil},
	} {
		for _, p := range []store.Page{{}, {Limit: 1}, {Offset: 1, Limit: 2}, {Offset: 2}, {Offset: 100, Limit: 1}} {
			c.filter.Page = p
			f.view(t, func(ctx context.Context, r store.Reader) error {
				got, n, err := r.Jobs(ctx, f.account, c.filter)
				if n != len(c.want) {
					t.Errorf("%s: got %d jobs in all, want %d", c.name, n, len(c.want))
				}
				if want := page(c.want, p); len(got)+len(want) > 0 {
					wantEqual(t, fmt.Sprintf("%s, page %+v", c.name, p), got, want)
				}
				return err
			})
		}
	}
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "deleted job", gone)(r.Job(ctx, f.account, gone.ID))
		return nil
	})
}

func testRepositoryUsers(t *testing.T, f *fixture) {
	munich := f.addSite(t, "munich", nil)
	second := holdfast.Repository{Account: f.account, Name: "second"}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertRepository(ctx, &second) })
	users := func() (got map[holdfast.RepositoryID][]holdfast.SiteID) {
		f.view(t, func(ctx context.Context, r store.Reader) (err error) {
			got, err = r.RepositoryUsers(ctx, f.account)
			return err
		})
		return got
	}
	type byRepository = map[holdfast.RepositoryID][]holdfast.SiteID
	wantEqual(t, "users while no job names one", users(), byRepository{})
	var jobs []holdfast.Job
	for i, site := range []holdfast.Site{munich, f.site, f.site, munich, f.site} {
		j := f.addJob(t, site, fmt.Sprint("job ", i))
		j.Repository = f.repository.ID
		if i > 2 {
			j.Repository = second.ID
		}
		jobs = append(jobs, j)
		f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.UpdateJob(ctx, j) })
	}
	wantEqual(t, "users", users(), byRepository{f.repository.ID: {f.site.ID, munich.ID}, second.ID: {f.site.ID, munich.ID}})
	jobs[0].Deleted, jobs[3].Repository, jobs[4].Repository = at(1), 0, 0
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(
			func() error { return tx.UpdateJob(ctx, jobs[0]) },
			func() error { return tx.UpdateJob(ctx, jobs[3]) },
			func() error { return tx.UpdateJob(ctx, jobs[4]) },
		)
	})
	wantEqual(t, "users after a change", users(), byRepository{f.repository.ID: {f.site.ID}})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "users of another account", byRepository{})(r.RepositoryUsers(ctx, f.account+1))
		return nil
	})
}

// history fills the store with executions of several sites, jobs, types, states
// and parents, and returns them, the newest first.
func (f *fixture) history(t *testing.T, n int) []holdfast.Execution {
	t.Helper()
	munich := f.addSite(t, "munich", nil)
	jobs := []holdfast.Job{f.job, f.addJob(t, f.site, "second"), f.addJob(t, munich, "third")}
	restore := holdfast.Job{Account: f.account, Site: munich.ID, Type: holdfast.JobRestore, Name: "restore"}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertJob(ctx, &restore) })
	jobs = append(jobs, restore)
	statuses := queueStatuses()
	var all []holdfast.Execution
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		all = nil
		for i := range n {
			e := f.execution(jobs[i*i%7%len(jobs)])
			if i%22 == 11 {
				e = f.execution(restore)
			}
			e.Status = statuses[len(statuses)-1]
			if i%5 == 0 {
				e.Status = statuses[i/5%len(statuses)]
			}
			if i%11 == 0 && i > 0 {
				e.Parent = all[i/2].ID
			}
			e.Submitted = at(i)
			if e.State == holdfast.StateEnded {
				e.Ended = at(i + i*7%40) // not in the order in which they began
			}
			if err := tx.InsertExecution(ctx, &e); err != nil {
				return err
			}
			all = append(all, e)
		}
		return nil
	})
	slices.Reverse(all)
	return all
}

// selects is what a filter means.
func selects(f store.ExecutionFilter, all []holdfast.Execution, e holdfast.Execution) bool {
	restored := f.Restores && e.Type == holdfast.JobRestore && slices.ContainsFunc(all, func(p holdfast.Execution) bool {
		return p.ID == e.Parent && p.Job == f.Job
	})
	switch {
	case len(f.Sites) > 0 && !slices.Contains(f.Sites, e.Site),
		f.Job != 0 && f.Job != e.Job && !restored,
		len(f.Jobs) > 0 && !slices.Contains(f.Jobs, e.Job),
		f.Parent != 0 && f.Parent != e.Parent,
		len(f.Types) > 0 && !slices.Contains(f.Types, e.Type),
		!f.EndedSince.IsZero() && !e.Ended.IsZero() && e.Ended.Before(f.EndedSince),
		len(f.States) > 0 && !slices.Contains(f.States, e.State):
		return false
	}
	return true
}

func testExecutions(t *testing.T, f *fixture) {
	all := f.history(t, 220)
	rapid.Check(t, func(rt *rapid.T) {
		filter := store.ExecutionFilter{
			Sites:    rapid.SliceOfN(rapid.SampledFrom([]holdfast.SiteID{f.site.ID, f.site.ID + 1, 7}), 0, 2).Draw(rt, "sites"),
			Job:      holdfast.JobID(rapid.SampledFrom([]int64{0, 0, 0, 1001, 1003, 7}).Draw(rt, "job")),
			Restores: rapid.Bool().Draw(rt, "restores"),
			Jobs:     rapid.SliceOfN(rapid.SampledFrom([]holdfast.JobID{1001, 1002, 1004, 7}), 0, 3).Draw(rt, "jobs"),
			Types:    rapid.SliceOfN(rapid.SampledFrom([]holdfast.JobType{holdfast.JobBackup, holdfast.JobRestore, holdfast.JobETL}), 0, 2).Draw(rt, "types"),
			States: rapid.SliceOfNDistinct(rapid.SampledFrom(holdfast.States()), 0, len(holdfast.States()),
				func(s holdfast.State) holdfast.State { return s }).Draw(rt, "states"),
			Page: store.Page{Offset: rapid.IntRange(0, 240).Draw(rt, "offset"), Limit: rapid.IntRange(0, 30).Draw(rt, "limit")},
		}
		if rapid.IntRange(0, 2).Draw(rt, "by end") == 0 {
			filter.EndedSince = at(rapid.IntRange(-1, 270).Draw(rt, "ended since"))
		}
		if rapid.IntRange(0, 3).Draw(rt, "by parent") == 0 {
			filter.Parent = rapid.SampledFrom(all).Draw(rt, "parent").Parent
		}
		account := rapid.SampledFrom([]holdfast.AccountID{f.account, 0}).Draw(rt, "account")
		var want []holdfast.Execution
		for _, e := range all {
			if selects(filter, all, e) {
				want = append(want, e)
			}
		}
		check := func(r store.Reader) error {
			got, n, err := r.Executions(t.Context(), account, filter)
			if err != nil {
				return err
			}
			if n != len(want) {
				rt.Errorf("got %d executions in all, want %d", n, len(want))
			}
			if w := page(want, filter.Page); !slices.Equal(executionIDs(got), executionIDs(w)) {
				rt.Errorf("got executions %v, want %v", executionIDs(got), executionIDs(w))
			}
			return nil
		}
		if err := f.View(t.Context(), check); err != nil {
			rt.Fatal(err)
		}
		if rapid.IntRange(0, 9).Draw(rt, "in an update too") == 0 {
			if err := f.Update(t.Context(), func(tx store.Tx) error { return check(tx) }); err != nil {
				rt.Fatal(err)
			}
		}
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		got, _, err := r.Executions(ctx, f.account, store.ExecutionFilter{Page: store.Page{Limit: 3}})
		wantEqual(t, "whole rows", got, all[:3])
		return err
	})
}

func executionIDs(list []holdfast.Execution) []holdfast.ExecutionID {
	ids := make([]holdfast.ExecutionID, 0, len(list))
	for _, e := range list {
		ids = append(ids, e.ID)
	}
	return ids
}

// testPages walks a list page by page, while executions move and others come.
func testPages(t *testing.T, f *fixture) {
	all := f.history(t, 103)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		var walked []holdfast.ExecutionID
		for offset := 0; ; offset += 10 {
			got, n, err := r.Executions(ctx, f.account, store.ExecutionFilter{Page: store.Page{Offset: offset, Limit: 10}})
			if err != nil {
				return err
			}
			if n != len(all) {
				t.Errorf("at %d: got %d in all, want %d", offset, n, len(all))
			}
			if len(got) == 0 {
				break
			}
			walked = append(walked, executionIDs(got)...)
			if offset%30 == 0 { // the snapshot does not see it
				f.add(t, f.job, nil)
			}
		}
		wantEqual(t, "walked", walked, executionIDs(all))
		return nil
	})
}

func testSets(t *testing.T, f *fixture) {
	munich := f.addSite(t, "munich", nil)
	states := []holdfast.CopyState{
		holdfast.CopyComplete, holdfast.CopyWriting, holdfast.CopyVerified, holdfast.CopyDamaged, holdfast.CopyUnconfirmed,
		holdfast.CopyDeleted, holdfast.CopyOrphaned, holdfast.CopyComplete, holdfast.CopyExpired,
	}
	var visible []holdfast.BackupSet
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		visible = nil
		for i, state := range states {
			s := holdfast.BackupSet{Account: f.account, Site: f.site.ID, Job: f.job.ID, Created: at(i)}
			if i%2 == 1 {
				s.Site, s.Job = munich.ID, 0
			}
			if err := tx.InsertSet(ctx, &s); err != nil {
				return err
			}
			c := holdfast.Copy{Account: f.account, Set: s.ID, Repository: f.repository.ID, State: state}
			if err := tx.InsertCopy(ctx, &c); err != nil {
				return err
			}
			if c.Readable() {
				// A second copy, which does not list the set twice.
				second := holdfast.Copy{Account: f.account, Set: s.ID, Repository: f.repository.ID, State: holdfast.CopyComplete}
				if err := tx.InsertCopy(ctx, &second); err != nil {
					return err
				}
				visible = append(visible, s)
			}
		}
		return nil
	})
	slices.Reverse(visible)
	for _, c := range []struct {
		name   string
		filter store.SetFilter
		want   func(holdfast.BackupSet) bool
	}{
		{"all", store.SetFilter{}, func(holdfast.BackupSet) bool { return true }},
		{"by site", store.SetFilter{Sites: []holdfast.SiteID{munich.ID}}, func(s holdfast.BackupSet) bool { return s.Site == munich.ID }},
		{"by job", store.SetFilter{Job: f.job.ID}, func(s holdfast.BackupSet) bool { return s.Job == f.job.ID }},
		{"by id", store.SetFilter{IDs: []holdfast.SetID{1001, 1002, 1003, 7}}, func(s holdfast.BackupSet) bool { return s.ID <= 1003 }},
		{"gone too, that are not", store.SetFilter{Gone: true, IDs: []holdfast.SetID{1001, 1002, 1003, 7}}, func(s holdfast.BackupSet) bool { return s.ID <= 1003 }},
		{"by site and job", store.SetFilter{Job: f.job.ID, Sites: []holdfast.SiteID{munich.ID}}, func(holdfast.BackupSet) bool { return false }},
	} {
		var want []holdfast.BackupSet
		for _, s := range visible {
			if c.want(s) {
				want = append(want, s)
			}
		}
		for _, p := range []store.Page{{}, {Limit: 2}, {Offset: 1, Limit: 1}, {Offset: 50, Limit: 1}} {
			c.filter.Page = p
			f.view(t, func(ctx context.Context, r store.Reader) error {
				got, n, err := r.Sets(ctx, f.account, c.filter)
				if n != len(want) {
					t.Errorf("%s: got %d sets in all, want %d", c.name, n, len(want))
				}
				if w := page(want, p); len(got)+len(w) > 0 {
					wantEqual(t, fmt.Sprintf("%s, page %+v", c.name, p), got, w)
				}
				return err
			})
		}
	}
}

// testGoneSets: a set that a reader has seen is told from one that was never
// finished.
func testGoneSets(t *testing.T, f *fixture) {
	var sets [3]holdfast.BackupSet
	var copies [3]holdfast.Copy
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		for i := range sets {
			sets[i] = holdfast.BackupSet{Account: f.account, Site: f.site.ID, Job: f.job.ID, Created: at(i)}
			if err := tx.InsertSet(ctx, &sets[i]); err != nil {
				return err
			}
			copies[i] = holdfast.Copy{Account: f.account, Set: sets[i].ID, Repository: f.repository.ID, State: holdfast.CopyWriting}
			if err := tx.InsertCopy(ctx, &copies[i]); err != nil {
				return err
			}
		}
		return nil
	})
	move := func(i int, states ...holdfast.CopyState) {
		f.update(t, func(ctx context.Context, tx store.Tx) error {
			c := copies[i]
			for _, s := range states {
				next := c
				next.State = s
				if err := tx.MoveCopy(ctx, c, next); err != nil {
					return err
				}
				c = next
			}
			return nil
		})
	}
	move(0, holdfast.CopyComplete, holdfast.CopyExpired, holdfast.CopyDeleted)
	move(1, holdfast.CopyOrphaned, holdfast.CopyDeleted)
	move(2, holdfast.CopyComplete)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		for _, c := range []struct {
			filter store.SetFilter
			want   []holdfast.BackupSet
		}{
			{store.SetFilter{}, []holdfast.BackupSet{sets[2]}},
			{store.SetFilter{Gone: true}, []holdfast.BackupSet{sets[2], sets[0]}},
			{store.SetFilter{Gone: true, Sites: []holdfast.SiteID{f.site.ID}}, []holdfast.BackupSet{sets[2], sets[0]}},
			{store.SetFilter{Gone: true, Job: f.job.ID, Page: store.Page{Offset: 1, Limit: 5}}, []holdfast.BackupSet{sets[0]}},
		} {
			got, n, err := r.Sets(ctx, f.account, c.filter)
			if err != nil {
				return err
			}
			if want := len(c.want) + c.filter.Page.Offset; n != want {
				t.Errorf("%+v: got %d in all, want %d", c.filter, n, want)
			}
			wantEqual(t, fmt.Sprintf("%+v", c.filter), got, c.want)
		}
		return nil
	})
}

func testCopies(t *testing.T, f *fixture) {
	var set holdfast.BackupSet
	var first, second holdfast.Copy
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		set = holdfast.BackupSet{Account: f.account, Site: f.site.ID}
		if err := tx.InsertSet(ctx, &set); err != nil {
			return err
		}
		first = holdfast.Copy{Account: f.account, Set: set.ID, Repository: f.repository.ID, State: holdfast.CopyWriting, Execution: 1001, Fence: 1, Intended: at(1)}
		second = holdfast.Copy{Account: f.account, Set: set.ID, Repository: f.repository.ID, State: holdfast.CopyWriting, Execution: 1001, Fence: 2, Snapshot: "b"}
		return firstError(
			func() error { return tx.InsertCopy(ctx, &first) },
			func() error { return tx.InsertCopy(ctx, &second) },
		)
	})
	type list = []holdfast.Copy
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "copies of the set", list{first, second})(r.Copies(ctx, f.account, set.ID))
		same(t, "copies being written", list{first, second})(r.CopiesInState(ctx, holdfast.CopyWriting, 0))
		same(t, "one copy being written", list{first})(r.CopiesInState(ctx, holdfast.CopyWriting, 1))
		same(t, "complete copies", list(nil))(r.CopiesInState(ctx, holdfast.CopyComplete, 5))
		same(t, "copies in other repositories", list{first, second})(r.CopiesInState(ctx, holdfast.CopyWriting, 5, f.repository.ID+1))
		same(t, "copies without the repository", list(nil))(r.CopiesInState(ctx, holdfast.CopyWriting, 5, f.repository.ID+1, f.repository.ID))
		same(t, "copy by fence", second)(r.CopyByFence(ctx, 1001, 2))
		code[holdfast.Copy](t, "copy by another fence", holdfast.CodeNotFound)(r.CopyByFence(ctx, 1001, 3))
		return nil
	})
	done := first
	done.State, done.Snapshot, done.Verified = holdfast.CopyComplete, "a", at(2)
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.MoveCopy(ctx, first, done) })
	f.refused(t, "move from another state", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		orphan := first
		orphan.State = holdfast.CopyOrphaned
		return tx.MoveCopy(ctx, first, orphan)
	})
	f.refused(t, "move to another set", holdfast.CodeInternal, func(ctx context.Context, tx store.Tx) error {
		other := done
		other.Set++
		return tx.MoveCopy(ctx, done, other)
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "copies after a move", list{done, second})(r.Copies(ctx, f.account, set.ID))
		same(t, "copies of sets", map[holdfast.SetID]list{set.ID: {done, second}})(r.CopiesOf(ctx, f.account, []holdfast.SetID{5, set.ID}))
		same(t, "copies of sets in any account", map[holdfast.SetID]list{set.ID: {done, second}})(r.CopiesOf(ctx, 0, []holdfast.SetID{set.ID}))
		same(t, "copies of another account's sets", map[holdfast.SetID]list{})(r.CopiesOf(ctx, f.account+1, []holdfast.SetID{set.ID}))
		same(t, "copies of no sets", map[holdfast.SetID]list{})(r.CopiesOf(ctx, f.account, nil))
		return nil
	})
}

func testReserve(t *testing.T, f *fixture) {
	var reserved, next holdfast.SetID
	f.update(t, func(ctx context.Context, tx store.Tx) (err error) {
		reserved, err = tx.ReserveSetID(ctx)
		return err
	})
	if reserved != holdfast.FirstID {
		t.Errorf("got id %d first, want %d", reserved, holdfast.FirstID)
	}
	f.update(t, func(ctx context.Context, tx store.Tx) (err error) {
		next, err = tx.ReserveSetID(ctx)
		return err
	})
	other := holdfast.BackupSet{Account: f.account, Site: f.site.ID}
	set := holdfast.BackupSet{ID: reserved, Account: f.account, Site: f.site.ID}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(
			func() error { return tx.InsertSet(ctx, &other) },
			func() error { return tx.InsertSet(ctx, &set) },
		)
	})
	if set.ID != reserved || other.ID <= next || next <= reserved {
		t.Errorf("got reserved %d and %d, sets %d and %d; want all different, and the reserved one kept", reserved, next, set.ID, other.ID)
	}
	// Ids may come from elsewhere (an import): the sequence goes on above them.
	imported := holdfast.BackupSet{ID: 5000, Account: f.account, Site: f.site.ID}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertSet(ctx, &imported) })
	f.update(t, func(ctx context.Context, tx store.Tx) (err error) {
		next, err = tx.ReserveSetID(ctx)
		return err
	})
	if next != 5001 {
		t.Errorf("got id %d after set 5000, want 5001", next)
	}
	f.refused(t, "id below the first", holdfast.CodeInternal, func(ctx context.Context, tx store.Tx) error {
		return tx.InsertSet(ctx, &holdfast.BackupSet{ID: 2, Account: f.account, Site: f.site.ID})
	})
}

func testWorkers(t *testing.T, f *fixture) {
	first := holdfast.Worker{Account: f.account, Name: "w", Key: "U1", Created: at(1)}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertWorker(ctx, &first) })
	f.refused(t, "a name in use", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		return tx.InsertWorker(ctx, &holdfast.Worker{Account: f.account, Name: "w", Key: "U2"})
	})
	first.Removed = at(2)
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.UpdateWorker(ctx, first) })
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "removed worker by name", first)(r.WorkerByName(ctx, f.account, "w"))
		same(t, "removed worker by key", first)(r.WorkerByKey(ctx, "U1"))
		return nil
	})
	second := holdfast.Worker{Account: f.account, Name: "w", Key: "U2", Created: at(3)}
	local := holdfast.Worker{Name: "local"}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(func() error { return tx.InsertWorker(ctx, &second) }, func() error { return tx.InsertWorker(ctx, &local) })
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "worker with the name of a removed one", second)(r.WorkerByName(ctx, f.account, "w"))
		same(t, "worker without a key", local)(r.WorkerByName(ctx, 0, "local"))
		code[holdfast.Worker](t, "the installation's in an account", holdfast.CodeNotFound)(r.WorkerByName(ctx, f.account, "local"))
		same(t, "all", []holdfast.Worker{first, second, local})(r.Workers(ctx))
		return nil
	})
	acme := holdfast.Account{Organisation: holdfast.FirstID, Name: "acme"}
	other := holdfast.Worker{Name: "w", Key: "U3", Created: at(4)}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertAccount(ctx, &acme); err != nil {
			return err
		}
		other.Account = acme.ID
		return tx.InsertWorker(ctx, &other)
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "worker of a name that another account has, too", other)(r.WorkerByName(ctx, acme.ID, "w"))
		same(t, "that other", second)(r.WorkerByName(ctx, f.account, "w"))
		return nil
	})
	f.refused(t, "a removed worker that comes back to a name in use", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		back := first
		back.Removed = second.Removed
		return tx.UpdateWorker(ctx, back)
	})
}

package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// fullSpec is what an ETL does, with every field set.
func fullSpec(sites ...holdfast.SiteID) *holdfast.ETLSpec {
	return &holdfast.ETLSpec{
		Service: true, Definition: "name: größe\n", Sites: sites,
		Configurations: []holdfast.RunConfiguration{
			{ID: 1001, Name: "Default", Active: true, Properties: map[string]string{"day": "\"1\""}}, {ID: 1002, Name: "other"},
		},
		Recurrence: &holdfast.Recurrence{Start: at(33), Period: time.Hour, Armed: true}, Aborted: true,
	}
}

// fullRun is what is particular to an execution of an ETL, with every field set.
func fullRun() *holdfast.ETLRun {
	return &holdfast.ETLRun{Service: true, Properties: map[string]string{"a.b": "ß"}, Removed: []string{"c"}, Simulate: true, Identity: "k7w2mmq4ab2c5d6e", Version: 3}
}

func (f *fixture) addETL(t testing.TB, s holdfast.Site, name string, change func(*holdfast.Job)) holdfast.Job {
	t.Helper()
	j := holdfast.Job{
		Account: s.Account, Site: s.ID, Type: holdfast.JobETL, Engine: holdfast.EngineETL, Name: name, Active: true, Priority: holdfast.DefaultPriority,
		ETL: fullSpec(s.ID), Created: start(),
	}
	if change != nil {
		change(&j)
	}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		j.ID = 0
		return tx.InsertJob(ctx, &j)
	})
	return j
}

func testETLs(t *testing.T, f *fixture) {
	etls := func(want ...holdfast.Job) {
		t.Helper()
		for i := range want {
			spec := *want[i].ETL
			spec.Definition = ""
			want[i].ETL, want[i].Annotations = &spec, nil
		}
		f.view(t, func(ctx context.Context, r store.Reader) error {
			same(t, "ETLs", want)(r.ETLs(ctx, f.account))
			same(t, "ETLs of another account", []holdfast.Job(nil))(r.ETLs(ctx, f.account+1))
			return nil
		})
	}
	etls()
	paris := f.addSite(t, "paris", nil)
	first := f.addETL(t, f.site, "first", func(j *holdfast.Job) { j.Annotations = map[string]json.RawMessage{"bmc": json.RawMessage(`{"a":1}`)} })
	second := f.addETL(t, f.site, "second", func(j *holdfast.Job) { j.ETL.Sites = append(j.ETL.Sites, paris.ID) })
	etls(first, second)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "ETL", first)(r.Job(ctx, f.account, first.ID))
		jobs, _, err := r.Jobs(ctx, f.account, store.JobFilter{Types: []holdfast.JobType{holdfast.JobETL}})
		wantEqual(t, "ETL jobs", jobs, []holdfast.Job{first, second})
		return err
	})

	deleteSite := func(ctx context.Context, tx store.Tx) error { return tx.DeleteSite(ctx, f.account, paris.ID) }
	f.refused(t, "site that an ETL names", holdfast.CodeConflict, deleteSite)
	first.ETL.Definition, first.ETL.Recurrence, first.Name = "changed", nil, "renamed"
	second.Deleted = at(1)
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(func() error { return tx.UpdateJob(ctx, first) }, func() error { return tx.UpdateJob(ctx, second) })
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "changed ETL", first)(r.Job(ctx, f.account, first.ID))
		same(t, "deleted ETL", second)(r.Job(ctx, f.account, second.ID))
		return nil
	})
	etls(first)
	f.update(t, deleteSite)
	third := f.addETL(t, f.site, "third", nil)
	second.Deleted = time.Time{}
	second.Name = "again"
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.UpdateJob(ctx, second) })
	etls(first, second, third)
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		third.Name = "renamed in vain"
		if err := tx.UpdateJob(ctx, third); err != nil {
			return err
		}
		short := *third.ETL
		short.Definition = ""
		third.ETL = &short
		list, err := tx.ETLs(ctx, f.account)
		wantEqual(t, "an ETL inside its transaction", list[len(list)-1], third)
		return err
	})
	etls(first, second, third)
}

// testETLListModel changes ETLs at random, and compares the list with them.
func testETLListModel(t *testing.T, f *fixture) {
	names := 0
	rapid.Check(t, func(rt *rapid.T) {
		account := holdfast.Account{Organisation: holdfast.FirstID, Name: fmt.Sprint("model ", names)}
		site := holdfast.Site{Slug: "s"}
		do := func(fn func(context.Context, store.Tx) error) {
			if err := f.Update(t.Context(), func(tx store.Tx) error { return fn(t.Context(), tx) }); err != nil {
				rt.Fatal(err)
			}
		}
		do(func(ctx context.Context, tx store.Tx) error {
			account.ID, site.ID = 0, 0
			if err := tx.InsertAccount(ctx, &account); err != nil {
				return err
			}
			h := holdfast.Host{Account: account.ID, Name: "h"}
			if err := tx.InsertHost(ctx, &h); err != nil {
				return err
			}
			site.Account, site.Host = account.ID, h.ID
			return tx.InsertSite(ctx, &site)
		})
		names++
		var all []holdfast.Job
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			names++
			if len(all) == 0 || rapid.IntRange(0, 3).Draw(rt, "make") == 0 {
				j := holdfast.Job{
					Account: account.ID, Site: site.ID, Name: fmt.Sprint(names), ETL: fullSpec(site.ID),
					Type: rapid.SampledFrom([]holdfast.JobType{holdfast.JobETL, holdfast.JobETL, holdfast.JobBackup}).Draw(rt, "type"),
				}
				do(func(ctx context.Context, tx store.Tx) error { j.ID = 0; return tx.InsertJob(ctx, &j) })
				all = append(all, j)
			} else {
				j := &all[rapid.IntRange(0, len(all)-1).Draw(rt, "job")]
				j.Name, j.Deleted = fmt.Sprint(names), time.Time{}
				if rapid.Bool().Draw(rt, "deleted") {
					j.Deleted = at(1)
				}
				do(func(ctx context.Context, tx store.Tx) error { return tx.UpdateJob(ctx, *j) })
			}
			if rapid.Bool().Draw(rt, "look away") {
				continue
			}
			var want []string
			for _, j := range all {
				if j.Type == holdfast.JobETL && j.Deleted.IsZero() {
					want = append(want, j.Name)
				}
			}
			var got []string
			f.view(t, func(ctx context.Context, r store.Reader) error {
				list, err := r.ETLs(ctx, account.ID)
				for _, j := range list {
					got = append(got, j.Name)
				}
				return err
			})
			if !slices.Equal(got, want) {
				rt.Fatalf("got ETLs %v, want %v", got, want)
			}
		}
	})
}

func testRunConfigurationIDs(t *testing.T, f *fixture) {
	var got []holdfast.RunConfigurationID
	take := func(ctx context.Context, tx store.Tx) error {
		id, err := tx.ReserveRunConfigurationID(ctx)
		got = append(got, id)
		return err
	}
	f.update(t, take)
	f.update(t, take)
	wantEqual(t, "run configurations", got, []holdfast.RunConfigurationID{holdfast.FirstID, holdfast.FirstID + 1})
}

func testLiveOfJob(t *testing.T, f *fixture) {
	j := f.addETL(t, f.site, "etl", nil)
	plain := func(s holdfast.State) func(*holdfast.Execution) {
		return func(e *holdfast.Execution) {
			e.ETL, e.State = fullRun(), s
			if s == holdfast.StateSuspended {
				e.Wanted = holdfast.WantSuspend
			}
		}
	}
	var want []holdfast.Execution
	for _, s := range []holdfast.State{holdfast.StatePlanned, holdfast.StateQueued, holdfast.StateSuspended, holdfast.StateQueued} {
		want = append(want, f.add(t, j, plain(s)))
	}
	want[3] = f.move(t, want[3], holdfast.MoveStart)
	f.move(t, f.add(t, j, plain(holdfast.StateQueued)), holdfast.MoveKill)
	f.add(t, f.job, nil)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "live executions of a job", want)(r.LiveOfJob(ctx, j.ID))
		same(t, "live executions of no job", []holdfast.Execution(nil))(r.LiveOfJob(ctx, 5))
		return nil
	})
}

func testEndedSoAgain(t *testing.T, f *fixture) {
	end := func(j holdfast.Job, m holdfast.Move) holdfast.Execution {
		return f.move(t, f.move(t, f.add(t, j, nil), holdfast.MoveStart), m)
	}
	good, bad, again := end(f.job, holdfast.MoveSucceed), end(f.job, holdfast.MoveFail), end(f.job, holdfast.MoveSucceed)
	other := f.addJob(t, f.site, "other")
	end(other, holdfast.MoveFail)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		for _, c := range []struct {
			of   holdfast.Execution
			want bool
		}{{good, true}, {bad, false}, {again, false}} {
			same(t, "ended so again", c.want)(r.EndedSoAgain(ctx, c.of))
		}
		return nil
	})
}

func testETLHistory(t *testing.T, f *fixture) {
	j, other := f.addETL(t, f.site, "etl", nil), f.addETL(t, f.site, "other", nil)
	history := func(what string, want store.ETLHistory) {
		t.Helper()
		f.view(t, func(ctx context.Context, r store.Reader) error {
			same(t, "history "+what, want)(r.ETLHistory(ctx, j.ID))
			return nil
		})
	}
	begin := func() *holdfast.Execution {
		e := f.add(t, j, func(e *holdfast.Execution) { e.ETL = fullRun() })
		return &e
	}
	now := 0
	move := func(e *holdfast.Execution, m holdfast.Move) *holdfast.Execution {
		next := *e
		var err error
		if next.Status, err = e.Next(m); err != nil {
			t.Fatal(err)
		}
		now++
		if m == holdfast.MoveStart && next.Started.IsZero() {
			next.Started = at(now)
		}
		if next.State == holdfast.StateEnded {
			next.Ended = at(now)
		}
		f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.MoveExecution(ctx, *e, next) })
		return &next
	}
	history("of nothing", store.ETLHistory{})
	planned := begin()
	f.add(t, other, nil)
	first := begin()
	history("of one that waits", store.ETLHistory{})
	cancelled := move(begin(), holdfast.MoveStop)
	history("of one that was cancelled", store.ETLHistory{Ended: cancelled})
	first = move(first, holdfast.MoveStart)
	history("of one that runs", store.ETLHistory{Ended: cancelled, Started: first})
	first = move(first, holdfast.MoveSucceed)
	history("of one that ran", store.ETLHistory{Ended: first, Started: first, Finished: first})
	second := move(begin(), holdfast.MoveStart)
	later := move(begin(), holdfast.MoveKill)
	history("of one that runs after others", store.ETLHistory{Ended: later, Started: second, Finished: first})
	retried := move(second, holdfast.MoveRetry)
	history("of one that waits for another start", store.ETLHistory{Ended: later, Started: retried, Finished: first})
	second = move(move(retried, holdfast.MoveStart), holdfast.MoveFail)
	history("of two that ran", store.ETLHistory{Ended: second, Started: second, Finished: second})
	planned = move(planned, holdfast.MoveStart)
	history("of one that runs and was planned before them", store.ETLHistory{Ended: second, Started: planned, Finished: second})
	planned = move(planned, holdfast.MoveFail)
	history("of one that ran and was planned before them", store.ETLHistory{Ended: planned, Started: planned, Finished: planned})
	now -= 100 // the clock is set back
	last := move(begin(), holdfast.MoveStart)
	history("of one that runs after the clock was set back", store.ETLHistory{Ended: planned, Started: last, Finished: planned})
	last = move(last, holdfast.MoveFail)
	history("of one that ran after the clock was set back", store.ETLHistory{Ended: last, Started: last, Finished: last})
}

func testETLStart(t *testing.T, f *fixture) {
	paris := f.addSite(t, "paris", nil)
	j := f.addETL(t, f.site, "etl", func(j *holdfast.Job) { j.ETL.Sites = append(j.ETL.Sites, paris.ID) })
	e := f.add(t, j, func(e *holdfast.Execution) { e.ETL = fullRun() })
	other := f.add(t, j, func(e *holdfast.Execution) { e.ETL = fullRun() })
	want, err := j.ETL.StartOf([]holdfast.Site{f.site, paris})
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Servers) != 2 || len(want.Spec.Configurations) != 1 || want.Spec.Definition == "" {
		t.Fatalf("got %+v, want two servers, the active run configuration and the definition", want)
	}
	none := func(what string, id holdfast.ExecutionID) {
		t.Helper()
		f.view(t, func(ctx context.Context, r store.Reader) error {
			if got, err := r.ETLStart(ctx, id); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
				t.Errorf("start of %s: got %+v and error %v, want %s", what, got, err, holdfast.CodeNotFound)
			}
			return nil
		})
	}
	keep := func(ctx context.Context, tx store.Tx) error { return tx.KeepETLStart(ctx, e.ID, want) }
	none("one that has not started", e.ID)
	f.update(t, keep)
	f.refused(t, "another start", holdfast.CodeConflict, keep)
	e = f.move(t, e, holdfast.MoveStart)
	e = f.move(t, e, holdfast.MoveRetry)

	j.ETL.Definition, j.ETL.Sites = "changed", []holdfast.SiteID{f.site.ID}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.UpdateJob(ctx, j) })
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "start of one whose job has changed", want)(r.ETLStart(ctx, e.ID))
		return nil
	})
	none("another", other.ID)
	deleteSite := func(ctx context.Context, tx store.Tx) error { return tx.DeleteSite(ctx, f.account, paris.ID) }
	f.refused(t, "site that an execution has started with", holdfast.CodeConflict, deleteSite)
	f.move(t, e, holdfast.MoveKill)
	none("one that has ended", e.ID)
	f.update(t, deleteSite)
}

func testMoveETLRun(t *testing.T, f *fixture) {
	j := f.addETL(t, f.site, "etl", nil)
	e := f.add(t, j, func(e *holdfast.Execution) { e.ETL = &holdfast.ETLRun{Service: true} })
	e = f.move(t, e, holdfast.MoveStart)
	run := func(prev holdfast.Execution, next holdfast.ETLRun) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error { return tx.MoveETLRun(ctx, prev, next) }
	}
	next := holdfast.ETLRun{Service: true, Properties: map[string]string{"a": "1"}, Version: 1}
	f.update(t, run(e, next))
	now := e
	now.ETL = &next
	wantEqual(t, "execution with other properties", f.read(t, e.ID), now)

	later := next
	later.Version = 2
	f.refused(t, "properties over an older version", holdfast.CodeConflict, run(e, later))
	f.refused(t, "the same version", holdfast.CodeInternal, run(now, next))
	batch := later
	batch.Service = false
	f.refused(t, "a batch in place of a service", holdfast.CodeInternal, run(now, batch))
	another := later
	another.Identity = "another"
	f.refused(t, "another identity", holdfast.CodeInternal, run(now, another))
	f.refused(t, "properties of no ETL", holdfast.CodeInternal, run(f.add(t, f.job, nil), later))

	// Who read it before moves it, and does not undo the properties.
	stopped := e
	var err error
	if stopped.Status, err = e.Next(holdfast.MoveStop); err != nil {
		t.Fatal(err)
	}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.MoveExecution(ctx, e, stopped) })
	f.refused(t, "properties beside another wish", holdfast.CodeConflict, run(now, later))
	now = f.read(t, e.ID)
	wantEqual(t, "properties after a move", *now.ETL, next)
	now = f.move(t, now, holdfast.MoveRest)
	f.refused(t, "properties of what has ended", holdfast.CodeConflict, run(now, later))
	wantEqual(t, "execution at its end", f.read(t, e.ID), now)
	none := now
	none.ID = 999999
	f.refused(t, "properties of nothing", holdfast.CodeNotFound, run(none, later))
}

func testServiceSlots(t *testing.T, f *fixture) {
	ask := func(batch, service bool) store.Ask {
		return store.Ask{Pool: holdfast.DefaultPool, Hosts: []holdfast.HostID{f.host.ID}, Now: at(10), Batch: batch, Service: service}
	}
	next := func(what string, both, batch, service holdfast.ExecutionID) {
		t.Helper()
		f.wantNext(t, what+", room for both", ask(true, true), both)
		f.wantNext(t, what+", room for a batch", ask(true, false), batch)
		f.wantNext(t, what+", room for a service", ask(false, true), service)
		f.wantNext(t, what+", no room", ask(false, false), 0)
	}
	next("an empty queue", 0, 0, 0)
	backup := f.add(t, f.job, func(e *holdfast.Execution) { e.Due = at(3) })
	next("a backup", backup.ID, backup.ID, 0)
	// Many services before it, more than anyone looks at one by one.
	var services []holdfast.Execution
	for i := range 40 {
		j := f.addETL(t, f.site, fmt.Sprint("service ", i), nil)
		services = append(services, f.add(t, j, func(e *holdfast.Execution) { e.ETL, e.Due = &holdfast.ETLRun{Service: true}, at(1) }))
	}
	first, second := services[0], services[1]
	next("services that are due for longer", first.ID, backup.ID, first.ID)
	batch := f.add(t, f.addETL(t, f.site, "batch", nil), func(e *holdfast.Execution) { e.ETL, e.Due = &holdfast.ETLRun{}, at(2) })
	next("a batch ETL", first.ID, batch.ID, first.ID)
	urgent := f.add(t, f.addETL(t, f.site, "urgent", nil), func(e *holdfast.Execution) { e.ETL, e.Priority = &holdfast.ETLRun{}, 1 })
	next("a batch ETL of a higher priority", urgent.ID, urgent.ID, first.ID)
	f.move(t, urgent, holdfast.MoveStart)
	f.move(t, first, holdfast.MoveStart)
	next("when two run", second.ID, batch.ID, second.ID)
}

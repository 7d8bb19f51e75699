// Package storetest is the suite that every [store.Store] passes.
package storetest

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Run tests a contract's implementation. open returns a new store with nothing
// in it but what an installation begins with, and closes it when the test ends.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *fixture){
		"a new store has one organisation and one account": testBootstrap,
		"ids begin at 1001":                          testFirstIDs,
		"rows come back as they were written":        testRoundTrip,
		"rows are changed":                           testUpdate,
		"what does not exist is not found":           testNotFound,
		"names are taken once":                       testTaken,
		"what is named is not deleted":               testDelete,
		"accounts do not see each other":             testIsolation,
		"times are kept to the microsecond":          testTimes,
		"jobs are listed":                            testJobs,
		"executions are listed":                      testExecutions,
		"pages join up":                              testPages,
		"sets are listed":                            testSets,
		"gone sets are known":                        testGoneSets,
		"copies move":                                testCopies,
		"sets of a job come with their copies":       testSetsOfJob,
		"copies of a repository are listed":          testCopiesIn,
		"copies of one set in two repositories":      testCopiesOfOneFence,
		"sequences are raised":                       testRaiseSequences,
		"live restores are found":                    testLiveRestores,
		"repositories that jobs name":                testRepositoryUsers,
		"schedules are listed":                       testSchedules,
		"schedules move by compare-and-set":          testMoveSchedule,
		"one of many schedulers fires":               testScheduleRace,
		"a deleted job's schedules":                  testSchedulesOfDeletedJob,
		"triggers are listed":                        testTriggers,
		"accounts of several organisations":          testAccounts,
		"principals are listed":                      testPrincipals,
		"credentials of a principal":                 testCredentials,
		"a proof is used once":                       testUseOnce,
		"set ids are reserved":                       testReserve,
		"workers keep their names to themselves":     testWorkers,
		"submissions and events":                     testEvents,
		"executions move by compare-and-set":         testMove,
		"an impossible status is refused":            testImpossible,
		"an ended execution never changes":           testEnded,
		"one of many movers wins":                    testRace,
		"restores are listed with what they restore": testRestores,
		"beats belong to a fence":                    testBeat,
		"live executions are found":                  testLive,
		"the next of the queue":                      testNextQueued,
		"the next behind many that wait":             testQueueBehindMany,
		"the queue is as its model":                  testQueueModel,
		"ETLs are listed":                            testETLs,
		"the list of ETLs is as its model":           testETLListModel,
		"run configurations are numbered":            testRunConfigurationIDs,
		"live executions of a job":                   testLiveOfJob,
		"executions that end alike":                  testEndedSoAgain,
		"the history of an ETL":                      testETLHistory,
		"properties move by compare-and-set":         testMoveETLRun,
		"what an ETL starts with":                    testETLStart,
		"services have slots of their own":           testServiceSlots,
		"an error leaves no trace":                   testRollback,
		"a panic leaves no trace":                    testPanic,
		"writers do not undo each other":             testGroup,
		"a transaction reads what it wrote":          testOwnWrites,
		"a view is a snapshot":                       testSnapshot,
		"who does not wait any more does nothing":    testCancelled,
		"an error of a context is kept":              testContextError,
		"a closed store says so":                     testClosed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newFixture(t, open(t)))
		})
	}
}

// start is when everything in the tests happens.
func start() time.Time { return time.Date(2026, 3, 1, 2, 30, 0, 123456000, time.UTC) }

// fixture is a store with a few rows to hang others on.
type fixture struct {
	store.Store

	account    holdfast.AccountID
	host       holdfast.Host
	repository holdfast.Repository
	site       holdfast.Site
	job        holdfast.Job
}

func newFixture(t *testing.T, s store.Store) *fixture {
	t.Helper()
	f := &fixture{Store: s, account: holdfast.FirstID}
	f.host = holdfast.Host{Account: f.account, Name: "db1", Address: "192.0.2.1", Created: start()}
	f.repository = holdfast.Repository{Account: f.account, Name: "main", Location: "file:///backup", Created: start()}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertHost(ctx, &f.host); err != nil {
			return err
		}
		return tx.InsertRepository(ctx, &f.repository)
	})
	f.site = f.addSite(t, "berlin", nil)
	f.job = f.addJob(t, f.site, "nightly")
	return f
}

// update runs fn in a transaction that must succeed.
func (f *fixture) update(t testing.TB, fn func(context.Context, store.Tx) error) {
	t.Helper()
	ctx := t.Context()
	if err := f.Update(ctx, func(tx store.Tx) error { return fn(ctx, tx) }); err != nil {
		t.Fatalf("update: %v", err)
	}
}

// view runs fn on a snapshot; it must succeed.
func (f *fixture) view(t testing.TB, fn func(context.Context, store.Reader) error) {
	t.Helper()
	ctx := t.Context()
	if err := f.View(ctx, func(r store.Reader) error { return fn(ctx, r) }); err != nil {
		t.Fatalf("view: %v", err)
	}
}

func (f *fixture) addSite(t testing.TB, slug string, change func(*holdfast.Site)) holdfast.Site {
	t.Helper()
	s := holdfast.Site{
		Account: f.account, Host: f.host.ID, Slug: slug, Name: slug, DataDir: "/data/" + slug, Pool: holdfast.DefaultPool,
		Server:     holdfast.Server{Host: "/run/postgresql", Port: 5432, User: "holdfast", Database: "postgres", SSLMode: "prefer"},
		Repository: f.repository.ID, Created: start(),
	}
	if change != nil {
		change(&s)
	}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertSite(ctx, &s) })
	return s
}

func (f *fixture) addJob(t testing.TB, s holdfast.Site, name string) holdfast.Job {
	t.Helper()
	j := holdfast.Job{
		Account: s.Account, Site: s.ID, Type: holdfast.JobBackup, Engine: holdfast.EnginePhysical, Name: name, Active: true,
		Priority: holdfast.DefaultPriority, Retention: holdfast.Retention{Count: holdfast.DefaultRetention}, Created: start(),
	}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertJob(ctx, &j) })
	return j
}

// execution returns a queued execution of the job that is not stored yet.
func (f *fixture) execution(j holdfast.Job) holdfast.Execution {
	return holdfast.Execution{
		Account: j.Account, Site: j.Site, Job: j.ID, JobName: j.Name, Type: j.Type, Engine: j.Engine,
		Status:   holdfast.Status{State: holdfast.StateQueued},
		RunAsked: holdfast.RunFull, RunType: holdfast.RunFull, Priority: j.Priority, Pool: holdfast.DefaultPool,
		Host: f.host.ID, Repository: f.repository.ID, Due: start(), Submitted: start(),
	}
}

// add stores executions of the job; change may say more of each.
func (f *fixture) add(t testing.TB, j holdfast.Job, change func(*holdfast.Execution)) holdfast.Execution {
	t.Helper()
	e := f.execution(j)
	if change != nil {
		change(&e)
	}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertExecution(ctx, &e) })
	return e
}

// move moves an execution along the domain's table.
func (f *fixture) move(t testing.TB, e holdfast.Execution, moves ...holdfast.Move) holdfast.Execution {
	t.Helper()
	for _, m := range moves {
		next := e
		var err error
		if next.Status, err = e.Next(m); err != nil {
			t.Fatalf("move %s: %v", m, err)
		}
		f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.MoveExecution(ctx, e, next) })
		e = next
	}
	return e
}

func (f *fixture) read(t testing.TB, id holdfast.ExecutionID) holdfast.Execution {
	t.Helper()
	var e holdfast.Execution
	f.view(t, func(ctx context.Context, r store.Reader) (err error) {
		e, err = r.Execution(ctx, f.account, id)
		return err
	})
	return e
}

func wantCode(t testing.TB, what string, err error, want holdfast.Code) {
	t.Helper()
	if got := holdfast.ErrorCode(err); got != want {
		t.Errorf("%s: got code %q (%v), want %q", what, got, err, want)
	}
	if err != nil && want != holdfast.CodeInternal && holdfast.ErrorMessage(err) == "" {
		t.Errorf("%s: got no words for the client", what)
	}
}

func wantEqual[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	t.Errorf("%s:\n got %s\nwant %s\n got %+v\nwant %+v", what, g, w, got, want)
}

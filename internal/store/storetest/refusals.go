package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// refused runs fn in a transaction that must fail with the code.
func (f *fixture) refused(t *testing.T, what string, want holdfast.Code, fn func(context.Context, store.Tx) error) {
	t.Helper()
	ctx := t.Context()
	wantCode(t, what, f.Update(ctx, func(tx store.Tx) error { return fn(ctx, tx) }), want)
}

// code returns a check of what a method's error is.
func code[T any](t *testing.T, what string, want holdfast.Code) func(T, error) {
	return func(_ T, err error) {
		t.Helper()
		wantCode(t, what, err, want)
	}
}

func testNotFound(t *testing.T, f *fixture) {
	const none, missing = 999999, holdfast.CodeNotFound
	f.view(t, func(ctx context.Context, r store.Reader) error {
		code[holdfast.Account](t, "account", missing)(r.Account(ctx, none))
		code[holdfast.Principal](t, "principal", missing)(r.Principal(ctx, f.account, none))
		code[holdfast.Principal](t, "principal by name", missing)(r.PrincipalByName(ctx, f.account, "none"))
		code[holdfast.Credential](t, "credential", missing)(r.Credential(ctx, f.account, none))
		code[holdfast.Credential](t, "credential by hash", missing)(r.CredentialByHash(ctx, []byte("none")))
		code[holdfast.Credential](t, "credential by no hash", missing)(r.CredentialByHash(ctx, nil))
		code[holdfast.Host](t, "host", missing)(r.Host(ctx, f.account, none))
		code[holdfast.Host](t, "host by name", missing)(r.HostByName(ctx, f.account, "none"))
		code[holdfast.Site](t, "site", missing)(r.Site(ctx, f.account, none))
		code[holdfast.Site](t, "site by slug", missing)(r.SiteBySlug(ctx, f.account, "none"))
		code[holdfast.Repository](t, "repository", missing)(r.Repository(ctx, f.account, none))
		code[holdfast.Repository](t, "repository by name", missing)(r.RepositoryByName(ctx, f.account, "none"))
		code[holdfast.Job](t, "job", missing)(r.Job(ctx, f.account, none))
		code[holdfast.Schedule](t, "schedule", missing)(r.Schedule(ctx, f.account, none))
		code[holdfast.Execution](t, "execution", missing)(r.Execution(ctx, f.account, none))
		code[holdfast.Execution](t, "busy execution", missing)(r.BusyExecution(ctx, f.job.ID))
		code[holdfast.Execution](t, "next of an empty queue", missing)(r.NextQueued(ctx, store.Ask{Pool: "default", Hosts: []holdfast.HostID{f.host.ID}, Now: start(), Batch: true}))
		code[holdfast.Execution](t, "execution by request", missing)(r.ExecutionByRequest(ctx, none, "none"))
		code[holdfast.BackupSet](t, "set", missing)(r.Set(ctx, f.account, none))
		code[holdfast.Copy](t, "copy by fence", missing)(r.CopyByFence(ctx, none, 1))
		code[holdfast.Worker](t, "worker", missing)(r.Worker(ctx, none))
		code[holdfast.Worker](t, "worker by name", missing)(r.WorkerByName(ctx, f.account, "none"))
		code[holdfast.Worker](t, "worker by key", missing)(r.WorkerByKey(ctx, "none"))
		code[holdfast.Worker](t, "worker by no key", missing)(r.WorkerByKey(ctx, ""))
		code[holdfast.Submission](t, "submission", missing)(r.Submission(ctx, f.account, none))
		code[holdfast.Submission](t, "submission by key", missing)(r.SubmissionByKey(ctx, f.account, "none"))
		code[holdfast.Submission](t, "submission without a key", missing)(r.SubmissionByKey(ctx, f.account, ""))

		_, err := r.Execution(ctx, f.account, 1234)
		if got, want := holdfast.ErrorMessage(err), "there is no execution 1234"; got != want {
			t.Errorf("got the words %q, want %q", got, want)
		}
		return nil
	})
	e := f.execution(f.job)
	e.ID = none
	for what, change := range map[string]func(context.Context, store.Tx) error{
		"account": func(ctx context.Context, tx store.Tx) error {
			return tx.UpdateAccount(ctx, holdfast.Account{ID: none, Organisation: holdfast.FirstID})
		},
		"principal": func(ctx context.Context, tx store.Tx) error {
			return tx.UpdatePrincipal(ctx, holdfast.Principal{ID: none, Account: f.account})
		},
		"move schedule": func(ctx context.Context, tx store.Tx) error {
			r := holdfast.Schedule{ID: none, Account: f.account, Job: f.job.ID}
			return tx.MoveSchedule(ctx, r, r)
		},
		"delete schedule": func(ctx context.Context, tx store.Tx) error { return tx.DeleteSchedule(ctx, f.account, none) },
		"trigger": func(ctx context.Context, tx store.Tx) error {
			return tx.UpdateTrigger(ctx, holdfast.Trigger{ID: none, Account: f.account})
		},
		"delete trigger": func(ctx context.Context, tx store.Tx) error { return tx.DeleteTrigger(ctx, f.account, none) },
		"credential": func(ctx context.Context, tx store.Tx) error {
			return tx.UpdateCredential(ctx, holdfast.Credential{ID: none, Account: f.account, Principal: none, Hash: []byte("h")})
		},
		"host": func(ctx context.Context, tx store.Tx) error {
			return tx.UpdateHost(ctx, holdfast.Host{ID: none, Account: f.account})
		},
		"delete host": func(ctx context.Context, tx store.Tx) error { return tx.DeleteHost(ctx, f.account, none) },
		"site": func(ctx context.Context, tx store.Tx) error {
			return tx.UpdateSite(ctx, holdfast.Site{ID: none, Account: f.account, Host: f.host.ID})
		},
		"delete site": func(ctx context.Context, tx store.Tx) error { return tx.DeleteSite(ctx, f.account, none) },
		"repository": func(ctx context.Context, tx store.Tx) error {
			return tx.UpdateRepository(ctx, holdfast.Repository{ID: none, Account: f.account})
		},
		"delete repository": func(ctx context.Context, tx store.Tx) error { return tx.DeleteRepository(ctx, f.account, none) },
		"job": func(ctx context.Context, tx store.Tx) error {
			return tx.UpdateJob(ctx, holdfast.Job{ID: none, Account: f.account, Site: f.site.ID})
		},
		"move execution": func(ctx context.Context, tx store.Tx) error { return tx.MoveExecution(ctx, e, e) },
		"beat": func(ctx context.Context, tx store.Tx) error {
			return tx.BeatExecution(ctx, none, 1, 1, holdfast.Progress{})
		},
		"set": func(ctx context.Context, tx store.Tx) error {
			return tx.UpdateSet(ctx, holdfast.BackupSet{ID: none, Account: f.account, Site: f.site.ID})
		},
		"copy": func(ctx context.Context, tx store.Tx) error {
			c := holdfast.Copy{ID: none, Account: f.account}
			return tx.MoveCopy(ctx, c, c)
		},
		"worker": func(ctx context.Context, tx store.Tx) error { return tx.UpdateWorker(ctx, holdfast.Worker{ID: none}) },
	} {
		f.refused(t, "change of a missing "+what, missing, change)
	}
}

func testTaken(t *testing.T, f *fixture) {
	rows := makeFullRows(f)
	f.update(t, rows.insert)
	for what, insert := range map[string]func(context.Context, store.Tx) error{
		"organisation": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertOrganisation(ctx, &holdfast.Organisation{Name: rows.organisation.Name})
		},
		"account": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertAccount(ctx, &holdfast.Account{Organisation: rows.organisation.ID, Name: rows.tenant.Name})
		},
		"account by update": func(ctx context.Context, tx store.Tx) error {
			a := holdfast.Account{Organisation: rows.organisation.ID, Name: "free"}
			if err := tx.InsertAccount(ctx, &a); err != nil {
				return err
			}
			a.Name = rows.tenant.Name
			return tx.UpdateAccount(ctx, a)
		},
		"principal by update": func(ctx context.Context, tx store.Tx) error {
			p := holdfast.Principal{Account: f.account, Name: "free"}
			if err := tx.InsertPrincipal(ctx, &p); err != nil {
				return err
			}
			p.Name = rows.principal.Name
			return tx.UpdatePrincipal(ctx, p)
		},
		"schedule": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertSchedule(ctx, &holdfast.Schedule{ID: rows.schedule.ID, Account: f.account, Job: f.job.ID})
		},
		"principal": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertPrincipal(ctx, &holdfast.Principal{Account: f.account, Name: rows.principal.Name})
		},
		"credential": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertCredential(ctx, &holdfast.Credential{Account: f.account, Principal: rows.principal.ID, Hash: rows.credential.Hash})
		},
		"host": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertHost(ctx, &holdfast.Host{Account: f.account, Name: f.host.Name})
		},
		"host by update": func(ctx context.Context, tx store.Tx) error {
			h := rows.host
			h.Name = f.host.Name
			return tx.UpdateHost(ctx, h)
		},
		"site": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertSite(ctx, &holdfast.Site{Account: f.account, Host: f.host.ID, Slug: f.site.Slug})
		},
		"repository": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertRepository(ctx, &holdfast.Repository{Account: f.account, Name: f.repository.Name})
		},
		"job": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertJob(ctx, &holdfast.Job{Account: f.account, Site: f.site.ID, Name: f.job.Name})
		},
		"submission": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertSubmission(ctx, &holdfast.Submission{Account: f.account, IdempotencyKey: rows.submission.IdempotencyKey})
		},
		"set": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertSet(ctx, &holdfast.BackupSet{ID: rows.set.ID, Account: f.account, Site: f.site.ID})
		},
		"copy": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertCopy(ctx, &holdfast.Copy{Account: f.account, Set: rows.set.ID, Repository: f.repository.ID, Execution: rows.execution.ID, Fence: rows.copy.Fence})
		},
		"worker's key": func(ctx context.Context, tx store.Tx) error {
			return tx.InsertWorker(ctx, &holdfast.Worker{Name: "other", Key: rows.worker.Key})
		},
	} {
		f.refused(t, what, holdfast.CodeConflict, insert)
	}
	err := f.Update(t.Context(), func(tx store.Tx) error {
		return tx.InsertHost(t.Context(), &holdfast.Host{Account: f.account, Name: f.host.Name})
	})
	if got, want := holdfast.ErrorMessage(err), `there is already a host "db1"`; got != want {
		t.Errorf("got the words %q, want %q", got, want)
	}

	// A name is free again when the job that had it is deleted, and is another
	// site's own.
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		gone := f.job
		gone.Deleted = at(1)
		return firstError(
			func() error {
				return tx.InsertJob(ctx, &holdfast.Job{Account: f.account, Site: rows.site.ID, Name: f.job.Name})
			},
			func() error { return tx.UpdateJob(ctx, gone) },
			func() error {
				return tx.InsertJob(ctx, &holdfast.Job{Account: f.account, Site: f.site.ID, Name: f.job.Name})
			},
			func() error { return tx.InsertSubmission(ctx, &holdfast.Submission{Account: f.account}) },
			func() error { return tx.InsertSubmission(ctx, &holdfast.Submission{Account: f.account}) },
		)
	})
	f.refused(t, "job that comes back to a name that is taken", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		return tx.UpdateJob(ctx, f.job)
	})
}

func testDelete(t *testing.T, f *fixture) {
	deleteSite := func(ctx context.Context, tx store.Tx) error { return tx.DeleteSite(ctx, f.account, f.site.ID) }
	deleteHost := func(ctx context.Context, tx store.Tx) error { return tx.DeleteHost(ctx, f.account, f.host.ID) }
	deleteRepository := func(ctx context.Context, tx store.Tx) error {
		return tx.DeleteRepository(ctx, f.account, f.repository.ID)
	}
	f.refused(t, "host with a site", holdfast.CodeConflict, deleteHost)
	f.refused(t, "repository with a site", holdfast.CodeConflict, deleteRepository)
	f.refused(t, "site with a job", holdfast.CodeConflict, deleteSite)

	gone := f.job
	gone.Deleted = at(1)
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.UpdateJob(ctx, gone) })
	e := f.add(t, f.job, nil)
	f.refused(t, "site with an execution under way", holdfast.CodeConflict, deleteSite)
	f.move(t, e, holdfast.MoveStop)

	set := holdfast.BackupSet{Account: f.account, Site: f.site.ID}
	var stored holdfast.Copy
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertSet(ctx, &set) })
	f.refused(t, "site with a set", holdfast.CodeConflict, deleteSite)
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		stored = holdfast.Copy{Account: f.account, Set: set.ID, Repository: f.repository.ID, State: holdfast.CopyComplete}
		return tx.InsertCopy(ctx, &stored)
	})
	f.refused(t, "site with a set and a copy", holdfast.CodeConflict, deleteSite)
	deleted := stored
	deleted.State = holdfast.CopyDeleted
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.MoveCopy(ctx, stored, deleted) })

	f.refused(t, "site of another account", holdfast.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		return tx.DeleteSite(ctx, f.account+1, f.site.ID)
	})
	f.update(t, deleteSite)
	f.refused(t, "site that is gone", holdfast.CodeNotFound, deleteSite)
	if got := f.read(t, e.ID); got.Outcome != holdfast.OutcomeCancelled {
		t.Errorf("got outcome %q of an execution whose site is gone, want its history to stay", got.Outcome)
	}
	f.refused(t, "repository that held a copy", holdfast.CodeConflict, deleteRepository)
	f.refused(t, "host of another account", holdfast.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		return tx.DeleteHost(ctx, f.account+1, f.host.ID)
	})
	f.update(t, deleteHost)

	empty := holdfast.Repository{Account: f.account, Name: "empty"}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertRepository(ctx, &empty) })
	f.refused(t, "repository of another account", holdfast.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		return tx.DeleteRepository(ctx, f.account+1, empty.ID)
	})
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.DeleteRepository(ctx, f.account, empty.ID) })

	again := holdfast.Host{Account: f.account, Name: f.host.Name}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertHost(ctx, &again) })
	if again.ID <= f.host.ID {
		t.Errorf("got host id %d after %d was deleted, want one that was never given out", again.ID, f.host.ID)
	}
	f.refused(t, "site on a missing host", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		return tx.InsertSite(ctx, &holdfast.Site{Account: f.account, Host: f.host.ID, Slug: "lost"})
	})
	f.refused(t, "job of a missing site", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		return tx.InsertJob(ctx, &holdfast.Job{Account: f.account, Site: f.site.ID, Name: "lost"})
	})
	f.refused(t, "schedule of a missing job", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		return tx.InsertSchedule(ctx, &holdfast.Schedule{Account: f.account, Job: 999999})
	})
	for what, tr := range map[string]holdfast.Trigger{
		"waits for": {Account: f.account, Job: 999999, Run: f.job.ID}, "runs": {Account: f.account, Job: f.job.ID, Run: 999999},
	} {
		f.refused(t, "trigger that "+what+" a missing job", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
			return tx.InsertTrigger(ctx, &tr)
		})
	}
	f.refused(t, "account of a missing organisation", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		return tx.InsertAccount(ctx, &holdfast.Account{Organisation: 999999, Name: "lost"})
	})
	f.refused(t, "execution of a missing job", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		lost := f.execution(f.job)
		lost.Job = 999999
		return tx.InsertExecution(ctx, &lost)
	})
}

func testIsolation(t *testing.T, f *fixture) {
	rows := makeFullRows(f)
	f.update(t, rows.insert)
	other := f.account + 1
	const missing = holdfast.CodeNotFound
	f.view(t, func(ctx context.Context, r store.Reader) error {
		code[holdfast.Principal](t, "principal", missing)(r.Principal(ctx, other, rows.principal.ID))
		code[holdfast.Principal](t, "principal by name", missing)(r.PrincipalByName(ctx, other, rows.principal.Name))
		code[holdfast.Credential](t, "credential", missing)(r.Credential(ctx, other, rows.credential.ID))
		code[holdfast.Host](t, "host", missing)(r.Host(ctx, other, rows.host.ID))
		code[holdfast.Host](t, "host by name", missing)(r.HostByName(ctx, other, rows.host.Name))
		code[holdfast.Site](t, "site", missing)(r.Site(ctx, other, rows.site.ID))
		code[holdfast.Site](t, "site by slug", missing)(r.SiteBySlug(ctx, other, rows.site.Slug))
		code[holdfast.Repository](t, "repository", missing)(r.Repository(ctx, other, rows.repository.ID))
		code[holdfast.Repository](t, "repository by name", missing)(r.RepositoryByName(ctx, other, rows.repository.Name))
		code[holdfast.Job](t, "job", missing)(r.Job(ctx, other, rows.job.ID))
		code[holdfast.Schedule](t, "schedule", missing)(r.Schedule(ctx, other, rows.schedule.ID))
		code[holdfast.Execution](t, "execution", missing)(r.Execution(ctx, other, rows.execution.ID))
		code[holdfast.BackupSet](t, "set", missing)(r.Set(ctx, other, rows.set.ID))
		code[holdfast.Submission](t, "submission", missing)(r.Submission(ctx, other, rows.submission.ID))
		code[holdfast.Submission](t, "submission by key", missing)(r.SubmissionByKey(ctx, other, "once"))
		same(t, "principals", []holdfast.Principal(nil))(r.Principals(ctx, other))
		same(t, "schedules", []holdfast.Schedule(nil))(r.Schedules(ctx, other, f.job.ID))
		same(t, "triggers", []holdfast.Trigger(nil))(r.Triggers(ctx, other, rows.job.ID))
		same(t, "triggers that run", []holdfast.Trigger(nil))(r.TriggersThatRun(ctx, other, f.job.ID))
		same(t, "triggers of any account", []holdfast.Trigger{rows.trigger})(r.Triggers(ctx, 0, rows.job.ID))
		same(t, "next runs", map[holdfast.JobID]time.Time{})(r.NextRuns(ctx, other, []holdfast.JobID{f.job.ID}))
		same(t, "credentials", []holdfast.Credential(nil))(r.Credentials(ctx, other))
		same(t, "hosts", []holdfast.Host(nil))(r.Hosts(ctx, other))
		same(t, "sites", []holdfast.Site(nil))(r.Sites(ctx, other))
		same(t, "repositories", []holdfast.Repository(nil))(r.Repositories(ctx, other))
		same(t, "copies", []holdfast.Copy(nil))(r.Copies(ctx, other, rows.set.ID))
		same(t, "events", []holdfast.Event(nil))(r.Events(ctx, other, 0, 0))
		same(t, "last executions", map[holdfast.JobID]*holdfast.Execution{})(r.LastExecutions(ctx, other, []holdfast.JobID{f.job.ID}))
		jobs, n, err := r.Jobs(ctx, other, store.JobFilter{})
		if err != nil || n != 0 || len(jobs) != 0 {
			t.Errorf("jobs: got %d of %d (%v), want none", len(jobs), n, err)
		}
		executions, n, err := r.Executions(ctx, other, store.ExecutionFilter{Job: f.job.ID})
		if err != nil || n != 0 || len(executions) != 0 {
			t.Errorf("executions: got %d of %d (%v), want none", len(executions), n, err)
		}
		sets, n, err := r.Sets(ctx, other, store.SetFilter{})
		if err != nil || n != 0 || len(sets) != 0 {
			t.Errorf("sets: got %d of %d (%v), want none", len(sets), n, err)
		}
		return nil
	})
	f.refused(t, "change of a host", missing, func(ctx context.Context, tx store.Tx) error {
		h := rows.host
		h.Account = other
		return tx.UpdateHost(ctx, h)
	})
	f.refused(t, "change of a job", missing, func(ctx context.Context, tx store.Tx) error {
		j := rows.job
		j.Account = other
		return tx.UpdateJob(ctx, j)
	})
	f.refused(t, "change of a principal", missing, func(ctx context.Context, tx store.Tx) error {
		p := rows.principal
		p.Account = other
		return tx.UpdatePrincipal(ctx, p)
	})
	f.refused(t, "move of a schedule", missing, func(ctx context.Context, tx store.Tx) error {
		r := rows.schedule
		r.Account = other
		return tx.MoveSchedule(ctx, r, r)
	})
	f.refused(t, "end of a schedule", missing, func(ctx context.Context, tx store.Tx) error {
		return tx.DeleteSchedule(ctx, other, rows.schedule.ID)
	})
	f.refused(t, "change of a trigger", missing, func(ctx context.Context, tx store.Tx) error {
		tr := rows.trigger
		tr.Account = other
		return tx.UpdateTrigger(ctx, tr)
	})
	f.refused(t, "end of a trigger", missing, func(ctx context.Context, tx store.Tx) error {
		return tx.DeleteTrigger(ctx, other, rows.trigger.ID)
	})
	e := f.add(t, f.job, nil)
	f.refused(t, "move of an execution", missing, func(ctx context.Context, tx store.Tx) error {
		e.Account = other
		return tx.MoveExecution(ctx, e, e)
	})
}

package storetest

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func testBootstrap(t *testing.T, f *fixture) {
	f.view(t, func(ctx context.Context, r store.Reader) error {
		id, err := r.Installation(ctx)
		if err != nil {
			return err
		}
		if len(id) < 32 {
			t.Errorf("got installation id %q, want at least 128 random bits", id)
		}
		accounts, err := r.Accounts(ctx)
		if err != nil {
			return err
		}
		if len(accounts) != 1 {
			t.Fatalf("got %d accounts, want 1", len(accounts))
		}
		a := accounts[0]
		if a.ID != holdfast.FirstID || a.Organisation != holdfast.FirstID || a.Name != "default" || a.Created.IsZero() {
			t.Errorf("got account %+v, want 1001 of organisation 1001, named default, with the time when it was made", a)
		}
		again, err := r.Account(ctx, a.ID)
		wantEqual(t, "account", again, a)
		return err
	})
}

func testFirstIDs(t *testing.T, f *fixture) {
	p := holdfast.Principal{Account: f.account, Kind: holdfast.PrincipalService, Name: "script"}
	s := holdfast.Submission{Account: f.account, Dialect: "native"}
	b := holdfast.BackupSet{Account: f.account, Site: f.site.ID}
	w := holdfast.Worker{Name: "local"}
	v := holdfast.Event{Account: f.account, Kind: "host.created"}
	e := f.execution(f.job)
	r := holdfast.Schedule{Account: f.account, Job: f.job.ID}
	g := holdfast.Trigger{Account: f.account, Job: f.job.ID, Run: f.job.ID}
	var c holdfast.Credential
	var copied holdfast.Copy
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(
			func() error { return tx.InsertPrincipal(ctx, &p) },
			func() error {
				c = holdfast.Credential{Account: f.account, Principal: p.ID, Kind: holdfast.CredentialToken, Hash: []byte("hash")}
				return tx.InsertCredential(ctx, &c)
			},
			func() error { return tx.InsertSchedule(ctx, &r) },
			func() error { return tx.InsertTrigger(ctx, &g) },
			func() error { return tx.InsertSubmission(ctx, &s) },
			func() error { return tx.InsertExecution(ctx, &e) },
			func() error { return tx.InsertSet(ctx, &b) },
			func() error {
				copied = holdfast.Copy{Account: f.account, Set: b.ID, Repository: f.repository.ID, State: holdfast.CopyWriting}
				return tx.InsertCopy(ctx, &copied)
			},
			func() error { return tx.InsertWorker(ctx, &w) },
			func() error { return tx.InsertEvent(ctx, &v) },
		)
	})
	for name, id := range map[string]int64{
		"host": int64(f.host.ID), "repository": int64(f.repository.ID), "site": int64(f.site.ID), "job": int64(f.job.ID),
		"principal": int64(p.ID), "credential": int64(c.ID), "submission": int64(s.ID), "execution": int64(e.ID),
		"backup set": int64(b.ID), "copy": int64(copied.ID), "worker": int64(w.ID), "event": int64(v.ID), "schedule": int64(r.ID), "trigger": int64(g.ID),
	} {
		if id != holdfast.FirstID {
			t.Errorf("got %s %d first, want %d", name, id, holdfast.FirstID)
		}
	}
	second := f.addSite(t, "munich", nil)
	if second.ID != holdfast.FirstID+1 {
		t.Errorf("got site %d after the first, want %d", second.ID, holdfast.FirstID+1)
	}
}

func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// fullRows is one row of each kind with every field set.
type fullRows struct {
	organisation holdfast.Organisation
	tenant       holdfast.Account // the organisation's; the other rows are the fixture's account's
	principal    holdfast.Principal
	credential   holdfast.Credential
	session      holdfast.Credential // its parent is the credential
	host         holdfast.Host
	repository   holdfast.Repository
	site         holdfast.Site
	job          holdfast.Job
	schedule     holdfast.Schedule
	trigger      holdfast.Trigger // the fixture's job runs after the job
	submission   holdfast.Submission
	execution    holdfast.Execution
	set          holdfast.BackupSet
	copy         holdfast.Copy
	worker       holdfast.Worker
	event        holdfast.Event
}

// at is a time that tells fields apart.
func at(minutes int) time.Time { return start().Add(time.Duration(minutes) * time.Minute) }

func makeFullRows(f *fixture) *fullRows {
	restore := &holdfast.RestoreSpec{
		Set: 1999, Host: f.host.ID, Directory: "/restore/a", Tablespaces: map[uint32]string{16400: "/restore/b"}, Configuration: true,
	}
	return &fullRows{
		organisation: holdfast.Organisation{Name: "Größe", Created: at(27)},
		tenant:       holdfast.Account{Name: "tenant", Aliases: []string{"9f1c", "a\"b"}, Created: at(28)},
		principal:    holdfast.Principal{Account: f.account, Kind: holdfast.PrincipalPerson, Name: "ada", Disabled: true, Created: at(1)},
		credential: holdfast.Credential{
			Account: f.account, Kind: holdfast.CredentialJoin, Name: "laptop", Hash: []byte{0, 1, 0xff}, Role: holdfast.RoleOperator,
			Sites: []holdfast.SiteID{f.site.ID, 4}, Hosts: []holdfast.HostID{f.host.ID}, Pools: []string{"fast", "a\"b"},
			PublicKey: []byte{0x30, 0, 0xff}, Created: at(2), Expires: at(3), Idle: 90 * time.Second, Revoked: at(4), LastUsed: at(5),
		},
		session: holdfast.Credential{Account: f.account, Kind: holdfast.CredentialSession, Hash: []byte{2}, Idle: time.Microsecond, Created: at(29)},
		host:    holdfast.Host{Account: f.account, Name: "db2", Address: "192.0.2.2", Created: at(6)},
		repository: holdfast.Repository{
			Account: f.account, Name: "second", Location: "file:///other", FormatID: "abc123", Password: []byte{9, 0, 9},
			Access: []byte{8, 0, 8}, MaxRunning: 3, Created: at(7),
		},
		site: holdfast.Site{
			Account: f.account, Slug: "full", Name: "Größe", Server: holdfast.Server{Host: "h", Port: 65535, User: "u", Database: "d", SSLMode: "require"},
			Password: []byte{1, 2, 3}, DataDir: "/d", Pool: "fast", MaxRunning: 2,
			Reading: holdfast.ReadAll, Compression: holdfast.CompressMax, BytesPerSec: 1 << 40, Created: at(8),
		},
		job: holdfast.Job{
			Account: f.account, Site: f.site.ID, Type: holdfast.JobRestore, Engine: holdfast.EnginePhysical, Name: "full", Description: "words\n",
			Active: true, Priority: 2, Retention: holdfast.Retention{Unit: holdfast.RetainGenerations, Count: 4},
			AutoAbort: holdfast.AutoAbort{Active: true, After: 90 * time.Minute}, Restore: restore, ETL: fullSpec(f.site.ID, 1999),
			Annotations: map[string]json.RawMessage{"baas": json.RawMessage(`{"a":[1,2,null]}`)}, Created: at(9), Deleted: at(10),
		},
		schedule: holdfast.Schedule{
			Account: f.account, Job: f.job.ID, Expression: "30 2 * * 1-5", TimeZone: "Europe/Berlin", RunType: holdfast.RunCumulative,
			Active: true, NextRun: at(30), Created: at(31), Changed: at(32),
		},
		trigger: holdfast.Trigger{
			Account: f.account, Run: f.job.ID, On: holdfast.OnDone, RunType: holdfast.RunDelta, Active: true, Created: at(33),
		},
		submission: holdfast.Submission{
			Account: f.account, Principal: 1500, Dialect: "baas", IdempotencyKey: "once", Request: json.RawMessage(`{"a":[1, "ß"]}`), Time: at(11),
		},
		execution: holdfast.Execution{
			Account: f.account, Site: f.site.ID, Job: f.job.ID, JobName: "before", Type: holdfast.JobRestore, Engine: holdfast.EnginePhysical, Name: "n",
			Schedule: 1600, Cause: 1601, Actor: "scheduler",
			Status: holdfast.Status{
				State: holdfast.StateEnded, Wanted: holdfast.WantStop, Outcome: holdfast.OutcomeWarning, Reason: holdfast.ReasonDamaged,
				Fence: 7, Attempts: 2, Retries: 3, HandBacks: 4,
			},
			Detail: "page 4", RunAsked: holdfast.RunDelta, RunType: holdfast.RunFull, RunTypeReason: "no base", Priority: 3, Pool: "fast",
			Host: f.host.ID, Repository: f.repository.ID, Restore: restore, Due: at(12), AbortAfter: time.Hour, Worker: 1700, Request: "r1",
			Beat: math.MaxUint64, Progress: holdfast.Progress{Phase: "files", DoneBytes: 1, TotalBytes: 2, DoneFiles: 3, TotalFiles: 4, AddedBytes: 5},
			Set: 1800, Parent: 1801, ETL: fullRun(), Result: json.RawMessage(`{"ok":true}`), Submitted: at(13), Started: at(14), Restarted: at(15),
			WantedAt: at(16), Ended: at(17), StoredSize: 1 << 50,
		},
		set: holdfast.BackupSet{
			Account: f.account, Site: f.site.ID, Job: f.job.ID, Parent: 1802, Engine: holdfast.EnginePhysical, RunType: holdfast.RunCumulative,
			Started: at(18), Stopped: at(19), Bytes: 1 << 40, Added: 5, Damaged: "a page", Protected: true,
			Physical: holdfast.PhysicalFacts{
				SystemIdentifier: math.MaxUint64, Version: 170006, Timeline: math.MaxUint32, StartLSN: math.MaxUint64 - 1, StopLSN: 1 << 63,
				Tablespaces: []holdfast.Tablespace{{OID: math.MaxUint32, Path: "/ts"}, {OID: 5}},
			},
			Created: at(20),
		},
		copy: holdfast.Copy{Account: f.account, Repository: f.repository.ID, Snapshot: "cafe", State: holdfast.CopyVerified, Fence: 7, Origin: "another", Intended: at(21), Verified: at(22)},
		worker: holdfast.Worker{
			Account: f.account, Name: "w1", Key: "U1", SealKey: "X1", Pools: []string{"default", "fast"}, Hosts: []holdfast.HostID{f.host.ID}, Slots: 4,
			Maintenance: true, Version: "1.2", Created: at(23), Seen: at(24), Removed: at(25),
		},
		event: holdfast.Event{
			Site:    f.site.ID,
			Account: f.account, Time: at(26), Actor: "token a", Dialect: "native", Subject: "host 1001", Kind: "host.created", Data: json.RawMessage(`[1,{"b":2}]`),
		},
	}
}

func (rows *fullRows) insert(ctx context.Context, tx store.Tx) error {
	return firstError(
		func() error { return tx.InsertOrganisation(ctx, &rows.organisation) },
		func() error {
			rows.tenant.Organisation = rows.organisation.ID
			return tx.InsertAccount(ctx, &rows.tenant)
		},
		func() error { return tx.InsertPrincipal(ctx, &rows.principal) },
		func() error {
			rows.credential.Principal = rows.principal.ID
			return tx.InsertCredential(ctx, &rows.credential)
		},
		func() error {
			rows.session.Principal, rows.session.Parent = rows.principal.ID, rows.credential.ID
			return tx.InsertCredential(ctx, &rows.session)
		},
		func() error { return tx.InsertHost(ctx, &rows.host) },
		func() error { return tx.InsertRepository(ctx, &rows.repository) },
		func() error {
			rows.site.Host, rows.site.Repository = rows.host.ID, rows.repository.ID
			return tx.InsertSite(ctx, &rows.site)
		},
		func() error { rows.job.Repository = rows.repository.ID; return tx.InsertJob(ctx, &rows.job) },
		func() error { return tx.InsertSchedule(ctx, &rows.schedule) },
		func() error { rows.trigger.Job = rows.job.ID; return tx.InsertTrigger(ctx, &rows.trigger) },
		func() error { return tx.InsertSubmission(ctx, &rows.submission) },
		func() error {
			rows.execution.Submission = rows.submission.ID
			return tx.InsertExecution(ctx, &rows.execution)
		},
		func() error { rows.set.Execution = rows.execution.ID; return tx.InsertSet(ctx, &rows.set) },
		func() error {
			rows.copy.Set, rows.copy.Execution = rows.set.ID, rows.execution.ID
			return tx.InsertCopy(ctx, &rows.copy)
		},
		func() error { return tx.InsertWorker(ctx, &rows.worker) },
		func() error { return tx.InsertEvent(ctx, &rows.event) },
	)
}

// check compares every row with what each way of reading it finds.
func (rows *fullRows) check(t *testing.T, f *fixture) {
	t.Helper()
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "account", rows.tenant)(r.Account(ctx, rows.tenant.ID))
		same(t, "principal", rows.principal)(r.Principal(ctx, f.account, rows.principal.ID))
		same(t, "principals", []holdfast.Principal{rows.principal})(r.Principals(ctx, f.account))
		same(t, "principal by name", rows.principal)(r.PrincipalByName(ctx, f.account, rows.principal.Name))
		same(t, "credential", rows.credential)(r.Credential(ctx, f.account, rows.credential.ID))
		same(t, "credential by hash", rows.credential)(r.CredentialByHash(ctx, rows.credential.Hash))
		same(t, "credentials", []holdfast.Credential{rows.credential, rows.session})(r.Credentials(ctx, f.account))
		same(t, "credentials of the principal", []holdfast.Credential{rows.credential, rows.session})(r.CredentialsOf(ctx, rows.principal.ID))
		same(t, "host", rows.host)(r.Host(ctx, f.account, rows.host.ID))
		same(t, "host of any account", rows.host)(r.Host(ctx, 0, rows.host.ID))
		same(t, "host by name", rows.host)(r.HostByName(ctx, f.account, rows.host.Name))
		same(t, "hosts", []holdfast.Host{f.host, rows.host})(r.Hosts(ctx, f.account))
		same(t, "repository", rows.repository)(r.Repository(ctx, f.account, rows.repository.ID))
		same(t, "repository by name", rows.repository)(r.RepositoryByName(ctx, f.account, rows.repository.Name))
		same(t, "repositories", []holdfast.Repository{f.repository, rows.repository})(r.Repositories(ctx, f.account))
		same(t, "site", rows.site)(r.Site(ctx, f.account, rows.site.ID))
		same(t, "site by slug", rows.site)(r.SiteBySlug(ctx, f.account, rows.site.Slug))
		same(t, "sites", []holdfast.Site{f.site, rows.site})(r.Sites(ctx, f.account))
		same(t, "job", rows.job)(r.Job(ctx, f.account, rows.job.ID))
		same(t, "schedule", rows.schedule)(r.Schedule(ctx, f.account, rows.schedule.ID))
		same(t, "schedules", []holdfast.Schedule{rows.schedule})(r.Schedules(ctx, f.account, f.job.ID))
		same(t, "triggers", []holdfast.Trigger{rows.trigger})(r.Triggers(ctx, f.account, rows.job.ID))
		same(t, "triggers that run", []holdfast.Trigger{rows.trigger})(r.TriggersThatRun(ctx, f.account, f.job.ID))
		same(t, "execution", rows.execution)(r.Execution(ctx, f.account, rows.execution.ID))
		same(t, "executions of submission", []holdfast.Execution{rows.execution})(r.ExecutionsOfSubmission(ctx, rows.submission.ID))
		same(t, "submission", rows.submission)(r.Submission(ctx, f.account, rows.submission.ID))
		same(t, "submission by key", rows.submission)(r.SubmissionByKey(ctx, f.account, "once"))
		same(t, "set", rows.set)(r.Set(ctx, f.account, rows.set.ID))
		same(t, "copies", []holdfast.Copy{rows.copy})(r.Copies(ctx, f.account, rows.set.ID))
		same(t, "copy by fence", rows.copy)(r.CopyByFence(ctx, rows.execution.ID, 7))
		same(t, "worker", rows.worker)(r.Worker(ctx, rows.worker.ID))
		same(t, "worker by name", rows.worker)(r.WorkerByName(ctx, f.account, rows.worker.Name))
		same(t, "worker by key", rows.worker)(r.WorkerByKey(ctx, rows.worker.Key))
		same(t, "workers", []holdfast.Worker{rows.worker})(r.Workers(ctx))
		same(t, "events", []holdfast.Event{rows.event})(r.Events(ctx, f.account, 0, 0))
		return nil
	})
}

// same returns a check of what a method returns.
func same[T any](t *testing.T, what string, want T) func(T, error) {
	return func(got T, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		wantEqual(t, what, got, want)
	}
}

func testRoundTrip(t *testing.T, f *fixture) {
	rows := makeFullRows(f)
	f.update(t, rows.insert)
	rows.check(t, f)
}

func testUpdate(t *testing.T, f *fixture) {
	rows := makeFullRows(f)
	f.update(t, rows.insert)
	rows.tenant.Name, rows.tenant.Aliases = "other", nil
	rows.principal.Name, rows.principal.Disabled = "grace", false
	rows.credential.Name, rows.credential.LastUsed, rows.credential.Sites = "renamed", at(99), nil
	rows.credential.PublicKey, rows.credential.Idle = []byte{1}, 0
	rows.session.Parent, rows.session.Hash = 0, []byte{3}
	rows.host.Name, rows.host.Address = "db3", "192.0.2.3"
	rows.repository.Name, rows.repository.Password, rows.repository.Access, rows.repository.MaxRunning = "third", []byte{1}, nil, 4
	rows.site.Name, rows.site.Password, rows.site.MaxRunning, rows.site.Repository = "other", nil, 9, 0
	rows.site.Reading, rows.site.Compression, rows.site.BytesPerSec = holdfast.ReadTrust, holdfast.CompressOff, 0
	rows.job.Description, rows.job.Priority, rows.job.Restore, rows.job.Annotations, rows.job.Deleted = "", 5, nil, nil, time.Time{}
	rows.job.ETL.Definition, rows.job.ETL.Recurrence = "", nil
	rows.trigger.On, rows.trigger.RunType, rows.trigger.Active = holdfast.OnSucceeded, "", false
	rows.set.Damaged, rows.set.Protected = "", false
	rows.worker.Seen, rows.worker.Removed, rows.worker.Pools = at(98), time.Time{}, nil
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(
			func() error { return tx.UpdateAccount(ctx, rows.tenant) },
			func() error { return tx.UpdatePrincipal(ctx, rows.principal) },
			func() error { return tx.UpdateCredential(ctx, rows.credential) },
			func() error { return tx.UpdateCredential(ctx, rows.session) },
			func() error { return tx.UpdateHost(ctx, rows.host) },
			func() error { return tx.UpdateRepository(ctx, rows.repository) },
			func() error { return tx.UpdateSite(ctx, rows.site) },
			func() error { return tx.UpdateJob(ctx, rows.job) },
			func() error { return tx.UpdateTrigger(ctx, rows.trigger) },
			func() error { return tx.UpdateSet(ctx, rows.set) },
			func() error { return tx.UpdateWorker(ctx, rows.worker) },
		)
	})
	rows.check(t, f)
}

func testTimes(t *testing.T, f *fixture) {
	zone := time.FixedZone("far", -11*3600)
	for _, c := range []struct {
		name      string
		put, want time.Time
	}{
		{"zero", time.Time{}, time.Time{}},
		{"epoch", time.Unix(0, 0), time.Unix(0, 0).UTC()},
		{"before the epoch", time.Date(1901, 1, 2, 3, 4, 5, 678901000, time.UTC), time.Date(1901, 1, 2, 3, 4, 5, 678901000, time.UTC)},
		{"far", time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)},
		{"another zone", start().In(zone), start()},
		{"nanoseconds", start().Add(999), start()},
	} {
		h := holdfast.Host{Account: f.account, Name: c.name, Created: c.put}
		f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertHost(ctx, &h) })
		f.view(t, func(ctx context.Context, r store.Reader) error {
			got, err := r.Host(ctx, f.account, h.ID)
			if got.Created != c.want {
				t.Errorf("%s: got %v, want %v", c.name, got.Created, c.want)
			}
			return err
		})
	}
}

// Package store is the contract for the metadata database: the truth, and the
// queue. Implementations pass the suite in storetest.
//
// Rules live in the domain and decisions in service and dispatch; a store only
// keeps rows, gives out ids, and compares before it sets.
package store

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Store is the metadata database. All methods may be called from several
// goroutines.
//
// Errors are [holdfast.Error]: CodeNotFound for a row that does not exist (or is
// another account's), CodeConflict for a name that is taken or a compare-and-set
// that lost, CodeUnavailable when the database is locked or gone, CodeExhausted
// when its disk is full.
type Store interface {
	// View runs fn on one consistent snapshot.
	View(ctx context.Context, fn func(Reader) error) error
	// Update runs fn in one transaction, which is durable when Update returns nil
	// and has left no trace when it returns an error. fn may run more than once,
	// and other callers' functions may share its commit: it must change nothing
	// outside the transaction and must be short.
	Update(ctx context.Context, fn func(Tx) error) error
	// Close waits for running transactions.
	Close() error
}

// Page selects a part of a list. The zero value selects everything.
type Page struct {
	Offset int
	Limit  int // 0: no limit
}

// JobFilter selects jobs; zero fields select all.
type JobFilter struct {
	Sites      []holdfast.SiteID
	Types      []holdfast.JobType
	Engine     holdfast.Engine
	ActiveOnly bool
	Name       string
	AnyCase    bool // Name is compared without the case of its ASCII letters
	Page       Page
}

// ExecutionFilter selects executions; zero fields select all.
type ExecutionFilter struct {
	Sites []holdfast.SiteID
	Job   holdfast.JobID
	// Restores adds to the executions of Job the restores of what it made: those
	// whose Parent is an execution of Job.
	Restores bool
	Jobs     []holdfast.JobID
	Parent   holdfast.ExecutionID
	Types    []holdfast.JobType
	States   []holdfast.State
	// EndedSince leaves out what ended before it; zero: nothing.
	EndedSince time.Time
	Page       Page
}

// SetFilter selects backup sets; zero fields select all.
type SetFilter struct {
	IDs   []holdfast.SetID
	Sites []holdfast.SiteID
	Job   holdfast.JobID
	// Gone adds the sets that readers saw once and see no more.
	Gone bool
	Page Page
}

// SetCopies is a backup set with its copies, by id.
type SetCopies struct {
	Set    holdfast.BackupSet
	Copies []holdfast.Copy
}

// Sequences are ids that must not be given out any more, and none below them.
type Sequences struct {
	Site      holdfast.SiteID
	Job       holdfast.JobID
	Execution holdfast.ExecutionID
	Set       holdfast.SetID
}

// Ask is a worker's question for work.
type Ask struct {
	Pool  string
	Hosts []holdfast.HostID
	Now   time.Time
	// Batch and Service say for what the worker has room: executions that end by
	// themselves, and those of service ETLs, which have slots of their own. At least
	// one of them, or nothing is found.
	Batch, Service bool
}

// ETLHistory is what the history of an ETL job ends with; nil for what there is
// none of.
type ETLHistory struct {
	Ended    *holdfast.Execution // that ended last, also one that never started
	Started  *holdfast.Execution // that started last, for the first time; it may run
	Finished *holdfast.Execution // that started last of those that have ended
}

// Reader reads rows. A zero account selects rows of every account; only
// dispatch, which serves all accounts, passes it. Lists are the caller's, but those
// of hosts, sites and repositories are shared: nobody changes them.
type Reader interface {
	Installation(ctx context.Context) (string, error) // random id of this installation, made with the database

	Accounts(ctx context.Context) ([]holdfast.Account, error)
	Account(ctx context.Context, id holdfast.AccountID) (holdfast.Account, error)
	Organisations(ctx context.Context) ([]holdfast.Organisation, error)

	Principal(ctx context.Context, a holdfast.AccountID, id holdfast.PrincipalID) (holdfast.Principal, error)
	PrincipalByName(ctx context.Context, a holdfast.AccountID, name string) (holdfast.Principal, error)
	Principals(ctx context.Context, a holdfast.AccountID) ([]holdfast.Principal, error)
	Credential(ctx context.Context, a holdfast.AccountID, id holdfast.CredentialID) (holdfast.Credential, error)
	CredentialByHash(ctx context.Context, hash []byte) (holdfast.Credential, error)
	// Credentials lists the account's credentials of the kinds, or of every kind,
	// by id.
	Credentials(ctx context.Context, a holdfast.AccountID, kinds ...holdfast.CredentialKind) ([]holdfast.Credential, error)
	// CredentialsOf lists a principal's credentials, by id.
	CredentialsOf(ctx context.Context, p holdfast.PrincipalID) ([]holdfast.Credential, error)

	Host(ctx context.Context, a holdfast.AccountID, id holdfast.HostID) (holdfast.Host, error)
	HostByName(ctx context.Context, a holdfast.AccountID, name string) (holdfast.Host, error)
	Hosts(ctx context.Context, a holdfast.AccountID) ([]holdfast.Host, error)

	Site(ctx context.Context, a holdfast.AccountID, id holdfast.SiteID) (holdfast.Site, error)
	SiteBySlug(ctx context.Context, a holdfast.AccountID, slug string) (holdfast.Site, error)
	Sites(ctx context.Context, a holdfast.AccountID) ([]holdfast.Site, error)

	Repository(ctx context.Context, a holdfast.AccountID, id holdfast.RepositoryID) (holdfast.Repository, error)
	RepositoryByName(ctx context.Context, a holdfast.AccountID, name string) (holdfast.Repository, error)
	Repositories(ctx context.Context, a holdfast.AccountID) ([]holdfast.Repository, error)

	// Job finds deleted jobs too; Jobs lists those that are not deleted, by id,
	// and says how many there are without the page.
	Job(ctx context.Context, a holdfast.AccountID, id holdfast.JobID) (holdfast.Job, error)
	Jobs(ctx context.Context, a holdfast.AccountID, f JobFilter) ([]holdfast.Job, int, error)
	// ETLs lists the account's ETL jobs that are not deleted, by id, without their
	// definitions and annotations. The list is shared: nobody changes it, or what is
	// in it.
	ETLs(ctx context.Context, a holdfast.AccountID) ([]holdfast.Job, error)

	// RepositoryUsers lists the repositories that jobs name which are not deleted,
	// each with the sites of these jobs, by id.
	RepositoryUsers(ctx context.Context, a holdfast.AccountID) (map[holdfast.RepositoryID][]holdfast.SiteID, error)

	Schedule(ctx context.Context, a holdfast.AccountID, id holdfast.ScheduleID) (holdfast.Schedule, error)
	// Schedules lists the schedules of a job, by id.
	Schedules(ctx context.Context, a holdfast.AccountID, job holdfast.JobID) ([]holdfast.Schedule, error)
	// SiteSchedules lists the schedules of the sites' backup jobs that are not deleted, of
	// every site when none is named, by job and then by id.
	SiteSchedules(ctx context.Context, a holdfast.AccountID, sites []holdfast.SiteID, p Page) ([]holdfast.Schedule, error)
	// DueSchedules lists schedules of every account whose next run is not after
	// now, the longest due first.
	DueSchedules(ctx context.Context, now time.Time, limit int) ([]holdfast.Schedule, error)
	// NextRuns returns the earliest next run of each job that has one.
	NextRuns(ctx context.Context, a holdfast.AccountID, jobs []holdfast.JobID) (map[holdfast.JobID]time.Time, error)

	// Triggers lists the triggers that wait for a job, by id.
	Triggers(ctx context.Context, a holdfast.AccountID, job holdfast.JobID) ([]holdfast.Trigger, error)
	// TriggersThatRun lists the triggers that run a job, by id.
	TriggersThatRun(ctx context.Context, a holdfast.AccountID, run holdfast.JobID) ([]holdfast.Trigger, error)

	Execution(ctx context.Context, a holdfast.AccountID, id holdfast.ExecutionID) (holdfast.Execution, error)
	// Executions lists the newest first, and says how many there are without the
	// page.
	Executions(ctx context.Context, a holdfast.AccountID, f ExecutionFilter) ([]holdfast.Execution, int, error)
	// LastExecutions returns the newest execution of each job that has one.
	LastExecutions(ctx context.Context, a holdfast.AccountID, jobs []holdfast.JobID) (map[holdfast.JobID]*holdfast.Execution, error)
	// LastRestores returns the newest restore of what each job made that has one:
	// the newest execution of a RESTORE whose Parent is an execution of the job.
	LastRestores(ctx context.Context, a holdfast.AccountID, jobs []holdfast.JobID) (map[holdfast.JobID]*holdfast.Execution, error)
	// BusyExecution returns the execution that keeps the job busy (see
	// [holdfast.Status.Busy]), the oldest when there are several; CodeNotFound
	// when there is none.
	BusyExecution(ctx context.Context, job holdfast.JobID) (holdfast.Execution, error)
	// LiveOfJob returns the executions of a job that have not ended, by id.
	LiveOfJob(ctx context.Context, job holdfast.JobID) ([]holdfast.Execution, error)
	// EndedSoAgain reports whether a newer execution of e's job has ended with e's
	// outcome.
	EndedSoAgain(ctx context.Context, e holdfast.Execution) (bool, error)
	// ETLHistory returns what the history of an ETL job ends with.
	ETLHistory(ctx context.Context, job holdfast.JobID) (ETLHistory, error)
	// ETLStart returns what an execution of an ETL has started with; CodeNotFound
	// before its first start, and when it has ended.
	ETLStart(ctx context.Context, e holdfast.ExecutionID) (holdfast.ETLStart, error)
	// LiveExecutions returns every execution in one of the states, by id.
	LiveExecutions(ctx context.Context, states ...holdfast.State) ([]holdfast.Execution, error)
	// LiveRestores lists the restores that have not ended, by id.
	LiveRestores(ctx context.Context, a holdfast.AccountID) ([]holdfast.Execution, error)
	// NextQueued returns the execution that should start now for the ask: queued,
	// due, of the pool, one of the hosts and a kind that is asked for, no other of
	// its job running or suspended, below the limits of its site and its repository;
	// the highest priority first, then the longest due, then the lowest id.
	// CodeNotFound when there is none.
	NextQueued(ctx context.Context, ask Ask) (holdfast.Execution, error)
	// ExecutionByRequest returns the running execution whose order was given to
	// this ask; CodeNotFound when there is none.
	ExecutionByRequest(ctx context.Context, w holdfast.WorkerID, request string) (holdfast.Execution, error)
	// DuePlanned returns the planned executions that are due, the longest due
	// first.
	DuePlanned(ctx context.Context, now time.Time, limit int) ([]holdfast.Execution, error)

	Set(ctx context.Context, a holdfast.AccountID, id holdfast.SetID) (holdfast.BackupSet, error)
	// Sets lists the sets that have a copy which readers may see, and with
	// SetFilter.Gone those that had one, the newest first, and says how many there
	// are without the page.
	Sets(ctx context.Context, a holdfast.AccountID, f SetFilter) ([]holdfast.BackupSet, int, error)
	// SetsOfJob lists the sets of a job that have a copy which readers may see, by
	// id, each with all its copies.
	SetsOfJob(ctx context.Context, a holdfast.AccountID, job holdfast.JobID) ([]SetCopies, error)
	Copies(ctx context.Context, a holdfast.AccountID, set holdfast.SetID) ([]holdfast.Copy, error)
	// CopiesOf returns the copies of each of the sets that has one, by id.
	CopiesOf(ctx context.Context, a holdfast.AccountID, sets []holdfast.SetID) (map[holdfast.SetID][]holdfast.Copy, error)
	// CopiesInState lists copies of every account, by id, but those in the
	// repositories that are left out.
	CopiesInState(ctx context.Context, state holdfast.CopyState, limit int, without ...holdfast.RepositoryID) ([]holdfast.Copy, error)
	// CopiesIn lists copies in the repository, in every state, whose ids are greater, by
	// id.
	CopiesIn(ctx context.Context, repository holdfast.RepositoryID, after holdfast.CopyID, limit int) ([]holdfast.Copy, error)
	// CopiesOfSnapshot lists the copies in the repository that are this snapshot, in
	// every state, by id.
	CopiesOfSnapshot(ctx context.Context, repository holdfast.RepositoryID, snapshot string) ([]holdfast.Copy, error)
	// CopyByFence returns the copy that the execution intended with the fence, and none of
	// those in other repositories that were imported later.
	CopyByFence(ctx context.Context, e holdfast.ExecutionID, f holdfast.Fence) (holdfast.Copy, error)

	Worker(ctx context.Context, id holdfast.WorkerID) (holdfast.Worker, error)
	// WorkerByName returns the account's worker; zero is the worker inside serve's.
	// When it has been removed, and no other has taken its name, it is the newest
	// that had it.
	WorkerByName(ctx context.Context, a holdfast.AccountID, name string) (holdfast.Worker, error)
	WorkerByKey(ctx context.Context, key string) (holdfast.Worker, error)
	Workers(ctx context.Context) ([]holdfast.Worker, error) // removed ones too

	Submission(ctx context.Context, a holdfast.AccountID, id holdfast.SubmissionID) (holdfast.Submission, error)
	SubmissionByKey(ctx context.Context, a holdfast.AccountID, idempotencyKey string) (holdfast.Submission, error)
	ExecutionsOfSubmission(ctx context.Context, s holdfast.SubmissionID) ([]holdfast.Execution, error)
	// Events lists the oldest first, after the given id.
	Events(ctx context.Context, a holdfast.AccountID, after holdfast.EventID, limit int) ([]holdfast.Event, error)
	// SiteEvents lists the events of a site, the newest first.
	SiteEvents(ctx context.Context, a holdfast.AccountID, site holdfast.SiteID, p Page) ([]holdfast.Event, error)
}

// Tx reads and writes rows. Insert methods give the row its id, unless it has
// one that was reserved.
type Tx interface {
	Reader

	InsertOrganisation(ctx context.Context, o *holdfast.Organisation) error
	InsertAccount(ctx context.Context, a *holdfast.Account) error
	UpdateAccount(ctx context.Context, a holdfast.Account) error
	InsertPrincipal(ctx context.Context, p *holdfast.Principal) error
	UpdatePrincipal(ctx context.Context, p holdfast.Principal) error
	InsertCredential(ctx context.Context, c *holdfast.Credential) error
	UpdateCredential(ctx context.Context, c holdfast.Credential) error
	// DeleteCredential is CodeConflict while a session names it as its parent.
	DeleteCredential(ctx context.Context, a holdfast.AccountID, id holdfast.CredentialID) error
	// UseOnce notes that the single-use proof with this hash was used; CodeConflict
	// when it was before. It may be forgotten once until has passed.
	UseOnce(ctx context.Context, hash []byte, now, until time.Time) error

	InsertHost(ctx context.Context, h *holdfast.Host) error
	UpdateHost(ctx context.Context, h holdfast.Host) error
	// DeleteHost is CodeConflict while a site stands on it.
	DeleteHost(ctx context.Context, a holdfast.AccountID, id holdfast.HostID) error

	InsertSite(ctx context.Context, s *holdfast.Site) error
	UpdateSite(ctx context.Context, s holdfast.Site) error
	// DeleteSite is CodeConflict while it has jobs or backup sets, an ETL names it, or
	// an execution has started with it and has not ended.
	DeleteSite(ctx context.Context, a holdfast.AccountID, id holdfast.SiteID) error

	InsertRepository(ctx context.Context, r *holdfast.Repository) error
	UpdateRepository(ctx context.Context, r holdfast.Repository) error
	// DeleteRepository is CodeConflict while a site or a copy names it.
	DeleteRepository(ctx context.Context, a holdfast.AccountID, id holdfast.RepositoryID) error

	// ReserveRunConfigurationID takes an id from the sequence of run configurations;
	// it is never given out again.
	ReserveRunConfigurationID(ctx context.Context) (holdfast.RunConfigurationID, error)
	InsertJob(ctx context.Context, j *holdfast.Job) error
	UpdateJob(ctx context.Context, j holdfast.Job) error

	InsertSchedule(ctx context.Context, s *holdfast.Schedule) error
	// MoveSchedule writes next over prev when the row still has prev's next run and
	// time of change; else CodeConflict.
	MoveSchedule(ctx context.Context, prev, next holdfast.Schedule) error
	DeleteSchedule(ctx context.Context, a holdfast.AccountID, id holdfast.ScheduleID) error

	InsertTrigger(ctx context.Context, t *holdfast.Trigger) error
	// UpdateTrigger writes everything but id, account, jobs and time.
	UpdateTrigger(ctx context.Context, t holdfast.Trigger) error
	DeleteTrigger(ctx context.Context, a holdfast.AccountID, id holdfast.TriggerID) error

	InsertSubmission(ctx context.Context, s *holdfast.Submission) error
	// ForgetKey takes the key away from a submission, so that another one may have it.
	ForgetKey(ctx context.Context, a holdfast.AccountID, id holdfast.SubmissionID) error
	InsertExecution(ctx context.Context, e *holdfast.Execution) error
	// MoveExecution writes next over prev when the row still has prev's state,
	// wish and fence; else CodeConflict, and nothing is written. An ended
	// execution never changes. It does not write Execution.ETL, see MoveETLRun.
	MoveExecution(ctx context.Context, prev, next holdfast.Execution) error
	// MoveETLRun gives an execution of an ETL that has not ended next, whose Version
	// must be higher than before, when the row still has prev's state, wish, fence
	// and Version; else CodeConflict. No other move undoes it.
	MoveETLRun(ctx context.Context, prev holdfast.Execution, next holdfast.ETLRun) error
	// KeepETLStart keeps what an execution of an ETL starts with, until it has ended.
	// CodeConflict when it has been kept before.
	KeepETLStart(ctx context.Context, e holdfast.ExecutionID, start holdfast.ETLStart) error
	// BeatExecution writes beat number and progress of a running execution with
	// this fence; CodeConflict when it is not running or the fence is old.
	BeatExecution(ctx context.Context, id holdfast.ExecutionID, f holdfast.Fence, beat uint64, p holdfast.Progress) error

	// ReserveSetID takes an id from the sets' sequence; it is never given out
	// again.
	ReserveSetID(ctx context.Context) (holdfast.SetID, error)
	// RaiseSequences has no id given out from now on that is not above these; zero
	// raises nothing.
	RaiseSequences(ctx context.Context, s Sequences) error
	InsertSet(ctx context.Context, s *holdfast.BackupSet) error
	UpdateSet(ctx context.Context, s holdfast.BackupSet) error
	InsertCopy(ctx context.Context, c *holdfast.Copy) error
	// MoveCopy writes next over prev when the row still has prev's state; else
	// CodeConflict.
	MoveCopy(ctx context.Context, prev, next holdfast.Copy) error

	InsertWorker(ctx context.Context, w *holdfast.Worker) error
	UpdateWorker(ctx context.Context, w holdfast.Worker) error

	InsertEvent(ctx context.Context, e *holdfast.Event) error
}

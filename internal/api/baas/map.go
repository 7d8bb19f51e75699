package baas

import (
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// timeLayout is UTC with six digits.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// DefaultMechanism is the only engine that the documents name; scripts may
// compare it.
const DefaultMechanism = "DSA"

// backupFull is the backup_type of every job: a plan's kind, not a run's type.
const backupFull = "FULL"

// The words of an execution's status. A script that knows only SUCCESSFUL and
// FAILED neither hangs nor takes an incomplete backup for a good one.
const (
	statusQueued     = "QUEUED"
	statusRunning    = "RUNNING"
	statusAborting   = "ABORTING"
	statusSuccessful = "SUCCESSFUL"
	statusFailed     = "FAILED"
	statusAborted    = "ABORTED"
)

// Words are the settings of a dialect.
type Words struct {
	Mechanism    string // backup_mechanism; empty: DefaultMechanism
	MaxRetention int    // of no_of_retention_copies; 0: MaxRetention
}

func (w Words) mechanism() string {
	if w.Mechanism != "" {
		return w.Mechanism
	}
	return DefaultMechanism
}

func (w Words) maxRetention() int {
	if w.MaxRetention > 0 {
		return w.MaxRetention
	}
	return MaxRetention
}

// statusWord is the table of states.
func statusWord(s holdfast.Status) string {
	switch s.State {
	case holdfast.StatePlanned, holdfast.StateQueued, holdfast.StateSuspended:
		return statusQueued
	case holdfast.StateRunning:
		switch s.Wanted {
		case holdfast.WantRun, holdfast.WantSuspend:
			return statusRunning
		case holdfast.WantStop, holdfast.WantAbort, holdfast.WantKill:
		}
		return statusAborting
	case holdfast.StateEnded:
	}
	switch s.Outcome {
	case holdfast.OutcomeSucceeded:
		return statusSuccessful
	case holdfast.OutcomeStopped, holdfast.OutcomeAborted, holdfast.OutcomeKilled, holdfast.OutcomeCancelled:
		return statusAborted
	case holdfast.OutcomeWarning, holdfast.OutcomeFailed, holdfast.OutcomeNone:
		// A warning is a success only when it tells of objects that the job asked
		// to skip; the engine that skips objects brings that reason.
	}
	return statusFailed
}

// statusDetail says in words what the status word leaves out.
func statusDetail(e holdfast.Execution) *string {
	var parts []string
	switch e.State {
	case holdfast.StateSuspended:
		parts = append(parts, string(holdfast.StateSuspended))
	case holdfast.StateRunning:
		if e.Progress.Phase != "" {
			parts = append(parts, "phase "+e.Progress.Phase)
		}
	case holdfast.StateQueued:
		if why := waitsAfter(e.Reason); why != "" {
			parts = append(parts, "waits after "+why)
		}
	case holdfast.StatePlanned, holdfast.StateEnded:
	}
	switch e.Outcome {
	case holdfast.OutcomeWarning:
		parts = append(parts, "COMPLETED_WITH_ERRORS")
	case holdfast.OutcomeStopped, holdfast.OutcomeAborted, holdfast.OutcomeKilled, holdfast.OutcomeCancelled:
		parts = append(parts, string(e.Outcome))
	case holdfast.OutcomeNone, holdfast.OutcomeSucceeded, holdfast.OutcomeFailed:
	}
	var text []string
	if e.Detail != "" {
		text = append(text, e.Detail)
	}
	if e.RunTypeReason != "" && e.RunAsked != e.RunType {
		text = append(text, e.RunTypeReason)
	}
	if len(text) > 0 {
		parts = append(parts, strings.Join(text, "; "))
	}
	if len(parts) == 0 {
		return nil
	}
	s := strings.Join(parts, ": ")
	return &s
}

// waitsAfter says why an execution that has run before is queued again.
func waitsAfter(r holdfast.Reason) string {
	switch r {
	case holdfast.ReasonLost:
		return "its worker fell silent"
	case holdfast.ReasonHandedBack:
		return "its worker handed it back"
	case holdfast.ReasonTransient:
		return "a failure that may pass"
	case holdfast.ReasonNone, holdfast.ReasonError, holdfast.ReasonDamaged, holdfast.ReasonWish,
		holdfast.ReasonTimeLimit, holdfast.ReasonSkipped, holdfast.ReasonExpired:
	}
	return ""
}

// View is what the shapes need to know besides the row itself.
type View struct {
	Words        Words
	Account      string        // as jobs carry it; empty: they do not
	Site         holdfast.Site // whose jobs and executions these are
	Repositories map[holdfast.RepositoryID]holdfast.Repository
	Sets         map[holdfast.SetID]service.SetView
	Targets      map[holdfast.SiteID]string // slugs of other sites that are restored to
}

// Job returns a job as the list shows it.
func (v View) Job(j service.JobView) Job {
	return Job{
		SiteID:         v.Site.Slug,
		AutoAbort:      int64(j.AutoAbort.After / time.Minute),
		BackupType:     backupFull,
		Description:    j.Description,
		Active:         j.Active,
		AutoAbortOn:    j.AutoAbort.Active,
		JobID:          int64(j.ID),
		JobType:        string(j.Type),
		Last:           lastExecution(j),
		Name:           j.Name,
		NextRun:        stamp(j.NextRun),
		Retention:      j.Retention.Count,
		Priority:       int(j.Priority),
		SiteTargetType: v.storageOf(j.Repository),
		Mechanism:      v.Words.mechanism(),
		Target:         extrasOf(j.Job).Target,
		Account:        v.Account,
	}
}

// JobDetail returns a job with its settings.
func (v View) JobDetail(j service.JobView) JobDetail {
	s := v.Job(j)
	return JobDetail{
		SiteID: s.SiteID, AutoAbort: s.AutoAbort, BackupType: s.BackupType, Description: s.Description,
		Settings: settingsOf(j.Job), Active: s.Active, AutoAbortOn: s.AutoAbortOn, JobID: s.JobID, JobType: s.JobType,
		Last: s.Last, Name: s.Name, NextRun: s.NextRun, Retention: s.Retention, SiteTargetType: s.SiteTargetType,
		Target: s.Target, Priority: s.Priority, Mechanism: s.Mechanism, Account: s.Account,
	}
}

func lastExecution(j service.JobView) LastExecution {
	var l LastExecution
	if e := j.Last; e != nil {
		word := statusWord(e.Status)
		l = LastExecution{
			End: stamp(e.Ended), Start: stamp(e.Started), Status: &word, Size: e.StoredSize,
			Job: int64(e.Job), Execution: int64(e.ID),
		}
		if e.Type == holdfast.JobRestore {
			l.RestoreExecution = int64(e.ID)
		}
	}
	if j.LastRestore != nil {
		l.RestoreExecution = int64(j.LastRestore.ID)
	}
	return l
}

// Execution returns an execution.
func (v View) Execution(e holdfast.Execution) Execution {
	out := Execution{
		SiteID:        v.Site.Slug,
		JobID:         int64(e.Job),
		JobName:       e.JobName,
		Mechanism:     v.Words.mechanism(),
		JobType:       string(e.Type),
		ExecutionID:   ID(e.ID),
		ExecutionName: executionName(e),
		Start:         stamp(e.Started),
		End:           stamp(e.Ended),
		Size:          e.StoredSize,
		Status:        statusWord(e.Status),
		SiteType:      v.storageOf(e.Repository),
		Detail:        statusDetail(e),
	}
	if e.Restore != nil {
		out.TargetSite = v.targetSite(*e.Restore)
	}
	if e.Fence != 0 { // the run of an engine is one order: an execution and its fence
		run := ID(e.ID) + "." + ID(int64(e.Fence))
		out.ServerExecutionID = &run
	}
	if e.Parent != 0 {
		parent := ID(e.Parent)
		out.Parent = &parent
	}
	runType := e.RunType
	if hasSet(e) {
		out.Saveset = int64(e.Set)
		set, kept := v.Sets[e.Set]
		out.Retained, out.Deleted = set.Protected, !kept
		if kept && e.Type == holdfast.JobRestore {
			runType = set.RunType
		}
	}
	if runType != "" {
		word := string(runType)
		out.RunType = &word
	}
	return out
}

// hasSet reports whether the execution names a set that exists or existed: the
// one that it restores, or the one that it made. A backup that has not ended well
// has only a reserved number.
func hasSet(e holdfast.Execution) bool {
	if e.Set == 0 {
		return false
	}
	switch e.Outcome {
	case holdfast.OutcomeSucceeded, holdfast.OutcomeWarning:
		return true
	case holdfast.OutcomeNone, holdfast.OutcomeFailed, holdfast.OutcomeStopped, holdfast.OutcomeAborted,
		holdfast.OutcomeKilled, holdfast.OutcomeCancelled:
	}
	return e.Type == holdfast.JobRestore
}

func executionName(e holdfast.Execution) *string {
	if e.Type == holdfast.JobRestore && e.Name != "" {
		return &e.Name
	}
	if e.Started.IsZero() {
		return nil
	}
	s := e.JobName + "_" + e.Started.UTC().Format("20060102150405")
	return &s
}

// SiteItem returns a site.
func (v View) SiteItem(s holdfast.Site) Site {
	v.Site = s
	return Site{SiteID: s.Slug, SiteName: s.Name, SiteType: v.storageOf(0)}
}

// storageOf is the kind of storage that a repository is on; zero is the site's
// default.
func (v View) storageOf(id holdfast.RepositoryID) *string {
	if id == 0 {
		id = v.Site.Repository
	}
	u, err := url.Parse(v.Repositories[id].Location)
	if err != nil || u.Scheme == "" {
		return nil
	}
	s := strings.ToUpper(u.Scheme)
	return &s
}

func stamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format(timeLayout)
	return &s
}

package commvault

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

func (h *handler) jobRoutes(add, _ adder) {
	add(http.MethodGet, "Job", h.jobs)
	add(http.MethodPost, "Jobs", h.filteredJobs)
	add(http.MethodGet, "Job/{id}", h.job)
	add(http.MethodPost, "JobDetails", h.jobDetails)
	add(http.MethodGet, "Job/{id}/TaskDetails", h.taskDetails)
	add(http.MethodGet, "Job/{id}/AdvancedDetails", h.advancedDetails)
	add(http.MethodGet, "Events", h.events)
}

// jobsReply is a list of jobs, and the answer about one: unknown is none.
type jobsReply struct {
	Total int         `json:"totalRecordsWithoutPaging"`
	Jobs  []listedJob `json:"jobs"`
}

type listedJob struct {
	Summary jobSummary `json:"jobSummary"`
}

type jobSummary struct {
	ID             int64      `json:"jobId"`
	Visible        bool       `json:"isVisible"` // true, or the SDK drops the job
	Type           string     `json:"jobType"`
	Operation      string     `json:"localizedOperationName"`
	Status         string     `json:"status"`
	StatusText     string     `json:"localizedStatus"`
	Percent        int        `json:"percentComplete"`
	Started        int64      `json:"jobStartTime"` // seconds since 1970, as all times
	Ended          int64      `json:"jobEndTime"`
	Updated        int64      `json:"lastUpdateTime"`
	Elapsed        int64      `json:"jobElapsedTime"` // seconds
	Level          string     `json:"backupLevelName,omitempty"`
	LevelText      string     `json:"localizedBackupLevelName,omitempty"`
	PendingReason  string     `json:"pendingReason,omitempty"`
	Phase          string     `json:"currentPhaseName,omitempty"`
	AppSize        int64      `json:"sizeOfApplication"` // bytes, as all sizes
	MediaSize      int64      `json:"sizeOfMediaOnDisk"`
	Savings        float64    `json:"percentSavings"`
	Files          int64      `json:"totalNumOfFiles"`
	FailedFiles    int64      `json:"totalFailedFiles"`
	FailedFolders  int64      `json:"totalFailedFolders"`
	Aged           bool       `json:"isAged"`
	AppType        string     `json:"appTypeName"`
	Subclient      entity     `json:"subclient"`
	BackupsetName  string     `json:"backupSetName"`
	SubclientName  string     `json:"subclientName"`
	DestClientName string     `json:"destClientName"`
	Policy         policyName `json:"storagePolicy"`
	User           jobUser    `json:"userName"`
}

type jobUser struct {
	Name string `json:"userName"`
	ID   int64  `json:"userId"` // 0 in lists
}

// readJob returns the execution that is the job. Others are none here, and not
// even their existence is told.
func (h *handler) readJob(ctx context.Context, actor holdfast.Actor, id int64) (holdfast.Execution, error) {
	e, err := h.Service.Execution(ctx, actor, holdfast.ExecutionID(id))
	if err == nil && e.Type != holdfast.JobBackup && e.Type != holdfast.JobRestore || holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return holdfast.Execution{}, unknown("job", id)
	}
	return e, err
}

// job tells about one job. The SDK looks at the count before all else, and waits
// when there is none.
func (h *handler) job(ctx context.Context, c call) (any, error) {
	id, err := c.id("job")
	if err != nil {
		return jobsReply{Jobs: []listedJob{}}, nil //nolint:nilerr // what is no number is the id of nothing
	}
	e, err := h.readJob(ctx, c.actor, id)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return jobsReply{Jobs: []listedJob{}}, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := h.summary(ctx, c.actor, e)
	if err != nil {
		return nil, err
	}
	return jobsReply{Total: 1, Jobs: []listedJob{{s}}}, nil
}

// summary is the summary of one job, for which as little as possible is read:
// clients ask for it again and again.
func (h *handler) summary(ctx context.Context, actor holdfast.Actor, e holdfast.Execution) (jobSummary, error) {
	v, err := h.siteView(ctx, actor, e.Site, e.Host)
	if err != nil {
		return jobSummary{}, err
	}
	from, err := v.origin(ctx, e)
	if err != nil {
		return jobSummary{}, err
	}
	policy, err := h.policy(ctx, actor, e.Repository)
	if err != nil && holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return jobSummary{}, err
	}
	s := v.summary(e, from, policy)
	s.User.ID, err = h.submitter(ctx, actor, e)
	return s, err
}

// submitter is the number of who asked for an execution; 0 when nobody is known.
func (h *handler) submitter(ctx context.Context, actor holdfast.Actor, e holdfast.Execution) (int64, error) {
	if e.Submission == 0 {
		return 0, nil
	}
	sub, _, err := h.Service.Submission(ctx, actor, e.Submission)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return 0, nil
	}
	return int64(sub.Principal), err
}

// origin returns the job that an execution's subclient is: its own for a backup,
// for a restore that of the backup.
func (v *view) origin(ctx context.Context, e holdfast.Execution) (holdfast.Job, error) {
	if e.Type == holdfast.JobRestore && e.Parent != 0 {
		parent, err := v.h.Service.Execution(ctx, v.actor, e.Parent)
		switch {
		case err == nil:
			e.Job, e.JobName = parent.Job, parent.JobName
		case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
			e.Job, e.JobName = 0, ""
		default:
			return holdfast.Job{}, err
		}
	}
	return holdfast.Job{ID: e.Job, Site: e.Site, Engine: e.Engine, Name: e.JobName}, nil
}

// summary translates an execution.
func (v *view) summary(e holdfast.Execution, from holdfast.Job, policy policyName) jobSummary {
	now := v.h.Now()
	updated := now
	if !e.Ended.IsZero() {
		updated = e.Ended
	}
	subclient := v.subclient(from)
	if _, ok := v.bySite[e.Site]; !ok { // the site is gone, its host may be there
		host := v.client(e.Host)
		subclient.ClientID, subclient.ClientName, subclient.DisplayName = host.ClientID, host.ClientName, host.DisplayName
	}
	s := jobSummary{
		ID: int64(e.ID), Visible: true, Type: typeName(e.Type), Operation: typeName(e.Type), Status: statusOfJob(e, now),
		Percent: percent(e), Started: seconds(begun(e)), Ended: seconds(e.Ended), Updated: seconds(updated),
		Elapsed: int64(elapsed(e, now) / time.Second), Level: levelName(e),
		AppSize: appSize(e), MediaSize: e.Progress.AddedBytes, Savings: savings(e), Files: e.Progress.DoneFiles,
		AppType: appName, Subclient: subclient, BackupsetName: subclient.BackupsetName, SubclientName: subclient.SubclientName,
		DestClientName: v.client(e.Host).ClientName, Policy: policy, User: jobUser{Name: userName(e)},
	}
	s.StatusText, s.LevelText = s.Status, s.Level
	if e.State == holdfast.StateRunning {
		s.Phase = e.Progress.Phase
	}
	if e.Outcome != holdfast.OutcomeSucceeded {
		s.PendingReason = why(e)
	}
	return s
}

// userName is who asked for an execution.
func userName(e holdfast.Execution) string { return strings.TrimPrefix(e.Actor, "token ") }

// appSize is how much an execution has read or written.
func appSize(e holdfast.Execution) int64 {
	if e.StoredSize > 0 {
		return e.StoredSize
	}
	return e.Progress.DoneBytes
}

// savings is how much less than it read a backup has stored, in percent.
func savings(e holdfast.Execution) float64 {
	size := appSize(e)
	if e.Type != holdfast.JobBackup || size <= 0 {
		return 0
	}
	part := 1 - float64(e.Progress.AddedBytes)/float64(size)
	return float64(int64(min(max(part, 0), 1)*10000)) / 100 // two digits
}

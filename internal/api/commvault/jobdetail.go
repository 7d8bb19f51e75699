package commvault

import (
	"context"
	"encoding/json"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

type jobDetail struct {
	General  generalInfo  `json:"generalInfo"`
	Detail   detailInfo   `json:"detailInfo"`
	Progress progressInfo `json:"progressInfo"`
	Status   struct {
		VMs []entity `json:"vmStatus"`
	} `json:"clientStatusInfo"`
}

type generalInfo struct {
	ID        int64    `json:"jobId"`
	By        string   `json:"jobStartedBy"`
	From      string   `json:"jobStartedFrom"` // Interactive or Scheduled
	Start     int64    `json:"startTime"`
	Level     string   `json:"backupType,omitempty"`
	Operation string   `json:"operationType"`
	Priority  int      `json:"priority"`
	Subclient entity   `json:"subclient"`
	Task      taskData `json:"taskData"`
}

type taskData struct {
	Task    int64 `json:"taskId"`
	SubTask int64 `json:"subtaskId"`
}

type detailInfo struct {
	AppSize      int64   `json:"sizeOfApplication"`
	MediaSize    int64   `json:"sizeOfMediaOnDisk"`
	Written      int64   `json:"dataWritten"`
	TransferTime int64   `json:"transferTime"` // seconds
	Start        int64   `json:"startTime"`
	End          int64   `json:"endTime"`
	Objects      int64   `json:"numOfObjects"`
	Skipped      int64   `json:"skippedItems"`
	Savings      float64 `json:"savingsPercent"`
	Throughput   float64 `json:"throughPut"` // GB an hour
}

type progressInfo struct {
	State   string `json:"state"`
	Percent int    `json:"percentComplete"`
	Files   int64  `json:"numOfFilesTransferred"`
	Reason  string `json:"reasonForJobDelay"`
	Phase   string `json:"currentPhase,omitempty"`
	Updated int64  `json:"lastUpdateTime"`
}

// errList is the documented answer about a job that does not exist. Readers
// differ in the name of the text.
func errList(code int64, text string) any {
	type item struct {
		Code    int64  `json:"errorCode"`
		Text    string `json:"errLogMessage"`
		Message string `json:"errorMessage"`
	}
	type list struct {
		List []item `json:"errList"`
	}
	return map[string]list{"error": {[]item{{code, text, text}}}}
}

// jobDetails tells all about one job; an unknown one is no failure.
func (h *handler) jobDetails(ctx context.Context, c call) (any, error) {
	var in struct {
		ID number `json:"jobId"`
	}
	if err := decode(c.body, &in); err != nil {
		return nil, badBody()
	}
	e, err := h.readJob(ctx, c.actor, in.ID.n)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return errList(codeNotFound, textOf(err)), nil
	}
	if err != nil {
		return nil, err
	}
	s, err := h.summary(ctx, c.actor, e)
	if err != nil {
		return nil, err
	}
	type detailed struct {
		Detail jobDetail `json:"jobDetail"`
	}
	return map[string]detailed{"job": {h.detail(e, s)}}, nil
}

// detail is what a job's summary leaves out.
func (h *handler) detail(e holdfast.Execution, s jobSummary) jobDetail {
	d := jobDetail{
		General: generalInfo{
			ID: s.ID, By: s.User.Name, From: startedFrom(e), Start: s.Started, Level: s.Level, Operation: s.Operation,
			Priority: int(e.Priority), Subclient: s.Subclient, Task: taskData{int64(e.Submission), int64(e.ID)},
		},
		Detail: detailInfo{
			AppSize: s.AppSize, MediaSize: s.MediaSize, Written: s.MediaSize, TransferTime: s.Elapsed, Start: s.Started, End: s.Ended,
			Objects: s.Files, Savings: s.Savings, Throughput: throughput(s.AppSize, time.Duration(s.Elapsed)*time.Second),
		},
		Progress: progressInfo{State: s.Status, Percent: s.Percent, Files: s.Files, Reason: why(e), Phase: s.Phase, Updated: s.Updated},
	}
	d.Status.VMs = []entity{}
	return d
}

func startedFrom(e holdfast.Execution) string {
	if e.Schedule != 0 {
		return "Scheduled"
	}
	return "Interactive"
}

// throughput is in GB an hour, with two digits.
func throughput(size int64, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return float64(int64(float64(size)/(1<<30)/took.Hours()*100)) / 100
}

// taskDetails shows the request that made a job. One that came another way, or
// that the caller may not read, is shown as the request for this job alone.
func (h *handler) taskDetails(ctx context.Context, c call) (any, error) {
	e, err := h.jobOfPath(ctx, c)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return errList(codeNotFound, textOf(err)), nil
	}
	if err != nil {
		return nil, err
	}
	sub, _, err := h.Service.Submission(ctx, c.actor, e.Submission)
	if err != nil && holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return nil, err
	}
	// What somebody else has asked for may name what a credential for some sites
	// does not see.
	if err == nil && sub.Dialect == Dialect && len(sub.Request) > 0 &&
		(len(c.actor.Credential.Sites) == 0 || sub.Principal == c.actor.Principal.ID) {
		return map[string]json.RawMessage{"taskInfo": sub.Request}, nil
	}
	s, err := h.summary(ctx, c.actor, e)
	if err != nil {
		return nil, err
	}
	return map[string]any{"taskInfo": requestOf(e, s)}, nil
}

// requestOf is the request that would make the job.
func requestOf(e holdfast.Execution, s jobSummary) any {
	taskType, kind, operation := 1, 2, 2 // at once, a backup
	if e.Schedule != 0 {
		taskType = 2
	}
	options := map[string]any{"backupOpts": map[string]string{"backupLevel": s.Level}}
	if e.Type == holdfast.JobRestore {
		kind, operation = 3, 1001
		options = map[string]any{}
	}
	return map[string]any{
		"associations": []entity{s.Subclient},
		"task":         map[string]int64{"taskId": int64(e.Submission), "taskType": int64(taskType)},
		"subTasks": []map[string]any{{
			"subTask": map[string]int{"subTaskType": kind, "operationType": operation}, "options": options,
		}},
	}
}

// jobOfPath returns the job that the path names.
func (h *handler) jobOfPath(ctx context.Context, c call) (holdfast.Execution, error) {
	id, err := c.id("job")
	if err != nil {
		return holdfast.Execution{}, err
	}
	return h.readJob(ctx, c.actor, id)
}

type copyShape struct {
	Policy policyName `json:"storagePolicy"`
	State  string     `json:"state"`
}

// advancedDetails tells what the job's backup set is, in our words: no shape of
// this call is documented.
func (h *handler) advancedDetails(ctx context.Context, c call) (any, error) {
	e, err := h.jobOfPath(ctx, c)
	if err != nil {
		return nil, err
	}
	backup := map[string]any{"levelAsked": string(e.RunAsked), "levelRun": string(e.RunType), "reason": e.RunTypeReason}
	if e.Parent != 0 {
		backup["parentJobId"] = int64(e.Parent)
	}
	retention := map[string]any{"copies": []copyShape{}}
	if e.Set != 0 {
		sets, _, err := h.Service.Sets(ctx, c.actor, store.SetFilter{IDs: []holdfast.SetID{e.Set}})
		if err != nil {
			return nil, err
		}
		if len(sets) > 0 {
			backup["setId"], backup["damaged"] = int64(e.Set), sets[0].Damaged
			retention["protected"] = sets[0].Protected
			copies := []copyShape{}
			for _, cp := range sets[0].Copies {
				policy, err := h.policy(ctx, c.actor, cp.Repository)
				if err != nil {
					return nil, err
				}
				copies = append(copies, copyShape{policy, string(cp.State)})
			}
			retention["copies"] = copies
		}
	}
	return map[string]any{"errorCode": 0, "jobId": int64(e.ID), "bkpInfo": backup, "retentionInfo": retention}, nil
}

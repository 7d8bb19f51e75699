package commvault

import (
	"encoding/json"
	"slices"
)

// taskRequest is the body of Createtask, as far as it is read. What is not here
// means nothing to us and is not kept with the submission either: that keeps
// passwords out of it.
type taskRequest struct {
	TaskInfo *taskInfo `json:"taskInfo"`
}

type taskInfo struct {
	Associations []*association `json:"associations"`
	Task         task           `json:"task,omitzero"`
	SubTasks     []*subTask     `json:"subTasks"` // the first counts
}

type task struct {
	TaskType      code      `json:"taskType,omitempty"`
	InitiatedFrom code      `json:"initiatedFrom,omitempty"`
	PolicyType    code      `json:"policyType,omitempty"`
	TaskFlags     taskFlags `json:"taskFlags,omitzero"`
}

type taskFlags struct {
	Disabled flag `json:"disabled,omitzero"`
}

type subTask struct {
	SubTask subTaskKind `json:"subTask,omitzero"`
	Options taskOptions `json:"options,omitzero"`
}

type subTaskKind struct {
	SubTaskType   code `json:"subTaskType,omitempty"`
	OperationType code `json:"operationType,omitempty"`
	SubTaskName   text `json:"subTaskName,omitempty"`
}

type taskOptions struct {
	BackupOpts     backupOpts      `json:"backupOpts,omitzero"`
	CommonOpts     commonOpts      `json:"commonOpts,omitzero"`
	RestoreOptions *restoreOptions `json:"restoreOptions,omitempty"`
}

type commonOpts struct {
	JobDescription text        `json:"jobDescription,omitempty"`
	StartUpOpts    startUpOpts `json:"startUpOpts,omitzero"`
}

type startUpOpts struct {
	StartInSuspendedState flag `json:"startInSuspendedState,omitzero"`
}

// readTask reads the body of Createtask. Every fault is the documented bad body.
func readTask(body []byte) (taskInfo, error) {
	var t taskRequest
	if err := decode(body, &t); err != nil || t.TaskInfo == nil {
		return taskInfo{}, badBody()
	}
	info := *t.TaskInfo
	if len(info.Associations) == 0 || slices.Contains(info.Associations, nil) ||
		len(info.SubTasks) == 0 || slices.Contains(info.SubTasks, nil) {
		return taskInfo{}, badBody()
	}
	return info, nil
}

// keptBytes bounds the request that is kept: what service.Submit takes.
const keptBytes = 64 << 10

// keep returns the task as it is kept with the submission. One that is too long is
// kept without its associations, which its jobs tell, or not at all.
func (t taskInfo) keep() (json.RawMessage, error) {
	b, err := json.Marshal(t)
	if err == nil && len(b) > keptBytes {
		t.Associations = []*association{}
		b, err = json.Marshal(t)
	}
	if err != nil || len(b) > keptBytes {
		return nil, err
	}
	return b, nil
}

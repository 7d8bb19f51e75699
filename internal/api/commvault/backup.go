package commvault

import (
	"context"
	"fmt"
	"net/http"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// backupOpts says how much is saved. Whether an incremental takes only logs
// makes no difference: without archived WAL it always takes the changed data.
type backupOpts struct {
	BackupLevel             code `json:"backupLevel,omitempty"`
	IncrementalDataWithLogs flag `json:"incrementalDataWithLogs,omitzero"`
}

// runType translates a level. The first backup is a full one whatever was asked.
func runType(level code) (holdfast.RunType, error) {
	switch level {
	case "1", "FULL":
		return holdfast.RunFull, nil
	case "", "2", "INCREMENTAL":
		return holdfast.RunDelta, nil
	case "3", "DIFFERENTIAL":
		return holdfast.RunCumulative, nil
	case "4", "SYNTHETICFULL", "SYNTHFULL": // every set is whole: a full one is as cheap
		return holdfast.RunFull, nil
	}
	return "", senseless("backup level %s is unknown", level).WithHint("send FULL, INCREMENTAL, DIFFERENTIAL or SYNTHETIC_FULL")
}

// createBackup starts a backup of every eligible subclient that the associations
// name.
func (h *handler) createBackup(ctx context.Context, c call, info taskInfo) (any, error) {
	v, err := h.view(ctx, c.actor)
	if err != nil {
		return nil, err
	}
	jobs, err := resolve(ctx, v, info.Associations)
	if err != nil {
		return nil, taskError(err)
	}
	if len(jobs) == 0 {
		return nil, noEligible()
	}
	if err := h.mayBackUp(ctx, c, v, jobs); err != nil {
		return nil, err
	}
	sub := info.SubTasks[0]
	if err := info.check(); err != nil {
		return nil, notRun(err)
	}
	level, err := runType(sub.Options.BackupOpts.BackupLevel)
	if err != nil {
		return nil, notRun(err)
	}
	kept, err := info.keep()
	if err != nil {
		return nil, err
	}
	in := service.Submit{Request: kept, IdempotencyKey: c.header.Get(idempotencyKey), Runs: make([]service.Run, len(jobs))}
	for i, j := range jobs {
		in.Runs[i] = service.Run{Job: j.ID, RunType: level, IfBusy: service.Queue, Suspended: sub.Options.CommonOpts.StartUpOpts.StartInSuspendedState.on}
	}
	made, list, err := h.Service.ExecuteAll(ctx, c.actor, in)
	if err != nil {
		return nil, taskError(err)
	}
	return replyOf(made.ID, list...), nil
}

// mayBackUp refuses a task when the actor may not back up one of its subclients:
// then none is.
func (h *handler) mayBackUp(ctx context.Context, c call, v *view, jobs []holdfast.Job) error {
	asked := map[holdfast.SiteID]bool{}
	for _, j := range jobs {
		if asked[j.Site] {
			continue
		}
		asked[j.Site] = true
		err := h.Service.MayRun(ctx, c.actor, j.Site)
		if holdfast.ErrorCode(err) == holdfast.CodeForbidden {
			return &Failure{Status: http.StatusForbidden, Code: codeNoBackupRight, Err: err, Message: fmt.Sprintf(
				"User [%s] does not have required capability [Data Protection/Management Operations] for this client [%s] and this operation.",
				c.actor.Principal.Name, v.instance(j.Site).ClientName)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// backupByID starts a backup of the subclient that the path names.
func (h *handler) backupByID(ctx context.Context, c call) (any, error) {
	id, err := c.id("subclient")
	if err != nil {
		return nil, noEligible()
	}
	return h.backupSubclient(ctx, c, association{SubclientID: number{id}})
}

// backupByName starts a backup of the subclient that the path's arguments name.
func (h *handler) backupByName(ctx context.Context, c call) (any, error) {
	return h.backupSubclient(ctx, c, association{
		ClientName: text(c.path["clientname"]), AppName: text(c.path["appname"]), InstanceName: text(c.path["instancename"]),
		BackupsetName: text(c.path["backupsetname"]), SubclientName: text(c.path["subclientname"]),
	})
}

// backupSubclient is createBackup of one subclient, with the level in the query.
func (h *handler) backupSubclient(ctx context.Context, c call, a association) (any, error) {
	if !a.SubclientID.given() && a.SubclientName == "" {
		return nil, noEligible()
	}
	return h.createBackup(ctx, c, taskInfo{
		Associations: []*association{&a},
		Task:         task{TaskType: "1"},
		SubTasks: []*subTask{{
			SubTask: subTaskKind{SubTaskType: "2", OperationType: "2"},
			Options: taskOptions{BackupOpts: backupOpts{BackupLevel: codeOf(c.query.get("backupLevel"))}},
		}},
	})
}

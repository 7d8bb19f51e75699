package native

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/expire"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// RetentionPlan says what the retention of a job would let go now.
type RetentionPlan struct {
	JobID      holdfast.JobID         `json:"job_id"`
	Job        string                 `json:"job"`
	Site       string                 `json:"site,omitempty" doc:"Slug of the site"`
	Unit       holdfast.RetentionUnit `json:"unit" enum:"SETS,GENERATIONS" doc:"What is counted"`
	UnitReason string                 `json:"unit_reason"`
	Count      int                    `json:"count" doc:"How many good units stay"`
	Good       int                    `json:"good" doc:"How many good units there are"`
	Drops      int                    `json:"drops" doc:"How many sets would go"`
	Sets       []RetentionVerdict     `json:"sets" doc:"The newest first"`
}

// RetentionVerdict says what becomes of one set, and why.
type RetentionVerdict struct {
	SetID        holdfast.SetID   `json:"set_id"`
	RunType      holdfast.RunType `json:"run_type"`
	GenerationID holdfast.SetID   `json:"generation_id" doc:"The set that its generation begins with"`
	Stopped      time.Time        `json:"stopped" doc:"By the database server's clock"`
	Bytes        int64            `json:"bytes" doc:"Size of what it restores to"`
	Drop         bool             `json:"drop"`
	Code         expire.Code      `json:"code"`
	Reason       string           `json:"reason"`
}

// NewProtection asks for a set to be protected.
type NewProtection struct {
	Others string `json:"others,omitempty" enum:"allow,refuse,replace" doc:"Other protected sets of the same job: they stay protected, are in the way (409), or are protected no longer; default: allow"`
}

type deleteSet struct {
	SetPath
	ConfirmLast bool `query:"confirm_last" doc:"Delete it although it is the last good set of its site"`
}

func (a *api) registerRetention() {
	register(a, operation{
		id: "get-retention-plan", method: http.MethodGet, path: "/jobs/{job}/retention", tag: "jobs",
		summary: "See which backup sets would go now; they go when the next backup ends well",
	}, a.retentionPlan)
	register(a, operation{
		id: "protect-set", method: http.MethodPost, path: "/sets/{set}/protect", tag: "backup sets",
		summary: "Have retention leave a backup set alone",
	}, a.protectSet)
	register(a, operation{
		id: "unprotect-set", method: http.MethodPost, path: "/sets/{set}/unprotect", tag: "backup sets",
		summary: "Leave a backup set to retention",
	}, func(ctx context.Context, actor holdfast.Actor, in *SetPath) (*output[Set], error) {
		return a.protect(ctx, actor, in.Set, service.Protection{})
	})
	register(a, operation{
		id: "confirm-set", method: http.MethodPost, path: "/sets/{set}/confirm", tag: "backup sets",
		summary: "Confirm an imported set: retention counts it, and backups may build on it",
	}, func(ctx context.Context, actor holdfast.Actor, in *SetPath) (*output[Set], error) {
		v, err := a.Service.ConfirmSet(ctx, actor, in.Set)
		return a.answerSet(ctx, actor, v, err)
	})
	register(a, operation{
		id: "delete-set", method: http.MethodDelete, path: "/sets/{set}", tag: "backup sets", summary: "Delete a backup set",
	}, func(ctx context.Context, actor holdfast.Actor, in *deleteSet) (*none, error) {
		if in.ConfirmLast {
			return &none{}, a.Service.DeleteLastSet(ctx, actor, in.Set)
		}
		return &none{}, a.Service.DeleteSet(ctx, actor, in.Set)
	})
}

func (a *api) retentionPlan(ctx context.Context, actor holdfast.Actor, in *JobPath) (*output[RetentionPlan], error) {
	id, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	p, err := a.Service.RetentionPlan(ctx, actor, id)
	if err != nil {
		return nil, err
	}
	j, err := a.Service.Job(ctx, actor, id)
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	out := RetentionPlan{
		JobID: p.Job, Job: j.Name, Site: n.slugOf(j.Site), Unit: p.Unit, UnitReason: p.UnitReason, Count: p.Count, Good: p.Good,
		Drops: len(p.Drops()), Sets: make([]RetentionVerdict, 0, len(p.Sets)),
	}
	for _, v := range p.Sets {
		out.Sets = append(out.Sets, RetentionVerdict{
			SetID: v.Set.ID, RunType: v.Set.RunType, GenerationID: v.Generation, Stopped: utc(v.Set.Stopped), Bytes: v.Set.Bytes,
			Drop: v.Drop, Code: v.Code, Reason: v.Reason,
		})
	}
	return &output[RetentionPlan]{Body: out}, nil
}

func (a *api) protectSet(ctx context.Context, actor holdfast.Actor, in *struct {
	SetPath
	Body *NewProtection
},
) (*output[Set], error) {
	p := service.Protection{On: true, Others: service.AllowOthers}
	if in.Body != nil {
		switch in.Body.Others {
		case "refuse":
			p.Others = service.RefuseOthers
		case "replace":
			p.Others = service.ReplaceOthers
		}
	}
	return a.protect(ctx, actor, in.Set, p)
}

func (a *api) protect(ctx context.Context, actor holdfast.Actor, id holdfast.SetID, p service.Protection) (*output[Set], error) {
	v, err := a.Service.Protect(ctx, actor, id, p)
	return a.answerSet(ctx, actor, v, err)
}

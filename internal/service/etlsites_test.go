package service_test

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// TestAnETLTakesATokenForAllItsSites asks for everything that is more than reading
// with tokens for one of an ETL's two sites, and for both: whoever runs or resets it
// works on each of them.
func TestAnETLTakesATokenForAllItsSites(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	admin := must(r.svc.CreateETL(t.Context(), r.admin, service.NewETL{Definition: definitionOf("orders", "", "berlin", "paris")}))(t)
	other := r.etl("other", berlinETL)
	trigger := must(r.svc.CreateTrigger(t.Context(), r.admin, holdfast.Trigger{Job: admin.ID, Run: other.ID}))(t)
	run := func() holdfast.ExecutionID {
		return must(r.svc.RunETL(t.Context(), r.admin, service.RunETL{Job: admin.ID}))(t).Execution
	}
	for _, c := range []struct {
		what string
		role holdfast.Role
		do   func(ctx context.Context, a holdfast.Actor) error
	}{
		{"run", holdfast.RoleOperator, func(ctx context.Context, a holdfast.Actor) error {
			_, err := r.svc.RunETL(ctx, a, service.RunETL{Job: admin.ID})
			return err
		}},
		{"execute", holdfast.RoleOperator, func(ctx context.Context, a holdfast.Actor) error {
			_, err := r.svc.Execute(ctx, a, service.Run{Job: admin.ID, IfBusy: service.Queue})
			return err
		}},
		{"execute all", holdfast.RoleOperator, func(ctx context.Context, a holdfast.Actor) error {
			_, _, err := r.svc.ExecuteAll(ctx, a, service.Submit{Runs: []service.Run{{Job: admin.ID, IfBusy: service.Queue}}})
			return err
		}},
		{"schedule", holdfast.RoleOperator, func(ctx context.Context, a holdfast.Actor) error {
			_, err := r.svc.ScheduleETL(ctx, a, service.ScheduleETL{RunETL: service.RunETL{Job: admin.ID}, Period: time.Hour})
			return err
		}},
		{"suspend an execution", holdfast.RoleOperator, func(ctx context.Context, a holdfast.Actor) error {
			_, err := r.svc.Suspend(ctx, a, run())
			return err
		}},
		{"kill an execution", holdfast.RoleOperator, func(ctx context.Context, a holdfast.Actor) error {
			_, err := r.svc.Kill(ctx, a, run())
			return err
		}},
		{"stop", holdfast.RoleOperator, func(ctx context.Context, a holdfast.Actor) error {
			_, err := r.svc.StopETL(ctx, a, admin.ID)
			return err
		}},
		{"kill", holdfast.RoleOperator, func(ctx context.Context, a holdfast.Actor) error {
			_, err := r.svc.KillETL(ctx, a, admin.ID)
			return err
		}},
		{"reset a counter", holdfast.RoleOperator, func(ctx context.Context, a holdfast.Actor) error {
			return r.svc.SetETLCounter(ctx, a, admin.ID, "orders", "orders", "")
		}},
		{"silence a trigger", holdfast.RoleAdmin, func(ctx context.Context, a holdfast.Actor) error {
			_, err := r.svc.SetTriggerActive(ctx, a, admin.ID, trigger.ID, false)
			return err
		}},
		{"delete", holdfast.RoleAdmin, func(ctx context.Context, a holdfast.Actor) error { return r.svc.DeleteJob(ctx, a, admin.ID) }},
	} {
		ctx := t.Context()
		for _, site := range r.sites[:2] {
			want := holdfast.CodeForbidden
			if site.ID != admin.Site {
				want = holdfast.CodeNotFound // as for a reader, who does not see it
			}
			if err := c.do(ctx, r.actor(c.role, site.ID)); holdfast.ErrorCode(err) != want {
				t.Errorf("%s with a token for site %s alone: got %v, want %s", c.what, site.Slug, err, want)
			}
		}
		if err := c.do(ctx, r.actor(c.role, r.sites[0].ID, r.sites[1].ID)); err != nil {
			t.Errorf("%s with a token for both sites: got %v", c.what, err)
		}
	}
}

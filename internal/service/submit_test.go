package service_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func TestSeveralExecutionsAreOneSubmission(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	a, b := r.job(0, "a"), r.job(1, "b")
	r.out.forget()
	in := service.Submit{
		Runs:           []service.Run{{Job: a.ID, RunType: holdfast.RunDelta}, {Job: b.ID, Suspended: true}},
		Request:        json.RawMessage(`{"from":"a test"}`),
		IdempotencyKey: "one",
	}
	sub, list, err := r.svc.ExecuteAll(ctx, r.admin, in)
	if err != nil || len(list) != 2 {
		t.Fatalf("got executions %+v and error %v, want two", list, err)
	}
	if list[0].Submission != sub.ID || list[1].Submission != sub.ID || list[0].State != holdfast.StateQueued ||
		list[1].State != holdfast.StateSuspended || list[1].Wanted != holdfast.WantSuspend || list[0].Actor != r.admin.Principal.Name {
		t.Errorf("got executions %+v", list)
	}
	if rings := r.out.rung(); len(rings) != 1 {
		t.Errorf("got rings %v, want one: two executions of one pool, one of them suspended", rings)
	}
	got, seen, err := r.svc.Submission(ctx, r.admin, sub.ID)
	if err != nil || string(got.Request) != `{"from":"a test"}` || len(seen) != 2 {
		t.Errorf("got submission %+v of %d executions and error %v", got, len(seen), err)
	}
	again, repeated, err := r.svc.ExecuteAll(ctx, r.admin, in)
	if err != nil || again.ID != sub.ID || len(repeated) != 2 || repeated[0].ID != list[0].ID {
		t.Errorf("got submission %d with %d executions and error %v, want the first one again", again.ID, len(repeated), err)
	}
	in.Runs = in.Runs[:1]
	if _, _, err := r.svc.ExecuteAll(ctx, r.admin, in); holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("got %v for the key of another request, want conflict", err)
	}
	if e := must(r.svc.Resume(ctx, r.admin, list[1].ID))(t); e.State != holdfast.StateQueued {
		t.Errorf("got %s after the resume, want QUEUED", e.State)
	}

	bound := r.actor(holdfast.RoleReader, r.sites[1].ID)
	if _, seen, err := r.svc.Submission(ctx, bound, sub.ID); err != nil || len(seen) != 1 || seen[0].Site != r.sites[1].ID {
		t.Errorf("got executions %+v and error %v for a token bound to one site, want that site's", seen, err)
	}
}

func TestSubmitIsAllOrNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	a, b := r.job(0, "a"), r.job(1, "b")
	busy := r.run(b)
	for _, c := range []struct {
		name string
		in   service.Submit
		want holdfast.Code
	}{
		{"the second is busy", service.Submit{Runs: []service.Run{{Job: a.ID}, {Job: b.ID}}}, holdfast.CodeConflict},
		{"the second is unknown", service.Submit{Runs: []service.Run{{Job: a.ID}, {Job: 7}}}, holdfast.CodeNotFound},
		{"one twice", service.Submit{Runs: []service.Run{{Job: a.ID}, {Job: a.ID}}}, holdfast.CodeInvalid},
		{"none", service.Submit{}, holdfast.CodeInvalid},
		{"suspended and later", service.Submit{Runs: []service.Run{{Job: a.ID, Suspended: true, Due: start.Add(time.Hour)}}}, holdfast.CodeInvalid},
		{"request too long", service.Submit{Runs: []service.Run{{Job: a.ID}}, Request: make(json.RawMessage, 1<<20)}, holdfast.CodeInvalid},
	} {
		_, _, err := r.svc.ExecuteAll(ctx, r.admin, c.in)
		if got := holdfast.ErrorCode(err); got != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	all, n, err := r.svc.Executions(ctx, r.admin, store.ExecutionFilter{})
	if err != nil || n != 1 || all[0].ID != busy.ID {
		t.Errorf("got %d executions and error %v, want the busy one alone", n, err)
	}
}

func TestAQueueHasAnEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "full")
	for range service.MaxWaiting {
		must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, IfBusy: service.Queue}))(t)
	}
	_, err := r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, IfBusy: service.Queue})
	if holdfast.ErrorCode(err) != holdfast.CodeConflict || holdfast.ErrorHint(err) == "" {
		t.Errorf("got %v, want a conflict that says what to do", err)
	}
}

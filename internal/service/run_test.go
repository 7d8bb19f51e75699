package service_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func asError(err error, e **holdfast.Error) bool { return errors.As(err, e) }

func TestExecuteQueuesABackup(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := must(r.svc.CreateJob(ctx, r.admin, holdfast.Job{
		Site: r.sites[0].ID, Name: "full", Priority: 2, AutoAbort: holdfast.AutoAbort{Active: true, After: time.Hour},
	}))(t)
	r.out.forget()
	e := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, RunType: holdfast.RunDelta}))(t)
	got := must(r.svc.Execution(ctx, r.admin, e.ID))(t)
	if got.State != holdfast.StateQueued || got.RunAsked != holdfast.RunDelta || got.Priority != 2 || got.AbortAfter != time.Hour ||
		got.Pool != holdfast.DefaultPool || got.Host != r.hosts[0].ID || got.Repository != r.repo.ID || got.JobName != "full" ||
		!got.Due.Equal(start) || !got.Submitted.Equal(start) || got.Submission == 0 || got.Site != r.sites[0].ID || got.Type != holdfast.JobBackup {
		t.Errorf("got execution %+v", got)
	}
	if rings := r.out.rung(); len(rings) != 1 || rings[0] != holdfast.DefaultPool {
		t.Errorf("got rings %v, want one for the pool", rings)
	}
	if ev := r.lastEvent(); ev.Kind != "execution.queued" || !strings.Contains(string(ev.Data), `"run_type":"DELTA"`) {
		t.Errorf("got event %s %s", ev.Kind, ev.Data)
	}
	full := must(r.svc.Execute(ctx, r.admin, service.Run{Job: r.job(1, "x").ID}))(t)
	if full.RunAsked != holdfast.RunFull {
		t.Errorf("got run type %s, want FULL when none is asked", full.RunAsked)
	}
}

func TestABusyJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "full")
	first := r.run(j)
	for _, m := range []holdfast.Move{"", holdfast.MoveStart, holdfast.MoveSuspend, holdfast.MoveRest} {
		if m != "" {
			first = r.move(first, m)
		}
		_, err := r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID})
		wantBusy(t, err, first.ID)
		if got := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, IfBusy: service.Join}))(t); got.ID != first.ID {
			t.Errorf("joined execution %d, want %d", got.ID, first.ID)
		}
	}
	r.out.forget()
	queued := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, IfBusy: service.Queue}))(t)
	if queued.ID == first.ID || queued.State != holdfast.StateQueued || len(r.out.rung()) != 1 {
		t.Errorf("got execution %+v, want another one, rung for", queued)
	}
	must(r.svc.Kill(ctx, r.admin, first.ID))(t)
	_, err := r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID})
	wantBusy(t, err, queued.ID)
	must(r.svc.Kill(ctx, r.admin, queued.ID))(t)
	must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, IfBusy: service.Join}))(t)
}

func TestPlannedRunsMakeNoJobBusy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "full")
	r.out.forget()
	planned := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, Due: start.Add(time.Minute).In(time.FixedZone("x", 3600))}))(t)
	if planned.State != holdfast.StatePlanned || !planned.Due.Equal(start.Add(time.Minute)) || len(r.out.rung()) != 0 {
		t.Errorf("got execution %+v and rings %v, want it planned and nobody rung for", planned.Status, r.out.rung())
	}
	r.run(j)
	must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, Due: start.Add(time.Hour)}))(t)
	past := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, Due: start.Add(-time.Minute), IfBusy: service.Queue}))(t)
	if past.State != holdfast.StateQueued || !past.Due.Equal(start) {
		t.Errorf("got %s due %s for a time that has just passed, want QUEUED now", past.State, past.Due)
	}
}

func TestBoundsOfWhenARunIsDue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "full")
	for due, want := range map[time.Time]string{
		start.Add(-time.Minute - time.Second): "is over", start.AddDate(10, 0, 1): "more than 10 years ahead",
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC): "more than 10 years ahead", time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC): "is over",
	} {
		_, err := r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, Due: due})
		if !strings.Contains(holdfast.ErrorMessage(err), want) || holdfast.ErrorCode(err) != holdfast.CodeInvalid || holdfast.ErrorHint(err) == "" {
			t.Errorf("%s: got %v, want an invalid one with %q", due, err, want)
		}
	}
	last := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, Due: start.AddDate(10, 0, 0)}))(t)
	if last.State != holdfast.StatePlanned {
		t.Errorf("got %s, want it planned", last.State)
	}
	in := service.Run{Job: j.ID, Due: start.Add(time.Hour), IdempotencyKey: "k"}
	first := must(r.svc.Execute(ctx, r.admin, in))(t)
	r.clock.add(2 * time.Hour)
	if again := must(r.svc.Execute(ctx, r.admin, in))(t); again.ID != first.ID { // sent again when its time is over
		t.Errorf("got execution %d, want %d again", again.ID, first.ID)
	}
}

func TestRunsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "full")
	bare := must(r.svc.CreateSite(ctx, r.admin, service.NewSite{Site: holdfast.Site{
		Host: r.hosts[0].ID, Slug: "bare", DataDir: "/pg/bare", Server: holdfast.Server{Host: "db", User: "u"},
	}}))(t)
	homeless := must(r.svc.CreateJob(ctx, r.admin, holdfast.Job{Site: bare.ID, Name: "x"}))(t)
	for _, c := range []struct {
		name string
		in   service.Run
		want holdfast.Code
	}{
		{"unknown job", service.Run{Job: unknown}, holdfast.CodeNotFound},
		{"unknown run type", service.Run{Job: j.ID, RunType: "SOME"}, holdfast.CodeInvalid},
		{"another spelling of a run type", service.Run{Job: j.ID, RunType: "full"}, holdfast.CodeInvalid},
		{"unknown answer", service.Run{Job: j.ID, IfBusy: 9}, holdfast.CodeInvalid},
		{"long key", service.Run{Job: j.ID, IdempotencyKey: strings.Repeat("k", 256)}, holdfast.CodeInvalid},
		{"key with a line feed", service.Run{Job: j.ID, IdempotencyKey: "a\nb"}, holdfast.CodeInvalid},
		{"no repository", service.Run{Job: homeless.ID}, holdfast.CodeInvalid},
		{"unknown job and run type", service.Run{Job: unknown, RunType: "SOME"}, holdfast.CodeNotFound},
	} {
		_, err := r.svc.Execute(ctx, r.admin, c.in)
		if got := holdfast.ErrorCode(err); got != c.want {
			t.Errorf("%s: got %v, want code %q", c.name, err, c.want)
		}
	}
	if _, n, err := r.svc.Executions(ctx, r.admin, store.ExecutionFilter{}); err != nil || n != 0 {
		t.Errorf("got %d executions and error %v after refusals, want none", n, err)
	}
}

func TestTheSameKeyIsTheSameExecution(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "full")
	in := service.Run{Job: j.ID, IdempotencyKey: "k1"}
	first := must(r.svc.Execute(ctx, r.admin, in))(t)
	r.out.forget()
	if again := must(r.svc.Execute(ctx, r.admin, in))(t); again.ID != first.ID {
		t.Errorf("got execution %d, want %d again", again.ID, first.ID)
	}
	must(r.svc.Kill(ctx, r.admin, first.ID))(t)
	again := must(r.svc.Execute(ctx, r.admin, in))(t)
	if again.ID != first.ID || again.Outcome != holdfast.OutcomeCancelled {
		t.Errorf("got execution %d %s, want %d as it is now", again.ID, again.Outcome, first.ID)
	}
	if n := len(r.out.rung()); n != 1 { // the kill's
		t.Errorf("got %d rings, want none for a repeated request", n-1)
	}
	_, err := r.svc.Execute(ctx, r.admin, service.Run{Job: r.job(0, "other").ID, IdempotencyKey: "k1"})
	wantCode(t, err, holdfast.CodeConflict)
	_, set := r.backup(j, holdfast.CopyComplete)
	_, err = r.svc.Restore(ctx, r.admin, service.NewRestore{
		Spec: holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Directory: "/restore/a"}, IdempotencyKey: "k1",
	})
	wantCode(t, err, holdfast.CodeConflict)
	if err := r.svc.DeleteJob(ctx, r.admin, j.ID); err != nil {
		t.Fatal(err)
	}
	if again := must(r.svc.Execute(ctx, r.admin, in))(t); again.ID != first.ID {
		t.Errorf("got execution %d after the job was deleted, want %d", again.ID, first.ID)
	}
}

func TestARefusedKeyMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "full")
	busy := r.run(j)
	in := service.Run{Job: j.ID, IdempotencyKey: "later"}
	_, err := r.svc.Execute(ctx, r.admin, in)
	wantBusy(t, err, busy.ID)
	must(r.svc.Kill(ctx, r.admin, busy.ID))(t)
	if got := must(r.svc.Execute(ctx, r.admin, in))(t); got.ID == busy.ID {
		t.Error("got the execution that was in the way, want a new one")
	}
}

// racers is how many callers run at once in the tests of races.
const racers = 16

func TestOneOfManyRefusersWins(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "full")
	var won, refused atomic.Int64
	var wg sync.WaitGroup
	for range racers {
		wg.Go(func() {
			_, err := r.svc.Execute(t.Context(), r.admin, service.Run{Job: j.ID})
			var e *holdfast.Error
			switch {
			case err == nil:
				won.Add(1)
			case asError(err, &e) && e.Code == holdfast.CodeConflict && e.Execution != 0:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || refused.Load() != racers-1 {
		t.Errorf("got %d winners and %d refusals, want 1 and %d", won.Load(), refused.Load(), racers-1)
	}
}

func TestTheSameKeyAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "full")
	var wg sync.WaitGroup
	ids := make([]holdfast.ExecutionID, racers)
	for i := range racers {
		wg.Go(func() {
			e, err := r.svc.Execute(t.Context(), r.admin, service.Run{Job: j.ID, IfBusy: service.Queue, IdempotencyKey: "one"})
			if err != nil {
				t.Error(err)
			}
			ids[i] = e.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("got executions %v for one key, want one", ids)
			break
		}
	}
	if n := len(r.out.rung()); n != 1 {
		t.Errorf("got %d rings, want 1", n)
	}
}

func TestJoinersGetOneExecution(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "full")
	var wg sync.WaitGroup
	for range racers {
		wg.Go(func() {
			if _, err := r.svc.Execute(t.Context(), r.admin, service.Run{Job: j.ID, IfBusy: service.Join}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, n, err := r.svc.Executions(t.Context(), r.admin, store.ExecutionFilter{Job: j.ID}); err != nil || n != 1 {
		t.Errorf("got %d executions and error %v, want 1", n, err)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	e := r.run(r.job(0, "full"))
	r.out.log = []byte(strings.Repeat("0123456789", 200_000))
	for _, c := range []struct {
		offset int64
		limit  int
		want   int
	}{{0, 0, 64 << 10}, {5, 10, 10}, {0, 1 << 30, 1 << 20}, {1_999_995, 100, 5}, {5_000_000, 100, 0}} {
		data, size, err := r.svc.Log(ctx, r.admin, e.ID, c.offset, c.limit)
		if err != nil || len(data) != c.want || size != 2_000_000 {
			t.Errorf("from %d, limit %d: got %d bytes of %d and error %v, want %d", c.offset, c.limit, len(data), size, err, c.want)
		}
	}
	_, _, err := r.svc.Log(ctx, r.admin, e.ID, -1, 0)
	wantInvalid(t, err)
	_, _, err = r.svc.Log(ctx, r.admin, e.ID, 0, -1)
	wantInvalid(t, err)
	_, _, err = r.svc.Log(ctx, r.admin, unknown, 0, 0)
	wantCode(t, err, holdfast.CodeNotFound)
}

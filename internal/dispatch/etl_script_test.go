package dispatch_test

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// dwhPassword is the password of the second site of an ETL.
const dwhPassword = "the warehouse's password"

// pipe is a pipeline that does what a test says.
type pipe struct {
	run        func(ctx context.Context, req engine.ETL) (engine.Result, error)
	release    func(req engine.ETL)
	counters   []engine.FlowCounter
	setCounter func(req engine.ETL, flow, extract, value string) error
	preview    func(ctx context.Context, req engine.ETL, rows int) ([]engine.Relation, error)
}

// Run runs the script; none succeeds at once.
func (p pipe) Run(ctx context.Context, req engine.ETL) (engine.Result, error) {
	if p.run == nil {
		return engine.Result{}, nil
	}
	return p.run(ctx, req)
}

// Release tells the script.
func (p pipe) Release(_ context.Context, req engine.ETL) error {
	if p.release != nil {
		p.release(req)
	}
	return nil
}

// Counters returns the script's.
func (p pipe) Counters(context.Context, engine.ETL) ([]engine.FlowCounter, error) {
	return p.counters, nil
}

// SetCounter tells the script.
func (p pipe) SetCounter(_ context.Context, req engine.ETL, flow, extract, value string) error {
	return p.setCounter(req, flow, extract, value)
}

// Preview runs the script.
func (p pipe) Preview(ctx context.Context, req engine.ETL, rows int) ([]engine.Relation, error) {
	return p.preview(ctx, req, rows)
}

// Test finds that the site is there.
func (pipe) Test(context.Context, engine.Site) ([]engine.Finding, error) {
	return []engine.Finding{{Name: "as a source", OK: true}}, nil
}

// units is what an execution of two units has done by its first.
func units(n int64) engine.Result {
	return engine.Result{Flows: []engine.FlowResult{{Flow: "orders", Loaded: 10 * n, Units: n}}}
}

// working returns a pipeline that works until it is told to stop, or its context
// ends: then it commits nothing more. It tells each start on started.
func working(started chan<- engine.ETL) pipe {
	return pipe{run: func(ctx context.Context, req engine.ETL) (engine.Result, error) {
		started <- req
		select {
		case <-ctx.Done():
			return engine.Result{}, context.Cause(ctx)
		case <-req.Stop:
			if ctx.Err() != nil {
				return engine.Result{}, context.Cause(ctx)
			}
			return units(1), engine.ErrWish
		}
	}}
}

// serving returns a pipeline of a service, whose rounds last as long as the tick.
func serving(started chan<- engine.ETL, tick time.Duration) pipe {
	return pipe{run: func(ctx context.Context, req engine.ETL) (engine.Result, error) {
		started <- req
		for n := int64(0); ; n++ {
			select {
			case <-ctx.Done():
				return engine.Result{}, context.Cause(ctx)
			case <-req.Stop:
				if ctx.Err() != nil {
					return engine.Result{}, context.Cause(ctx)
				}
				return engine.Result{Rounds: n}, nil
			case <-time.After(tick):
				req.Round()
			}
		}
	}}
}

// etlWorker makes a worker of a stand one that runs ETLs.
func etlWorker(p engine.Pipeline) func(*worker.Config) {
	return func(c *worker.Config) {
		c.Pipelines = map[holdfast.Engine]engine.Pipeline{holdfast.EngineETL: p}
		c.ServiceSlots, c.ETLRoots = 8, []string{"/srv/etl"}
		c.Beat, c.Poll = 100*time.Millisecond, 50*time.Millisecond
	}
}

// newETL inserts an ETL that leads from the world's site into a second one.
func (w *world) newETL(t testing.TB, name, definition string, change func(*holdfast.Job)) holdfast.Job {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	password, err := w.master.Seal(holdfast.NewSecret(dwhPassword))
	require(t, err)
	j := holdfast.Job{
		Account: w.account, Site: w.site, Type: holdfast.JobETL, Engine: holdfast.EngineETL, Name: name, Active: true,
		Priority: holdfast.DefaultPriority, Created: time.Now(),
	}
	w.update(t, func(tx store.Tx) error {
		dwh, err := tx.SiteBySlug(ctx, w.account, "dwh")
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			dwh = holdfast.Site{
				Account: w.account, Host: w.host, Slug: "dwh", Name: "dwh", Server: holdfast.Server{Host: "warehouse", Port: 5433, User: "etl"},
				Password: password, DataDir: "/srv/dwh", Pool: holdfast.DefaultPool, Created: time.Now(),
			}
			err = tx.InsertSite(ctx, &dwh)
		}
		if err != nil {
			return err
		}
		configuration, err := tx.ReserveRunConfigurationID(ctx)
		if err != nil {
			return err
		}
		j.ETL = &holdfast.ETLSpec{
			Definition: definition, Sites: []holdfast.SiteID{w.site, dwh.ID},
			Configurations: []holdfast.RunConfiguration{{
				ID: configuration, Name: "Default", Active: true, Properties: map[string]string{"region": "north", "level": "5", "limit": "10"},
			}},
		}
		if change != nil {
			change(&j)
		}
		return tx.InsertJob(ctx, &j)
	})
	return j
}

func aService(j *holdfast.Job) { j.ETL.Service = true }

// recurring makes an ETL one with a recurrence that is armed.
func recurring(start time.Time, period time.Duration) func(*holdfast.Job) {
	return func(j *holdfast.Job) {
		j.ETL.Recurrence = &holdfast.Recurrence{Start: start, Period: period, Armed: true}
	}
}

// submitETL submits an execution of the ETL that is due at the time.
func (w *world) submitETL(t testing.TB, j holdfast.Job, run holdfast.ETLRun, due, now time.Time) holdfast.ExecutionID {
	t.Helper()
	run.Service = j.ETL.Service
	site := holdfast.Site{Pool: holdfast.DefaultPool, Host: w.host}
	return w.submit(t, holdfast.NewETLExecution(j, site, run, due, now, "anna"))
}

// runETL submits an execution of the ETL that is due now.
func (w *world) runETL(t testing.TB, j holdfast.Job) holdfast.ExecutionID {
	t.Helper()
	now := time.Now()
	return w.submitETL(t, j, holdfast.ETLRun{}, now, now)
}

// executionsOf returns the executions of a job, the oldest first.
func (w *world) executionsOf(t testing.TB, job holdfast.JobID) []holdfast.Execution {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	var list []holdfast.Execution
	require(t, w.store.View(ctx, func(r store.Reader) (err error) {
		list, _, err = r.Executions(ctx, w.account, store.ExecutionFilter{Job: job})
		return err
	}))
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list
}

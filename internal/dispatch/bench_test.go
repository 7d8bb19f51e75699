package dispatch_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// BenchmarkControl measures the control plane with jobs that do nothing: a
// submit, an ask, an intend and a finish each, all of them durable.
func BenchmarkControl(b *testing.B) {
	b.Run("throughput", benchThroughput)
	b.Run("start_at_100_per_s", benchStart)
	b.Run("stop", benchStop)
}

// benchJobs is how many jobs share the work: one runs once at a time.
const benchJobs = 64

func benchStand(b *testing.B, e engine.Engine) (*stand, []holdfast.JobID) {
	b.Helper()
	s := newStand(b, nil)
	jobs := make([]holdfast.JobID, benchJobs)
	for i := range jobs {
		jobs[i] = s.newJob(b, "job "+strconv.Itoa(i))
	}
	s.startWorker(b, "local", e, newShelf(), func(c *worker.Config) { c.Slots = benchJobs })
	return s, jobs
}

// benchThroughput reports executions a second from submit to end.
func benchThroughput(b *testing.B) {
	s, jobs := benchStand(b, script{})
	const submitters = 16
	b.ResetTimer()
	began := time.Now()
	var g sync.WaitGroup
	for i := range submitters {
		g.Go(func() {
			for n := i; n < b.N; n += submitters {
				s.submit(b, s.queued(jobs[n%len(jobs)]))
				s.dispatcher.Ring(holdfast.DefaultPool)
			}
		})
	}
	g.Wait()
	eventually(b, 5*time.Minute, func() string {
		live := 0
		ctx := context.WithoutCancel(b.Context())
		require(b, s.store.View(ctx, func(r store.Reader) error {
			e, err := r.LiveExecutions(ctx, holdfast.StateQueued, holdfast.StateRunning)
			live = len(e)
			return err
		}))
		if live == 0 {
			return ""
		}
		time.Sleep(20 * time.Millisecond)
		return strconv.Itoa(live) + " executions have not ended"
	})
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "executions/s")
}

// benchStart reports how long it takes from a submit to the engine's start, when
// a hundred come each second.
func benchStart(b *testing.B) {
	var mu sync.Mutex
	started := map[holdfast.ExecutionID]time.Time{}
	s, jobs := benchStand(b, script{backup: func(_ context.Context, req engine.Backup, _ engine.Sink) (engine.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		started[req.Execution] = time.Now()
		return engine.Result{}, nil
	}})
	submitted := make([]time.Time, b.N)
	ids := make([]holdfast.ExecutionID, b.N)
	b.ResetTimer()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	var g sync.WaitGroup
	for n := range b.N {
		<-t.C
		g.Go(func() {
			submitted[n] = time.Now()
			ids[n] = s.submit(b, s.queued(jobs[n%len(jobs)]))
			s.dispatcher.Ring(holdfast.DefaultPool)
		})
	}
	g.Wait()
	took := make([]time.Duration, 0, b.N)
	for n, id := range ids {
		s.waitEnded(b, id, time.Minute, holdfast.OutcomeSucceeded)
		mu.Lock()
		took = append(took, started[id].Sub(submitted[n]))
		mu.Unlock()
	}
	reportLatency(b, took)
}

// benchStop reports how long it takes from a person's wish to stop, as it is
// made durable and told, until the engine sees it.
func benchStop(b *testing.B) {
	started, seen := make(chan engine.Backup, 1), make(chan time.Time, 1)
	s, jobs := benchStand(b, script{backup: func(ctx context.Context, req engine.Backup, _ engine.Sink) (engine.Result, error) {
		started <- req
		<-ctx.Done()
		seen <- time.Now()
		return engine.Result{}, context.Cause(ctx)
	}})
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for n := range b.N {
		id := s.submit(b, s.queued(jobs[n%len(jobs)]))
		s.dispatcher.Ring(holdfast.DefaultPool)
		<-started
		began := time.Now()
		e := s.move(b, id, holdfast.MoveStop)
		s.dispatcher.Tell(e.Worker, id, e.Fence, e.Wanted)
		took = append(took, (<-seen).Sub(began))
	}
	reportLatency(b, took)
}

func reportLatency(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	at := func(q float64) float64 {
		return float64(took[min(int(q*float64(len(took))), len(took)-1)].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.50), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}

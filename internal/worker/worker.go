package worker

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

const (
	maxAsking     = 4           // slots that a bell sends asking at once
	servicesEvery = time.Second // at least, between two asks for services alone: each bell of a busy worker would send one
)

// Worker runs executions. Its only method is Run.
type Worker struct {
	cfg    Config
	log    *slog.Logger
	line   *line
	pools  *pools
	prefix string        // of this process's requests
	asks   atomic.Uint64 // numbers them
	turn   atomic.Uint64 // which pool is asked first

	runs     sync.WaitGroup
	commands sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	draining bool
	rung     bool          // a bell has rung since the newest ask began
	asking   int           // slots that ask
	answered chan struct{} // while a drain waits: closed when nobody asks any more
	busy     free          // slots that ask or run
	// When slots for services alone last asked: those of batches, which ask for both,
	// were all taken.
	servicesAsked time.Time
	running       map[runKey]*run

	// Set once, by Run.
	life context.Context //nolint:containedctx // ends when the drain is over: what every execution's own context is made of
}

// free counts slots: of executions that end, and of services.
type free struct{ batch, service int }

type runKey struct {
	execution holdfast.ExecutionID
	fence     holdfast.Fence
}

// New returns a Worker.
func New(cfg Config) *Worker {
	cfg = cfg.withDefaults()
	return &Worker{cfg: cfg, log: cfg.Log, line: newLine(cfg.Conn), pools: newPools(cfg.Conn), prefix: rand.Text(), running: map[runKey]*run{}}
}

// Run asks for work and does it until ctx ends. Then it takes no new orders,
// lets running work go on for Config.Drain, hands the rest back, and returns;
// the connection and the control plane must stay until then.
func (w *Worker) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	w.life = life
	var subs []*nats.Subscription
	defer func() {
		for _, s := range subs {
			_ = s.Unsubscribe() // the connection may have gone
		}
	}()
	subscribe := func(subject string, h nats.MsgHandler) error {
		s, err := w.cfg.Conn.Subscribe(subject, h)
		if err != nil {
			return holdfast.Wrap(holdfast.CodeUnavailable, err, "subscribe to %s", subject)
		}
		subs = append(subs, s)
		return nil
	}
	defer w.pools.close()
	if _, err := w.pools.serve(w.cfg.Pools, w.wake); err != nil {
		return err
	}
	if err := subscribe(wire.CommandSubject(w.cfg.ID), w.handleCommand); err != nil {
		return err
	}
	w.log.InfoContext(ctx, "worker started", "worker", w.cfg.Name, "worker_id", int64(w.cfg.ID), "slots", w.cfg.Slots)
	watching.Go(func() { w.line.watch(life, w.wake) })
	for ctx.Err() == nil {
		w.wake()
		select {
		case <-ctx.Done():
		case <-time.After(jitter(w.cfg.Poll)):
		}
	}
	w.drain(ctx, end)
	return nil
}

// jitter is a time around d, so that workers do not ask all at once.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + time.Duration(mathrand.Int64N(int64(d/4)+1))
}

// drain waits for running work, and hands back what takes too long. First it waits for
// the answers to what was asked: a late one would bring back what was just handed back.
func (w *Worker) drain(ctx context.Context, end context.CancelCauseFunc) {
	w.mu.Lock()
	w.draining = true
	if w.asking > 0 {
		w.answered = make(chan struct{})
		answered := w.answered
		w.mu.Unlock()
		select {
		case <-answered:
		case <-time.After(answerLimit):
		}
		w.mu.Lock()
	}
	n := len(w.running)
	for _, r := range w.running {
		if r.order.Type == holdfast.JobETL {
			r.cancelSoft(errHandBack) // it ends when its unit of work is committed
		}
	}
	w.mu.Unlock()
	w.log.InfoContext(ctx, "worker drains", "running", n, "limit", w.cfg.Drain)
	done := make(chan struct{})
	go func() {
		w.runs.Wait()
		w.commands.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-time.After(w.cfg.Drain):
	}
	w.mu.Lock()
	for _, r := range w.running {
		r.cancelHard(errHandBack)
	}
	w.mu.Unlock()
	select {
	case <-done:
		return
	case <-time.After(lastWords):
	}
	end(errEnding) // whatever is left has no more words
	<-done
}

// wake sends a free slot asking. A bell that rings while all that may ask do so
// makes the one that hears "nothing" ask once more.
func (w *Worker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rung = true
	w.spawn()
}

// spawn is called with mu held.
func (w *Worker) spawn() {
	if w.draining || w.asking >= maxAsking {
		return
	}
	if held := w.reserve(); held != (free{}) {
		w.asking++
		s := &slot{worker: w, held: held}
		w.runs.Go(s.run)
	}
}

// reserve takes a slot of each kind that has one: the order that is asked for says
// which is used. It is called with mu held.
func (w *Worker) reserve() free {
	var held free
	if w.busy.batch < w.cfg.Slots {
		held.batch = 1
	}
	if w.busy.service < w.cfg.ServiceSlots {
		held.service = 1
	}
	if held.batch == 0 && held.service == 1 {
		if time.Since(w.servicesAsked) < servicesEvery {
			return free{}
		}
		w.servicesAsked = time.Now()
	}
	w.busy.batch += held.batch
	w.busy.service += held.service
	return held
}

// slot is a goroutine with the slots that it holds: those that it asks for, and
// then the one that its order takes.
type slot struct {
	worker *Worker
	held   free
}

// run asks and runs until there is nothing more to do.
func (s *slot) run() {
	w := s.worker
	for {
		w.mu.Lock()
		w.rung = false
		w.mu.Unlock()
		order := w.askAll(s.held)
		w.mu.Lock()
		if order == nil {
			if w.rung && !w.draining && s.held.batch > 0 {
				w.mu.Unlock()
				continue
			}
			w.hear()
			s.keep(free{})
			w.mu.Unlock()
			return
		}
		w.hear()
		s.keep(slotOf(order))
		w.spawn() // where one was, there may be more
		w.mu.Unlock()
		w.execute(order)
		w.mu.Lock()
		s.keep(free{})
		if !w.draining {
			s.held = w.reserve() // however many ask: where work was, there is more
		}
		if s.held == (free{}) {
			w.mu.Unlock()
			return
		}
		w.asking++
		w.mu.Unlock()
	}
}

// hear notes that one who asked has its answer. It is called with mu held.
func (w *Worker) hear() {
	if w.asking--; w.asking == 0 && w.answered != nil {
		close(w.answered)
		w.answered = nil
	}
}

// keep gives back what is held beyond kept. It is called with mu held.
func (s *slot) keep(kept free) {
	s.worker.busy.batch -= s.held.batch - kept.batch
	s.worker.busy.service -= s.held.service - kept.service
	s.held = kept
}

// slotOf is the slot that an order takes.
func slotOf(o *wire.Order) free {
	if o.ETL != nil && o.ETL.Service {
		return free{service: 1}
	}
	return free{batch: 1}
}

// askAll asks for work of each pool, beginning with another one each time.
func (w *Worker) askAll(held free) *wire.Order {
	turn := int(w.turn.Add(1) % (1 << 30))
	pools := w.pools.served()
	for i := range pools {
		if order := w.ask(pools[(turn+i)%len(pools)], held); order != nil {
			return order
		}
	}
	return nil
}

// learn takes in which pools the worker serves now. One that is new is asked for
// at once.
func (w *Worker) learn(pools []string) {
	if len(pools) == 0 {
		return
	}
	changed, err := w.pools.serve(pools, w.wake)
	if err != nil {
		w.log.WarnContext(w.life, "pools not changed; it is tried again", "pools", pools, "error", err)
	}
	if changed {
		w.log.InfoContext(w.life, "worker serves other pools", "pools", pools)
		w.wake()
	}
}

// ask asks for one order. While there is no answer it asks again with the same
// request: the answer may have been lost, and the order with it.
func (w *Worker) ask(pool string, held free) *wire.Order {
	ask := &wire.Ask{Request: fmt.Sprintf("%s-%d", w.prefix, w.asks.Add(1)), Version: w.cfg.Version}
	ask.Free, ask.Services = w.free(held)
	subject := wire.AskSubject(w.cfg.ID, pool)
	last := false
	for wait := retryFirst; ; wait = min(2*wait, askMost) {
		reply, err := request[wire.AskReply](w.life, w.line, subject, ask, requestLimit)
		if err == nil {
			err = reply.Failure.Err()
		}
		if err == nil {
			w.learn(reply.Pools)
			return reply.Order
		}
		if holdfast.ErrorCode(err) != holdfast.CodeUnavailable && holdfast.ErrorCode(err) != holdfast.CodeExhausted {
			w.log.WarnContext(w.life, "ask refused", "pool", pool, "error", err)
			return nil
		}
		if last || w.life.Err() != nil {
			return nil
		}
		last = w.isDraining() // once more: an order may be on its way
		select {
		case <-w.life.Done():
			return nil
		case <-time.After(jitter(wait)):
		}
	}
}

func (w *Worker) isDraining() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.draining
}

// free says how many slots of each kind are free, the held ones included.
func (w *Worker) free(held free) (batch, service int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if held.batch > 0 {
		batch = max(w.cfg.Slots-w.busy.batch+1, 1)
	}
	if held.service > 0 {
		service = max(w.cfg.ServiceSlots-w.busy.service+1, 1)
	}
	return batch, service
}

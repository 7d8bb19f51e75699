package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// queueGroup is how several control planes share the questions: one answers.
const queueGroup = "dispatch"

// Dispatcher answers the workers' questions, and moves on what falls silent. It
// implements service.Dispatcher. Its methods may be called from several
// goroutines.
type Dispatcher struct {
	cfg   Config
	log   *slog.Logger
	conn  *nats.Conn
	epoch time.Time // when it was made; clock counts from here

	installation string
	handlers     sync.WaitGroup
	heardAt      atomic.Int64 // clock of the newest (re)connection to NATS

	mu      sync.Mutex                      // guards the fields below
	watches map[holdfast.ExecutionID]*watch // of running executions
	seen    map[holdfast.WorkerID]*sighting // workers that spoke since the last write

	reaper *reaper
	kick   chan struct{} // wakes the reaper

	releases chan release // fences that were closed without their engines
}

// New returns a Dispatcher that is connected to the server of its config. Its
// messages to workers go out at once; Run makes it listen.
func New(cfg Config) (*Dispatcher, error) {
	d := &Dispatcher{
		cfg:      cfg.withDefaults(),
		log:      cfg.Log,
		epoch:    time.Now(),
		watches:  map[holdfast.ExecutionID]*watch{},
		seen:     map[holdfast.WorkerID]*sighting{},
		reaper:   newReaper(),
		kick:     make(chan struct{}, 1),
		releases: make(chan release, 256),
	}
	conn, err := cfg.Server.Connect("dispatch",
		nats.CustomInboxPrefix("_INBOX_dispatch"),
		nats.ReconnectHandler(func(*nats.Conn) { d.heardAt.Store(int64(d.clock())) }),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			cfg.Log.Info("message server reports an error", "subject", subject, "error", err)
		}),
	)
	if err != nil {
		return nil, err
	}
	d.conn = conn
	return d, nil
}

// clock is monotonic: it does not jump when somebody sets the machine's time.
func (d *Dispatcher) clock() time.Duration { return time.Since(d.epoch) }

// Run serves until ctx ends. Workers inside the process must have come to rest
// before, so that their last words are heard. It closes the connection.
func (d *Dispatcher) Run(ctx context.Context) error {
	defer d.conn.Close()
	if err := d.load(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // it was told to end before it had begun
		}
		return err
	}
	// A message that has been taken is worked on to its end.
	work := context.WithoutCancel(ctx)
	subs := make([]*nats.Subscription, 0, 8)
	subscribe := func(subject string, h func(context.Context, *nats.Msg)) error {
		// Each kind has its own: asks that wait for a locked database must not keep
		// beats from being heard.
		slots := make(chan struct{}, inFlight)
		sub, err := d.conn.QueueSubscribe(subject, queueGroup, func(m *nats.Msg) { d.spawn(work, slots, m, h) })
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		subs = append(subs, sub)
		return nil
	}
	err := errors.Join(
		subscribe(wire.AllSubjects(wire.KindAsk), d.handleAsk),
		subscribe(wire.AllSubjects(wire.KindBeat), d.handleBeat),
		subscribe(wire.AllSubjects(wire.KindLog), d.handleLog),
		subscribe(wire.AllSubjects(wire.KindIntend), d.handleIntend),
		subscribe(wire.AllSubjects(wire.KindFinish), d.handleFinish),
		subscribe(wire.JoinSubject, d.handleJoin),
	)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.watchLoop(gctx) })
	g.Go(func() error { return d.flushLoop(gctx) })
	g.Go(func() error { return d.dueLoop(gctx) })
	g.Go(func() error { return d.reapLoop(gctx) })
	g.Go(func() error { return d.releaseLoop(gctx) })
	g.Go(func() error { return d.expireLogs(gctx) })
	d.ringAll(ctx)
	err = g.Wait()
	for _, sub := range subs {
		err = errors.Join(err, ignoreClosed(sub.Unsubscribe()))
	}
	d.handlers.Wait()
	flushCtx, cancel := context.WithTimeout(work, storeLimit)
	defer cancel()
	d.flush(flushCtx)
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription) {
		return nil
	}
	return err
}

// spawn works on a message beside others; while all slots are taken, the
// subscription waits, and its later messages with it.
func (d *Dispatcher) spawn(ctx context.Context, slots chan struct{}, m *nats.Msg, h func(context.Context, *nats.Msg)) {
	slots <- struct{}{}
	d.handlers.Go(func() {
		defer func() { <-slots }()
		ctx, cancel := context.WithTimeout(ctx, storeLimit)
		defer cancel()
		h(ctx, m)
	})
}

// reply answers a message. The answer goes to the inbox of the worker that spoke
// and nowhere else: a worker could name another's subject as its inbox, and we
// may publish there.
func (d *Dispatcher) reply(ctx context.Context, m *nats.Msg, inbox string, answer wire.Message) {
	if m.Reply == "" {
		return
	}
	if !strings.HasPrefix(m.Reply, inbox+".") {
		d.log.InfoContext(ctx, "message with a foreign inbox dropped", "subject", m.Subject, "inbox", wire.Clip(m.Reply, 200))
		return
	}
	b, err := wire.Encode(answer)
	if err == nil {
		err = d.conn.Publish(m.Reply, b)
	}
	if err != nil {
		d.log.InfoContext(ctx, "answer not sent", "subject", m.Subject, "error", err)
	}
}

// fail logs what only we may see of an error, and returns what the worker may.
func (d *Dispatcher) fail(ctx context.Context, kind wire.Kind, err error, attrs ...any) *wire.Failure {
	level := slog.LevelInfo
	switch holdfast.ErrorCode(err) {
	case holdfast.CodeInternal:
		level = slog.LevelError
	case holdfast.CodeUnavailable, holdfast.CodeExhausted:
		level = slog.LevelWarn
	case holdfast.CodeInvalid, holdfast.CodeUnauthenticated, holdfast.CodeForbidden, holdfast.CodeNotFound, holdfast.CodeConflict:
	}
	d.log.Log(ctx, level, "message of a worker refused", append(attrs, "kind", string(kind), "error", err)...)
	return wire.NewFailure(err)
}

// Ring tells the workers of a pool that there may be work.
func (d *Dispatcher) Ring(pool string) {
	if wire.ValidPool(pool) != nil {
		return
	}
	if err := d.conn.Publish(wire.BellSubject(pool), nil); err != nil {
		d.log.Info("bell not rung", "pool", pool, "error", err)
	}
}

// ringAll rings every pool that has work: what was submitted before this process
// started has had no bell of it.
func (d *Dispatcher) ringAll(ctx context.Context) {
	pools := map[string]bool{}
	err := d.view(ctx, func(r store.Reader) error {
		queued, err := r.LiveExecutions(ctx, holdfast.StateQueued)
		for _, e := range queued {
			pools[e.Pool] = true
		}
		return err
	})
	if err != nil {
		d.log.InfoContext(ctx, "bells not rung at start", "error", err)
	}
	for p := range pools {
		d.Ring(p)
	}
}

// Disconnect cuts a removed worker off.
func (d *Dispatcher) Disconnect(w holdfast.WorkerID) { d.cfg.Server.Disconnect(w) }

// JoinToken wraps a one-time secret with the address and the certificate that a
// new worker needs; CodeConflict when no listener for workers is open.
func (d *Dispatcher) JoinToken(secret string) (string, error) { return d.cfg.Server.JoinToken(secret) }

func (d *Dispatcher) view(ctx context.Context, fn func(store.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	return late(ctx, d.cfg.Store.View(ctx, fn))
}

func (d *Dispatcher) update(ctx context.Context, fn func(store.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	return late(ctx, d.cfg.Store.Update(ctx, fn))
}

// late says that a database that did not answer in time may answer later.
func late(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && holdfast.ErrorCode(err) == holdfast.CodeInternal {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the database does not answer in time")
	}
	return err
}

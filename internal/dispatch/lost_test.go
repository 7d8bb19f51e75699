package dispatch_test

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// newSealKey returns the public curve key of somebody who is not here.
func newSealKey(t testing.TB) string {
	t.Helper()
	id, err := seal.NewIdentity()
	require(t, err)
	key, err := id.SealKey()
	require(t, err)
	return key
}

// TestAttemptsEnd loses the workers of an execution five times: then it has
// failed.
func TestAttemptsEnd(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) { c.SilenceLimit = 300 * time.Millisecond })
	released := make(chan engine.Backup, 2*holdfast.DefaultAttempts)
	s.startWorker(t, "helper", script{release: func(req engine.Backup) { released <- req }}, newShelf(), func(c *worker.Config) { c.Pools = nil })
	row := s.newWorker(t, "mute", "", newSealKey(t), 1)
	conn, err := s.server.ConnectWorker(row.ID)
	require(t, err)
	defer conn.Close()
	id := s.submit(t, s.queued(s.job))
	for n := range holdfast.DefaultAttempts {
		eventually(t, 10*time.Second, func() string {
			b, err := wire.Encode(&wire.Ask{Request: "r" + itoa(int64(n)), Free: 1})
			require(t, err)
			m, err := conn.Request(wire.AskSubject(row.ID, holdfast.DefaultPool), b, 5*time.Second)
			if err != nil {
				return err.Error()
			}
			r, err := wire.Decode[wire.AskReply](m.Data)
			require(t, err)
			if r.Order == nil {
				return "no order"
			}
			if int(r.Order.Fence) != n+1 {
				t.Fatalf("fence: got %d, want %d", r.Order.Fence, n+1)
			}
			return ""
		})
	}
	e := s.waitEnded(t, id, 10*time.Second, holdfast.OutcomeFailed)
	if e.Reason != holdfast.ReasonLost || e.Attempts != holdfast.DefaultAttempts {
		t.Errorf("got reason %s after %d attempts, want %s after %d", e.Reason, e.Attempts, holdfast.ReasonLost, holdfast.DefaultAttempts)
	}
	for n := range holdfast.DefaultAttempts {
		select {
		case req := <-released:
			if req.Execution != id || req.Fence != holdfast.Fence(n+1) || req.Site.Password.Reveal() != sitePassword {
				t.Errorf("released: got execution %d, fence %d, want %d, %d", req.Execution, req.Fence, id, n+1)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("what fence %d left on the server was not released", n+1)
		}
	}
}

// TestDeafEngine kills an execution whose engine does not listen: it is decided
// without it.
func TestDeafEngine(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) { c.KillLimit = 500 * time.Millisecond })
	started, done := make(chan struct{}), make(chan struct{})
	s.startWorker(t, "local", script{backup: func(context.Context, engine.Backup, engine.Sink) (engine.Result, error) {
		close(started)
		<-done
		return engine.Result{}, nil
	}}, newShelf(), fastBeat)
	id := s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	<-started
	next := s.move(t, id, holdfast.MoveKill)
	s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
	if e := s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeKilled); e.Fence != 2 {
		t.Errorf("fence: got %d, want 2", e.Fence)
	}
	close(done)
	time.Sleep(200 * time.Millisecond)
	if n := s.visibleSets(t); n != 0 {
		t.Errorf("visible sets: got %d, want 0", n)
	}
}

// TestLostPush raises a wish that nobody pushes: the answer to a beat carries it.
func TestLostPush(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	started := make(chan engine.Backup, 1)
	s.startWorker(t, "local", until(nil, started), newShelf(), fastBeat)
	id := s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	<-started
	s.move(t, id, holdfast.MoveStop)
	s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeStopped)
}

// TestAlone takes the control plane away for longer than a worker works alone.
func TestAlone(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	started, ended := make(chan engine.Backup, 1), make(chan time.Time, 1)
	e := until(nil, started)
	inner := e.backup
	e.backup = func(ctx context.Context, req engine.Backup, sink engine.Sink) (engine.Result, error) {
		res, err := inner(ctx, req, sink)
		ended <- time.Now()
		return res, err
	}
	const alone = 1500 * time.Millisecond
	h := s.startWorker(t, "local", e, newShelf(), func(c *worker.Config) { c.Beat, c.Alone = 100*time.Millisecond, alone })
	s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	<-started
	time.Sleep(300 * time.Millisecond)
	s.stop()
	gone := time.Now()
	select {
	case at := <-ended:
		if d := at.Sub(gone); d < alone/2 {
			t.Errorf("the execution ended %s after the control plane went, want about %s", d, alone)
		}
	case <-time.After(10 * time.Second):
		t.Error("the execution goes on without a control plane")
	}
	h.stop()
}

// TestOrphanLife looks for an orphan whose snapshot is not there until its life
// is over; one that is there is removed at once.
func TestOrphanLife(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) { c.OrphanLife = 3 * time.Second })
	books := newShelf()
	s.startWorker(t, "local", script{}, books, func(c *worker.Config) { c.Pools = nil })
	row := s.newWorker(t, "mute", "", newSealKey(t), 1)
	conn, err := s.server.ConnectWorker(row.ID)
	require(t, err)
	defer conn.Close()
	id := s.submit(t, s.queued(s.job))
	p := &spy{conn: conn}
	eventually(t, 5*time.Second, func() string {
		var r wire.AskReply
		p.request(t, wire.AskSubject(row.ID, holdfast.DefaultPool), &wire.Ask{Request: "r1", Free: 1}, &r)
		if r.Order == nil {
			return "no order"
		}
		return ""
	})
	snapshot := "aa00000000000000000000000000000000000000000000000000000000000000"
	var r wire.Reply
	intend := &wire.Intend{Fence: 1, Snapshot: snapshot}
	for range 2 { // the same question is answered alike
		p.request(t, wire.ExecutionSubject(wire.KindIntend, row.ID, id), intend, &r)
		require(t, r.Failure.Err())
	}
	other := &wire.Intend{Fence: 1, Snapshot: "bb" + snapshot[2:]}
	p.request(t, wire.ExecutionSubject(wire.KindIntend, row.ID, id), other, &r)
	if r.Failure == nil || r.Failure.Code != holdfast.CodeConflict {
		t.Errorf("another snapshot with the same fence: got %+v, want %s", r, holdfast.CodeConflict)
	}
	fail := &wire.Finish{Fence: 1, Move: holdfast.MoveFail, Detail: "no more room"}
	for range 2 { // so is the same finish
		r = wire.Reply{}
		p.request(t, wire.ExecutionSubject(wire.KindFinish, row.ID, id), fail, &r)
		require(t, r.Failure.Err())
	}
	r = wire.Reply{}
	p.request(t, wire.ExecutionSubject(wire.KindFinish, row.ID, id), &wire.Finish{Fence: 1, Move: holdfast.MoveSucceed}, &r)
	if r.Failure == nil || r.Failure.Code != holdfast.CodeConflict {
		t.Errorf("another finish: got %+v, want %s", r, holdfast.CodeConflict)
	}
	time.Sleep(500 * time.Millisecond)
	if c := s.copies(t, id); len(c) != 1 || c[0].State != holdfast.CopyOrphaned {
		t.Fatalf("copies: got %+v, want one orphan that is looked for again", c)
	}
	wantDeleted := func(why string) {
		t.Helper()
		eventually(t, 10*time.Second, func() string {
			if c := s.copies(t, id); c[0].State != holdfast.CopyDeleted {
				return why + ": got " + string(c[0].State)
			}
			return ""
		})
	}
	wantDeleted("after its life")
	// The frozen worker thaws after all, writes, and says that it is done.
	books.mu.Lock()
	books.snapshots[snapshot] = true
	books.mu.Unlock()
	p.request(t, wire.ExecutionSubject(wire.KindFinish, row.ID, id), &wire.Finish{Fence: 1, Move: holdfast.MoveSucceed}, &r)
	eventually(t, 10*time.Second, func() string {
		books.mu.Lock()
		defer books.mu.Unlock()
		if len(books.snapshots) != 0 {
			return "the late snapshot is there"
		}
		return ""
	})
	wantDeleted("after it was found")
}

// TestSucceedWithoutSnapshot claims a backup that has written nothing.
func TestSucceedWithoutSnapshot(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	row := s.newWorker(t, "liar", "", newSealKey(t), 1)
	conn, err := s.server.ConnectWorker(row.ID)
	require(t, err)
	defer conn.Close()
	p := &spy{conn: conn}
	id := s.submit(t, s.queued(s.job))
	eventually(t, 5*time.Second, func() string {
		var r wire.AskReply
		p.request(t, wire.AskSubject(row.ID, holdfast.DefaultPool), &wire.Ask{Request: "r1", Free: 1}, &r)
		if r.Order == nil {
			return "no order"
		}
		return ""
	})
	var r wire.Reply
	p.request(t, wire.ExecutionSubject(wire.KindFinish, row.ID, id), &wire.Finish{Fence: 1, Move: holdfast.MoveSucceed}, &r)
	if r.Failure == nil || r.Failure.Code != holdfast.CodeInvalid {
		t.Errorf("got %+v, want %s", r, holdfast.CodeInvalid)
	}
	if e := s.execution(t, id); e.State != holdfast.StateRunning {
		t.Errorf("state: got %s, want %s", e.State, holdfast.StateRunning)
	}
}

// TestOtherHost asks from a worker that stands on another host, or belongs to
// another pool: it gets nothing.
func TestOtherHost(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	row := s.newWorker(t, "elsewhere", "", newSealKey(t), 1)
	row.Hosts = []holdfast.HostID{s.host + 1}
	row.Pools = []string{holdfast.DefaultPool, "special"}
	s.update(t, func(tx store.Tx) error { return tx.UpdateWorker(t.Context(), row) })
	conn, err := s.server.ConnectWorker(row.ID)
	require(t, err)
	defer conn.Close()
	p := &spy{conn: conn}
	id := s.submit(t, s.queued(s.job))
	var r wire.AskReply
	p.request(t, wire.AskSubject(row.ID, holdfast.DefaultPool), &wire.Ask{Request: "r1", Free: 1}, &r)
	if r.Order != nil || r.Failure != nil {
		t.Errorf("another host: got %+v, want nothing", r)
	}
	p.request(t, wire.AskSubject(row.ID, "foreign"), &wire.Ask{Request: "r2", Free: 1}, &r)
	if r.Failure == nil || r.Failure.Code != holdfast.CodeForbidden {
		t.Errorf("another pool: got %+v, want %s", r, holdfast.CodeForbidden)
	}
	if e := s.execution(t, id); e.State != holdfast.StateQueued {
		t.Errorf("state: got %s, want %s", e.State, holdfast.StateQueued)
	}
}

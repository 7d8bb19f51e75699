package dispatch_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

func listening(_ *dispatch.Config, c *dispatch.ServerConfig) { c.Listen = "127.0.0.1:0" }

// invite stores a join credential and returns the token.
func (s *stand) invite(t testing.TB, name string, expires time.Time) string {
	t.Helper()
	secret := "secret of " + name
	c := holdfast.Credential{
		Account: s.account, Kind: holdfast.CredentialJoin, Name: name, Hash: dispatch.HashJoinSecret(secret),
		Hosts: []holdfast.HostID{s.host}, Pools: []string{holdfast.DefaultPool}, Created: time.Now(), Expires: expires,
	}
	s.update(t, func(tx store.Tx) error {
		p := holdfast.Principal{Account: s.account, Kind: holdfast.PrincipalService, Name: "inviter of " + name, Created: time.Now()}
		if err := tx.InsertPrincipal(t.Context(), &p); err != nil {
			return err
		}
		c.Principal = p.ID
		return tx.InsertCredential(t.Context(), &c)
	})
	token, err := s.dispatcher.JoinToken(secret)
	require(t, err)
	return token
}

// join joins a worker over the listener and connects it.
func (s *stand) join(t testing.TB, name string) (worker.Membership, *seal.Identity) {
	t.Helper()
	id, err := seal.NewIdentity()
	require(t, err)
	m, err := worker.Join(t.Context(), worker.Joining{Token: s.invite(t, name, time.Time{}), Name: "unused", Identity: id, Slots: 1})
	require(t, err)
	return m, id
}

func TestJoinTokenWorksOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t, listening)
	token := s.invite(t, "db1-worker", time.Time{})
	id, err := seal.NewIdentity()
	require(t, err)
	m, err := worker.Join(t.Context(), worker.Joining{Token: token, Name: "other", Identity: id, Slots: 2, Version: "v1"})
	require(t, err)
	if m.Name != "db1-worker" || m.Worker == 0 || len(m.Pools) != 1 {
		t.Errorf("membership: got %+v", m)
	}
	second, err := seal.NewIdentity()
	require(t, err)
	_, err = worker.Join(t.Context(), worker.Joining{Token: token, Name: "thief", Identity: second, Slots: 1})
	if holdfast.ErrorCode(err) != holdfast.CodeForbidden {
		t.Errorf("second use: got %v, want %s", err, holdfast.CodeForbidden)
	}
	again, err := worker.Join(t.Context(), worker.Joining{Token: token, Name: "other", Identity: id, Slots: 2, Version: "v1"})
	if err != nil || again.Worker != m.Worker {
		t.Errorf("again, as the worker that lost its answer: got %+v, %v, want worker %d", again, err, m.Worker)
	}
	expired := s.invite(t, "late", time.Now().Add(-time.Second))
	_, err = worker.Join(t.Context(), worker.Joining{Token: expired, Name: "late", Identity: second, Slots: 1})
	if holdfast.ErrorCode(err) != holdfast.CodeForbidden {
		t.Errorf("expired: got %v, want %s", err, holdfast.CodeForbidden)
	}
	path := t.TempDir() + "/membership.json"
	require(t, m.Save(path))
	loaded, err := worker.LoadMembership(path)
	require(t, err)
	if loaded.Worker != m.Worker || loaded.Pin != m.Pin {
		t.Errorf("loaded membership: got %+v, want %+v", loaded, m)
	}
	if _, err := worker.LoadMembership(path + ".missing"); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		t.Errorf("missing membership: got %v, want %s", err, holdfast.CodeNotFound)
	}
}

// TestJoinRace uses one token from two workers at once: one wins.
func TestJoinRace(t *testing.T) {
	t.Parallel()
	s := newStand(t, listening)
	token := s.invite(t, "w", time.Time{})
	results := make(chan error, 4)
	for range 4 {
		id, err := seal.NewIdentity()
		require(t, err)
		go func() {
			_, err := worker.Join(t.Context(), worker.Joining{Token: token, Name: "w", Identity: id, Slots: 1})
			results <- err
		}()
	}
	won := 0
	for range 4 {
		if err := <-results; err == nil {
			won++
		}
	}
	if won != 1 {
		t.Errorf("workers that joined with one token: got %d, want 1", won)
	}
}

func TestWrongCertificate(t *testing.T) {
	t.Parallel()
	s := newStand(t, listening)
	m, id := s.join(t, "w")
	m.Pin = strings.Repeat("0", 64)
	_, err := worker.Dial(m, id, testLog(t))
	if holdfast.ErrorCode(err) != holdfast.CodeForbidden || !strings.Contains(err.Error(), "not the one") {
		t.Errorf("got %v, want %s", err, holdfast.CodeForbidden)
	}
	strange, err := seal.NewIdentity()
	require(t, err)
	m.Pin = wire.Pin(mustCertificate(t, s))
	if _, err := worker.Dial(m, strange, testLog(t)); holdfast.ErrorCode(err) != holdfast.CodeForbidden {
		t.Errorf("with a foreign key: got %v, want %s", err, holdfast.CodeForbidden)
	}
}

func mustCertificate(t testing.TB, s *stand) []byte {
	t.Helper()
	cert, err := dispatch.EnsureCertificate(s.certificate(), time.Now())
	require(t, err)
	return cert.Certificate[0]
}

// spy is a connection with a worker's identity that sees what it is refused.
type spy struct {
	conn    *nats.Conn
	refused chan string
}

// spyAs connects over the listener as the worker.
func (s *stand) spyAs(t testing.TB, m worker.Membership, id *seal.Identity) *spy {
	t.Helper()
	conn, err := worker.Dial(m, id, testLog(t))
	require(t, err)
	t.Cleanup(conn.Close)
	p := &spy{conn: conn, refused: make(chan string, 64)}
	conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { p.refused <- err.Error() })
	return p
}

func (p *spy) wantRefused(t testing.TB, what string, try func() error) {
	t.Helper()
	require(t, try())
	require(t, p.conn.Flush())
	select {
	case text := <-p.refused:
		if !strings.Contains(strings.ToLower(text), "permissions violation") {
			t.Errorf("%s: got %q, want a permissions violation", what, text)
		}
	case <-time.After(3 * time.Second):
		t.Errorf("%s: was not refused", what)
	}
}

// TestOnlyItsOwnSubjects has a joined worker try to hear and to say what is
// another's.
func TestOnlyItsOwnSubjects(t *testing.T) {
	t.Parallel()
	s := newStand(t, listening)
	a, aID := s.join(t, "a")
	b, _ := s.join(t, "b")
	p := s.spyAs(t, a, aID)
	for _, subject := range []string{
		wire.CommandSubject(b.Worker), wire.InboxPrefix(b.Worker) + ".>", "_INBOX.>", ">", "*.*.*", "_INBOX_dispatch.>",
		wire.ExecutionSubject(wire.KindBeat, b.Worker, 1001), wire.WorkerSubjects(wire.KindLog, b.Worker), wire.AllSubjects(wire.KindLog),
		wire.AllSubjects(wire.KindAsk), wire.WorkerSubjects(wire.KindBeat, a.Worker), wire.BellSubject("other"), "join", "$SYS.>",
	} {
		p.wantRefused(t, "subscribe to "+subject, func() error {
			_, err := p.conn.SubscribeSync(subject)
			return err
		})
	}
	for _, subject := range []string{
		wire.AskSubject(b.Worker, holdfast.DefaultPool), wire.AskSubject(a.Worker, "other"), wire.CommandSubject(b.Worker), wire.CommandSubject(a.Worker),
		wire.ExecutionSubject(wire.KindBeat, b.Worker, 1001), wire.ExecutionSubject(wire.KindLog, b.Worker, 1001),
		wire.ExecutionSubject(wire.KindIntend, b.Worker, 1001), wire.ExecutionSubject(wire.KindFinish, b.Worker, 1001),
		wire.BellSubject(holdfast.DefaultPool), wire.InboxPrefix(b.Worker) + ".x", "join", "_INBOX_dispatch.x",
	} {
		p.wantRefused(t, "publish to "+subject, func() error { return p.conn.Publish(subject, []byte("x")) })
	}
}

// TestForeignInbox names another worker's subjects as the inbox of an ask: the
// control plane, which may publish everywhere, must not carry an order there.
func TestForeignInbox(t *testing.T) {
	t.Parallel()
	s := newStand(t, listening)
	a, aID := s.join(t, "a")
	b, bID := s.join(t, "b")
	victim := s.spyAs(t, b, bID)
	commands, err := victim.conn.SubscribeSync(wire.CommandSubject(b.Worker))
	require(t, err)
	inbox, err := victim.conn.SubscribeSync(wire.InboxPrefix(b.Worker) + ".>")
	require(t, err)
	require(t, victim.conn.Flush())
	id := s.submit(t, s.queued(s.job))
	p := s.spyAs(t, a, aID)
	ask, err := wire.Encode(&wire.Ask{Request: "r1", Free: 1})
	require(t, err)
	for _, reply := range []string{wire.CommandSubject(b.Worker), wire.InboxPrefix(b.Worker) + ".x"} {
		require(t, p.conn.PublishRequest(wire.AskSubject(a.Worker, holdfast.DefaultPool), reply, ask))
	}
	require(t, p.conn.Flush())
	s.waitFor(t, id, 3*time.Second, "RUNNING", func(e holdfast.Execution) bool { return e.State == holdfast.StateRunning })
	for _, sub := range []*nats.Subscription{commands, inbox} {
		if m, err := sub.NextMsg(300 * time.Millisecond); err == nil {
			t.Errorf("%s got %q from another worker", m.Subject, m.Data)
		}
	}
}

// TestForeignFence has a worker speak, on its own subjects, of an execution
// whose order another holds.
func TestForeignFence(t *testing.T) {
	t.Parallel()
	s := newStand(t, listening)
	started, done := make(chan engine.Backup, 1), make(chan struct{})
	s.startWorker(t, "local", until(done, started), newShelf(), nil)
	id := s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	<-started
	a, aID := s.join(t, "a")
	p := s.spyAs(t, a, aID)
	var beat wire.BeatReply
	p.request(t, wire.ExecutionSubject(wire.KindBeat, a.Worker, id), &wire.Beat{Fence: 1, Number: 99}, &beat)
	if !beat.Stale {
		t.Errorf("beat: got %+v, want stale", beat)
	}
	var r wire.Reply
	p.request(t, wire.ExecutionSubject(wire.KindIntend, a.Worker, id), &wire.Intend{Fence: 1, Snapshot: strings.Repeat("a", 64)}, &r)
	if r.Failure == nil || r.Failure.Code != holdfast.CodeConflict {
		t.Errorf("intend: got %+v, want %s", r, holdfast.CodeConflict)
	}
	s.update(t, func(tx store.Tx) error { // what is wanted of it is not the other's to know either
		e, err := tx.Execution(t.Context(), 0, id)
		require(t, err)
		next := e
		next.Wanted = holdfast.WantStop
		return tx.MoveExecution(t.Context(), e, next)
	})
	r = wire.Reply{}
	p.request(t, wire.ExecutionSubject(wire.KindFinish, a.Worker, id), &wire.Finish{Fence: 1, Move: holdfast.MoveFail}, &r)
	if r.Failure == nil || r.Failure.Code != holdfast.CodeConflict {
		t.Errorf("finish: got %+v, want %s", r, holdfast.CodeConflict)
	}
	if r.Wanted != holdfast.WantRun || r.Failure != nil && strings.Contains(r.Failure.Msg, "RUNNING") {
		t.Errorf("finish: got wish %s and %q of another's execution", r.Wanted, r.Failure.Msg)
	}
	var chunk wire.ChunkReply
	p.request(t, wire.ExecutionSubject(wire.KindLog, a.Worker, id), &wire.Chunk{Fence: 1, Data: []byte("forged")}, &chunk)
	if chunk.Failure == nil {
		t.Errorf("log: got %+v, want a failure", chunk)
	}
	close(done)
	s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeSucceeded)
}

func (p *spy) request(t testing.TB, subject string, m wire.Message, reply any) {
	t.Helper()
	b, err := wire.Encode(m)
	require(t, err)
	var answer *nats.Msg
	eventually(t, 5*time.Second, func() string {
		answer, err = p.conn.Request(subject, b, 3*time.Second)
		if errors.Is(err, nats.ErrNoResponders) {
			return "the control plane does not listen yet"
		}
		require(t, err)
		return ""
	})
	require(t, json.Unmarshal(answer.Data, reply))
}

// TestRemoved removes a worker while it works: its connection is cut at once,
// its key is refused, and the execution moves on.
func TestRemoved(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(d *dispatch.Config, c *dispatch.ServerConfig) {
		listening(d, c)
		d.SilenceLimit = time.Second
	})
	m, id := s.join(t, "w")
	p := s.spyAs(t, m, id)
	cut := make(chan struct{}, 8)
	p.conn.SetDisconnectErrHandler(func(*nats.Conn, error) { cut <- struct{}{} })
	s.update(t, func(tx store.Tx) error {
		w, err := tx.Worker(t.Context(), m.Worker)
		if err != nil {
			return err
		}
		w.Removed = time.Now()
		return tx.UpdateWorker(t.Context(), w)
	})
	began := time.Now()
	s.dispatcher.Disconnect(m.Worker)
	select {
	case <-cut:
	case <-time.After(time.Second):
		t.Fatal("the connection was not cut")
	}
	if d := time.Since(began); d > 200*time.Millisecond {
		t.Errorf("cut after %s, want at once", d)
	}
	if _, err := worker.Dial(m, id, testLog(t)); holdfast.ErrorCode(err) != holdfast.CodeForbidden {
		t.Errorf("dial again: got %v, want %s", err, holdfast.CodeForbidden)
	}
}

// TestInternalUser tries to be the control plane over the listener.
func TestInternalUser(t *testing.T) {
	t.Parallel()
	s := newStand(t, listening)
	m, _ := s.join(t, "w")
	for name, opt := range map[string]nats.Option{
		"no credentials": nats.Name("x"),
		"internal user":  nats.UserInfo("internal", ""),
		"empty token":    nats.Token("x"),
	} {
		conn, err := nats.Connect("tls://"+m.Address, opt, nats.TLSHandshakeFirst(), insecure(), nats.NoReconnect())
		if err == nil {
			conn.Close()
			t.Errorf("%s: was let in", name)
		}
	}
	if conn, err := nats.Connect("nats://"+m.Address, nats.NoReconnect(), nats.Timeout(time.Second)); err == nil {
		conn.Close()
		t.Error("without TLS: was let in")
	}
}

// TestRemoteWorker runs an execution on a worker that joined over the listener.
func TestRemoteWorker(t *testing.T) {
	t.Parallel()
	s, books := newStand(t, listening), newShelf()
	m, id := s.join(t, "far")
	conn, err := worker.Dial(m, id, testLog(t))
	require(t, err)
	row := holdfast.Worker{ID: m.Worker, Name: m.Name, Pools: m.Pools, Slots: 1}
	h := &hand{row: row, conn: conn}
	h.run(t, workerConfig(t, row, conn, id, script{}, books), nil)
	var site holdfast.Site
	require(t, s.store.View(t.Context(), func(r store.Reader) (err error) {
		site, err = r.Site(t.Context(), s.account, s.site)
		return err
	}))
	e := s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	s.waitEnded(t, e, 5*time.Second, holdfast.OutcomeSucceeded)
	findings, err := s.dispatcher.TestSite(t.Context(), site, holdfast.EnginePhysical)
	require(t, err)
	if len(findings) != 1 || !findings[0].OK {
		t.Errorf("findings: got %+v", findings)
	}
}

func TestJoinTokenWithoutListener(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	if _, err := s.dispatcher.JoinToken("x"); holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("got %v, want %s", err, holdfast.CodeConflict)
	}
}

package apitest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sealed"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// begin is when every world begins.
var begin = time.Date(2026, 3, 1, 2, 0, 0, 123456000, time.UTC)

// World is what a golden file runs in.
type World struct {
	Service *service.Service
	Log     *slog.Logger

	t      testing.TB
	store  *failing
	clock  *clock
	out    *dispatcher
	local  holdfast.Actor
	worker holdfast.Worker
	tokens map[string]string
	events holdfast.EventID // newest that an exchange has seen
	// sessions are the tokens of the sessions that were opened, in that order.
	sessions []string
	secrets  secrets
	failNext
}

// NewWorld makes a world.
func NewWorld(t testing.TB) *World {
	t.Helper()
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	if _, fuzz := t.(*testing.F); !fuzz { // which does not take a log while it runs
		// Exchanges that show our own faults log them.
		log = testkit.Logger(t, testkit.Allow("call failed"), testkit.Allow("last use of tokens not written"))
	}
	template, err := migrated()
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "holdfast.db"), template, 0o600))
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "holdfast.db"))
	check(t, err)
	master, err := seal.CreateMaster(filepath.Join(dir, "master.key"))
	check(t, err)
	w := &World{
		t: t, Log: log, store: &failing{Store: sealed.New(db, master, holdfast.SecretProperty, log)}, clock: &clock{now: begin}, out: &dispatcher{}, tokens: map[string]string{},
	}
	w.Service = service.New(service.Config{
		Store: w.store, Sealer: master, Dispatcher: w.out, Logs: w.out, Repositories: w.out,
		Engines: []holdfast.Engine{holdfast.EnginePhysical, holdfast.EngineETL}, Now: w.clock.Now, Log: log,
	})
	t.Cleanup(func() {
		check(t, w.Service.Close())
		check(t, db.Close())
	})
	w.furnish(t.Context())
	return w
}

// migrated is an empty metadata database. Making one takes longer than most golden
// files, which begin with a copy of it.
var migrated = sync.OnceValues(func() (template []byte, err error) {
	dir, err := os.MkdirTemp("", "apitest-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the template: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "holdfast.db")
	db, err := sqlite.Open(context.Background(), path)
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (%s)", err, holdfast.ErrorHint(err))
	}
}

func (w *World) furnish(ctx context.Context) {
	var err error
	w.local, err = w.Service.LocalActor(ctx, "apitest", "")
	check(w.t, err)
	w.worker, err = w.Service.LocalWorker(ctx, "XKEY", 2, "test")
	check(w.t, err)
	repo, _, err := w.Service.CreateRepository(ctx, w.local, service.NewRepository{Name: "main", Location: "file:///srv/backup"})
	check(w.t, err)
	host, err := w.Service.CreateHost(ctx, w.local, service.NewHost{Name: "db1"})
	check(w.t, err)
	var oslo holdfast.Site
	for _, slug := range []string{"berlin", "oslo"} {
		oslo, err = w.Service.CreateSite(ctx, w.local, service.NewSite{Site: holdfast.Site{
			Host: host.ID, Slug: slug, Name: strings.ToUpper(slug[:1]) + slug[1:], DataDir: "/pg/" + slug, Repository: repo.ID,
			Server: holdfast.Server{Host: "/run/postgresql", Port: 5432, User: "backup"},
		}})
		check(w.t, err)
	}
	for _, in := range []service.NewToken{
		{Name: "admin", Role: holdfast.RoleAdmin},
		{Name: "operator", Role: holdfast.RoleOperator},
		{Name: "reader", Role: holdfast.RoleReader},
		{Name: "oslo", Role: holdfast.RoleAdmin, Sites: []holdfast.SiteID{oslo.ID}},
		{Name: "expired", Role: holdfast.RoleAdmin, Expires: begin.Add(time.Minute)},
	} {
		_, secret, err := w.Service.CreateToken(ctx, w.local, in)
		check(w.t, err)
		w.tokens[in.Name] = secret.Reveal()
	}
	w.newEvents(ctx)
}

// Token returns the secret of one of the world's tokens.
func (w *World) Token(name string) string { return w.tokens[name] }

// Now returns the world's time.
func (w *World) Now() time.Time { return w.clock.Now() }

// Give runs a line of a given section.
func (w *World) Give(ctx context.Context, line string) error { return w.give(ctx, line) }

// fill puts tokens into a header.
func (w *World) fill(value string) string {
	value = w.secrets.fill(w.fillSessions(value))
	for name, token := range w.tokens {
		value = strings.ReplaceAll(value, "{"+name+"}", token)
		value = strings.ReplaceAll(value, "{basic:"+name+"}", base64.StdEncoding.EncodeToString([]byte("anybody:"+token)))
	}
	return value
}

// clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex // guards the field below
	now time.Time
}

// Now returns the world's time.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// failNext is the code with which the next request's changes fail; empty: none.
type failNext struct {
	code holdfast.Code
}

type failKey struct{}

// failing is a store whose updates fail when their context says so.
type failing struct {
	store.Store
}

// Update runs fn, and undoes it when the context says so.
func (f *failing) Update(ctx context.Context, fn func(store.Tx) error) error {
	code, ok := ctx.Value(failKey{}).(holdfast.Code)
	if !ok {
		return f.Store.Update(ctx, fn)
	}
	return f.Store.Update(ctx, func(tx store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		if code == holdfast.CodeInternal {
			return fmt.Errorf("planted: %s", code)
		}
		return holdfast.Errorf(code, "the metadata database does not take this now")
	})
}

// dispatcher remembers what the service tells it.
type dispatcher struct {
	mu    sync.Mutex // guards the field below
	lines []string
}

func (d *dispatcher) add(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// take returns what was told since the last take.
func (d *dispatcher) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

// Ring remembers a bell.
func (d *dispatcher) Ring(pool string) { d.add("ring %s", pool) }

// Tell remembers a wish.
func (d *dispatcher) Tell(w holdfast.WorkerID, e holdfast.ExecutionID, f holdfast.Fence, wanted holdfast.Wanted) {
	d.add("tell worker %d: %s execution %d fence %d", w, wanted, e, f)
}

// TestSite finds nothing.
func (d *dispatcher) TestSite(_ context.Context, site holdfast.Site, _ holdfast.Engine) ([]engine.Finding, error) {
	d.add("test site %d", site.ID)
	return nil, nil
}

// Disconnect remembers a removed worker.
func (d *dispatcher) Disconnect(w holdfast.WorkerID) { d.add("disconnect worker %d", w) }

// JoinToken returns the secret as it is.
func (d *dispatcher) JoinToken(secret string) (string, error) { return secret, nil }

// Read has no log.
func (d *dispatcher) Read(context.Context, holdfast.ExecutionID, int64, int) ([]byte, int64, error) {
	return nil, 0, nil
}

// Connect implements service.Repositories.
func (*dispatcher) Connect(context.Context, string, holdfast.ObjectAccess, holdfast.Secret, holdfast.Secret, string) (string, error) {
	return strings.Repeat("c", 64), nil
}

// NewKitPassword implements service.Repositories.
func (*dispatcher) NewKitPassword() (holdfast.Secret, error) {
	return holdfast.NewSecret("7Q4M-KIT0"), nil
}

// Create makes no files.
func (d *dispatcher) Create(context.Context, string, holdfast.ObjectAccess, holdfast.Secret, holdfast.Secret) (string, error) {
	return strings.Repeat("5e", 32), nil
}

// Check opens nothing.
func (d *dispatcher) Check(context.Context, string, holdfast.ObjectAccess, holdfast.Secret, string) error {
	return nil
}

// Rekey implements service.Repositories.
func (d *dispatcher) Rekey(
	ctx context.Context, _ string, _ holdfast.ObjectAccess, _, _ holdfast.Secret, _ string, record func(context.Context) error,
) error {
	return record(ctx)
}

// Package service holds the use cases, one method each: the only door for every
// API. A method validates, asks [allow] for the one authorisation decision, and
// makes its change in one transaction together with the event that tells of it.
package service

import (
	"context"
	"crypto/rsa"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Dispatcher is what the service needs of dispatch. Its calls come after the
// transaction that they tell of: a lost one costs seconds, never an execution.
type Dispatcher interface {
	// Ring tells the workers of a pool that there may be work.
	Ring(pool string)
	// Tell pushes a changed wish to the worker that holds the order.
	Tell(w holdfast.WorkerID, e holdfast.ExecutionID, f holdfast.Fence, wanted holdfast.Wanted)
	// TestSite asks a worker that stands on the site's host to look at the site with
	// an engine's eyes.
	// CodeUnavailable when no such worker answers.
	TestSite(ctx context.Context, site holdfast.Site, e holdfast.Engine) ([]engine.Finding, error)
	// Disconnect cuts a removed worker off.
	Disconnect(w holdfast.WorkerID)
	// JoinToken wraps a one-time secret with the address and the certificate that
	// a new worker needs; CodeConflict when no listener for workers is open.
	JoinToken(secret string) (string, error)
}

// Logs reads the logs that executions wrote.
type Logs interface {
	// Read returns up to limit bytes from the offset, and the log's size so far.
	Read(ctx context.Context, e holdfast.ExecutionID, offset int64, limit int) (data []byte, size int64, err error)
}

// Repositories makes repositories. It is called outside of transactions.
type Repositories interface {
	// NewKitPassword returns a new password for a recovery kit: one that a person
	// can read out and type.
	NewKitPassword() (holdfast.Secret, error)
	// Create makes an empty repository at the location with two key slots, the
	// service's and the recovery kit's, and returns its format id.
	Create(ctx context.Context, location string, access holdfast.ObjectAccess, service, kit holdfast.Secret) (formatID string, err error)
	// Connect opens the repository at the location with one of its passwords, and gives
	// it one more: the service's. It returns its format id. CodeForbidden when the
	// password opens nothing, CodeInvalid when it has not the format id wanted; empty: any.
	Connect(ctx context.Context, location string, access holdfast.ObjectAccess, password, service holdfast.Secret, want string) (formatID string, err error)
	// Check opens the repository at the location. CodeInvalid when it is not the
	// one with the format id.
	Check(ctx context.Context, location string, access holdfast.ObjectAccess, service holdfast.Secret, formatID string) error
	// Rekey opens the repository as Check does, gives it a key with the next password,
	// calls record, and takes the old key away then. When record fails both stay.
	Rekey(
		ctx context.Context, location string, access holdfast.ObjectAccess, service, next holdfast.Secret, formatID string, record func(context.Context) error,
	) error
}

// Sealer seals and opens secrets with the master key.
type Sealer interface {
	Seal(s holdfast.Secret) ([]byte, error)
	Open(sealed []byte) (holdfast.Secret, error)
}

// Config is what a Service is made of. Every field is needed.
type Config struct {
	Store        store.Store
	Sealer       Sealer
	Dispatcher   Dispatcher
	Pipelines    Pipelines
	Logs         Logs
	Repositories Repositories
	Engines      []holdfast.Engine // engines that workers have
	Schedules    holdfast.SchedulePolicy
	Now          func() time.Time
	Log          *slog.Logger
}

// Service is the use cases. Its methods may be called from several goroutines.
type Service struct {
	cfg       Config
	uses      *uses
	passwords *passwords
	lockouts  *lockouts // of users and access keys
	addresses *lockouts // of callers with access keys
	decoyKey  func() (*rsa.PublicKey, error)
}

// New returns a Service.
func New(cfg Config) *Service {
	return &Service{
		cfg: cfg, uses: newUses(cfg.Store, cfg.Log), passwords: newPasswords(), lockouts: newLockouts(maxFailures),
		addresses: newLockouts(maxAddressFailures), decoyKey: sync.OnceValues(newDecoyKey),
	}
}

// Close waits for what the service does in the background: writing when tokens
// were last used, and events of what was refused. The store may be closed after
// it.
func (s *Service) Close() error {
	s.uses.close()
	return nil
}

// Ready reports whether the metadata database answers.
func (s *Service) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return s.cfg.Store.View(ctx, func(r store.Reader) error {
		_, err := r.Installation(ctx)
		return err
	})
}

// Limits of calls out.
const (
	storeTimeout  = 30 * time.Second // one transaction, with its wait for the writer
	readyTimeout  = 2 * time.Second
	testTimeout   = 30 * time.Second // a worker looks at a site
	createTimeout = 2 * time.Minute  // making a repository
)

// view runs fn on one snapshot for the actor. It takes the context because fn
// must use the limited one.
func (s *Service) view(ctx context.Context, actor holdfast.Actor, fn func(context.Context, store.Reader) error) error {
	if err := known(actor); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return s.cfg.Store.View(ctx, func(r store.Reader) error { return fn(ctx, r) })
}

// update runs fn in one transaction for the actor. fn may run more than once:
// it makes the rows that it inserts anew each time.
func (s *Service) update(ctx context.Context, actor holdfast.Actor, fn func(context.Context, store.Tx) error) error {
	if err := known(actor); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return s.cfg.Store.Update(ctx, func(tx store.Tx) error { return fn(ctx, tx) })
}

// now is the time in UTC, as every row has it.
func (s *Service) now() time.Time { return s.cfg.Now().UTC() }

// checkPage refuses a page that no list has.
func checkPage(p store.Page) error {
	if p.Offset < 0 || p.Limit < 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "the page begins at %d and holds %d rows", p.Offset, p.Limit).
			WithHint("use numbers that are not negative")
	}
	return nil
}

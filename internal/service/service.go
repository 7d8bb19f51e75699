// Package service holds the use cases, one method each: the only door for every
// API. A method validates, asks [allow] for the one authorisation decision, and
// makes its change in one transaction together with the event that tells of it.
package service

import (
	"context"
	"log/slog"
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
	// TestSite asks a worker that stands on the site's host to look at the site.
	// CodeUnavailable when no such worker answers.
	TestSite(ctx context.Context, site holdfast.Site) ([]engine.Finding, error)
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
	// Create makes an empty repository at the location with two key slots, the
	// service's and the recovery kit's, and returns its format id.
	Create(ctx context.Context, location string, service, kit holdfast.Secret) (formatID string, err error)
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
	Logs         Logs
	Repositories Repositories
	Engines      []holdfast.Engine // engines that workers have
	Now          func() time.Time
	Log          *slog.Logger
}

// Service is the use cases. Its methods may be called from several goroutines.
type Service struct {
	cfg Config
}

// New returns a Service.
func New(cfg Config) *Service { return &Service{cfg: cfg} }

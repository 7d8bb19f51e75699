// Package pgphysical backs up a whole PostgreSQL cluster by copying its files
// while the server runs, and writes such a set back into a directory from which
// a server starts.
//
// A set holds the data directory below pgdata, each tablespace that lies outside
// it below tablespaces/<oid>, and what else a restore needs below holdfast: the
// server's tablespace_map, and configuration files that the source kept outside
// its data directory. There is no symbolic link in a set.
//
// One session is held from start to stop of a backup. It owns a temporary slot,
// so that the server keeps the WAL; when the session ends, for whatever reason,
// slot and backup mode are gone, and so is the backup.
package pgphysical

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
)

// Limits of what the engine waits for.
const (
	queryLimit    = pgsession.QueryLimit
	startLimit    = time.Hour        // a fast checkpoint of a large cache to a slow disk
	stopLimit     = 10 * time.Minute // no wait for the archive in it
	leaveLimit    = 30 * time.Second // for leaving nothing behind, after everything else
	walLimit      = 30 * time.Second // for the last segment to be written
	watchInterval = 5 * time.Second
)

// Options are the engine's settings. The zero value serves.
type Options struct {
	// TempDir holds the manifest while a backup runs: about 150 bytes for each
	// file of the cluster. Empty: the system's.
	TempDir string
	// Clock reads the clock of the machine; nil: it does. A test sets it back.
	Clock func() engine.Moment
	// Step is called at each step of a restore in place that outlives the process,
	// with its name, so that a test can end the process there. Nil in production.
	Step func(name string)
}

// Engine implements [engine.Engine] for whole clusters of PostgreSQL 13 to 18.
type Engine struct {
	tempDir string
	clock   func() engine.Moment
	step    func(string)
}

var _ engine.Engine = (*Engine)(nil)

// New returns an engine.
func New(o Options) *Engine {
	if o.Step == nil {
		o.Step = func(string) {}
	}
	if o.Clock == nil {
		o.Clock = moment
	}
	return &Engine{tempDir: o.TempDir, clock: o.Clock, step: o.Step}
}

// Backup copies the cluster's files into the sink. It needs to run on the
// server's machine, as a user who may read the data directory.
func (e *Engine) Backup(ctx context.Context, req engine.Backup, sink engine.Sink) (engine.Result, error) {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := &backup{
		site: req.Site, by: ownerOf(req), fence: req.Fence, report: req.Report, log: req.Log, tempDir: e.tempDir,
		runType: req.RunType, base: req.Base, clock: e.clock, sink: sink, cancel: cancel,
	}
	res, err := b.run(inner)
	b.leave(ctx)
	switch {
	case err == nil:
		return res, nil
	case ctx.Err() != nil:
		return engine.Result{}, context.Cause(ctx)
	case inner.Err() != nil:
		return engine.Result{}, context.Cause(inner) // why the watch ended it
	}
	return engine.Result{}, err
}

// Release ends every session of the execution with the fence or a lower one, and
// with it slot and backup mode.
func (e *Engine) Release(ctx context.Context, req engine.Backup) error {
	ctx, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	return ownerOf(req).End(ctx, req.Site, req.Fence)
}

// errStandby is the answer to a site that is in recovery.
func errStandby() error {
	return holdfast.Errorf(holdfast.CodeInvalid, "the server is a standby; a physical backup is taken from a primary").
		WithHint("let the site name the primary, and its data directory")
}

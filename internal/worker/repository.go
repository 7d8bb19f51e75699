package worker

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// Repository is what a worker needs of a repository.
type Repository interface {
	// ID is the repository's own id, in hexadecimal.
	ID() string
	// NewWriter takes a lock and begins a set. Cancelling ctx ends the writer;
	// Close must be called all the same.
	NewWriter(ctx context.Context, holder, hostname string, log *slog.Logger) (Writer, error)
	// NewReader opens a set to read it.
	NewReader(ctx context.Context, snapshot string) (Reader, error)
	// RemoveSnapshot removes a snapshot that has all the tags, and reports whether it
	// was there. CodeInvalid when it lacks one: then it is somebody else's.
	RemoveSnapshot(ctx context.Context, snapshot string, tags []string) (found bool, err error)
}

// Writer stores one set.
type Writer interface {
	engine.Sink
	// BuildOn returns a sink of the same set, which takes from an earlier one what has
	// not changed. It is closed before the writer.
	BuildOn(ctx context.Context, snapshot string) (Delta, error)
	// Compress says how hard to compress; it is called before the first Add.
	Compress(c holdfast.Compression)
	// AddedBytes is what was put into the repository so far.
	AddedBytes() int64
	// LockGood is for how long the lock is still good.
	LockGood() time.Duration
	// Commit makes everything durable, calls intend with the id that the snapshot
	// will have, and writes the snapshot when intend has returned nil.
	Commit(ctx context.Context, c repository.Commit, intend func(ctx context.Context, snapshot string) error) (string, error)
	Close() error
}

// Delta is a sink that builds on an earlier set.
type Delta interface {
	engine.Sink
	// Base reads that set.
	Base() engine.Source
	// Err is why it could not be read any further; every file is read since then.
	Err() error
	Close() error
}

// Reader reads one set.
type Reader interface {
	engine.Source
	Close() error
}

// openRepository is the Config.OpenRepository of production.
func openRepository(ctx context.Context, b objstore.Bucket, password holdfast.Secret) (Repository, error) {
	r, err := repository.Open(ctx, b, password)
	if err != nil {
		return nil, err
	}
	return realRepository{r}, nil
}

type realRepository struct{ *repository.Repository }

func (r realRepository) NewWriter(ctx context.Context, holder, hostname string, log *slog.Logger) (Writer, error) {
	w, err := r.Repository.NewWriter(ctx, repository.WriterOptions{Holder: holder, Hostname: hostname, Log: log})
	if err != nil {
		return nil, err
	}
	return realWriter{w}, nil
}

func (r realRepository) NewReader(ctx context.Context, snapshot string) (Reader, error) {
	reader, err := r.Repository.NewReader(ctx, snapshot)
	if err != nil {
		return nil, err
	}
	return reader, nil
}

// RemoveSnapshot looks first: only what is not there may still be written. The id
// is what a worker has said, which may not be allowed to remove anything itself: it
// must not have the snapshot of another order removed by naming that one as its own.
func (r realRepository) RemoveSnapshot(ctx context.Context, snapshot string, tags []string) (bool, error) {
	s, err := r.Snapshot(ctx, snapshot)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return false, nil
	}
	if err == nil {
		for _, tag := range tags {
			if !slices.Contains(s.Tags, tag) {
				return true, holdfast.Errorf(holdfast.CodeInvalid, "snapshot %s stays: it was not written by the order that named it, for it is not tagged %s", wire.Clip(snapshot, 16), tag).
					WithHint("look at the worker of that execution, and at the snapshot with restic")
			}
		}
	}
	// A snapshot that cannot be read is one all the same.
	return true, r.Repository.RemoveSnapshot(ctx, snapshot)
}

type realWriter struct{ *repository.Writer }

func (w realWriter) AddedBytes() int64 { return w.Stats().AddedBytes }

func (w realWriter) BuildOn(ctx context.Context, snapshot string) (Delta, error) {
	d, err := w.Writer.BuildOn(ctx, snapshot)
	if err != nil {
		return nil, err
	}
	return d, nil
}

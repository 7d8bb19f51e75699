package dispatch_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// script is an engine that does what a test says.
type script struct {
	backup  func(ctx context.Context, req engine.Backup, sink engine.Sink) (engine.Result, error)
	restore func(ctx context.Context, req engine.Restore, src engine.Source) (engine.Result, error)
	release func(req engine.Backup)
}

// Backup runs the script's backup; none succeeds at once.
func (s script) Backup(ctx context.Context, req engine.Backup, sink engine.Sink) (engine.Result, error) {
	if s.backup == nil {
		return engine.Result{Bytes: 1, Files: 1}, nil
	}
	return s.backup(ctx, req, sink)
}

// Restore runs the script's restore; none succeeds at once.
func (s script) Restore(ctx context.Context, req engine.Restore, src engine.Source) (engine.Result, error) {
	if s.restore == nil {
		return engine.Result{}, nil
	}
	return s.restore(ctx, req, src)
}

// Release tells the script.
func (s script) Release(_ context.Context, req engine.Backup) error {
	if s.release != nil {
		s.release(req)
	}
	return nil
}

// Test finds nothing wrong, and shows that the password came through.
func (script) Test(_ context.Context, site engine.Site) ([]engine.Finding, error) {
	return []engine.Finding{{Name: "password", OK: site.Password.Reveal() == sitePassword, Text: site.Slug}}, nil
}

// until returns a backup that lasts until the channel is closed or its context
// ends, and tells each start on started.
func until(done <-chan struct{}, started chan<- engine.Backup) script {
	return script{backup: func(ctx context.Context, req engine.Backup, _ engine.Sink) (engine.Result, error) {
		started <- req
		select {
		case <-ctx.Done():
			return engine.Result{}, context.Cause(ctx)
		case <-done:
			return engine.Result{Bytes: 7}, nil
		}
	}}
}

// shelf is a repository that keeps only the ids of its snapshots.
type shelf struct {
	mu        sync.Mutex
	snapshots map[string]bool
	removed   []string
	tags      [][]string // of the removed ones
}

func newShelf() *shelf { return &shelf{snapshots: map[string]bool{}} }

// openBucket wants the access that every repository of these tests has.
func (s *shelf) openBucket(_ context.Context, _ string, access holdfast.ObjectAccess) (objstore.Bucket, error) {
	if access.SecretKey.Reveal() != repositorySecret {
		return nil, holdfast.Errorf(holdfast.CodeForbidden, "wrong secret key")
	}
	return mem.New(), nil
}

func (s *shelf) open(_ context.Context, _ objstore.Bucket, password holdfast.Secret) (worker.Repository, error) {
	if password.Reveal() != repositoryPassword {
		return nil, holdfast.Errorf(holdfast.CodeForbidden, "wrong password")
	}
	return s, nil
}

func (s *shelf) ID() string { return "" }

func (s *shelf) NewWriter(context.Context, string, string, *slog.Logger) (worker.Writer, error) {
	return &shelfWriter{shelf: s}, nil
}

func (s *shelf) NewReader(_ context.Context, snapshot string) (worker.Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.snapshots[snapshot] {
		return nil, holdfast.Errorf(holdfast.CodeNotFound, "there is no snapshot %s", snapshot)
	}
	return shelfReader{}, nil
}

func (s *shelf) RemoveSnapshot(_ context.Context, snapshot string, tags []string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.snapshots[snapshot]
	delete(s.snapshots, snapshot)
	s.removed = append(s.removed, snapshot)
	s.tags = append(s.tags, tags)
	return found, nil
}

type shelfWriter struct{ shelf *shelf }

func (w *shelfWriter) Add(_ context.Context, f engine.File) error {
	if f.Open == nil {
		return nil
	}
	c, err := f.Open()
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.NewSectionReader(c, 0, f.Size)); err != nil {
		return err
	}
	return c.Close()
}

// BuildOn finds nothing: the shelf has no files.
func (*shelfWriter) BuildOn(_ context.Context, snapshot string) (worker.Delta, error) {
	return nil, holdfast.Errorf(holdfast.CodeNotFound, "there is no snapshot %s", snapshot)
}

func (*shelfWriter) Compress(holdfast.Compression) {}

func (*shelfWriter) Flush(context.Context) error { return nil }
func (*shelfWriter) AddedBytes() int64           { return 42 }
func (*shelfWriter) LockGood() time.Duration     { return time.Minute }
func (*shelfWriter) Close() error                { return nil }

func (w *shelfWriter) Commit(ctx context.Context, _ repository.Commit, intend func(context.Context, string) error) (string, error) {
	id := make([]byte, 32)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	snapshot := hex.EncodeToString(id)
	if err := intend(ctx, snapshot); err != nil {
		return "", err
	}
	if err := ctx.Err(); err != nil {
		return snapshot, context.Cause(ctx)
	}
	w.shelf.mu.Lock()
	defer w.shelf.mu.Unlock()
	w.shelf.snapshots[snapshot] = true
	return snapshot, nil
}

type shelfReader struct{}

func (shelfReader) Walk(context.Context, func(engine.Node) error) error { return nil }
func (shelfReader) ReadFile(context.Context, string, int64) ([]byte, error) {
	return nil, holdfast.Errorf(holdfast.CodeNotFound, "no file")
}
func (shelfReader) Fetch(context.Context, []engine.Target) error { return nil }
func (shelfReader) Close() error                                 { return nil }

// content is an engine.Content in memory.
type content struct{ *bytes.Reader }

func (content) Close() error { return nil }

package repository

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
)

// WriterOptions say who writes, and with how much.
type WriterOptions struct {
	Holder     string        // stable name of who takes the lock: installation/worker
	Hostname   string        // in the lock; empty: this machine's
	Workers    int           // blocks in work at once; 0: one a core
	Log        *slog.Logger  // nil: nothing is logged
	IndexEvery time.Duration // how much a killed run may have to store again; 0: a minute
}

const (
	defaultIndexEvery = time.Minute
	closeTimeout      = 2 * time.Minute
	queueLen          = 64 // tasks that wait for a worker
)

// Stats is what a writer has done so far.
type Stats struct {
	Files      int64 // stored, regular
	ReadBytes  int64 // of content
	Blobs      int64 // that content was cut into
	NewBlobs   int64 // of these, not known before
	AddedBytes int64 // put into the repository, as stored
	Packs      int64 // put into the repository
}

// Writer is an engine.Sink that stores one backup set. Its methods may be used
// by several goroutines.
//
// One worker a core takes a block through all steps: read, inspect, hash, look
// up, and for an unknown one compress, seal and append to a pack. What is kept
// for each block until Commit is its id.
type Writer struct {
	repo   *Repository
	log    *slog.Logger
	lock   *lock
	index  *index.Index
	packer *packer
	effort *effort
	had    int64 // places in the index before the first file

	failed <-chan struct{} // closed when the writer can do no more
	cause  func() error    // why; nil while it works
	onFail func(func()) (stop func() bool)
	cancel context.CancelCauseFunc
	tasks  chan task
	queued gauge // tasks not done
	ended  sync.WaitGroup
	closed func() error

	useMu sync.RWMutex // held for reading while workers or packs are used; guards the field below
	done  bool         // nothing may be added any more

	mu      sync.Mutex // guards the fields below
	entries map[string]*entry

	files, read, blobs, fresh atomic.Int64
}

var _ engine.Sink = (*Writer)(nil)

// entry is a node of the set until its tree is written.
type entry struct {
	node     engine.Node
	content  []hash.ID // of a regular file
	vanished bool
}

var (
	errClosed    = errors.New("the writer is closed")
	errCommitted = errors.New("the set has been committed, or given up")
)

// NewWriter takes a lock, loads the index and starts the workers. Cancelling ctx
// ends the writer; Close must be called all the same.
func (r *Repository) NewWriter(ctx context.Context, o WriterOptions) (*Writer, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.IndexEvery <= 0 {
		o.IndexEvery = defaultIndexEvery
	}
	if err := objstore.Room(ctx, r.bucket); err != nil {
		return nil, err
	}
	l, err := r.takeLock(ctx, o.Holder, o.Hostname, o.Log)
	if err != nil {
		return nil, err
	}
	x, err := r.loadWholeIndex(ctx, func(id hash.ID) {
		o.Log.WarnContext(ctx, "pack is missing or cut short; what is needed of it is stored again", "pack", id.String())
	})
	if err != nil {
		return nil, errors.Join(err, l.release(ctx))
	}
	wctx, cancel := context.WithCancelCause(ctx)
	w := &Writer{
		repo: r, log: o.Log, lock: l, index: x, effort: newEffort(), had: int64(x.Len()),
		failed: wctx.Done(), cause: func() error { return context.Cause(wctx) }, cancel: cancel,
		onFail: func(f func()) func() bool { return context.AfterFunc(wctx, f) },
		tasks:  make(chan task, queueLen), entries: map[string]*entry{},
	}
	w.packer = newPacker(r, x, l, cancel)
	w.closed = sync.OnceValue(w.close)
	w.start(wctx, o)
	return w, nil
}

func (w *Writer) start(ctx context.Context, o WriterOptions) {
	var workers sync.WaitGroup
	for range o.Workers {
		workers.Go(func() { w.work(ctx) })
	}
	var puts sync.WaitGroup
	for range uploaders {
		puts.Go(func() { w.packer.upload(ctx) })
	}
	stop := make(chan struct{})
	var ticks sync.WaitGroup
	ticks.Go(func() { w.indexEvery(ctx, o.IndexEvery, stop) })
	w.ended.Go(func() {
		workers.Wait() // ends when the tasks are closed
		close(stop)
		ticks.Wait()
		close(w.packer.uploads)
		puts.Wait()
	})
}

// indexEvery writes the index now and then, so that a run after this one finds
// what this one has stored, however this one ends.
func (w *Writer) indexEvery(ctx context.Context, every time.Duration, stop <-chan struct{}) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-stop:
			return
		case <-ticker.C:
		}
		if err := w.packer.writeIndex(ctx); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "index not written, trying again later", "error", err)
		}
	}
}

// Add implements engine.Sink. A file's Done means that its content has been
// taken in; it is durable after the next Flush.
func (w *Writer) Add(ctx context.Context, f engine.File) error {
	if err := checkNode(f); err != nil {
		return w.fail(err)
	}
	w.useMu.RLock()
	defer w.useMu.RUnlock()
	if err := w.cause(); err != nil {
		return err
	}
	if w.done {
		return errCommitted
	}
	e := &entry{node: f.Node}
	w.mu.Lock()
	w.entries[f.Path] = e
	w.mu.Unlock()
	if !f.Mode.IsRegular() {
		if f.Done != nil {
			f.Done(engine.FileResult{})
		}
		return nil
	}
	return w.enqueue(ctx, newInput(f, e))
}

func checkNode(f engine.File) error {
	p := f.Path
	if p == "" || path.IsAbs(p) || path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../") || strings.ContainsRune(p, 0) {
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is not the path of a file in a set", p)
	}
	if strings.Count(p, "/") >= maxDepth {
		return holdfast.Errorf(holdfast.CodeInvalid, "the path %q is too deep", p)
	}
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > maxNameLen {
			return holdfast.Errorf(holdfast.CodeInvalid, "a name in the path %q is too long", p)
		}
	}
	switch typeOf(f.Mode) {
	case typeDir, typeSymlink:
	case typeFile:
		if f.Open == nil || f.Size < 0 {
			return holdfast.Errorf(holdfast.CodeInvalid, "file %q cannot be read", p)
		}
	default:
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is no file, directory or symbolic link", p)
	}
	return nil
}

func (w *Writer) enqueue(ctx context.Context, in *input) error {
	tasks := in.tasks()
	for i, t := range tasks {
		w.queued.add(1)
		select {
		case w.tasks <- t:
			continue
		case <-w.failed:
		case <-ctx.Done():
			w.cancel(context.Cause(ctx)) // half a file is queued
		}
		w.queued.add(-1)
		for range tasks[i:] {
			w.taskDone(in)
		}
		return w.cause()
	}
	return nil
}

// Flush implements engine.Sink: on return everything added so far is durable,
// and in the index. Files added meanwhile delay it.
func (w *Writer) Flush(ctx context.Context) error {
	w.useMu.RLock()
	defer w.useMu.RUnlock()
	ctx, stop := w.bound(ctx)
	defer stop()
	return w.flush(ctx)
}

// bound returns a context that ends with the writer, too.
func (w *Writer) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := w.onFail(func() { cancel(w.cause()) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

func (w *Writer) flush(ctx context.Context) error {
	if err := w.queued.wait(ctx, w.failed, w.cause); err != nil {
		return err
	}
	if err := w.cause(); err != nil {
		return err
	}
	if err := w.packer.flush(ctx, w.failed, w.cause); err != nil {
		return w.fail(err)
	}
	return nil
}

// fail makes every further call return the first error.
func (w *Writer) fail(err error) error {
	w.cancel(err)
	return w.cause()
}

// Stats returns what was done so far.
func (w *Writer) Stats() Stats {
	return Stats{
		Files: w.files.Load(), ReadBytes: w.read.Load(), Blobs: w.blobs.Load(), NewBlobs: w.fresh.Load(),
		AddedBytes: w.packer.added.Load(), Packs: w.packer.packs.Load(),
	}
}

// LockGood returns for how long the writer's lock is still good, were it not
// refreshed any more. Zero or less: Commit will refuse.
func (w *Writer) LockGood() time.Duration { return w.lock.good() }

// Close ends the writer and removes its lock. What was not committed stays as
// blobs that the next writer knows. Close may be called several times.
func (w *Writer) Close() error { return w.closed() }

func (w *Writer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	w.cancel(errClosed)
	w.useMu.Lock() // nobody is sending to workers or uploaders
	w.done = true
	w.useMu.Unlock()
	close(w.tasks)
	w.ended.Wait()
	w.packer.letGo()
	var errs []error
	if err := w.packer.writeIndex(ctx); err != nil {
		w.log.WarnContext(ctx, "index not written: the next run stores the same again", "error", err)
	}
	if err := w.lock.release(ctx); err != nil {
		errs = append(errs, fmt.Errorf("release the lock: %w", err))
	}
	return errors.Join(errs...)
}

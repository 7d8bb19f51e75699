// Package sqlite keeps the metadata database in one SQLite file: write-ahead
// log, every commit synced, one connection that writes and several that read.
//
// Writers share commits. While one commit is under way the next callers of
// [Store.Update] wait; then all of them run in one transaction, each inside a
// savepoint, and return when that transaction is durable.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/internal/store"
)

const (
	defaultBusyTimeout = 5 * time.Second // for a program that is not ours; ours never waits for a lock
	defaultReaders     = 4
)

// Store is a [store.Store] in one SQLite file.
type Store struct {
	path      string
	writer    *writer
	writeDB   *sql.DB
	readDB    *sql.DB
	readers   *readers
	anchors   *anchors
	directory *directory
	etls      *etlShelf
	closing   chan struct{}
	once      sync.Once
	err       error // of Close
}

var _ store.Store = (*Store)(nil)

type options struct {
	busyTimeout time.Duration
	readers     int
	log         *slog.Logger
	walLimit    int64 // bytes
	schema      schema
}

// Option changes how a Store is opened.
type Option func(*options)

// WithBusyTimeout says how long to wait for another program that has locked the
// file, before CodeUnavailable.
func WithBusyTimeout(d time.Duration) Option { return func(o *options) { o.busyTimeout = d } }

// WithReaders says how many views may run at once; more wait.
func WithReaders(n int) Option { return func(o *options) { o.readers = max(n, 1) } }

// WithLogger says where migrations are told of.
func WithLogger(log *slog.Logger) Option { return func(o *options) { o.log = log } }

// Open opens the database at path, made when it does not exist, and brings its
// schema up to date; before it does that it leaves a copy at path.before-N,
// where N is the schema's next version.
//
// CodeInvalid when the file is no database of this program, or a newer one's.
func Open(ctx context.Context, path string, opts ...Option) (_ *Store, err error) {
	o := options{busyTimeout: defaultBusyTimeout, readers: defaultReaders, log: slog.New(slog.DiscardHandler), walLimit: walLimit, schema: embedded()}
	for _, f := range opts {
		f(&o)
	}
	path, err = prepareFile(path)
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, anchors: newAnchors(), directory: newDirectory(), etls: newETLShelf(), closing: make(chan struct{}), readers: newReaders(o.readers)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if s.writeDB, err = openPool(path, writing, o.busyTimeout, 1); err != nil {
		return nil, err
	}
	if err := migrate(ctx, s.writeDB, path, o); err != nil {
		return nil, err
	}
	if s.readDB, err = openPool(path, reading, o.busyTimeout, o.readers); err != nil {
		return nil, err
	}
	if err := s.readDB.PingContext(ctx); err != nil {
		return nil, classify(err)
	}
	s.writer = newWriter(s.writeDB, s.closing, newCheckpoint(path, o.walLimit), o.busyTimeout)
	go s.writer.run(context.WithoutCancel(ctx))
	return s, nil
}

// Path returns the absolute path of the database file.
func (s *Store) Path() string { return s.path }

// readers are the connections for views.
type readers struct {
	busy chan struct{} // holds one for each view that runs
	mu   sync.Mutex    // guards the field below
	idle []*conn       // the last is the one used last, which has the most in its cache
}

func newReaders(n int) *readers { return &readers{busy: make(chan struct{}, n)} }

// take returns an idle connection; nil: there is none yet.
func (r *readers) take() *conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.idle) == 0 {
		return nil
	}
	c := r.idle[len(r.idle)-1]
	r.idle = r.idle[:len(r.idle)-1]
	return c
}

// give ends a view. nil: its connection was closed.
func (r *readers) give(c *conn) {
	r.mu.Lock()
	if c != nil {
		r.idle = append(r.idle, c)
	}
	r.mu.Unlock()
	<-r.busy
}

// View runs fn on one consistent snapshot.
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	select {
	case <-s.closing:
		return errClosed()
	case <-ctx.Done():
		return context.Cause(ctx)
	default:
	}
	select {
	case s.readers.busy <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.closing:
		return errClosed()
	}
	c := s.readers.take()
	defer func() { s.readers.give(c) }()
	bare := context.WithoutCancel(ctx) // a connection outlives its first user
	if c == nil {
		var err error
		if c, err = connect(bare, s.readDB); err != nil {
			return err
		}
	}
	clean := false
	defer func() {
		if !clean { // also when fn panics
			c.discard()
			c = nil
		}
	}()
	if err := c.exec(bare, "BEGIN"); err != nil {
		return classify(err)
	}
	sess := &session{conn: c, view: true}
	defer func() { sess.over = true }()
	// A snapshot begins with the first thing that is read.
	err := sess.each(ctx, func(rows *sql.Rows) error { return rows.Scan(&sess.epoch, &sess.directory, &sess.etls) }, "SELECT epoch, directory, etls FROM installation")
	if err != nil {
		return err
	}
	err = fn(reader{s: sess, anchors: s.anchors, directory: s.directory, etls: s.etls})
	if rollback := c.exec(bare, "ROLLBACK"); rollback == nil {
		clean = true
	}
	return err
}

// Update runs fn in one transaction, which it shares with others that come at
// the same time. fn runs in the caller's goroutine and holds up every other
// writer: it must not wait for anything, and must not call Update.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.writer.update(ctx, fn)
}

// Close waits for running transactions.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.closing)
		<-s.writer.stopped
		for range cap(s.readers.busy) {
			s.readers.busy <- struct{}{} // the last views have ended
		}
		for c := s.readers.take(); c != nil; c = s.readers.take() {
			s.err = errors.Join(s.err, c.close())
		}
		s.err = errors.Join(s.err, s.closeFiles())
	})
	return s.err
}

// closeFiles closes the readers first: the last connection folds the write-ahead
// log into the database, and only one that writes can.
func (s *Store) closeFiles() error {
	var err error
	if s.readDB != nil {
		err = s.readDB.Close()
	}
	if s.writeDB != nil {
		err = errors.Join(err, s.writeDB.Close())
	}
	return err
}

// Package session is one conversation of holdfast-etl with the worker that started
// it: requests of package duck come in, and one DuckDB answers them.
package session

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// Session is the state of a conversation.
type Session struct {
	version string
	files   *net.UnixConn

	outMu sync.Mutex // held for one line
	out   io.Writer

	mu         sync.Mutex // guards the fields below
	db         *sql.DB    // nil until it was opened
	dir        string     // for spill files
	temp       int64      // bytes of temporary space
	placed     int        // Parquet files that got a name
	held       int        // files that streamed relations keep open
	line       int64      // bytes of the longest row that is read
	threads    int        // that may read a feed at once
	slots      slots
	relations  map[string]*relation // by folded name
	declared   []*relation          // in the order of their declaration
	parameters map[string]parameter
	running    map[uint64]context.CancelFunc
}

// New returns a session whose files come by the connection.
func New(version string, files *net.UnixConn) *Session {
	return &Session{
		version: version, files: files,
		relations: map[string]*relation{}, parameters: map[string]parameter{}, running: map[uint64]context.CancelFunc{},
	}
}

// Serve answers requests until there are no more, and then until the last is
// answered. The end of the context, or of the requests, cancels those under way.
func (s *Session) Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	s.out = out
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	requests, ended := read(ctx, in)
	for {
		var req *duck.Request
		select {
		case req = <-requests:
		case err := <-ended:
			return err // io.EOF is the usual one
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		files, err := s.receive(req)
		if err != nil {
			return err
		}
		if err := req.Check(); err != nil {
			closeAll(files)
			s.answer(&duck.Response{ID: req.ID, Error: duck.Failed(err)})
			continue
		}
		if req.Cancel != 0 {
			s.cancel(req.Cancel)
			s.answer(&duck.Response{ID: req.ID})
			continue
		}
		rctx, done := s.begin(ctx, req.ID)
		all.Go(func() {
			defer done()
			defer closeAll(files)
			s.answer(s.respond(rctx, req, files))
		})
	}
}

// read reads requests, until there are no more or the context has ended and one comes.
func read(ctx context.Context, in io.Reader) (<-chan *duck.Request, <-chan error) {
	requests, ended := make(chan *duck.Request), make(chan error, 1)
	go func() {
		lines := duck.NewLines(in)
		for {
			req := new(duck.Request)
			if err := lines.Next(req); err != nil {
				ended <- err
				return
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				return
			}
		}
	}()
	return requests, ended
}

// begin makes a request one that can be cancelled.
func (s *Session) begin(ctx context.Context, id uint64) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[id] = cancel
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, id)
	}
}

// cancel gives up a request; one that has been answered is none any more.
func (s *Session) cancel(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.running[id]; cancel != nil {
		cancel()
	}
}

// answer sends a response. When that fails, the parent has gone, and the end of the
// requests follows.
func (s *Session) answer(r *duck.Response) {
	s.outMu.Lock()
	defer s.outMu.Unlock()
	err := duck.WriteLine(s.out, r)
	if _, ok := errors.AsType[*holdfast.Error](err); ok { // too long
		_ = duck.WriteLine(s.out, &duck.Response{ID: r.ID, Error: duck.Failed(err), Read: r.Read})
	}
}

// respond does what a request asks for. The files may be taken out of the slice's
// elements by setting them to nil; the caller closes the others.
func (s *Session) respond(ctx context.Context, req *duck.Request, files []*os.File) (r *duck.Response) {
	r = &duck.Response{ID: req.ID}
	defer func() {
		if p := recover(); p != nil {
			r.Error = duck.Failed(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	err := s.do(ctx, req, files, r)
	r.Error = duck.Failed(explain(ctx, err))
	return r
}

// errUnopened is the answer to what comes before open.
var errUnopened = holdfast.Errorf(holdfast.CodeConflict, "the engine was not opened")

func (s *Session) do(ctx context.Context, req *duck.Request, files []*os.File, r *duck.Response) error {
	if req.Open != nil {
		return s.open(ctx, req.Open, r)
	}
	s.mu.Lock()
	opened := s.db != nil
	s.mu.Unlock()
	switch {
	case !opened:
		return errUnopened
	case req.Set != nil:
		return s.set(ctx, req.Set)
	case req.Input != nil:
		return s.input(ctx, req.Input, files, r)
	case req.Describe != nil:
		return s.describe(ctx, req.Describe, files, r)
	case req.Step != nil:
		return s.step(ctx, req.Step, r)
	case req.Assert != nil:
		return s.assert(ctx, req.Assert, r)
	case req.Output != nil:
		return s.output(ctx, req.Output, files, r)
	case req.Look != nil:
		return s.look(ctx, req.Look, r)
	case req.Reset:
		return s.reset(ctx)
	}
	return errors.New("a request that Check let pass asks for nothing")
}

// Clean removes what was spilled: the directory itself is the parent's.
func (s *Session) Clean() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // the parent does it again
	}
}

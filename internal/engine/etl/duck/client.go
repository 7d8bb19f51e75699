package duck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Config says which child to start, and what it may take.
type Config struct {
	Binary  string // path of holdfast-etl; see [Find]
	Memory  int64  // bytes of the engine's buffers, at least [MinMemory]; the process takes some 200 MB more
	Temp    int64  // bytes of spill files; 0: none
	Threads int    // 0: as many as there are processors
	Ordered bool   // rows keep their order through steps; see [Open]
	TempDir string // directory for spill files: the child's own is made below it
	Log     *slog.Logger
}

// Timeouts of a child's life.
const (
	startTimeout  = 30 * time.Second // to load the binary and to open the engine
	cancelTimeout = 10 * time.Second // from a cancellation to its answer: the engine looks for it every 500 ms
	endTimeout    = 10 * time.Second // from SIGTERM to SIGKILL
)

// Client is a child process, and what one can ask of it. Methods may be called at
// once, except that a pipe has one writer and a drain one reader.
//
// A cancelled context ends the one request: the engine is interrupted, and a child
// that does not answer within 10 s is killed. After the child's death every method
// returns the same error, which names the signal.
type Client struct {
	cmd    *exec.Cmd
	log    *slog.Logger
	stderr *said
	temp   *tempDir
	opened Opened

	sendMu sync.Mutex // held for the files and the line of one request
	stdin  io.WriteCloser
	files  *net.UnixConn

	endOnce   sync.Once
	killLater *time.Timer // set by endOnce
	reapMu    sync.Mutex  // guards reaped
	reaped    bool        // no signal may be sent any more

	gone chan struct{} // closed when the child has ended and everything is told so

	mu      sync.Mutex // guards the fields below
	last    uint64     // id of a request
	waiting map[uint64]chan answer
	feeds   map[string]*Feed // by relation; those that were not read yet
	died    error            // set before gone is closed
	closing bool             // the child's end is wanted
}

// Start starts a child and opens its engine. The context bounds the start, not the
// child's life: [Client.Close] ends it, as does the end of this process.
func Start(ctx context.Context, c Config) (*Client, error) {
	if c.Threads == 0 {
		c.Threads = runtime.NumCPU()
	}
	temp, err := newTempDir(ctx, c.TempDir, c.Log)
	if err != nil {
		return nil, err
	}
	cl := &Client{
		log: c.Log, temp: temp, stderr: &said{log: c.Log},
		gone: make(chan struct{}), waiting: map[uint64]chan answer{}, feeds: map[string]*Feed{},
	}
	stdout, err := cl.launch(ctx, c.Binary)
	if err != nil {
		return nil, errors.Join(err, temp.remove())
	}
	go cl.receive(stdout)

	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	r, err := cl.call(ctx, &Request{Open: &Open{Memory: c.Memory, Temp: c.Temp, Threads: c.Threads, Dir: temp.path, Ordered: c.Ordered}})
	if err == nil && (r.Opened == nil || r.Opened.Protocol != Protocol) {
		err = holdfast.Errorf(holdfast.CodeUnavailable, "%s is of another release", c.Binary).
			WithHint("install holdfast and holdfast-etl of the same release")
	}
	if err != nil {
		return nil, errors.Join(err, cl.Close())
	}
	cl.opened = *r.Opened
	return cl, nil
}

// Opened returns what the child said of itself.
func (c *Client) Opened() Opened { return c.opened }

// Pid returns the child's process id.
func (c *Client) Pid() int { return c.cmd.Process.Pid }

// Close ends the child and removes its files: SIGTERM, and after 10 s SIGKILL to its
// process group. What is under way fails. The error is that of the removal: a child
// that had died is no error here. Close may be called more than once.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.end()
	<-c.gone
	return c.temp.remove()
}

// errClosed is what methods return after Close.
var errClosed = holdfast.Errorf(holdfast.CodeConflict, "the engine was closed")

// call sends a request and waits for its response, for the end of the child, or,
// when the context has ended, for the response to the cancellation. Its errors are
// those of the response, too.
func (c *Client) call(ctx context.Context, req *Request, files ...*os.File) (*Response, error) {
	will, err := c.send(ctx, req, files)
	if err != nil {
		return nil, err
	}
	return c.await(ctx, req.ID, will)
}

// send sends a request, which gets its id here, and returns where its response will be.
func (c *Client) send(ctx context.Context, req *Request, files []*os.File) (<-chan answer, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	will := make(chan answer, 1)
	c.mu.Lock()
	if c.died != nil {
		c.mu.Unlock()
		return nil, c.died
	}
	c.last++
	req.ID = c.last
	req.Files = len(files)
	if err := req.Check(); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	c.waiting[req.ID] = will
	c.mu.Unlock()

	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	err := sendFiles(c.files, files)
	if err == nil {
		err = WriteLine(c.stdin, req)
	}
	if err == nil {
		return will, nil
	}
	c.mu.Lock()
	delete(c.waiting, req.ID)
	c.mu.Unlock()
	if _, ok := errors.AsType[*holdfast.Error](err); ok {
		return nil, err
	}
	// The pipe broke: the child is about to be found dead.
	return nil, c.death(fmt.Errorf("ask holdfast-etl: %w", err))
}

// answer is what becomes of a request: a response, or the child's death when it is
// closed without one.
type answer struct {
	response *Response
	err      error
}

// await waits for the response to a request.
func (c *Client) await(ctx context.Context, id uint64, will <-chan answer) (*Response, error) {
	select {
	case a, ok := <-will:
		return c.take(a, ok)
	case <-ctx.Done():
	}
	cause := context.Cause(ctx)
	if err := c.cancel(ctx, id); err != nil {
		return nil, errors.Join(cause, err)
	}
	select {
	case <-will: // whatever it says: it came too late
	case <-time.After(cancelTimeout):
		c.log.WarnContext(ctx, "holdfast-etl does not give up and is killed", "pid", c.Pid())
		c.kill()
		<-will
	}
	return nil, cause
}

// cancel asks the child to give up a request. The request itself is answered, and
// nobody waits for the answer to this one.
func (c *Client) cancel(ctx context.Context, id uint64) error {
	_, err := c.send(context.WithoutCancel(ctx), &Request{Cancel: id}, nil)
	return err
}

// take opens an answer.
func (c *Client) take(a answer, ok bool) (*Response, error) {
	if !ok {
		return nil, c.death(nil)
	}
	return a.response, a.err
}

// death waits until the child's end is known, and returns its reason. A child that
// neither works nor ends is killed.
func (c *Client) death(instead error) error {
	select {
	case <-c.gone:
	case <-time.After(endTimeout):
		c.kill()
		<-c.gone
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.died == nil {
		return instead
	}
	return c.died
}

// receive hands out responses until the child ends, and then waits for it.
func (c *Client) receive(stdout io.ReadCloser) {
	lines := NewLines(stdout)
	var broken error
	for {
		r := new(Response)
		if err := lines.Next(r); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				broken = err
			}
			break
		}
		if err := c.hand(r); err != nil {
			broken = err
			break
		}
	}
	if broken != nil { // it does not speak our language: there is nothing to wait for
		c.kill()
	} else {
		c.end() // it has closed its output
	}
	reason := c.reap(broken)
	_ = stdout.Close()

	c.mu.Lock()
	defer c.mu.Unlock()
	c.died = reason
	for id, will := range c.waiting {
		delete(c.waiting, id)
		close(will)
	}
	for name, f := range c.feeds {
		delete(c.feeds, name)
		f.settle(reason)
	}
	close(c.gone)
}

// hand gives a response to whom it belongs.
func (c *Client) hand(r *Response) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	will, ok := c.waiting[r.ID]
	if !ok {
		return fmt.Errorf("holdfast-etl answered request %d, which waits for nothing", r.ID)
	}
	delete(c.waiting, r.ID)
	a := answer{response: r, err: r.Error.err()}
	for _, name := range r.Read {
		// What was cut off is no success, and why it was says more than what the engine
		// made of it.
		if f := c.feeds[name]; f != nil && f.cut() != nil {
			a.err = f.cut()
		}
	}
	for _, name := range r.Read {
		if f := c.feeds[name]; f != nil {
			delete(c.feeds, name)
			f.settle(a.err)
		}
	}
	will <- a
	return nil
}

package etl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// Names in a flow's directory that are not its readers'.
const (
	tempPrefix     = ".writing-"  // a version that is being written, by execution and fence
	claimsPrefix   = ".claims-"   // the claims, by number; the highest holds
	claimingPrefix = ".claiming-" // claims that are being written
	deadPrefix     = ".dead-"     // what is being removed
)

const claimsName = "claims.json"

// closedKept is how long a closed execution is remembered, as in holdfast_etl.
const closedKept = 90 * 24 * time.Hour

// claims are to a directory what holdfast_etl.execution is to a database: which
// executions have claimed it, and up to which fence they may write no more.
//
// Numbers of executions do not tell which is the newer one, and come again. So who claims closes
// all others, for good, and the lower fences of its own; a release closes a fence.
// Claims are changed by a rename to the next number, which one can make. Who has
// changed them takes away what the closed ones are writing, and who writes looks
// at them after it has begun: one of the two sees the other.
type claims struct {
	Installation string             `json:"installation"`
	Job          holdfast.JobID     `json:"job"`
	Flow         string             `json:"flow"`
	Executions   map[holder]claimed `json:"executions"`
}

// claimed is an execution that has claimed the directory, or was released.
type claimed struct {
	Closed  holdfast.Fence `json:"closed"` // this fence and lower ones
	Updated time.Time      `json:"updated"`
}

// open reports whether the fence may write.
func (c claims) open(w fenced) bool {
	x, known := c.Executions[w.holder]
	return known && x.Closed < w.fence
}

// claims reads the claims that hold. Number 0: there are none yet.
func (o *output) claims() (number int, c claims, err error) {
	req := o.f.e.req
	for range 10 { // what holds may be replaced, and removed, between two looks
		if number, err = o.lastClaims(); err != nil || number == 0 {
			break
		}
		name := path.Join(claimsOf(number), claimsName)
		var text []byte
		if text, err = readSmall(o.root, name); err == nil {
			err = json.Unmarshal(text, &c)
		}
		if err == nil && c.Executions == nil {
			err = errors.New("it names no executions")
		}
		if err == nil {
			return number, c, o.owned(c.Installation, c.Job, c.Flow)
		}
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			err = fileError(err, path.Join(o.shown, name))
			continue
		}
		err = holdfast.Wrap(holdfast.CodeInvalid, err, "%s does not say which execution may write", path.Join(o.shown, name)).
			WithHint("see that no execution of the job runs, and remove %s: the next one claims the directory anew", path.Join(o.shown, claimsOf(number)))
	}
	return number, claims{Installation: req.Installation, Job: req.Job, Flow: o.f.plan.Load.Name, Executions: map[holder]claimed{}}, err
}

func claimsOf(number int) string { return fmt.Sprintf("%s%09d", claimsPrefix, number) }

func (o *output) lastClaims() (int, error) {
	entries, err := fs.ReadDir(o.root.FS(), ".")
	if err != nil {
		return 0, fileError(err, o.shown)
	}
	last := 0
	for _, e := range entries {
		last = max(last, claimsNumber(e.Name()))
	}
	return last, nil
}

// claimsNumber is the number of the claims with the name; 0: it is none of theirs.
func claimsNumber(name string) int {
	rest, ok := strings.CutPrefix(name, claimsPrefix)
	n, err := strconv.Atoi(rest)
	if !ok || err != nil {
		return 0
	}
	return n
}

// change changes the claims, and takes away what is being written by those that they
// close. edit may be called again when somebody else is faster.
func (o *output) change(edit func(c claims) (changed bool, err error)) error {
	for range 100 {
		number, c, err := o.claims()
		if err != nil {
			return err
		}
		changed, err := edit(c)
		if err != nil {
			return err
		}
		if changed {
			done, err := o.publish(number+1, c)
			if err != nil {
				return err
			}
			if !done {
				continue
			}
		}
		return o.sweep(c)
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "others keep changing the claims in %s", o.shown)
}

// publish makes claims those that hold; false when somebody else has used the
// number.
func (o *output) publish(number int, c claims) (done bool, err error) {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return false, fmt.Errorf("write the claims: %w", err)
	}
	temp := fmt.Sprintf("%s%016x", claimingPrefix, rand.Uint64())
	shown := path.Join(o.shown, temp)
	if err := o.root.Mkdir(temp, 0o750); err != nil {
		return false, fileError(err, shown)
	}
	defer o.root.RemoveAll(temp) //nolint:errcheck // a later sweep tries again
	dir, err := o.root.OpenRoot(temp)
	if err != nil {
		return false, fileError(err, shown)
	}
	err = writeDurably(dir, claimsName, append(text, '\n'), shown)
	if err = errors.Join(err, dir.Close()); err != nil {
		return false, err
	}
	err = o.root.Rename(temp, claimsOf(number))
	switch {
	case errors.Is(err, fs.ErrExist), isNotEmpty(err):
		return false, nil
	case err != nil:
		return false, fileError(err, shown)
	}
	if err := syncDir(o.root, o.shown); err != nil {
		return false, err
	}
	// The number may have been used and removed long ago.
	last, err := o.lastClaims()
	if err != nil || last != number {
		return false, err
	}
	return true, nil
}

// sweep takes away what closed fences are writing, claims that hold no longer, and
// what was left by processes that were killed.
func (o *output) sweep(c claims) error {
	last, err := o.lastClaims()
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(o.root.FS(), ".")
	if err != nil {
		return fileError(err, o.shown)
	}
	for _, e := range entries {
		switch f, writing := fencedOf(e.Name()); {
		case strings.HasPrefix(e.Name(), deadPrefix):
			_ = o.root.RemoveAll(e.Name()) // somebody else may be at it
		case writing:
			if x, known := c.Executions[f.holder]; known && x.Closed >= f.fence || !known && isOlder(e, closedKept) {
				err = o.take(e.Name())
			}
		case claimsNumber(e.Name()) > 0 && claimsNumber(e.Name()) < last-1: // the last but one stays for those who have just seen its name
			err = o.take(e.Name())
		case strings.HasPrefix(e.Name(), claimingPrefix) && isOlder(e, 24*time.Hour):
			err = o.take(e.Name())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isOlder(e fs.DirEntry, age time.Duration) bool {
	info, err := e.Info()
	return err == nil && time.Since(info.ModTime()) > age
}

// fenced is who writes a version.
type fenced struct {
	holder
	fence holdfast.Fence
}

func fencedBy(req engine.ETL) fenced { return fenced{holderOf(req), req.Fence} }

// name is who writes in the name of what is written: the number, the fence, and the
// identity, if there is one.
func (f fenced) name() string {
	s := fmt.Sprintf("%d-%d", f.execution, f.fence)
	if f.identity != "" {
		s += "-" + f.identity
	}
	return s
}

// parseFenced is the reverse of name.
func parseFenced(name string) (f fenced, ok bool) {
	parts := strings.Split(name, "-")
	if len(parts) == 3 {
		f.identity = parts[2]
		parts = parts[:2]
	}
	if len(parts) != 2 {
		return f, false
	}
	execution, err := strconv.ParseInt(parts[0], 10, 64)
	fence, err2 := strconv.ParseUint(parts[1], 10, 64)
	f.execution, f.fence = holdfast.ExecutionID(execution), holdfast.Fence(fence)
	return f, err == nil && err2 == nil
}

func (f fenced) temp() string { return tempPrefix + f.name() }

// fencedOf returns who writes the version with the temporary name.
func fencedOf(name string) (f fenced, ok bool) {
	rest, ok := strings.CutPrefix(name, tempPrefix)
	if !ok {
		return f, false
	}
	return parseFenced(rest)
}

// take removes a directory that somebody else may be about to give another name: one
// of the two renames finds it. Its files go when the rename is durable, so that
// nothing has its old name without them.
func (o *output) take(name string) error {
	dead := fmt.Sprintf("%s%016x", deadPrefix, rand.Uint64())
	err := o.root.Rename(name, dead)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fileError(err, path.Join(o.shown, name))
	}
	if err := syncDir(o.root, o.shown); err != nil {
		return err
	}
	_ = o.root.RemoveAll(dead) // who still writes into it may be faster; a later sweep tries again
	return nil
}

// claim makes the directory ours. [engine.ErrStale] when another execution has
// claimed it after ours had, or our fence is closed.
func (o *output) claim() error {
	return o.change(func(c claims) (changed bool, err error) { return c.claim(o.f.e.req, time.Now().UTC()) })
}

// claim makes the execution and its fence those that may write.
func (c claims) claim(req engine.ETL, now time.Time) (changed bool, err error) {
	me := holderOf(req)
	mine, known := c.Executions[me]
	if known && mine.Closed >= req.Fence {
		return false, engine.ErrStale
	}
	changed = !known || mine.Closed < req.Fence-1
	for id, x := range c.Executions {
		switch {
		case id == me:
		case x.Closed < math.MaxInt64:
			c.Executions[id] = claimed{Closed: math.MaxInt64, Updated: now}
			changed = true
		case now.Sub(x.Updated) > closedKept:
			delete(c.Executions, id)
		}
	}
	c.Executions[me] = claimed{Closed: req.Fence - 1, Updated: now}
	return changed, nil
}

// release closes the fence, and lower ones of its execution.
func (c claims) release(req engine.ETL, now time.Time) (changed bool) {
	me := holderOf(req)
	if x, known := c.Executions[me]; known && x.Closed >= req.Fence {
		return false
	}
	c.Executions[me] = claimed{Closed: req.Fence, Updated: now}
	return true
}

// mayWrite is [engine.ErrStale] when the directory is no longer ours.
// CodeUnavailable when it has lost our claim: somebody has restored it, or made it
// anew, and we have to claim it again.
func (o *output) mayWrite() error {
	req := o.f.e.req
	_, c, err := o.claims()
	if err != nil {
		return err
	}
	if _, known := c.Executions[holderOf(req)]; !known {
		return holdfast.Errorf(holdfast.CodeUnavailable, "%s has lost what flow %s wrote there", o.shown, o.f.plan.Load.Name).
			WithHint("if it was restored, the next attempt goes on from what it holds now")
	}
	if !c.open(fencedBy(req)) {
		return engine.ErrStale
	}
	return nil
}

// writing reports whether somebody who may is writing a version.
func (o *output) writing() (bool, error) {
	_, c, err := o.claims()
	if err != nil {
		return false, err
	}
	entries, err := fs.ReadDir(o.root.FS(), ".")
	if err != nil {
		return false, fileError(err, o.shown)
	}
	for _, e := range entries {
		if f, ok := fencedOf(e.Name()); ok && c.open(f) {
			return true, nil
		}
	}
	return false, nil
}

// claimOutputs claims the directories and buckets that the flows write to.
func (e *execution) claimOutputs(ctx context.Context) error {
	if e.req.Simulate {
		return nil
	}
	for _, f := range e.flows {
		if f.plan.Load.Output == nil {
			continue
		}
		if err := f.claimOutput(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (f *flow) claimOutput(ctx context.Context) error {
	if f.bucket() != nil {
		o, err := f.openBucketOutput(ctx)
		if err != nil {
			return err
		}
		return o.claim(ctx)
	}
	o, err := f.openOutput(true)
	if err != nil {
		return err
	}
	defer o.close()
	return o.claim()
}

// closeOutput closes the fence of an execution that has ended without its engine: it
// can neither claim nor write, and what it was writing is taken away.
func (f *flow) closeOutput(ctx context.Context) error {
	req := f.e.req
	if req.Simulate {
		return nil
	}
	if f.bucket() != nil {
		o, err := f.openBucketOutput(ctx)
		if err != nil {
			return err
		}
		return o.release(ctx)
	}
	o, err := f.openOutput(true)
	if err != nil {
		return err
	}
	defer o.close()
	return o.change(func(c claims) (changed bool, err error) { return c.release(req, time.Now().UTC()), nil })
}

// mayMake fails when the directory could not be made, or written to. Nothing is
// left of the attempt.
func (f *flow) mayMake() error {
	dir := f.e.plan.Definition.Connections[f.plan.Load.Connection].Directory
	root, err := f.e.openRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing was written
	name := path.Clean(f.plan.Load.Output.Path)
	for name != "." {
		if _, err := root.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		name = path.Dir(name)
	}
	try := path.Join(name, fmt.Sprintf("%s%016x", deadPrefix, rand.Uint64()))
	if err := root.Mkdir(try, 0o750); err != nil {
		return fileError(err, path.Join(dir, name))
	}
	if err := root.Remove(try); err != nil && !errors.Is(err, fs.ErrNotExist) { // a sweep may be faster
		return fileError(err, path.Join(dir, try))
	}
	return nil
}

package repository

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path"
	"runtime"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
)

// PruneOptions say how much a prune takes away. docs/format/prune.md says how.
type PruneOptions struct {
	// MaxUnused is the share of the packs' bytes that may stay although no snapshot
	// needs them, because packs that hold others, too, would have to be rewritten.
	MaxUnused   float64
	RepackLimit int64         // bytes that are rewritten at most; 0: as many as it takes
	Wait        time.Duration // from when a pack is condemned until it may be deleted
	Workers     int           // trees read, and objects deleted, at once; 0: one a core
	Log         *slog.Logger  // nil: nothing is logged
	recordPacks int           // that a record names at most, in tests; 0: maxRecordPacks
	// Planned is called with the plan before anything is done; it may be nil.
	Planned func(PrunePlan)
	// Progress is called now and then, by one goroutine at a time; it may be nil.
	Progress func(CheckProgress)
}

// The defaults of a prune.
const (
	DefaultMaxUnused = 0.05
	DefaultPruneWait = 24 * time.Hour
)

// Validate refuses what is no share, and times that are none.
func (o PruneOptions) Validate() error {
	switch {
	case !(o.MaxUnused >= 0 && o.MaxUnused <= 1): // not a number, too
		return holdfast.Errorf(holdfast.CodeInvalid, "%v is no share of the packs", o.MaxUnused).WithHint("give a number from 0 to 1")
	case o.Wait < 0 || o.RepackLimit < 0:
		return holdfast.Errorf(holdfast.CodeInvalid, "a wait or a limit is negative")
	}
	return nil
}

// PruneResult is what a prune did.
type PruneResult struct {
	Plan      PrunePlan
	Deleted   PackCount // packs that are gone
	Retained  PackCount // packs that the store does not let us delete yet
	Spared    PackCount // packs that were to be deleted, and which somebody needs after all
	Pardoned  PackCount // condemned packs that are needed again
	Repacked  PackCount // packs whose used pieces lie in new packs now
	Condemned PackCount // packs that shall be deleted later
	Written   int64     // bytes put into new packs
	Locks     []Lock    // of sessions that had died, and were removed
	// Postponed says why packs that were to be deleted now were not; empty: nothing was.
	Postponed string
}

// PlanPrune says what Prune would do, and changes nothing.
func (r *Repository) PlanPrune(ctx context.Context, o PruneOptions) (_ PrunePlan, err error) {
	if err := o.Validate(); err != nil {
		return PrunePlan{}, err
	}
	l, err := r.lockToRead(ctx, "prune-plan")
	if err != nil {
		return PrunePlan{}, err
	}
	if l != nil {
		defer func() { err = errors.Join(err, l.release(ctx)) }()
	}
	p := newPruner(r, l, o)
	if err := p.look(ctx); err != nil {
		return PrunePlan{}, err
	}
	if err := p.decide(); err != nil {
		return PrunePlan{}, err
	}
	return p.plan.PrunePlan, nil
}

// Prune deletes packs that were condemned long enough, rewrites wasteful ones, and
// condemns what no snapshot needs. It stops nobody. After an error the result says
// what was done before; nothing is lost, and the next prune goes on.
func (r *Repository) Prune(ctx context.Context, o PruneOptions) (_ PruneResult, err error) {
	if err := o.Validate(); err != nil {
		return PruneResult{}, err
	}
	l, err := r.lockToPrune(ctx)
	if err != nil {
		return PruneResult{}, err
	}
	defer func() { err = errors.Join(err, l.release(ctx)) }()
	p := newPruner(r, l, o)
	err = p.run(ctx)
	return p.result, err
}

// pruner is one prune under way.
type pruner struct {
	*Repository
	lock    *lock // nil: the store takes none, and nothing is written
	options PruneOptions
	log     *slog.Logger
	result  PruneResult

	marks       map[hash.ID]mark
	badMarks    []hash.ID // that cannot be read
	sentences   map[hash.ID]sentence
	noted       map[hash.ID]bool  // packs that a repair has found damaged
	damaged     map[hash.ID]bool  // packs of the plan that are, or may be
	sizes       map[hash.ID]int64 // of the packs that are there
	index       *index.Index
	indexes     map[hash.ID]bool // index objects that are in it
	loose       map[hash.ID]bool // packs that no index object names
	adopted     map[hash.ID]bool // of these, those whose header is in the index in memory
	locks       []heldLock
	readers     []heldLock // who read sets when the snapshots had been walked
	use         *index.Use
	snapshots   map[hash.ID]bool // walked
	lostBlobs   int              // used, and in no pack that is there
	lostExample string
	plan        prunePlan
	noRoom      error // why nothing could be stored anew

	mu       sync.Mutex // guards the field below
	progress CheckProgress
}

func newPruner(r *Repository, l *lock, o PruneOptions) *pruner {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Workers <= 0 {
		o.Workers = max(runtime.GOMAXPROCS(0), 2)
	}
	return &pruner{Repository: r, lock: l, options: o, log: o.Log}
}

// lockToPrune takes a shared lock: writers and readers go on. A repair of the index
// and a second prune are kept out as long as they live; harmless they are anyway.
func (r *Repository) lockToPrune(ctx context.Context) (*lock, error) {
	host, _ := os.Hostname() // for people
	l, err := r.takeLock(ctx, host+"/"+pruning, host, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if err := r.refuseMaintenance(ctx, l.current()); err != nil {
		return nil, joinFirst(err, l.release(ctx))
	}
	return l, nil
}

// refuseMaintenance refuses while somebody else prunes or repairs. Our lock is there
// already: of two at once, one at least sees the other.
func (r *Repository) refuseMaintenance(ctx context.Context, own hash.ID) error {
	all, err := r.Locks(ctx)
	if err != nil {
		return err
	}
	for _, l := range all {
		what := path.Base(l.Holder)
		if l.ID != own.String() && l.Stale == "" && (what == pruning || what == repairing) {
			return holdfast.Errorf(holdfast.CodeConflict, "process %d on %s is at work on the repository (%s), since %s",
				l.PID, l.Hostname, what, l.Time.UTC().Format(time.RFC3339)).
				WithHint("wait until it has finished; if that process is gone, run: holdfast repository unlock")
		}
	}
	return nil
}

// pruning is what the holder of a prune's lock is called, after its machine.
const pruning = "prune"

func (p *pruner) run(ctx context.Context) error {
	if err := p.look(ctx); err != nil {
		return err
	}
	if err := p.decide(); err != nil {
		return err
	}
	p.result.Plan = p.plan.PrunePlan
	if p.options.Planned != nil {
		p.options.Planned(p.plan.PrunePlan)
	}
	for _, step := range []func(context.Context) error{p.tendMarks, p.deleteRipe, p.repack, p.condemn} {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if p.options.Wait > 0 || p.result.Condemned.Packs == 0 {
		return p.noRoom
	}
	return errors.Join(p.deleteAtOnce(ctx), p.noRoom)
}

// deleteAtOnce looks again, and deletes what has just been condemned.
func (p *pruner) deleteAtOnce(ctx context.Context) error {
	again := newPruner(p.Repository, p.lock, p.options)
	again.result = p.result
	defer func() { p.result = again.result }()
	if err := again.look(ctx); err != nil {
		return err
	}
	if err := again.decide(); err != nil {
		return err
	}
	if err := again.tendMarks(ctx); err != nil {
		return err
	}
	return again.deleteRipe(ctx)
}

// good returns why nothing may be written any more.
func (p *pruner) good() error { return p.lock.mayWrite() }

func (p *pruner) step(change func(*CheckProgress)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.progress)
	if p.options.Progress != nil {
		p.options.Progress(p.progress)
	}
}

func (p *pruner) phase(name string, total int64) {
	p.step(func(s *CheckProgress) { *s = CheckProgress{Phase: name, Total: total} })
}

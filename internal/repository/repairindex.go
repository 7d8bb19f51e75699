package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// RepairIndexOptions say how closely a repair of the index looks.
type RepairIndexOptions struct {
	ReadHeaders bool // of all packs; else only of those that the index cannot be right about
	ReadData    bool // read every pack whole, and save what is good in those that are damaged
	DryRun      bool // only say what would be done
	Workers     int  // packs in work at once; 0: one a core
	// Progress is called now and then, by one goroutine at a time; it may be nil.
	Progress func(CheckProgress)
}

// RepairIndexResult is what a repair of the index did, or would do.
type RepairIndexResult struct {
	Kept    int             // index objects that stay as they are
	Removed []ReplacedIndex // index objects that went
	Written int             // index objects that took their place
	Packs   int             // that the index names now
	Added   []string        // of these, packs that no index object named before
	Saved   int             // new packs with what is good in damaged ones
	Bad     []BadPack       // packs that the index does not name any more, or cannot name
}

// Changed reports whether anything was wrong with the index.
func (r RepairIndexResult) Changed() bool {
	return len(r.Removed) > 0 || r.Written > 0 || r.Saved > 0
}

// Lost is how many pieces are nowhere any more.
func (r RepairIndexResult) Lost() int {
	n := 0
	for _, b := range r.Bad {
		n += b.Lost
	}
	return n
}

// ReplacedIndex is an index object that a repair removes.
type ReplacedIndex struct {
	ID  string
	Why string
}

// BadPack is a pack that is missing or damaged. A damaged one stays in its place.
type BadPack struct {
	ID      string
	Missing bool
	What    string
	Blobs   int // pieces that it is known to have held; 0: nobody knows
	Lost    int // of these, pieces that are nowhere else, and cannot be read
}

// RepairIndex makes the index anew from what is there. Index objects that read well,
// and whose packs are there and have their size, stay as they are. Packs that no other
// object names say themselves what they hold. New index objects are durable before the
// old ones go, so whatever interrupts it, nothing is named less than before.
//
// It takes a shared lock: a backup that runs may store its own index objects beside. A
// pack of such a backup may then be named twice, which harms nobody.
func (r *Repository) RepairIndex(ctx context.Context, o RepairIndexOptions) (_ RepairIndexResult, err error) {
	if o.Workers <= 0 {
		o.Workers = max(runtime.GOMAXPROCS(0), 2)
	}
	var l *lock
	if o.DryRun {
		l, err = r.lockToRehearse(ctx)
	} else {
		l, err = r.lockToRepair(ctx)
	}
	if err != nil {
		return RepairIndexResult{}, err
	}
	x := &indexRepair{
		Repository: r, lock: l, reads: &checker{Repository: r, options: CheckOptions{Progress: o.Progress}},
		options: o, verdicts: map[hash.ID]*packFate{}, added: map[hash.ID]bool{},
	}
	if l != nil {
		defer func() { err = errors.Join(err, l.release(ctx)) }()
	}
	for _, step := range []func(context.Context) error{x.readIndex, x.readNotes, x.lookAtNamed, x.lookAtLoose} {
		if err := step(ctx); err != nil {
			return RepairIndexResult{}, err
		}
		if ctx.Err() != nil {
			return RepairIndexResult{}, context.Cause(ctx)
		}
	}
	return x.finish(ctx)
}

// indexRepair is one repair of the index under way.
type indexRepair struct {
	*Repository
	reads   *checker // for reading packs, and for progress
	options RepairIndexOptions
	lock    *lock // nil in a dry run, when the store takes none

	objects []indexObject
	index   *index.Index    // what the objects say, and the headers of packs that they do not name
	blobs   map[hash.ID]int // of the packs that the objects name, by all of them
	before  map[hash.ID]int64
	sizes   map[hash.ID]int64
	noted   map[hash.ID]bool // packs that were found damaged before
	going   map[hash.ID]bool // packs that a prune was deleting

	mu       sync.Mutex // guards the fields below
	verdicts map[hash.ID]*packFate
	added    map[hash.ID]bool
}

// indexObject is an index object that is there.
type indexObject struct {
	id    hash.ID
	packs []indexedPack
	err   error // why it cannot be read
}

// indexedPack is a pack in an index object.
type indexedPack struct {
	id    hash.ID
	blobs int
}

// packFate is what becomes of a pack that is not as the index says.
type packFate struct {
	blobs   []pack.Blob // what the index shall say
	bad     bool        // it says nothing
	missing bool
	what    string
	good    []pack.Blob // of a bad pack, what can be read all the same
	lost    []pack.Blob
}

// readIndex reads all index objects, and lists the packs before and after: what is
// there before, and in no index object, is nobody's or a running backup's; what an
// object names was there after it had been listed.
func (x *indexRepair) readIndex(ctx context.Context) error {
	for range maxIndexPasses {
		var err error
		if x.before, err = x.packSizes(ctx); err != nil {
			return err
		}
		ids, err := list(ctx, x.bucket, kindIndex())
		if err != nil {
			return err
		}
		if x.sizes, err = x.packSizes(ctx); err != nil {
			return err
		}
		x.reads.phase("index", int64(len(ids)), 0)
		whole, err := x.readObjects(ctx, ids)
		if err != nil {
			return err
		}
		if whole {
			return x.refuseEmpty()
		}
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "the repository's index keeps changing while it is read")
}

// readObjects reports whether every object was still there.
func (x *indexRepair) readObjects(ctx context.Context, ids []hash.ID) (bool, error) {
	x.index = index.New()
	x.objects = make([]indexObject, len(ids))
	gone := make([]bool, len(ids))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(x.options.Workers)
	for i, id := range ids {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			o, err := x.readObject(gctx, id)
			if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
				gone[i] = true
				return nil
			}
			x.objects[i] = o
			x.reads.step(func(p *CheckProgress) { p.Done++ })
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return !slices.Contains(gone, true), nil
}

// readObject takes an object whole or not at all.
func (x *indexRepair) readObject(ctx context.Context, id hash.ID) (indexObject, error) {
	o := indexObject{id: id}
	var packs []index.Pack
	data, err := x.load(ctx, kindIndex(), id)
	if err == nil {
		err = index.Decode(data, func(p index.Pack) error {
			packs = append(packs, index.Pack{ID: p.ID, Blobs: slices.Clone(p.Blobs)})
			return ctx.Err()
		})
	}
	if err != nil {
		kind, err2 := spoilt(ctx, err)
		if err2 != nil {
			return o, err2
		}
		if kind == FindingMissing {
			return o, err
		}
		o.err = err
		return o, nil
	}
	for _, p := range packs {
		o.packs = append(o.packs, indexedPack{p.ID, len(p.Blobs)})
		x.index.Add(p.ID, p.Blobs)
	}
	return o, nil
}

// refuseEmpty refuses a repository that has lost every pack: more likely its disk is
// not mounted.
func (x *indexRepair) refuseEmpty() error {
	if len(x.sizes) > 0 || x.index.Packs() == 0 {
		return nil
	}
	return errNoPacks(x.index.Packs())
}

// readNotes lists the packs that were found damaged before, and those that a prune was
// deleting: it may go on with that whenever it wakes up.
func (x *indexRepair) readNotes(ctx context.Context) error {
	var err error
	if x.noted, err = x.damagedPacks(ctx); err != nil {
		return err
	}
	sentences, err := x.sentences(ctx)
	x.going = map[hash.ID]bool{}
	for _, s := range sentences {
		for _, id := range s.Packs {
			x.going[id] = true
		}
	}
	return err
}

// lookAtNamed looks at the packs that index objects name.
func (x *indexRepair) lookAtNamed(ctx context.Context) error {
	x.reads.phase("packs", int64(x.index.Packs()), 0)
	each, wait := x.readers(ctx)
	x.blobs = make(map[hash.ID]int, x.index.Packs())
	err := x.index.ByPack(func(id hash.ID, blobs []pack.Blob) error {
		x.blobs[id] = len(blobs)
		size, there := x.sizes[id]
		if there && size == pack.Size(blobs) && !x.noted[id] && !x.options.ReadHeaders && !x.options.ReadData {
			x.reads.step(func(p *CheckProgress) { p.Done++ })
			return ctx.Err()
		}
		j := packJob{id: id, size: size, blobs: slices.Clone(blobs)}
		return each(func(ctx context.Context, p *packReader) error { return x.named(ctx, p, j, there) })
	})
	return joinWaited(wait(), err)
}

// lookAtLoose asks the packs that no index object names what they hold.
func (x *indexRepair) lookAtLoose(ctx context.Context) error {
	named := map[hash.ID]bool{}
	for _, o := range x.objects {
		for _, p := range o.packs {
			named[p.id] = true
		}
	}
	var loose []packJob
	for id, size := range x.before {
		if !named[id] && !x.going[id] { // the next prune adopts what is left of its own
			loose = append(loose, packJob{id: id, size: size})
		}
	}
	slices.SortFunc(loose, func(a, b packJob) int { return cmp.Compare(a.id.String(), b.id.String()) })
	x.reads.phase("loose packs", int64(len(loose)), 0)
	each, wait := x.readers(ctx)
	for _, j := range loose {
		if err := each(func(ctx context.Context, p *packReader) error { return x.loose(ctx, p, j) }); err != nil {
			return joinWaited(wait(), err)
		}
	}
	return wait()
}

// readers returns what runs a task with a reader's memory, and waits while enough are
// in work; and what waits for all.
func (x *indexRepair) readers(ctx context.Context) (each func(func(context.Context, *packReader) error) error, wait func() error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(x.options.Workers)
	pool := sync.Pool{New: func() any { return &packReader{checker: x.reads, codec: compress.New()} }}
	return func(do func(context.Context, *packReader) error) error {
		if gctx.Err() != nil {
			return context.Cause(gctx)
		}
		g.Go(func() error {
			p, _ := pool.Get().(*packReader)
			defer pool.Put(p)
			err := do(gctx, p)
			x.reads.step(func(s *CheckProgress) { s.Done++ })
			return err
		})
		return nil
	}, g.Wait
}

// joinWaited prefers the error of a task to the one that says that others have failed.
func joinWaited(waited, err error) error {
	if waited != nil {
		return waited
	}
	return err
}

// finish writes what was found out.
func (x *indexRepair) finish(ctx context.Context) (RepairIndexResult, error) {
	var r RepairIndexResult
	covered := map[hash.ID]bool{} // by index objects that stay
	var old []hash.ID
	times := map[hash.ID]int{} // how many objects name a pack
	for _, o := range x.objects {
		for _, p := range o.packs {
			times[p.id]++
		}
	}
	for _, o := range x.objects {
		why := x.stale(o, times)
		if why == "" {
			for _, p := range o.packs {
				covered[p.id] = true
			}
			r.Kept++
			continue
		}
		old = append(old, o.id)
		r.Removed = append(r.Removed, ReplacedIndex{ID: o.id.String(), Why: why})
	}
	r.Bad = x.bad()
	saved, err := x.saveGood(ctx)
	if err != nil {
		return r, err
	}
	r.Saved = saved
	if err := x.note(ctx); err != nil {
		return r, err
	}
	if err := x.write(ctx, covered, &r); err != nil {
		return r, err
	}
	for id := range x.added {
		r.Added = append(r.Added, id.String())
	}
	slices.Sort(r.Added)
	r.Packs = len(covered) + saved
	if x.options.DryRun {
		return r, nil
	}
	for _, id := range old {
		if err := x.lock.check(ctx); err != nil {
			return r, err
		}
		if err := x.remove(ctx, kindIndex(), id); err != nil {
			return r, err
		}
	}
	return r, x.forgetNotes(ctx)
}

// stale says why an index object cannot stay; empty: it can. Of several that name a
// pack none stays: a new one names it. So whoever removes an object, however late,
// has put another one that names all of it, and relies on nobody else's.
func (x *indexRepair) stale(o indexObject, times map[hash.ID]int) string {
	if o.err != nil {
		return holdfast.ErrorMessage(o.err)
	}
	missing, wrong, twice := 0, 0, 0
	for _, p := range o.packs {
		switch f := x.verdicts[p.id]; {
		case f != nil && f.missing:
			missing++
		case f != nil, p.blobs != x.blobs[p.id]: // or it names a part of it, and another object the rest
			wrong++
		case times[p.id] > 1:
			twice++
		}
	}
	var why []string
	for _, w := range []struct {
		n    int
		what string
	}{{missing, "missing"}, {wrong, "not as it says"}, {twice, "named by another object, too"}} {
		if w.n > 0 {
			why = append(why, fmt.Sprintf("%d of its packs are %s", w.n, w.what))
		}
	}
	return strings.Join(why, ", ")
}

// write stores index objects for all packs that no object covers that stays.
func (x *indexRepair) write(ctx context.Context, covered map[hash.ID]bool, r *RepairIndexResult) error {
	var batch []index.Pack
	blobs := 0
	put := func() error {
		if len(batch) == 0 {
			return nil
		}
		r.Written++
		packs := batch
		batch, blobs = nil, 0
		if x.options.DryRun {
			return nil
		}
		_, _, err := x.lock.putIndex(ctx, packs)
		return err
	}
	add := func(p index.Pack) error {
		covered[p.ID] = true
		if blobs+len(p.Blobs) > index.MaxBlobs {
			if err := put(); err != nil {
				return err
			}
		}
		batch = append(batch, p)
		blobs += len(p.Blobs)
		return nil
	}
	err := x.index.ByPack(func(id hash.ID, blobs []pack.Blob) error {
		if covered[id] || x.verdicts[id] != nil {
			return nil
		}
		return add(index.Pack{ID: id, Blobs: slices.Clone(blobs)})
	})
	if err != nil {
		return err
	}
	for _, id := range sortedIDs(x.verdicts) {
		if f := x.verdicts[id]; !f.bad {
			if err := add(index.Pack{ID: id, Blobs: f.blobs}); err != nil {
				return err
			}
		}
	}
	return put()
}

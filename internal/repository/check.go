package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
)

// CheckOptions say how much is checked.
type CheckOptions struct {
	ReadData bool   // read every pack whole; else only their sizes and the trees
	Subset   Subset // of the packs that are read; the zero value: all
	Workers  int    // packs and trees in work at once; 0: one a core
	// Recorded returns the whole ids of the snapshots that are known elsewhere to be
	// there; it is called once those that are there have been listed, and may be nil.
	Recorded func(context.Context) ([]string, error)
	// Progress is called now and then, by one goroutine at a time; it may be nil.
	Progress func(CheckProgress)
}

// Subset is a share of the packs: the Part-th of Of, by their ids, as stock restic
// divides them. Every pack is in one of the parts.
type Subset struct{ Part, Of int }

// maxSubset is as restic's: packs are divided by the first byte of their ids.
const maxSubset = 256

// Validate refuses what is no share.
func (s Subset) Validate() error {
	if s != (Subset{}) && (s.Part < 1 || s.Of < s.Part || s.Of > maxSubset) {
		return holdfast.Errorf(holdfast.CodeInvalid, "%d/%d is no share of the packs", s.Part, s.Of).
			WithHint("use n/t with n from 1 to t, and t up to %d", maxSubset)
	}
	return nil
}

func (s Subset) has(id hash.ID) bool { return s.Of == 0 || int(id[0])%s.Of == s.Part-1 }

// CheckProgress is how far a check has come.
type CheckProgress struct {
	Phase                 string // index, packs, trees
	Done, Total           int64  // objects of the phase; Total is 0 while it is not known
	DoneBytes, TotalBytes int64  // of packs that are read
}

// CheckResult is what a check found.
type CheckResult struct {
	Findings []Finding         // damage first, then warnings, by the objects' names
	More     int               // findings beyond those that are kept
	Affected []CheckedSnapshot // by any finding, the oldest first

	Snapshots, Indexes, Packs, Trees int
	Blobs                            int   // places in packs
	ReadPacks                        int   // packs that were read whole
	ReadBytes                        int64 // of them
}

// Damaged reports whether anything is lost.
func (r CheckResult) Damaged() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return !f.Kind.IsWarning() })
}

// Check looks whether everything that the repository says is there, and right. It
// writes nothing but its lock, and a store that takes none is checked without. An
// error means that the check could not be done; what is wrong with the repository
// is in the result.
func (r *Repository) Check(ctx context.Context, o CheckOptions) (_ CheckResult, err error) {
	if err := o.Subset.Validate(); err != nil {
		return CheckResult{}, err
	}
	if o.Workers <= 0 {
		o.Workers = max(runtime.GOMAXPROCS(0), 2)
	}
	c := &checker{
		Repository: r, options: o, looseIndex: index.New(), loosePacks: map[hash.ID]*finding{},
		bad: map[hash.ID]*badPack{}, hits: map[uint32][]*finding{}, lost: map[string]*finding{},
	}
	l, err := c.lock(ctx)
	if err != nil {
		return CheckResult{}, err
	}
	if l != nil {
		defer func() {
			if lost := l.good() <= 0; lost && err == nil {
				err = l.lose(errLockOutlived()) // what it protected may have gone meanwhile: the findings mean nothing
			}
			if err == nil {
				err = r.remember(ctx, l, &c.notes)
			}
			err = errors.Join(err, l.release(ctx))
		}()
	}
	for _, step := range []func(context.Context) error{c.checkConfig, c.checkKeys, c.checkMarks, c.checkSnapshots, c.checkIndex, c.checkPacks, c.checkTrees} {
		if err := step(ctx); err != nil {
			return CheckResult{}, err
		}
		if ctx.Err() != nil {
			return CheckResult{}, context.Cause(ctx)
		}
	}
	return c.finish(), nil
}

// checker is one check under way.
type checker struct {
	*Repository
	options   CheckOptions
	others    bool       // somebody else holds a lock
	snapshots []Snapshot // the oldest first

	index      *index.Index
	sizes      map[hash.ID]int64 // of the packs that are there
	condemned  map[hash.ID]bool  // packs that a prune may delete
	noted      map[hash.ID]bool  // packs that were found damaged before
	unindexed  []packJob         // packs that no index object names
	looseIndex *index.Index      // of these packs
	anyBad     atomic.Bool       // bad is not empty
	readBytes  atomic.Int64
	notes      damages

	mu         sync.Mutex // guards the fields below
	result     CheckResult
	progress   CheckProgress
	findings   []*finding
	damages    int     // of them
	warnings   int     // of them
	more       finding // all beyond maxFindings
	bad        map[hash.ID]*badPack
	loosePacks map[hash.ID]*finding  // nil: not needed so far
	hits       map[uint32][]*finding // by the number of the tree that they are felt in
	lost       map[string]*finding   // that no object can be named for, by what they say
}

// lock takes the lock. A lock of others that cannot be read would keep us out: it
// is a finding, and the check goes on without a lock.
func (c *checker) lock(ctx context.Context) (*lock, error) {
	all, err := c.Locks(ctx)
	if err != nil {
		return nil, err
	}
	blocked := false
	for _, l := range all {
		if l.Unreadable != nil {
			blocked = true
			c.report(Finding{
				Kind: FindingLock, Object: kindLock().prefix + l.ID, What: fmt.Sprintf("it cannot be read, so nobody else gets a lock: %v", l.Unreadable),
				Hint: "when no other program works on the repository, remove all locks: holdfast repository unlock --all",
			})
		}
		c.others = c.others || l.Stale == ""
	}
	if blocked {
		return nil, nil //nolint:nilnil // no lock is a lock, as for a store that takes none
	}
	return c.lockToRead(ctx, "check")
}

// broken sorts what an object's reading ended with: damage is told apart from a
// check that cannot be done now.
func broken(ctx context.Context, err error) (FindingKind, error) {
	switch code := holdfast.ErrorCode(err); {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case code == holdfast.CodeInvalid:
		return FindingDamaged, nil
	case code == holdfast.CodeNotFound:
		return FindingMissing, nil
	case code == holdfast.CodeUnavailable, code == holdfast.CodeForbidden:
		return "", err
	}
	return FindingUnreadable, nil
}

// report keeps a finding and returns it.
func (c *checker) report(f Finding) *finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keep(f)
}

// keep is report with the mutex held.
func (c *checker) keep(f Finding) *finding {
	n := &c.damages
	if f.Kind.IsWarning() {
		n = &c.warnings
	}
	if *n >= maxFindings {
		c.result.More++
		return &c.more
	}
	*n++
	kept := &finding{Finding: f}
	c.findings = append(c.findings, kept)
	return kept
}

// step tells of progress.
func (c *checker) step(change func(*CheckProgress)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.progress)
	if c.options.Progress != nil {
		c.options.Progress(c.progress)
	}
}

func (c *checker) phase(name string, total, bytes int64) {
	c.step(func(p *CheckProgress) { *p = CheckProgress{Phase: name, Total: total, TotalBytes: bytes} })
}

// checkConfig reads the config again: whoever opens the repository next needs it.
func (c *checker) checkConfig(ctx context.Context) error {
	sealed, err := readConfig(ctx, c.bucket)
	if err == nil {
		var plain []byte
		if plain, err = c.key.OpenInPlace(sealed); err != nil {
			err = holdfast.Wrap(holdfast.CodeInvalid, err, "it does not open with the master key")
		} else {
			var got config
			if got, err = parseConfig(plain); err == nil && got != c.config {
				err = holdfast.Errorf(holdfast.CodeInvalid, "it is another one than when the repository was opened")
			}
		}
	}
	if err == nil {
		return nil
	}
	kind, err2 := broken(ctx, err)
	if err2 != nil {
		return err2
	}
	f := c.report(Finding{Kind: kind, Object: configName, What: err.Error(), Hint: "bring it back from a copy of the repository: without it nothing opens"})
	f.everything()
	return nil
}

// everything marks the finding as one that stands before every restore.
func (f *finding) everything() { f.affected.SetInt64(-1) }

// checkKeys reads every key slot. What only a password shows stays unseen.
func (c *checker) checkKeys(ctx context.Context) error {
	slots, err := c.KeySlots(ctx)
	for _, s := range slots {
		if s.Damaged == nil {
			continue
		}
		kind, err := broken(ctx, s.Damaged)
		if err != nil {
			return err
		}
		c.report(Finding{
			Kind: kind, Object: kindKey().prefix + s.ID, What: fmt.Sprintf("its password opens nothing: %v", s.Damaged),
			Hint: "bring it back from a copy of the repository; or add a new key and remove this one",
		})
	}
	return err
}

// checkMarks reads the records of prunes. One that names packs that are gone already
// is no finding: the next prune removes it.
func (c *checker) checkMarks(ctx context.Context) error {
	unreadable := func(k kind, what, hint string) func(hash.ID, error) error {
		return func(id hash.ID, err error) error {
			kind, err2 := broken(ctx, err)
			if err2 == nil {
				c.report(Finding{Kind: kind, Object: k.name(id), What: fmt.Sprintf("%s: %v", what, err), Hint: hint})
			}
			return err2
		}
	}
	marks, err := c.marks(ctx, unreadable(kindMark(), "which packs it condemns is not known", "the next prune condemns them anew: holdfast repository prune"))
	if err != nil {
		return err
	}
	c.condemned = map[hash.ID]bool{}
	for _, m := range marks {
		for _, id := range m.Packs {
			c.condemned[id] = true
		}
	}
	if c.noted, err = c.damagedPacks(ctx); err != nil {
		return err
	}
	_, err = c.sentencesOr(ctx, unreadable(kindSentence(), "which packs a prune was deleting is not known, so nothing can be backed up or pruned", hintSentence))
	return err
}

// checkSnapshots reads the snapshots first: whatever they need was stored, and
// indexed, before.
func (c *checker) checkSnapshots(ctx context.Context) error {
	ids, err := list(ctx, c.bucket, kindSnapshot())
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, id := range ids {
		there[id.String()] = true
		s, err := c.snapshot(ctx, id)
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			continue // removed meanwhile
		}
		if err != nil {
			kind, err2 := broken(ctx, err)
			if err2 != nil {
				return err2
			}
			c.unreadable(id.String(), kind, err)
			continue
		}
		c.snapshots = append(c.snapshots, s)
	}
	if c.options.Recorded != nil {
		if err := c.checkRecorded(ctx, there); err != nil {
			return err
		}
	}
	slices.SortFunc(c.snapshots, func(a, b Snapshot) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID)) })
	c.result.Snapshots = len(c.snapshots)
	return nil
}

// checkRecorded looks for the snapshots that were not listed.
func (c *checker) checkRecorded(ctx context.Context, there map[string]bool) error {
	recorded, err := c.options.Recorded(ctx)
	if err != nil {
		return err
	}
	for _, id := range recorded {
		if there[id] {
			continue
		}
		sctx, cancel := withTimeout(ctx, callTimeout)
		_, err := c.bucket.Stat(sctx, kindSnapshot().prefix+id) // it may be newer than the listing
		cancel()
		if err == nil {
			continue
		}
		kind, err2 := broken(ctx, err)
		if err2 != nil {
			return err2
		}
		c.unreadable(id, kind, fmt.Errorf("a backup set is recorded, and its snapshot cannot be had: %w", err))
	}
	return nil
}

// unreadable reports a snapshot that affects itself.
func (c *checker) unreadable(id string, kind FindingKind, err error) {
	c.report(Finding{
		Kind: kind, Object: kindSnapshot().prefix + id, What: err.Error(),
		Hint:     "bring it back from a copy of the repository; what it held may be in other snapshots",
		Affected: []CheckedSnapshot{{ID: id}},
	})
}

// finish turns what was found into the result.
func (c *checker) finish() CheckResult {
	all := make([]CheckedSnapshot, len(c.snapshots))
	for i, s := range c.snapshots {
		all[i] = CheckedSnapshot{ID: s.ID, Time: s.Time}
		all[i].Set, _ = s.Tag("set")
		all[i].Site, _ = s.Tag("site")
	}
	pick := func(bits *big.Int) []CheckedSnapshot {
		var out []CheckedSnapshot
		for i, s := range all {
			if bits.Bit(i) == 1 {
				out = append(out, s)
			}
		}
		return out
	}
	c.result.ReadBytes = c.readBytes.Load()
	same := map[string][]CheckedSnapshot{} // findings often affect the same ones
	var every big.Int
	every.Or(&every, &c.more.affected)
	var gone []CheckedSnapshot
	for _, f := range c.findings {
		if f.pruned && f.Places == 0 {
			continue // nobody needed it
		}
		every.Or(&every, &f.affected)
		gone = append(gone, f.Affected...) // snapshots that cannot be read
		if f.affected.Sign() != 0 {
			key := f.affected.String()
			if same[key] == nil {
				same[key] = pick(&f.affected)
			}
			f.Affected = same[key]
		}
		c.result.Findings = append(c.result.Findings, f.Finding)
	}
	c.result.Affected = append(gone, pick(&every)...)
	slices.SortFunc(c.result.Findings, func(a, b Finding) int {
		return cmp.Or(compareBool(a.Kind.IsWarning(), b.Kind.IsWarning()), cmp.Compare(a.Object, b.Object), cmp.Compare(a.What, b.What))
	})
	return c.result
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

package repository

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// RepairSnapshotsOptions say which snapshots are repaired, and how.
type RepairSnapshotsOptions struct {
	Snapshots []string // their whole ids; none: all
	Forget    bool     // remove each that has lost something, once the new one is durable
	DryRun    bool     // only say what would be done
	Tags      []string // key=value, for the new snapshots
	// Notice is a file in the sets that shall say what is lost.
	Notice  Notice
	Workers int // trees in work at once; 0: one a core
	// Progress is called now and then, by one goroutine at a time; it may be nil.
	Progress func(CheckProgress)
}

// Notice is a file that a snapshot has, and what becomes of it in the snapshot that is
// made from it.
type Notice struct {
	Path  string // empty: there is none
	Limit int64  // of its size, in bytes
	// Write returns the new content. old is the one before; nil when it is lost, too.
	Write func(old []byte, s Snapshot, lost []LostNode) ([]byte, error)
}

// RepairSnapshotsResult is what a repair of snapshots did, or would do.
type RepairSnapshotsResult struct {
	Whole      int                // snapshots that have lost nothing
	Remains    int                // what earlier repairs have left of others
	Repaired   []RepairedSnapshot // that have, the oldest first
	Unreadable []error            // snapshots that cannot be read themselves
}

// RepairedSnapshot is a snapshot that has lost something.
type RepairedSnapshot struct {
	Snapshot  Snapshot
	Lost      []LostNode
	New       string // id of the one with what is left; empty: in a dry run, or nothing is left
	There     bool   // an earlier repair has made it
	Nothing   bool   // nothing is left: its root directory is lost. Only who forgets it gets a new one, which is empty
	Forgotten bool   // the snapshot was removed
}

// LostNode is a file that is not in the new snapshot, or a directory that is empty there.
type LostNode struct {
	Path  string
	Dir   bool  // with all that was in it, which nobody knows
	Bytes int64 // of a file
}

// RepairSnapshots makes new snapshots of what is left of those that have lost
// something. A file of which a piece is lost is left out whole: with a hole in it, it
// would look to a server like one that is good. A directory whose listing is lost
// becomes an empty one. The new snapshot has a tag [RepairedFromTag], and what the
// options say: who restores must see that it is no whole set.
//
// What is lost is what the index does not name, or names in packs that are not there:
// so the index is to be repaired before, and no snapshot is forgotten until it is. After
// an error the result says what was done.
func (r *Repository) RepairSnapshots(ctx context.Context, o RepairSnapshotsOptions) (_ RepairSnapshotsResult, err error) {
	if o.Workers <= 0 {
		o.Workers = max(runtime.GOMAXPROCS(0), 2)
	}
	s := &snapshotRepair{
		Repository: r, shown: &checker{options: CheckOptions{Progress: o.Progress}}, options: o, trees: map[hash.ID]*treeState{},
	}
	if o.DryRun {
		var l *lock
		if l, err = r.lockToRehearse(ctx); err != nil {
			return s.result, err
		}
		if l != nil {
			defer func() { err = errors.Join(err, l.release(ctx)) }()
		}
	} else {
		host, _ := os.Hostname() // for people
		if s.writer, err = r.NewWriter(ctx, WriterOptions{Holder: host + "/" + repairing, Hostname: host, Workers: 1}); err != nil {
			return s.result, err
		}
		defer func() { err = errors.Join(err, s.writer.Close()) }()
		if err := r.refuseMaintenance(ctx, s.writer.lock.current()); err != nil {
			return s.result, err
		}
	}
	err = s.run(ctx)
	return s.result, err
}

// snapshotRepair is one repair of snapshots under way.
type snapshotRepair struct {
	*Repository
	shown   *checker // for progress
	options RepairSnapshotsOptions
	writer  *Writer // nil in a dry run
	index   *index.Index
	all     []Snapshot
	result  RepairSnapshotsResult

	treeMu sync.Mutex // guards the field below
	trees  map[hash.ID]*treeState
}

// treeState is what is known of a tree.
type treeState struct {
	lost  bool // it cannot be read
	files []LostNode
	dirs  []treeEdge
	hurt  bool // it, or one below it, has lost something
	seen  bool // hurt is known
	// fresh is the tree that takes its place, when that is the same wherever it stands.
	fresh *hash.ID
}

type treeEdge struct {
	name string
	id   hash.ID
}

func (s *snapshotRepair) run(ctx context.Context) error {
	if err := s.loadLeft(ctx); err != nil {
		return err
	}
	if s.writer != nil {
		if err := s.refuseSentenced(ctx, s.index); err != nil {
			return err
		}
	}
	chosen, err := s.choose(ctx)
	if err != nil {
		return err
	}
	var roots []hash.ID
	for _, c := range chosen {
		roots = append(roots, c.Tree)
	}
	s.shown.phase("trees", 0, 0)
	if _, err := walkTrees(ctx, roots, s.options.Workers, s.visit); err != nil {
		return err
	}
	for _, c := range chosen {
		if !s.hurt(c.Tree) {
			if _, rest := c.Tag(RepairedFromTag); rest {
				s.result.Remains++
			} else {
				s.result.Whole++
			}
			continue
		}
		if err := s.repair(ctx, c); err != nil {
			return fmt.Errorf("repair snapshot %s: %w", c.ID[:8], err)
		}
	}
	return nil
}

// loadLeft loads the index without the packs that are not there, or cut short. It is
// not the writer's: what a writer will not build on is not lost.
func (s *snapshotRepair) loadLeft(ctx context.Context) error {
	var err error
	var counting sync.Mutex // guards the maps
	named, gone := map[hash.ID]bool{}, map[hash.ID]bool{}
	s.index, err = s.loadIndexOf(ctx, func(ctx context.Context) (packFilter, error) {
		sizes, err := s.packSizes(ctx)
		return func(p index.Pack) bool {
			left := sizes[p.ID] >= p.End() && sizes[p.ID] > 0
			counting.Lock()
			defer counting.Unlock()
			if named[p.ID] = true; !left {
				gone[p.ID] = true
			}
			return left
		}, err
	}, refuseDamaged)
	if err != nil || s.options.DryRun {
		return err
	}
	return s.refuseAbsent(len(named), len(gone))
}

// refuseAbsent refuses a repository whose packs may be back tomorrow: a disk that is not
// mounted, or a bucket whose objects can be undeleted.
func (s *snapshotRepair) refuseAbsent(named, gone int) error {
	switch {
	case gone > 0 && gone == named:
		return errNoPacks(named)
	case gone > 0 && s.options.Forget:
		return holdfast.Errorf(holdfast.CodeConflict, "of the %d packs that the index names, %d are not there, or cut short: no snapshot is removed on account of them", named, gone).
			WithHint("bring them back; or, if they are lost for good, run: holdfast repository repair index, which says what they held")
	}
	return nil
}

// errNoPacks says that not one of the packs that the index names is there.
func errNoPacks(named int) error {
	return holdfast.Wrap(holdfast.CodeInvalid, ErrLost, "the index names %d packs, and not one is there", named).
		WithHint("look below %s: is everything mounted that belongs there?", kindPack().prefix)
}

// choose reads the snapshots that are to be looked at, the oldest first.
func (s *snapshotRepair) choose(ctx context.Context) ([]Snapshot, error) {
	ids, err := list(ctx, s.bucket, kindSnapshot())
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		one, err := s.snapshot(ctx, id)
		if err == nil {
			s.all = append(s.all, one)
			continue
		}
		kind, err2 := spoilt(ctx, err)
		if err2 != nil {
			return nil, err2
		}
		if kind != FindingMissing { // removed meanwhile
			s.result.Unreadable = append(s.result.Unreadable, err)
		}
	}
	slices.SortFunc(s.all, func(a, b Snapshot) int { return a.Time.Compare(b.Time) })
	if len(s.options.Snapshots) == 0 {
		return s.all, nil
	}
	var chosen []Snapshot
	for _, one := range s.all {
		if slices.Contains(s.options.Snapshots, one.ID) {
			chosen = append(chosen, one)
		}
	}
	if len(chosen) < len(s.options.Snapshots) {
		return nil, holdfast.Errorf(holdfast.CodeNotFound, "%d of the %d snapshots are not there, or cannot be read", len(s.options.Snapshots)-len(chosen), len(s.options.Snapshots))
	}
	return chosen, nil
}

// visit notes what one tree has lost.
func (s *snapshotRepair) visit(ctx context.Context, t treeTask, done, total int) ([]treeTask, error) {
	if t.depth > maxDepth {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "directory %q is nested too deep", t.path)
	}
	state := &treeState{}
	var dirs []treeTask
	var places []index.Location
	whole, err := s.readTree(ctx, t.id, func(b pack.Blob, content []byte) error {
		*state, dirs = treeState{}, nil
		return decodeTree(b, content, func(n node) error {
			if n.mode.IsDir() {
				state.dirs = append(state.dirs, treeEdge{n.name, n.subtree})
				dirs = append(dirs, treeTask{id: n.subtree, path: path.Join(t.path, n.name), depth: t.depth + 1})
				return ctx.Err()
			}
			if !s.fileLeft(&places, n) {
				state.files = append(state.files, LostNode{Path: n.name, Bytes: n.size})
			}
			return ctx.Err()
		})
	})
	if err != nil {
		return nil, err
	}
	if !whole {
		*state, dirs = treeState{lost: true}, nil
	}
	s.treeMu.Lock()
	s.trees[t.id] = state
	s.treeMu.Unlock()
	s.shown.step(func(p *CheckProgress) { p.Done, p.Total = max(p.Done, int64(done)), max(p.Total, int64(total)) })
	return dirs, nil
}

// readTree calls use with a tree from each of its places until use takes it, and
// reports whether it did. An error is one that may pass: then nobody knows.
func (s *snapshotRepair) readTree(ctx context.Context, id hash.ID, use func(pack.Blob, []byte) error) (bool, error) {
	for _, l := range s.index.Lookup(nil, id, pack.Tree) {
		sealed, err := s.readRange(ctx, l.Pack, int64(l.Offset), int64(l.Length), nil)
		if err == nil {
			var content []byte
			if content, err = s.openBlob(l, sealed); err == nil {
				err = use(l.Blob, content)
			}
		}
		if err == nil {
			return true, nil
		}
		if _, err2 := spoilt(ctx, err); err2 != nil {
			return false, err2
		}
	}
	return false, nil
}

// fileLeft reports whether all of a file is there.
func (s *snapshotRepair) fileLeft(places *[]index.Location, n node) bool {
	var size int64
	for _, id := range n.content {
		*places = s.index.Lookup((*places)[:0], id, pack.Data)
		if len(*places) == 0 {
			return false
		}
		size += (*places)[0].Size()
	}
	return !n.mode.IsRegular() || size == n.size
}

// hurt reports whether a tree, or one below it, has lost something.
func (s *snapshotRepair) hurt(id hash.ID) bool {
	t := s.trees[id]
	if t.seen {
		return t.hurt
	}
	t.seen, t.hurt = true, t.lost || len(t.files) > 0
	for _, d := range t.dirs {
		if s.hurt(d.id) {
			t.hurt = true
		}
	}
	return t.hurt
}

// lost lists what is lost below a tree.
func (s *snapshotRepair) lost(id hash.ID, dir string) []LostNode {
	t := s.trees[id]
	if !t.hurt {
		return nil
	}
	if t.lost {
		return []LostNode{{Path: dir, Dir: true}}
	}
	var out []LostNode
	for _, f := range t.files {
		out = append(out, LostNode{Path: path.Join(dir, f.Path), Bytes: f.Bytes})
	}
	for _, d := range t.dirs {
		out = append(out, s.lost(d.id, path.Join(dir, d.name))...)
	}
	return out
}

// repair makes a snapshot of what is left of one.
func (s *snapshotRepair) repair(ctx context.Context, from Snapshot) (err error) {
	done := RepairedSnapshot{Snapshot: from, Nothing: s.trees[from.Tree].lost, Lost: s.lost(from.Tree, "")}
	defer func() { s.result.Repaired = append(s.result.Repaired, done) }()
	if s.options.DryRun || done.Nothing && !s.options.Forget {
		return nil
	}
	notice, err := s.notice(ctx, done)
	if err != nil {
		return err
	}
	w := s.writer
	w.useMu.RLock()
	defer w.useMu.RUnlock()
	ctx, stop := w.bound(ctx)
	defer stop()
	t := treeRepair{snapshotRepair: s, trees: treeWriter{Writer: w}, from: from, notice: notice}
	tree, err := t.write(ctx, from.Tree, "")
	if err != nil {
		return w.fail(err)
	}
	for _, other := range s.all {
		if v, _ := other.Tag(RepairedFromTag); v == from.ID && other.Tree == tree {
			done.New, done.There = other.ID, true
		}
	}
	if !done.There {
		plain, err := s.derive(ctx, derived{from: from, tree: tree, tags: append([]string{RepairedFromTag + "=" + from.ID}, s.options.Tags...)})
		if err != nil {
			return err
		}
		if done.New, err = w.putSnapshot(ctx, plain); err != nil {
			return err
		}
	}
	if !s.options.Forget {
		return nil
	}
	if err := w.lock.check(ctx); err != nil {
		return w.fail(err)
	}
	// The new one is there, and no prune is deleting what it needs: so each that
	// begins to from now on sees it.
	if err := s.refuseSentenced(ctx, s.index); err != nil {
		return w.fail(err)
	}
	if err := s.RemoveSnapshot(ctx, from.ID); err != nil {
		return err
	}
	done.Forgotten = true
	return nil
}

// notice returns the new content of the file that says what is lost; nil: there is
// no such file.
func (s *snapshotRepair) notice(ctx context.Context, done RepairedSnapshot) ([]byte, error) {
	n := s.options.Notice
	if n.Path == "" {
		return nil, nil
	}
	rd := &Reader{repo: s.Repository, snapshot: done.Snapshot, index: s.index}
	old, err := rd.ReadFile(ctx, n.Path, n.Limit)
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return nil, nil
	case err != nil:
		if _, err := spoilt(ctx, err); err != nil {
			return nil, err
		}
		old = nil
	}
	return n.Write(old, done.Snapshot, done.Lost)
}

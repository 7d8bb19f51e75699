package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	objfs "github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// timeMachine is a clock that tests turn.
type timeMachine struct{ now, boot atomic.Int64 }

func (m *timeMachine) clock() clock {
	began := time.Now()
	return clock{
		now:  func() time.Time { return began.Add(time.Duration(m.now.Load())) },
		boot: func() time.Duration { return time.Duration(m.boot.Load()) },
	}
}

// pass turns the wall clock: of a machine that was on all the time, whose locks were
// refreshed.
func (m *timeMachine) pass(d time.Duration) { m.now.Add(int64(d)) }

// garden is a repository for tests of prune, with a clock of its own.
type garden struct {
	t         testing.TB
	b         objstore.Bucket
	dir       string // empty: in memory
	r         *Repository
	clock     *timeMachine
	wait      time.Duration
	maxUnused float64
}

func newGarden(t testing.TB, dir bool) *garden {
	t.Helper()
	g := &garden{t: t, b: mem.New(), clock: &timeMachine{}, wait: 24 * time.Hour}
	if dir {
		g.dir = t.TempDir()
		b, err := objfs.Open(g.dir)
		if err != nil {
			t.Fatal(err)
		}
		g.b = b
	}
	g.r = newRepository(t, g.b)
	g.r.clock = g.clock.clock()
	return g
}

// on returns the repository through another bucket, with a clock of its own.
func (g *garden) on(b objstore.Bucket, m *timeMachine) *Repository {
	return &Repository{bucket: b, key: g.r.key, config: g.r.config, clock: m.clock()}
}

func (g *garden) forget(ids ...string) {
	g.t.Helper()
	for _, id := range ids {
		if err := g.r.RemoveSnapshot(context.Background(), id); err != nil {
			g.t.Fatal(err)
		}
	}
}

func (g *garden) options() PruneOptions {
	return PruneOptions{MaxUnused: g.maxUnused, Wait: g.wait, Workers: 2}
}

func (g *garden) prune() PruneResult {
	g.t.Helper()
	got, err := g.r.Prune(context.Background(), g.options())
	if err != nil {
		g.t.Fatal(err)
	}
	return got
}

// whole checks with our own check, and with restic where there is a directory, that
// nothing is wrong.
func (g *garden) whole(where string) {
	g.t.Helper()
	got := check(g.t, g.r, CheckOptions{ReadData: true})
	if len(got.Findings) > 0 {
		g.t.Errorf("%s: check finds %+v", where, got.Findings)
	}
	if g.dir != "" {
		restic(g.t, g.dir, "check", "--read-data")
	}
}

// gardenSet needs a pack of data and one of trees; parts of it are in other sets.
func gardenSet(seeds ...uint64) set {
	s := set{"pgdata": directory()}
	for _, seed := range seeds {
		s[fmt.Sprintf("pgdata/%d", seed)] = file(noise(20_000, seed))
	}
	return s
}

func counts(p ...PackCount) string {
	var out []string
	for _, c := range p {
		out = append(out, fmt.Sprint(c.Packs))
	}
	return strings.Join(out, " ")
}

// TestPrune: what only a forgotten set needed is condemned, stays for a day, and goes;
// what another one needs, too, is stored anew when the waste is too much.
func TestPrune(t *testing.T) {
	t.Parallel()
	g := newGarden(t, true)
	gone := backUp(t, g.r, gardenSet(1, 2, 3))
	kept := backUp(t, g.r, gardenSet(3, 4)) // 3 lies in the pack of the first
	alone := backUp(t, g.r, gardenSet(5, 6))
	if got := g.prune(); counts(got.Plan.Keep, got.Condemned, got.Deleted, got.Repacked) != "6 0 0 0" || got.Plan.Waste != 0 {
		t.Errorf("nothing is forgotten, and prune says %+v", got)
	}
	g.forget(gone, alone)
	plan, err := g.r.PlanPrune(t.Context(), g.options())
	if err != nil || counts(plan.Keep, plan.Unused, plan.Repack) != "2 3 1" || plan.Copy != 20_000+32 {
		t.Errorf("the plan is %+v, error %v", plan, err)
	}
	if left := names(t, g.b, "holdfast/"); len(left) != 0 {
		t.Errorf("a plan wrote %v", left)
	}
	got := g.prune()
	if counts(got.Condemned, got.Deleted, got.Repacked) != "4 0 1" {
		t.Errorf("got %+v", got)
	}
	g.whole("condemned")
	g.clock.pass(23 * time.Hour)
	got = g.prune()
	if w := got.Plan.Waiting; counts(got.Condemned, got.Deleted) != "0 0" || len(w) != 1 || w[0].Packs != 4 || len(w[0].For) != 0 || w[0].Until.Sub(w[0].Since) != 24*time.Hour {
		t.Errorf("after 23 hours: %+v", got)
	}
	g.clock.pass(2 * time.Hour)
	got = g.prune()
	if counts(got.Condemned, got.Deleted) != "0 4" || got.Postponed != "" {
		t.Errorf("after 25 hours: %+v", got)
	}
	if left := append(names(t, g.b, "holdfast/"), names(t, g.b, "locks/")...); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if left := names(t, g.b, "data/"); len(left) != 3 {
		t.Errorf("packs: %v", left)
	}
	g.whole("deleted")
	compare(t, readSet(t, g.r, kept), gardenSet(3, 4))
	compare(t, readSet(t, g.r, backUp(t, g.r, gardenSet(1, 2, 3))), gardenSet(1, 2, 3))
	g.whole("backed up again")
}

func TestPruneLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		maxUnused float64
		limit     int64
		repacked  int
	}{{0, 0, 3}, {0.05, 0, 3}, {0.4, 0, 1}, {0.5, 0, 0}, {1, 0, 0}, {0, 50_000, 2}, {0, 1, 0}} {
		g := newGarden(t, false)
		var sets, kept []string
		for i := range uint64(3) { // half of each pack of data is needed
			sets = append(sets, backUp(t, g.r, gardenSet(10*i, 10*i+1)))
			kept = append(kept, backUp(t, g.r, gardenSet(10*i)))
		}
		g.forget(sets...)
		o := g.options()
		o.MaxUnused, o.RepackLimit, o.Wait = c.maxUnused, c.limit, 0
		got, err := g.r.Prune(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if got.Repacked.Packs != c.repacked || got.Deleted.Packs != 3+c.repacked {
			t.Errorf("%+v: repacked %d, deleted %d", c, got.Repacked.Packs, got.Deleted.Packs)
		}
		for i, id := range kept {
			compare(t, readSet(t, g.r, id), gardenSet(10*uint64(i)))
		}
		g.whole("at once")
	}
	g := newGarden(t, false)
	for _, o := range []PruneOptions{{MaxUnused: -0.1}, {MaxUnused: 1.1}, {Wait: -1}, {RepackLimit: -1}} {
		_, err := g.r.Prune(t.Context(), o)
		wantError(t, err, holdfast.CodeInvalid, "")
	}
}

// TestCondemnedPacksAreUnknownToWriters: what only they hold is stored again, so that
// the deletion of the next day takes nothing from the new set.
func TestCondemnedPacksAreUnknownToWriters(t *testing.T) {
	t.Parallel()
	g := newGarden(t, true)
	g.forget(backUp(t, g.r, gardenSet(1, 2)))
	g.prune()
	again := backUp(t, g.r, gardenSet(1, 2))
	if left := names(t, g.b, "data/"); len(left) != 4 {
		t.Errorf("packs: %v", left)
	}
	g.whole("stored again")
	g.clock.pass(25 * time.Hour)
	if got := g.prune(); counts(got.Deleted, got.Pardoned, got.Condemned) != "2 0 0" {
		t.Errorf("got %+v", got)
	}
	g.whole("deleted")
	compare(t, readSet(t, g.r, again), gardenSet(1, 2))
}

// TestAPackIsPardoned: a writer that had loaded the index before counts on a pack when
// it is condemned. The prune waits for the writer, and then finds what it has done.
func TestAPackIsPardoned(t *testing.T) {
	t.Parallel()
	g := newGarden(t, true)
	gone := backUp(t, g.r, gardenSet(1, 2))
	w := newWriter(t, g.r)
	g.forget(gone)
	g.prune()
	id := commitSet(t, w, gardenSet(1, 2))
	g.clock.pass(25 * time.Hour)
	refreshLock(t, w) // as it does every five minutes
	got := g.prune()
	if counts(got.Pardoned, got.Deleted) != "2 0" {
		t.Errorf("the set is there: %+v", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := g.prune(); counts(got.Pardoned, got.Deleted, got.Plan.Keep) != "0 0 2" || len(names(t, g.b, "holdfast/")) != 0 {
		t.Errorf("pardoned: %+v", got)
	}
	compare(t, readSet(t, g.r, id), gardenSet(1, 2))
	g.whole("pardoned")
}

// commitSet adds the set to a writer and commits it.
func commitSet(t testing.TB, w *Writer, s set) string {
	t.Helper()
	for p, n := range s {
		if err := w.Add(context.Background(), n.file(p)); err != nil {
			t.Fatal(err)
		}
	}
	id, err := w.Commit(context.Background(), testCommit(), intendNothing)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func refreshLock(t testing.TB, w *Writer) {
	t.Helper()
	if err := w.lock.refreshOnce(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestPruneWaitsForHolders: however long it takes, a writer and a reader that were
// there when packs were condemned keep them; their packs are listed with who it is.
func TestPruneWaitsForHolders(t *testing.T) {
	t.Parallel()
	g := newGarden(t, false)
	gone := backUp(t, g.r, gardenSet(1, 2))
	w := newWriter(t, g.r)
	rd, err := g.r.NewReader(t.Context(), gone)
	if err != nil {
		t.Fatal(err)
	}
	g.forget(gone)
	g.prune()
	for range 3 {
		g.clock.pass(25 * time.Hour)
		refreshLock(t, w)
		if err := rd.lock.refreshOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		late := newWriter(t, g.r) // came afterwards: nobody waits for it
		got := g.prune()
		if counts(got.Deleted) != "0" || len(got.Plan.Waiting) != 1 || len(got.Plan.Waiting[0].For) != 2 {
			t.Fatalf("got %+v", got)
		}
		holders := []string{got.Plan.Waiting[0].For[0].Holder, got.Plan.Waiting[0].For[1].Holder}
		if !slices.Contains(holders, "test/writer") {
			t.Errorf("holders: %v", holders)
		}
		if err := late.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := readAll(rd); err != nil { // it had read the index before the packs were condemned
		t.Error(err)
	}
	if err := errors.Join(w.Close(), rd.Close()); err != nil {
		t.Fatal(err)
	}
	if got := g.prune(); counts(got.Deleted) != "2" {
		t.Errorf("all have gone: %+v", got)
	}
}

// TestTheDeadAreBuried: a lock that nobody refreshes is removed, whatever its time
// says, and then nobody waits for it.
func TestTheDeadAreBuried(t *testing.T) {
	t.Parallel()
	g := newGarden(t, false)
	gone := backUp(t, g.r, gardenSet(1, 2))
	other := &timeMachine{}
	other.now.Store(int64(100 * 24 * time.Hour)) // its clock is far ahead
	w, err := g.on(g.b, other).NewWriter(t.Context(), WriterOptions{Holder: "frozen"})
	if err != nil {
		t.Fatal(err)
	}
	g.forget(gone)
	g.prune()
	g.clock.pass(25 * time.Hour)
	got := g.prune()
	if len(got.Locks) != 1 || got.Locks[0].Holder != "frozen" || counts(got.Deleted, got.Plan.Delete) != "2 2" {
		t.Errorf("got %+v", got)
	}
	_, err = w.Commit(t.Context(), testCommit(), intendNothing)
	wantError(t, err, holdfast.CodeConflict, "removed our lock")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestNothingIsDeletedBesideRestic: another program does not read marks.
func TestNothingIsDeletedBesideRestic(t *testing.T) {
	t.Parallel()
	g := newGarden(t, true)
	g.forget(backUp(t, g.r, gardenSet(1, 2)))
	g.prune()
	g.clock.pass(25 * time.Hour)
	lock := lockJSON{Time: time.Now(), Hostname: "other", PID: 7}
	first := putLock(t, g.r, lock)
	if got := g.prune(); counts(got.Deleted, got.Plan.Delete) != "0 0" || got.Plan.Waiting[0].For[0].PID != 7 {
		t.Errorf("beside restic: %+v", got)
	}
	second := putLock(t, g.r, lock) // refreshed
	if err := g.r.remove(t.Context(), kindLock(), first); err != nil {
		t.Fatal(err)
	}
	g.clock.pass(time.Hour)
	if got := g.prune(); counts(got.Deleted) != "0" || len(got.Locks) != 0 {
		t.Errorf("beside a restic that refreshes its lock: %+v", got)
	}
	g.clock.pass(time.Hour)
	g.prune() // nobody has refreshed it: it is removed
	if left := names(t, g.b, kindLock().name(second)); len(left) != 0 {
		t.Errorf("locks: %v", left)
	}
	if got := g.prune(); counts(got.Deleted) != "2" && counts(got.Plan.Keep) != "0" {
		t.Errorf("restic is gone: %+v", got)
	}
	if left := names(t, g.b, "data/"); len(left) != 0 {
		t.Errorf("packs: %v", left)
	}
	g.whole("alone")
}

// TestResticIgnoresOurRecords: it lists, checks, restores, and backs up beside marks.
func TestResticIgnoresOurRecords(t *testing.T) {
	t.Parallel()
	g := newGarden(t, true)
	kept := backUp(t, g.r, gardenSet(1, 2))
	g.forget(backUp(t, g.r, gardenSet(3)))
	g.prune()
	if _, err := putRecord(t.Context(), g.r, kindSentence(), sentence{Version: recordVersion}); err != nil {
		t.Fatal(err)
	}
	if len(names(t, g.b, "holdfast/")) != 2 {
		t.Error("there is no mark")
	}
	src := t.TempDir()
	writeDisk(t, src, gardenSet(3, 4))
	restic(t, g.dir, "backup", src)
	restic(t, g.dir, "check", "--read-data")
	to := t.TempDir()
	restic(t, g.dir, "restore", kept, "--target", to)
	compare(t, readDisk(t, to), gardenSet(1, 2))
	g.clock.pass(25 * time.Hour)
	if got := g.prune(); counts(got.Pardoned) == "0" {
		t.Errorf("restic's set needs the pack: %+v", got)
	}
	g.whole("beside restic's set")
}

// TestLeftPacksArePruned: what an interrupted backup has put, and no index names.
func TestLeftPacksArePruned(t *testing.T) {
	t.Parallel()
	g := newGarden(t, true)
	kept := backUp(t, g.r, gardenSet(1))
	backUp(t, g.r, gardenSet(2))
	before := names(t, g.b, "index/")
	lost := backUp(t, g.r, gardenSet(3))
	g.forget(lost)
	for _, name := range names(t, g.b, "index/") {
		if !slices.Contains(before, name) {
			if err := g.b.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := g.prune(); counts(got.Condemned) != "2" {
		t.Errorf("got %+v", got)
	}
	if got := check(t, g.r, CheckOptions{}); len(got.Findings) != 0 {
		t.Errorf("condemned, and check finds %+v", got.Findings)
	}
	g.clock.pass(25 * time.Hour)
	if got := g.prune(); counts(got.Deleted) != "2" {
		t.Errorf("got %+v", got)
	}
	g.whole("pruned")
	compare(t, readSet(t, g.r, kept), gardenSet(1))
}

// readAll reads every file of the reader's set.
func readAll(rd *Reader) (map[string]*memFile, error) {
	files := map[string]*memFile{}
	var targets []engine.Target
	err := rd.Walk(context.Background(), func(n engine.Node) error {
		if n.Mode.IsRegular() {
			f := &memFile{}
			files[n.Path] = f
			targets = append(targets, engine.Target{Path: n.Path, Open: func() (engine.TargetFile, error) { return f, nil }})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return files, rd.Fetch(context.Background(), targets)
}

// frozen is a bucket that stops before its n-th operation until it is thawed, or
// fails that and every later one.
type frozen struct {
	objstore.Bucket
	at    int64
	kill  error // nil: freeze
	n     atomic.Int64
	there chan struct{}
	thaw  chan struct{}
	once  sync.Once
	what  atomic.Value // the operation that it stopped before
}

func freeze(b objstore.Bucket, at int) *frozen {
	return &frozen{Bucket: b, at: int64(at), there: make(chan struct{}), thaw: make(chan struct{})}
}

func (f *frozen) op(what, name string) error {
	n := f.n.Add(1)
	if f.kill != nil {
		if n >= f.at {
			f.what.CompareAndSwap(nil, what+" "+name)
			return f.kill
		}
		return nil
	}
	if n >= f.at {
		f.once.Do(func() {
			f.what.Store(what + " " + name)
			close(f.there)
		})
		<-f.thaw // all its goroutines are frozen, not one
	}
	return nil
}

func (f *frozen) String() string {
	what, _ := f.what.Load().(string)
	return fmt.Sprintf("operation %d (%s)", f.at, what)
}

// Put implements objstore.Bucket.
func (f *frozen) Put(ctx context.Context, name string, data []byte) error {
	if err := f.op("put", name); err != nil {
		return err
	}
	return f.Bucket.Put(ctx, name, data)
}

// Get implements objstore.Bucket.
func (f *frozen) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := f.op("get", name); err != nil {
		return nil, err
	}
	return f.Bucket.Get(ctx, name, offset, length)
}

// Stat implements objstore.Bucket.
func (f *frozen) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := f.op("stat", name); err != nil {
		return objstore.Info{}, err
	}
	return f.Bucket.Stat(ctx, name)
}

// List implements objstore.Bucket.
func (f *frozen) List(ctx context.Context, prefix string, fn func(objstore.Info) error) error {
	if err := f.op("list", prefix); err != nil {
		return err
	}
	return f.Bucket.List(ctx, prefix, fn)
}

// Delete implements objstore.Bucket.
func (f *frozen) Delete(ctx context.Context, name string) error {
	if err := f.op("delete", name); err != nil {
		return err
	}
	return f.Bucket.Delete(ctx, name)
}

// TestPruneInRounds: what one record cannot name is left to the next prune, and each does
// its share.
func TestPruneInRounds(t *testing.T) {
	t.Parallel()
	const most = 3
	g := newGarden(t, true)
	kept := g.plant(gardenSet(1, 2))
	var gone []string
	for i := range uint64(5) { // two packs each
		gone = append(gone, g.plant(gardenSet(10+i)))
	}
	g.forget(gone...)
	o := g.options()
	o.recordPacks = most
	var rounds []string
	for range 10 {
		got, err := g.r.Prune(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		rounds = append(rounds, counts(got.Plan.Left, got.Condemned, got.Deleted))
		marks, err := g.r.marks(t.Context(), func(_ hash.ID, err error) error { return err })
		if err != nil {
			t.Fatal(err)
		}
		for id, m := range marks {
			if len(m.Packs) > most {
				t.Errorf("mark %s names %d packs", id, len(m.Packs))
			}
		}
		if len(rounds) != 2 && len(rounds) != 3 { // then several marks are ripe at once
			g.clock.pass(25 * time.Hour)
		}
		if got.Plan.Left.Packs == 0 && len(names(t, g.b, "holdfast/")) == 0 {
			break
		}
	}
	if got, want := strings.Join(rounds, ", "), "7 3 0, 4 3 3, 1 3 0, 0 1 0, 4 0 3, 1 0 3, 0 0 1"; got != want {
		t.Errorf("left, condemned, deleted: got %s, want %s", got, want)
	}
	g.whole("in the end")
	compare(t, readSet(t, g.r, kept), gardenSet(1, 2))
	if got := len(names(t, g.b, "data/")); got != 2 {
		t.Errorf("%d packs are left", got)
	}
	if size := int64(len(`"`+hash.ID{}.String()+`",`)) * maxRecordPacks; size > kindSentence().limit*3/4+1<<20 {
		t.Errorf("a full record has %d bytes", size)
	}
}

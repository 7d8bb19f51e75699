package repository

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	objfs "github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// act is what is done once, where histories do things at random: the process is killed,
// or the machine loses its power, at each of its steps to the disk.
type act string

const (
	actCreate act = "create"
	actRepair act = "repair snapshots"
)

// secondPassword is the second one of a repository that is created.
const secondPassword = "the kit's"

func (a act) do(ctx context.Context, dir string, around objfs.Option) (err error) {
	open := objfs.Open
	if a == actCreate {
		open = objfs.Create
	}
	b, err := open(dir, around)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if a == actCreate {
		_, err = create(ctx, b, systemClock(), crypt.Params{N: 16, R: 8, P: 1}, []holdfast.Secret{testSecret(), holdfast.NewSecret(secondPassword)})
		return err
	}
	r, err := Open(ctx, b, testSecret())
	if err == nil {
		_, err = r.RepairSnapshots(ctx, RepairSnapshotsOptions{Forget: true, Workers: 1})
	}
	return err
}

// act does it until the step is there at which it stays for ever.
func (p crashPlan) act(ended func()) error {
	d := &disks{left: p.Left, when: p.When, made: func(string, objfs.Step) error { return nil }}
	d.end = func(string, objfs.Step) {
		ended()
		select {}
	}
	if err := p.Act.do(context.Background(), filepath.Join(p.Dir, mainRepo), objfs.Around(d.around(p.Dir, mainRepo))); err != nil {
		return err
	}
	ended() // there was no step of its kind any more
	return nil
}

// crashes kills an act at each of its steps, and cuts the power at each. prepare makes the
// directory that it begins with; judge looks at what is left in one.
func (a act) crashes(t *testing.T, prepare func(dir string), judge func(dir, where string)) {
	t.Helper()
	template := filepath.Join(testkit.MemoryDir(t), mainRepo)
	prepare(template)
	copied := func() string {
		dir := testkit.MemoryDir(t)
		if err := os.CopyFS(filepath.Join(dir, mainRepo), os.DirFS(template)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	d := &disks{left: endless, made: func(string, objfs.Step) error { return nil }}
	whole := copied()
	if err := a.do(t.Context(), filepath.Join(whole, mainRepo), objfs.Around(d.around(whole, mainRepo))); err != nil {
		t.Fatal(err)
	}
	steps := endless - d.left
	judge(filepath.Join(whole, mainRepo), "to its end")
	var plans []crashPlan
	for n := range steps {
		plans = append(plans, crashPlan{Dir: copied(), Seed: uint64(n), Act: a, Left: n, When: moment(rand.IntN(4))})
	}
	for some := range slices.Chunk(plans, killedTogether) {
		killPlans(t, some)
		for _, p := range some {
			judge(filepath.Join(p.Dir, mainRepo), fmt.Sprintf("killed %s step %d of %d", p.When, p.Left, steps))
		}
	}
	for n := range steps {
		left, when := filepath.Join(testkit.MemoryDir(t), mainRepo), moment(rand.IntN(4))
		where := fmt.Sprintf("power lost %s step %d of %d", when, n, steps)
		if err := os.Mkdir(left, 0o700); err != nil {
			t.Fatal(err)
		}
		disk := fault.NewDisk()
		if err := disk.Restart(template); err != nil {
			t.Fatal(err)
		}
		lottery := rand.New(rand.NewPCG(rand.Uint64(), 0))
		if rand.IntN(4) == 0 {
			lottery = nil
		}
		cut := false
		d := &disks{left: n, when: when, made: func(_ string, s objfs.Step) error { return disk.Record(s) }}
		d.end = func(string, objfs.Step) {
			cut = true
			if err := disk.Cut(left, lottery); err != nil {
				t.Error(err)
			}
		}
		dir := copied()
		err := a.do(t.Context(), filepath.Join(dir, mainRepo), objfs.Around(d.around(dir, mainRepo)))
		if !cut && err == nil {
			where = "power lost at rest"
			err = disk.Cut(left, lottery)
		}
		if err != nil && !cut {
			t.Fatalf("%s: %v", where, err)
		}
		judge(left, where)
	}
}

// TestCrashedCreate: a repository that was being made is there, and opens with each of its
// passwords, or is not there: then it can be made once its keys are removed, if there are any.
func TestCrashedCreate(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	made, not := 0, 0
	judge := func(dir, where string) {
		b, err := objfs.Create(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if _, err := Open(ctx, b, testSecret()); holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			not++
			err := actCreate.do(ctx, dir, objfs.Around(func(_ objfs.Step, do func() error) error { return do() }))
			if err != nil {
				wantError(t, err, holdfast.CodeConflict, "keys/")
				for _, name := range names(t, b, "") {
					if !strings.HasPrefix(name, kindKey().prefix) {
						t.Errorf("%s: there is %s", where, name)
					}
					deleteObject(t, b, name)
				}
				newRepository(t, b)
			}
		} else if made++; err != nil {
			t.Errorf("%s: %v", where, err)
			return
		} else if _, err := Open(ctx, b, holdfast.NewSecret(secondPassword)); err != nil {
			t.Errorf("%s: with the kit: %v", where, err)
		}
		r, err := Open(ctx, b, testSecret())
		if err != nil {
			t.Errorf("%s: %v", where, err)
			return
		}
		g := &garden{t: t, r: r}
		compare(t, readSet(t, r, g.plant(gardenSet(1))), gardenSet(1))
		if rand.IntN(resticEvery) == 0 {
			restic(t, dir, "check")
		}
	}
	actCreate.crashes(t, func(dir string) {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}, judge)
	if t.Logf("%d were there, %d not", made, not); made == 0 || not == 0 {
		t.Error("one of the two never happened")
	}
}

// TestCrashedRepairSnapshots: of a set that has lost a file there is always the damaged
// snapshot, or one with all that is left; and the same repair goes on.
func TestCrashedRepairSnapshots(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	hurt, whole := crashSet(1), crashSet(2)
	for n := range uint64(4) { // in packs of their own
		hurt[fmt.Sprintf("pgdata/more-%d", n)] = file(noise(3000, 100+n))
	}
	var old, kept string // snapshots
	left := set{}
	tally := map[string]int{}
	judge := func(dir, where string) {
		b, err := objfs.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		r, err := Open(ctx, b, testSecret())
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		look := func() (repaired int, damaged bool) {
			all, err := r.Snapshots(ctx)
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			there := false
			for _, s := range all {
				switch from, _ := s.Tag(RepairedFromTag); {
				case s.ID == kept:
					there = true
					compare(t, readSet(t, r, s.ID), whole)
				case s.ID == old:
					damaged = true
				case from == old:
					repaired++
					compare(t, readSet(t, r, s.ID), left)
				default:
					t.Errorf("%s: nobody has made %+v", where, s)
				}
			}
			if !there || repaired == 0 && !damaged {
				t.Errorf("%s: a set is gone: %+v", where, all)
			}
			return repaired, damaged
		}
		repaired, damaged := look()
		tally[fmt.Sprintf("%d repaired, damaged %t", repaired, damaged)]++
		if _, err := r.Unlock(ctx, true); err != nil {
			t.Fatal(err)
		}
		if _, err := r.RepairSnapshots(ctx, RepairSnapshotsOptions{Forget: true, Workers: 1}); err != nil {
			t.Errorf("%s: again: %v", where, err)
		}
		if repaired, damaged := look(); repaired != 1 || damaged {
			t.Errorf("%s: in the end %d repaired, the damaged one there: %t", where, repaired, damaged)
		}
		if got := check(t, r, CheckOptions{ReadData: true}); got.Damaged() {
			t.Errorf("%s: check finds %+v", where, got.Findings)
		}
		if rand.IntN(resticEvery) == 0 {
			restic(t, dir, "check", "--read-data")
		}
	}
	actRepair.crashes(t, func(dir string) {
		b, err := objfs.Create(dir)
		if err != nil {
			t.Fatal(err)
		}
		r := newRepository(t, b)
		backUp := func(s set) string {
			w, err := r.NewWriter(ctx, WriterOptions{Holder: "test/writer", Workers: 1})
			if err != nil {
				t.Fatal(err)
			}
			w.tinyBuffers()
			id := commitSet(t, w, s)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return id
		}
		kept, old = backUp(whole), backUp(hurt)
		x, err := r.loadIndex(ctx, refuseDamaged)
		if err != nil {
			t.Fatal(err)
		}
		lost := x.Lookup(nil, hash.Sum(hurt["pgdata/more-1"].data), pack.Data)
		if len(lost) != 1 {
			t.Fatalf("the file lies in %v", lost)
		}
		deleteObject(t, b, packName(lost[0].Pack))
		if _, err := r.RepairIndex(ctx, RepairIndexOptions{Workers: 1}); err != nil {
			t.Fatal(err)
		}
		got, err := r.RepairSnapshots(ctx, RepairSnapshotsOptions{DryRun: true})
		if err != nil || len(got.Repaired) != 1 || got.Repaired[0].Snapshot.ID != old || got.Whole != 1 {
			t.Fatalf("got %+v, error %v", got, err)
		}
		for p, n := range hurt {
			if !slices.ContainsFunc(got.Repaired[0].Lost, func(l LostNode) bool { return l.Path == p }) {
				left[p] = n
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}, judge)
	t.Logf("%v", tally)
	if len(tally) < 2 {
		t.Error("it was killed too late, or too early, each time")
	}
}

package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// span is some bytes of an object.
type span struct {
	object   string
	from, to int64
}

// needRig is a repository of several backup sets, and what each of their files lies in.
type needRig struct {
	damageRig
	set   map[string]string            // the backup set, by snapshot
	needs map[string]map[string][]span // by snapshot and file
}

func newNeedRig(t *testing.T) *needRig {
	t.Helper()
	b := mem.New()
	r := newRepository(t, b)
	d := &needRig{damageRig: damageRig{objects: map[string][]byte{}, sets: map[string]set{}}, set: map[string]string{}, needs: map[string]map[string][]span{}}
	shared := file(text(150_000, 9))
	for i, s := range []set{
		{"pgdata/one": file(noise(50_000, 1)), "pgdata/base/shared": shared, "pgdata/base/small": file(noise(2000, 4))},
		{"pgdata/two": file(text(blockSize+9000, 2)), "pgdata/base/shared": shared, "pgdata/global/three": file(noise(30_000, 3))},
		{"pgdata/global/three": file(noise(30_000, 3)), "pgdata/four": file(noise(40_000, 5))},
	} {
		w := newWriter(t, r)
		for _, p := range inOrder(s) {
			if err := w.Add(t.Context(), s[p].file(p)); err != nil {
				t.Fatal(err)
			}
		}
		c := testCommit()
		c.Tags = []string{fmt.Sprintf("set=%d", 1001+i)}
		id, err := w.Commit(t.Context(), c, intendNothing)
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		d.sets[id], d.set[id] = s, fmt.Sprint(1001+i)
	}
	for _, name := range names(t, b, "") {
		d.objects[name] = readObject(t, b, name)
	}
	d.findNeeds(t, r)
	return d
}

// findNeeds walks all trees.
func (d *needRig) findNeeds(t *testing.T, r *Repository) {
	t.Helper()
	x, err := r.loadIndex(t.Context(), refuseDamaged)
	if err != nil {
		t.Fatal(err)
	}
	names := map[hash.ID]span{} // the index object that names a pack
	for name, data := range d.objects {
		if !strings.HasPrefix(name, "index/") {
			continue
		}
		plain, err := decodeObject(r.key, bytes.Clone(data), 1<<20)
		if err == nil {
			err = index.Decode(plain, func(p index.Pack) error {
				names[p.ID] = span{name, 0, int64(len(data))}
				return nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	place := func(id hash.ID, kind pack.Type) []span {
		l := x.Lookup(nil, id, kind)
		if len(l) != 1 {
			t.Fatalf("%s has %d places", id, len(l))
		}
		return []span{names[l[0].Pack], {packName(l[0].Pack), int64(l[0].Offset), int64(l[0].Offset) + int64(l[0].Length)}}
	}
	for id := range d.sets {
		s, err := r.Snapshot(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		d.needs[id] = map[string][]span{}
		var walk func(tree hash.ID, dir string, above []span)
		walk = func(tree hash.ID, dir string, above []span) {
			above = append(slices.Clone(above), place(tree, pack.Tree)...)
			b, content, err := r.treeBlob(t.Context(), x, tree)
			if err != nil {
				t.Fatal(err)
			}
			err = decodeTree(b, content, func(n node) error {
				if n.mode.IsDir() {
					walk(n.subtree, path.Join(dir, n.name), above)
					return nil
				}
				needs := slices.Clone(above)
				for _, id := range n.content {
					needs = append(needs, place(id, pack.Data)...)
				}
				d.needs[id][path.Join(dir, n.name)] = needs
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		walk(s.Tree, "", []span{{"snapshots/" + id, 0, int64(len(d.objects["snapshots/"+id]))}})
	}
}

// hit returns the files of a snapshot that need bytes of the object which are not what
// they were.
func (d *needRig) hit(snapshot, object string, now []byte) []string {
	whole := d.objects[object]
	var out []string
	for p, needs := range d.needs[snapshot] {
		if slices.ContainsFunc(needs, func(s span) bool {
			return s.object == object && (int64(len(now)) < s.to || !bytes.Equal(now[s.from:s.to], whole[s.from:s.to]))
		}) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// TestDamageIsFeltWhereItIs damages every object that holds something of a backup set,
// in every way. What must fail is known beforehand, from where everything lies: check
// names the object and these sets, a restore of these files fails and says so, all
// others come back, and after a repair the sound sets are there as they were, and of
// the others everything but these files.
func TestDamageIsFeltWhereItIs(t *testing.T) {
	t.Parallel()
	d := newNeedRig(t)
	for name := range d.objects {
		kind, _, _ := strings.Cut(name, "/")
		if kind == "config" || kind == "keys" { // they hold nothing of one set
			continue
		}
		for what, data := range d.damages(name) {
			t.Run(kind+" "+what, func(t *testing.T) {
				t.Parallel()
				b := d.bucket(t, name, data)
				r, err := Open(t.Context(), b, testSecret())
				if err != nil {
					t.Fatal(err)
				}
				d.checkNames(t, r, name, data)
				d.restoreFails(t, r, name, data)
				d.repairSaves(t, r, name, data)
			})
		}
	}
}

// affected returns the snapshots that do not restore whole.
func (d *needRig) affected(name string, data []byte) []string {
	var out []string
	for id := range d.sets {
		if len(d.hit(id, name, data)) > 0 {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

func (d *needRig) checkNames(t *testing.T, r *Repository, name string, data []byte) {
	t.Helper()
	recorded := func(context.Context) ([]string, error) { return slices.Collect(maps.Keys(d.sets)), nil }
	got := check(t, r, CheckOptions{ReadData: true, Recorded: recorded})
	object := name
	if strings.HasPrefix(name, "index/") && data == nil { // nobody knows that it ever was: its packs are named
		object = got.Findings[0].Object
		if got.Findings[0].Kind != FindingUnindexed {
			t.Errorf("got %+v", got.Findings)
		}
	}
	if f := got.find(object); f == nil || f.Kind.IsWarning() || f.Hint == "" {
		t.Errorf("check does not name %s: %+v", object, got.Findings)
	}
	want := d.affected(name, data)
	if !slices.Equal(ids(got.Affected), want) {
		t.Errorf("check says that %v are affected, and %v are", ids(got.Affected), want)
	}
	for _, s := range got.Affected {
		// A snapshot that cannot be read does not say of which set it is.
		if lost := name == "snapshots/"+s.ID; s.Set != d.set[s.ID] && !lost {
			t.Errorf("snapshot %s is said to be of set %q, want %s", s.ID, s.Set, d.set[s.ID])
		}
	}
}

// restoreFails restores each file on its own, and each set whole.
func (d *needRig) restoreFails(t *testing.T, r *Repository, name string, data []byte) {
	t.Helper()
	for id := range d.sets {
		want := d.hit(id, name, data)
		if files, err := fetchAll(t, r, id); len(want) == 0 {
			d.same(t, id, files, nil)
			if err != nil {
				t.Errorf("set %s is sound: %v", d.set[id], err)
			}
		} else if code := holdfast.ErrorCode(err); code != holdfast.CodeInvalid && code != holdfast.CodeNotFound {
			t.Errorf("set %s is damaged, and its restore says %v", d.set[id], err)
		}
		rd, err := r.NewReader(t.Context(), id)
		if err != nil {
			if len(want) != len(d.needs[id]) {
				t.Errorf("of set %s only %v are damaged: %v", d.set[id], want, err)
			}
			continue
		}
		for p := range d.needs[id] {
			f := &memFile{}
			err := rd.Fetch(t.Context(), []engine.Target{{Path: p, Open: func() (engine.TargetFile, error) { return f, nil }}})
			bad := slices.Contains(want, p)
			switch {
			case !bad && err != nil:
				t.Errorf("%q of set %s is sound: %v", p, d.set[id], err)
			case !bad && !bytes.Equal(f.data, d.sets[id][p].data):
				t.Errorf("%q of set %s came back wrong", p, d.set[id])
			case bad && (holdfast.ErrorCode(err) != holdfast.CodeInvalid || !f.closed && f.data != nil):
				t.Errorf("%q of set %s is damaged, and its restore says %v", p, d.set[id], err)
			}
		}
		if err := rd.Close(); err != nil {
			t.Error(err)
		}
	}
}

// same compares restored files with those of a set, but for those that were lost.
func (d *needRig) same(t *testing.T, id string, files map[string]*memFile, lost []string) {
	t.Helper()
	n := 0
	for p := range d.needs[id] {
		if slices.Contains(lost, p) {
			continue
		}
		n++
		if f := files[p]; f == nil || !bytes.Equal(f.data, d.sets[id][p].data) {
			t.Errorf("%q of set %s came back wrong", p, d.set[id])
		}
	}
	if len(files) != n {
		t.Errorf("set %s came back with %d files, want %d", d.set[id], len(files), n)
	}
}

// repairSaves repairs what can be repaired, with the damaged snapshots removed.
func (d *needRig) repairSaves(t *testing.T, r *Repository, name string, data []byte) {
	t.Helper()
	repairIndex(t, r, RepairIndexOptions{ReadData: true})
	repairSnapshots(t, r, RepairSnapshotsOptions{Forget: true})
	all, err := r.Snapshots(t.Context())
	if unreadable := strings.HasPrefix(name, "snapshots/") && data != nil; (err != nil) != unreadable {
		t.Fatal(err)
	}
	by := map[string]Snapshot{} // by the snapshot that it was, or was made from
	for _, s := range all {
		from, made := s.Tag(RepairedFromTag)
		if !made {
			from = s.ID
		}
		by[from] = s
	}
	for id := range d.sets {
		var lost []string
		switch {
		case name == "snapshots/"+id:
			continue // with it goes the set
		case strings.HasPrefix(name, "data/"): // an index is made anew
			lost = d.hit(id, name, data)
		}
		s, there := by[id]
		switch {
		case len(lost) == len(d.needs[id]):
			if there && s.ID == id {
				t.Errorf("nothing of set %s is left, and its snapshot is", d.set[id])
			}
			continue
		case !there || (s.ID == id) != (len(lost) == 0):
			t.Errorf("set %s has lost %v, and its snapshot is now %q", d.set[id], lost, s.ID)
			continue
		}
		if of, _ := s.Tag("set"); of != d.set[id] {
			t.Errorf("the snapshot of set %s is said to be of %q", d.set[id], of)
		}
		files, err := fetchAll(t, r, s.ID)
		if err != nil {
			t.Errorf("set %s after the repair: %v", d.set[id], err)
		}
		d.same(t, id, files, lost)
	}
	if got := check(t, r, CheckOptions{ReadData: true}); len(got.Affected) > 0 && !strings.HasPrefix(name, "snapshots/") {
		t.Errorf("after the repair check finds %+v", got.Findings)
	}
}

// TestDamagedRecordsAreNamed damages the records of prunes: no set is lost by it, and
// what is done next ends it.
func TestDamagedRecordsAreNamed(t *testing.T) {
	t.Parallel()
	g := newGarden(t, false)
	kept := g.plant(gardenSet(1))
	g.forget(g.plant(gardenSet(2)))
	g.prune() // puts a mark
	sentencePacks(t, g.r, hash.Sum([]byte("gone already")))
	d := damageRig{objects: map[string][]byte{}}
	for _, name := range names(t, g.b, "") {
		d.objects[name] = readObject(t, g.b, name)
	}
	for name := range d.objects {
		if !strings.HasPrefix(name, "holdfast/") {
			continue
		}
		sentence := strings.HasPrefix(name, kindSentence().prefix)
		damages := d.damages(name)
		delete(damages, "swapped") // for a mark it is the sentence, and the other way round
		for what, data := range damages {
			t.Run(path.Dir(name)+" "+what, func(t *testing.T) {
				t.Parallel()
				b := d.bucket(t, name, data)
				r := g.on(b, g.clock)
				got := check(t, r, CheckOptions{ReadData: true})
				if f := got.find(name); data != nil && (f == nil || f.Hint == "") || len(got.Affected) > 0 {
					t.Errorf("check finds %+v", got.Findings)
				}
				compare(t, readSet(t, r, kept), gardenSet(1))
				if sentence && data != nil {
					_, pruned := r.Prune(t.Context(), g.options())
					for _, err := range []error{pruned, attemptOn(r, gardenSet(2)).err} {
						wantError(t, err, holdfast.CodeInvalid, "which packs a prune is deleting is not known")
						if !strings.Contains(holdfast.ErrorHint(err), "remove this object") {
							t.Errorf("the hint is %q", holdfast.ErrorHint(err))
						}
					}
					deleteObject(t, b, name)
				}
				again := attemptOn(r, gardenSet(2))
				if again.err != nil {
					t.Fatal(again.err)
				}
				for range 2 {
					if _, err := r.Prune(t.Context(), PruneOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				wantClean(t, check(t, r, CheckOptions{ReadData: true}))
				compare(t, readSet(t, r, kept), gardenSet(1))
				compare(t, readSet(t, r, again.id), gardenSet(2))
				if left := names(t, b, "holdfast/"); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			})
		}
	}
}

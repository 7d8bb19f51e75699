package repository

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
)

func repairSnapshots(t testing.TB, r *Repository, o RepairSnapshotsOptions) RepairSnapshotsResult {
	t.Helper()
	got, err := r.RepairSnapshots(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestRepairSavesTheRest damages every object in every way, and repairs: what is said
// to be lost fails to restore, everything else restores, and so do the snapshots of
// what is left; a check then finds nothing but what was said.
func TestRepairSavesTheRest(t *testing.T) {
	t.Parallel()
	d := newDamageRig(t)
	for name := range d.objects {
		kind, _, _ := strings.Cut(name, "/")
		for what, data := range d.damages(name) {
			t.Run(kind+" "+what, func(t *testing.T) {
				t.Parallel()
				d.repair(t, name, data)
			})
		}
	}
}

func (d damageRig) repair(t *testing.T, name string, data []byte) {
	t.Helper()
	kind, _, _ := strings.Cut(name, "/")
	r, err := Open(t.Context(), d.bucket(t, "", nil), testSecret()) // opened while it was whole
	if err != nil {
		t.Fatal(err)
	}
	b := d.bucket(t, name, data)
	r.bucket = b
	fixed := repairIndex(t, r, RepairIndexOptions{ReadData: true})
	if damaged := kind == "index" || kind == "data"; fixed.Changed() != damaged {
		t.Errorf("got %+v", fixed)
	}
	if kind != "data" && fixed.Lost() != 0 {
		t.Errorf("%d pieces are lost", fixed.Lost())
	}
	before := names(t, b, "")
	dry := repairSnapshots(t, r, RepairSnapshotsOptions{DryRun: true})
	if after := names(t, b, ""); !slices.Equal(before, after) {
		t.Errorf("the dry run changed\n%v\nto\n%v", before, after)
	}
	got := repairSnapshots(t, r, RepairSnapshotsOptions{})
	if fmt.Sprint(lostPaths(dry)) != fmt.Sprint(lostPaths(got)) || (fixed.Lost() == 0) != (len(got.Repaired) == 0) {
		t.Errorf("got %+v, and in the dry run %+v; the index has lost %d", got, dry, fixed.Lost())
	}
	if unreadable := kind == "snapshots" && data != nil; (len(got.Unreadable) == 1) != unreadable {
		t.Errorf("unreadable: %v", got.Unreadable)
	}
	d.checkRepaired(t, r, got, kind == "config" || kind == "keys")

	forgot := repairSnapshots(t, r, RepairSnapshotsOptions{Forget: true})
	for i, s := range forgot.Repaired {
		if before := got.Repaired[i]; !s.Forgotten || s.New == "" || s.There == s.Nothing || !s.Nothing && s.New != before.New || s.Nothing && before.New != "" {
			t.Errorf("the second time: got %+v, and before %+v", s, before)
		}
	}
	if kind == "config" || kind == "keys" {
		return
	}
	result := check(t, r, CheckOptions{ReadData: true})
	for _, f := range result.Findings {
		if !f.Kind.IsWarning() && f.Object != name { // a snapshot that cannot be read
			t.Errorf("check finds %+v", f)
		}
	}
	if kind != "snapshots" {
		if result.Damaged() || len(result.Affected) > 0 {
			t.Errorf("got %+v", result)
		}
		if again := repairSnapshots(t, r, RepairSnapshotsOptions{}); len(again.Repaired) != 0 {
			t.Errorf("again: got %+v", again)
		}
	}
}

func lostPaths(r RepairSnapshotsResult) (out []string) {
	for _, s := range r.Repaired {
		for _, l := range s.Lost {
			out = append(out, s.Snapshot.ID+" "+l.Path)
		}
	}
	return out
}

// checkRepaired restores the snapshots, and what was made of them.
func (d damageRig) checkRepaired(t *testing.T, r *Repository, got RepairSnapshotsResult, closed bool) {
	t.Helper()
	repaired := map[string]RepairedSnapshot{}
	for _, s := range got.Repaired {
		repaired[s.Snapshot.ID] = s
	}
	there, err := r.Snapshots(t.Context())
	if err != nil && len(got.Unreadable) == 0 {
		t.Fatal(err)
	}
	for _, s := range there {
		want, ours := d.sets[s.ID]
		if !ours {
			continue // made by the repair
		}
		left := maps.Clone(want)
		var lost []string
		for _, l := range repaired[s.ID].Lost {
			for p, n := range want {
				if p == l.Path && !l.Dir || l.Dir && (l.Path == "" || strings.HasPrefix(p, l.Path+"/")) {
					delete(left, p)
					if n.mode.IsRegular() {
						lost = append(lost, p)
					}
				}
			}
		}
		slices.Sort(lost)
		if !closed {
			failed, err := d.restoreEach(t, r.bucket, testSecret(), s.ID)
			if err != nil {
				t.Fatal(err)
			}
			failed = slices.DeleteFunc(failed, func(p string) bool { return p == "/" })
			slices.Sort(failed)
			if !slices.Equal(failed, lost) {
				t.Errorf("snapshot %s: %v do not restore, and %v were said to be lost", s.ID, failed, lost)
			}
		}
		if one, ok := repaired[s.ID]; ok && !one.Nothing {
			compare(t, readSet(t, r, one.New), left)
		}
	}
}

// TestResticAgreesWithRepair lets stock restic check what was repaired.
func TestResticAgreesWithRepair(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"cut in half", "deleted", "flipped at 20", "swapped"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r, dir := newDirRepository(t)
			want := set{"pgdata/one": file(noise(50_000, 1)), "pgdata/base/two": file(noise(60_000, 2)), "pgdata/base/three": file(text(90_000, 3))}
			id := backUp(t, r, want)
			other := backUp(t, r, set{"pgdata/four": file(noise(300_000, 4))})
			name := ""
			for _, n := range names(t, r.bucket, "data/") {
				if len(readObject(t, r.bucket, n)) > 100_000 && len(readObject(t, r.bucket, n)) < 300_000 {
					name = n
				}
			}
			d := damageRig{objects: map[string][]byte{}}
			for _, n := range names(t, r.bucket, "data/") {
				d.objects[n] = readObject(t, r.bucket, n)
			}
			if bad := d.damages(name)[what]; bad != nil {
				overwrite(t, filepath.Join(dir, name), bad)
			} else if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			fixed := repairIndex(t, r, RepairIndexOptions{ReadData: true})
			got := repairSnapshots(t, r, RepairSnapshotsOptions{Forget: true, Tags: []string{"damaged=yes"}})
			if fixed.Lost() == 0 || got.Whole != 1 || len(got.Repaired) != 1 || !got.Repaired[0].Forgotten || len(got.Repaired[0].Lost) != fixed.Lost() {
				t.Fatalf("got %+v, then %+v", fixed, got)
			}
			s, err := r.Snapshot(t.Context(), got.Repaired[0].New)
			if err != nil {
				t.Fatal(err)
			}
			if from, _ := s.Tag(RepairedFromTag); from != id || s.Original != id || !s.Time.Equal(testTime) || !slices.Contains(s.Tags, "damaged=yes") || !slices.Contains(s.Tags, "set=1001") {
				t.Errorf("got %+v", s)
			}
			restic(t, dir, "check")
			to := t.TempDir()
			restic(t, dir, "restore", s.ID, "--target", to)
			left := maps.Clone(want)
			for _, l := range got.Repaired[0].Lost {
				delete(left, l.Path)
			}
			compare(t, readDisk(t, to), left)
			readSet(t, r, other)
		})
	}
}

// TestRepairKeepsWhatItDoesNotKnow repairs what restic has written: nodes that stay
// are the same to the byte.
func TestRepairKeepsWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	src := filepath.Join(t.TempDir(), "src")
	want := oddSmall()
	want["pgdata/lost"] = file(noise(600_000, 9))
	writeDisk(t, src, want)
	r, dir := newDirRepository(t)
	restic(t, dir, "backup", src)
	if err := os.Remove(filepath.Join(dir, largest(t, r))); err != nil {
		t.Fatal(err)
	}
	repairIndex(t, r, RepairIndexOptions{})
	want["pgdata/again"] = file(noise(600_000, 10))
	if err := os.WriteFile(filepath.Join(src, "pgdata", "again"), noise(600_000, 10), 0o600); err != nil {
		t.Fatal(err)
	}
	got := repairSnapshots(t, r, RepairSnapshotsOptions{Forget: true})
	if len(got.Repaired) != 1 || !got.Repaired[0].Forgotten {
		t.Fatalf("got %+v", got)
	}
	restic(t, dir, "check", "--read-data")
	wantWhole(t, r)
	// A backup over the same files, unchanged but for those that are new, is the proof:
	// restic finds no node changed that was left.
	out := restic(t, dir, "diff", got.Repaired[0].New, resticBackup(t, dir, src))
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "M") || strings.HasPrefix(line, "U") || strings.HasPrefix(line, "-  ") {
			t.Errorf("restic diff: %s", line)
		}
	}
}

func resticBackup(t testing.TB, dir, src string) string {
	t.Helper()
	restic(t, dir, "backup", src)
	r := openDir(t, dir)
	all, err := r.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all[len(all)-1].ID
}

func oddSmall() set {
	s := set{}
	for p, n := range oddSet() {
		if len(n.data) < 1000 {
			s[p] = n
		}
	}
	return s
}

func TestNoticeInARepairedSet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		s    set
		lose string // the file whose pieces go; all below it when it ends in a slash
		old  string // what is handed to the notice
		want bool
	}{
		{"it is whole", set{"holdfast/set.json": file([]byte("whole")), "pgdata/one": file(noise(80_000, 1))}, "pgdata/one", "whole", true},
		{"it is among others", set{"holdfast/a": file([]byte("a")), "holdfast/set.json": file([]byte("whole")), "holdfast/z": file([]byte("z")), "pgdata/one": file(noise(80_000, 1))}, "pgdata/one", "whole", true},
		{"it is lost", set{"holdfast/set.json": file(noise(80_000, 2)), "pgdata/one": file([]byte("x"))}, "holdfast/set.json", "", true},
		{"there was none", set{"pgdata/one": file(noise(80_000, 1)), "pgdata/two": file([]byte("x"))}, "pgdata/one", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, mem.New())
			// Each file in a pack of its own, by a backup of its own before.
			for p, n := range c.s {
				if p != c.lose {
					backUp(t, r, set{p: n})
				}
			}
			before := names(t, r.bucket, "data/")
			backUp(t, r, set{c.lose: c.s[c.lose]})
			var pack string
			for _, n := range names(t, r.bucket, "data/") {
				if !slices.Contains(before, n) && len(readObject(t, r.bucket, n)) > 70_000 {
					pack = n
				}
			}
			id := backUp(t, r, c.s)
			deleteObject(t, r.bucket, pack)
			repairIndex(t, r, RepairIndexOptions{})
			calls := 0
			o := RepairSnapshotsOptions{Snapshots: []string{id}, Notice: Notice{
				Path: "holdfast/set.json", Limit: 1 << 20,
				Write: func(old []byte, s Snapshot, lost []LostNode) ([]byte, error) {
					calls++
					if string(old) != c.old || s.ID != id || len(lost) != 1 || lost[0].Path != c.lose {
						t.Errorf("got %q, %+v, %+v", old, s, lost)
					}
					return []byte("notice of " + lost[0].Path), nil
				},
			}}
			got := repairSnapshots(t, r, o)
			want := maps.Clone(c.s)
			delete(want, c.lose)
			if c.want {
				want["holdfast/set.json"] = file([]byte("notice of " + c.lose))
			}
			if c.lose == "holdfast/set.json" {
				n := want[c.lose]
				n.mode = c.s[c.lose].mode
				want[c.lose] = n
			}
			compare(t, readSet(t, r, got.Repaired[0].New), want)
			if (calls == 1) != c.want {
				t.Errorf("%d calls", calls)
			}
			if again := repairSnapshots(t, r, o); again.Repaired[0].New != got.Repaired[0].New || !again.Repaired[0].There {
				t.Errorf("again: got %+v", again)
			}
		})
	}
}

// TestForgetComesLast cuts a repair off at each of its writes: the snapshot, or the one
// that takes its place, is always there.
func TestForgetComesLast(t *testing.T) {
	t.Parallel()
	cut := errors.New("the machine is gone")
	base := mem.New()
	r := newRepository(t, base)
	backUp(t, r, set{"pgdata/one": file(noise(80_000, 1))})
	lost := largest(t, r)
	want := set{"pgdata/one": file(noise(80_000, 1)), "pgdata/two": file(noise(90_000, 2)), "pgdata/sub/three": file([]byte("3"))}
	id := backUp(t, r, want)
	delete(want, "pgdata/one")
	deleteObject(t, base, lost)
	repairIndex(t, r, RepairIndexOptions{})
	whole := map[string][]byte{}
	for _, name := range names(t, base, "") {
		whole[name] = readObject(t, base, name)
	}
	d := damageRig{objects: whole}
	for _, op := range []fault.Op{fault.Put, fault.Delete} {
		for n := 1; ; n++ {
			b := d.bucket(t, "", nil)
			f := fault.Wrap(b)
			f.Add(fault.Call(op, n, func(string) {
				for _, op := range []fault.Op{fault.Put, fault.Get, fault.Stat, fault.List, fault.Delete} {
					f.Add(fault.On(op, fault.Every, cut))
				}
			}))
			o := RepairSnapshotsOptions{Snapshots: []string{id}, Forget: true}
			_, err := r.on(f).RepairSnapshots(t.Context(), o)
			left, err2 := r.on(b).Snapshots(t.Context())
			if err2 != nil {
				t.Fatal(err2)
			}
			found := ""
			for _, s := range left {
				if from, _ := s.Tag(RepairedFromTag); from == id {
					found = s.ID
					compare(t, readSet(t, r.on(b), s.ID), want)
				} else if s.ID == id {
					found = id
				}
			}
			if found == "" {
				t.Errorf("cut at %s %d: nothing is left of the snapshot: %+v", op, n, left)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, cut) {
				t.Errorf("cut at %s %d: got %v", op, n, err)
			}
			if _, err := r.on(b).Unlock(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			if _, err := r.on(b).Snapshot(t.Context(), id); err == nil {
				got := repairSnapshots(t, r.on(b), o)
				compare(t, readSet(t, r.on(b), got.Repaired[0].New), want)
			}
		}
	}
}

// TestNothingIsForgottenForPacksThatAreAway takes packs away, as a disk that is not mounted
// does, and brings them back.
func TestNothingIsForgottenForPacksThatAreAway(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	want := set{"pgdata/one": file(noise(80_000, 1))}
	id := backUp(t, r, want)
	backUp(t, r, set{"pgdata/two": file(noise(90_000, 2))})
	all := map[string][]byte{}
	for _, name := range names(t, b, kindPack().prefix) {
		all[name] = readObject(t, b, name)
	}
	snapshots := func() int { return len(names(t, b, kindSnapshot().prefix)) }
	refuse := func(o RepairSnapshotsOptions, code holdfast.Code, word string) {
		t.Helper()
		if _, err := r.RepairSnapshots(t.Context(), o); holdfast.ErrorCode(err) != code || !strings.Contains(holdfast.ErrorMessage(err), word) {
			t.Errorf("%+v: got %v, want %s with %q", o, err, code, word)
		}
		if n := snapshots(); n != 2 {
			t.Fatalf("there are %d snapshots, want the 2 from before", n)
		}
	}

	lost := largest(t, r)
	deleteObject(t, b, lost)
	refuse(RepairSnapshotsOptions{Forget: true}, holdfast.CodeConflict, "1 are not there")
	for name := range all {
		if name != lost {
			deleteObject(t, b, name)
		}
	}
	refuse(RepairSnapshotsOptions{Forget: true}, holdfast.CodeInvalid, "not one is there")
	refuse(RepairSnapshotsOptions{}, holdfast.CodeInvalid, "not one is there")
	for name, data := range all {
		if err := b.Put(t.Context(), name, data); err != nil {
			t.Fatal(err)
		}
	}
	if got := repairSnapshots(t, r, RepairSnapshotsOptions{Forget: true}); got.Whole != 2 || len(got.Repaired) != 0 {
		t.Errorf("with every pack back: got %+v", got)
	}
	compare(t, readSet(t, r, id), want)
}

// TestWhatMayPassIsNotLost repairs while the store does not answer: nothing is given up.
func TestWhatMayPassIsNotLost(t *testing.T) {
	t.Parallel()
	d := newDamageRig(t)
	for name := range d.objects {
		if strings.HasPrefix(name, "snapshots/") && name != "snapshots/"+d.order[0] {
			delete(d.objects, name) // fewer calls
		}
	}
	for _, code := range []holdfast.Code{holdfast.CodeUnavailable, holdfast.CodeInternal} {
		for _, op := range []fault.Op{fault.Get, fault.List} {
			for n := 1; ; n++ {
				b := d.bucket(t, "", nil)
				r, err := Open(t.Context(), b, testSecret())
				if err != nil {
					t.Fatal(err)
				}
				before := names(t, b, "")
				f := fault.Wrap(b, fault.On(op, n, holdfast.Errorf(code, "not now")))
				_, err = r.on(f).RepairIndex(t.Context(), RepairIndexOptions{ReadData: true, Workers: 1})
				_, err2 := r.on(f).RepairSnapshots(t.Context(), RepairSnapshotsOptions{Forget: true, Workers: 1})
				if err == nil && err2 == nil {
					break
				}
				if after := names(t, b, ""); !slices.Equal(before, after) {
					t.Fatalf("%s %d (%s) left\n%v\nof\n%v", op, n, code, after, before)
				}
			}
		}
	}
}

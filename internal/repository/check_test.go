package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
)

func check(t testing.TB, r *Repository, o CheckOptions) CheckResult {
	t.Helper()
	got, err := r.Check(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// wantClean checks that nothing was found.
func wantClean(t testing.TB, got CheckResult) {
	t.Helper()
	for _, f := range got.Findings {
		t.Errorf("%s %s: %s", f.Kind, f.Object, f.What)
	}
	if got.More != 0 || len(got.Affected) != 0 || got.Damaged() {
		t.Errorf("got %d more, and %v affected", got.More, got.Affected)
	}
}

func (r CheckResult) find(object string) *Finding {
	for i := range r.Findings {
		if r.Findings[i].Object == object {
			return &r.Findings[i]
		}
	}
	return nil
}

func ids(list []CheckedSnapshot) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.ID)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestCheckIsCleanAndWritesNothing(t *testing.T) {
	t.Parallel()
	inner := mem.New()
	r := newRepository(t, inner)
	shared := file(noise(3*blockSize, 1))
	for i := range 3 {
		backUp(t, r, set{"pgdata/shared": shared, fmt.Sprintf("pgdata/own %d", i): file(text(100_000, uint64(i+1)))})
	}
	before := names(t, inner, "")
	var puts []string
	b := fault.Wrap(inner, fault.Call(fault.Put, fault.Every, func(name string) { puts = append(puts, name) }))
	r = &Repository{bucket: b, key: r.key, config: r.config, clock: r.clock, slot: r.slot}
	for _, read := range []bool{false, true} {
		var last CheckProgress
		phases := map[string]bool{}
		got := check(t, r, CheckOptions{ReadData: read, Progress: func(p CheckProgress) { last = p; phases[p.Phase] = true }})
		wantClean(t, got)
		if got.Snapshots != 3 || got.Indexes != 3 || got.Packs != 6 || got.Trees != 6 || got.Blobs == 0 {
			t.Errorf("got %+v", got)
		}
		if (got.ReadPacks == 6) != read || (got.ReadBytes > 3*blockSize) != read {
			t.Errorf("read %v: got %d packs, %d bytes", read, got.ReadPacks, got.ReadBytes)
		}
		if len(phases) != 3 || last.Phase != "trees" || last.Done != 6 || last.Total != 6 {
			t.Errorf("got phases %v, and at the end %+v", phases, last)
		}
	}
	if after := names(t, inner, ""); !slices.Equal(before, after) {
		t.Errorf("before\n%v\nafter\n%v", before, after)
	}
	for _, name := range puts {
		if !strings.HasPrefix(name, "locks/") {
			t.Errorf("it wrote %s", name)
		}
	}
}

func TestCheckReadsWhatResticWrites(t *testing.T) {
	t.Parallel()
	src := filepath.Join(t.TempDir(), "src")
	writeDisk(t, src, oddSet())
	r, dir := newDirRepository(t)
	backUp(t, r, set{"a": file(text(1000, 1))})
	restic(t, dir, "backup", src)
	if err := os.WriteFile(filepath.Join(src, "more"), text(3_000_000, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	restic(t, dir, "backup", src)
	restic(t, dir, "forget", "--path", src, "--keep-last", "1", "--prune")
	old := filepath.Join(t.TempDir(), "version 1")
	restic(t, old, "init", "--repository-version", "1")
	restic(t, old, "backup", src)
	for _, c := range []struct {
		r         *Repository
		snapshots int
	}{{r, 2}, {openDir(t, old), 1}} {
		got := check(t, c.r, CheckOptions{ReadData: true})
		wantClean(t, got)
		if got.Snapshots != c.snapshots || got.ReadPacks != got.Packs || got.Packs == 0 {
			t.Errorf("got %+v", got)
		}
	}
}

// damageRig is a small repository, whole, and what it restores to.
type damageRig struct {
	objects map[string][]byte
	sets    map[string]set // by snapshot
	order   []string       // snapshots
	kit     holdfast.Secret
}

func newDamageRig(t testing.TB) damageRig {
	t.Helper()
	b := mem.New()
	r := newRepository(t, b)
	d := damageRig{objects: map[string][]byte{}, sets: map[string]set{}, kit: holdfast.NewSecret("kit")}
	if _, err := addKey(t.Context(), b, r.key, d.kit, UseKit, crypt.Params{N: 16, R: 8, P: 1}, r.now()); err != nil {
		t.Fatal(err)
	}
	shared := file(text(200_000, 9))
	for _, s := range []set{
		{"pgdata": directory(), "pgdata/one": file(noise(50_000, 1)), "pgdata/base/shared": shared, "pgdata/empty": file(nil)},
		{"pgdata": directory(), "pgdata/two": file(text(blockSize+9000, 2)), "pgdata/base/shared": shared},
		{"pgdata": directory(), "pgdata/three": file(noise(30_000, 3)), "pgdata/link": symlink("three")},
	} {
		id := backUp(t, r, s)
		d.sets[id] = s
		d.order = append(d.order, id)
	}
	for _, name := range names(t, b, "") {
		d.objects[name] = readObject(t, b, name)
	}
	return d
}

func readObject(t testing.TB, b objstore.Bucket, name string) []byte {
	t.Helper()
	data, err := objstore.ReadAll(t.Context(), b, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// bucket holds the objects with one of them changed; nil: it is gone.
func (d damageRig) bucket(t testing.TB, name string, data []byte) *mem.Bucket {
	t.Helper()
	b := mem.New()
	for n, whole := range d.objects {
		if n == name {
			if whole = data; whole == nil {
				continue
			}
		}
		if err := b.Put(t.Context(), n, whole); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// damages are the ways in which the object can go bad.
func (d damageRig) damages(name string) map[string][]byte {
	whole := d.objects[name]
	out := map[string][]byte{"deleted": nil, "emptied": {}, "cut in half": whole[:len(whole)/2], "cut by one": whole[:len(whole)-1]}
	for _, at := range []int{0, 20, len(whole) / 3, len(whole) - 30, len(whole) - 1} {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x20
		out[fmt.Sprintf("flipped at %d", at)] = bad
	}
	kind, _, _ := strings.Cut(name, "/")
	for _, other := range slices.Sorted(maps.Keys(d.objects)) {
		if strings.HasPrefix(other, kind+"/") && other != name {
			out["swapped"] = d.objects[other]
		}
	}
	return out
}

// restoreEach restores every file of a snapshot on its own and returns those that
// fail; what comes back must be right. An error means that nothing can be had.
func (d damageRig) restoreEach(t testing.TB, b objstore.Bucket, password holdfast.Secret, id string) (failed []string, err error) {
	t.Helper()
	r, err := Open(t.Context(), b, password)
	if err != nil {
		return nil, err
	}
	rd, err := r.NewReader(t.Context(), id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rd.Close()) }()
	for p, n := range d.sets[id] {
		if !n.mode.IsRegular() {
			continue
		}
		f := &memFile{}
		err := rd.Fetch(t.Context(), []engine.Target{{Path: p, Open: func() (engine.TargetFile, error) { return f, nil }}})
		switch {
		case err == nil && !bytes.Equal(f.data, n.data):
			t.Errorf("%q came back wrong, without an error", p)
		case err != nil && holdfast.ErrorCode(err) != holdfast.CodeInvalid:
			t.Errorf("%q: got %v", p, err)
		case err != nil:
			failed = append(failed, p)
		}
	}
	if err := rd.Walk(t.Context(), func(engine.Node) error { return nil }); err != nil {
		failed = append(failed, "/")
	}
	return failed, nil
}

// TestEveryDamageIsNamed damages every object in every way: check names it and the
// snapshots that do not restore any more, and the others do.
func TestEveryDamageIsNamed(t *testing.T) {
	t.Parallel()
	d := newDamageRig(t)
	for name := range d.objects {
		kind, _, _ := strings.Cut(name, "/")
		for what, data := range d.damages(name) {
			t.Run(kind+" "+what, func(t *testing.T) {
				t.Parallel()
				d.try(t, name, what, data)
			})
		}
	}
}

func (d damageRig) try(t *testing.T, name, what string, data []byte) {
	t.Helper()
	kind, id, _ := strings.Cut(name, "/")
	r, err := Open(t.Context(), d.bucket(t, "", nil), testSecret()) // opened while it was whole
	if err != nil {
		t.Fatal(err)
	}
	b := d.bucket(t, name, data)
	r.bucket = b
	got := check(t, r, CheckOptions{ReadData: true, Recorded: func(context.Context) ([]string, error) { return d.order, nil }})
	if kind == "keys" && what == "deleted" {
		wantClean(t, got) // a slot may be taken away at any time
	} else if f := got.find(name); f == nil && (kind != "index" || what != "deleted") {
		t.Errorf("it is not named: got %+v", got.Findings)
	} else if f != nil && (f.Kind.IsWarning() || f.What == "" || f.Hint == "") {
		t.Errorf("got %+v", *f)
	} else if f != nil && kind != "keys" && !slices.Equal(ids(f.Affected), ids(got.Affected)) {
		t.Errorf("it affects %v, and all findings %v", ids(f.Affected), ids(got.Affected))
	}
	if kind == "index" && what == "deleted" && got.Findings[0].Kind != FindingUnindexed {
		t.Errorf("got %+v", got.Findings)
	}
	opens := 0
	var bad []string
	for _, password := range []holdfast.Secret{testSecret(), d.kit} {
		if _, err := Open(t.Context(), b, password); err != nil {
			continue
		}
		opens++
		bad = nil
		for _, snapshot := range d.order {
			failed, err := d.restoreEach(t, b, password, snapshot)
			if len(failed) > 0 || err != nil {
				bad = append(bad, snapshot)
			}
			if kind == "data" && strings.HasPrefix(what, "flipped") && err != nil {
				t.Errorf("snapshot %s: nothing can be had: %v", snapshot, err)
			}
		}
		slices.Sort(bad)
		if !slices.Equal(ids(got.Affected), bad) {
			t.Errorf("check says that %v are affected; %v do not restore", ids(got.Affected), bad)
		}
	}
	if want := map[string]int{"config": 0, "keys": 1}[kind]; (kind == "config" || kind == "keys") && opens != want {
		t.Errorf("%d passwords open it, want %d", opens, want)
	}
	if kind == "config" && len(got.Affected) != len(d.order) {
		t.Errorf("got %v", got.Affected)
	}
	if kind == "snapshots" && !slices.Equal(bad, []string{id}) {
		t.Errorf("got %v", bad)
	}
}

// TestDamageWithoutReading: what sizes and trees show is found without reading the
// packs, and what is in no index says so.
func TestDamageWithoutReading(t *testing.T) {
	t.Parallel()
	d := newDamageRig(t)
	for name, whole := range d.objects {
		if !strings.HasPrefix(name, "data/") {
			continue
		}
		for what, data := range map[string][]byte{"deleted": nil, "cut": whole[:len(whole)/2]} {
			b := d.bucket(t, name, data)
			r, err := Open(t.Context(), b, testSecret())
			if err != nil {
				t.Fatal(err)
			}
			got := check(t, r, CheckOptions{})
			if f := got.find(name); f == nil || len(f.Affected) == 0 || f.Places == 0 || f.Example == "" || !got.Damaged() {
				t.Errorf("%s: got %+v", what, got.Findings)
			}
		}
	}
}

// TestBrokenStockResticAgrees: what check finds, the stock restic finds, too.
func TestBrokenStockResticAgrees(t *testing.T) {
	t.Parallel()
	d := newDamageRig(t)
	for _, kind := range []string{"data/", "index/", "snapshots/"} {
		for name, whole := range d.objects {
			if !strings.HasPrefix(name, kind) {
				continue
			}
			bad := bytes.Clone(whole)
			bad[len(bad)/2] ^= 1
			dir := t.TempDir()
			for n, data := range d.objects {
				if n == name {
					data = bad
				}
				writeFile(t, filepath.Join(dir, n), data)
			}
			cmd := exec.CommandContext(t.Context(), "restic", "-r", dir, "--no-cache", "check", "--read-data")
			cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+testPassword)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Errorf("%s: restic finds nothing:\n%s", name, out)
			}
			if got := check(t, openDir(t, dir), CheckOptions{ReadData: true}); got.find(name) == nil {
				t.Errorf("%s: got %+v", name, got.Findings)
			}
			break
		}
	}
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSubsetsAreThoseOfRestic counts what each part reads.
func TestSubsetsAreThoseOfRestic(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	for i := range 5 {
		backUp(t, r, set{fmt.Sprint(i): file(text(10_000, uint64(i)))})
	}
	const parts = 3
	total := 0
	for part := 1; part <= parts; part++ {
		got := check(t, r, CheckOptions{ReadData: true, Subset: Subset{part, parts}})
		wantClean(t, got)
		total += got.ReadPacks
		out := restic(t, dir, "check", fmt.Sprintf("--read-data-subset=%d/%d", part, parts))
		want := "0"
		if m := regexp.MustCompile(`(\d+) / \d+ packs`).FindStringSubmatch(out); m != nil {
			want = m[1]
		}
		if fmt.Sprint(got.ReadPacks) != want {
			t.Errorf("%d/%d: got %d packs, restic %s\n%s", part, parts, got.ReadPacks, want, out)
		}
	}
	if total != 10 {
		t.Errorf("the parts have %d packs, of 10", total)
	}
	for _, s := range []Subset{{0, 1}, {2, 1}, {1, 257}, {-1, 3}} {
		_, err := r.Check(t.Context(), CheckOptions{ReadData: true, Subset: s})
		wantError(t, err, holdfast.CodeInvalid, "share")
	}
}

// TestCheckTellsDamageFromAbsence: a store that cannot be reached is no damage.
func TestCheckTellsDamageFromAbsence(t *testing.T) {
	t.Parallel()
	inner := mem.New()
	whole := newRepository(t, inner)
	backUp(t, whole, set{"a": file(text(1000, 1))})
	away := holdfast.Errorf(holdfast.CodeUnavailable, "away")
	for n := 1; ; n++ {
		failed := false
		b := fault.Wrap(inner, fault.Call(fault.Get, n, func(string) { failed = true }), fault.On(fault.Get, n, away))
		r := &Repository{bucket: b, key: whole.key, config: whole.config, clock: whole.clock, slot: whole.slot}
		got, err := r.Check(t.Context(), CheckOptions{ReadData: true, Workers: 1})
		if !failed {
			wantClean(t, got)
			if n < 6 {
				t.Errorf("only %d reads", n)
			}
			break
		}
		if !errors.Is(err, away) {
			t.Errorf("read %d failed: got %v, %+v", n, err, got)
		}
	}
	if left := names(t, inner, "locks/"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestAReadErrorIsNoted: a disk that cannot give one object does not end the check.
func TestAReadErrorIsNoted(t *testing.T) {
	t.Parallel()
	inner := mem.New()
	r := newRepository(t, inner)
	id := backUp(t, r, set{"a": file(noise(1000, 1))})
	b := fault.Wrap(inner)
	for _, name := range names(t, inner, "data/") {
		b.Add(fault.On(fault.Get, fault.Every, errors.New("input/output error")).Named(name))
	}
	r.bucket = b
	got := check(t, r, CheckOptions{ReadData: true})
	if len(got.Findings) != 2 || got.Findings[0].Kind != FindingUnreadable || !slices.Equal(ids(got.Affected), []string{id}) {
		t.Errorf("got %+v", got)
	}
}

func TestCheckIsCancelled(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	backUp(t, r, set{"a": file(noise(1000, 1)), "b/c": file(noise(1000, 2))})
	enough := errors.New("enough")
	for _, phase := range []string{"index", "packs", "trees"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err := r.Check(ctx, CheckOptions{ReadData: true, Progress: func(p CheckProgress) {
			if p.Phase == phase {
				cancel(enough)
			}
		}})
		if !errors.Is(err, enough) {
			t.Errorf("%s: got %v", phase, err)
		}
	}
	if left := names(t, b, "locks/"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestLeftoversAreWarnings: what an interrupted backup leaves is no damage, and
// while somebody writes it is not even said.
func TestLeftoversAreWarnings(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	backUp(t, r, set{"a": file(noise(1000, 1))})
	before := names(t, b, "index/")
	backUp(t, r, set{"b": file(noise(1000, 2))})
	all, err := r.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		rd, err := r.NewReader(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		_, err = rd.ReadFile(t.Context(), "b", 1<<20)
		if err := errors.Join(rd.Close()); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			if err := r.RemoveSnapshot(t.Context(), s.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantClean(t, check(t, r, CheckOptions{ReadData: true})) // indexed and unused: a prune's business
	for _, name := range names(t, b, "index/") {
		if !slices.Contains(before, name) {
			if err := b.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := check(t, r, CheckOptions{ReadData: true})
	if len(got.Findings) != 2 || got.Damaged() || got.Findings[0].Kind != FindingUnused {
		t.Errorf("got %+v", got.Findings)
	}
	w := newWriter(t, r)
	wantClean(t, check(t, r, CheckOptions{ReadData: true}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	data := readObject(t, b, before[0])
	plain, err := decodeObject(r.key, data, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.save(t.Context(), kindIndex(), plain); err != nil {
		t.Fatal(err)
	}
	got = check(t, r, CheckOptions{})
	if len(got.Findings) != 4 || got.Damaged() || got.Findings[0].Kind.IsWarning() != true || got.Findings[0].Object[:5] != "data/" {
		t.Errorf("got %+v", got.Findings)
	}
}

// TestADamagedLockIsNamed: it keeps everybody out until it is removed.
func TestADamagedLockIsNamed(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	id := backUp(t, r, set{"a": file(noise(1000, 1))})
	lock := kindLock().name(putLock(t, r, lockJSON{Time: r.now(), Hostname: "other", PID: 1}))
	data := readObject(t, b, lock)
	for what, bad := range map[string][]byte{"emptied": {}, "cut": data[:40], "flipped": append(bytes.Clone(data[:len(data)-1]), data[len(data)-1]^1)} {
		replace(t, b, lock, bad)
		got := check(t, r, CheckOptions{ReadData: true})
		if f := got.find(lock); f == nil || f.Kind != FindingLock || len(got.Findings) != 1 || len(got.Affected) != 0 {
			t.Errorf("%s: got %+v", what, got)
		}
		_, err := fetchAll(t, r, id)
		wantError(t, err, holdfast.CodeConflict, lock[len("locks/"):])
	}
	if _, err := r.Unlock(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := fetchAll(t, r, id); err != nil {
		t.Error(err)
	}
}

// TestCheckTellsDamageBehindWarnings has more warnings than a check keeps before the
// first damage.
func TestCheckTellsDamageBehindWarnings(t *testing.T) {
	t.Parallel()
	c := &checker{}
	for range maxFindings + 1 {
		c.report(Finding{Kind: FindingUnused})
	}
	c.report(Finding{Kind: FindingMissing, Object: "data/00"})
	for _, f := range c.findings {
		c.result.Findings = append(c.result.Findings, f.Finding)
	}
	if c.result.find("data/00") == nil || !c.result.Damaged() || c.result.More != 1 {
		t.Errorf("got %d findings, %d more, damaged %t", len(c.result.Findings), c.result.More, c.result.Damaged())
	}
}

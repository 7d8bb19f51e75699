package pgphysical

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

func TestWentBack(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	from := engine.Moment{Time: at, Boot: "a", Uptime: time.Hour}
	for name, c := range map[string]struct {
		boot         string
		clock, alive time.Duration // since from
		want         bool
	}{
		"time goes on":                      {"a", time.Minute, time.Minute, false},
		"the two clocks are read in turn":   {"a", time.Minute, time.Minute + 6*time.Millisecond, false},
		"the clock was set forward":         {"a", time.Hour, time.Minute, false},
		"set back by a second":              {"a", 24*time.Hour - time.Second, 24 * time.Hour, true},
		"set back behind the beginning":     {"a", -time.Second, time.Minute, true},
		"another start of the machine":      {"b", time.Minute, -59 * time.Minute, false},
		"a clock that starts in the past":   {"b", -time.Minute, -59 * time.Minute, true},
		"a machine put back to a moment":    {"a", 5 * time.Hour, -30 * time.Minute, true},
		"a machine that cannot tell starts": {"", time.Minute, 0, false},
	} {
		first := from
		if c.boot == "" {
			first.Boot = ""
		}
		to := engine.Moment{Time: at.Add(c.clock), Boot: c.boot, Uptime: first.Uptime + c.alive}
		if got := wentBack(first, to); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	first := moment()
	if second := moment(); wentBack(first, second) || first.Time.IsZero() {
		t.Errorf("the machine's clock goes back from %+v to %+v", first, second)
	}
}

func TestTrustable(t *testing.T) {
	t.Parallel()
	for place, want := range map[string]bool{
		"base/5/16384": true, "base/5/16384.1": true, "base/5/16384_vm": true, "base/5/16384_fsm": true, "base/5/16384_init": true,
		"global/1262": true, "pg_tblspc/16390/PG_15_202209061/5/16391": true,
		"pg_xact/0000": true, "pg_multixact/offsets/0001": true, "pg_multixact/members/00AF": true, "pg_commit_ts/0000": true,
		"global/pg_control": false, "global/pg_filenode.map": false, "base/5/pg_filenode.map": false, "PG_VERSION": false, "base/5/PG_VERSION": false,
		"backup_label": false, "backup_label.old": false, "tablespace_map": false, "postgresql.conf": false, "postgresql.auto.conf": false,
		"pg_wal/000000010000000000000001": false, "pg_wal/00000002.history": false, "pg_twophase/00000001": false,
		"pg_xact/": false, "pg_xact/odd": false, "pg_stat/pgstat.stat": false, "pg_logical/replorigin_checkpoint": false, "log/0000": false, "odd/16384": false,
	} {
		if got := trustable(place); got != want {
			t.Errorf("%s: got %v", place, got)
		}
	}
}

func TestSameFile(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	older := start.Add(-trustAge)
	old := engine.Node{Size: 8192, Inode: 12, ModTime: older.Add(-time.Nanosecond), ChangeTime: older.Add(-time.Nanosecond)}
	tr := &trust{older: older, sums: map[string]listed{"base/5/1": {size: 8192}, "base/5/2": {size: 16384}}}
	for name, c := range map[string]struct {
		edit  func(now, base *engine.Node)
		place string
		want  bool
	}{
		"nothing has changed":                    {func(_, _ *engine.Node) {}, "base/5/1", true},
		"in another zone":                        {func(_, b *engine.Node) { b.ModTime = b.ModTime.In(time.FixedZone("x", 3600)) }, "base/5/1", true},
		"another size":                           {func(n, _ *engine.Node) { n.Size += 8192 }, "base/5/1", false},
		"another inode":                          {func(n, _ *engine.Node) { n.Inode++ }, "base/5/1", false},
		"another mtime":                          {func(n, _ *engine.Node) { n.ModTime = n.ModTime.Add(-1) }, "base/5/1", false},
		"mtime set back by hand":                 {func(n, _ *engine.Node) { n.ChangeTime = start.Add(time.Hour) }, "base/5/1", false},
		"mtime within two seconds of the start":  {func(n, b *engine.Node) { n.ModTime, b.ModTime = older, older }, "base/5/1", false},
		"ctime within two seconds of the start":  {func(n, b *engine.Node) { n.ChangeTime, b.ChangeTime = older, older }, "base/5/1", false},
		"changed after the start":                {func(n, b *engine.Node) { n.ChangeTime, b.ChangeTime = start.Add(1), start.Add(1) }, "base/5/1", false},
		"no inode":                               {func(n, b *engine.Node) { n.Inode, b.Inode = 0, 0 }, "base/5/1", false},
		"no ctime":                               {func(n, b *engine.Node) { n.ChangeTime, b.ChangeTime = time.Time{}, time.Time{} }, "base/5/1", false},
		"a base that was written before inodes":  {func(_, b *engine.Node) { b.Inode, b.ChangeTime = 0, time.Time{} }, "base/5/1", false},
		"a file that the manifest does not list": {func(_, _ *engine.Node) {}, "base/5/3", false},
		"one that it lists with another size":    {func(_, _ *engine.Node) {}, "base/5/2", false},
	} {
		now, base := old, old
		c.edit(&now, &base)
		if got := tr.same(entry{node: now, cluster: c.place}, base); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestDistrust(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	moment := func(d time.Duration) engine.Moment {
		return engine.Moment{Time: at.Add(d), Boot: "a", Uptime: time.Hour + d}
	}
	for name, c := range map[string]struct {
		edit  func(*backup)
		words string
	}{
		"a delta":              {func(*backup) {}, ""},
		"the sixth delta":      {func(b *backup) { b.base.Result.Reading.Trusting = 5 }, ""},
		"the seventh delta":    {func(b *backup) { b.base.Result.Reading.Trusting = 6 }, "6 deltas in a row"},
		"a full":               {func(b *backup) { b.runType = holdfast.RunFull }, "FULL reads every file"},
		"a cumulative":         {func(b *backup) { b.runType = holdfast.RunCumulative }, "CUMULATIVE reads every file"},
		"an old base":          {func(b *backup) { b.base.Result.Reading = nil }, "does not say how"},
		"a logical base":       {func(b *backup) { b.base.Result.Physical = nil }, "does not say how"},
		"another cluster":      {func(b *backup) { b.control.SystemIdentifier++ }, "another cluster"},
		"another timeline":     {func(b *backup) { b.control.Timeline++ }, "on timeline 1, and the server on 2"},
		"a restored directory": {func(b *backup) { b.reading.Directory = "another" }, "was restored"},
		"a nameless directory": {func(b *backup) { b.base.Result.Reading.Directory, b.reading.Directory = "", "" }, "was restored"},
		"a clock that went back since the base": {
			func(b *backup) { b.reading.Began.Time = b.reading.Began.Time.Add(-time.Minute) }, "clock has gone back",
		},
		"a clock that went back under the base": {
			func(b *backup) { b.base.Result.Reading.Ended.Time = at.Add(time.Second) }, "clock has gone back",
		},
		"a server put back to a moment":        {func(b *backup) { b.start = 899 }, "has gone back to 0/383, behind the end of the base, 0/384"},
		"a machine that was started anew":      {func(b *backup) { b.reading.Began.Boot = "b" }, "started anew"},
		"a damaged base":                       {func(b *backup) { b.base.Result.Damaged = "1 page" }, "the base is damaged"},
		"a directory on a network file system": {func(b *backup) { b.foreign = "/x lies on NFS" }, "/x lies on NFS"},
		"a file of the future":                 {func(b *backup) { b.future = "base/5/1" }, "base/5/1 was changed at a time that is still to come"},
	} {
		b := &backup{
			runType: holdfast.RunDelta, data: &dataDir{path: dir}, spaces: map[uint32]string{16400: dir, 16401: "pg_tblspc/16401"},
			control: pg.Control{SystemIdentifier: 7, Timeline: 1}, start: 1000, reading: engine.Reading{Began: moment(time.Hour), Directory: "one"},
			base: &engine.Base{Result: engine.Result{
				Reading:  &engine.Reading{Began: moment(0), Ended: moment(time.Minute), Directory: "one"},
				Physical: &holdfast.PhysicalFacts{SystemIdentifier: 7, Timeline: 1, StopLSN: 900},
			}},
		}
		c.edit(b)
		if got := b.distrust(); (got == "") != (c.words == "") || !strings.Contains(got, c.words) {
			t.Errorf("%s: got %q, want %q", name, got, c.words)
		}
	}
}

// TestForeignDirectories: wherever it lies, a directory whose file system is not known
// to take its times from this machine keeps files from being trusted.
func TestForeignDirectories(t *testing.T) {
	t.Parallel()
	for dir, foreign := range map[string]bool{t.TempDir(): false, "/proc": true, "/nowhere": true} {
		b := &backup{}
		if err := b.count(entry{source: dir, node: engine.Node{Mode: os.ModeDir}}); err != nil {
			t.Fatal(err)
		}
		if (b.foreign != "") != foreign || foreign && !strings.Contains(b.foreign, dir) {
			t.Errorf("%s: got %q", dir, b.foreign)
		}
	}
}

// TestLinkedRelationsAreRead: a relation behind a link of its own may lie anywhere.
func TestLinkedRelationsAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, sub := range []string{"base/5", "pg_tblspc"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := filepath.Join(t.TempDir(), "1")
	for _, name := range []string{elsewhere, filepath.Join(dir, "base/5/2")} {
		if err := os.WriteFile(name, []byte("page"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, "base/5/1")); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	w := &walker{root: dir, tablespaceDir: "PG_15_202209061", log: slog.New(slog.DiscardHandler), visit: func(e entry) error {
		if e.node.Mode.IsRegular() {
			got[e.cluster] = e.node.Inode != 0
		}
		return nil
	}}
	if err := w.walk(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := (map[string]bool{"base/5/1": false, "base/5/2": true}); !maps.Equal(got, want) {
		t.Errorf("inodes: got %v, want %v", got, want)
	}
}

// TestDirectoryMark: the mark changes with every restore, whoever made it, and with
// nothing that a running server does by itself.
func TestDirectoryMark(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "data")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]string{}
	step := func(name string, changes bool) {
		t.Helper()
		m, err := directoryMark(dir)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := seen[m]; ok == changes {
			t.Errorf("%s: changes %v, seen before: %q", name, !ok, before)
		}
		seen[m] = name
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	step("a new directory", true)
	write("postgresql.auto.conf", "work_mem = '1MB'\n")
	step("a setting", false)
	write("backup_label.old", "START")
	step("a restored backup has been started", true)
	write("postgresql.auto.conf", receiptPrefix+"1 of installation \"x\" from set 2.\n")
	step("restored by us", true)
	write("base", "")
	step("a file of the server's", false)
	if err := os.Rename(filepath.Join(dir, "backup_label.old"), filepath.Join(dir, "backup_label")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // a tick of the file system's clock
	write("backup_label.old", "START")
	step("the same backup restored and started again", true)
	if err := os.Rename(dir, dir+".before"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	step("an empty directory in its place", true)
}

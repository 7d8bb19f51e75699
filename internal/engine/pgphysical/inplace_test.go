package pgphysical_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// place is a cluster, and a set of it, in whose place the set is restored.
type place struct {
	*testkit.Postgres
	oids []uint32
	src  *enginetest.DirSink
	want map[string]testkit.Content // of the set
}

// newPlace backs a cluster up, and changes it then.
func newPlace(t *testing.T, tablespaces int) *place {
	t.Helper()
	p := &place{Postgres: testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: tablespaces}), src: enginetest.NewDirSink(t)}
	in := ""
	if tablespaces > 0 {
		in = "TABLESPACE ts1"
	}
	p.Exec(t, "", "CREATE TABLE a (i int PRIMARY KEY, v text) "+in)
	p.Exec(t, "", "INSERT INTO a SELECT i, md5(i::text) FROM generate_series(1, 1000) i")
	enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p.Postgres), p.src)
	p.oids, p.want = spacesOf(t, p.Postgres), p.Content(t)
	p.Exec(t, "", "DELETE FROM a WHERE i > 10")
	p.Exec(t, "", "CREATE TABLE b AS SELECT 1 AS later")
	return p
}

// inPlace asks for a restore into the site's place.
func (p *place) inPlace(t *testing.T) engine.Restore {
	t.Helper()
	spec := holdfast.RestoreSpec{Set: 1001, Site: 1001, Directory: p.DataDir, Tablespaces: map[uint32]string{}}
	for i, oid := range p.oids {
		spec.Tablespaces[oid] = p.Tablespaces[i]
	}
	site := siteOf(p.Postgres)
	site.Password = holdfast.Secret{}
	return engine.Restore{
		Installation: "here", Execution: 1002, Fence: 1, Spec: spec, InPlace: site, Roots: []string{filepath.Dir(p.DataDir)},
		Report: &enginetest.Report{}, Log: testkit.Logger(t),
	}
}

// check starts the server, looks at everything in it, and stops it.
func (p *place) check(t *testing.T) {
	t.Helper()
	verify(t, p.DataDir)
	p.Start(t)
	if got := p.Content(t); !reflect.DeepEqual(got, p.want) {
		t.Errorf("got %v, want %v", got, p.want)
	}
	testkit.Run(t, testkit.PGBin(t, "pg_amcheck"), "--all", "--install-missing", "--heapallindexed",
		"-h", p.SocketDir, "-p", strconv.Itoa(int(p.Port)), "-U", p.User)
	p.Stop(t, testkit.Fast)
}

// facts lists names, sizes and modes of all that lies in a directory.
func facts(t *testing.T, dir string) string {
	t.Helper()
	return testkit.Run(t, "find", dir, "-printf", `%P %s %m %U %l\n`)
}

func TestRestoreInPlace(t *testing.T) {
	t.Parallel()
	for _, mode := range []testkit.StopMode{testkit.Fast, testkit.Immediate, testkit.Kill} {
		t.Run(string(mode), func(t *testing.T) {
			p := newPlace(t, 2)
			pid := p.Pid()
			p.Stop(t, mode)
			req := p.inPlace(t)
			kept := engine.KeptAt(p.DataDir, 1002)
			if mode == testkit.Kill {
				if text := readFile(t, filepath.Join(p.DataDir, "postmaster.pid")); !strings.HasPrefix(text, strconv.Itoa(pid)) {
					t.Fatalf("the killed server has left %q", text)
				}
				waitProcesses(t, p.DataDir)
			}
			before, space := facts(t, p.DataDir), facts(t, p.Tablespaces[1])
			res := enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, p.src.Source())
			want := []engine.Kept{
				{Path: p.DataDir, At: kept},
				{Path: p.Tablespaces[0], At: engine.KeptAt(p.Tablespaces[0], 1002)},
				{Path: p.Tablespaces[1], At: engine.KeptAt(p.Tablespaces[1], 1002)},
			}
			if !slices.Equal(res.Kept, want) {
				t.Errorf("kept: got %v, want %v", res.Kept, want)
			}
			if facts(t, kept) != before || facts(t, want[2].At) != space {
				t.Error("what was moved aside was changed")
			}
			p.check(t)

			// The next one moves this one aside, and the first stays.
			req.Execution = 1003
			enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, p.src.Source())
			p.check(t)
			if facts(t, kept) != before {
				t.Error("what was moved aside first was changed")
			}
		})
	}
}

// waitProcesses waits until no process works in the directory: those of a server
// that was killed end a little later.
func waitProcesses(t *testing.T, dir string) {
	t.Helper()
	testkit.Run(t, "sh", "-c", `for i in $(seq 200); do
		busy=; for p in /proc/[0-9]*; do [ "$(readlink "$p/cwd" 2>/dev/null)" = "$1" ] && busy=1; done
		[ -z "$busy" ] && exit 0; sleep 0.05; done; exit 1`, "sh", dir)
}

// The set of one site goes into the place of another one, whose tablespace it takes.
func TestRestoreInPlaceOfAnotherSite(t *testing.T) {
	t.Parallel()
	from, to := newPlace(t, 1), newPlace(t, 1)
	to.Exec(t, "", "CREATE TABLE own TABLESPACE ts1 AS SELECT 1 AS i")
	to.Stop(t, testkit.Fast)
	was := facts(t, to.DataDir)
	req := to.inPlace(t)
	req.Spec.Tablespaces = map[uint32]string{from.oids[0]: to.Tablespaces[0]}
	link := filepath.Join(filepath.Dir(to.DataDir), "link")
	symlink(t, to.DataDir, link)
	req.Spec.Directory = link

	// The tablespaces of others stay where they are.
	live := req
	live.Spec.Tablespaces = map[uint32]string{from.oids[0]: from.Tablespaces[0]}
	live.Roots = []string{filepath.Dir(to.DataDir), filepath.Dir(from.DataDir)}
	refusedInPlace(t, live, from.src.Source(), holdfast.CodeInvalid, "is no tablespace of the cluster in", "by hand")

	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, from.src.Source())
	verify(t, to.DataDir)
	if facts(t, engine.KeptAt(to.DataDir, 1002)) != was {
		t.Error("what was moved aside was changed")
	}
	copied := testkit.StartRestored(t, to.DataDir)
	if got := copied.Content(t); !reflect.DeepEqual(got, from.want) {
		t.Errorf("got %v, want %v", got, from.want)
	}
	copied.Stop(t, testkit.Fast)
	if got := from.Value(t, "", "SELECT count(*) FROM a"); got != "10" {
		t.Errorf("the source: got %s rows, want 10", got)
	}
}

// refusedInPlace runs a restore that must fail and leave everything as it is.
func refusedInPlace(t *testing.T, req engine.Restore, src engine.Source, code holdfast.Code, words ...string) {
	t.Helper()
	dirs := []string{filepath.Dir(req.Spec.Directory)}
	for _, dir := range req.Spec.Tablespaces {
		dirs = append(dirs, filepath.Dir(dir))
	}
	all := func() (s string) {
		for _, dir := range dirs {
			s += tree(t, dir)
		}
		return s
	}
	before := all()
	res, err := pgphysical.New(pgphysical.Options{}).Restore(t.Context(), req, src)
	wantError(t, err, code, words...)
	if len(res.Kept) != 0 {
		t.Errorf("kept: got %v, want nothing", res.Kept)
	}
	if after := all(); after != before {
		t.Errorf("the refused restore has left %q, before there was %q", after, before)
	}
}

func TestRestoreInPlaceRefusesARunningServer(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 0)
	req := p.inPlace(t)
	pidFile := filepath.Join(p.DataDir, "postmaster.pid")
	text := readFile(t, pidFile)
	refusedInPlace(t, req, p.src.Source(), holdfast.CodeConflict, "a PostgreSQL server runs in directory", fmt.Sprint(p.Pid()), "stop the server")

	put(t, pidFile, "0") // as a server that begins to write it
	refusedInPlace(t, req, p.src.Source(), holdfast.CodeConflict, "may be running", "is not valid", "remove "+pidFile)
	put(t, pidFile, "4194305\n") // of another process namespace
	refusedInPlace(t, req, p.src.Source(), holdfast.CodeConflict, "works in directory", "stop the server")
	put(t, pidFile, "")
	refusedInPlace(t, req, p.src.Source(), holdfast.CodeConflict, "works in directory", "stop the server")
	writeFile(t, pidFile, text)
	if got := p.Value(t, "", "SELECT count(*) FROM a"); got != "10" {
		t.Errorf("the server: got %s rows, want 10", got)
	}
	p.Stop(t, testkit.Fast)

	put(t, pidFile, "1\n")
	refusedInPlace(t, req, p.src.Source(), holdfast.CodeConflict, "names process 1")
	put(t, pidFile, "")
	other := testkit.StartPostgres(t, testkit.PostgresOptions{}) // as if its files were not seen here
	answered := req
	answered.InPlace = siteOf(other)
	refusedInPlace(t, answered, p.src.Source(), holdfast.CodeConflict, "something answers at "+other.SocketDir, "stop the server")
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, p.src.Source())
	p.check(t)
}

// A server is started between the look and the rename, and right after it.
func TestServerStartsWhileItsPlaceIsTaken(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"checked", "moved"} {
		t.Run(at, func(t *testing.T) {
			p := newPlace(t, 1)
			p.Stop(t, testkit.Fast)
			req := p.inPlace(t)
			e := pgphysical.New(pgphysical.Options{Step: func(step string) {
				if step != at {
					return
				}
				if at == "moved" { // it had looked its directory up before
					p.DataDir = engine.KeptAt(req.Spec.Directory, 1002)
				}
				p.Start(t)
				p.DataDir = req.Spec.Directory
			}})
			res, err := e.Restore(t.Context(), req, p.src.Source())
			wantError(t, err, holdfast.CodeConflict, "a PostgreSQL server runs in directory")
			if len(res.Kept) != 0 {
				t.Errorf("kept: got %v, want nothing", res.Kept)
			}
			if got := p.Value(t, "", "SELECT count(*) FROM a"); got != "10" {
				t.Errorf("the server: got %s rows, want 10", got)
			}
			p.Stop(t, testkit.Fast)
			p.Start(t)
			p.Exec(t, "", "INSERT INTO a VALUES (11, 'still here')")
			p.Stop(t, testkit.Fast)
		})
	}
}

func TestRestoreInPlaceRefuses(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	p.Stop(t, testkit.Fast)
	base := filepath.Dir(p.DataDir)
	for name, c := range map[string]struct {
		change func(t *testing.T, r *engine.Restore)
		code   holdfast.Code
		words  []string
	}{
		"outside of the roots": {func(_ *testing.T, r *engine.Restore) {
			r.Roots = []string{"/srv"}
		}, holdfast.CodeForbidden, []string{"does not lie below an allowed restore root", "add " + base, "worker.restore_roots"}},
		"without roots": {func(_ *testing.T, r *engine.Restore) {
			r.Roots = []string{}
		}, holdfast.CodeForbidden, []string{"--restore-root " + base}},
		"a tablespace of two clusters": {func(t *testing.T, _ *engine.Restore) {
			t.Helper()
			mkdir(t, filepath.Join(p.Tablespaces[0], "PG_14_202107181"))
			t.Cleanup(func() { put(t, filepath.Join(p.Tablespaces[0], "PG_14_202107181"), "") })
		}, holdfast.CodeInvalid, []string{"more than the tablespace of one cluster", "PG_14_202107181"}},
		"something else than a tablespace": {func(t *testing.T, r *engine.Restore) {
			t.Helper()
			dir := filepath.Join(testkit.Dir(t), "precious")
			mkdir(t, dir)
			writeFile(t, filepath.Join(dir, "file"), "data")
			r.Spec.Tablespaces = map[uint32]string{p.oids[0]: dir}
			r.Roots = append(r.Roots, filepath.Dir(dir))
		}, holdfast.CodeInvalid, []string{"is not empty, and is no tablespace"}},
		"the old content is there already": {func(t *testing.T, _ *engine.Restore) {
			t.Helper()
			writeFile(t, engine.KeptAt(p.DataDir, 1002), "")
			t.Cleanup(func() { put(t, engine.KeptAt(p.DataDir, 1002), "") })
		}, holdfast.CodeConflict, []string{"is kept in " + engine.KeptAt(p.DataDir, 1002), "another name"}},
		"a full disk": {nil, holdfast.CodeExhausted, []string{"are free", "make room"}},
	} {
		t.Run(name, func(t *testing.T) {
			req, src := p.inPlace(t), p.src.Source()
			if c.change == nil {
				src.Put(engine.Node{Path: "pgdata/huge", Size: 1 << 60})
			} else {
				c.change(t, &req)
			}
			if name == "the old content is there already" {
				_, err := pgphysical.New(pgphysical.Options{}).Restore(t.Context(), req, src)
				wantError(t, err, c.code, c.words...)
				return
			}
			refusedInPlace(t, req, src, c.code, c.words...)
		})
	}
	p.Start(t)
	p.Stop(t, testkit.Fast)
}

// A repository went aside with the data directory it lay in, while it was read.
func TestRestoreInPlaceLeavesItsRepositoryWhereItIs(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	p.Stop(t, testkit.Fast)
	far := testkit.Dir(t)
	inData := filepath.Join(p.DataDir, "backups", "main")
	inSpace := filepath.Join(p.Tablespaces[0], "backups")
	mkdir(t, inData)
	mkdir(t, inSpace)
	symlink(t, inData, filepath.Join(far, "into"))
	symlink(t, far, filepath.Join(p.DataDir, "out"))
	for name, repo := range map[string]string{
		"in the data directory": inData, "the data directory": p.DataDir, "in a tablespace": inSpace,
		"a link into the data directory": filepath.Join(far, "into"), "a link in the data directory": filepath.Join(p.DataDir, "out"),
		"below a link in the data directory": filepath.Join(p.DataDir, "out", "repository"),
	} {
		t.Run(name, func(t *testing.T) {
			req := p.inPlace(t)
			req.Repository = repo
			refusedInPlace(t, req, p.src.Source(), holdfast.CodeInvalid, "cannot be moved aside: the repository "+repo, "directory of its own")
		})
	}
	if err := errors.Join(os.RemoveAll(inSpace), os.RemoveAll(filepath.Dir(inData)), os.Remove(filepath.Join(p.DataDir, "out"))); err != nil {
		t.Fatal(err)
	}
	req := p.inPlace(t)
	req.Repository = p.DataDir + "-backups" // beside it
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, p.src.Source())
	p.check(t)
}

// A data directory that cannot be renamed is refused before anything is.
func TestRestoreInPlaceOfAMountPoint(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 0)
	p.Stop(t, testkit.Fast)
	req := p.inPlace(t)
	req.Spec.Directory = testkit.SmallFS(t, 64<<20)
	req.Roots = []string{filepath.Dir(req.Spec.Directory)}
	file := filepath.Join(req.Spec.Directory, "PG_VERSION")
	writeFile(t, file, "15\n")
	refusedInPlace(t, req, p.src.Source(), holdfast.CodeInvalid, "is a mount point", "by hand, so that it is empty")
	put(t, file, "")
	small := p.src.Source()
	for _, path := range small.Paths() {
		if strings.HasPrefix(path, "pgdata/pg_wal/0") { // it would not fit
			small.Remove(path)
		}
	}
	if res := enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, small); len(res.Kept) != 0 {
		t.Errorf("kept: got %v, want nothing", res.Kept)
	}
}

// What the worker's user may not move, or could not give back, is refused.
func TestRestoreInPlaceByAnotherUser(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 0)
	p.Stop(t, testkit.Fast)
	uid, gid := testkit.Owner(t)
	closed := filepath.Join(filepath.Dir(p.DataDir), "closed")
	mkdir(t, closed)
	data := filepath.Join(closed, "data")
	if err := os.Rename(p.DataDir, data); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(testkit.Dir(t), "restore.test")
	if out, err := exec.Command("cp", os.Args[0], binary).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	req := p.inPlace(t)
	req.Spec.Directory, req.Roots = data, []string{closed}
	run := planOf(t, req, p.src.Source())
	asServer := func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = binary, "/"
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		}
	}
	if err := os.Chmod(closed, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Chmod(closed, 0o755); err != nil {
			t.Error(err)
		}
	})
	_, said, _ := run.run(t, asServer)
	for _, w := range []string{"forbidden", "the worker's user may not write in " + closed, "by hand, so that it is empty"} {
		if !strings.Contains(said, w) {
			t.Errorf("got %q, want %q in it", said, w)
		}
	}
}

// Of several restores into one place at once, one gets it. Those that come later
// wait for nobody who is dead.
func TestRestoresInOnePlaceExcludeEachOther(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	p.Stop(t, testkit.Fast)
	const all = 8
	var (
		wg   sync.WaitGroup
		hold = make(chan struct{})
		mu   sync.Mutex // guards the fields below
		errs []error
	)
	limited, release := context.WithTimeout(t.Context(), time.Minute)
	defer release()
	ctx, cancel := context.WithCancelCause(limited)
	defer cancel(nil)
	for i := range all {
		req := p.inPlace(t)
		req.Execution = holdfast.ExecutionID(1010 + i)
		src := p.src.Source()
		src.BeforeFetch = func(ctx context.Context, _ string) error {
			select {
			case <-hold:
			case <-ctx.Done():
			}
			return nil
		}
		wg.Go(func() {
			_, err := pgphysical.New(pgphysical.Options{}).Restore(ctx, req, src)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
			if len(errs) == all-1 { // all but one were refused
				cancel(engine.ErrWish)
			}
		})
	}
	wg.Wait()
	refused := 0
	for _, err := range errs {
		switch {
		case errors.Is(err, engine.ErrWish):
		case holdfast.ErrorCode(err) == holdfast.CodeConflict, holdfast.ErrorCode(err) == holdfast.CodeUnavailable:
			refused++
		default:
			t.Errorf("got %v, want a conflict", err)
		}
	}
	if refused != all-1 {
		t.Errorf("%d of %d restores were refused, want all but one", refused, all)
	}
	old, err := filepath.Glob(p.DataDir + ".before-*")
	if err != nil || len(old) != 1 {
		t.Errorf("moved aside: got %v, %v, want one directory", old, err)
	}

	// Another execution moves the unfinished one aside.
	req := p.inPlace(t)
	req.Execution = 1099
	res := enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, p.src.Source())
	if len(res.Kept) != 2 || !exists(filepath.Join(res.Kept[0].At, ".holdfast-restore")) {
		t.Errorf("kept: got %v, want the unfinished restore", res.Kept)
	}
	p.check(t)
}

// When a tablespace cannot be moved after the data directory was, that goes back.
func TestRestoreInPlacePutsBackWhatItMovedForNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	p.Stop(t, testkit.Fast)
	before := facts(t, p.DataDir)
	req := p.inPlace(t)
	blocked := engine.KeptAt(p.Tablespaces[0], 1002)
	marked := 0
	e := pgphysical.New(pgphysical.Options{Step: func(step string) {
		if step == "marked" {
			marked++
			mkdir(t, filepath.Join(blocked, "in the way"))
		}
	}})
	res, err := e.Restore(t.Context(), req, p.src.Source())
	wantError(t, err, holdfast.CodeConflict, "is kept in "+blocked)
	if marked != 1 || exists(engine.KeptAt(p.DataDir, 1002)) || facts(t, p.DataDir) != before {
		t.Errorf("after %d marks the data directory is not what it was; kept: %v", marked, res.Kept)
	}
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}
	req.Fence = 2
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, p.src.Source())
	p.check(t)
}

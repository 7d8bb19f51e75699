package etl

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// openAs opens a directory as an execution does.
func openAs(t *testing.T, dir string, number holdfast.ExecutionID, fence holdfast.Fence) *output {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	req := engine.ETL{Installation: "here", Job: 1001, Execution: number, Fence: fence}
	f := &flow{e: &execution{req: req, log: slog.New(slog.DiscardHandler), plan: &definition.Plan{Definition: &definition.Definition{}}}, plan: &definition.Flow{Load: definition.Load{Name: "a"}}}
	o := &output{f: f, root: root, shown: dir}
	if err := o.look(); err != nil {
		t.Fatal(err)
	}
	return o
}

// writeAs writes and commits a version, and pauses between its steps.
func (o *output) writeAs(pause func()) error {
	v, err := o.begin()
	if err != nil {
		return err
	}
	defer v.drop()
	pause()
	file, err := v.create("csv")
	if err != nil {
		return err
	}
	_, err = file.WriteString("1\n")
	if err = errors.Join(err, v.sum(file), file.Close()); err != nil {
		return err
	}
	pause()
	if err := v.finish(counts{}, nil); err != nil {
		return err
	}
	pause()
	return v.commit()
}

// whole checks that no version lacks a file, and returns how many there are.
func whole(t *testing.T, dir string) (versions int) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if !versionName.MatchString(e.Name()) {
			continue
		}
		versions++
		for _, name := range []string{manifestName, "rows.csv"} {
			if _, err := os.Stat(filepath.Join(dir, e.Name(), name)); err != nil {
				t.Errorf("a version that can be seen lacks a file: %v", err)
			}
		}
	}
	return versions
}

// Whoever closes a fence and whoever commits with it meet at any moment: the version
// is there as a whole or not at all, and a commit fails when it is not.
func TestCloseRace(t *testing.T) {
	t.Parallel()
	committed := 0
	const times = 150
	for i := range times {
		dir := t.TempDir()
		old := openAs(t, dir, 1001, 1)
		if err := old.claim(); err != nil {
			t.Fatal(err)
		}
		next := openAs(t, dir, holdfast.ExecutionID(1001+i%2), 2)
		closing := next.claim
		if i%3 == 0 {
			released := openAs(t, dir, 1001, 1)
			released.f.e.plan.Definition.Connections = map[string]definition.Connection{"lake": {Directory: dir}}
			released.f.e.req.Roots = []string{dir}
			released.f.plan.Load.Connection, released.f.plan.Load.Output = "lake", &definition.Output{Path: "."}
			closing = func() error { return released.f.closeOutput(t.Context()) }
		}
		begun, pauses := make(chan struct{}), 0
		pause := func() {
			if pauses++; pauses == 1+i%3 { // the last is before the commit
				close(begun)
			}
		}
		after := time.Duration(rand.Int64N(int64(time.Millisecond)))
		var wrote, closed error
		var wg sync.WaitGroup
		wg.Go(func() { wrote = old.writeAs(pause) })
		wg.Go(func() { <-begun; time.Sleep(after); closed = closing() })
		wg.Wait()
		n := whole(t, dir)
		if closed != nil || (n == 1) != (wrote == nil) {
			t.Fatalf("%d versions; the writer: %v, who closes: %v", n, wrote, closed)
		}
		committed += n
		if err := openAs(t, dir, 1001, 1).mayWrite(); !errors.Is(err, engine.ErrStale) {
			t.Fatalf("the closed fence may write: %v", err)
		}
	}
	t.Logf("%d of %d committed before they were closed", committed, times)
}

// Executions that claim one directory at the same time, again and again: nobody
// commits after another one has claimed later, and the last one may always write.
func TestClaimRace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var number atomic.Int64
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 8 {
				id := number.Add(1)
				o := openAs(t, dir, holdfast.ExecutionID(id), 1)
				pause := func() { time.Sleep(time.Duration(rand.Int64N(int64(3 * time.Millisecond)))) }
				err := o.claim()
				if err == nil {
					err = o.look()
				}
				if err == nil {
					err = o.writeAs(pause)
				}
				if err == nil || !errors.Is(err, engine.ErrStale) && holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
					continue
				}
				if again := o.claim(); !errors.Is(again, engine.ErrStale) && holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
					t.Errorf("one that was closed has claimed again: %v after %v", again, err)
				}
			}
		})
	}
	wg.Wait()
	before := whole(t, dir)
	last := openAs(t, dir, 1_000_000, 1)
	if err := last.claim(); err != nil {
		t.Fatal(err)
	}
	if err := last.writeAs(func() {}); err != nil {
		t.Fatal(err)
	}
	if got := whole(t, dir); got != before+1 {
		t.Errorf("got %d versions, want %d", got, before+1)
	}
	var names []string
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if !versionName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	if len(names) > 3 || strings.Contains(fmt.Sprint(names), tempPrefix) {
		t.Errorf("left are %q, want the last claims", names)
	}
}

package dispatch_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
)

func openLogs(t testing.TB, dir string) *dispatch.Logs {
	t.Helper()
	l, err := dispatch.OpenLogs(dir, 0, func() time.Time { return time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC) })
	require(t, err)
	return l
}

// starts is the header of a fence.
func starts(f int64) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte("start " + itoa(f) + "\n"), nil }
}

func wantNext(t testing.TB, l *dispatch.Logs, f holdfast.Fence, offset int64, data string, lost bool, want int64) {
	t.Helper()
	next, err := l.Append(t.Context(), 1001, f, starts(int64(f)), offset, []byte(data), lost)
	require(t, err)
	if next != want {
		t.Errorf("append %q at %d of fence %d: got next %d, want %d", data, offset, f, next, want)
	}
}

func wantLog(t testing.TB, l *dispatch.Logs, want string) {
	t.Helper()
	got, size, err := l.Read(t.Context(), 1001, 0, 1<<20)
	require(t, err)
	if string(got) != want || size != int64(len(want)) {
		t.Errorf("log: got %q (size %d), want %q", got, size, want)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLogs(t, dir)
	wantLog(t, l, "")
	wantNext(t, l, 1, 0, "one\n", false, 4)
	wantNext(t, l, 1, 0, "one\n", false, 4)    // sent again
	wantNext(t, l, 1, 2, "e\ntwo\n", false, 8) // overlaps
	wantNext(t, l, 1, 20, "later\n", false, 8) // a gap is refused
	wantLog(t, l, "start 1\none\ntwo\n")       //
	l = openLogs(t, dir)                       // the control plane has started again
	wantNext(t, l, 1, 20, "later\n", false, 8) //
	wantNext(t, l, 1, 8, "three\n", false, 14) //
	wantNext(t, l, 1, 20, "later\n", true, 26) // the sender has let go of six bytes
	wantNext(t, l, 1, 26, "last\n", false, 31) //
	l = openLogs(t, dir)                       //
	wantNext(t, l, 1, 31, "very last\n", false, 41)
	wantNext(t, l, 2, 0, "again\n", false, 6)
	want := "start 1\none\ntwo\nthree\n" +
		`{"ts":"2026-03-01T02:00:00.000Z","level":"WARN","msg":"a part of the log is lost","execution_id":1001,"attempt":1,"bytes":6,` +
		`"code":"A_PART_OF_THE_LOG_IS_LOST"}` + "\nlater\nlast\nvery last\nstart 2\nagain\n"
	wantLog(t, l, want)
	if _, err := l.Append(t.Context(), 1001, 1, starts(1), 41, []byte("thawed\n"), false); holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("append of an old fence: got %v, want %s", err, holdfast.CodeConflict)
	}
	part, size, err := l.Read(t.Context(), 1001, 8, 4)
	require(t, err)
	if string(part) != "one\n" || size != int64(len(want)) {
		t.Errorf("part: got %q of %d", part, size)
	}
	if part, _, err := l.Read(t.Context(), 1001, size+10, 4); err != nil || len(part) != 0 {
		t.Errorf("beyond the end: got %q, %v", part, err)
	}
	if _, _, err := l.Read(t.Context(), 1001, -1, 4); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Errorf("negative offset: got %v, want %s", err, holdfast.CodeInvalid)
	}
}

// TestLogRotates writes an endless log: it keeps its beginning and its end, stays
// bounded, and offsets keep their meaning.
func TestLogRotates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openLogs(t, dir)
	piece := strings.Repeat("0123456789abcde\n", 16<<10) // 256 KiB
	var at int64
	for range 160 { // 40 MiB
		next, err := l.Append(t.Context(), 1001, 1, starts(1), at, []byte(piece), false)
		require(t, err)
		at = next
	}
	var kept int64
	require(t, filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		kept += info.Size()
		return err
	}))
	if kept > 20<<20 {
		t.Errorf("kept %d bytes of %d, want at most 20 MiB", kept, at)
	}
	head, size, err := l.Read(t.Context(), 1001, 0, 100)
	require(t, err)
	if !bytes.HasPrefix(head, []byte("start 1\n0123456789abcde\n")) || size < at {
		t.Errorf("head: got %q, size %d", head, size)
	}
	tail, _, err := l.Read(t.Context(), 1001, size-16, 100)
	require(t, err)
	if string(tail) != "0123456789abcde\n" {
		t.Errorf("tail: got %q", tail)
	}
	hole, _, err := l.Read(t.Context(), 1001, 8<<20, 1000)
	require(t, err)
	if len(hole) != 1000 || !bytes.Contains(hole, []byte("rotated away")) {
		t.Errorf("rotated part: got %d bytes, %q", len(hole), bytes.TrimSpace(hole))
	}
	var all int64
	for all < size {
		part, _, err := l.Read(t.Context(), 1001, all, 1<<20)
		require(t, err)
		if len(part) == 0 {
			t.Fatalf("reading ends at %d of %d", all, size)
		}
		all += int64(len(part))
	}
}

func TestLogsExpire(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := time.Now()
	l, err := dispatch.OpenLogs(dir, time.Hour, func() time.Time { return now })
	require(t, err)
	wantNext(t, l, 1, 0, "one\n", false, 4)
	keep := false
	expire := func() {
		require(t, l.Expire(t.Context(), func(_ context.Context, id holdfast.ExecutionID) (bool, error) { return keep && id == 1001, nil }))
	}
	expire()
	wantLog(t, l, "start 1\none\n")
	now = now.Add(2 * time.Hour)
	keep = true // the last of its outcome
	expire()
	wantLog(t, l, "start 1\none\n")
	keep = false
	expire()
	wantLog(t, l, "")
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

func TestReport(t *testing.T) {
	cases := []struct {
		name string
		err  error
		code int
		out  string
	}{
		{"done", nil, 0, ""},
		{"already said", exitError(exitWarnings), 3, ""},
		{"wrong request", holdfast.Errorf(holdfast.CodeInvalid, "no").WithHint("do this"), 2, "error: no\nhint: do this\n"},
		{"of elsewhere", errors.New("no\x1b[2J\n\tat all"), 1, "error: no [2J\n\tat all\n"},
		{"wrapped", fmt.Errorf("open: %w", holdfast.Errorf(holdfast.CodeNotFound, "gone")), 4, "error: open: gone\n"},
		{"refused", holdfast.Errorf(holdfast.CodeForbidden, "no"), 5, "error: no\n"},
		{"not known", holdfast.Errorf(holdfast.CodeUnauthenticated, "no"), 5, "error: no\n"},
		{"in the way", holdfast.Errorf(holdfast.CodeConflict, "busy"), 5, "error: busy\n"},
		{"full", holdfast.Errorf(holdfast.CodeExhausted, "full"), 1, "error: full\n"},
		{"may pass", holdfast.Errorf(holdfast.CodeUnavailable, "away"), 1, "error: away\n"},
		{"with a cause", holdfast.Wrap(holdfast.CodeUnavailable, errors.New("EIO"), "cannot read"), 1, "error: cannot read: EIO\n"},
		{"any other", errors.New("oops"), 1, "error: oops\n"},
		{"interrupted", fmt.Errorf("wait: %w", errSignal), 1, "error: interrupted\n"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if got := report(&out, c.err); got != c.code || out.String() != c.out {
				t.Errorf("got code %d and %q, want %d and %q", got, out.String(), c.code, c.out)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 5 << 30: "5.0 GiB", 1 << 62: "4.0 EiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestCellKeepsTheTableWhole(t *testing.T) {
	for v, want := range map[any]string{
		"": "-", "a\tb\nc\x1b[2J": "a b c [2J", "\u009b2Jb\u202ec\u2066d é": " 2Jb c d é", true: "yes", false: "no", 7: "7",
	} {
		if got := cell(v); got != want {
			t.Errorf("%q: got %q, want %q", v, got, want)
		}
	}
	if got := cell(time.Time{}); got != "-" {
		t.Errorf("no time: got %q", got)
	}
}

// TestWarningsMoveNoCursor prints what a set says of itself, which anybody may have
// written who can write into its repository.
func TestWarningsMoveNoCursor(t *testing.T) {
	const planted = "planted \x1b[2J\r\u009b2J"
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	a := &app{output: "table", stdout: out, stderr: out}
	for _, err := range []error{
		a.offlineDone(offlineSet{}, holdfast.RestoreSpec{}, engine.Result{Warnings: []string{planted}}, time.Second),
		a.ended(native.Execution{Outcome: holdfast.OutcomeWarning, Detail: planted}),
	} {
		if err == nil {
			t.Error("a warning is no success")
		}
	}
	if got, err := os.ReadFile(out.Name()); err != nil || bytes.ContainsAny(got, "\x1b\r\u009b") || bytes.Count(got, []byte("planted")) != 2 {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestMeter(t *testing.T) {
	var m meter
	now := time.Unix(1000, 0)
	p := holdfast.Progress{Phase: "copy", TotalBytes: 100 << 20}
	for i := range 30 {
		p.DoneBytes = int64(i) << 20
		m.add(now.Add(time.Duration(i)*time.Second), p)
	}
	if got := m.rate(); got != 1<<20 {
		t.Errorf("rate: got %v, want 1 MiB/s", got)
	}
	if got, ok := m.left(p); !ok || got != 71*time.Second {
		t.Errorf("left: got %v, want 71s", got)
	}
	if len(m.points) > 12 {
		t.Errorf("%d points are kept", len(m.points))
	}
	p.DoneBytes = 0 // another attempt
	m.add(now.Add(time.Minute), p)
	if got := m.text(p); got != "" {
		t.Errorf("after a new start: got %q", got)
	}
}

func TestLinesTellOfPhasesAndTime(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	l := &lines{name: "execution 1001", w: &out, now: func() time.Time { return now }}
	e := native.Execution{State: holdfast.StateQueued}
	l.update(e)
	e.State, e.Progress = holdfast.StateRunning, holdfast.Progress{Phase: "copy", TotalBytes: 4 << 20}
	for range 12 {
		l.update(e)
		now = now.Add(time.Second)
		e.Progress.DoneBytes += 1 << 18
	}
	e.State, e.Outcome, e.Detail = holdfast.StateEnded, holdfast.OutcomeWarning, "a page\nis bad"
	l.update(e)
	want := "execution 1001: QUEUED\n" +
		"execution 1001: RUNNING, copy 0%, 0 B of 4.0 MiB\n" +
		"execution 1001: RUNNING, copy 62%, 2.5 MiB of 4.0 MiB, 256.0 KiB/s, 6s left\n" +
		"execution 1001: WARNING\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestLinesOfETLsTellOfRows(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	l := &lines{name: "execution 1001", w: &out, now: func() time.Time { return now }}
	e := native.Execution{Type: holdfast.JobETL, State: holdfast.StateRunning, Progress: holdfast.Progress{Phase: "claim"}}
	for _, p := range []holdfast.Progress{
		{Phase: "claim"},
		{Phase: "extract", DoneBytes: 1 << 20, DoneFiles: 1000},
		{Phase: "load", DoneBytes: 2 << 20, DoneFiles: 2000, TotalBytes: 8 << 20},
		{Phase: "extract", DoneBytes: 9 << 20, DoneFiles: 9000, TotalBytes: 8 << 20},
	} {
		e.Progress = p
		l.update(e)
		now = now.Add(time.Second)
	}
	want := "execution 1001: RUNNING, claim\n" +
		"execution 1001: RUNNING, extract 1000 rows, 1.0 MiB, 1.0 MiB/s\n" +
		"execution 1001: RUNNING, load 25%, 2000 rows, 2.0 MiB, 1.0 MiB/s, 6s left\n" +
		"execution 1001: RUNNING, extract 100%, 9000 rows, 9.0 MiB, 3.0 MiB/s\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestLinesSayWhyAnExecutionWaits(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	l := &lines{name: "execution 1001", w: &out, now: func() time.Time { return now }}
	l.update(native.Execution{State: holdfast.StateRunning})
	l.update(native.Execution{State: holdfast.StateQueued, Detail: "the server cannot be reached", Due: now.Add(20 * time.Second)})
	want := "execution 1001: RUNNING\nexecution 1001: QUEUED: the server cannot be reached; tries again in 20s\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func TestStagesEndFromTheTop(t *testing.T) {
	var order []string
	wait := func(name string, err error) stage {
		return stage{name, func(ctx context.Context) error {
			<-ctx.Done()
			order = append(order, name) // one after the other: no lock is needed
			return err
		}}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errSignal)
	if err := runStages(ctx, wait("store", nil), wait("server", context.Canceled), wait("worker", errSignal)); err != nil {
		t.Errorf("got %v", err)
	}
	if want := []string{"worker", "server", "store"}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}

	order = nil
	broken := stage{"server", func(context.Context) error { return errors.New("port lost") }}
	err := runStages(t.Context(), wait("store", nil), broken, wait("worker", nil))
	if err == nil || err.Error() != "server: port lost" {
		t.Errorf("got %v", err)
	}
	if want := []string{"worker", "store"}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
}

func TestStateIsOneProcessAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "state")
	s, err := openState(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = openState(dir)
	if holdfast.ErrorCode(err) != holdfast.CodeConflict || !strings.Contains(err.Error(), fmt.Sprintf("pid %d on ", os.Getpid())) {
		t.Errorf("second: got %v", err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode: got %v, %v", info.Mode(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if s, err = openState(dir); err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	info, err = os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a directory that was open to others: got %v, %v", info.Mode(), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestKitFileIsNeverOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "main.kit")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newKitFile("kit", path, "file:///backup/holdfast"); holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file holds %q, %v", b, err)
	}
}

func TestKitFileIsNotInTheRepository(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir + "/x.kit", dir + "/missing/x.kit", link + "/x.kit", dir + "/../" + filepath.Base(dir) + "/x.kit"} {
		for _, location := range []string{"file://" + dir, "file://" + link} {
			if _, err := newKitFile("kit", path, location); holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), "repository itself") {
				t.Errorf("%s of %s: got %v", path, location, err)
			}
		}
	}
	for _, location := range []string{"file://" + dir + "/sub", "file://" + dir + "x", "s3:https://s3.example.com/bucket"} {
		f, err := newKitFile("kit", dir+"/x.kit", location)
		if err != nil {
			t.Fatalf("%s: %v", location, err)
		}
		if err := f.drop(); err != nil {
			t.Error(err)
		}
	}
}

func TestChooseSet(t *testing.T) {
	sets := []offlineSet{
		{Snapshot: "aaaaaaaabbbb", Set: "1003"},
		{Snapshot: "aaaaaaaacccc", Set: "1002"},
		{Snapshot: "ddddddddeeee", Set: "1001"},
	}
	for ref, want := range map[string]string{"latest": "1003", "1001": "1001", "dddddddd": "1001", "aaaaaaaac": "1002"} {
		if got, err := chooseSet(sets, ref, ""); err != nil || got.Set != want {
			t.Errorf("%s: got %v, %v, want set %s", ref, got, err, want)
		}
	}
	for ref, want := range map[string]holdfast.Code{"1009": holdfast.CodeNotFound, "dddd": holdfast.CodeNotFound, "aaaaaaaa": holdfast.CodeInvalid} {
		if _, err := chooseSet(sets, ref, ""); holdfast.ErrorCode(err) != want {
			t.Errorf("%s: got %v, want %s", ref, err, want)
		}
	}
	rest := offlineSet{Snapshot: "ffffffff0000", Set: "1004", Repaired: "eeee"}
	both := append([]offlineSet{rest, {Snapshot: "ffffffff1111", Set: "1003", Repaired: "aaaaaaaabbbb"}}, sets...)
	for ref, want := range map[string]string{"latest": "aaaaaaaabbbb", "1003": "aaaaaaaabbbb", "ffffffff0": "ffffffff0000"} {
		if got, err := chooseSet(both, ref, ""); err != nil || got.Snapshot != want {
			t.Errorf("%s, with what a repair has left: got %v, %v, want snapshot %s", ref, got, err, want)
		}
	}
	if _, err := chooseSet(both, "1004", ""); holdfast.ErrorCode(err) != holdfast.CodeNotFound || !strings.Contains(holdfast.ErrorHint(err), "ffffffff0000") {
		t.Errorf("what a repair has left: got %v", err)
	}
	if _, err := chooseSet(nil, "latest", ""); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		t.Errorf("an empty repository: got %v", err)
	}
}

// TestChooseSetIsNeverAGuess: several sites and installations keep their sets in
// one repository.
func TestChooseSetIsNeverAGuess(t *testing.T) {
	sets := []offlineSet{
		{Snapshot: "11111111aaaa", Set: "1002", Site: "berlin", From: "x"},
		{Snapshot: "22222222aaaa", Set: "1002", Site: "berlin", From: "x"}, // left by a dead attempt
		{Snapshot: "33333333aaaa", Set: "1001", Site: "paris", From: "x"},
		{Snapshot: "44444444aaaa", Set: "1001", Site: "berlin", From: "y"},
	}
	for _, c := range []struct {
		ref, site, want string
		words           string
	}{
		{ref: "latest", words: "several sites, such as berlin and paris"},
		{ref: "latest", site: "paris", want: "33333333aaaa"},
		{ref: "latest", site: "berlin", words: "different origin"},
		{ref: "1002", want: "11111111aaaa"},
		{ref: "1001", words: "different origin"},
		{ref: "1001", site: "paris", want: "33333333aaaa"},
		{ref: "44444444", want: "44444444aaaa"},
		{ref: "44444444", site: "paris", words: "no backup set"},
	} {
		got, err := chooseSet(sets, c.ref, c.site)
		if c.words != "" {
			if err == nil || !strings.Contains(err.Error(), c.words) || holdfast.ErrorHint(err) == "" {
				t.Errorf("%s of %q: got %v, %v, want %q", c.ref, c.site, got, err, c.words)
			}
		} else if err != nil || got.Snapshot != c.want {
			t.Errorf("%s of %q: got %v, %v, want %s", c.ref, c.site, got, err, c.want)
		}
	}
}

func TestReadSecret(t *testing.T) {
	for text, want := range map[string]string{"abc": "abc", "abc\n": "abc", "abc\r\n": "abc", " a b ": " a b "} {
		got, err := readSecretFrom(strings.NewReader(text), "file")
		if err != nil || got.Reveal() != want {
			t.Errorf("%q: got %q, %v", text, got.Reveal(), err)
		}
	}
	for _, text := range []string{"", "\n", "a\nb\n", strings.Repeat("a", maxSecretFile+1)} {
		if _, err := readSecretFrom(strings.NewReader(text), "file"); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%.10q: got %v", text, err)
		}
	}
}

func TestParseTablespaces(t *testing.T) {
	got, err := parseTablespaces([]string{"16384=/a", "16385=/b=c"})
	if err != nil || got[16384] != "/a" || got[16385] != "/b=c" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, s := range []string{"", "16384", "=/a", "0=/a", "x=/a", "16384=", "-1=/a", "4294967296=/a"} {
		if _, err := parseTablespaces([]string{s}); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%q: got %v", s, err)
		}
	}
	if _, err := parseTablespaces([]string{"1=/a", "1=/b"}); err == nil {
		t.Error("one tablespace in two places: no error")
	}
}

// A flag that holds a secret would show in the list of processes; the join token
// works once.
func TestNoFlagHoldsAPassword(t *testing.T) {
	root := (&app{}).root()
	for _, words := range [][]string{{"site", "add"}, {"site", "update"}, {"host", "list"}, {"restore"}, {"repository", "create"}, {"repository", "access"}} {
		cmd, _, err := root.Find(words)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"password", "token", "key-password", "secret-key", "session-token"} {
			if cmd.Flag(name) != nil {
				t.Errorf("%v has a flag --%s", words, name)
			}
		}
	}
}

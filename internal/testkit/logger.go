package testkit

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// LogOption says what a test's log may hold.
type LogOption func(*strictLog)

// Expect lets warnings and errors pass that match the pattern. The test fails
// when none comes.
func Expect(pattern string) LogOption {
	return func(l *strictLog) {
		l.rules = append(l.rules, &logRule{pattern: regexp.MustCompile(pattern), must: true})
	}
}

// Allow lets warnings and errors pass that match the pattern.
func Allow(pattern string) LogOption {
	return func(l *strictLog) { l.rules = append(l.rules, &logRule{pattern: regexp.MustCompile(pattern)}) }
}

type logRule struct {
	pattern *regexp.Regexp
	must    bool
	seen    bool
}

// Logger returns a logger that writes to the test's log, and fails the test on a
// warning or an error that no option lets pass. Patterns see the line in
// [slog.TextHandler]'s form, level included. What is logged after the test is
// dropped.
func Logger(t testing.TB, options ...LogOption) *slog.Logger {
	t.Helper()
	l := &strictLog{t: t}
	for _, o := range options {
		o(l)
	}
	t.Cleanup(l.close)
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// strictLog is the writer behind a Logger: one call per line.
type strictLog struct {
	t testing.TB

	mu    sync.Mutex // guards the fields below
	rules []*logRule
	done  bool
}

func (l *strictLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return len(line), nil
	}
	text := string(bytes.TrimSpace(line))
	l.t.Log(text)
	if strings.HasPrefix(text, "level=WARN") || strings.HasPrefix(text, "level=ERROR") {
		if !l.pass(text) {
			l.t.Errorf("unexpected in the log: %s", text)
		}
	}
	return len(line), nil
}

func (l *strictLog) pass(text string) bool {
	ok := false
	for _, r := range l.rules {
		if r.pattern.MatchString(text) {
			r.seen, ok = true, true
		}
	}
	return ok
}

func (l *strictLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = true
	for _, r := range l.rules {
		if r.must && !r.seen {
			l.t.Errorf("expected in the log, but never seen: %s", r.pattern)
		}
	}
}

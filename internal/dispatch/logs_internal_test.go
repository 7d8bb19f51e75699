package dispatch

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// TestAStateThatSomebodyWaitsForStays opens so many logs that states are let go of.
// One that somebody has found, and not locked yet, is not among them: the next one
// would make another of the same log, and two would write what came once twice.
func TestAStateThatSomebodyWaitsForStays(t *testing.T) {
	t.Parallel()
	l, err := OpenLogs(t.TempDir(), 0, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	waited := l.lock(1)
	waited.mu.Unlock() // as it is for who has found it, and is to lock it
	for n := range 20 * openLogs {
		l.unlock(l.lock(holdfast.ExecutionID(2 + n)))
	}
	if l.open[1] != waited {
		t.Error("the state that is waited for has made room for others")
	}
	if n := len(l.open); n > openLogs {
		t.Errorf("got %d states in memory, want at most %d", n, openLogs)
	}
	waited.mu.Lock()
	l.unlock(waited)
	for n := range 20 * openLogs {
		l.unlock(l.lock(holdfast.ExecutionID(2 + n)))
	}
	if l.open[1] == waited {
		t.Error("a state that nobody has stays for ever")
	}
}

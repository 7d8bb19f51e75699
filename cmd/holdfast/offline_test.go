package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOfflineSaysThatItSawNotAll lists what can be read, and ends with warnings: the
// latest set may be one that cannot.
func TestOfflineSaysThatItSawNotAll(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	if code, out, errs := s.restore("list"); code != 0 || !strings.Contains(out, "1001") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	id := s.put("{}", time.Now(), "set=1002", "site=berlin")
	if err := os.Truncate(filepath.Join(s.dir, "snapshots", id), 20); err != nil {
		t.Fatal(err)
	}
	code, out, errs := s.restore("list")
	if code != exitWarnings || !strings.Contains(out, "1001") || strings.Contains(out, "1002") || !strings.Contains(errs, "cannot be read") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	failed := errors.New("the disk is full")
	for _, c := range []struct {
		whole     bool
		err, want error
	}{{true, nil, nil}, {false, nil, exitError(exitWarnings)}, {false, failed, failed}, {true, failed, failed}} {
		if got := endOffline(c.whole, c.err); got != c.want { //nolint:errorlint // the same error is meant
			t.Errorf("%v, %v: got %v, want %v", c.whole, c.err, got, c.want)
		}
	}
}

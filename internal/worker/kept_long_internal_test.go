package worker

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// TestALongErrorDoesNotHideWhereTheOldContentIs has an error fill the whole detail.
func TestALongErrorDoesNotHideWhereTheOldContentIs(t *testing.T) {
	t.Parallel()
	kept := []engine.Kept{{Path: "/srv/pg", At: engine.KeptAt("/srv/pg", 1002)}}
	for _, done := range []bool{false, true} {
		got := withKept(strings.Repeat("bad ", wire.MaxDetail/4), kept, 1002, done)
		if len(got) > wire.MaxDetail || !strings.HasPrefix(got, "bad bad") || !strings.Contains(got, "what was in /srv/pg is kept in /srv/pg.before-1002") {
			t.Errorf("got %d bytes that end with %q", len(got), got[max(len(got)-200, 0):])
		}
	}
}

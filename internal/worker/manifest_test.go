package worker_test

import (
	"context"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// told is a source that holds one file, or an error in its place.
type told struct {
	engine.Source
	content string
	err     error
}

func (s told) ReadFile(_ context.Context, path string, _ int64) ([]byte, error) {
	if path != worker.SetFile {
		return nil, holdfast.Errorf(holdfast.CodeNotFound, "there is no %s", path)
	}
	return []byte(s.content), s.err
}

// A set that cannot say what it is can still be restored: with a warning.
func TestDamageIsAWarningAndNeverAnObstacle(t *testing.T) {
	for name, c := range map[string]struct {
		set  told
		want string // in the warning; empty: no warning
	}{
		"good":            {told{content: `{"version":1,"result":{}}`}, ""},
		"damaged":         {told{content: `{"version":1,"result":{"damaged":"block 3"}}`}, "was damaged when it was taken: block 3"},
		"nothing said":    {told{err: holdfast.Errorf(holdfast.CodeNotFound, "no such file")}, ""},
		"not to be read":  {told{err: holdfast.Errorf(holdfast.CodeInvalid, "pack 12 is damaged")}, "pack 12 is damaged"},
		"not to be known": {told{content: "{"}, "is not valid"},
	} {
		got := worker.Damage(t.Context(), c.set)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

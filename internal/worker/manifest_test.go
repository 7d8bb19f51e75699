package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository"
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
		"repaired":        {told{content: `{"version":1,"result":{},"repaired":{"from":"1234","lost":2,"paths":["pgdata/a"]}}`}, `INCOMPLETE: 2 files or directories were lost in its repository, such as "pgdata/a"`},
		"both":            {told{content: `{"version":1,"result":{"damaged":"block 3"},"repaired":{"lost":1}}`}, "; the backup set was damaged when it was taken: block 3"},
		"nothing said":    {told{err: holdfast.Errorf(holdfast.CodeNotFound, "no such file")}, ""},
		"not to be read":  {told{err: holdfast.Errorf(holdfast.CodeInvalid, "pack 12 is damaged")}, "pack 12 is damaged"},
		"not to be known": {told{content: "{"}, "is not the JSON of one"},
	} {
		got := worker.Damage(t.Context(), c.set)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestRepairNoticeKeepsWhatTheSetSays(t *testing.T) {
	t.Parallel()
	s := repository.Snapshot{ID: "abcd", Tags: []string{"set=1001", "site=berlin", "installation=i1", "execution=7", "fence=2", "run_type=FULL"}}
	n := worker.RepairNotice()
	if n.Path != worker.SetFile {
		t.Errorf("got %q", n.Path)
	}
	for name, c := range map[string]struct {
		old  string
		lost []repository.LostNode
		want string
	}{
		"whole": {
			`{"version":1,"set":1001,"new":{"field":[1]},"result":{"bytes":5}}`,
			[]repository.LostNode{{Path: "pgdata/a"}, {Path: "pgdata/base", Dir: true}},
			`{"new":{"field":[1]},"repaired":{"from":"abcd","lost":2,"paths":["pgdata/a","pgdata/base"]},"result":{"bytes":5},"set":1001,"version":1}`,
		},
		"lost": {
			"",
			[]repository.LostNode{{Path: worker.SetFile}},
			`{"execution":7,"fence":2,"installation":"i1","repaired":{"from":"abcd","lost":1,"paths":["holdfast/set.json"]},"run_type":"FULL","set":1001,"site_slug":"berlin","version":1}`,
		},
		"repaired before": {
			`{"version":1,"repaired":{"from":"1234","lost":1,"paths":["pgdata/a"]}}`,
			[]repository.LostNode{{Path: "pgdata/b"}},
			`{"repaired":{"from":"abcd","lost":2,"paths":["pgdata/a","pgdata/b"]},"version":1}`,
		},
	} {
		got, err := n.Write([]byte(c.old), s, c.lost)
		var plain bytes.Buffer
		if err == nil {
			err = json.Compact(&plain, got)
		}
		if err != nil || plain.String() != c.want {
			t.Errorf("%s: got %s, error %v, want %s", name, plain.String(), err, c.want)
		}
		if worker.Damage(t.Context(), told{content: string(got)}) == "" {
			t.Errorf("%s: who restores it is not warned", name)
		}
	}
}

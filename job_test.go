package holdfast_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// wantInvalid checks that err says the words, as a fault of the request; no
// words mean that nothing is wrong.
func wantInvalid(t *testing.T, name string, err error, words string) {
	t.Helper()
	if words == "" {
		if err != nil {
			t.Errorf("%s: got %v, want no error", name, err)
		}
		return
	}
	if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorMessage(err), words) {
		t.Errorf("%s: got %v (%s), want an invalid request that says %q", name, err, holdfast.ErrorCode(err), words)
	}
}

func backupJob() holdfast.Job {
	return holdfast.Job{
		Type: holdfast.JobBackup, Engine: holdfast.EnginePhysical, Name: "nightly", Priority: holdfast.DefaultPriority,
		Retention: holdfast.Retention{Count: holdfast.DefaultRetention},
	}
}

func TestJobValidate(t *testing.T) {
	for _, c := range []struct {
		name  string
		edit  func(*holdfast.Job)
		words string
	}{
		{"a backup", func(*holdfast.Job) {}, ""},
		{"no name", func(j *holdfast.Job) { j.Name = "" }, "name is missing"},
		{"a name of spaces", func(j *holdfast.Job) { j.Name = "  " }, "name is missing"},
		{"the longest name, in characters", func(j *holdfast.Job) { j.Name = strings.Repeat("ü", holdfast.MaxJobName) }, ""},
		{"a longer name", func(j *holdfast.Job) { j.Name = strings.Repeat("ü", holdfast.MaxJobName+1) }, "129 characters"},
		{"a name with a line break", func(j *holdfast.Job) { j.Name = "a\nb" }, "control character"},
		{"a name with a delete", func(j *holdfast.Job) { j.Name = "a\x7f" }, "control character"},
		{"the longest description", func(j *holdfast.Job) { j.Description = strings.Repeat("ü", holdfast.MaxDescription) }, ""},
		{"a longer description", func(j *holdfast.Job) { j.Description = strings.Repeat("ü", holdfast.MaxDescription+1) }, "4097 characters"},
		{"the highest priority", func(j *holdfast.Job) { j.Priority = 1 }, ""},
		{"no priority", func(j *holdfast.Job) { j.Priority = 0 }, "priority 0"},
		{"a sixth priority", func(j *holdfast.Job) { j.Priority = 6 }, "priority 6"},
		{"the longest auto-abort", func(j *holdfast.Job) { j.AutoAbort.After = holdfast.MaxAutoAbort * time.Minute }, ""},
		{"a longer auto-abort", func(j *holdfast.Job) { j.AutoAbort.After = (holdfast.MaxAutoAbort + 1) * time.Minute }, "auto-abort"},
		{"a negative auto-abort", func(j *holdfast.Job) { j.AutoAbort.After = -time.Minute }, "auto-abort"},
		{"an auto-abort of seconds", func(j *holdfast.Job) { j.AutoAbort.After = 90 * time.Second }, "auto-abort"},
		{"retention of none", func(j *holdfast.Job) { j.Retention.Count = 0 }, "retention of 0"},
		{"retention of weeks", func(j *holdfast.Job) { j.Retention.Unit = "WEEKS" }, "retention unit"},
		{"the most settings", func(j *holdfast.Job) {
			j.Annotations = map[string]json.RawMessage{"a": make(json.RawMessage, holdfast.MaxAnnotations-1), "b": {'1'}}
		}, ""},
		{"more settings", func(j *holdfast.Job) {
			j.Annotations = map[string]json.RawMessage{"a": make(json.RawMessage, holdfast.MaxAnnotations), "b": {'1'}}
		}, "settings take 1048577 bytes"},
		{"an unknown type", func(j *holdfast.Job) { j.Type = "REPLICATE" }, "job type"},
		{"an ETL of nothing", func(j *holdfast.Job) { j.Type, j.Retention = holdfast.JobETL, holdfast.Retention{} }, "needs a definition"},
		{"a restore", func(j *holdfast.Job) {
			j.Type, j.Restore = holdfast.JobRestore, &holdfast.RestoreSpec{Set: 1001, Directory: "/restore/a"}
		}, ""},
		{"a restore of nothing", func(j *holdfast.Job) { j.Type = holdfast.JobRestore }, "needs a backup set"},
		{"a restore to nowhere", func(j *holdfast.Job) {
			j.Type, j.Restore = holdfast.JobRestore, &holdfast.RestoreSpec{Set: 1001}
		}, "target directory"},
	} {
		j := backupJob()
		c.edit(&j)
		wantInvalid(t, c.name, j.Validate(), c.words)
	}
}

func TestRestoreSpecValidate(t *testing.T) {
	for _, c := range []struct {
		name        string
		directory   string
		tablespaces map[uint32]string
		words       string
	}{
		{"a directory", "/r/data", nil, ""},
		{"with tablespaces beside it", "/r/data", map[uint32]string{1: "/r/ts1", 2: "/r/ts2"}, ""},
		{"names that begin alike", "/r/data", map[uint32]string{1: "/r/data2", 2: "/r/dat"}, ""},
		{"none", "", nil, "target directory"},
		{"relative", "r/data", nil, "target directory"},
		{"the root", "/", nil, "target directory"},
		{"up", "/r/../etc", nil, "target directory"},
		{"a slash at the end", "/r/data/", nil, "target directory"},
		{"two slashes", "/r//data", nil, "target directory"},
		{"a NUL", "/r/da\x00ta", nil, "target directory"},
		{"a relative tablespace", "/r/data", map[uint32]string{1: "ts1"}, "tablespace directory"},
		{"an empty tablespace", "/r/data", map[uint32]string{1: ""}, "tablespace directory"},
		{"a tablespace in the data directory", "/r/data", map[uint32]string{1: "/r/data/ts1"}, "lie inside each other"},
		{"the data directory in a tablespace", "/r/ts1/data", map[uint32]string{1: "/r/ts1"}, "lie inside each other"},
		{"a tablespace that is the data directory", "/r/data", map[uint32]string{1: "/r/data"}, "lie inside each other"},
		{"one tablespace in another", "/r/data", map[uint32]string{1: "/r/ts", 2: "/r/ts/b"}, "lie inside each other"},
		{"two tablespaces in one directory", "/r/data", map[uint32]string{1: "/r/ts", 2: "/r/ts"}, "lie inside each other"},
	} {
		wantInvalid(t, c.name, holdfast.RestoreSpec{Directory: c.directory, Tablespaces: c.tablespaces}.Validate(), c.words)
	}
}

func TestRetentionValidate(t *testing.T) {
	for _, c := range []struct {
		retention holdfast.Retention
		words     string
	}{
		{holdfast.Retention{Count: 1}, ""},
		{holdfast.Retention{Unit: holdfast.RetainSets, Count: holdfast.MaxRetention}, ""},
		{holdfast.Retention{Unit: holdfast.RetainGenerations, Count: 4}, ""},
		{holdfast.Retention{Count: holdfast.MaxRetention + 1}, "out of range"},
		{holdfast.Retention{Count: -1}, "out of range"},
		{holdfast.Retention{Unit: "DAYS", Count: 1}, "unit"},
	} {
		wantInvalid(t, string(c.retention.Unit), c.retention.Validate(), c.words)
	}
}

func TestParseRunType(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  holdfast.RunType
		words string
	}{
		{"FULL", holdfast.RunFull, ""},
		{" full\n", holdfast.RunFull, ""},
		{"Delta", holdfast.RunDelta, ""},
		{"incremental", holdfast.RunDelta, ""},
		{"CUMULATIVE", holdfast.RunCumulative, ""},
		{"Differential", holdfast.RunCumulative, ""},
		{"", "", "run type"},
		{"FULLY", "", "run type"},
	} {
		got, err := holdfast.ParseRunType(c.text)
		wantInvalid(t, c.text, err, c.words)
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
}

package baas_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/baas"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// keys returns the keys of a JSON object, in their order.
func keys(t *testing.T, b []byte) []string {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(b)))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	var all []string
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k.(string))
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// The published samples. Source: docs/api/enterprise.md, "Shapes".
const (
	jobKeys = "site_id auto_abort_in_minutes backup_type description is_active is_auto_abort_active job_id job_type " +
		"last_execution_details name next_run_time no_of_retention_copies priority siteTargetType backup_mechanism targetSiteDetails"
	detailKeys = "site_id auto_abort_in_minutes backup_type description job_settings is_active is_auto_abort_active job_id job_type " +
		"last_execution_details name next_run_time no_of_retention_copies siteTargetType targetSiteDetails priority backup_mechanism"
	settingsKeys = "online objects continue_job_on_access_right_violation run_as_a_copy_job " +
		"restore_to_a_different_database_on_target_site skip_statstics retained_copy"
	objectKeys    = "exclude_objects include_all object_name object_type parent_name parent_type rename_to"
	lastKeys      = "end_time start_time status backup_set_size backup_job_id backup_job_execution_id restore_execution_id"
	targetKeys    = "target_site_id target_retention_copies_count target_retention_source"
	executionKeys = "site_id target_site job_id job_name backup_mechanism job_type execution_id execution_name start_time end_time " +
		"backup_set_size server_execution_id parent_execution_id status saveset_replication_status is_saveset_retained " +
		"is_saveset_deleted saveset_id run_type site_type status_detail"
)

func TestKeysStandAsInTheSamples(t *testing.T) {
	for name, c := range map[string]struct {
		shape any
		want  string
	}{
		"job":       {baas.Job{}, jobKeys},
		"detail":    {baas.JobDetail{}, detailKeys},
		"settings":  {baas.JobSettings{}, settingsKeys},
		"object":    {baas.Object{}, objectKeys},
		"exclude":   {baas.Excluded{}, "object_name object_type"},
		"last":      {baas.LastExecution{}, lastKeys},
		"target":    {baas.TargetSite{}, targetKeys},
		"execution": {baas.Execution{}, executionKeys},
	} {
		b, err := json.Marshal(c.shape)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(keys(t, b), " "); got != c.want {
			t.Errorf("%s: got keys\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

// TestEveryStatusHasAWord walks every combination that Status.Check allows.
func TestEveryStatusHasAWord(t *testing.T) {
	words := []string{"QUEUED", "RUNNING", "ABORTING", "SUCCESSFUL", "FAILED", "ABORTED"}
	for _, state := range holdfast.States() {
		for _, wanted := range holdfast.Wishes() {
			for _, outcome := range append(holdfast.Outcomes(), holdfast.OutcomeNone) {
				s := holdfast.Status{State: state, Wanted: wanted, Outcome: outcome, Fence: 1}
				if outcome == holdfast.OutcomeCancelled {
					s.Fence = 0
				}
				if s.Check() != nil {
					continue
				}
				got := baas.View{}.Execution(holdfast.Execution{Type: holdfast.JobBackup, Status: s})
				if !slices.Contains(words, got.Status) {
					t.Errorf("%+v: got %q", s, got.Status)
				}
				terminal := slices.Contains(words[3:], got.Status)
				if terminal != (state == holdfast.StateEnded) {
					t.Errorf("%+v: %s is terminal: %v", s, got.Status, terminal)
				}
				if good := outcome == holdfast.OutcomeSucceeded; (got.Status == "SUCCESSFUL") != good {
					t.Errorf("%+v: got %s", s, got.Status)
				}
			}
		}
	}
}

// TestARestoreNamesItsSetWhateverItsOutcome: a failed backup has only a reserved
// number.
func TestARestoreNamesItsSetWhateverItsOutcome(t *testing.T) {
	failed := holdfast.Status{State: holdfast.StateEnded, Outcome: holdfast.OutcomeFailed, Fence: 1}
	v := baas.View{Sets: map[holdfast.SetID]service.SetView{1001: {}}}
	for kind, want := range map[holdfast.JobType]int64{holdfast.JobBackup: 0, holdfast.JobRestore: 1001} {
		got := v.Execution(holdfast.Execution{Type: kind, Status: failed, Set: 1001})
		if got.Saveset != want || got.Deleted {
			t.Errorf("%s: got set %d, deleted %v; want %d", kind, got.Saveset, got.Deleted, want)
		}
	}
}

func TestEveryCodeHasAnAnswer(t *testing.T) {
	seen := map[int]holdfast.Code{}
	for _, c := range []holdfast.Code{
		holdfast.CodeInternal, holdfast.CodeInvalid, holdfast.CodeUnauthenticated, holdfast.CodeForbidden, holdfast.CodeNotFound,
		holdfast.CodeConflict, holdfast.CodeUnavailable, holdfast.CodeExhausted,
	} {
		f := baas.FailureOf(holdfast.Errorf(c, "what failed"))
		if other, twice := seen[f.Status]; twice || f.Code == "" {
			t.Errorf("%s: got %d %q, as %s", c, f.Status, f.Code, other)
		}
		seen[f.Status] = c
		if (c == holdfast.CodeInternal) == (f.Message == "what failed") {
			t.Errorf("%s: got message %q", c, f.Message)
		}
	}
}

func TestToken(t *testing.T) {
	basic := func(e *base64.Encoding, s string) string { return "Basic " + e.EncodeToString([]byte(s)) }
	for _, c := range []struct{ name, header, want string }{
		{"none", "", ""},
		{"bearer", "Bearer hf_x", "hf_x"},
		{"surplus blanks", "  bearer   hf_x ", "hf_x"},
		{"basic", basic(base64.StdEncoding, "u:hf_x"), "hf_x"},
		{"basic without padding", basic(base64.RawStdEncoding, "us:hf_x"), "hf_x"},
		{"basic in the URL alphabet", basic(base64.URLEncoding, "ü?:hf_ÿÿ"), "hf_ÿÿ"},
		{"a colon in the password", basic(base64.StdEncoding, "u:a:b"), "a:b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := baas.Token(http.Header{"Authorization": {c.header}})
			if err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
	for _, header := range []string{"Bearer", "Bearer ", "Basic", "Basic dTo=", "Basic dQ==", "Digest x", "hf_x", "Basic é"} {
		if got, err := baas.Token(http.Header{"Authorization": {header}}); holdfast.ErrorCode(err) != holdfast.CodeUnauthenticated {
			t.Errorf("%q: got %q, %v; want unauthenticated", header, got, err)
		}
	}
}

func TestSegments(t *testing.T) {
	for path, want := range map[string][]string{
		"/r/v2/sites":             {"sites"},
		"/r/v2/sites/":            {"sites"},
		"/r/v2":                   {},
		"/r/v2/":                  {},
		"/r/v2/a%20b/%20c%20":     {"a b", "c"},
		"/r/v2/a%2Fb":             {"a/b"},
		"/r/v2//a":                {"", "a"},
		"/r/v2/a//":               {"a", ""},
		"/r%20/v2/a":              {"a"},
		"/r/v2/a/%2E%2E/jobs/%31": {"a", "..", "jobs", "1"},
	} {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := baas.Segments(u, "/r/v2"); !ok || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v; want %q", path, got, ok, want)
		}
	}
	for _, path := range []string{"/", "/r", "/r/v3/a", "/x/r/v2/a"} {
		if got, ok := baas.Segments(&url.URL{Path: path}, "/r/v2"); ok {
			t.Errorf("%s: got %q, want none", path, got)
		}
	}
}

// TestMerge is the table of RFC 7396, appendix A, as far as documents are
// objects.
func TestMerge(t *testing.T) {
	for _, c := range []struct{ doc, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		got, err := json.Marshal(baas.Merge(tree(t, c.doc), tree(t, c.patch)))
		if err != nil || string(got) != c.want {
			t.Errorf("%s with %s: got %s, %v; want %s", c.doc, c.patch, got, err, c.want)
		}
	}
}

func tree(t *testing.T, s string) baas.Tree {
	t.Helper()
	v, err := baas.ParseTree([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestParseTreeRefuses(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"a comment", "{\n// x\n}", "comment at line 2, column 1"},
		{"a comment behind a value", `{"a":1 // x`, "comment at line 1, column 8"},
		{"a block comment", `{"a":/* x */1}`, "comment"},
		{"a shell's comment", "# x\n{}", "comment"},
		{"a slash in a string is no comment", `{"a":"//"`, "not valid JSON"},
		{"a key twice", `{"a":{"b":1,"b":2}}`, `"a.b" stands twice`},
		{"a key twice by escape", `{"a":1,"\u0061":2}`, `"a" stands twice`},
		{"no object", `3`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"two objects", `{}{}`, "not valid JSON"},
		{"bad UTF-8", "{\"a\":\"\xff\"}", "UTF-8"},
		{"depth", `{"a":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`, "nested"},
		{"a trailing comma", `{"a":1,}`, "not valid JSON"},
		{"a number that JSON has not", `{"a":01}`, "not valid JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := baas.ParseTree([]byte(c.body))
			if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorMessage(err), c.want) {
				t.Errorf("got %v, %v; want a fault that names %q", v, err, c.want)
			}
		})
	}
}

// FuzzParseTree checks that what is read is what encoding/json reads, and that
// writing it and reading it again gives the same.
func FuzzParseTree(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}],"c":-1e9}`, `{"a":"\ud800"}`, "\xef\xbb\xbf{}", ` `, `[]`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := baas.ParseTree(b)
		if err != nil {
			if holdfast.ErrorCode(err) != holdfast.CodeInvalid {
				t.Fatalf("got %v, want CodeInvalid", err)
			}
			return
		}
		out, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := baas.ParseTree(out)
		if err != nil || !reflect.DeepEqual(got, again) {
			t.Fatalf("got %v, then %v (%v)", got, again, err)
		}
	})
}

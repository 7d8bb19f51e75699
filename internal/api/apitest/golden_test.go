package apitest

import (
	"strings"
	"testing"
)

func TestFormatGivesBackWhatParseRead(t *testing.T) {
	const text = `# What comes first.

# Two lines
# of it.
-- given --
clock 1s
-- request --
POST /a
X-Y: z
{"a":1,
"b":2}
-- response --
200
x-page: 1

-- domain --
nothing

# The next.
-- request --
GET /b
-- response --
204
-- domain --
nothing
-- request --
GET /c
-- response --
-- domain --
`
	all, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := format(all); got != text {
		t.Errorf("got\n%s\nwant\n%s", got, text)
	}
	if len(all) != 3 || all[0].given[0] != "clock 1s" || all[2].request[0] != "GET /c" {
		t.Errorf("got %+v", all)
	}
	headers, body := split(all[0].request)
	if len(headers) != 1 || headers[0] != [2]string{"X-Y", "z"} || body != "{\"a\":1,\n\"b\":2}" {
		t.Errorf("got headers %v and body %q", headers, body)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no request":            "# x\n-- given --\nclock 1s\n",
		"sections out of order": "-- request --\nGET /\n-- domain --\nx\n-- response --\n200\n",
		"text before sections":  "hello\n-- request --\nGET /\n",
		"empty":                 "",
	} {
		if all, err := parse(text); err == nil {
			t.Errorf("%s: got %+v, want an error", name, all)
		}
	}
}

func TestCompareSeesEveryDifference(t *testing.T) {
	w := NewWorld(t)
	if err := w.give(t.Context(), "job berlin nightly"); err != nil {
		t.Fatal(err)
	}
	before, err := w.rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"run 1001 FULL", "start 1001", "move 1001 fail out of luck"} {
		if err := w.give(t.Context(), line); err != nil {
			t.Fatal(err)
		}
	}
	lines, err := w.effect(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(lines, "\n"); !strings.Contains(got, "execution 1001 of job 1001: BACKUP ENDED FAILED run_type=FULL") || !strings.Contains(got, "ring default") {
		t.Errorf("got\n%s", got)
	}
	for _, line := range []string{"nonsense", "run 1001", "run x FULL", "start 7"} {
		if err := w.give(t.Context(), line); err == nil {
			t.Errorf("%q: got no error", line)
		}
	}
}

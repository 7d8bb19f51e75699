package bmcetl

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestWellFormed(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"an object", `{"a":[1,"ß",{"b":null}]}`, ""},
		{"a pair of surrogates", `{"a":"\ud83d\ude00"}`, ""},
		{"an escaped backslash before a u", `{"a":"\\ud800"}`, ""},
		{"the first half of a pair", `{"a":"\ud83d"}`, "line 1, column 7"},
		{"the second half of a pair", "{\n\"a\":\"ß\\ude00\"}", "line 2, column 7"},
		{"two first halves", `{"a":"\ud83d\ud83d"}`, "line 1, column 7"},
		{"half a pair as a name", `{"\ud800":1}`, "line 1, column 3"},
		{"another encoding", "{\"a\":\"\xe9\"}", "line 1, column 7"},
		{"a missing quote", "{\n  \"a\": x}", "line 2, column 8"},
		{"a missing comma", `{"a": 1 "b": 2}`, "line 1, column 9"},
		{"an end that is missing", `{"a": [1`, "too early"},
		{"a backslash as the end", `{"a"\`, "line 1, column 5"},
		{"a backslash as the end of a text", `{"a":"\`, "too early"},
		{"nothing", ``, "too early"},
		{"two values", `{} {}`, "follows its end"},
		{"a name twice", `{"a":1,"a":2}`, "stands twice"},
		{"too deep", strings.Repeat("[", maxDepth+1), "too deep"},
	} {
		err := wellFormed([]byte(c.body))
		if c.want == "" {
			if err != nil || !json.Valid([]byte(c.body)) {
				t.Errorf("%s: got %v, want none", c.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

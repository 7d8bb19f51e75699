package bmcetl

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

// TestListIsJSON reads what listJSON writes, with names that need care.
func TestListIsJSON(t *testing.T) {
	names := []string{"orders", "", `say "hi" \\ /`, "päß €", "tab\tand\x7f", "<script>&", "\u2028"}
	var jobs []holdfast.Job
	type configured struct {
		Name   string `json:"name"`
		Active bool   `json:"active"`
		ID     int64  `json:"run_configuration_id"`
	}
	type listed struct {
		Name           string       `json:"name"`
		ID             int64        `json:"etl_id"`
		Configurations []configured `json:"run_configurations"`
		Type           string       `json:"type"`
	}
	var want []listed
	for i, name := range names {
		j := holdfast.Job{ID: holdfast.JobID(i), Name: name, ETL: &holdfast.ETLSpec{Service: i%2 == 1}}
		w := listed{Name: name, ID: int64(i), Configurations: []configured{}, Type: map[bool]string{true: "service", false: "batch"}[i%2 == 1]}
		for k := range i {
			j.ETL.Configurations = append(j.ETL.Configurations, holdfast.RunConfiguration{ID: holdfast.RunConfigurationID(k), Name: names[k], Active: k == 1})
			w.Configurations = append(w.Configurations, configured{names[k], k == 1, int64(k)})
		}
		jobs, want = append(jobs, j), append(want, w)
	}
	var got []listed
	if err := json.Unmarshal(listJSON(jobs), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if text := string(listJSON(nil)); text != "[]" {
		t.Errorf("got %s for no ETLs", text)
	}
}

// TestListTexts asks for lists again: what has changed shows, and what has not is not
// written anew.
func TestListTexts(t *testing.T) {
	t.Parallel()
	list := func(n int, name string) []holdfast.Job {
		jobs := make([]holdfast.Job, n)
		for i := range jobs {
			jobs[i] = holdfast.Job{ID: holdfast.JobID(1001 + i), Name: name, ETL: &holdfast.ETLSpec{}}
		}
		return jobs
	}
	var l listTexts
	long, changed := list(longList, "a"), list(longList, "b")
	first := l.text(1, long)
	for name, c := range map[string]struct {
		account holdfast.AccountID
		jobs    []holdfast.Job
	}{
		"the same": {1, long}, "changed": {1, changed}, "a part": {1, long[:longList-1]}, "its end": {1, long[1:]}, "another account's": {2, list(longList, "c")}, "none": {1, nil},
	} {
		if got, want := string(l.text(c.account, c.jobs)), string(listJSON(c.jobs)); got != want {
			t.Errorf("%s: got %.100s, want %.100s", name, got, want)
		}
	}
	again := l.text(3, long)
	if &again[0] == &first[0] {
		t.Error("the text of one account's list is another's")
	}
	if twice := l.text(3, long); &twice[0] != &again[0] {
		t.Error("the list was written anew")
	}
	for a := range holdfast.AccountID(3 * keptLists) {
		l.text(a, list(longList, "d"))
	}
	if len(l.kept) > keptLists {
		t.Errorf("%d lists are kept", len(l.kept))
	}
}

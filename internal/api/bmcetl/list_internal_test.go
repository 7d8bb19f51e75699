package bmcetl

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

// TestListIsJSON reads what appendList writes, with names that need care.
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
	if err := json.Unmarshal(appendList(nil, jobs), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if text := string(appendList(nil, nil)); text != "[]" {
		t.Errorf("got %s for no ETLs", text)
	}
}

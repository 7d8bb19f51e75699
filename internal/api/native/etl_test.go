package native_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// definitionOf is an ETL of the sites that setUp makes.
func definitionOf(t *testing.T, name, mode string) string {
	t.Helper()
	b, err := json.Marshal("apiVersion: holdfast/etl/v1\nname: " + name + "\n" + mode + `
connections: {here: {site: berlin}}
extract: [{name: orders, connection: here, table: orders, incremental: {strategy: column, column: id}}]
load: [{from: orders, connection: here, table: copies}]
`)
	noError(t, err)
	return string(b)
}

const serviceMode = "mode: service\nservice: {interval: 1s}"

// TestETLExchanges makes, runs, plans, stops and changes ETLs; the golden file is
// read in review.
func TestETLExchanges(t *testing.T) {
	r := newRig(t)
	r.setUp()
	r.transcript.Reset()
	batch, service := definitionOf(t, "copy", ""), definitionOf(t, "follow", serviceMode)
	r.want(201, "POST", "/api/v1/etls", `{"definition":`+batch+`,"properties":{"region":"north"}}`)
	r.want(201, "POST", "/api/v1/etls", `{"definition":`+service+`}`)
	r.want(409, "POST", "/api/v1/etls", `{"definition":`+batch+`}`)
	r.want(400, "POST", "/api/v1/etls", `{"definition":"apiVersion: holdfast/etl/v1\nname: 7"}`)
	r.want(200, "GET", "/api/v1/jobs?type=ETL", "")
	r.want(200, "GET", "/api/v1/etls/copy/status", "")
	r.want(200, "POST", "/api/v1/etls/copy/run", `{"properties":{"additional.as_of":"2026-01-01"},"simulate":true}`, "Idempotency-Key", "k1")
	r.want(200, "POST", "/api/v1/etls/copy/run", `{"properties":{"additional.as_of":"2026-01-01"},"simulate":true}`, "Idempotency-Key", "k1")
	r.want(200, "POST", "/api/v1/etls/copy/schedule", `{"at":"2026-03-01T03:00:00Z","period_seconds":3600}`)
	r.want(200, "GET", "/api/v1/etls/copy/status", "")
	r.want(200, "POST", "/api/v1/etls/copy/stop", "")
	r.want(200, "POST", "/api/v1/etls/copy/kill", "")
	r.want(200, "POST", "/api/v1/etls/follow/run", `{}`)
	r.want(200, "GET", "/api/v1/etls/follow/status", "")
	r.want(200, "POST", "/api/v1/etls/follow/kill", "")
	r.want(200, "PATCH", "/api/v1/etls/copy", `{"properties":{"region":"south"}}`)
	r.want(400, "PATCH", "/api/v1/etls/copy", `{"definition":"no definition"}`)
	r.want(200, "GET", "/api/v1/jobs/copy", "")
	r.want(200, "GET", "/api/v1/etls/copy/counters", "")
	r.want(204, "PUT", "/api/v1/etls/copy/counters", `{"flow":"orders","extract":"orders","value":"5"}`)
	r.want(404, "PUT", "/api/v1/etls/copy/counters", `{"flow":"none","extract":"orders","value":"5"}`)
	r.want(200, "POST", "/api/v1/etls/preview", `{"definition":`+batch+`,"rows":1}`)
	r.want(404, "POST", "/api/v1/etls/nightly-copy/run", `{}`)
	r.want(404, "GET", "/api/v1/etls/nightly/status", "")
	r.golden("etls")
}

// TestBoundsOfTimes asks for starts that nobody can mean.
func TestBoundsOfTimes(t *testing.T) {
	r := newRig(t)
	r.setUp()
	r.want(201, "POST", "/api/v1/etls", `{"definition":`+definitionOf(t, "copy", "")+`}`)
	for _, c := range []struct{ path, body, want string }{
		{"/api/v1/etls/copy/schedule", `{"at":"%s"}`, ""},
		{"/api/v1/executions", `{"job":"nightly","due":"%s"}`, ""},
	} {
		for at, want := range map[string]string{
			"0001-01-01T00:00:00Z": "is over", "1970-01-01T00:00:00Z": "is over", "2036-03-02T00:00:00Z": "more than 10 years ahead",
			"9999-12-31T23:59:59-23:59": "more than 10 years ahead",
		} {
			if got := r.want(400, "POST", c.path, fmt.Sprintf(c.body, at)); !strings.Contains(string(got.body), want) {
				t.Errorf("%s at %s: got %s, want %q", c.path, at, got.body, want)
			}
		}
	}
	// So many seconds overflow into an hour.
	r.want(422, "POST", "/api/v1/etls/copy/schedule", `{"period_seconds":36028797018967600}`)
}

// TestRunConfigurations changes which properties executions have, and whether there
// are any.
func TestRunConfigurations(t *testing.T) {
	r := newRig(t)
	r.setUp()
	r.want(201, "POST", "/api/v1/etls", `{"definition":`+definitionOf(t, "copy", "")+`,"properties":{"region":"north"}}`)
	r.transcript.Reset()
	const path = "/api/v1/etls/copy/run-configurations"
	r.want(200, "GET", path, "")
	r.want(201, "POST", path, `{"name":"test","properties":{"region":"south","db.password":"planted-3"}}`)
	r.want(400, "POST", path, `{"name":"test"}`)
	r.want(400, "POST", path, `{"name":"other","properties":{"db.password":"********"}}`)
	r.want(200, "PATCH", path+"/test", `{"name":"trial","properties":{"region":"east","db.password":"********"}}`)
	r.want(200, "PATCH", path+"/1002", `{"active":true}`)
	r.want(409, "DELETE", path+"/trial", "")
	r.want(200, "PATCH", path+"/trial", `{"active":false}`)
	r.want(409, "POST", "/api/v1/etls/copy/run", `{}`)
	r.want(200, "GET", path, "")
	r.want(204, "DELETE", path+"/trial", "")
	r.want(409, "DELETE", path+"/Default", "")
	r.want(404, "DELETE", path+"/trial", "")
	r.want(404, "GET", "/api/v1/etls/nightly/run-configurations", "")
	r.want(200, "PATCH", path+"/Default", `{"active":true}`)
	r.want(200, "PATCH", "/api/v1/etls/copy", `{"active":false}`)
	r.want(200, "POST", "/api/v1/etls/copy/run", `{}`)
	r.want(200, "PATCH", "/api/v1/jobs/copy", `{"active":true,"description":"by hand"}`)
	r.want(400, "PATCH", "/api/v1/jobs/copy", `{"retention":{"count":3}}`)
	r.golden("runconfigurations")
	seen := r.want(200, "GET", "/api/v1/events", "")
	if bytes.Contains(seen.body, []byte("planted")) || !bytes.Contains(seen.body, []byte(`"etl.updated"`)) {
		t.Errorf("got %s, want who changed the ETL and no secret", seen.body)
	}
}

// Whoever reads a job gets no secret of it, and who writes back what it has read
// loses none.
func TestSecretsOfAnETLAreMasked(t *testing.T) {
	r := newRig(t)
	r.setUp()
	r.want(201, "POST", "/api/v1/etls", `{"definition":`+definitionOf(t, "copy", "")+`,"properties":{"region":"north","db.password":"planted-1"}}`)
	id := r.want(200, "PATCH", "/api/v1/etls/copy", `{"properties":{"region":"south","db.password":"********","Api_Key":"planted-2"}}`)
	for _, a := range []answer{id, r.want(200, "GET", "/api/v1/jobs/copy", ""), r.want(200, "GET", "/api/v1/jobs?type=ETL", "")} {
		if strings.Contains(string(a.body), "planted") || !strings.Contains(string(a.body), `"db.password":"********"`) {
			t.Errorf("got %s, want its secrets masked", a.body)
		}
	}
	r.want(400, "PATCH", "/api/v1/etls/copy", `{"properties":{"new.token":"********"}}`)
	var job native.Job
	id.decode(t, &job)
	var stored holdfast.Job
	noError(t, r.store.View(t.Context(), func(tx store.Reader) (err error) {
		stored, err = tx.Job(t.Context(), 0, job.ID)
		return err
	}))
	if got := stored.ETL.Configurations[0].Properties; got["db.password"] != "planted-1" || got["Api_Key"] != "planted-2" || got["region"] != "south" {
		t.Errorf("got %v, want the secret that was masked as it was", got)
	}
}

// The client speaks the same words.
func TestClientETLs(t *testing.T) {
	r := newRig(t)
	r.setUp()
	c := newClient(t, r)
	ctx := t.Context()
	var text string
	noError(t, json.Unmarshal([]byte(definitionOf(t, "copy", "")), &text))
	made, err := c.CreateETL(ctx, native.NewETL{Definition: text, Properties: map[string]string{"region": "north"}})
	noError(t, err)
	if made.ETL == nil || made.ETL.Definition != text || made.ETL.Configurations[0].Properties["region"] != "north" {
		t.Errorf("got %+v, want the definition and its properties", made)
	}
	ran, err := c.RunETL(ctx, "berlin/copy", "", native.NewETLRun{})
	noError(t, err)
	planned, err := c.ScheduleETL(ctx, "copy", native.NewETLPlan{At: new(start.AddDate(0, 0, 1))})
	noError(t, err)
	s, err := c.ETLStatus(ctx, "copy")
	noError(t, err)
	if s.Current == nil || s.Current.ID != ran.ExecutionID || s.Planned == nil || s.Planned.ID != planned.ExecutionID {
		t.Errorf("got %+v, want %d as the current execution and %d planned", s, ran.ExecutionID, planned.ExecutionID)
	}
	stopped, err := c.MoveETL(ctx, "copy", "stop")
	noError(t, err)
	if stopped.ExecutionID != ran.ExecutionID {
		t.Errorf("stopped %d, want %d", stopped.ExecutionID, ran.ExecutionID)
	}
	e, err := c.Execution(ctx, ran.ExecutionID)
	noError(t, err)
	if e.Outcome != holdfast.OutcomeCancelled {
		t.Errorf("got %s, want CANCELLED", e.Outcome)
	}
	trial, err := c.CreateRunConfiguration(ctx, "copy", native.NewRunConfiguration{Name: "trial", Properties: map[string]string{"region": "south"}})
	noError(t, err)
	active, name := true, "second"
	_, err = c.UpdateRunConfiguration(ctx, "copy", "trial", native.RunConfigurationChange{Active: &active, Name: &name})
	noError(t, err)
	all, err := c.RunConfigurations(ctx, "copy")
	noError(t, err)
	if len(all) != 2 || all[0].Active || !all[1].Active || all[1].ID != trial.ID || all[1].Name != name {
		t.Errorf("got %+v, want the second one active", all)
	}
	_, err = c.UpdateRunConfiguration(ctx, "copy", "Default", native.RunConfigurationChange{Active: &active})
	noError(t, err)
	noError(t, c.DeleteRunConfiguration(ctx, "copy", name))
	properties := map[string]string{}
	changed, err := c.UpdateETL(ctx, "copy", native.ETLChange{Properties: &properties})
	noError(t, err)
	if len(changed.ETL.Configurations[0].Properties) != 0 {
		t.Errorf("got %+v, want no properties", changed.ETL.Configurations)
	}
	counters, err := c.ETLCounters(ctx, "copy")
	noError(t, err)
	noError(t, c.SetETLCounter(ctx, "copy", native.NewCounter{Flow: "orders", Extract: "orders"}))
	seen, err := c.PreviewETL(ctx, native.NewPreview{Definition: text})
	noError(t, err)
	const files = "apiVersion: holdfast/etl/v1\nname: files\nconnections: {lake: {directory: /srv}}\n" +
		"extract: [{name: a, connection: lake, file: {path: a.csv, format: csv, fields: [{name: id, type: int}]}}]\n" +
		"load: [{from: a, connection: lake, output: {path: b, format: csv}}]\n"
	_, err = c.PreviewETL(ctx, native.NewPreview{Definition: files})
	if holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Errorf("files without a site: got %v", err)
	}
	_, err = c.PreviewETL(ctx, native.NewPreview{Definition: files, Site: "berlin"})
	noError(t, err)
	if len(counters) != 1 || len(seen) != 1 || len(seen[0].Rows) != 1 {
		t.Errorf("got counters %v and preview %v, want one of each", counters, seen)
	}
}

package native_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// TestTriggerExchanges makes a chain of an ETL, a backup and an ETL, and gives an
// ETL a schedule; the golden file is read in review.
func TestTriggerExchanges(t *testing.T) {
	r := newRig(t)
	r.setUp()
	r.want(201, "POST", "/api/v1/etls", `{"definition":`+definitionOf(t, "load", "")+`}`)
	r.want(201, "POST", "/api/v1/etls", `{"definition":`+definitionOf(t, "report", "")+`}`)
	r.want(201, "POST", "/api/v1/etls", `{"definition":`+definitionOf(t, "follow", serviceMode)+`}`)
	r.transcript.Reset()
	r.want(200, "GET", "/api/v1/jobs/load/triggers", "")
	r.want(201, "POST", "/api/v1/jobs/load/triggers", `{"run":"berlin/nightly"}`)
	r.want(201, "POST", "/api/v1/jobs/nightly/triggers", `{"run":"report","on":"DONE","active":false}`)
	r.want(200, "PATCH", "/api/v1/jobs/nightly/triggers/1002", `{"active":true}`)
	r.want(200, "GET", "/api/v1/jobs/nightly/triggers", "")
	r.want(400, "POST", "/api/v1/jobs/report/triggers", `{"run":"load"}`)
	r.want(400, "POST", "/api/v1/jobs/load/triggers", `{"run":"load"}`)
	r.want(400, "POST", "/api/v1/jobs/follow/triggers", `{"run":"nightly"}`)
	r.want(400, "POST", "/api/v1/jobs/load/triggers", `{"run":"report","run_type":"FULL"}`)
	r.want(409, "POST", "/api/v1/jobs/load/triggers", `{"run":"nightly","on":"DONE"}`)
	r.want(404, "POST", "/api/v1/jobs/load/triggers", `{"run":"nowhere/nightly"}`)
	r.want(422, "POST", "/api/v1/jobs/load/triggers", `{"run":"report","on":"FAILED"}`)
	r.want(422, "PATCH", "/api/v1/jobs/nightly/triggers/1002", `{}`)
	r.want(404, "PATCH", "/api/v1/jobs/load/triggers/1002", `{"active":true}`)
	r.want(204, "DELETE", "/api/v1/jobs/load/triggers/1001", "")
	r.want(404, "DELETE", "/api/v1/jobs/load/triggers/1001", "")
	r.want(201, "POST", "/api/v1/jobs/load/schedules", `{"expression":"30 2 * * *"}`)
	r.want(400, "POST", "/api/v1/jobs/follow/schedules", `{"expression":"30 2 * * *"}`)
	r.golden("triggers")
}

// The client speaks the same words.
func TestClientTriggers(t *testing.T) {
	r := newRig(t)
	r.setUp()
	r.want(201, "POST", "/api/v1/etls", `{"definition":`+definitionOf(t, "load", "")+`}`)
	c := newClient(t, r)
	ctx := t.Context()
	made, err := c.CreateTrigger(ctx, "load", native.NewTrigger{Run: "berlin/nightly"})
	noError(t, err)
	if made.On != holdfast.OnSucceeded || made.RunType != holdfast.RunDelta || !made.Active || made.RunJobID != holdfast.FirstID {
		t.Errorf("got %+v, want the defaults", made)
	}
	resting, err := c.SetTriggerActive(ctx, "load", made.ID, false)
	noError(t, err)
	list, err := c.Triggers(ctx, "load")
	noError(t, err)
	if len(list) != 1 || list[0] != resting || resting.Active {
		t.Errorf("got %+v, want %+v", list, resting)
	}
	noError(t, c.DeleteTrigger(ctx, "load", made.ID))
	wantError(t, c.DeleteTrigger(ctx, "load", made.ID), holdfast.CodeNotFound, "trigger 1001")
}

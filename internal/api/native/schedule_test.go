package native_test

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// TestScheduleExchanges makes, changes, previews and deletes schedules; the
// golden file is read in review.
func TestScheduleExchanges(t *testing.T) {
	r := newRig(t)
	r.setUp()
	r.want(201, "POST", "/api/v1/jobs", `{"site":"berlin","name":"weekly","priority":1}`)
	r.transcript.Reset()
	r.want(200, "GET", "/api/v1/jobs/nightly/schedules", "")
	r.want(201, "POST", "/api/v1/jobs/nightly/schedules", `{"expression":"30 2 * * *","time_zone":"Europe/Berlin","run_type":"DELTA"}`)
	r.want(201, "POST", "/api/v1/jobs/nightly/schedules", `{"expression":"@monthly","active":false}`)
	r.want(200, "POST", "/api/v1/jobs/berlin%2Fweekly/schedules/preview", `{"expression":"cron(30 2 ? * 2 *)","time_zone":"Europe/Berlin","runs":2}`)
	r.want(200, "GET", "/api/v1/jobs/1001/schedules/1001", "")
	r.want(200, "PATCH", "/api/v1/jobs/nightly/schedules/1002", `{"expression":"rate(6 hours)","active":true}`)
	r.want(200, "GET", "/api/v1/jobs/nightly/schedules", "")
	r.want(200, "GET", "/api/v1/jobs/nightly/next-runs?limit=3", "")
	r.want(200, "GET", "/api/v1/jobs/nightly", "")
	r.want(400, "POST", "/api/v1/jobs/nightly/schedules", `{"expression":"0 0 15,L * *"}`)
	r.want(400, "POST", "/api/v1/jobs/nightly/schedules", `{"expression":"@daily","time_zone":"Mars/Olympus"}`)
	r.want(422, "POST", "/api/v1/jobs/nightly/schedules", `{"expression":"@daily","run_type":"HALF"}`)
	r.want(404, "GET", "/api/v1/jobs/berlin%2Fweekly/schedules/1001", "")
	r.want(404, "PATCH", "/api/v1/jobs/nightly/schedules/9999", `{}`)
	r.want(422, "GET", "/api/v1/jobs/nightly/schedules/first", "")
	r.want(204, "DELETE", "/api/v1/jobs/nightly/schedules/1001", "")
	r.want(404, "DELETE", "/api/v1/jobs/nightly/schedules/1001", "")
	r.golden("schedules")
}

// The client speaks the same words.
func TestClientSchedules(t *testing.T) {
	r := newRig(t)
	r.setUp()
	c := newClient(t, r)
	ctx := t.Context()
	made, err := c.CreateSchedule(ctx, "berlin/nightly", native.NewSchedule{Expression: "0 4 * * *"})
	noError(t, err)
	expression := "0 5 * * *"
	changed, err := c.UpdateSchedule(ctx, "nightly", made.ID, native.ScheduleChange{Expression: &expression})
	noError(t, err)
	if want := start.Add(3 * time.Hour); !changed.NextRun.Equal(want) || changed.RunType != holdfast.RunFull || changed.TimeZone != "UTC" {
		t.Errorf("got %+v, want the next run at %s", changed, want)
	}
	p, err := c.PreviewSchedule(ctx, "1001", native.AskedPreview{Expression: "0 5 * * *", RunType: holdfast.RunDelta, Runs: 1})
	noError(t, err)
	if len(p.NextRuns) != 1 || len(p.Conflicts) != 1 || p.Conflicts[0].ScheduleID != made.ID {
		t.Errorf("got %+v, want one run and one conflict", p)
	}
	list, err := c.Schedules(ctx, "nightly")
	noError(t, err)
	if len(list) != 1 || list[0] != changed {
		t.Errorf("got %+v, want %+v", list, changed)
	}
	noError(t, c.DeleteSchedule(ctx, "nightly", made.ID))
	wantError(t, c.DeleteSchedule(ctx, "nightly", made.ID), holdfast.CodeNotFound, "schedule 1001")
}

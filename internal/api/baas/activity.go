package baas

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Activity is one line of a site's history; its shape is ours.
type Activity struct {
	ID        int64   `json:"activity_id"`
	Time      string  `json:"time"`
	Activity  string  `json:"activity"`
	Actor     string  `json:"actor"`
	Subject   string  `json:"subject"`
	Job       int64   `json:"job_id"`
	Execution *string `json:"execution_id"`
	Schedule  int64   `json:"schedule_id"`
	RunType   *string `json:"run_type"`
	Detail    *string `json:"detail"`
}

// eventData is what this dialect shows of an event's data.
type eventData struct {
	Job      int64            `json:"job"`
	Schedule int64            `json:"schedule"`
	RunType  string           `json:"run_type"`
	Outcome  holdfast.Outcome `json:"outcome"`
	Detail   string           `json:"detail"`

	// Of a run that was skipped, or began late.
	Reason holdfast.SkipReason `json:"reason"`
	Due    time.Time           `json:"due"`
	Missed int                 `json:"missed"` // runs, this one included
	Before int64               `json:"for_execution"`
	First  int64               `json:"for_schedule"`
	Error  string              `json:"error"` // why it is refused
}

// activityOf translates an event. Source: docs/api/enterprise.md, "Activity".
func activityOf(e holdfast.Event) Activity {
	var d eventData
	if json.Unmarshal(e.Data, &d) != nil {
		d = eventData{} // its data has another form: what happened is in its kind
	}
	if e.Kind == "schedule.skipped" {
		d.Detail = skippedDetail(d)
	}
	a := Activity{
		ID: int64(e.ID), Time: e.Time.UTC().Format(timeLayout), Activity: activityWord(e.Kind, d), Actor: e.Actor, Subject: e.Subject,
		Job: d.Job, Schedule: d.Schedule, RunType: filled(&d.RunType), Detail: filled(&d.Detail),
	}
	switch what, id, _ := strings.Cut(e.Subject, " "); what {
	case "job":
		a.Job, _ = strconv.ParseInt(id, 10, 64)
	case "execution":
		a.Execution = &id
	case "schedule":
		a.Schedule, _ = strconv.ParseInt(id, 10, 64)
	}
	return a
}

// activityWord is what happened, in this dialect's words.
func activityWord(kind string, d eventData) string {
	switch {
	case kind == "schedule.skipped":
		return skippedWord(d.Reason)
	case kind == "execution.ended" && d.Outcome != holdfast.OutcomeNone:
		return "EXECUTION_" + statusWord(holdfast.Status{State: holdfast.StateEnded, Outcome: d.Outcome})
	}
	return snake(kind)
}

// skippedWord is why a scheduled run was left out.
func skippedWord(r holdfast.SkipReason) string {
	switch r {
	case holdfast.SkipBusy:
		return "SKIPPED_RUNNING"
	case holdfast.SkipPriority:
		return "SKIPPED_LOWER_PRIORITY"
	case holdfast.SkipMissed:
		return "SKIPPED_MISSED"
	case holdfast.SkipSame:
		return "SKIPPED_SAME_JOB"
	case holdfast.SkipRefused:
		return "SKIPPED_REFUSED"
	case holdfast.SkipNone, holdfast.SkipQueued, holdfast.SkipFull: // no schedule is left out for these
	}
	return "SKIPPED"
}

// skippedDetail says in words what the word of a skipped run leaves out.
func skippedDetail(d eventData) string {
	parts := []string{"due at " + d.Due.UTC().Format(timeLayout)}
	if d.Before != 0 {
		parts = append(parts, "execution "+ID(d.Before)+" stands in its way")
	}
	if d.First != 0 {
		parts = append(parts, "schedule "+ID(d.First)+" goes first")
	}
	if d.Error != "" {
		parts = append(parts, d.Error)
	}
	if d.Missed > 1 {
		parts = append(parts, strconv.Itoa(d.Missed)+" runs in all")
	}
	return strings.Join(parts, "; ")
}

func snake(s string) string {
	return strings.ToUpper(strings.NewReplacer(".", "_", " ", "_", "-", "_").Replace(s))
}

// activity lists what was done to a site, its jobs and their executions, the
// newest first.
func (h *handler) activity(ctx context.Context, c *Call) error {
	site, err := h.Scope.Site(ctx, c)
	if err != nil {
		return err
	}
	q, err := c.Query()
	if err != nil {
		return err
	}
	page, err := q.Page(true)
	if err != nil {
		return err
	}
	events, err := h.Service.SiteEvents(ctx, c.Actor, site.ID, page.Store())
	if err != nil {
		return err
	}
	list := make([]Activity, len(events))
	for i, e := range events {
		list[i] = activityOf(e)
	}
	writePage(c.w, page) // nobody counts the events
	writeJSON(c.w, http.StatusOK, list)
	return nil
}

// notifications are not offered: who wants to be told reads the activity.
func (h *handler) notifications(ctx context.Context, c *Call) error {
	if _, err := h.Scope.Site(ctx, c); err != nil {
		return err
	}
	return holdfast.Errorf(holdfast.CodeNotFound, "notifications are not offered").WithHint("poll the activity of the site")
}

package commvault

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// What can happen to a job, as events number it below our own subsystem.
const (
	eventAsked = iota + 1
	eventStarted
	eventRestarted
	eventWanted
	eventEnded
	eventKinds // how many, and one
)

// Severities of events.
const (
	severityInformation = 0
	severityMinor       = 3
	severityMajor       = 6
)

type eventShape struct {
	ID          int64  `json:"id"`
	Severity    int    `json:"severity"`
	Code        string `json:"eventCode"`
	CodeString  string `json:"eventCodeString"`
	Job         int64  `json:"jobId"`
	Subsystem   string `json:"subsystem"`
	Description string `json:"description"`
	Time        int64  `json:"timeSource"`
	Type        int    `json:"type"`
	Acknowledge int    `json:"acknowledge"`
	Client      entity `json:"clientEntity"`
}

// events tells what has happened to a job, or to the newest ones, the newest
// first. It is read from the job itself: what is there is what happened.
func (h *handler) events(ctx context.Context, c call) (any, error) {
	id, one, err := c.query.number("jobId")
	if err != nil {
		return nil, err
	}
	list := []eventShape{}
	reply := func() any { return map[string][]eventShape{"commservEvents": list} }
	if one {
		e, err := h.readJob(ctx, c.actor, id)
		switch {
		case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
			return reply(), nil
		case err != nil:
			return nil, err
		}
		v, err := h.siteView(ctx, c.actor, e.Site, e.Host)
		if err != nil {
			return nil, err
		}
		list = append(list, v.eventsOf(e)...)
		return reply(), nil
	}
	page, err := readPage(c, defaultJobs)
	if err != nil {
		return nil, err
	}
	page.Limit = min(page.Limit, maxJobPage)
	v, err := h.view(ctx, c.actor)
	if err != nil {
		return nil, err
	}
	jobs, _, err := h.Service.Executions(ctx, c.actor, store.ExecutionFilter{Types: jobTypes(), Page: page})
	if err != nil {
		return nil, err
	}
	for _, e := range jobs {
		list = append(list, v.eventsOf(e)...)
	}
	return reply(), nil
}

// eventsOf tells what has happened to an execution, the newest first.
func (v *view) eventsOf(e holdfast.Execution) []eventShape {
	client := v.client(e.Host)
	client.HostName = ""
	var list []eventShape
	add := func(kind int, at time.Time, severity int, text string) {
		if at.IsZero() {
			return
		}
		list = append(list, eventShape{
			ID: int64(e.ID)*eventKinds + int64(kind), Severity: severity, Code: strconv.Itoa(ownSubsystem | kind),
			CodeString: fmt.Sprintf("%d:%d", ownSubsystem>>24, kind), Job: int64(e.ID), Subsystem: "JobManager",
			Description: text, Time: seconds(at), Client: client,
		})
	}
	what := fmt.Sprintf("%s job [%d]", typeName(e.Type), e.ID)
	if !e.Ended.IsZero() {
		severity := severityInformation
		switch e.Outcome {
		case holdfast.OutcomeFailed:
			severity = severityMajor
		case holdfast.OutcomeWarning:
			severity = severityMinor
		case holdfast.OutcomeNone, holdfast.OutcomeSucceeded, holdfast.OutcomeStopped, holdfast.OutcomeAborted,
			holdfast.OutcomeKilled, holdfast.OutcomeCancelled:
		}
		text := fmt.Sprintf("%s has ended: %s", what, statusOfJob(e, e.Ended))
		if reason := why(e); reason != "" {
			text += ": " + reason
		}
		add(eventEnded, e.Ended, severity, text)
	}
	if e.Wanted != holdfast.WantRun {
		add(eventWanted, e.WantedAt, severityInformation, fmt.Sprintf("%s is wanted to %s", what, e.Wanted))
	}
	if e.Restarted.After(e.Started) {
		add(eventRestarted, e.Restarted, severityMinor, what+" was started again")
	}
	add(eventStarted, e.Started, severityInformation, what+" was started")
	add(eventAsked, e.Submitted, severityInformation, fmt.Sprintf("%s was asked for by [%s]", what, userName(e)))
	return list
}

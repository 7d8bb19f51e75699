package baas

import (
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// Schedule says when a job runs.
type Schedule struct {
	ID         int64   `json:"schedule_id"`
	Expression string  `json:"schedule_expression"`
	TimeZone   string  `json:"time_zone"`
	RunType    string  `json:"run_type"`
	Active     bool    `json:"is_active"`
	NextRun    *string `json:"next_run_time"`
}

// NextRun is one run that a schedule will make; schedule_id is 0 in the preview
// of one that does not exist yet.
type NextRun struct {
	At       *string `json:"next_run_time"`
	Schedule int64   `json:"schedule_id"`
	RunType  string  `json:"run_type"`
}

// Conflict is a run of another schedule of the site at the same time: a warning,
// no refusal.
type Conflict struct {
	At       *string `json:"conflict_time"`
	Job      int64   `json:"job_id"`
	JobName  string  `json:"job_name"`
	Schedule int64   `json:"schedule_id"`
	RunType  string  `json:"run_type"`
	Reason   string  `json:"reason"`
}

// Preview is what a schedule would do.
type Preview struct {
	Next      []NextRun  `json:"next_runs"`
	Conflicts []Conflict `json:"conflicts"`
}

func scheduleOf(s holdfast.Schedule) Schedule {
	return Schedule{
		ID: int64(s.ID), Expression: s.Expression, TimeZone: s.TimeZone, RunType: string(s.RunType), Active: s.Active, NextRun: stamp(s.NextRun),
	}
}

func previewOf(p service.Preview, of holdfast.Schedule) Preview {
	out := Preview{Next: make([]NextRun, len(p.Next)), Conflicts: make([]Conflict, len(p.Conflicts))}
	for i, at := range p.Next {
		out.Next[i] = NextRun{At: stamp(at), Schedule: int64(of.ID), RunType: string(of.RunType)}
	}
	for i, c := range p.Conflicts {
		out.Conflicts[i] = Conflict{
			At: stamp(c.At), Job: int64(c.Job), JobName: c.JobName, Schedule: int64(c.Schedule), RunType: string(c.RunType), Reason: c.Reason,
		}
	}
	return out
}

// readSchedule reads a schedule; what the request leaves out gets its default.
// The service checks its expression and its time zone.
func readSchedule(t Tree) (holdfast.Schedule, error) {
	if err := respell("", t, scheduleAliases()); err != nil {
		return holdfast.Schedule{}, err
	}
	r := reader{}
	top := r.object("", map[string]any(t))
	s := holdfast.Schedule{
		Expression: strings.TrimSpace(r.textOf(top, "schedule_expression")),
		TimeZone:   strings.TrimSpace(r.textOf(top, "time_zone")),
		RunType:    holdfast.RunFull,
		Active:     r.flag(top, "is_active", true),
	}
	word := strings.TrimSpace(r.textOf(top, "run_type"))
	if r.err != nil {
		return holdfast.Schedule{}, r.err
	}
	if s.Expression == "" {
		return holdfast.Schedule{}, holdfast.Errorf(holdfast.CodeInvalid, "schedule_expression is missing").
			WithHint("send one, such as {\"schedule_expression\":\"0 3 * * *\",\"run_type\":\"DELTA\"}")
	}
	if word != "" {
		var err error
		if s.RunType, err = holdfast.ParseRunType(word); err != nil {
			return holdfast.Schedule{}, err
		}
	}
	return s, nil
}

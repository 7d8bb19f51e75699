package commvault

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func (h *handler) scheduleRoutes(add, _ adder) {
	add(http.MethodGet, "Schedules", h.schedules)
}

// How many schedules a list shows that asks for no page, and the SDK asks for
// none: of what a filter selects, and of the whole CommCell. Source:
// docs/api/commvault.md, "Lists".
const (
	selectedSchedules = 1000
	unpagedSchedules  = 100
)

type scheduleShape struct {
	Task        scheduleTask      `json:"task"`
	Association []entity          `json:"associations"`
	SubTasks    []scheduleSubTask `json:"subTasks"`
}

type scheduleTask struct {
	ID    int64         `json:"taskId"`
	Name  string        `json:"taskName"`
	Type  int           `json:"taskType"` // 2: a schedule
	Flags scheduleFlags `json:"taskFlags"`
}

type scheduleFlags struct {
	Disabled bool `json:"disabled"`
}

type scheduleSubTask struct {
	SubTask scheduleKind    `json:"subTask"`
	Pattern schedulePattern `json:"pattern"`
	Options scheduleOptions `json:"options"`
	Next    int64           `json:"nextScheduleTime"` // seconds since 1970; 0: none
}

type scheduleKind struct {
	ID          int64  `json:"subTaskId"`
	Name        string `json:"subTaskName"`
	Description string `json:"description"`   // without it the SDK does not look at the pattern's
	Type        int    `json:"subTaskType"`   // 2: a backup
	Operation   int    `json:"operationType"` // likewise
}

type schedulePattern struct {
	Description string   `json:"description"`
	Zone        zoneName `json:"timeZone"`
}

type scheduleOptions struct {
	Backup struct {
		Level string `json:"backupLevel"`
	} `json:"backupOpts"`
}

// schedules lists the schedules of the subclients that the parameters select. It
// is asked for whenever a client opens a backup set or a subclient, and {} is the
// answer for none.
func (h *handler) schedules(ctx context.Context, c call) (any, error) {
	f, err := readFilter(c)
	if err != nil {
		return nil, err
	}
	limit := selectedSchedules
	if !f.any() {
		limit = unpagedSchedules
	}
	page, err := readPage(c, limit)
	if err != nil {
		return nil, err
	}
	v, err := h.viewFor(ctx, c.actor, f)
	if err != nil {
		return nil, err
	}
	list, err := v.scheduled(ctx, f, page)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return struct{}{}, nil
	}
	shapes := make([]scheduleShape, len(list))
	for i, s := range list {
		shapes[i] = v.schedule(s)
	}
	return map[string][]scheduleShape{"taskDetail": shapes}, nil
}

// scheduled returns the schedules that a filter selects.
func (v *view) scheduled(ctx context.Context, f filter, page store.Page) ([]service.JobSchedule, error) {
	if f.given(levelSubclient) {
		return v.scheduledOf(ctx, f, page)
	}
	var sites []holdfast.SiteID
	for _, site := range v.instances(f) {
		sites = append(sites, site.ID)
	}
	if len(sites) == 0 || !slices.Contains(f.sets(), fsSet) {
		return nil, nil
	}
	if !f.any() {
		sites = nil // all that the actor may see
	}
	return v.h.Service.SiteSchedules(ctx, v.actor, sites, page)
}

// scheduledOf is scheduled for a filter that names subclients.
func (v *view) scheduledOf(ctx context.Context, f filter, page store.Page) ([]service.JobSchedule, error) {
	jobs, err := v.list(ctx, f, store.Page{})
	if err != nil {
		return nil, err
	}
	var all []service.JobSchedule
	for _, j := range jobs {
		list, err := v.h.Service.Schedules(ctx, v.actor, j.ID)
		if err != nil && holdfast.ErrorCode(err) != holdfast.CodeNotFound { // deleted meanwhile
			return nil, err
		}
		for _, s := range list {
			all = append(all, service.JobSchedule{Schedule: s, Site: j.Site, JobName: j.Name})
		}
	}
	return part(all, page), nil
}

// schedule translates a schedule. Its number is that of the task and of its only
// sub-task.
func (v *view) schedule(s service.JobSchedule) scheduleShape {
	name := fmt.Sprintf("%s %d", s.JobName, s.ID)
	when := s.Expression + " in " + s.TimeZone
	sub := scheduleSubTask{
		SubTask: scheduleKind{ID: int64(s.ID), Name: name, Description: when, Type: 2, Operation: 2},
		Pattern: schedulePattern{Description: when, Zone: zoneName{s.TimeZone}},
		Next:    seconds(s.NextRun),
	}
	sub.Options.Backup.Level = levelName(holdfast.Execution{Type: holdfast.JobBackup, RunType: s.RunType})
	return scheduleShape{
		Task:        scheduleTask{int64(s.ID), name, 2, scheduleFlags{!s.Active}},
		Association: []entity{v.subclient(holdfast.Job{ID: s.Job, Site: s.Site, Engine: holdfast.EnginePhysical, Name: s.JobName})},
		SubTasks:    []scheduleSubTask{sub},
	}
}

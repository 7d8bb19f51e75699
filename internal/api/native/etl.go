package native

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// ETL is what is particular to an ETL job.
type ETL struct {
	Service        bool               `json:"service" doc:"Runs in rounds until it is stopped"`
	Definition     string             `json:"definition,omitempty" doc:"As it was written, in YAML or JSON; left out of lists"`
	Sites          []string           `json:"sites,omitempty" doc:"Slugs of the sites that it reads and writes"`
	Configurations []RunConfiguration `json:"configurations"`
	Recurrence     *Recurrence        `json:"recurrence,omitempty"`
}

// RunConfiguration is a named set of properties of an ETL.
type RunConfiguration struct {
	ID         holdfast.RunConfigurationID `json:"id"`
	Name       string                      `json:"name"`
	Active     bool                        `json:"active" doc:"The one that executions use"`
	Properties map[string]string           `json:"properties,omitempty" doc:"Secrets, by their names, have ******** as their value"`
}

// Recurrence is when planned executions of an ETL follow each other.
type Recurrence struct {
	Start         time.Time `json:"start"`
	PeriodSeconds int64     `json:"period_seconds"`
	Armed         bool      `json:"armed" doc:"The next execution is planned"`
}

// NewETL asks for an ETL job.
type NewETL struct {
	Definition  string             `json:"definition" maxLength:"262144" doc:"YAML or JSON; see GET /etls/schema"`
	Name        string             `json:"name,omitempty" doc:"Left out: the definition's"`
	Description string             `json:"description,omitempty" doc:"Left out: the definition's"`
	Site        string             `json:"site,omitempty" doc:"Id or slug of the site whose worker runs it; left out: that of the first load"`
	Priority    *holdfast.Priority `json:"priority,omitempty" doc:"1 runs first, 5 last; default 5"`
	AutoAbort   *AutoAbort         `json:"auto_abort,omitempty"`
	Properties  map[string]string  `json:"properties,omitempty" doc:"Of its first run configuration"`
}

// ETLChange changes what it names and leaves the rest.
type ETLChange struct {
	Definition *string            `json:"definition,omitempty" maxLength:"262144"`
	Active     *bool              `json:"active,omitempty" doc:"false: planned executions are left out when they are due; a run by hand is taken"`
	Properties *map[string]string `json:"properties,omitempty" doc:"Of the active run configuration: all of them; ******** leaves a secret as it is"`
}

// NewETLRun asks for an execution of an ETL.
type NewETLRun struct {
	Properties map[string]string `json:"properties,omitempty" doc:"Over those of the run configuration, for this execution"`
	Simulate   bool              `json:"simulate,omitempty" doc:"Everything but the commit"`
}

// NewETLPlan asks for planned executions of an ETL.
type NewETLPlan struct {
	Properties    map[string]string `json:"properties,omitempty" doc:"Over those of the run configuration, for the next execution"`
	At            *time.Time        `json:"at,omitempty" doc:"When the next one is due, up to ten years ahead; left out: by the stored timing, or now"`
	PeriodSeconds int64             `json:"period_seconds,omitempty" minimum:"1" maximum:"316224000" doc:"From one to the next; left out: as stored"`
}

// ETLAnswer says which execution a request concerns.
type ETLAnswer struct {
	ExecutionID holdfast.ExecutionID `json:"execution_id,omitempty" doc:"Left out: none is concerned"`
	Service     bool                 `json:"service,omitempty"`
	Effect      string               `json:"effect,omitempty" doc:"none: it was so already"`
}

// ETLStatus is where an ETL is.
type ETLStatus struct {
	JobID       holdfast.JobID `json:"job_id"`
	Service     string         `json:"service,omitempty" enum:"NONE,ON,OFF,ABORTED" doc:"How a service stands; left out for a batch"`
	Armed       bool           `json:"armed,omitempty" doc:"Executions are planned"`
	Waiting     int            `json:"waiting,omitempty" doc:"Executions that wait for their turn"`
	Current     *Execution     `json:"current,omitempty" doc:"Runs, or waits for its turn first"`
	Planned     *Execution     `json:"planned,omitempty"`
	Last        *Execution     `json:"last,omitempty" doc:"The newest that has ended, also one that never started"`
	LastStarted *Execution     `json:"last_started,omitempty" doc:"The newest that ever started; it may be the current one"`
}

// NewPreview asks for the first rows of each relation of a definition.
type NewPreview struct {
	Definition string            `json:"definition" maxLength:"262144"`
	Site       string            `json:"site,omitempty" doc:"Id or slug of the site whose worker reads; default: that of the first load or extract that names one"`
	Properties map[string]string `json:"properties,omitempty"`
	Rows       int               `json:"rows,omitempty" minimum:"1" maximum:"1000" doc:"Default 10"`
}

// NewCounter sets how far an extract has been loaded by a flow.
type NewCounter struct {
	Flow    string `json:"flow"`
	Extract string `json:"extract"`
	Value   string `json:"value" doc:"As GET shows it; empty: from the beginning"`
}

// etl leaves out the definition, which may be long.
func (n names) etl(s *holdfast.ETLSpec) *ETL {
	if s == nil {
		return nil
	}
	out := &ETL{Service: s.Service, Sites: n.slugs(s.Sites), Configurations: []RunConfiguration{}}
	for _, c := range s.Configurations {
		out.Configurations = append(out.Configurations, runConfiguration(c))
	}
	if r := s.Recurrence; r != nil {
		out.Recurrence = &Recurrence{Start: utc(r.Start), PeriodSeconds: int64(r.Period / time.Second), Armed: r.Armed}
	}
	return out
}

// runConfiguration masks secrets.
func runConfiguration(c holdfast.RunConfiguration) RunConfiguration {
	return RunConfiguration{ID: c.ID, Name: c.Name, Active: c.Active, Properties: masked(c.Properties)}
}

// masked returns a copy of properties that shows no secret.
func masked(properties map[string]string) map[string]string {
	shown := maps.Clone(properties)
	for name := range shown {
		if holdfast.SecretProperty(name) {
			shown[name] = holdfast.MaskedProperty
		}
	}
	return shown
}

func (a *api) registerETLs() {
	a.registerRunConfigurations()
	register(a, operation{
		id: "create-etl", method: http.MethodPost, path: "/etls", tag: "etls", status: http.StatusCreated, summary: "Create an ETL job",
	}, a.createETL)
	register(a, operation{
		id: "update-etl", method: http.MethodPatch, path: "/etls/{job}", tag: "etls", summary: "Change an ETL's definition or properties, activate or deactivate it",
	}, a.updateETL)
	register(a, operation{
		id: "get-etl-status", method: http.MethodGet, path: "/etls/{job}/status", tag: "etls", summary: "Say where an ETL is",
	}, a.etlStatus)
	register(a, operation{
		id: "run-etl", method: http.MethodPost, path: "/etls/{job}/run", tag: "etls", summary: "Run an ETL now, or switch a service on",
	}, a.runETL)
	register(a, operation{
		id: "schedule-etl", method: http.MethodPost, path: "/etls/{job}/schedule", tag: "etls", summary: "Plan executions of an ETL",
	}, a.scheduleETL)
	register(a, operation{
		id: "stop-etl", method: http.MethodPost, path: "/etls/{job}/stop", tag: "etls", summary: "Stop an ETL at the end of its unit of work",
	}, func(ctx context.Context, actor holdfast.Actor, in *JobPath) (*output[ETLAnswer], error) {
		return a.etlWish(ctx, actor, in.Job, a.Service.StopETL)
	})
	register(a, operation{
		id: "kill-etl", method: http.MethodPost, path: "/etls/{job}/kill", tag: "etls", summary: "End an ETL at once, or cancel what is planned",
	}, func(ctx context.Context, actor holdfast.Actor, in *JobPath) (*output[ETLAnswer], error) {
		return a.etlWish(ctx, actor, in.Job, a.Service.KillETL)
	})
	register(a, operation{
		id: "list-etl-counters", method: http.MethodGet, path: "/etls/{job}/counters", tag: "etls", summary: "Say how far each flow of an ETL has been loaded",
	}, func(ctx context.Context, actor holdfast.Actor, in *JobPath) (*listOutput[engine.FlowCounter], error) {
		id, err := a.job(ctx, actor, in.Job)
		if err != nil {
			return nil, err
		}
		list, err := a.Service.ETLCounters(ctx, actor, id)
		return listOf(list, -1, same[engine.FlowCounter]), err
	})
	register(a, operation{
		id: "set-etl-counter", method: http.MethodPut, path: "/etls/{job}/counters", tag: "etls", summary: "Make the next execution of an ETL go on from another value",
	}, func(ctx context.Context, actor holdfast.Actor, in *struct {
		JobPath
		Body NewCounter
	},
	) (*none, error) {
		id, err := a.job(ctx, actor, in.Job)
		if err != nil {
			return nil, err
		}
		return &none{}, a.Service.SetETLCounter(ctx, actor, id, in.Body.Flow, in.Body.Extract, in.Body.Value)
	})
	register(a, operation{
		id: "preview-etl", method: http.MethodPost, path: "/etls/preview", tag: "etls", summary: "Read the first rows of each relation of a definition",
	}, a.previewETL)
	register(a, operation{
		id: "get-etl-schema", method: http.MethodGet, path: "/etls/schema", tag: "etls", summary: "The JSON Schema of a definition",
	}, func(context.Context, holdfast.Actor, *struct{}) (*output[json.RawMessage], error) {
		return &output[json.RawMessage]{Body: definition.Schema()}, nil
	})
}

func same[T any](v T) T { return v }

func (a *api) createETL(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewETL }) (*created[Job], error) {
	b := in.Body
	ask := service.NewETL{Name: b.Name, Description: b.Description, Definition: b.Definition, Properties: b.Properties}
	if b.Site != "" {
		s, err := a.site(ctx, actor, b.Site)
		if err != nil {
			return nil, err
		}
		ask.Site = s.ID
	}
	set(&ask.Priority, b.Priority)
	if b.AutoAbort != nil {
		ask.AutoAbort = holdfast.AutoAbort{Active: b.AutoAbort.Active, After: time.Duration(b.AutoAbort.Minutes) * time.Minute}
	}
	j, err := a.Service.CreateETL(ctx, actor, ask)
	if err != nil {
		return nil, err
	}
	return a.createdJob(ctx, actor, j.ID)
}

func (a *api) updateETL(ctx context.Context, actor holdfast.Actor, in *struct {
	JobPath
	Body ETLChange
},
) (*output[Job], error) {
	id, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	_, err = a.Service.UpdateETL(ctx, actor, id, func(j *holdfast.Job) error {
		set(&j.ETL.Definition, in.Body.Definition)
		set(&j.Active, in.Body.Active)
		if in.Body.Properties == nil {
			return nil
		}
		c := j.ETL.Active()
		if c == nil {
			return holdfast.Errorf(holdfast.CodeConflict, "the ETL has no active run configuration").WithHint("make one active first")
		}
		properties, err := unmasked(*in.Body.Properties, c.Properties)
		c.Properties = properties
		return err
	})
	if err != nil {
		return nil, err
	}
	return a.oneJob(ctx, actor, id)
}

// unmasked puts the stored secrets back where the given properties have the mask.
func unmasked(given, stored map[string]string) (map[string]string, error) {
	out := maps.Clone(given)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if given[name] != holdfast.MaskedProperty || !holdfast.SecretProperty(name) {
			continue
		}
		value, ok := stored[name]
		if !ok {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "the property %q is masked, and no secret is stored under this name", name).
				WithHint("give the secret itself, or leave the property out")
		}
		out[name] = value
	}
	return out, nil
}

func (a *api) runETL(ctx context.Context, actor holdfast.Actor, in *struct {
	JobPath
	Key  string `header:"Idempotency-Key" maxLength:"255" doc:"The same key gives the same execution"`
	Body NewETLRun
},
) (*output[ETLAnswer], error) {
	id, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	return etlAnswer(a.Service.RunETL(ctx, actor, service.RunETL{
		Job: id, Properties: in.Body.Properties, Simulate: in.Body.Simulate, IdempotencyKey: in.Key,
	}))
}

func (a *api) scheduleETL(ctx context.Context, actor holdfast.Actor, in *struct {
	JobPath
	Body NewETLPlan
},
) (*output[ETLAnswer], error) {
	id, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	return etlAnswer(a.Service.ScheduleETL(ctx, actor, service.ScheduleETL{
		RunETL: service.RunETL{Job: id, Properties: in.Body.Properties},
		At:     asked(in.Body.At), Period: time.Duration(in.Body.PeriodSeconds) * time.Second,
	}))
}

func (a *api) etlWish(
	ctx context.Context, actor holdfast.Actor, job string,
	wish func(context.Context, holdfast.Actor, holdfast.JobID) (service.ETLAnswer, error),
) (*output[ETLAnswer], error) {
	id, err := a.job(ctx, actor, job)
	if err != nil {
		return nil, err
	}
	return etlAnswer(wish(ctx, actor, id))
}

// etlAnswer is what a caller hears; a refusal by the ETL's state is CodeConflict.
func etlAnswer(r service.ETLAnswer, err error) (*output[ETLAnswer], error) {
	if err == nil && r.Refused != "" {
		err = holdfast.Errorf(holdfast.CodeConflict, "the ETL takes no such request now: %s", r.Refused).WithHint("%s", service.RefusalHint(r.Refused))
	}
	if err != nil {
		return nil, err
	}
	return &output[ETLAnswer]{Body: ETLAnswer{ExecutionID: r.Execution, Service: r.Service, Effect: r.Effect}}, nil
}

func (a *api) etlStatus(ctx context.Context, actor holdfast.Actor, in *JobPath) (*output[ETLStatus], error) {
	id, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	s, err := a.Service.ETLStatus(ctx, actor, id)
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	show := func(e *holdfast.Execution) *Execution {
		if e == nil {
			return nil
		}
		shown := n.execution(*e)
		return &shown
	}
	out := ETLStatus{
		JobID: s.Job.ID, Service: serviceWord(s), Armed: s.Job.ETL.Recurrence != nil && s.Job.ETL.Recurrence.Armed, Waiting: s.Waiting,
		Current: show(s.Current), Planned: show(s.Planned), Last: show(s.Last), LastStarted: show(s.LastStarted),
	}
	return &output[ETLStatus]{Body: out}, nil
}

// serviceWord is empty for a batch.
func serviceWord(s service.ETLStatus) string {
	switch {
	case !s.Job.ETL.Service:
		return ""
	case s.State() == service.ServiceNone:
		return "NONE"
	}
	return string(s.State())
}

func (a *api) previewETL(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewPreview }) (*listOutput[engine.Relation], error) {
	p := service.PreviewETL{Definition: in.Body.Definition, Properties: in.Body.Properties, Rows: in.Body.Rows}
	if in.Body.Site != "" {
		s, err := a.site(ctx, actor, in.Body.Site)
		if err != nil {
			return nil, err
		}
		p.Site = s.ID
	}
	list, err := a.Service.PreviewETL(ctx, actor, p)
	if err != nil {
		return nil, err
	}
	return listOf(list, -1, same[engine.Relation]), nil
}

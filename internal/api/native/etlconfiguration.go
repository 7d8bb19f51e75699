package native

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/holdfast-backup/holdfast"
)

// NewRunConfiguration asks for a run configuration of an ETL.
type NewRunConfiguration struct {
	Name       string            `json:"name" doc:"Unique in the ETL"`
	Properties map[string]string `json:"properties,omitempty"`
	Active     bool              `json:"active,omitempty" doc:"Executions use it from now on, instead of the one that is active"`
}

// RunConfigurationChange changes what it names and leaves the rest.
type RunConfigurationChange struct {
	Name       *string            `json:"name,omitempty"`
	Properties *map[string]string `json:"properties,omitempty" doc:"All of them; ******** leaves a secret as it is"`
	Active     *bool              `json:"active,omitempty" doc:"true: instead of the one that is active; false: none is active, and nothing runs"`
}

// RunConfigurationPath names a run configuration in a path.
type RunConfigurationPath struct {
	JobPath
	Configuration string `path:"configuration" doc:"Id, or name"`
}

func (a *api) registerRunConfigurations() {
	const path, one = "/etls/{job}/run-configurations", "/etls/{job}/run-configurations/{configuration}"
	register(a, operation{
		id: "list-run-configurations", method: http.MethodGet, path: path, tag: "etls", summary: "List the run configurations of an ETL",
	}, func(ctx context.Context, actor holdfast.Actor, in *JobPath) (*listOutput[RunConfiguration], error) {
		id, err := a.job(ctx, actor, in.Job)
		if err != nil {
			return nil, err
		}
		j, err := a.Service.Job(ctx, actor, id)
		if err != nil {
			return nil, err
		}
		if j.ETL == nil {
			return nil, holdfast.Errorf(holdfast.CodeNotFound, "there is no ETL %q", in.Job).WithHint("see holdfast etl list")
		}
		return listOf(j.ETL.Configurations, -1, runConfiguration), nil
	})
	register(a, operation{
		id: "create-run-configuration", method: http.MethodPost, path: path, tag: "etls", status: http.StatusCreated,
		summary: "Give an ETL another run configuration",
	}, a.createRunConfiguration)
	register(a, operation{
		id: "update-run-configuration", method: http.MethodPatch, path: one, tag: "etls",
		summary: "Change, activate or deactivate a run configuration",
	}, a.updateRunConfiguration)
	register(a, operation{
		id: "delete-run-configuration", method: http.MethodDelete, path: one, tag: "etls", summary: "Delete a run configuration that is not active",
	}, a.deleteRunConfiguration)
}

func (a *api) createRunConfiguration(ctx context.Context, actor holdfast.Actor, in *struct {
	JobPath
	Body NewRunConfiguration
},
) (*created[RunConfiguration], error) {
	id, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	properties, err := unmasked(in.Body.Properties, nil)
	if err != nil {
		return nil, err
	}
	j, err := a.Service.UpdateETL(ctx, actor, id, func(j *holdfast.Job) error {
		if in.Body.Active {
			deactivate(j)
		}
		j.ETL.Configurations = append(j.ETL.Configurations, holdfast.RunConfiguration{
			Name: in.Body.Name, Active: in.Body.Active, Properties: properties,
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	c := j.ETL.Configurations[len(j.ETL.Configurations)-1] // the newest has the highest id
	return &created[RunConfiguration]{
		Location: fmt.Sprintf("%s/etls/%d/run-configurations/%d", Root, id, c.ID), Body: runConfiguration(c),
	}, nil
}

func (a *api) updateRunConfiguration(ctx context.Context, actor holdfast.Actor, in *struct {
	RunConfigurationPath
	Body RunConfigurationChange
},
) (*output[RunConfiguration], error) {
	id, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	var at int
	j, err := a.Service.UpdateETL(ctx, actor, id, func(j *holdfast.Job) error {
		var err error
		if at, err = configurationAt(j, in.Configuration); err != nil {
			return err
		}
		c := &j.ETL.Configurations[at]
		set(&c.Name, in.Body.Name)
		if in.Body.Properties != nil {
			if c.Properties, err = unmasked(*in.Body.Properties, c.Properties); err != nil {
				return err
			}
		}
		if in.Body.Active != nil {
			if *in.Body.Active {
				deactivate(j)
			}
			c.Active = *in.Body.Active
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &output[RunConfiguration]{Body: runConfiguration(j.ETL.Configurations[at])}, nil
}

func (a *api) deleteRunConfiguration(ctx context.Context, actor holdfast.Actor, in *RunConfigurationPath) (*none, error) {
	id, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	_, err = a.Service.UpdateETL(ctx, actor, id, func(j *holdfast.Job) error {
		at, err := configurationAt(j, in.Configuration)
		if err != nil {
			return err
		}
		switch c := j.ETL.Configurations[at]; {
		case len(j.ETL.Configurations) == 1:
			return holdfast.Errorf(holdfast.CodeConflict, "run configuration %d is the only one of the ETL", c.ID).WithHint("change or deactivate it")
		case c.Active:
			return holdfast.Errorf(holdfast.CodeConflict, "run configuration %d is active", c.ID).WithHint("activate another one first")
		}
		j.ETL.Configurations = slices.Delete(j.ETL.Configurations, at, at+1)
		return nil
	})
	return &none{}, err
}

// configurationAt finds a run configuration by its id, then by its name.
func configurationAt(j *holdfast.Job, ref string) (int, error) {
	c, err := find("run configuration", ref, j.ETL.Configurations, func(c holdfast.RunConfiguration) (int64, string) { return int64(c.ID), c.Name })
	if err != nil {
		return 0, holdfast.Errorf(holdfast.CodeNotFound, "the ETL has no run configuration %q", ref).WithHint("see holdfast etl configuration list")
	}
	return slices.IndexFunc(j.ETL.Configurations, func(o holdfast.RunConfiguration) bool { return o.ID == c.ID }), nil
}

func deactivate(j *holdfast.Job) {
	for i := range j.ETL.Configurations {
		j.ETL.Configurations[i].Active = false
	}
}

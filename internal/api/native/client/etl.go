package client

import (
	"context"
	"net/http"

	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// CreateETL makes an ETL job.
func (c *Client) CreateETL(ctx context.Context, in native.NewETL) (native.Job, error) {
	return call[native.Job](ctx, c, post(in, "etls"))
}

// UpdateETL changes an ETL's definition or properties.
func (c *Client) UpdateETL(ctx context.Context, ref string, in native.ETLChange) (native.Job, error) {
	return call[native.Job](ctx, c, request{method: http.MethodPatch, path: []string{"etls", ref}, body: in})
}

// RunConfigurations lists the run configurations of an ETL.
func (c *Client) RunConfigurations(ctx context.Context, ref string) ([]native.RunConfiguration, error) {
	return items[native.RunConfiguration](ctx, c, get("etls", ref, "run-configurations"))
}

// CreateRunConfiguration gives an ETL another run configuration.
func (c *Client) CreateRunConfiguration(ctx context.Context, ref string, in native.NewRunConfiguration) (native.RunConfiguration, error) {
	return call[native.RunConfiguration](ctx, c, post(in, "etls", ref, "run-configurations"))
}

// UpdateRunConfiguration changes, activates or deactivates a run configuration,
// which is an id or a name.
func (c *Client) UpdateRunConfiguration(ctx context.Context, ref, configuration string, in native.RunConfigurationChange) (native.RunConfiguration, error) {
	return call[native.RunConfiguration](ctx, c, request{
		method: http.MethodPatch, path: []string{"etls", ref, "run-configurations", configuration}, body: in,
	})
}

// DeleteRunConfiguration deletes a run configuration that is not active.
func (c *Client) DeleteRunConfiguration(ctx context.Context, ref, configuration string) error {
	return drop(ctx, c, del("etls", ref, "run-configurations", configuration))
}

// RunETL asks for an execution of an ETL, or switches a service on. The same key
// gives the same execution; empty: none.
func (c *Client) RunETL(ctx context.Context, ref, key string, in native.NewETLRun) (native.ETLAnswer, error) {
	r := post(in, "etls", ref, "run")
	r.key = key
	return call[native.ETLAnswer](ctx, c, r)
}

// ScheduleETL plans executions of an ETL.
func (c *Client) ScheduleETL(ctx context.Context, ref string, in native.NewETLPlan) (native.ETLAnswer, error) {
	return call[native.ETLAnswer](ctx, c, post(in, "etls", ref, "schedule"))
}

// MoveETL asks for what the verb says: stop or kill.
func (c *Client) MoveETL(ctx context.Context, ref, verb string) (native.ETLAnswer, error) {
	return call[native.ETLAnswer](ctx, c, post(nil, "etls", ref, verb))
}

// ETLStatus says where an ETL is.
func (c *Client) ETLStatus(ctx context.Context, ref string) (native.ETLStatus, error) {
	return call[native.ETLStatus](ctx, c, get("etls", ref, "status"))
}

// ETLCounters says how far each flow of an ETL has been loaded.
func (c *Client) ETLCounters(ctx context.Context, ref string) ([]engine.FlowCounter, error) {
	return items[engine.FlowCounter](ctx, c, get("etls", ref, "counters"))
}

// SetETLCounter makes the next execution of an ETL go on from another value.
func (c *Client) SetETLCounter(ctx context.Context, ref string, in native.NewCounter) error {
	return drop(ctx, c, request{method: http.MethodPut, path: []string{"etls", ref, "counters"}, body: in})
}

// PreviewETL reads the first rows of each relation of a definition.
func (c *Client) PreviewETL(ctx context.Context, in native.NewPreview) ([]engine.Relation, error) {
	return items[engine.Relation](ctx, c, post(in, "etls", "preview"))
}

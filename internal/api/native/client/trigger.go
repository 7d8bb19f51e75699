package client

import (
	"context"
	"net/http"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// Triggers lists the triggers that wait for a job.
func (c *Client) Triggers(ctx context.Context, job string) ([]native.Trigger, error) {
	return items[native.Trigger](ctx, c, get("jobs", job, "triggers"))
}

// CreateTrigger makes a trigger that waits for a job.
func (c *Client) CreateTrigger(ctx context.Context, job string, in native.NewTrigger) (native.Trigger, error) {
	return call[native.Trigger](ctx, c, post(in, "jobs", job, "triggers"))
}

// SetTriggerActive lets a trigger that waits for a job rest, or fire again.
func (c *Client) SetTriggerActive(ctx context.Context, job string, t holdfast.TriggerID, active bool) (native.Trigger, error) {
	in := native.TriggerChange{Active: active}
	return call[native.Trigger](ctx, c, request{method: http.MethodPatch, path: []string{"jobs", job, "triggers", id(t)}, body: in})
}

// DeleteTrigger deletes a trigger that waits for a job.
func (c *Client) DeleteTrigger(ctx context.Context, job string, t holdfast.TriggerID) error {
	return drop(ctx, c, del("jobs", job, "triggers", id(t)))
}

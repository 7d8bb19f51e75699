package client

import (
	"context"
	"net/url"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// RetentionPlan says which sets of the job with this id, site/name, or name would
// go now.
func (c *Client) RetentionPlan(ctx context.Context, ref string) (native.RetentionPlan, error) {
	return call[native.RetentionPlan](ctx, c, get("jobs", ref, "retention"))
}

// ProtectSet has retention leave a set alone.
func (c *Client) ProtectSet(ctx context.Context, s holdfast.SetID, in native.NewProtection) (native.Set, error) {
	return call[native.Set](ctx, c, post(in, "sets", id(s), "protect"))
}

// UnprotectSet leaves a set to retention.
func (c *Client) UnprotectSet(ctx context.Context, s holdfast.SetID) (native.Set, error) {
	return call[native.Set](ctx, c, post(nil, "sets", id(s), "unprotect"))
}

// DeleteSet deletes a set. The last good one of its site goes only with
// confirmLast.
func (c *Client) DeleteSet(ctx context.Context, s holdfast.SetID, confirmLast bool) error {
	r := del("sets", id(s))
	if confirmLast {
		r.query = url.Values{"confirm_last": {"true"}}
	}
	return drop(ctx, c, r)
}

// DeleteJobAndSets deletes a job and every backup set that it made. The last good
// one of the site goes only with confirmLast.
func (c *Client) DeleteJobAndSets(ctx context.Context, ref string, confirmLast bool) error {
	r := del("jobs", ref)
	r.query = url.Values{"sets": {"true"}}
	if confirmLast {
		r.query.Set("confirm_last", "true")
	}
	return drop(ctx, c, r)
}

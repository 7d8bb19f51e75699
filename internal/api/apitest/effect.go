package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// rows is what a request may change, as one line for each row.
type rows map[string]string

// rows reads the jobs and the executions.
func (w *World) rows(ctx context.Context) (rows, error) {
	all := rows{}
	err := w.store.View(ctx, func(r store.Reader) error {
		jobs, _, err := r.Jobs(ctx, 0, store.JobFilter{})
		if err != nil {
			return err
		}
		for _, j := range jobs {
			all[fmt.Sprintf("job %d", j.ID)] = jobLine(j)
		}
		executions, _, err := r.Executions(ctx, 0, store.ExecutionFilter{})
		if err != nil {
			return err
		}
		for _, e := range executions {
			all[fmt.Sprintf("execution %d of job %d", e.ID, e.Job)] = executionLine(e)
		}
		return nil
	})
	return all, err
}

func jobLine(j holdfast.Job) string {
	parts := []string{
		string(j.Type), fmt.Sprintf("%q", j.Name), "engine=" + string(j.Engine), fmt.Sprintf("active=%v", j.Active),
		fmt.Sprintf("priority=%d", j.Priority), fmt.Sprintf("retention=%d", j.Retention.Count),
	}
	if j.Description != "" {
		parts = append(parts, fmt.Sprintf("description=%q", j.Description))
	}
	if j.AutoAbort != (holdfast.AutoAbort{}) {
		parts = append(parts, fmt.Sprintf("auto_abort=%v,%s", j.AutoAbort.Active, j.AutoAbort.After))
	}
	for _, k := range sortedKeys(j.Annotations) {
		parts = append(parts, k+"="+string(j.Annotations[k]))
	}
	return strings.Join(parts, " ")
}

func executionLine(e holdfast.Execution) string {
	parts := []string{string(e.Type), string(e.State)}
	if e.Outcome != "" {
		parts = append(parts, string(e.Outcome))
	}
	if e.RunAsked != "" {
		parts = append(parts, "run_type="+string(e.RunAsked))
	}
	if e.Wanted != holdfast.WantRun {
		parts = append(parts, "wanted="+e.Wanted.String())
	}
	return strings.Join(parts, " ")
}

func sortedKeys(m map[string]json.RawMessage) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// effect says what has changed since before, who did it, and what dispatch was
// told.
func (w *World) effect(ctx context.Context, before rows) ([]string, error) {
	after, err := w.rows(ctx)
	if err != nil {
		return nil, err
	}
	var lines []string
	for k, v := range after {
		if before[k] != v {
			lines = append(lines, k+": "+v)
		}
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			lines = append(lines, k+": deleted")
		}
	}
	slices.Sort(lines)
	for _, e := range w.newEvents(ctx) {
		lines = append(lines, fmt.Sprintf("event %s: %s, by %s through %s", e.Kind, e.Subject, e.Actor, e.Dialect))
	}
	lines = append(lines, w.out.take()...)
	if len(lines) == 0 {
		lines = []string{"nothing"}
	}
	return lines, nil
}

// newEvents returns the events since the last call.
func (w *World) newEvents(ctx context.Context) []holdfast.Event {
	list, err := w.Service.Events(ctx, w.local, w.events, 0)
	check(w.t, err)
	if len(list) > 0 {
		w.events = list[len(list)-1].ID
	}
	return list
}

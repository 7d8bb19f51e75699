package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// rows is what a request may change, as one line for each row.
type rows map[string]string

// rows reads the jobs with their schedules, the executions and the backup sets.
func (w *World) rows(ctx context.Context) (rows, error) {
	all := rows{}
	err := w.store.View(ctx, func(r store.Reader) error {
		jobs, _, err := r.Jobs(ctx, 0, store.JobFilter{})
		if err != nil {
			return err
		}
		for _, j := range jobs {
			all[fmt.Sprintf("job %d", j.ID)] = jobLine(j)
			schedules, err := r.Schedules(ctx, 0, j.ID)
			if err != nil {
				return err
			}
			for _, s := range schedules {
				all[fmt.Sprintf("schedule %d of job %d", s.ID, s.Job)] = scheduleLine(s)
			}
		}
		executions, _, err := r.Executions(ctx, 0, store.ExecutionFilter{})
		if err != nil {
			return err
		}
		for _, e := range executions {
			all[fmt.Sprintf("execution %d of job %d", e.ID, e.Job)] = executionLine(e)
		}
		return addSets(ctx, r, all)
	})
	return all, err
}

// addSets adds the sets that ended executions have made, with their copies:
// those too that no reader sees any more.
func addSets(ctx context.Context, r store.Reader, all rows) error {
	executions, _, err := r.Executions(ctx, 0, store.ExecutionFilter{
		Types: []holdfast.JobType{holdfast.JobBackup}, States: []holdfast.State{holdfast.StateEnded},
	})
	if err != nil {
		return err
	}
	for _, e := range executions {
		set, err := r.Set(ctx, 0, e.Set)
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			continue
		}
		if err != nil {
			return err
		}
		copies, err := r.Copies(ctx, 0, set.ID)
		if err != nil {
			return err
		}
		all[fmt.Sprintf("set %d of job %d", set.ID, set.Job)] = setLine(set, copies)
	}
	return nil
}

// Rows returns what a request may change, as one line for each row.
func (w *World) Rows(ctx context.Context) (map[string]string, error) { return w.rows(ctx) }

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
	if j.Restore != nil {
		parts = append(parts, "restore="+restoreLine(*j.Restore))
	}
	if j.ETL != nil {
		parts = append(parts, etlLine(*j.ETL))
	}
	for _, k := range sortedKeys(j.Annotations) {
		parts = append(parts, k+"="+string(j.Annotations[k]))
	}
	return strings.Join(parts, " ")
}

func scheduleLine(s holdfast.Schedule) string {
	next := "none"
	if !s.NextRun.IsZero() {
		next = s.NextRun.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s %q %s active=%v next=%s", s.RunType, s.Expression, s.TimeZone, s.Active, next)
}

func restoreLine(r holdfast.RestoreSpec) string {
	parts := []string{fmt.Sprintf("set %d to host %d %s", r.Set, r.Host, r.Directory)}
	if r.Site != 0 {
		parts = append(parts, fmt.Sprintf("in place of site %d", r.Site))
	}
	for _, oid := range slices.Sorted(maps.Keys(r.Tablespaces)) {
		parts = append(parts, fmt.Sprintf("tablespace %d %s", oid, r.Tablespaces[oid]))
	}
	return strings.Join(parts, " ")
}

func setLine(set holdfast.BackupSet, copies []holdfast.Copy) string {
	parts := []string{fmt.Sprintf("protected=%v", set.Protected)}
	for _, c := range copies {
		parts = append(parts, fmt.Sprintf("copy %d=%s", c.ID, c.State))
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
	if e.State == holdfast.StatePlanned {
		parts = append(parts, "due="+e.Due.UTC().Format(time.RFC3339))
	}
	if e.Wanted != holdfast.WantRun {
		parts = append(parts, "wanted="+e.Wanted.String())
	}
	line := strings.Join(parts, " ")
	if e.ETL != nil {
		line += runLine(*e.ETL)
	}
	return line
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

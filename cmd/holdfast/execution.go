package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/execlog"
)

// followInterval is how often a log that is followed is read.
const followInterval = time.Second

func (a *app) executionCommand() *cobra.Command {
	cmd := group("execution", "Runs of jobs", a.executionListCommand(), a.executionLogCommand(),
		a.onExecution("show ID", "Show an execution", func(ctx context.Context, c *client.Client, id holdfast.ExecutionID) error {
			e, err := c.Execution(ctx, id)
			if err != nil {
				return err
			}
			return a.printExecution(e)
		}),
		a.onExecution("watch ID", "Show the progress of an execution until it has ended; the exit code tells its outcome",
			func(ctx context.Context, c *client.Client, id holdfast.ExecutionID) error {
				e, err := c.Execution(ctx, id)
				if err != nil {
					return err
				}
				return a.wait(ctx, c, e)
			}))
	for _, m := range []struct{ verb, short string }{
		{"stop", "End an execution at its next good point"},
		{"kill", "End an execution at once"},
		{"suspend", "Let an execution rest; it holds its job, but no slot"},
		{"resume", "Let a suspended execution go on"},
	} {
		cmd.AddCommand(a.onExecution(m.verb+" ID", m.short, func(ctx context.Context, c *client.Client, id holdfast.ExecutionID) error {
			e, err := c.Move(ctx, id, m.verb)
			if err != nil {
				return err
			}
			return a.printExecution(e)
		}))
	}
	return cmd
}

// onExecution is a command whose only argument is an execution.
func (a *app) onExecution(use, short string, do func(context.Context, *client.Client, holdfast.ExecutionID) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number[holdfast.ExecutionID]("execution", args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return do(cmd.Context(), c, id)
		},
	}
}

func (a *app) executionListCommand() *cobra.Command {
	var sites, states []string
	var job, kind string
	var limit int
	list := &cobra.Command{
		Use: "list", Short: "List executions, the newest first", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			q := url.Values{"site": sites, "limit": {strconv.Itoa(limit)}}
			for _, s := range states {
				q.Add("state", strings.ToUpper(s))
			}
			if job != "" {
				q.Set("job", job)
			}
			if kind != "" {
				q.Set("type", strings.ToUpper(kind))
			}
			l, err := c.Executions(cmd.Context(), q)
			if err != nil {
				return err
			}
			now := time.Now()
			return a.print(l.Items, "ID SITE JOB TYPE RUN-TYPE OUTCOME SUBMITTED ELAPSED SIZE SET", func(row func(...any)) {
				for _, e := range l.Items {
					row(e.ID, e.Site, e.Job, e.Type, e.RunType, outcome(e), e.Submitted, elapsed(e, now), size(e.StoredBytes), orDash(e.SetID))
				}
			})
		},
	}
	f := list.Flags()
	f.StringArrayVar(&sites, "site", nil, "`site` (repeatable)")
	f.StringArrayVar(&states, "state", nil, "`state`: planned, queued, running, suspended or ended (repeatable)")
	f.StringVar(&job, "job", "", "`job`: an id, SITE/NAME, or a name that only one job has")
	f.StringVar(&kind, "type", "", "`type`: backup, restore or etl")
	f.IntVar(&limit, "limit", 50, "`number` of executions at most, up to 1000")
	return list
}

func (a *app) executionLogCommand() *cobra.Command {
	var follow bool
	cmd := a.onExecution("log ID", "Print the log of an execution", func(ctx context.Context, c *client.Client, id holdfast.ExecutionID) error {
		return a.printLog(ctx, c, id, follow)
	})
	followFlag(cmd, &follow)
	return cmd
}

func followFlag(cmd *cobra.Command, follow *bool) {
	cmd.Flags().BoolVarP(follow, "follow", "f", false, "go on until the execution has ended")
}

// printLog prints what is in an execution's log now, or all until it has ended.
func (a *app) printLog(ctx context.Context, c *client.Client, id holdfast.ExecutionID, follow bool) error {
	show := execlog.Text
	if a.output == "json" {
		show = func(lines []byte) []byte { return lines }
	}
	offset := int64(0)
	var cut []byte // the beginning of a line
	for {
		// Asked before the log is read: what was logged until the end is in it.
		e, err := c.Execution(ctx, id)
		if err != nil {
			return err
		}
		for {
			data, err := c.Log(ctx, id, offset)
			if err != nil {
				return err
			}
			if len(data) == 0 {
				break
			}
			offset += int64(len(data))
			data = append(cut, data...)
			end := bytes.LastIndexByte(data, '\n') + 1
			cut = slices.Clone(data[end:])
			if _, err := a.stdout.Write(show(data[:end])); err != nil {
				return err
			}
		}
		if !follow || e.State == holdfast.StateEnded {
			_, err := a.stdout.Write(show(cut))
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(followInterval):
		}
	}
}

// wait shows the progress of an execution until it has ended, prints it, and
// returns its outcome as an error.
func (a *app) wait(ctx context.Context, c *client.Client, e native.Execution) error {
	show := a.progress(fmt.Sprintf("execution %d", e.ID))
	last, err := c.Watch(ctx, e.ID, show.update, func(limit time.Duration) {
		_, _ = fmt.Fprintf(a.stderr, "the server does not answer any more; trying again for %s\n", limit)
	})
	show.close()
	if err != nil {
		_, _ = fmt.Fprintf(a.stderr, "execution %d goes on without this command: holdfast execution watch %d\n", e.ID, e.ID)
		return err
	}
	if err := a.printExecution(last); err != nil {
		return err
	}
	return a.ended(last)
}

// ended is nil for an execution that succeeded.
func (a *app) ended(e native.Execution) error {
	switch e.Outcome {
	case holdfast.OutcomeSucceeded:
		return nil
	case holdfast.OutcomeWarning:
		_, _ = fmt.Fprintf(a.stderr, "warning: execution %d: %s\n", e.ID, cell(e.Detail))
		return exitError(exitWarnings)
	case holdfast.OutcomeNone, holdfast.OutcomeFailed, holdfast.OutcomeStopped, holdfast.OutcomeAborted, holdfast.OutcomeKilled, holdfast.OutcomeCancelled:
	}
	why := e.Detail
	switch {
	case why == "" && e.Reason == holdfast.ReasonWish:
		why = "somebody asked for it"
	case why == "":
		why = string(e.Reason)
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "execution %d ended %s: %s", e.ID, e.Outcome, why).
		WithHint("see: holdfast execution log %d", e.ID)
}

// etlResult is what an ETL did, when it has ended.
func etlResult(e native.Execution) (res engine.Result) {
	if e.Type != holdfast.JobETL || json.Unmarshal(e.Result, &res) != nil {
		return engine.Result{}
	}
	return res
}

func (a *app) printExecution(e native.Execution) error {
	return a.print(e, "", func(row func(...any)) {
		row("execution", e.ID)
		row("job", fmt.Sprintf("%d %s", e.JobID, e.Job))
		row("site", e.Site)
		row("type", strings.TrimSpace(string(e.Type)+" "+string(e.RunType)))
		if e.RunTypeReason != "" {
			row("run type", e.RunTypeReason)
		}
		if e.Type == holdfast.JobBackup && e.ParentID != 0 {
			row("builds on", fmt.Sprintf("execution %d", e.ParentID))
		}
		if e.ScheduleID != 0 {
			row("made by", fmt.Sprintf("schedule %d", e.ScheduleID))
		}
		if e.CauseID != 0 {
			row("runs after", fmt.Sprintf("execution %d", e.CauseID))
		}
		row("outcome", outcome(e))
		if e.Detail != "" {
			row("detail", e.Detail)
		}
		if e.Restore != nil {
			row("restores", fmt.Sprintf("set %d to %s", e.Restore.SetID, e.Restore.Directory))
			if e.Restore.Site != "" {
				row("in place of", e.Restore.Site)
			}
		} else if e.SetID != 0 && (e.Outcome == holdfast.OutcomeSucceeded || e.Outcome == holdfast.OutcomeWarning) {
			row("backup set", e.SetID)
		}
		if p := e.Progress; p.Phase != "" {
			if e.State == holdfast.StateRunning {
				row("phase", p.Phase)
			}
			if e.Type == holdfast.JobETL {
				row("done", rowsDone(p))
			} else {
				row("done", fmt.Sprintf("%s in %d files", size(p.DoneBytes), p.DoneFiles))
			}
			if p.AddedBytes > 0 {
				row("added", size(p.AddedBytes))
			}
		}
		if e.Asked != "" {
			row("asked by", e.Asked)
		}
		if len(e.Properties) > 0 {
			row("properties", pairs(e.Properties))
		}
		if len(e.Removed) > 0 {
			row("without", strings.Join(e.Removed, " "))
		}
		if e.Simulated {
			row("simulated", "nothing was committed")
		}
		res := etlResult(e)
		for _, f := range res.Flows {
			row("flow "+f.Flow, fmt.Sprintf("read %d, loaded %d, deleted %d, rejected %d rows: %s", f.Read, f.Loaded, f.Deleted, f.Rejected, f.Target))
		}
		if len(res.Ignored) > 0 {
			row("ignored", strings.Join(res.Ignored, ", "))
		}
		row("submitted", e.Submitted)
		row("started", e.Started)
		row("ended", e.Ended)
		row("elapsed", elapsed(e, time.Now()))
	})
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
)

func (a *app) jobCommand() *cobra.Command {
	var sites []string
	list := &cobra.Command{
		Use: "list", Short: "List jobs", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			jobs, err := all(func(q url.Values) (native.List[native.Job], error) { return c.Jobs(cmd.Context(), q) }, url.Values{"site": sites})
			if err != nil {
				return err
			}
			return a.print(jobs, "ID SITE NAME TYPE ACTIVE PRIORITY KEEP NEXT-RUN LAST-RUN LAST-OUTCOME", func(row func(...any)) {
				for _, j := range jobs {
					var when, what any = "", ""
					if j.Last != nil {
						when, what = j.Last.Submitted, outcome(*j.Last)
					}
					row(j.ID, j.Site, j.Name, j.Type, j.Active, j.Priority, keep(j), j.NextRun, when, what)
				}
			})
		},
	}
	list.Flags().StringArrayVar(&sites, "site", nil, "`site` whose jobs are listed (repeatable)")
	show := &cobra.Command{
		Use: "show JOB", Short: "Show a job", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			j, err := c.Job(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printJob(j)
		},
	}
	remove := a.jobDeleteCommand()
	return group("job", "What is done with a site; JOB is an id, SITE/NAME, or a name that only one job has",
		a.jobCreateCommand(), list, show, a.jobUpdateCommand(), remove, a.jobRunCommand())
}

func (a *app) jobDeleteCommand() *cobra.Command {
	var sets, yes, last bool
	remove := &cobra.Command{
		Use: "delete JOB", Short: "Delete a job; its history and its backup sets stay", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			j, err := c.Job(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			question, only, err := jobDeletion(cmd.Context(), c, j, sets)
			if err != nil {
				return err
			}
			switch {
			case !yes:
				if err := a.confirm(cmd.Context(), question); err != nil {
					return err
				}
				last = only // it was said, and confirmed
			case only && !last:
				return holdfast.Errorf(holdfast.CodeConflict, "the last good backup set of site %s is among those of job %d", j.Site, j.ID).
					WithHint("make another backup first, or add --last")
			}
			if sets {
				return c.DeleteJobAndSets(cmd.Context(), args[0], last)
			}
			return c.DeleteJob(cmd.Context(), args[0])
		},
	}
	remove.Flags().BoolVar(&sets, "sets", false, "its backup sets, too; refused while one is protected")
	remove.Flags().BoolVar(&yes, "yes", false, "do not ask")
	remove.Flags().BoolVar(&last, "last", false, "with --sets --yes: although the last good set of its site is among them")
	return remove
}

// jobDeletion returns the question before a job is deleted, and whether the last
// good set of its site would go with its sets.
func jobDeletion(ctx context.Context, c *client.Client, j native.Job, sets bool) (question string, last bool, err error) {
	schedules, err := c.Schedules(ctx, strconv.FormatInt(int64(j.ID), 10))
	if err != nil {
		return "", false, err
	}
	what := fmt.Sprintf("Delete job %d %s with its schedules (%d)", j.ID, cell(j.Site+"/"+j.Name), len(schedules))
	if !sets {
		return what + "? Its history and its backup sets stay.", false, nil
	}
	what += " and every backup set that it made? They cannot be recovered."
	made, err := all(func(q url.Values) (native.List[native.Set], error) { return c.Sets(ctx, q) },
		url.Values{"site": {strconv.FormatInt(int64(j.SiteID), 10)}})
	if err != nil {
		return "", false, err
	}
	own := func(s native.Set) bool { return s.JobID == j.ID && good(s) }
	others := func(s native.Set) bool { return s.JobID != j.ID && good(s) }
	if !slices.ContainsFunc(made, own) || slices.ContainsFunc(made, others) {
		return what, false, nil
	}
	return fmt.Sprintf("The last good backup set of site %s is among them: after it, nothing can be restored.\n", cell(j.Site)) + what, true, nil
}

// all reads every page of a list.
func all[T any](page func(url.Values) (native.List[T], error), q url.Values) ([]T, error) {
	const limit = 1000
	out := []T{}
	for {
		q.Set("limit", strconv.Itoa(limit))
		q.Set("offset", strconv.Itoa(len(out)))
		l, err := page(q)
		if err != nil {
			return nil, err
		}
		out = append(out, l.Items...)
		if len(l.Items) < limit || len(out) >= l.Total {
			return out, nil
		}
	}
}

// jobFlags are the settings of a job that can be set and changed.
type jobFlags struct {
	description string
	priority    int
	retain      int
	unit        string
	repository  string
	autoAbort   int
	active      bool
	inactive    bool
}

func (j *jobFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&j.description, "description", "", "`text` for people")
	f.IntVar(&j.priority, "priority", int(holdfast.DefaultPriority), "`number` from 1 (runs first) to 5")
	f.IntVar(&j.retain, "retain", holdfast.DefaultRetention, "`number` of good backups that stay; older ones go when a backup ends well")
	f.StringVar(&j.unit, "retain-unit", "", "what --retain counts: `unit` sets or generations (default: by the job's schedules)")
	f.StringVar(&j.repository, "repository", "", "`repository` for its backup sets (default: the site's)")
	f.IntVar(&j.autoAbort, "auto-abort", 0, "`minutes` after which a run is ended; 0: never")
	f.BoolVar(&j.inactive, "inactive", false, "its schedules, and what an ETL has planned, do not run")
}

func (j *jobFlags) change(cmd *cobra.Command) native.JobChange {
	c := native.JobChange{
		Description: changed(cmd, "description", j.description), Priority: changed(cmd, "priority", holdfast.Priority(j.priority)),
		Repository: changed(cmd, "repository", j.repository),
	}
	if cmd.Flags().Changed("retain") || cmd.Flags().Changed("retain-unit") {
		c.Retention = &native.Retention{Unit: holdfast.RetentionUnit(strings.ToUpper(j.unit)), Count: j.retain}
	}
	if cmd.Flags().Changed("auto-abort") {
		c.AutoAbort = &native.AutoAbort{Active: j.autoAbort > 0, Minutes: j.autoAbort}
	}
	if cmd.Flags().Changed("inactive") {
		active := !j.inactive
		c.Active = &active
	}
	if cmd.Flags().Changed("active") {
		c.Active = &j.active
	}
	return c
}

func (a *app) jobCreateCommand() *cobra.Command {
	var in native.NewJob
	var flags jobFlags
	create := &cobra.Command{
		Use: "create", Short: "Create a backup job", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ch := flags.change(cmd)
			in.Description, in.Repository = flags.description, flags.repository
			in.Priority, in.Retention, in.AutoAbort, in.Active = ch.Priority, ch.Retention, ch.AutoAbort, ch.Active
			c, err := a.client()
			if err != nil {
				return err
			}
			j, err := c.CreateJob(cmd.Context(), in)
			if err != nil {
				return err
			}
			return a.printJob(j)
		},
	}
	create.Flags().StringVar(&in.Site, "site", "", "`site` that is backed up")
	create.Flags().StringVar(&in.Name, "name", "", "`name` of the job, unique in the site")
	flags.add(create)
	require(create, "site", "name")
	return create
}

func (a *app) jobUpdateCommand() *cobra.Command {
	var flags jobFlags
	var name string
	update := &cobra.Command{
		Use: "update JOB", Short: "Change a job: what no flag names stays", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := flags.change(cmd)
			in.Name = changed(cmd, "name", name)
			c, err := a.client()
			if err != nil {
				return err
			}
			if in.Retention != nil {
				// The two flags are one setting: what is not named stays.
				old, err := c.Job(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if old.Retention != nil && !cmd.Flags().Changed("retain") {
					in.Retention.Count = old.Retention.Count
				}
				if old.Retention != nil && !cmd.Flags().Changed("retain-unit") {
					in.Retention.Unit = old.Retention.Unit
				}
			}
			j, err := c.UpdateJob(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.printJob(j)
		},
	}
	update.Flags().StringVar(&name, "name", "", "new `name`, unique in the site")
	update.Flags().BoolVar(&flags.active, "active", false, "its schedules, and what an ETL has planned, run")
	flags.add(update)
	exclusive(update, "active", "inactive")
	return update
}

func (a *app) jobRunCommand() *cobra.Command {
	var in native.NewExecution
	var key string
	var wait bool
	runType := holdfast.RunFull
	run := &cobra.Command{
		Use: "run JOB", Short: "Run a job now", Args: args(1),
		Long: "Run asks for one execution of the job and prints it. With --wait it shows the progress on standard error and\n" +
			"exits with 0 when the execution succeeded, 3 when it ended with a warning, and 1 otherwise.",
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Job, in.RunType, in.IfBusy = args[0], string(runType), strings.ToLower(in.IfBusy)
			c, err := a.client()
			if err != nil {
				return err
			}
			e, err := c.Execute(cmd.Context(), key, in)
			if err != nil {
				return err
			}
			if !wait {
				return a.printExecution(e)
			}
			return a.wait(cmd.Context(), c, e)
		},
	}
	f := run.Flags()
	f.Var(runTypeFlag{&runType}, "run-type", "run `type`: full, delta or cumulative")
	f.Var(runTypeFlag{&runType}, "type", "the same as --run-type")
	if err := f.MarkHidden("type"); err != nil {
		panic(err) // the flag stands in the line above
	}
	f.StringVar(&in.IfBusy, "if-busy", "refuse", "what to do when the job is busy: `answer` refuse, join or queue")
	f.StringVar(&key, "key", "", "idempotency `key`: the same key gives the same execution")
	f.BoolVar(&wait, "wait", false, "wait until it has ended")
	return run
}

func keep(j native.Job) string {
	if j.Retention == nil {
		return ""
	}
	return strings.TrimSpace(strconv.Itoa(j.Retention.Count) + " " + strings.ToLower(string(j.Retention.Unit)))
}

func (a *app) printJob(j native.Job) error {
	return a.print(j, "", func(row func(...any)) {
		row("id", j.ID)
		row("site", j.Site)
		row("name", j.Name)
		row("type", j.Type)
		row("engine", j.Engine)
		if j.Description != "" {
			row("description", j.Description)
		}
		row("active", j.Active)
		row("priority", j.Priority)
		if j.ETL == nil {
			row("repository", cmp.Or(j.Repository, "the site's"))
		} else {
			for _, c := range j.ETL.Configurations {
				state := ""
				if c.Active {
					state = " (active)"
				}
				row("configuration", strings.TrimSpace(fmt.Sprintf("%d %s%s %s", c.ID, c.Name, state, pairs(c.Properties))))
			}
		}
		if j.Retention != nil {
			row("keeps", keep(j))
		}
		if j.AutoAbort.Active {
			row("auto-abort", strconv.Itoa(j.AutoAbort.Minutes)+" min")
		}
		if j.Restore != nil {
			row("restores", "set "+strconv.FormatInt(int64(j.Restore.SetID), 10)+" to "+j.Restore.Directory)
		}
		row("created", j.Created)
		row("next run", j.NextRun)
		if j.Last != nil {
			row("last run", strconv.FormatInt(int64(j.Last.ID), 10)+" "+outcome(*j.Last))
		}
	})
}

package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
)

// expressions is what the help says of expressions.
const expressions = "EXPRESSION is one of:\n" +
	"  '30 2 * * MON-FRI'           minute, hour, day of month, month, day of week; L is the last day of a month\n" +
	"  @daily                       or @hourly, @weekly, @monthly, @yearly\n" +
	"  'cron(30 2 ? * 2-6 2027)'    with a year, as AWS writes it: Sunday is 1\n" +
	"  'rate(6 hours)'              every 6 hours from when the schedule was made or last changed\n" +
	"  'at(2026-12-01T02:00:00)'    once"

func (a *app) scheduleCommand() *cobra.Command {
	return group("schedule", "When jobs run by themselves; JOB is an id, SITE/NAME, or a name that only one job has",
		a.scheduleCreateCommand(), a.scheduleListCommand(), a.scheduleUpdateCommand(), a.scheduleDeleteCommand(), a.schedulePreviewCommand())
}

// scheduleFlags are the settings of a schedule besides its expression.
type scheduleFlags struct {
	zone    string
	runType holdfast.RunType
}

func (s *scheduleFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.zone, "zone", "UTC", "time `zone` of the expression, such as Europe/Berlin")
	s.runType = holdfast.RunFull
	cmd.Flags().Var(runTypeFlag{&s.runType}, "run-type", "run `type` of a backup: full, delta or cumulative")
}

func (a *app) scheduleCreateCommand() *cobra.Command {
	var flags scheduleFlags
	var inactive bool
	create := &cobra.Command{
		Use: "create JOB EXPRESSION", Short: "Create a schedule of a backup job or a batch ETL", Args: args(2),
		Long: expressions + "\n\nOther schedules of the site that are due in the same minutes are told of on standard error.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			active := !inactive
			s, err := c.CreateSchedule(cmd.Context(), args[0], native.NewSchedule{
				Expression: args[1], TimeZone: flags.zone, RunType: flags.runType, Active: &active,
			})
			if err != nil {
				return err
			}
			a.warnOfConflicts(cmd.Context(), c, args[0], s)
			return a.printSchedule(s)
		},
	}
	flags.add(create)
	create.Flags().BoolVar(&inactive, "inactive", false, "it does not run yet")
	return create
}

// warnOfConflicts tells of what a schedule meets. The schedule is made already: a
// warning that cannot be had is no failure.
func (a *app) warnOfConflicts(ctx context.Context, c *client.Client, job string, s native.Schedule) {
	if !s.Active {
		return
	}
	p, err := c.PreviewSchedule(ctx, job, native.AskedPreview{ID: s.ID, Expression: s.Expression, TimeZone: s.TimeZone, RunType: s.RunType})
	if err != nil {
		return
	}
	told := map[holdfast.ScheduleID]bool{}
	for _, m := range p.Conflicts {
		if !told[m.ScheduleID] {
			told[m.ScheduleID] = true
			_, _ = fmt.Fprintf(a.stderr, "warning: at %s schedule %d of job %s is due as well: %s\n", cell(m.At), m.ScheduleID, cell(m.Job), m.Reason)
		}
	}
}

func (a *app) scheduleListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list [JOB]", Short: "List the schedules of a job, or of every job", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return holdfast.Errorf(holdfast.CodeInvalid, "name one job, or none").WithHint("use: %s", cmd.UseLine())
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			jobs, err := scheduled(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			list := []native.Schedule{}
			names := map[holdfast.JobID]string{}
			for _, j := range jobs {
				names[j.ID] = j.Site + "/" + j.Name
				found, err := c.Schedules(cmd.Context(), strconv.FormatInt(int64(j.ID), 10))
				if err != nil {
					if len(args) == 0 && holdfast.ErrorCode(err) == holdfast.CodeNotFound {
						continue // it was deleted meanwhile
					}
					return err
				}
				list = append(list, found...)
			}
			return a.print(list, "ID JOB EXPRESSION ZONE RUN-TYPE ACTIVE NEXT-RUN", func(row func(...any)) {
				for _, s := range list {
					row(s.ID, names[s.JobID], s.Expression, s.TimeZone, s.RunType, s.Active, s.NextRun)
				}
			})
		},
	}
}

// scheduled returns the job that was named, or every job that may have schedules.
func scheduled(ctx context.Context, c *client.Client, refs []string) ([]native.Job, error) {
	if len(refs) == 0 {
		var jobs []native.Job
		for _, t := range []holdfast.JobType{holdfast.JobBackup, holdfast.JobETL} {
			found, err := all(func(q url.Values) (native.List[native.Job], error) { return c.Jobs(ctx, q) }, url.Values{"type": {string(t)}})
			if err != nil {
				return nil, err
			}
			jobs = append(jobs, found...)
		}
		return jobs, nil
	}
	j, err := c.Job(ctx, refs[0])
	return []native.Job{j}, err
}

func (a *app) scheduleUpdateCommand() *cobra.Command {
	var flags scheduleFlags
	var expression string
	var active, inactive bool
	update := &cobra.Command{
		Use: "update JOB SCHEDULE", Short: "Change a schedule: what no flag names stays", Args: args(2),
		Long: "Update changes the schedule with the id SCHEDULE. Its next run is found anew from now.\n\n" + expressions,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := scheduleID(args[1])
			if err != nil {
				return err
			}
			in := native.ScheduleChange{
				Expression: changed(cmd, "expression", expression), TimeZone: changed(cmd, "zone", flags.zone),
				RunType: changed(cmd, "run-type", flags.runType), Active: changed(cmd, "active", active),
			}
			if cmd.Flags().Changed("inactive") {
				active = !inactive
				in.Active = &active
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.UpdateSchedule(cmd.Context(), args[0], id, in)
			if err != nil {
				return err
			}
			a.warnOfConflicts(cmd.Context(), c, args[0], s)
			return a.printSchedule(s)
		},
	}
	flags.add(update)
	update.Flags().StringVar(&expression, "expression", "", "new `expression`")
	update.Flags().BoolVar(&active, "active", false, "it runs")
	update.Flags().BoolVar(&inactive, "inactive", false, "it does not run")
	exclusive(update, "active", "inactive")
	return update
}

func (a *app) scheduleDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete JOB SCHEDULE", Short: "Delete a schedule; what it made stays", Args: args(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := scheduleID(args[1])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.DeleteSchedule(cmd.Context(), args[0], id)
		},
	}
}

func (a *app) schedulePreviewCommand() *cobra.Command {
	var flags scheduleFlags
	var runs int
	preview := &cobra.Command{
		Use: "preview JOB EXPRESSION", Short: "Show when a schedule would run, and what it would meet", Args: args(2),
		Long: "Preview makes nothing. CLOCK is what the clock of the time zone shows, AT is the time on this machine.\n\n" + expressions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			p, err := c.PreviewSchedule(cmd.Context(), args[0], native.AskedPreview{
				Expression: args[1], TimeZone: flags.zone, RunType: flags.runType, Runs: runs,
			})
			if err != nil {
				return err
			}
			zone, err := time.LoadLocation(flags.zone)
			if err != nil {
				zone = time.UTC // the server knows a zone that this program does not
			}
			meets := map[time.Time][]string{}
			for _, m := range p.Conflicts {
				at := m.At.Truncate(time.Minute)
				meets[at] = append(meets[at], fmt.Sprintf("schedule %d of job %s: %s", m.ScheduleID, m.Job, m.Reason))
			}
			return a.print(p, "CLOCK AT MEETS", func(row func(...any)) {
				for _, at := range p.NextRuns {
					row(at.In(zone).Format("Mon 2006-01-02 15:04:05 MST"), at, strings.Join(meets[at.Truncate(time.Minute)], "; "))
				}
			})
		},
	}
	flags.add(preview)
	preview.Flags().IntVar(&runs, "runs", 10, "`number` of runs to show, at most 100")
	return preview
}

func scheduleID(text string) (holdfast.ScheduleID, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, holdfast.Errorf(holdfast.CodeInvalid, "%q is not the id of a schedule", text).WithHint("see: holdfast schedule list")
	}
	return holdfast.ScheduleID(n), nil
}

func (a *app) printSchedule(s native.Schedule) error {
	return a.print(s, "", func(row func(...any)) {
		row("id", s.ID)
		row("job", s.JobID)
		row("expression", s.Expression)
		row("zone", s.TimeZone)
		row("run type", s.RunType)
		row("active", s.Active)
		row("next run", s.NextRun)
		row("created", s.Created)
	})
}

package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

func (a *app) triggerCommand() *cobra.Command {
	return group("trigger", "Jobs that run after others; JOB is an id, SITE/NAME, or a name that only one job has",
		a.triggerCreateCommand(), a.triggerListCommand(), a.triggerUpdateCommand(), a.triggerDeleteCommand())
}

func (a *app) triggerCreateCommand() *cobra.Command {
	var in native.NewTrigger
	var after string
	var inactive bool
	create := &cobra.Command{
		Use: "create --after JOB --run JOB", Short: "Run a job each time that an execution of another one has ended well", Args: args(0),
		Long: "Create makes a trigger. A backup that is busy is left out, and an event says so; an ETL that is busy runs\n" +
			"afterwards. Simulated executions trigger nothing. Triggers make chains, and no loops.",
		Example: "  holdfast trigger create --after load --run nightly                     # back up after a load\n" +
			"  holdfast trigger create --after orders --run berlin/report --on done   # also after a warning",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			active := !inactive
			in.Active = &active
			t, err := c.CreateTrigger(cmd.Context(), after, in)
			if err != nil {
				return err
			}
			return a.printTrigger(t)
		},
	}
	f := create.Flags()
	f.StringVar(&after, "after", "", "`job` whose executions it waits for")
	f.StringVar(&in.Run, "run", "", "`job` to run: a backup or a batch ETL")
	f.Var(triggerOnFlag{&in.On}, "on", "`end` to wait for: succeeded, or done, which takes warnings, too (default: succeeded)")
	f.Var(runTypeFlag{&in.RunType}, "run-type", "run `type` of a backup: full, delta or cumulative (default: delta)")
	f.BoolVar(&inactive, "inactive", false, "it does not fire yet")
	require(create, "after", "run")
	return create
}

func (a *app) triggerListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list JOB", Short: "List the triggers that wait for a job", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.Triggers(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			names := map[holdfast.JobID]string{}
			for _, t := range list {
				j, err := c.Job(cmd.Context(), strconv.FormatInt(int64(t.RunJobID), 10))
				if err != nil && holdfast.ErrorCode(err) != holdfast.CodeNotFound { // deleted meanwhile
					return err
				}
				names[t.RunJobID] = fmt.Sprintf("%d %s/%s", t.RunJobID, j.Site, j.Name)
			}
			return a.print(list, "ID RUN ON RUN-TYPE ACTIVE CREATED", func(row func(...any)) {
				for _, t := range list {
					row(t.ID, names[t.RunJobID], t.On, t.RunType, t.Active, t.Created)
				}
			})
		},
	}
}

func (a *app) triggerUpdateCommand() *cobra.Command {
	var active, inactive bool
	update := &cobra.Command{
		Use: "update JOB TRIGGER", Short: "Let a trigger rest, or fire again", Args: args(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := triggerID(args[1])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("inactive") {
				active = !inactive
			} else if !cmd.Flags().Changed("active") {
				return holdfast.Errorf(holdfast.CodeInvalid, "neither --active nor --inactive is given").WithHint("name one of them")
			}
			t, err := c.SetTriggerActive(cmd.Context(), args[0], id, active)
			if err != nil {
				return err
			}
			return a.printTrigger(t)
		},
	}
	update.Flags().BoolVar(&active, "active", false, "it fires")
	update.Flags().BoolVar(&inactive, "inactive", false, "it does not fire")
	exclusive(update, "active", "inactive")
	return update
}

func (a *app) triggerDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete JOB TRIGGER", Short: "Delete a trigger; what it made stays", Args: args(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := triggerID(args[1])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.DeleteTrigger(cmd.Context(), args[0], id)
		},
	}
}

func triggerID(text string) (holdfast.TriggerID, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, holdfast.Errorf(holdfast.CodeInvalid, "%q is not the id of a trigger", text).WithHint("see: holdfast trigger list JOB")
	}
	return holdfast.TriggerID(n), nil
}

func (a *app) printTrigger(t native.Trigger) error {
	return a.print(t, "", func(row func(...any)) {
		row("id", t.ID)
		row("after job", t.JobID)
		row("runs job", t.RunJobID)
		row("on", t.On)
		if t.RunType != "" {
			row("run type", t.RunType)
		}
		row("active", t.Active)
		row("created", t.Created)
	})
}

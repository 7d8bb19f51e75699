package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

func (a *app) etlCommand() *cobra.Command {
	remove := a.jobDeleteCommand()
	remove.Use, remove.Short = "delete ETL", "Delete an ETL; its history stays, and its counters stay in the targets"
	for _, ofBackups := range []string{"sets", "last"} {
		_ = remove.Flags().MarkHidden(ofBackups) // it is there
	}
	return group("etl", "Extract, transform, load; ETL is an id, SITE/NAME, or a name that only one job has",
		a.etlValidateCommand(), a.etlSchemaCommand(), a.etlPreviewCommand(), a.etlCreateCommand(), a.etlUpdateCommand(), a.etlListCommand(),
		a.etlRunCommand(), a.etlScheduleCommand(), a.etlWishCommand("stop", "Stop an ETL at the end of its unit of work"),
		a.etlWishCommand("kill", "End an ETL at once, or cancel what is planned"),
		a.etlStatusCommand(), a.etlLogCommand(), a.etlCounterCommand(), a.etlConfigurationCommand(), remove)
}

// definitionFrom reads a definition from a file; - is standard input.
func (a *app) definitionFrom(path string) (string, error) {
	var r io.Reader = os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", holdfast.Wrap(holdfast.CodeInvalid, err, "the definition cannot be read")
		}
		defer func() { _ = f.Close() }() // it was only read
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, definition.MaxText+1))
	if err != nil {
		return "", holdfast.Wrap(holdfast.CodeInvalid, err, "the definition cannot be read")
	}
	if len(b) > definition.MaxText {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "%s is longer than a definition may be, which is 256 KiB", fileName(path))
	}
	return string(b), nil
}

// fileName is what messages call the file of a definition.
func fileName(path string) string {
	if path == "-" {
		return "the definition on standard input"
	}
	return path
}

func (a *app) etlValidateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "validate FILE", Short: "Check a definition; no server is asked", Args: args(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := a.definitionFrom(args[0])
			if err != nil {
				return err
			}
			d, err := definition.Parse([]byte(text))
			if err != nil {
				return holdfast.Errorf(holdfast.CodeInvalid, "%s is no sound definition:\n%s", fileName(args[0]), holdfast.ErrorMessage(err)).
					WithHint("%s", holdfast.ErrorHint(err))
			}
			return a.print(d, "", func(row func(...any)) {
				row("name", d.Name)
				row("mode", d.Mode)
				row("extracts", len(d.Extract))
				row("transforms", len(d.Transform))
				row("loads", len(d.Load))
			})
		},
	}
}

func (a *app) etlSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of definitions, for editors", Args: args(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := a.stdout.Write(definition.Schema())
			return err
		},
	}
}

// propertyFlags are properties; what is a secret comes from files: everybody on the
// machine sees the arguments of a process.
type propertyFlags struct{ values, files []string }

func (p *propertyFlags) add(cmd *cobra.Command, use string) {
	cmd.Flags().StringArrayVar(&p.values, "property", nil, propertyUse+use)
	cmd.Flags().StringArrayVar(&p.files, "property-file", nil, "`name=file` of a property whose value, one line, is in a file (repeatable)")
}

// given reports whether the command was given any.
func (p *propertyFlags) given(cmd *cobra.Command) bool {
	return cmd.Flags().Changed("property") || cmd.Flags().Changed("property-file")
}

// read turns name=value and name=file arguments into a map.
func (p *propertyFlags) read() (map[string]string, error) {
	out := map[string]string{}
	for _, s := range p.values {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "property %q is not a name with a value", s).WithHint("write --property name=value")
		}
		out[name] = value
	}
	for _, s := range p.files {
		name, file, ok := strings.Cut(s, "=")
		if _, twice := out[name]; !ok || name == "" || file == "" || twice {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "property %q is not a new name with a file", s).WithHint("write --property-file name=FILE, once for each name")
		}
		value, err := readSecret(file)
		if err != nil {
			return nil, err
		}
		out[name] = value.Reveal()
	}
	return out, nil
}

// maxPreview is how many rows of a relation the server shows.
const maxPreview = 1000

const propertyUse = "`name=value` of a property (repeatable)"

func (a *app) etlPreviewCommand() *cobra.Command {
	var in native.NewPreview
	var props propertyFlags
	preview := &cobra.Command{
		Use: "preview FILE", Short: "Read the first rows of each relation of a definition, and change nothing", Args: args(1),
		Long: "Preview reads at most the first 10,000 rows of each extract, and the first of several files, and makes every other\n" +
			"relation of these: sums and joins are those of the sample. Rows that cannot be read are left out, and counted.\n" +
			"NULL is no value; a text of these letters is shown as \"NULL\".",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.Rows < 1 || in.Rows > maxPreview {
				return holdfast.Errorf(holdfast.CodeInvalid, "--rows is %d: it may be from 1 to %d", in.Rows, maxPreview)
			}
			if in.Definition, err = a.definitionFrom(args[0]); err != nil {
				return err
			}
			if in.Properties, err = props.read(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			list, err := c.PreviewETL(cmd.Context(), in)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return printJSON(a.stdout, list)
			}
			_, _ = fmt.Fprintln(a.stderr, "This is made of a sample: at most 10,000 rows of each extract, and the first of several files.")
			for i, r := range list {
				if i > 0 {
					_, _ = fmt.Fprintln(a.stdout)
				}
				if r.Rejected > 0 {
					_, _ = fmt.Fprintf(a.stderr, "%s: rows that cannot be read are left out: %d of the sample; the first: %s\n", cell(r.Name), r.Rejected, cell(r.Reason))
				}
				if err := a.printRelation(r); err != nil {
					return err
				}
			}
			return nil
		},
	}
	preview.Flags().StringVar(&in.Site, "site", "", "`site` whose worker reads (default: that of the first load)")
	preview.Flags().IntVar(&in.Rows, "rows", 10, "`number` of rows of each relation, up to 1000")
	props.add(preview, "")
	return preview
}

func (a *app) printRelation(r engine.Relation) error {
	if _, err := fmt.Fprintf(a.stdout, "%s\n", cell(r.Name)); err != nil {
		return err
	}
	return a.print(r, "", func(row func(...any)) {
		var names, types []any
		for _, c := range r.Columns {
			names, types = append(names, c.Name), append(types, c.Type)
		}
		row(names...)
		row(types...)
		for _, values := range r.Rows {
			var cells []any
			for _, v := range values {
				if v == nil {
					cells = append(cells, "NULL")
					continue
				}
				if *v == "NULL" {
					cells = append(cells, `"NULL"`)
					continue
				}
				cells = append(cells, *v)
			}
			row(cells...)
		}
	})
}

func (a *app) etlCreateCommand() *cobra.Command {
	var in native.NewETL
	var props propertyFlags
	var priority int
	create := &cobra.Command{
		Use: "create FILE", Short: "Create an ETL job from a definition", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.Definition, err = a.definitionFrom(args[0]); err != nil {
				return err
			}
			if in.Properties, err = props.read(); err != nil {
				return err
			}
			in.Priority = changed(cmd, "priority", holdfast.Priority(priority))
			c, err := a.client()
			if err != nil {
				return err
			}
			j, err := c.CreateETL(cmd.Context(), in)
			if err != nil {
				return err
			}
			return a.printJob(j)
		},
	}
	f := create.Flags()
	f.StringVar(&in.Name, "name", "", "`name` of the job, unique in the site (default: the definition's)")
	f.StringVar(&in.Site, "site", "", "`site` whose worker runs it (default: that of the first load)")
	f.IntVar(&priority, "priority", int(holdfast.DefaultPriority), "`number` from 1 (runs first) to 5")
	props.add(create, " of its run configuration")
	return create
}

func (a *app) etlUpdateCommand() *cobra.Command {
	var file string
	var props propertyFlags
	var active, inactive bool
	update := &cobra.Command{
		Use: "update ETL", Short: "Change an ETL's definition or properties, activate or deactivate it: what no flag names stays", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var in native.ETLChange
			if file != "" {
				text, err := a.definitionFrom(file)
				if err != nil {
					return err
				}
				in.Definition = &text
			}
			if props.given(cmd) {
				p, err := props.read()
				if err != nil {
					return err
				}
				in.Properties = &p
			}
			in.Active = changed(cmd, "active", active)
			if cmd.Flags().Changed("inactive") {
				active = !inactive
				in.Active = &active
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			j, err := c.UpdateETL(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.printJob(j)
		},
	}
	update.Flags().StringVar(&file, "definition", "", "`file` of the new definition")
	props.add(update, " of its active run configuration: these replace all")
	update.Flags().BoolVar(&active, "active", false, "what is planned runs")
	update.Flags().BoolVar(&inactive, "inactive", false, "what is planned is left out when it is due; a run by hand is taken")
	exclusive(update, "active", "inactive")
	return update
}

func (a *app) etlListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List ETL jobs", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			jobs, err := all(func(q url.Values) (native.List[native.Job], error) { return c.Jobs(cmd.Context(), q) }, url.Values{"type": {string(holdfast.JobETL)}})
			if err != nil {
				return err
			}
			return a.print(jobs, "ID SITE NAME MODE ACTIVE PRIORITY LAST-RUN LAST-OUTCOME", func(row func(...any)) {
				for _, j := range jobs {
					var when, what any = "", ""
					if j.Last != nil {
						when, what = j.Last.Submitted, outcome(*j.Last)
					}
					row(j.ID, j.Site, j.Name, etlMode(j), j.Active, j.Priority, when, what)
				}
			})
		},
	}
}

func etlMode(j native.Job) definition.Mode {
	if j.ETL != nil && j.ETL.Service {
		return definition.ModeService
	}
	return definition.ModeBatch
}

func (a *app) etlRunCommand() *cobra.Command {
	var in native.NewETLRun
	var props propertyFlags
	var key string
	var wait bool
	run := &cobra.Command{
		Use: "run ETL", Short: "Run an ETL now, or switch a service on", Args: args(1),
		Long: "Run asks for one execution of the ETL. With --wait it shows the progress on standard error and exits with 0\n" +
			"when the execution succeeded, 3 when it ended with a warning, and 1 otherwise.",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.Properties, err = props.read(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			answer, err := c.RunETL(cmd.Context(), args[0], key, in)
			if err != nil {
				return err
			}
			if !wait || answer.ExecutionID == 0 {
				return a.printETLAnswer(answer)
			}
			e, err := c.Execution(cmd.Context(), answer.ExecutionID)
			if err != nil {
				return err
			}
			return a.wait(cmd.Context(), c, e)
		},
	}
	f := run.Flags()
	f.BoolVar(&in.Simulate, "simulate", false, "do everything but the commit")
	props.add(run, " for this execution")
	f.StringVar(&key, "key", "", "idempotency `key`: the same key gives the same execution")
	f.BoolVar(&wait, "wait", false, "wait until it has ended")
	return run
}

func (a *app) etlScheduleCommand() *cobra.Command {
	var in native.NewETLPlan
	var at time.Time
	var props propertyFlags
	plan := &cobra.Command{
		Use: "schedule ETL", Short: "Plan executions of an ETL", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.Properties, err = props.read(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("period") && in.PeriodSeconds < 1 {
				return holdfast.Errorf(holdfast.CodeInvalid, "a period of %d seconds is out of range", in.PeriodSeconds).WithHint("use 1 or more, or leave --period out")
			}
			if cmd.Flags().Changed("at") {
				in.At = &at
			}
			answer, err := c.ScheduleETL(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.printETLAnswer(answer)
		},
	}
	f := plan.Flags()
	f.Var(timeFlag{&at}, "at", "`time` at which the next execution is due, as 2026-01-31T02:00:00Z (default: as stored, or now)")
	f.Int64Var(&in.PeriodSeconds, "period", 0, "`seconds` from one execution to the next (default: as stored, or no more than one)")
	props.add(plan, " for the next execution")
	return plan
}

func (a *app) etlWishCommand(verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ETL", Short: short, Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			answer, err := c.MoveETL(cmd.Context(), args[0], verb)
			if err != nil {
				return err
			}
			return a.printETLAnswer(answer)
		},
	}
}

func (a *app) printETLAnswer(in native.ETLAnswer) error {
	return a.print(in, "", func(row func(...any)) {
		row("execution", orDash(in.ExecutionID))
		row("service", in.Service)
		if in.Effect != "" {
			row("effect", in.Effect)
		}
	})
}

func (a *app) etlStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status ETL", Short: "Show where an ETL is", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.ETLStatus(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(s, "", func(row func(...any)) {
				row("job", s.JobID)
				if s.Service != "" {
					row("service", s.Service)
				}
				for _, e := range []struct {
					what string
					is   *native.Execution
				}{{"now", s.Current}, {"planned", s.Planned}, {"last", s.Last}} {
					if e.is == nil {
						row(e.what, "")
						continue
					}
					row(e.what, fmt.Sprintf("execution %d, %s", e.is.ID, outcome(*e.is)))
				}
				if e := s.Current; e != nil {
					p := e.Progress
					row("progress", fmt.Sprintf("%s, %d rows, %s", cell(p.Phase), p.DoneFiles, size(p.DoneBytes)))
					if e.Detail != "" { // why it waits to be tried again, above all
						row("detail", e.Detail)
					}
					if e.State == holdfast.StateQueued {
						row("not before", e.Due)
					}
				}
				if s.Planned != nil {
					row("due", s.Planned.Due)
				}
			})
		},
	}
}

// etlLogCommand prints the log of the ETL's execution that runs, or ran last.
func (a *app) etlLogCommand() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "log ETL", Short: "Print the log of an ETL's newest execution that has started", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.ETLStatus(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if s.LastStarted == nil {
				return holdfast.Errorf(holdfast.CodeNotFound, "ETL %s has never run", args[0]).WithHint("run it: holdfast etl run %s", args[0])
			}
			return a.printLog(cmd.Context(), c, s.LastStarted.ID, follow)
		},
	}
	followFlag(cmd, &follow)
	return cmd
}

func (a *app) etlCounterCommand() *cobra.Command {
	var in native.NewCounter
	var reset bool
	counter := &cobra.Command{
		Use: "counter ETL", Short: "Show how far each flow of an ETL has been loaded, or set it", Args: args(1),
		Long: "Counter shows the counters of the ETL, from its targets. With --set or --reset it makes the next execution go on\n" +
			"from another value, and leaves an event that says who did it.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			set := reset || cmd.Flags().Changed("set")
			switch named := in.Flow != "" || in.Extract != ""; {
			case named && !set:
				return holdfast.Errorf(holdfast.CodeInvalid, "what becomes of the counter is missing").
					WithHint("add --set VALUE or --reset; without --flow and --extract the command shows all counters")
			case set:
				if in.Flow == "" || in.Extract == "" {
					return holdfast.Errorf(holdfast.CodeInvalid, "which counter is to be set is missing").WithHint("add --flow and --extract, as the command shows them without --set")
				}
				if !reset && in.Value == "" {
					return holdfast.Errorf(holdfast.CodeInvalid, "the counter's value is empty").WithHint("--reset makes the next execution begin from the beginning")
				}
				if err := c.SetETLCounter(cmd.Context(), args[0], in); err != nil {
					return err
				}
			}
			list, err := c.ETLCounters(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(list, "FLOW EXTRACT VALUE UPDATED EXECUTION", func(row func(...any)) {
				for _, n := range list {
					row(n.Flow, n.Extract, n.Value, n.Updated, orDash(n.Execution))
				}
			})
		},
	}
	f := counter.Flags()
	f.StringVar(&in.Flow, "flow", "", "`flow` whose counter is set")
	f.StringVar(&in.Extract, "extract", "", "`extract` whose counter is set")
	f.StringVar(&in.Value, "set", "", "`value`, as this command shows it")
	f.BoolVar(&reset, "reset", false, "begin from the beginning")
	exclusive(counter, "set", "reset")
	return counter
}

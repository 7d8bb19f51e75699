package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

func (a *app) retentionCommand() *cobra.Command {
	var every bool
	plan := &cobra.Command{
		Use: "plan JOB|--all", Short: "Show which backup sets of a job would go now, and why each stays or goes",
		Long: "Plan changes nothing. What it shows is carried out when the next backup of the job ends well, with that backup's\n" +
			"set counted in.",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, refs []string) error {
			if len(refs) > 1 || every == (len(refs) == 1) {
				return holdfast.Errorf(holdfast.CodeInvalid, "name one job, or --all").WithHint("use: %s", cmd.UseLine())
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			if every {
				jobs, err := all(func(q url.Values) (native.List[native.Job], error) { return c.Jobs(cmd.Context(), q) },
					url.Values{"type": {string(holdfast.JobBackup)}})
				if err != nil {
					return err
				}
				for _, j := range jobs {
					refs = append(refs, fmt.Sprint(j.ID))
				}
			}
			plans := make([]native.RetentionPlan, 0, len(refs))
			for _, ref := range refs {
				p, err := c.RetentionPlan(cmd.Context(), ref)
				if err != nil {
					if every && holdfast.ErrorCode(err) == holdfast.CodeNotFound {
						continue // it was deleted meanwhile
					}
					return err
				}
				plans = append(plans, p)
			}
			if a.output == "json" && every {
				return printJSON(a.stdout, plans)
			}
			for _, p := range plans {
				if err := a.printPlan(p); err != nil {
					return err
				}
			}
			return nil
		},
	}
	plan.Flags().BoolVar(&every, "all", false, "every backup job")
	return group("retention", "Which backup sets stay, and which go", plan)
}

func (a *app) printPlan(p native.RetentionPlan) error {
	if a.output == "json" {
		return printJSON(a.stdout, p)
	}
	unit := strings.ToLower(string(p.Unit))
	if p.Count == 1 {
		unit = strings.TrimSuffix(unit, "s")
	}
	_, err := fmt.Fprintf(a.stdout, "job %d %s keeps %d good %s (%s); there are %d\n",
		p.JobID, cell(p.Site+"/"+p.Job), p.Count, unit, cell(p.UnitReason), p.Good)
	if err != nil {
		return err
	}
	if len(p.Sets) == 0 {
		return nil
	}
	err = a.print(p, "VERDICT SET RUN-TYPE TAKEN SIZE WHY", func(row func(...any)) {
		for _, v := range p.Sets {
			verdict := "keep"
			if v.Drop {
				verdict = "drop"
			}
			row(verdict, v.SetID, v.RunType, v.Stopped, size(v.Bytes), v.Reason)
		}
	})
	if err == nil && p.Drops > 0 {
		_, err = fmt.Fprintf(a.stdout, "the next backup that ends well drops %d of %d sets, and what its own set takes the place of\n", p.Drops, len(p.Sets))
	}
	return err
}

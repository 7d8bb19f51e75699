package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
)

func (a *app) setCommand() *cobra.Command {
	var sites []string
	var job string
	var limit int
	list := &cobra.Command{
		Use: "list", Short: "List backup sets, the newest first", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			q := url.Values{"site": sites, "limit": {strconv.Itoa(limit)}}
			if job != "" {
				q.Set("job", job)
			}
			l, err := c.Sets(cmd.Context(), q)
			if err != nil {
				return err
			}
			return a.print(l.Items, "ID SITE JOB RUN-TYPE TAKEN SIZE ADDED STATE PROTECTED", func(row func(...any)) {
				for _, s := range l.Items {
					row(s.ID, s.Site, s.JobID, s.RunType, s.Stopped, size(s.Bytes), size(s.AddedBytes), setState(s), s.Protected)
				}
			})
		},
	}
	f := list.Flags()
	f.StringArrayVar(&sites, "site", nil, "`site` (repeatable)")
	f.StringVar(&job, "job", "", "`job`: an id, SITE/NAME, or a name that only one job has")
	f.IntVar(&limit, "limit", 50, "`number` of sets at most, up to 1000")
	show := &cobra.Command{
		Use: "show SET", Short: "Show a backup set, its tablespaces and its copies", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number[holdfast.SetID]("set", args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.Set(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.printSet(s)
		},
	}
	return group("set", "Backup sets: what restores start from", list, show,
		a.setProtectCommand(), a.setUnprotectCommand(), a.setConfirmCommand(), a.setDeleteCommand())
}

func (a *app) setProtectCommand() *cobra.Command {
	var in native.NewProtection
	protect := &cobra.Command{
		Use: "protect SET", Short: "Have retention leave a backup set alone", Args: args(1),
		Long: "A protected set stays until it is unprotected, and does not count towards the number that the job keeps.",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number[holdfast.SetID]("set", args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.ProtectSet(cmd.Context(), id, in)
			if err != nil {
				return err
			}
			return a.printSet(s)
		},
	}
	protect.Flags().StringVar(&in.Others, "others", "allow", "what becomes of other protected sets of the same job: `answer` allow, refuse or replace")
	return protect
}

func (a *app) setUnprotectCommand() *cobra.Command {
	return &cobra.Command{
		Use: "unprotect SET", Short: "Leave a backup set to retention", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number[holdfast.SetID]("set", args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.UnprotectSet(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.printSet(s)
		},
	}
}

func (a *app) setDeleteCommand() *cobra.Command {
	var yes, last bool
	remove := &cobra.Command{
		Use: "delete SET", Short: "Delete a backup set: it cannot be restored any more", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number[holdfast.SetID]("set", args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.Set(cmd.Context(), id)
			if err != nil {
				return err
			}
			only, err := lastGood(cmd.Context(), c, s)
			if err != nil {
				return err
			}
			switch {
			case !yes:
				question := fmt.Sprintf("Delete backup set %d of site %s, taken %s? It cannot be recovered.", s.ID, cell(s.Site), cell(s.Stopped))
				if only {
					question = fmt.Sprintf("This is the last good backup set of site %s: after it, nothing can be restored.\n", cell(s.Site)) + question
				}
				if err := a.confirm(cmd.Context(), question); err != nil {
					return err
				}
				last = only // it was said, and confirmed
			case only && !last:
				return holdfast.Errorf(holdfast.CodeConflict, "backup set %d is the last good one of its site", id).
					WithHint("make another backup first, or add --last")
			}
			if err := c.DeleteSet(cmd.Context(), id, last); err != nil {
				return err
			}
			_, _ = fmt.Fprintf(a.stderr, "deleted backup set %d\n", id)
			if a.output == "json" {
				return printJSON(a.stdout, s)
			}
			return nil
		},
	}
	remove.Flags().BoolVar(&yes, "yes", false, "do not ask")
	remove.Flags().BoolVar(&last, "last", false, "with --yes: although it is the last good set of its site")
	return remove
}

// lastGood reports whether the set is the last good one of its site.
func lastGood(ctx context.Context, c *client.Client, s native.Set) (bool, error) {
	if !good(s) {
		return false, nil
	}
	sets, err := all(func(q url.Values) (native.List[native.Set], error) { return c.Sets(ctx, q) },
		url.Values{"site": {strconv.FormatInt(int64(s.SiteID), 10)}})
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(sets, func(other native.Set) bool { return other.ID != s.ID && good(other) }), nil
}

// good reports whether nothing in the set is known to be damaged, and it is
// somewhere.
func good(s native.Set) bool {
	state := setState(s)
	return state == string(holdfast.CopyVerified) || state == string(holdfast.CopyComplete)
}

// setState is the state of its best copy.
func setState(s native.Set) string {
	if len(s.Copies) == 0 {
		return ""
	}
	rank := func(c native.Copy) int {
		return slices.Index([]holdfast.CopyState{
			holdfast.CopyDeleted, holdfast.CopyExpired, holdfast.CopyDamaged, holdfast.CopyUnconfirmed, holdfast.CopyComplete, holdfast.CopyVerified,
		}, c.State)
	}
	best := slices.MaxFunc(s.Copies, func(a, b native.Copy) int { return rank(a) - rank(b) }).State
	if s.Damaged != "" && rank(native.Copy{State: best}) > rank(native.Copy{State: holdfast.CopyDamaged}) {
		best = holdfast.CopyDamaged
	}
	return string(best)
}

func (a *app) printSet(s native.Set) error {
	return a.print(s, "", func(row func(...any)) {
		row("set", s.ID)
		row("site", s.Site)
		row("job", s.JobID)
		row("execution", s.ExecutionID)
		row("run type", s.RunType)
		if s.ParentID != 0 {
			row("builds on", fmt.Sprintf("set %d", s.ParentID))
		}
		row("started", s.Started)
		row("stopped", s.Stopped)
		row("took", duration(s.Stopped.Sub(s.Started).Round(time.Millisecond)))
		row("size", size(s.Bytes))
		row("added", size(s.AddedBytes))
		row("protected", s.Protected)
		if s.Damaged != "" {
			row("damaged", s.Damaged)
		}
		if p := s.Physical; p != nil {
			row("system identifier", p.SystemIdentifier)
			row("server version", p.ServerVersion)
			row("timeline", p.Timeline)
			row("WAL", p.StartLSN+" to "+p.StopLSN)
			for _, t := range p.Tablespaces {
				row("tablespace", fmt.Sprintf("%d %s", t.OID, t.Path))
			}
		}
		for _, c := range s.Copies {
			row("copy", fmt.Sprintf("%s in %s, snapshot %s", c.State, c.Repository, c.Snapshot))
		}
	})
}

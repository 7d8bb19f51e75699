package main

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
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
			return a.print(l.Items, "ID SITE JOB RUN-TYPE TAKEN SIZE ADDED STATE", func(row func(...any)) {
				for _, s := range l.Items {
					row(s.ID, s.Site, s.JobID, s.RunType, s.Stopped, size(s.Bytes), size(s.AddedBytes), setState(s))
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
	return group("set", "Backup sets: what restores start from", list, show)
}

// setState is the state of its best copy.
func setState(s native.Set) string {
	if s.Damaged != "" {
		return string(holdfast.CopyDamaged)
	}
	state := ""
	for _, c := range s.Copies {
		if state == "" || c.State == holdfast.CopyVerified {
			state = string(c.State)
		}
	}
	return state
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

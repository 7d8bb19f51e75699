package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/repository"
)

// lockReport is a lock as JSON.
type lockReport struct {
	ID         string    `json:"id"`
	Time       time.Time `json:"time,omitzero"`
	Exclusive  bool      `json:"exclusive,omitempty"`
	Hostname   string    `json:"hostname,omitempty"`
	Username   string    `json:"username,omitempty"`
	PID        int       `json:"pid,omitempty"`
	Holder     string    `json:"holder,omitempty"`
	Stale      string    `json:"stale,omitempty"`
	Unreadable string    `json:"unreadable,omitempty"`
}

func lockReports(in []repository.Lock) []lockReport {
	out := []lockReport{}
	for _, l := range in {
		r := lockReport{
			ID: l.ID, Time: l.Time, Exclusive: l.Exclusive, Hostname: l.Hostname, Username: l.Username, PID: l.PID, Holder: l.Holder, Stale: l.Stale,
		}
		if l.Unreadable != nil {
			r.Unreadable = l.Unreadable.Error()
		}
		out = append(out, r)
	}
	return out
}

// state says whether somebody holds the lock.
func (l lockReport) state() string {
	switch {
	case l.Unreadable != "":
		return "cannot be read"
	case l.Stale != "":
		return "stale: " + l.Stale
	}
	return "held"
}

func (a *app) repositoryLocksCommand() *cobra.Command {
	var in placeFlags
	cmd := &cobra.Command{
		Use: "locks [REPOSITORY]", Short: "List who works on a repository", Args: args(1), Long: "Locks lists who works on a repository, and who has died doing so.\n\n" + placeHelp,
	}
	in.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, _, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		locks, err := p.Locks(cmd.Context())
		if err != nil {
			return err
		}
		return a.printLocks(locks)
	}
	return cmd
}

func (a *app) printLocks(locks []repository.Lock) error {
	all := lockReports(locks)
	return a.print(all, "LOCK REFRESHED HOST PROCESS USER HOLDER EXCLUSIVE STATE", func(row func(...any)) {
		for _, l := range all {
			row(l.ID[:8], l.Time, l.Hostname, orDash(l.PID), l.Username, l.Holder, l.Exclusive, l.state())
		}
	})
}

func (a *app) repositoryUnlockCommand() *cobra.Command {
	var in placeFlags
	var all, yes bool
	cmd := &cobra.Command{
		Use: "unlock [REPOSITORY]", Short: "Remove the locks of those who have died", Args: args(1),
		Long: "Unlock removes the locks that nobody has refreshed for 30 minutes, and those of processes of holdfast that ran on this machine,\n" +
			"since it was started, and in this container, and are gone.\n" +
			"Locks never keep other backups and restores out, but a stale exclusive one of restic's, or one that cannot be read, does.\n\n" +
			"With --all it removes every lock. A backup that still runs then fails at its end.\n\n" + placeHelp,
	}
	in.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every lock, whoever holds it")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask, with --all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, _, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		if all && !yes {
			if err := a.confirmUnlock(cmd, p); err != nil {
				return err
			}
		}
		removed, err := p.Unlock(cmd.Context(), all)
		for _, l := range lockReports(removed) {
			_, _ = fmt.Fprintf(a.stderr, "removed lock %s of process %s on %s, user %s, refreshed %s (%s)\n",
				l.ID[:8], orDash(l.PID), cell(l.Hostname), cell(l.Username), cell(l.Time), l.state())
		}
		if err != nil {
			return err
		}
		if len(removed) == 0 {
			_, _ = fmt.Fprintln(a.stderr, "no lock was removed")
		}
		left, err := p.Locks(cmd.Context())
		if err != nil {
			return err
		}
		return a.printUnlocked(removed, left)
	}
	return cmd
}

func (a *app) confirmUnlock(cmd *cobra.Command, p *openedRepository) error {
	locks, err := p.Locks(cmd.Context())
	if err != nil || len(locks) == 0 {
		return err
	}
	held := 0
	for _, l := range locks {
		if l.Stale == "" {
			held++
		}
	}
	return a.confirm(cmd.Context(), fmt.Sprintf("Remove %s of %s, %d of them held? Backups that still run will fail.", count(int64(len(locks)), "lock"), p.title(), held))
}

// printUnlocked ends with a warning while a lock is left that keeps others out and
// that nobody may hold.
func (a *app) printUnlocked(removed, left []repository.Lock) error {
	v := struct {
		Removed []lockReport `json:"removed"`
		Left    []lockReport `json:"left"`
	}{lockReports(removed), lockReports(left)}
	if a.output == "json" {
		if err := printJSON(a.stdout, v); err != nil {
			return err
		}
	}
	for _, l := range v.Left {
		if l.Unreadable != "" {
			_, _ = fmt.Fprintf(a.stderr, "warning: lock %s cannot be read and stays: remove it with --all when nobody works on the repository\n", l.ID[:8])
			return exitError(exitWarnings)
		}
	}
	return nil
}

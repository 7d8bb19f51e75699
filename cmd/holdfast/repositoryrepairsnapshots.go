package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// shownLost is how much of what a set has lost is named in the text.
const shownLost = 100

// repairSnapshotsReport is what repair snapshots prints as JSON.
type repairSnapshotsReport struct {
	Repository string             `json:"repository"` // the id in its config
	Location   string             `json:"location"`
	DryRun     bool               `json:"dry_run,omitempty"`
	Whole      int                `json:"whole"`             // snapshots that have lost nothing
	Remains    int                `json:"remains,omitempty"` // what earlier repairs have left of others
	Repaired   []repairedSnapshot `json:"repaired"`
	Unreadable []string           `json:"unreadable"`
}

type repairedSnapshot struct {
	checkedSnapshot
	New       string     `json:"new,omitempty"`
	There     bool       `json:"there_before,omitempty"`
	Nothing   bool       `json:"nothing_left,omitempty"`
	Forgotten bool       `json:"forgotten,omitempty"`
	Lost      []lostNode `json:"lost"`
}

type lostNode struct {
	Path      string `json:"path"`
	Directory bool   `json:"directory,omitempty"`
	Bytes     int64  `json:"bytes,omitempty"`
}

func (a *app) repairSnapshotsCommand() *cobra.Command {
	var in placeFlags
	var o repository.RepairSnapshotsOptions
	var yes bool
	cmd := &cobra.Command{
		Use: "snapshots [REPOSITORY] [SNAPSHOT...]", Short: "Make new snapshots of what is left of damaged ones",
		Long: "Repair snapshots looks for what backup sets have lost, and makes a new snapshot of what is left of each: without the files of\n" +
			"which a piece is lost, and with empty directories for those that cannot be listed. The new one is marked, and a restore\n" +
			"takes it only when it is named by its id, and warns. The damaged one stays, unless --forget is given: then it is gone for good,\n" +
			"even if what it has lost is found again. So --forget asks, and refuses while packs are missing that the index names.\n\n" +
			"Run repair index first, with --read-data when pieces may be bad inside of packs, and a backup then: what the source still\n" +
			"has is stored again, and old sets that need it are whole again.\n\n" + placeHelp + "\n" +
			"SNAPSHOT is the number of a backup set, or the beginning of a snapshot's id; without one all are looked at.\n\n" +
			"It exits with 0 when all are whole, and with 3 when something is lost.",
		Example: "  holdfast repository repair snapshots main --dry-run\n" +
			"  holdfast repository repair snapshots main --forget\n" +
			"  holdfast repository repair snapshots --kit main.kit 1001",
	}
	in.add(cmd)
	cmd.Args = nil // counted below
	cmd.Flags().BoolVar(&o.Forget, "forget", false, "remove each damaged snapshot, once the new one is durable")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only say what is lost")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 && in.kit == "" && in.passwordFile == "" {
			return holdfast.Errorf(holdfast.CodeInvalid, "say which repository").WithHint("use: %s", cmd.UseLine())
		}
		p, refs, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		if o.Forget && !o.DryRun && !yes {
			question := "Remove each damaged snapshot of " + p.title() + " for good, once there is one of what is left of it?"
			if err := a.confirm(cmd.Context(), question); err != nil {
				return err
			}
		}
		return a.repairSnapshots(cmd.Context(), p, refs, o)
	}
	return cmd
}

func (a *app) repairSnapshots(ctx context.Context, p *openedRepository, refs []string, o repository.RepairSnapshotsOptions) error {
	if len(refs) > 0 {
		chosen, err := a.pickSnapshots(ctx, p, refs, false)
		if err != nil {
			return err
		}
		for _, c := range chosen {
			o.Snapshots = append(o.Snapshots, c.Snapshot)
		}
	}
	o.Tags, o.Notice = worker.RepairedTags(), worker.RepairNotice()
	show := a.newPhaseProgress("repair")
	o.Progress = show.take
	r, err := p.RepairSnapshots(ctx, o)
	show.close()
	if err != nil && len(r.Repaired) == 0 {
		return err
	}
	v := newRepairSnapshotsReport(p, o, r)
	var printed error
	if a.output == "json" {
		printed = printJSON(a.stdout, v)
	} else {
		_, printed = fmt.Fprint(a.stdout, v.text(p.title(), p.client != nil))
	}
	if err := joinPrinted(err, printed); err != nil {
		return err
	}
	if len(r.Repaired)+len(r.Unreadable) > 0 {
		return exitError(exitWarnings)
	}
	return nil
}

func newRepairSnapshotsReport(p *openedRepository, o repository.RepairSnapshotsOptions, r repository.RepairSnapshotsResult) repairSnapshotsReport {
	v := repairSnapshotsReport{
		Repository: p.ID(), Location: p.location, DryRun: o.DryRun, Whole: r.Whole, Remains: r.Remains, Repaired: []repairedSnapshot{}, Unreadable: []string{},
	}
	for _, s := range r.Repaired {
		one := repairedSnapshot{
			checkedSnapshot: asChecked(s.Snapshot), New: s.New, There: s.There, Nothing: s.Nothing, Forgotten: s.Forgotten, Lost: []lostNode{},
		}
		for _, l := range s.Lost {
			one.Lost = append(one.Lost, lostNode{Path: l.Path, Directory: l.Dir, Bytes: l.Bytes})
		}
		v.Repaired = append(v.Repaired, one)
	}
	for _, err := range r.Unreadable {
		v.Unreadable = append(v.Unreadable, holdfast.ErrorMessage(err))
	}
	return v
}

// text is the report for people.
func (r repairSnapshotsReport) text(title string, served bool) string {
	var b strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	forgotten := false
	for _, u := range r.Unreadable {
		line("UNREADABLE %s", cell(u))
	}
	for _, s := range r.Repaired {
		title := affected([]checkedSnapshot{s.checkedSnapshot})
		if s.Set != "" {
			title += ", snapshot " + short(s.Snapshot)
		}
		line("LOST    of %s: %s", title, lostWords(s.Lost))
		for _, l := range s.Lost[:min(len(s.Lost), shownLost)] {
			if l.Directory {
				line("        /%s: a directory, and all in it", cell(l.Path))
			} else {
				line("        /%s: %s", cell(l.Path), size(l.Bytes))
			}
		}
		if more := len(s.Lost) - shownLost; more > 0 {
			line("        and %d more; -o json names all", more)
		}
		switch {
		case s.Nothing && s.New == "":
			line("        nothing is left of it; it stays, in case somebody brings back what is lost, unless --forget is given")
		case s.Nothing:
			line("        nothing is left of it: snapshot %s is empty", s.New)
		case r.DryRun:
			line("        a snapshot of what is left would be made")
		case s.There:
			line("        what is left is snapshot %s, of an earlier repair", s.New)
		default:
			line("        what is left is now snapshot %s", s.New)
		}
		if s.Forgotten {
			line("        the damaged snapshot was removed")
			forgotten = true
		}
	}
	line("%s: %s whole, %d not", title, count(int64(r.Whole), "snapshot"), len(r.Repaired)+len(r.Unreadable))
	if r.Remains > 0 {
		line("%s that earlier repairs have left of others", count(int64(r.Remains), "snapshot"))
	}
	if forgotten && served {
		line("the service does not know the new ones: restore them with holdfast restore --offline, and the beginning of their ids")
	}
	return b.String()
}

func lostWords(lost []lostNode) string {
	var files, dirs int64
	for _, l := range lost {
		if l.Directory {
			dirs++
		} else {
			files++
		}
	}
	var words []string
	if files > 0 {
		words = append(words, count(files, "file"))
	}
	if dirs > 0 {
		words = append(words, count(dirs, "directory"))
	}
	return strings.Join(words, " and ")
}

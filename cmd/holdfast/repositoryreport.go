package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// snapshotReport is what a report prints as JSON.
type snapshotReport struct {
	Repository   string            `json:"repository"` // the id in its config
	Location     string            `json:"location"`
	Installation string            `json:"installation"` // the server's
	State        string            `json:"state"`        // good or warnings
	Snapshots    int               `json:"snapshots"`
	Recorded     int               `json:"recorded"` // of them, as copies of the server
	ToBeRemoved  int               `json:"to_be_removed"`
	Copied       int               `json:"copied"` // by repository copy; the server knows none of these
	Findings     []snapshotFinding `json:"findings"`
	IdleJobs     []string          `json:"idle_jobs"` // SITE/NAME, of those that no schedule runs; no finding
}

type snapshotFinding struct {
	Kind         string    `json:"kind"`
	Snapshot     string    `json:"snapshot,omitempty"`
	Set          string    `json:"set,omitempty"`
	Site         string    `json:"site,omitempty"`
	Installation string    `json:"installation,omitempty"`
	Time         time.Time `json:"time,omitzero"`
	What         string    `json:"what"`
	Hint         string    `json:"hint,omitempty"`
}

// The kinds of findings that are no snapshots' kinds.
const (
	findingMissing    = "missing"    // a copy of the server's whose snapshot is not there
	findingUnreadable = "unreadable" // snapshots that cannot be read
)

func (a *app) repositoryReportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "report REPOSITORY", Short: "List snapshots that nobody here has intended, and copies whose snapshot is missing", Args: args(1),
		Long: "Report compares the snapshots in the repository with the copies that the server knows. It changes nothing, and never will the\n" +
			"server remove what it did not intend itself.\n\n" +
			"It runs on the server's machine, as the user of the server. Its exit code is 3 when there is something to look at.",
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, _, err := a.openRepository(cmd.Context(), placeFlags{}, args)
		if err != nil {
			return err
		}
		found, err := p.find(cmd.Context())
		if err != nil {
			return err
		}
		r, err := p.snapshotReport(cmd.Context(), found)
		if err != nil {
			return err
		}
		if r.IdleJobs, err = p.idleJobs(cmd.Context()); err != nil {
			return err
		}
		return a.printSnapshotReport(p, r)
	}
	return cmd
}

// snapshotReport says what does not fit.
func (p *openedRepository) snapshotReport(ctx context.Context, found *foundSnapshots) (snapshotReport, error) {
	r := snapshotReport{
		Repository: p.ID(), Location: p.location, Installation: found.installation, State: stateGood, Snapshots: len(found.all), Findings: []snapshotFinding{},
	}
	there := map[string]bool{}
	for _, s := range found.all {
		there[s.ID] = true
		switch s.kind {
		case snapshotRecorded:
			if (holdfast.Copy{State: found.copies[s.ID].State}).Readable() {
				r.Recorded++
			} else {
				r.ToBeRemoved++ // or being written now
			}
		case snapshotCopied:
			r.Copied++
		case snapshotDeleted, snapshotForeign, snapshotRemains, snapshotUnrecorded, snapshotOther, snapshotSuperseded:
			r.Findings = append(r.Findings, findingOf(s, p.name))
		}
	}
	if found.unreadable != nil {
		r.Findings = append(r.Findings, snapshotFinding{
			Kind: findingUnreadable, What: found.unreadable.Error(), Hint: "holdfast repository check " + p.name,
		})
	}
	missing, err := p.missing(ctx, found, there)
	r.Findings = append(r.Findings, missing...)
	if len(r.Findings) > 0 {
		r.State = stateWarnings
	}
	return r, err
}

func findingOf(s foundSnapshot, name string) snapshotFinding {
	f := snapshotFinding{Kind: string(s.kind), Snapshot: s.ID, Set: s.set.set, Installation: s.set.installation, Time: s.Time}
	f.Site, _ = s.Tag("site")
	switch s.kind {
	case snapshotForeign:
		f.Site = s.Hostname
		f.What, f.Hint = "it is of another program", "whoever made it may know"
	case snapshotRemains:
		f.What, f.Hint = "it is what a repair has left of a set", "restore --offline reads it"
	case snapshotUnrecorded:
		f.What, f.Hint = "this installation wrote it, and does not know it: a backup that was interrupted while its state was lost, or an older state is back", "holdfast repository import "+name
	case snapshotOther:
		f.What, f.Hint = "another installation wrote it", "when that is gone: holdfast repository import "+name
	case snapshotSuperseded:
		f.What, f.Hint = "it is an attempt that was given up, or a copy, of a set that has a newer snapshot", "it takes hardly any room: keep it until the newer one has been restored; restore --offline reads both"
	case snapshotDeleted:
		f.What, f.Hint = "it is back, and the server takes its set for deleted", "restore --offline reads it"
	case snapshotRecorded, snapshotCopied:
	}
	return f
}

// missing finds the copies that readers see and whose snapshots are not there. Each is
// looked for once more: it may be newer than the list.
func (p *openedRepository) missing(ctx context.Context, found *foundSnapshots, there map[string]bool) ([]snapshotFinding, error) {
	var out []snapshotFinding
	ids := make([]native.RepositoryCopy, 0)
	for _, c := range found.copies {
		if !there[c.Snapshot] && (holdfast.Copy{State: c.State}).Readable() {
			ids = append(ids, c)
		}
	}
	slices.SortFunc(ids, func(a, b native.RepositoryCopy) int { return int(a.ID - b.ID) })
	for _, c := range ids {
		_, err := p.Snapshot(ctx, c.Snapshot)
		switch {
		case err == nil:
			continue
		case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
			out = append(out, snapshotFinding{
				Kind: findingMissing, Snapshot: c.Snapshot, Set: fmt.Sprint(c.SetID), What: fmt.Sprintf("the server has it as %s, and it is not there", c.State),
				Hint: "bring it back from a copy of the repository; a restore of the set marks it DAMAGED",
			})
		case ctx.Err() != nil, passes(err):
			return nil, err
		}
	}
	return out, nil
}

func (a *app) printSnapshotReport(p *openedRepository, r snapshotReport) error {
	header := "SNAPSHOT SET SITE TIME KIND WHAT"
	if len(r.Findings) == 0 {
		header = ""
	}
	err := a.print(r, header, func(row func(...any)) {
		for _, f := range r.Findings {
			row(f.Snapshot[:min(8, len(f.Snapshot))], f.Set, f.Site, f.Time, f.Kind, f.What)
		}
	})
	if err == nil && a.output != "json" {
		_, err = fmt.Fprint(a.stdout, r.text(p.title()))
	}
	if err == nil && len(r.Findings) > 0 {
		return exitError(exitWarnings)
	}
	return err
}

func (r snapshotReport) text(title string) string {
	var b strings.Builder
	var hints []string
	for _, f := range r.Findings {
		if hint := f.Kind + ": " + f.Hint; f.Hint != "" && !slices.Contains(hints, hint) {
			hints = append(hints, hint)
			_, _ = fmt.Fprintf(&b, "hint: %s\n", hint)
		}
	}
	_, _ = fmt.Fprintf(&b, "%s: %s, %d of them recorded", title, count(int64(r.Snapshots), "snapshot"), r.Recorded)
	if r.ToBeRemoved > 0 {
		_, _ = fmt.Fprintf(&b, ", %d to be removed or being written", r.ToBeRemoved)
	}
	if r.Copied > 0 {
		_, _ = fmt.Fprintf(&b, ", %d copied here from other repositories", r.Copied)
	}
	if n := len(r.Findings); n > 0 {
		_, _ = fmt.Fprintf(&b, "; %s to look at\n", count(int64(n), "thing"))
	} else {
		_, _ = fmt.Fprintln(&b, "; nothing to look at")
	}
	b.WriteString(idleText(r.IdleJobs))
	return b.String()
}

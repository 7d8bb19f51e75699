package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/repository"
)

// pruneReport is what a prune prints as JSON. Of a dry run it has the plan only.
type pruneReport struct {
	Repository string       `json:"repository"` // the id in its config
	Location   string       `json:"location"`
	DryRun     bool         `json:"dry_run,omitempty"`
	Plan       prunePlan    `json:"plan"`
	Done       *pruneDone   `json:"done,omitempty"`
	Locks      []lockReport `json:"removed_locks,omitempty"`
	Seconds    float64      `json:"seconds"`
}

type packCount struct {
	Packs int   `json:"packs"`
	Bytes int64 `json:"bytes"`
}

type prunePlan struct {
	Keep     packCount      `json:"keep"`
	Waste    int64          `json:"waste_bytes"`
	Repack   packCount      `json:"repack"`
	Copy     int64          `json:"copy_bytes"`
	Condemn  packCount      `json:"condemn"`
	Pardon   packCount      `json:"pardon"`
	Delete   packCount      `json:"delete"`
	Waiting  []pruneWaiting `json:"waiting"`
	Left     packCount      `json:"left"`
	Unnamed  packCount      `json:"unnamed"`
	Lost     int            `json:"lost_places,omitempty"`
	LostFile string         `json:"lost_example,omitempty"`
}

type pruneWaiting struct {
	packCount
	Since time.Time     `json:"since,omitzero"`
	Until time.Time     `json:"until,omitzero"`
	For   []pruneHolder `json:"for"`
}

type pruneHolder struct {
	Holder   string    `json:"holder,omitempty"`
	Hostname string    `json:"hostname"`
	PID      int       `json:"pid"`
	Noted    time.Time `json:"noted"`
}

type pruneDone struct {
	Deleted   packCount `json:"deleted"`
	Retained  packCount `json:"retained"`
	Spared    packCount `json:"spared"`
	Pardoned  packCount `json:"pardoned"`
	Repacked  packCount `json:"repacked"`
	Condemned packCount `json:"condemned"`
	Written   int64     `json:"written_bytes"`
	Postponed string    `json:"postponed,omitempty"`
}

func (a *app) repositoryPruneCommand() *cobra.Command {
	var in placeFlags
	unused := shareFlag(repository.DefaultMaxUnused)
	var wait time.Duration
	var limit int64
	var dry bool
	cmd := &cobra.Command{
		Use: "prune [REPOSITORY]", Short: "Delete what no backup set needs any more", Args: args(1),
		Long: "Prune looks which packs no backup set needs, and condemns them; it deletes those that were condemned long enough ago and that\n" +
			"nobody can have counted on since. Packs that are needed in part are rewritten when too much of them is waste. Backups and\n" +
			"restores go on meanwhile, and no lock keeps them out. So one prune condemns, and one on the next day deletes: run it daily.\n\n" +
			placeHelp,
		Example: "  holdfast repository prune main --dry-run\n" +
			"  holdfast repository prune main\n" +
			"  holdfast repository prune --kit main.kit --max-unused 0 --wait 1h",
	}
	in.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&dry, "dry-run", false, "say what would be done, and change nothing")
	f.Var(&unused, "max-unused", "share of the packs' bytes that may stay waste")
	f.Var(sizeFlag{&limit}, "repack-limit", "`size` of what is rewritten at most, as 10GiB; 0: as much as it takes")
	f.DurationVar(&wait, "wait", repository.DefaultPruneWait, "how long a condemned pack stays")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, _, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		o := repository.PruneOptions{MaxUnused: float64(unused), RepackLimit: limit, Wait: wait}
		show := a.newPhaseProgress("prune")
		o.Progress = show.take
		began := time.Now()
		report := pruneReport{Repository: p.ID(), Location: p.location, DryRun: dry}
		if dry {
			plan, err := p.PlanPrune(cmd.Context(), o)
			show.close()
			if err != nil {
				return err
			}
			report.Plan = newPrunePlan(plan)
		} else {
			r, err := p.Prune(cmd.Context(), o)
			show.close()
			if err != nil {
				return err
			}
			report.Plan, report.Done, report.Locks = newPrunePlan(r.Plan), newPruneDone(r), lockReports(r.Locks)
		}
		report.Seconds = time.Since(began).Seconds()
		return a.printPrune(p, report)
	}
	return cmd
}

func newPackCount(c repository.PackCount) packCount { return packCount{c.Packs, c.Bytes} }

func newPrunePlan(p repository.PrunePlan) prunePlan {
	out := prunePlan{
		Keep: newPackCount(p.Keep), Waste: p.Waste, Repack: newPackCount(p.Repack), Copy: p.Copy, Condemn: newPackCount(p.Unused),
		Pardon: newPackCount(p.Pardon), Delete: newPackCount(p.Delete), Waiting: []pruneWaiting{}, Left: newPackCount(p.Left), Unnamed: newPackCount(p.Unnamed),
		Lost: p.Lost, LostFile: p.LostFile,
	}
	for _, w := range p.Waiting {
		v := pruneWaiting{packCount: newPackCount(w.PackCount), Since: w.Since, Until: w.Until, For: []pruneHolder{}}
		for _, s := range w.For {
			v.For = append(v.For, pruneHolder{Holder: s.Holder, Hostname: s.Hostname, PID: s.PID, Noted: s.Noted})
		}
		out.Waiting = append(out.Waiting, v)
	}
	return out
}

func newPruneDone(r repository.PruneResult) *pruneDone {
	return &pruneDone{
		Deleted: newPackCount(r.Deleted), Retained: newPackCount(r.Retained), Spared: newPackCount(r.Spared), Pardoned: newPackCount(r.Pardoned),
		Repacked: newPackCount(r.Repacked), Condemned: newPackCount(r.Condemned), Written: r.Written, Postponed: r.Postponed,
	}
}

func (a *app) printPrune(p *openedRepository, r pruneReport) error {
	err := a.print(r, "PACKS NUMBER SIZE NOTE", func(row func(...any)) {
		line := func(what string, c packCount, note string) {
			if c.Packs > 0 || what == "keep" {
				row(what, c.Packs, size(c.Bytes), note)
			}
		}
		plan := r.Plan
		line("keep", plan.Keep, size(plan.Waste)+" of it waste")
		line("repack", plan.Repack, size(plan.Copy)+" of it needed")
		line("condemn", plan.Condemn, "no backup set needs them")
		line("pardon", plan.Pardon, "condemned, and needed after all")
		line("delete now", plan.Delete, "condemned long enough")
		for _, w := range plan.Waiting {
			line("wait", w.packCount, w.note())
		}
		line("next time", plan.Left, "one prune condemns and deletes so many at most")
		line("leave", plan.Unnamed, "in no index object; something is missing that may be in them")
	})
	if err != nil || a.output == "json" {
		return err
	}
	if r.Plan.Lost > 0 {
		_, _ = fmt.Fprintf(a.stdout, "pieces are missing in %s, such as of %s: see holdfast repository check\n", count(int64(r.Plan.Lost), "place"), cell(r.Plan.LostFile))
	}
	_, err = fmt.Fprint(a.stdout, r.Done.text(p.title(), r.Locks))
	return err
}

// note says until when and for whom packs wait.
func (w pruneWaiting) note() string {
	if w.Until.IsZero() {
		return "the wait begins with the next prune"
	}
	notes := []string{"until " + w.Until.UTC().Format(time.RFC3339)}
	for _, h := range w.For {
		notes = append(notes, "for "+holderName(h.Holder, h.PID, h.Hostname))
	}
	return strings.Join(notes, ", and ")
}

// holderName says who holds, or held, a lock.
func holderName(holder string, pid int, host string) string {
	if holder == "" {
		holder = "another program"
	}
	return cell(fmt.Sprintf("%s (process %d on %s)", holder, pid, host))
}

// text is the result for people. A dry run has none.
func (d *pruneDone) text(title string, locks []lockReport) string {
	if d == nil {
		return "nothing was changed\n"
	}
	var b strings.Builder
	for _, l := range locks {
		_, _ = fmt.Fprintf(&b, "removed a lock that nobody refreshes: %s\n", holderName(l.Holder, l.PID, l.Hostname))
	}
	var parts []string
	add := func(verb string, c packCount) {
		if c.Packs > 0 {
			parts = append(parts, fmt.Sprintf("%s %s, %s", verb, count(int64(c.Packs), "pack"), size(c.Bytes)))
		}
	}
	add("deleted", d.Deleted)
	add("condemned", d.Condemned)
	add("repacked", d.Repacked)
	add("pardoned", d.Pardoned)
	add("spared", d.Spared)
	add("may not delete yet", d.Retained)
	if len(parts) == 0 {
		parts = []string{"nothing to do"}
	}
	_, _ = fmt.Fprintf(&b, "%s: %s\n", title, strings.Join(parts, "; "))
	if d.Postponed != "" {
		_, _ = fmt.Fprintf(&b, "nothing was deleted: %s\n", d.Postponed)
	}
	return b.String()
}

// shareFlag is a flag for a share: 5%, or 0.05.
type shareFlag float64

// String is the flag's value.
func (f *shareFlag) String() string { return strconv.FormatFloat(float64(*f)*100, 'f', -1, 64) + "%" }

// Set reads the flag.
func (f *shareFlag) Set(s string) error {
	number, percent := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return errors.New("write it as a share of all, such as 5% or 0.05")
	}
	*f = shareFlag(v)
	return nil
}

// Type is what the usage calls the value.
func (*shareFlag) Type() string { return "share" }

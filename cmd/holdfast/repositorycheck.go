package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

// shownSnapshots is how many of the snapshots that a finding affects are named in
// the text.
const shownSnapshots = 20

// The states of a repository that was checked.
const (
	stateGood     = "good"
	stateWarnings = "warnings"
	stateDamaged  = "damaged"
)

// checkReport is what a check prints as JSON.
type checkReport struct {
	Repository string            `json:"repository"` // the id in its config
	Location   string            `json:"location"`
	State      string            `json:"state"`
	Snapshots  int               `json:"snapshots"`
	Indexes    int               `json:"indexes"`
	Packs      int               `json:"packs"`
	Blobs      int               `json:"blobs"`
	Trees      int               `json:"trees"`
	ReadPacks  int               `json:"read_packs"`
	ReadBytes  int64             `json:"read_bytes"`
	Seconds    float64           `json:"seconds"`
	Findings   []checkFinding    `json:"findings"`
	More       int               `json:"more_findings,omitempty"`
	Affected   []checkedSnapshot `json:"affected"`
}

type checkFinding struct {
	Kind     repository.FindingKind `json:"kind"`
	Warning  bool                   `json:"warning,omitempty"`
	Object   string                 `json:"object"`
	What     string                 `json:"what"`
	Hint     string                 `json:"hint,omitempty"`
	Places   int64                  `json:"places,omitempty"`
	Example  string                 `json:"example,omitempty"`
	Affected []checkedSnapshot      `json:"affected"`
}

type checkedSnapshot struct {
	Snapshot string    `json:"snapshot"`
	Set      string    `json:"set,omitempty"`
	Site     string    `json:"site,omitempty"`
	Time     time.Time `json:"time,omitzero"`
}

func (a *app) repositoryCheckCommand() *cobra.Command {
	var in placeFlags
	var read bool
	var subset subsetFlag
	cmd := &cobra.Command{
		Use: "check [REPOSITORY]", Short: "Look whether everything in a repository is there, and right", Args: args(1),
		Long: "Check looks whether every pack that the index names is there and has its size, reads all directories of all backup\n" +
			"sets, and looks for every piece that they name. With --read-data it reads every pack, too, and verifies each piece.\n" +
			"It names what is damaged, and the backup sets that do not restore whole because of it. It changes nothing.\n\n" +
			placeHelp + "\n\n" +
			"It exits with 0 when all is well, 1 when something is damaged, and 3 when there are only warnings.",
		Example: "  holdfast repository check main\n" +
			"  holdfast repository check main --read-data-subset 1/7      # on Mondays; 2/7 on Tuesdays\n" +
			"  holdfast repository check --kit main.kit --read-data",
	}
	in.add(cmd)
	cmd.Flags().BoolVar(&read, "read-data", false, "read every pack whole")
	cmd.Flags().Var(&subset, "read-data-subset", "read the n-th of t parts of the packs, by their ids: n/t")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, _, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		o := repository.CheckOptions{ReadData: read || subset.Of > 0, Subset: repository.Subset(subset)}
		if p.client != nil {
			o.Recorded = p.recorded
		}
		show := a.newCheckProgress()
		o.Progress = show.take
		began := time.Now()
		r, err := p.Check(cmd.Context(), o)
		show.close()
		if err != nil {
			return err
		}
		return a.printCheck(p, r, time.Since(began))
	}
	exclusive(cmd, "read-data", "read-data-subset")
	return cmd
}

func (a *app) printCheck(p *openedRepository, r repository.CheckResult, took time.Duration) error {
	report := newCheckReport(p, r)
	report.Seconds = took.Seconds()
	var err error
	if a.output == "json" {
		err = printJSON(a.stdout, report)
	} else {
		_, err = fmt.Fprint(a.stdout, report.text(p.title(), took))
	}
	switch {
	case err != nil:
		return err
	case report.State == stateDamaged:
		return exitError(exitFailed)
	case report.State == stateWarnings:
		return exitError(exitWarnings)
	}
	return nil
}

func newCheckReport(p *openedRepository, r repository.CheckResult) checkReport {
	out := checkReport{
		Repository: p.ID(), Location: p.location, State: stateGood, Snapshots: r.Snapshots, Indexes: r.Indexes, Packs: r.Packs, Blobs: r.Blobs,
		Trees: r.Trees, ReadPacks: r.ReadPacks, ReadBytes: r.ReadBytes, Findings: []checkFinding{}, More: r.More, Affected: checkedSnapshots(r.Affected),
	}
	for _, f := range r.Findings {
		out.Findings = append(out.Findings, checkFinding{
			Kind: f.Kind, Warning: f.Kind.IsWarning(), Object: f.Object, What: f.What, Hint: f.Hint,
			Places: f.Places, Example: f.Example, Affected: checkedSnapshots(f.Affected),
		})
	}
	switch {
	case r.Damaged():
		out.State = stateDamaged
	case len(r.Findings) > 0:
		out.State = stateWarnings
	}
	return out
}

func checkedSnapshots(in []repository.CheckedSnapshot) []checkedSnapshot {
	out := []checkedSnapshot{}
	for _, s := range in {
		out = append(out, checkedSnapshot{Snapshot: s.ID, Set: s.Set, Site: s.Site, Time: s.Time})
	}
	return out
}

// text is the report for people.
func (r checkReport) text(title string, took time.Duration) string {
	var b strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	for _, f := range r.Findings {
		word := "DAMAGE "
		if f.Warning {
			word = "warning"
		}
		line("%s %s: %s", word, f.Object, cell(f.What))
		if f.Places > 0 {
			line("        felt in %s, such as %s", count(f.Places, "place"), cell(f.Example))
		}
		if len(f.Affected) > 0 {
			line("        affects %s", affected(f.Affected))
		}
		if f.Hint != "" {
			line("        hint: %s", f.Hint)
		}
	}
	if r.More > 0 {
		line("and %s more", count(int64(r.More), "finding"))
	}
	line("%s: %s, %s in %s, %s", title, count(int64(r.Snapshots), "snapshot"), count(int64(r.Blobs), "piece"), count(int64(r.Packs), "pack"),
		count(int64(r.Trees), "directory"))
	if r.ReadPacks > 0 {
		line("read %s, %s, in %s", count(int64(r.ReadPacks), "pack"), size(r.ReadBytes), duration(took))
	}
	switch {
	case len(r.Affected) > 0:
		line("DAMAGED; not whole any more: %s", affected(r.Affected))
	case r.State == stateDamaged:
		line("DAMAGED, but every snapshot restores")
	case r.State == stateWarnings:
		line("no damage; %s", count(int64(len(r.Findings)), "warning"))
	default:
		line("no damage")
	}
	return b.String()
}

func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// affected names backup sets, and snapshots that are none.
func affected(list []checkedSnapshot) string {
	var names []string
	for _, s := range list[:min(len(list), shownSnapshots)] {
		switch {
		case s.Set == "":
			names = append(names, "snapshot "+s.Snapshot[:min(len(s.Snapshot), 8)])
		case s.Site == "":
			names = append(names, "set "+s.Set)
		default:
			names = append(names, "set "+s.Set+" of "+s.Site)
		}
	}
	text := cell(strings.Join(slices.Compact(names), ", "))
	if more := len(list) - shownSnapshots; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// subsetFlag is a flag for a share of the packs.
type subsetFlag repository.Subset

// String is the flag's value.
func (f *subsetFlag) String() string {
	if f.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", f.Part, f.Of)
}

// Set reads the flag.
func (f *subsetFlag) Set(s string) error {
	part, of, ok := strings.Cut(s, "/")
	n, err := strconv.Atoi(part)
	t, err2 := strconv.Atoi(of)
	share := repository.Subset{Part: n, Of: t}
	if !ok || err != nil || err2 != nil || share == (repository.Subset{}) || share.Validate() != nil {
		return errors.New("write it as n/t, with n from 1 to t, and t up to 256")
	}
	*f = subsetFlag(share)
	return nil
}

// Type is what the usage calls the value.
func (*subsetFlag) Type() string { return "n/t" }

// checkProgress shows how far a check has come.
type checkProgress struct {
	show progress
	stop chan struct{}
	over sync.WaitGroup

	mu sync.Mutex // guards the field below
	p  repository.CheckProgress
}

func (a *app) newCheckProgress() *checkProgress { return a.newPhaseProgress("check") }

// newPhaseProgress is for other work on a repository.
func (a *app) newPhaseProgress(what string) *checkProgress {
	c := &checkProgress{show: a.progress(what), stop: make(chan struct{})}
	c.over.Go(func() {
		tick := time.NewTicker(offlineTick)
		defer tick.Stop()
		for {
			select {
			case <-c.stop:
				return
			case <-tick.C:
				c.mu.Lock()
				p := c.p
				c.mu.Unlock()
				if p.Phase != "" {
					c.show.update(native.Execution{State: holdfast.StateRunning, Progress: holdfast.Progress{
						Phase: p.Phase, DoneBytes: p.DoneBytes, TotalBytes: p.TotalBytes,
					}})
				}
			}
		}
	})
	return c
}

// take keeps the latest.
func (c *checkProgress) take(p repository.CheckProgress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.p = p
}

func (c *checkProgress) close() {
	close(c.stop)
	c.over.Wait()
	c.show.close()
}

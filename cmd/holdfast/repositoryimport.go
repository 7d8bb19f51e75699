package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// importBatch is how many bytes of found sets go into one call at most: a body may have
// 64 KiB.
const importBatch = 48 << 10

// importReport is what an import prints as JSON.
type importReport struct {
	Repository string        `json:"repository"` // the id in its config
	Location   string        `json:"location"`
	DryRun     bool          `json:"dry_run,omitempty"`
	New        int           `json:"new"`
	Copies     int           `json:"copies"`  // of sets that the server knew from another repository
	Known      int           `json:"known"`   // before; they stayed as they were
	Refused    int           `json:"refused"` // with the reason beside each
	Others     int           `json:"others"`  // snapshots that hold no set to import: see repository report
	NewSites   []string      `json:"new_sites"`
	NewJobs    []string      `json:"new_jobs"`  // SITE/NAME
	IdleJobs   []string      `json:"idle_jobs"` // that no schedule runs, of all that there are
	Sets       []importedSet `json:"sets"`      // new, copies and refused
}

type importedSet struct {
	Snapshot string              `json:"snapshot"`
	Set      string              `json:"set"`
	Site     string              `json:"site"`
	Job      string              `json:"job,omitempty"`
	RunType  string              `json:"run_type,omitempty"`
	Parent   holdfast.SetID      `json:"parent,omitempty"`
	Taken    time.Time           `json:"taken"`
	Bytes    int64               `json:"bytes"`
	Damaged  bool                `json:"damaged,omitempty"`
	State    service.ImportState `json:"state"`
	Reason   string              `json:"reason,omitempty"`
	Hint     string              `json:"hint,omitempty"`
}

func (a *app) repositoryImportCommand() *cobra.Command {
	var host, installation string
	var dry bool
	cmd := &cobra.Command{
		Use: "import REPOSITORY", Short: "Make the backup sets in a repository known to this server", Args: args(1),
		Long: "Import reads what the snapshots in the repository say of themselves, and makes those known that the server does not know: after\n" +
			"its state directory was lost, or in another installation. Sites and jobs that they name, and that are not here, are made;\n" +
			"such a job is not active, has no schedule, and keeps everything. Things keep the ids that they had.\n\n" +
			"Imported sets are UNCONFIRMED: they restore, but retention neither counts nor drops them, and no backup builds on them, until\n" +
			"holdfast set confirm. In the repository nothing changes. Import again at any time: what is known stays as it is.\n\n" +
			"It runs on the server's machine, as the user of the server.",
		Example: "  holdfast repository import main --dry-run\n" +
			"  holdfast repository import main --host db1",
	}
	f := cmd.Flags()
	f.BoolVar(&dry, "dry-run", false, "say what would be done, and change nothing")
	f.StringVar(&host, "host", "", "`host` for sites that are not here (default: the only one)")
	f.StringVar(&installation, "installation", "", "`id` of the installation whose sets are imported (default: of all)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, _, err := a.openRepository(cmd.Context(), placeFlags{}, args)
		if err != nil {
			return err
		}
		found, err := p.find(cmd.Context())
		if err != nil {
			return err
		}
		im := &importing{p: p, host: host, dry: dry, names: map[jobKey]string{}}
		im.report = importReport{Repository: p.ID(), Location: p.location, DryRun: dry, NewSites: []string{}, NewJobs: []string{}, Sets: []importedSet{}}
		show := a.newPhaseProgress("import")
		err = im.run(cmd.Context(), found, installation)
		show.close()
		if err != nil {
			return err
		}
		if im.report.IdleJobs, err = p.idleJobs(cmd.Context()); err != nil {
			return err
		}
		return a.printImport(p, im.report, found.unreadable)
	}
	return cmd
}

// jobKey names a job among those of all installations.
type jobKey struct {
	installation string
	job          holdfast.JobID
}

// importing is an import that runs.
type importing struct {
	p      *openedRepository
	host   string
	dry    bool
	report importReport
	seen   native.Sequences
	sets   []native.FoundSet
	names  map[jobKey]string // of jobs, as the newest set has them
}

func (im *importing) run(ctx context.Context, found *foundSnapshots, installation string) error {
	list := found.importable(installation)
	for _, s := range found.all {
		im.seeTags(s)
		switch s.kind {
		case snapshotRecorded:
			im.report.Known++
		case snapshotForeign, snapshotRemains, snapshotDeleted, snapshotSuperseded:
			im.report.Others++
		case snapshotUnrecorded, snapshotOther, snapshotCopied:
		}
	}
	if err := im.p.manifests(ctx, list, im.take); err != nil {
		return err
	}
	for asked := false; !asked || len(im.sets) > 0; asked = true { // without a set, too: the numbers that were seen
		n, size := 0, 0
		for n < len(im.sets) && n < service.MaxImport {
			b, err := json.Marshal(im.sets[n])
			if err != nil {
				return err
			}
			if size += len(b); n > 0 && size > importBatch {
				break
			}
			n++
		}
		if err := im.send(ctx, im.sets[:n]); err != nil {
			return err
		}
		im.sets = im.sets[n:]
	}
	return nil
}

// seeTags notes the ids that are in a snapshot's tags, of what cannot be imported, too.
func (im *importing) seeTags(s foundSnapshot) {
	number := func(key string) int64 {
		v, _ := s.Tag(key)
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 || n > service.MaxImportID {
			return 0
		}
		return n
	}
	im.seen.Set = max(im.seen.Set, holdfast.SetID(number("set")))
	im.seen.Execution = max(im.seen.Execution, holdfast.ExecutionID(number("execution")))
}

// take takes what a snapshot says of its set.
func (im *importing) take(s foundSnapshot, m worker.SetManifest, err error) {
	v := importedSet{Snapshot: s.ID, Set: s.set.set, Taken: s.Time, State: service.ImportRefused}
	v.Site, _ = s.Tag("site")
	v.RunType, _ = s.Tag("run_type")
	if err == nil && m.Repaired != nil {
		err = holdfast.Errorf(holdfast.CodeInvalid, "it is what a repair has left of a set").WithHint("restore --offline reads it")
	}
	var found native.FoundSet
	if err == nil {
		found = foundSet(s, m)
		if b, failed := json.Marshal(found); failed != nil || len(b) > importBatch {
			err = holdfast.Errorf(holdfast.CodeInvalid, "what it says of itself is too long").WithHint("restore --offline reads it")
		}
	}
	if err != nil {
		v.Reason, v.Hint = holdfast.ErrorMessage(err), holdfast.ErrorHint(err)
		im.report.Refused++
		im.report.Sets = append(im.report.Sets, v)
		return
	}
	if m.Site <= service.MaxImportID {
		im.seen.Site = max(im.seen.Site, m.Site)
	}
	if m.Job <= service.MaxImportID {
		im.seen.Job = max(im.seen.Job, m.Job)
	}
	im.names[jobKey{m.Installation, m.Job}] = m.JobName // the list goes from old to new
	im.sets = append(im.sets, found)
}

// foundSet is a set as the server is told of it.
func foundSet(s foundSnapshot, m worker.SetManifest) native.FoundSet {
	r := m.Result
	f := native.FoundSet{
		Snapshot: s.ID, Installation: m.Installation, Fence: m.Fence, Set: m.Set, Site: m.Site, SiteSlug: m.SiteSlug, Job: m.Job, JobName: m.JobName,
		Execution: m.Execution, Parent: m.Parent, Engine: m.Engine, RunType: m.RunType, Started: r.Started, Stopped: r.Stopped, Bytes: r.Bytes, Files: r.Files,
		Damaged: excerpt(r.Damaged), Warnings: excerpt(strings.Join(r.Warnings, "; ")), DataDir: m.DataDir,
	}
	if m.Server != nil {
		server := native.FoundServer(*m.Server)
		f.Server = &server
	}
	if p := r.Physical; p != nil {
		text := func(n uint64) string { return strconv.FormatUint(n, 10) }
		f.Physical = &native.FoundPhysical{
			SystemIdentifier: text(p.SystemIdentifier), Version: p.Version, Timeline: p.Timeline, StartLSN: text(p.StartLSN), StopLSN: text(p.StopLSN), Tablespaces: p.Tablespaces,
		}
	}
	return f
}

// excerpt cuts a text to what the server takes.
func excerpt(s string) string {
	const limit = 2000
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// send has the server import some sets: all of them, or none.
func (im *importing) send(ctx context.Context, sets []native.FoundSet) error {
	for i := range sets {
		sets[i].JobName = im.names[jobKey{sets[i].Installation, sets[i].Job}]
	}
	done, err := im.p.client.ImportSets(ctx, strconv.FormatInt(int64(im.p.id), 10), native.ImportSets{Host: im.host, DryRun: im.dry, Seen: im.seen, Sets: sets})
	if err != nil {
		return err
	}
	if len(done) != len(sets) {
		return holdfast.Errorf(holdfast.CodeInternal, "the server was asked for %d sets, and answers of %d", len(sets), len(done))
	}
	for i, v := range done {
		f := sets[i]
		switch v.State {
		case service.ImportKnown:
			im.report.Known++
			continue
		case service.ImportNew:
			im.report.New++
		case service.ImportCopy:
			im.report.Copies++
		case service.ImportRefused:
			im.report.Refused++
		}
		if job := v.Site + "/" + v.Job; v.NewJob && !slices.Contains(im.report.NewJobs, job) {
			im.report.NewJobs = append(im.report.NewJobs, job)
		}
		if v.NewSite && !slices.Contains(im.report.NewSites, v.Site) {
			im.report.NewSites = append(im.report.NewSites, v.Site)
		}
		im.report.Sets = append(im.report.Sets, importedSet{
			Snapshot: v.Snapshot, Set: strconv.FormatInt(int64(v.SetID), 10), Site: v.Site, Job: v.Job, RunType: string(f.RunType), Parent: f.Parent, Taken: f.Stopped,
			Bytes: f.Bytes, Damaged: f.Damaged != "", State: v.State, Reason: v.Reason, Hint: v.Hint,
		})
	}
	return nil
}

func (a *app) printImport(p *openedRepository, r importReport, unreadable error) error {
	header := "SET SITE JOB RUN-TYPE TAKEN SIZE SNAPSHOT IMPORT"
	if len(r.Sets) == 0 {
		header = ""
	}
	err := a.print(r, header, func(row func(...any)) {
		for _, s := range r.Sets {
			row(s.Set, s.Site, s.Job, s.RunType, s.Taken, size(s.Bytes), s.Snapshot[:min(8, len(s.Snapshot))], s.State)
		}
	})
	if err != nil {
		return err
	}
	if unreadable != nil {
		_, _ = fmt.Fprintf(a.stderr, "warning: some snapshots cannot be read: %v\n", unreadable)
	}
	if a.output != "json" {
		_, err = fmt.Fprint(a.stdout, r.text(p.title()))
	}
	if err == nil && (r.Refused > 0 || unreadable != nil) {
		return exitError(exitWarnings)
	}
	return err
}

// text says to people what was done.
func (r importReport) text(title string) string {
	var b strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	for _, s := range r.Sets {
		if s.State != service.ImportRefused {
			continue
		}
		line("refused: set %s, snapshot %s: %s", cell(s.Set), s.Snapshot[:min(8, len(s.Snapshot))], cell(s.Reason))
		if s.Hint != "" {
			line("         hint: %s", cell(s.Hint))
		}
	}
	did := "imported"
	if r.DryRun {
		did = "would import"
	}
	line("%s: %s %s, %d known before, %d refused", title, did, count(int64(r.New), "set"), r.Known, r.Refused)
	if r.Copies > 0 {
		line("%s %s of sets that the server knew from another repository", did, count(int64(r.Copies), "copy"))
	}
	made := "made"
	if r.DryRun {
		made = "would make"
	}
	if len(r.NewSites) > 0 {
		line("%s the sites: %s", made, cell(r.NewSites))
	}
	if len(r.NewJobs) > 0 {
		line("%s the jobs, not active: %s", made, cell(r.NewJobs))
	}
	if r.Others > 0 {
		line("%s more that hold no set to import: holdfast repository report", count(int64(r.Others), "snapshot"))
	}
	if r.DryRun {
		line("nothing was changed")
	} else if r.New+r.Copies > 0 {
		line("the sets are UNCONFIRMED: restore from them, and then holdfast set confirm")
	}
	if r.New > 0 {
		b.WriteString(notRebuilt)
	}
	b.WriteString(idleText(r.IdleJobs))
	return b.String()
}

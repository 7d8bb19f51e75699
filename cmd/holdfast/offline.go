package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/place"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

const (
	maxKit      = 1 << 20 // bytes
	offlineTick = 500 * time.Millisecond
)

// offlineSet is a backup set as its snapshot tells of it.
type offlineSet struct {
	Snapshot string    `json:"snapshot"`
	Set      string    `json:"set,omitempty"`
	Site     string    `json:"site,omitempty"`
	From     string    `json:"installation,omitempty"` // the installation's id
	RunType  string    `json:"run_type,omitempty"`
	Time     time.Time `json:"time"`
	Hostname string    `json:"hostname"`
	Damaged  bool      `json:"damaged,omitempty"`       // something in it was known to be bad when it was taken, or is lost
	Repaired string    `json:"repaired_from,omitempty"` // the snapshot of which this is what is left
}

// restoreOffline restores with nothing but the recovery kit and the repository.
func (a *app) restoreOffline(ctx context.Context, in restoreFlags, ref string) error {
	if a.output != "table" && a.output != "json" {
		return holdfast.Errorf(holdfast.CodeInvalid, "output %q is unknown", a.output).WithHint("use table or json")
	}
	ignoreHangup()
	p, err := a.openKit(ctx, in.kit, in.repository)
	if err != nil {
		return err
	}
	sets, whole, err := a.listOffline(ctx, p.Repository)
	if err != nil {
		return err
	}
	if ref == "list" {
		return endOffline(whole, a.print(sets, "SET SITE RUN-TYPE TAKEN HOST SNAPSHOT STATE", func(row func(...any)) {
			for _, s := range sets {
				state := "" // nobody has looked
				switch {
				case s.Repaired != "":
					state = "INCOMPLETE"
				case s.Damaged:
					state = "DAMAGED"
				}
				row(s.Set, s.Site, s.RunType, s.Time, s.Hostname, s.Snapshot[:min(16, len(s.Snapshot))], state)
			}
		}))
	}
	set, err := chooseSet(sets, ref, in.site)
	if err != nil {
		return err
	}
	// What cannot be read may have been the latest; a set that was named is what it is.
	return endOffline(whole || ref != "latest", a.writeOffline(ctx, in, p, set))
}

// endOffline has a good end be one with warnings when the list of sets was not whole.
func endOffline(whole bool, err error) error {
	if err == nil && !whole {
		return exitError(exitWarnings)
	}
	return err
}

func readKit(file string) (kit repository.Kit, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return kit, holdfast.Errorf(holdfast.CodeInvalid, "the recovery kit cannot be read: %v", err).WithHint("name the file with --kit")
	}
	if info.Size() > maxKit {
		return kit, holdfast.Errorf(holdfast.CodeInvalid, "%s is too large for a recovery kit", file).WithHint("name the file with --kit")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return kit, holdfast.Errorf(holdfast.CodeInvalid, "the recovery kit cannot be read: %v", err).WithHint("name the file with --kit")
	}
	return repository.ParseKit(data)
}

// openKit opens the repository of a recovery kit, where the kit says, or at another
// place.
func (a *app) openKit(ctx context.Context, file, elsewhere string) (*openedRepository, error) {
	kit, err := readKit(file)
	if err != nil {
		return nil, err
	}
	location := kit.Location
	if elsewhere != "" {
		if location, err = locationURL(elsewhere); err != nil {
			return nil, err
		}
	}
	b, access, err := a.openBucket(location, kit.CA)
	if err != nil {
		return nil, fmt.Errorf("open the repository at %s (name another place with --repository): %w", location, err)
	}
	repo, err := repository.Open(ctx, b, kit.Password)
	if err != nil {
		return nil, fmt.Errorf("open the repository at %s: %w", location, err)
	}
	if kit.FormatID != "" && repo.ID() != kit.FormatID {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the repository at %s is not the one that this kit was made for", location).
			WithHint("name the right place with --repository")
	}
	_, _ = fmt.Fprintf(a.stderr, "repository %s at %s is open\n", repo.ID()[:12], location)
	return &openedRepository{Repository: repo, name: kit.Name, location: location, who: access, kit: true}, nil
}

// openBucket opens the place that a repository's URL names. The access to an object
// store comes from the configuration, and ca is for when that names no certificates.
func (a *app) openBucket(location, ca string) (objstore.Bucket, holdfast.ObjectAccess, error) {
	access, err := a.objectAccess(location)
	if err != nil {
		return nil, access, err
	}
	if access.CA == "" {
		access.CA = ca
	}
	b, err := place.Open(location, access, slog.New(slog.DiscardHandler))
	return b, access, err
}

// objectAccess is the configuration's access to the object store that the location
// names; the zero value when it names none.
func (a *app) objectAccess(location string) (access holdfast.ObjectAccess, err error) {
	l, err := holdfast.ParseLocation(location)
	if err != nil || !l.InStore() {
		return access, err
	}
	c, err := a.config()
	if err != nil {
		return access, err
	}
	access = holdfast.ObjectAccess{
		AccessKey: c.S3.AccessKey, SecretKey: c.S3.SecretKey, SessionToken: c.S3.SessionToken, Region: c.S3.Region, PathStyle: c.S3.PathStyle,
	}
	if c.S3.CA != "" {
		access.CA, err = readCA(c.S3.CA)
	}
	return access, err
}

// listOffline lists the sets, the newest first. Snapshots that hold no set of
// ours, as those of stock restic, are left out. It is not whole when some cannot be read.
func (a *app) listOffline(ctx context.Context, repo *repository.Repository) (sets []offlineSet, whole bool, err error) {
	all, err := repo.Snapshots(ctx)
	if err != nil {
		if len(all) == 0 {
			return nil, false, err
		}
		_, _ = fmt.Fprintf(a.stderr, "warning: some snapshots cannot be read: %v\n", err) // the others may be what is needed
	}
	return offlineSets(all), err == nil, nil
}

func offlineSets(all []repository.Snapshot) []offlineSet {
	sets := []offlineSet{}
	for _, s := range slices.Backward(all) {
		o := offlineSet{Snapshot: s.ID, Time: s.Time, Hostname: s.Hostname}
		var ok bool
		if o.Set, ok = s.Tag("set"); !ok {
			continue
		}
		o.Site, _ = s.Tag("site")
		o.From, _ = s.Tag("installation")
		o.RunType, _ = s.Tag("run_type")
		_, o.Damaged = s.Tag(worker.DamagedTag)
		o.Repaired, _ = s.Tag(repository.RepairedFromTag)
		sets = append(sets, o)
	}
	return sets
}

// chooseSet finds a set by its id, the beginning of its snapshot's id, or as the
// latest; with a site only among that site's. A repository may hold sets of
// several sites, and of several installations, which all count from 1001: one that
// may not be the one that is meant is refused. Of sets that an installation gave
// one id the newest counts: the others are what dead attempts left. What a repair has
// left of a set is meant by the id of its snapshot alone: nobody shall take it for the
// set.
func chooseSet(sets []offlineSet, ref, site string) (offlineSet, error) {
	var found []offlineSet
	rest := "" // a snapshot that is what is left
	for _, s := range sets {
		byID := ref == "latest" || s.Set == ref
		if site != "" && s.Site != site || !byID && (len(ref) < 8 || !strings.HasPrefix(s.Snapshot, ref)) {
			continue
		}
		if byID && s.Repaired != "" {
			rest = cmp.Or(rest, s.Snapshot)
			continue
		}
		if byID && len(found) > 0 && found[0].Site == s.Site && found[0].From == s.From {
			continue
		}
		found = append(found, s)
	}
	switch {
	case len(found) == 0 && rest != "":
		return offlineSet{}, holdfast.Errorf(holdfast.CodeNotFound, "the repository has no whole backup set %q: only what a repair has left of it", ref).
			WithHint("that is INCOMPLETE; to have it all the same, name its snapshot: %s", rest[:min(len(rest), 16)])
	case len(found) == 0:
		return offlineSet{}, holdfast.Errorf(holdfast.CodeNotFound, "the repository has no backup set %q", ref).
			WithHint("see: holdfast restore --offline --kit FILE list")
	case len(found) == 1:
		return found[0], nil
	case ref == "latest" && found[0].Site != found[1].Site:
		return offlineSet{}, holdfast.Errorf(holdfast.CodeInvalid, "the repository holds sets of several sites, such as %s and %s", cell(found[0].Site), cell(found[1].Site)).
			WithHint("say which with --site, or give the id of a set: holdfast restore --offline --kit FILE list")
	case found[0].Set == ref || ref == "latest":
		return offlineSet{}, holdfast.Errorf(holdfast.CodeInvalid, "%d sets of different origin are meant by %q", len(found), ref).
			WithHint("give the beginning of the snapshot's id: holdfast restore --offline --kit FILE list")
	}
	return offlineSet{}, holdfast.Errorf(holdfast.CodeInvalid, "%d snapshots begin with %q", len(found), ref).WithHint("give more of the id")
}

func (a *app) writeOffline(ctx context.Context, in restoreFlags, repo *openedRepository, set offlineSet) (err error) {
	spaces, err := parseTablespaces(in.tablespaces)
	if err != nil {
		return err
	}
	if in.to == "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "--to is missing").WithHint("name a directory that is empty or missing")
	}
	if err := in.absolute(spaces); err != nil {
		return err
	}
	spec := holdfast.RestoreSpec{Directory: in.to, Tablespaces: spaces, Configuration: in.configuration, Delta: in.delta}
	if id, err := number[holdfast.SetID]("set", set.Set); err == nil {
		spec.Set = id
	}
	if err := spec.Validate(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.stderr, "restoring set %s of site %s, taken %s, to %s\n", set.Set, cell(set.Site), cell(set.Time), in.to)
	at, err := holdfast.ParseLocation(repo.location)
	if err != nil {
		return err
	}
	reader, err := repo.NewReader(ctx, set.Snapshot)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := reader.Close(); err == nil {
			err = closeErr
		}
	}()
	damage := worker.Damage(ctx, reader)
	if damage == "" && set.Repaired != "" {
		damage = "the backup set is INCOMPLETE: it is what was left after its repository was damaged"
	}
	began := time.Now()
	report := a.newOfflineReport()
	result, err := physicalEngine().Restore(ctx, engine.Restore{
		Execution: offlineExecution, Fence: 1, Spec: spec, Repository: at.Dir, Report: report,
		Log: slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, reader)
	report.close()
	if err != nil {
		return err
	}
	if damage != "" {
		result.Warnings = append(result.Warnings, damage)
	}
	return a.offlineDone(set, spec, result, time.Since(began))
}

// offlineExecution stands for a restore that no server knows. Ids of real ones
// begin at 1001.
const offlineExecution holdfast.ExecutionID = 1

func (a *app) offlineDone(set offlineSet, spec holdfast.RestoreSpec, r engine.Result, took time.Duration) error {
	v := struct {
		offlineSet
		Directory string   `json:"directory"`
		Bytes     int64    `json:"bytes"`
		Written   int64    `json:"written"`
		Files     int64    `json:"files"`
		Seconds   float64  `json:"seconds"`
		Note      string   `json:"note,omitempty"`
		Warnings  []string `json:"warnings,omitempty"`
	}{set, spec.Directory, r.Bytes, r.Written, r.Files, took.Seconds(), r.Note, r.Warnings}
	err := a.print(v, "", func(row func(...any)) {
		row("set", set.Set)
		row("site", set.Site)
		row("taken", set.Time)
		row("directory", spec.Directory)
		row("size", fmt.Sprintf("%s in %d files", size(r.Bytes), r.Files))
		if spec.Delta {
			row("written", size(r.Written))
		}
		row("took", fmt.Sprintf("%s, %s/s", duration(took), size(int64(float64(r.Bytes)/took.Seconds()))))
	})
	if err != nil {
		return err
	}
	if r.Note != "" {
		_, _ = fmt.Fprintln(a.stderr, "note:", cell(r.Note))
	}
	for _, w := range r.Warnings {
		_, _ = fmt.Fprintln(a.stderr, "warning:", cell(w)) // it comes from the repository
	}
	if len(r.Warnings) > 0 {
		return exitError(exitWarnings)
	}
	return nil
}

// offlineReport shows the progress of a restore in this process.
type offlineReport struct {
	show progress
	stop chan struct{}
	over sync.WaitGroup

	mu sync.Mutex // guards the fields below
	p  holdfast.Progress
}

func (a *app) newOfflineReport() *offlineReport {
	r := &offlineReport{show: a.progress("restore"), stop: make(chan struct{})}
	r.over.Go(func() {
		tick := time.NewTicker(offlineTick)
		defer tick.Stop()
		for {
			select {
			case <-r.stop:
				return
			case <-tick.C:
				r.mu.Lock()
				e := native.Execution{State: holdfast.StateRunning, Progress: r.p}
				r.mu.Unlock()
				r.show.update(e)
			}
		}
	})
	return r
}

func (r *offlineReport) close() {
	close(r.stop)
	r.over.Wait()
	r.show.close()
}

// Phase takes what is done now.
func (r *offlineReport) Phase(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p.Phase = name
}

// Total takes how much there is to do.
func (r *offlineReport) Total(files, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p.TotalFiles, r.p.TotalBytes = files, bytes
}

// Done takes what has been done since.
func (r *offlineReport) Done(files, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p.DoneFiles += files
	r.p.DoneBytes += bytes
}

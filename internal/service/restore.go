package service

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// NewRestore asks for a backup set to be restored.
type NewRestore struct {
	// Spec says what and where. Host zero: the site's. With Spec.Site, which asks for
	// a restore in place, directory and host are that site's; tablespaces of a site's
	// own set that are not mapped go to where they were. With Spec.Delta the directory
	// may be a site's own: its worker refuses it while a server is there.
	Spec           holdfast.RestoreSpec
	Name           string                     // of the job it makes; empty: made up
	Annotations    map[string]json.RawMessage // of the job
	Request        json.RawMessage            // as in Submit
	IdempotencyKey string                     // as in Submit
}

// nameTries bounds the search for a free made-up name.
const nameTries = 100

// Restore makes a RESTORE job of the set's site and its first execution, whose
// parent is the backup. CodeNotFound for a set, host or site that does not exist,
// CodeConflict when the set is gone from every repository or the name is taken,
// CodeInvalid for directories that cannot be written to, and for a restore in place
// that names another directory or host than its site's.
func (s *Service) Restore(ctx context.Context, actor holdfast.Actor, in NewRestore) (holdfast.Execution, error) {
	now := s.now()
	m, err := s.submit(ctx, actor, in.IdempotencyKey, func(ctx context.Context, tx store.Tx) (made, error) {
		none := made{}
		set, err := findSet(ctx, tx, actor, opRestore, in.Spec.Set)
		if err != nil {
			return none, err
		}
		if err := checkKey(in.IdempotencyKey); err != nil {
			return none, err
		}
		spec := cloneSpec(&in.Spec)
		if err := placeInSite(ctx, tx, actor, opRestore, set, spec); err != nil {
			return none, err
		}
		m, ok, err := submitted(ctx, tx, set.Account, in.IdempotencyKey)
		if err != nil || ok {
			if ok && !m.restores(*spec) {
				err = errKeyUsed()
			}
			return m, err
		}
		site, err := findSite(ctx, tx, actor, opRestore, set.Site)
		if err != nil {
			return none, err
		}
		j := jobDefaults(holdfast.Job{
			Account: set.Account, Site: set.Site, Type: holdfast.JobRestore, Engine: set.Engine, Name: in.Name, Active: true,
			Restore: spec, Annotations: in.Annotations, Created: now,
		})
		if j.Name == "" {
			if j.Name, err = restoreName(ctx, tx, j); err != nil {
				return none, err
			}
		}
		if err := s.insertJob(ctx, tx, actor, opRestore, site, &j); err != nil {
			return none, err
		}
		e, err := s.newExecution(ctx, tx, actor, opRestore, j, Run{Job: j.ID, Due: now}, now)
		if err != nil {
			return none, err
		}
		return insertSubmission(ctx, tx, actor, Submit{Request: in.Request, IdempotencyKey: in.IdempotencyKey}, []holdfast.Execution{e}, now)
	})
	if err != nil {
		return holdfast.Execution{}, err
	}
	return m.executions[0], nil
}

// restores reports whether the submission is the one restore.
func (m made) restores(spec holdfast.RestoreSpec) bool {
	return len(m.executions) == 1 && m.executions[0].Restore != nil && sameSpec(*m.executions[0].Restore, spec)
}

// sameSpec reports whether a request asks for what an earlier one has made. No
// host is the one that it got then.
func sameSpec(made, asked holdfast.RestoreSpec) bool {
	return made.Set == asked.Set && made.Site == asked.Site && made.Directory == asked.Directory && (asked.Host == 0 || made.Host == asked.Host) &&
		made.Configuration == asked.Configuration && made.Delta == asked.Delta && made.Repository == asked.Repository && maps.Equal(made.Tablespaces, asked.Tablespaces)
}

// restoreName makes up a name that no job of the site has.
func restoreName(ctx context.Context, r store.Reader, j holdfast.Job) (string, error) {
	_, n, err := r.Jobs(ctx, j.Account, store.JobFilter{
		Sites: []holdfast.SiteID{j.Site}, Types: []holdfast.JobType{holdfast.JobRestore}, Page: store.Page{Limit: 1},
	})
	if err != nil {
		return "", err
	}
	for k := n + 1; k <= n+nameTries; k++ {
		head, tail := fmt.Sprintf("restore of set %d to ", j.Restore.Set), fmt.Sprintf(" #%d", k)
		dir := []rune(strings.Map(func(c rune) rune {
			if isControl(c) {
				return '?'
			}
			return c
		}, j.Restore.Directory))
		if room := holdfast.MaxJobName - len(head) - len(tail); len(dir) > room {
			dir = append([]rune("…"), dir[len(dir)-room+1:]...)
		}
		name := head + string(dir) + tail
		same, _, err := r.Jobs(ctx, j.Account, store.JobFilter{Sites: []holdfast.SiteID{j.Site}, Name: name})
		if err != nil || len(same) == 0 {
			return name, err
		}
	}
	return "", holdfast.Errorf(holdfast.CodeConflict, "no free name was found for the restore").WithHint("give it a name")
}

// restorable is a set with the copy to read.
type restorable struct {
	set  holdfast.BackupSet
	copy holdfast.Copy
}

// readableCopy returns the best copy of the set that the restore may read.
func readableCopy(ctx context.Context, r store.Reader, a holdfast.AccountID, spec holdfast.RestoreSpec) (holdfast.Copy, error) {
	copies, err := r.Copies(ctx, a, spec.Set)
	if err != nil {
		return holdfast.Copy{}, err
	}
	copies = slices.DeleteFunc(copies, func(c holdfast.Copy) bool { return !c.Readable() })
	if len(copies) == 0 {
		return holdfast.Copy{}, errGone(spec.Set)
	}
	if spec.Repository != 0 {
		copies = slices.DeleteFunc(copies, func(c holdfast.Copy) bool { return c.Repository != spec.Repository })
	}
	if len(copies) == 0 {
		return holdfast.Copy{}, holdfast.Errorf(holdfast.CodeConflict, "backup set %d has no copy in repository %d", spec.Set, spec.Repository).
			WithHint("leave the repository out to restore from where a copy is; what is in that repository is made known with holdfast repository import")
	}
	rank := func(c holdfast.Copy) int {
		return slices.Index([]holdfast.CopyState{
			holdfast.CopyVerified, holdfast.CopyComplete, holdfast.CopyUnconfirmed, holdfast.CopyDamaged,
		}, c.State)
	}
	return slices.MinFunc(copies, func(a, b holdfast.Copy) int { return rank(a) - rank(b) }), nil
}

// placeInSite fills what a restore in place takes from its site.
func placeInSite(ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, set SetView, spec *holdfast.RestoreSpec) error {
	if spec.Site == 0 {
		return nil
	}
	site, err := findSite(ctx, r, actor, op, spec.Site)
	if err != nil {
		return err
	}
	if site.DataDir == "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "site %q has no data directory: nothing can be restored in place there", site.Slug).
			WithHint("leave the site out to restore to a directory of its own")
	}
	if spec.Directory != "" && spec.Directory != site.DataDir {
		return holdfast.Errorf(holdfast.CodeInvalid, "a restore in place of site %q writes to its data directory %s, not to %s", site.Slug, site.DataDir, spec.Directory).
			WithHint("leave the directory out, or leave the site out to restore to a directory of its own")
	}
	if spec.Host != 0 && spec.Host != site.Host {
		return holdfast.Errorf(holdfast.CodeInvalid, "a restore in place of site %q is done on its own host", site.Slug).
			WithHint("leave the host out, or leave the site out to restore to a directory of its own")
	}
	spec.Directory, spec.Host = site.DataDir, site.Host
	for _, t := range set.Physical.Tablespaces {
		if _, ok := spec.Tablespaces[t.OID]; ok || t.Path == "" || set.Site != site.ID {
			continue
		}
		if spec.Tablespaces == nil {
			spec.Tablespaces = map[uint32]string{}
		}
		spec.Tablespaces[t.OID] = t.Path
	}
	return nil
}

// checkRestore checks what a restore names, and fills its host, or what a restore in
// place takes from its site.
func (s *Service) checkRestore(
	ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, site holdfast.Site, spec *holdfast.RestoreSpec,
) (restorable, error) {
	set, err := findSet(ctx, r, actor, op, spec.Set)
	if err != nil {
		return restorable{}, err
	}
	if set.Site != site.ID {
		return restorable{}, holdfast.Errorf(holdfast.CodeInvalid, "backup set %d is not of site %q", set.ID, site.Slug).
			WithHint("make the restore job at the site that the set is of")
	}
	c, err := readableCopy(ctx, r, set.Account, *spec)
	if err != nil {
		return restorable{}, err
	}
	if err := placeInSite(ctx, r, actor, op, set, spec); err != nil {
		return restorable{}, err
	}
	if spec.Host == 0 {
		spec.Host = site.Host
	}
	if _, err := findHost(ctx, r, actor, op, spec.Host); err != nil {
		return restorable{}, err
	}
	if err := spec.Validate(); err != nil {
		return restorable{}, err
	}
	for oid := range spec.Tablespaces {
		if !slices.ContainsFunc(set.Physical.Tablespaces, func(t holdfast.Tablespace) bool { return t.OID == oid }) {
			return restorable{}, holdfast.Errorf(holdfast.CodeInvalid, "backup set %d has no tablespace %d", set.ID, oid).
				WithHint("look at the set for its tablespaces")
		}
	}
	if err := allPlaced(set.BackupSet, *spec); err != nil {
		return restorable{}, err
	}
	return restorable{set: set.BackupSet, copy: c}, insideNoServer(ctx, r, actor, set.BackupSet, *spec)
}

// allPlaced refuses a restore that does not say where each tablespace goes; its hint
// says what to type, in the words of the command line and of the APIs.
func allPlaced(set holdfast.BackupSet, spec holdfast.RestoreSpec) error {
	var missing, flags, keys []string
	for _, t := range set.Physical.Tablespaces {
		if _, ok := spec.Tablespaces[t.OID]; ok || t.Path == "" {
			continue
		}
		missing = append(missing, fmt.Sprintf("%d (%s on the source)", t.OID, t.Path))
		flags = append(flags, fmt.Sprintf("--tablespace %d=DIR", t.OID))
		keys = append(keys, fmt.Sprintf(`"%d":"DIR"`, t.OID))
	}
	if missing == nil {
		return nil
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "backup set %d has tablespaces, and no directory is given for %s", set.ID, strings.Join(missing, ", ")).
		WithHint(`give each an empty directory of its own: %s, or "tablespaces":{%s} in an API (redirectItems in Commvault's)`,
			strings.Join(flags, " "), strings.Join(keys, ","))
}

// insideNoServer refuses directories inside the data directory of a server that
// we know of, and a restore in place, or by delta, that would take away another
// server's or a repository with what it lies in. The data directory itself may be the
// target: the worker refuses it unless it is empty, or, by delta, a stopped copy of the
// same cluster; then the actor must be one who may know of it.
func insideNoServer(ctx context.Context, r store.Reader, actor holdfast.Actor, set holdfast.BackupSet, spec holdfast.RestoreSpec) error {
	sites, err := r.Sites(ctx, set.Account)
	if err != nil {
		return err
	}
	paths := []string{spec.Directory}
	for _, p := range spec.Tablespaces {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	replaces := "" // what is there; empty: nothing is
	switch {
	case spec.Site != 0:
		replaces = "moved aside"
	case spec.Delta:
		replaces = "written over"
	}
	for _, site := range sites {
		if site.Host != spec.Host {
			continue
		}
		for _, p := range paths {
			switch {
			case p == site.DataDir && (!spec.Delta || actor.Credential.Covers(site.ID)):
			case inside(spec.Directory, site.DataDir) && ownPlace(set, spec, p): // that registration is wrong
			case inside(p, site.DataDir):
				return errInsideSite(actor, site, p)
			case replaces != "" && site.ID != spec.Site && inside(site.DataDir, p):
				return holdfast.Errorf(holdfast.CodeInvalid, "directory %s cannot be %s: the data directory of %s lies in it", p, replaces, siteName(actor, site)).
					WithHint("correct the sites' data directories, or restore to a directory of its own")
			}
		}
	}
	if replaces == "" {
		return nil
	}
	for _, p := range paths {
		repo, err := repositoryAt(ctx, r, set.Account, p)
		if err != nil {
			return err
		}
		if repo != nil && inside(locationDir(repo.Location), p) {
			return holdfast.Errorf(holdfast.CodeInvalid, "directory %s cannot be %s: the repository at %s lies in it", p, replaces, repo.Location).
				WithHint("restore to a directory of its own")
		}
	}
	return nil
}

// ownPlace reports whether a restore in place writes the path because it is the
// site's own: a wrong registration of another site must not bar it.
func ownPlace(set holdfast.BackupSet, spec holdfast.RestoreSpec, p string) bool {
	if spec.Site == 0 {
		return false
	}
	own := func(t holdfast.Tablespace) bool { return t.Path == p && spec.Tablespaces[t.OID] == p }
	return p == spec.Directory || set.Site == spec.Site && !inside(p, spec.Directory) && slices.ContainsFunc(set.Physical.Tablespaces, own)
}

// siteName names a site to those who may know of it.
func siteName(actor holdfast.Actor, site holdfast.Site) string {
	if !actor.Credential.Covers(site.ID) {
		return "another site"
	}
	return fmt.Sprintf("site %q", site.Slug)
}

func errInsideSite(actor holdfast.Actor, site holdfast.Site, p string) error {
	if !actor.Credential.Covers(site.ID) {
		return holdfast.Errorf(holdfast.CodeInvalid, "directory %s lies inside a server's data directory, that of another site", p).
			WithHint("choose a directory that belongs to no server")
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "directory %s lies inside a server's data directory, %s of site %q", p, site.DataDir, site.Slug).
		WithHint("choose a directory that belongs to no server; when that site's registration is wrong, correct it, or run holdfast site remove %s", site.Slug)
}

// restoreExecution fills what an execution of a restore job has of its own.
func (s *Service) restoreExecution(
	ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, site holdfast.Site, j holdfast.Job, e holdfast.Execution,
) (holdfast.Execution, error) {
	if j.Restore == nil {
		return holdfast.Execution{}, holdfast.Errorf(holdfast.CodeInvalid, "job %d does not say what to restore", j.ID)
	}
	spec := cloneSpec(j.Restore)
	from, err := s.checkRestore(ctx, r, actor, op, site, spec)
	if err != nil {
		return holdfast.Execution{}, err
	}
	e.Name = j.Name
	e.RunType = from.set.RunType
	e.Set = from.set.ID
	e.Parent = from.set.Execution
	e.Repository = from.copy.Repository
	e.Restore = spec
	e.Host = spec.Host
	if spec.Site != 0 { // its workers are those that may write there
		if site, err = findSite(ctx, r, actor, op, spec.Site); err != nil {
			return holdfast.Execution{}, err
		}
	}
	e.Pool, err = restorePool(ctx, r, site, spec.Host)
	return e, err
}

// restorePool returns the site's pool when a worker on the host serves it, else
// a pool that one does: a restore to another machine waits for that machine's
// workers. While no worker stands there it is the site's.
func restorePool(ctx context.Context, r store.Reader, site holdfast.Site, h holdfast.HostID) (string, error) {
	workers, err := workersOf(ctx, r, site.Account)
	if err != nil {
		return "", err
	}
	pool := ""
	for _, w := range workers {
		switch {
		case !w.StandsOn(h):
		case slices.Contains(w.Pools, site.Pool):
			return site.Pool, nil
		case pool == "" && len(w.Pools) > 0:
			pool = w.Pools[0]
		}
	}
	if pool == "" {
		pool = site.Pool
	}
	return pool, nil
}

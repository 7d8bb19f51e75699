package baas

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// restoreInput is a request to restore a save set.
type restoreInput struct {
	name        string // of the RESTORE job; empty: made up
	settings    JobSettings
	site        string // slug of the site to restore to, in place; empty: the set's own
	directory   string // to restore to instead
	host        string // name or number, of the directory; empty: the site's
	tablespaces map[uint32]string
	retained    *string // the set, as the request names it
	partial     string  // the key that asks for less than the whole set, or for another shape of it
}

// readRestore reads the object of a request to restore. Its keys get their
// documented spelling, in place.
func readRestore(t Tree) (restoreInput, error) {
	if err := canonicalRestore(t); err != nil {
		return restoreInput{}, err
	}
	r := reader{}
	top := r.object("", map[string]any(t))
	in := restoreInput{
		name:        strings.TrimSpace(r.textOf(top, "name")),
		settings:    readSettings(&r, top, true),
		site:        strings.TrimSpace(r.textOf(top, targetSiteKey)),
		directory:   strings.TrimSpace(r.textOf(top, directoryKey)),
		host:        r.idOf(top, hostKey),
		tablespaces: readTablespaces(&r, top),
	}
	if id := r.idOf(r.child(top, settingsKey), retainedKey); id != "" {
		in.retained = &id
	}
	flat := map[string]bool{
		"restoreToDifferentDb":  r.flag(top, "restoreToDifferentDb", false),
		"renameRestoredObjects": r.flag(top, "renameRestoredObjects", false),
		"tableNameSuffix":       strings.TrimSpace(r.textOf(top, "tableNameSuffix")) != "",
	}
	in.partial = partial(in.settings)
	for _, key := range slices.Sorted(maps.Keys(flat)) {
		if flat[key] && in.partial == "" {
			in.partial = key
		}
	}
	return in, r.err
}

// partial returns the key of the settings that asks for less than the whole set,
// or for another shape of it.
func partial(s JobSettings) string {
	switch {
	case slices.ContainsFunc(s.Objects, func(o Object) bool { return o.RenameTo != nil }):
		return "rename_to"
	case len(s.Objects) > 0:
		return objectsKey
	case s.DifferentDatabase != nil:
		return databaseKey
	}
	return ""
}

func readTablespaces(r *reader, top node) map[uint32]string {
	n := r.child(top, tablespacesKey)
	if len(n.m) == 0 {
		return nil
	}
	all := map[uint32]string{}
	for key := range n.m {
		oid, err := strconv.ParseUint(key, 10, 32)
		if err != nil {
			r.fail(join(n.path, quote(key)), "the OID of a tablespace with its directory")
			return nil
		}
		all[uint32(oid)] = r.textOf(n, key)
	}
	return all
}

// whole refuses what a set of files cannot give.
func (in restoreInput) whole() error { return checkWhole(in.partial) }

// wholeJob refuses to run a RESTORE job whose settings a set of files cannot
// meet: restoring everything instead would not be what was asked for.
func wholeJob(j holdfast.Job) error {
	if j.Type != holdfast.JobRestore {
		return nil
	}
	return checkWhole(partial(settingsOf(j)))
}

func checkWhole(partial string) error {
	if partial == "" {
		return nil
	}
	return unavailable(
		fmt.Sprintf("%s needs a logical save set, and this one is physical: it holds the files of the whole cluster", quote(partial)),
		"restore everything: leave objects out, or send []; then copy what you need from the restored cluster with pg_dump",
		opRestore)
}

// of checks that the request names no other set than the execution's.
func (in restoreInput) of(e holdfast.Execution) error {
	if in.retained == nil || *in.retained == ID(e.Set) {
		return nil
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "retained_copy %s is not the save set of execution %d, which is %d", quote(*in.retained), e.ID, e.Set).
		WithHint("leave it out, or restore the execution that made that set")
}

// places are what a restore may name, as far as the caller sees it.
type places struct {
	source holdfast.Site
	sites  []holdfast.Site
	hosts  []holdfast.Host
}

// spec returns where the request restores the set to.
func (p places) spec(in restoreInput, set holdfast.SetID) (holdfast.RestoreSpec, error) {
	spec := holdfast.RestoreSpec{Set: set, Tablespaces: in.tablespaces}
	target := p.source
	if in.site != "" && in.site != target.Slug {
		i := slices.IndexFunc(p.sites, func(s holdfast.Site) bool { return s.Slug == in.site })
		if i < 0 {
			return spec, Unknown("site", in.site)
		}
		target = p.sites[i]
	}
	switch {
	case in.directory == "" && in.host != "":
		return spec, holdfast.Errorf(holdfast.CodeInvalid, "%s without %s says nothing", hostKey, directoryKey).
			WithHint("give the directory too, or name a site in target_site to restore into its own directory")
	case in.directory == "":
		spec.Site, spec.Host, spec.Directory = target.ID, target.Host, target.DataDir
		return spec, nil
	case target.ID != p.source.ID:
		return spec, holdfast.Errorf(holdfast.CodeInvalid, "%s and %s name two targets", targetSiteKey, directoryKey).
			WithHint("give one of them; the machine of a directory is target_host")
	}
	spec.Directory, spec.Host = in.directory, target.Host
	if in.host == "" {
		return spec, nil
	}
	for _, named := range []func(holdfast.Host) bool{
		func(h holdfast.Host) bool { return h.Name == in.host },
		func(h holdfast.Host) bool { return ID(h.ID) == in.host },
	} {
		if i := slices.IndexFunc(p.hosts, named); i >= 0 {
			spec.Host = p.hosts[i].ID
			return spec, nil
		}
	}
	return spec, Unknown("host", in.host)
}

// hostNames maps the hosts that the caller may see.
func (p places) hostNames() map[holdfast.HostID]string {
	names := make(map[holdfast.HostID]string, len(p.hosts))
	for _, h := range p.hosts {
		names[h.ID] = h.Name
	}
	return names
}

// document is a RESTORE job as a request would describe it.
func (p places) document(j holdfast.Job) (Tree, error) {
	type wish struct {
		Name        string            `json:"name"`
		Settings    JobSettings       `json:"job_settings"`
		Site        string            `json:"target_site,omitempty"`
		Directory   string            `json:"target_directory,omitempty"`
		Host        string            `json:"target_host,omitempty"`
		Tablespaces map[uint32]string `json:"tablespaces,omitempty"`
	}
	out := wish{Name: j.Name, Settings: settingsOf(j)}
	if spec := j.Restore; spec != nil {
		out.Tablespaces = spec.Tablespaces
		if i := slices.IndexFunc(p.sites, func(s holdfast.Site) bool { return s.ID == spec.Site }); i >= 0 {
			out.Site = p.sites[i].Slug
		}
		if spec.Site == 0 {
			out.Directory, out.Host = spec.Directory, p.hostNames()[spec.Host]
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode restore job %d: %w", j.ID, err)
	}
	return ParseTree(b)
}

// patch merges a request into a RESTORE job (RFC 7396). Where it writes stays
// as it is unless the request says something of it.
func (p places) patch(t Tree, j *holdfast.Job, e holdfast.Execution) error {
	if err := canonicalRestore(t); err != nil {
		return err
	}
	doc, err := p.document(*j)
	if err != nil {
		return err
	}
	if dir, ok := t[directoryKey]; ok && dir == nil {
		delete(doc, hostKey) // it was the directory's
	}
	in, err := readRestore(Merge(doc, t))
	if err != nil {
		return err
	}
	if err := in.whole(); err != nil {
		return err
	}
	if err := in.of(e); err != nil {
		return err
	}
	for _, key := range []string{targetSiteKey, directoryKey, hostKey, tablespacesKey} {
		if _, ok := t[key]; !ok {
			continue
		}
		spec, err := p.spec(in, j.Restore.Set)
		if err != nil {
			return err
		}
		spec.Configuration = j.Restore.Configuration
		j.Restore = &spec
		break
	}
	j.Name = in.name
	ex := extrasOf(*j)
	ex.Settings = in.settings
	return ex.keep(j)
}

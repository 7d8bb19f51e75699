package commvault

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// createRestore starts a restore of a whole server.
func (h *handler) createRestore(ctx context.Context, c call, info taskInfo) (any, error) {
	v, err := h.view(ctx, c.actor)
	if err != nil {
		return nil, err
	}
	o := info.SubTasks[0].Options.RestoreOptions
	if o == nil {
		o = &restoreOptions{}
	}
	from, err := findSource(ctx, v, info, o)
	if err != nil {
		return nil, taskError(err)
	}
	to, wrong := findTarget(ctx, v, from.site, o)
	if err := h.mayRestore(ctx, c, from.site, to); err != nil {
		return nil, err
	}
	if wrong == nil {
		wrong = o.check(info)
	}
	if wrong != nil {
		return nil, taskError(wrong)
	}
	set, err := h.findSet(ctx, c, from, o)
	if err != nil {
		return nil, taskError(err)
	}
	spec, err := to.spec(set)
	if err != nil {
		return nil, taskError(err)
	}
	if err := h.mayWait(ctx, c, from.site); err != nil {
		return nil, taskError(err)
	}
	kept, err := info.keep()
	if err != nil {
		return nil, err
	}
	e, err := h.Service.Restore(ctx, c.actor, service.NewRestore{Spec: spec, Request: kept, IdempotencyKey: c.header.Get(idempotencyKey)})
	if err != nil {
		return nil, taskError(err)
	}
	return replyOf(e.Submission, e), nil
}

// mayRestore refuses when the actor may not run a restore of the source, or one
// into another instance.
func (h *handler) mayRestore(ctx context.Context, c call, from holdfast.Site, to target) error {
	err := h.Service.MayRun(ctx, c.actor, from.ID)
	if err == nil && to.site.ID != 0 && to.site.ID != from.ID {
		err = h.Service.MayRun(ctx, c.actor, to.site.ID)
	}
	if holdfast.ErrorCode(err) != holdfast.CodeForbidden {
		return err
	}
	right := "Out-of-Place Recover"
	if to.inPlace {
		right = "In Place Recover"
	}
	return &Failure{Status: http.StatusForbidden, Code: codeNoInPlace, Err: err, Message: fmt.Sprintf(
		"User [%s] does not have required capability [%s] for this subclient and this operation.", c.actor.Principal.Name, right)}
}

// mayWait refuses one more restore of a site when too many wait already: each is
// a job of its own, so that no queue of one job bounds them.
func (h *handler) mayWait(ctx context.Context, c call, from holdfast.Site) error {
	_, n, err := h.Service.Executions(ctx, c.actor, store.ExecutionFilter{
		Sites: []holdfast.SiteID{from.ID}, Types: []holdfast.JobType{holdfast.JobRestore},
		States: []holdfast.State{holdfast.StateQueued, holdfast.StateSuspended}, Page: store.Page{Limit: 1},
	})
	if err != nil || n < service.MaxWaiting {
		return err
	}
	return senseless("%d restores of this instance wait already", n).WithHint("wait until some have ended, or kill them")
}

// source is what is restored: what a site's jobs saved, or what one of them did.
type source struct {
	site holdfast.Site
	job  holdfast.JobID // 0: any
}

// findSource finds the one instance, backup set or subclient that a restore is
// from. CodeInvalid when there is none, or several.
func findSource(ctx context.Context, t tree, info taskInfo, o *restoreOptions) (source, error) {
	if len(info.Associations) != 1 {
		return source{}, senseless("a restore has one source, and %d are named", len(info.Associations)).WithHint("send one association")
	}
	p, err := locate(ctx, t, *info.Associations[0])
	if err != nil {
		return source{}, err
	}
	if p.level < levelInstance || len(p.sites) != 1 || (p.level == levelSubclient && len(p.jobs) != 1) {
		return source{}, senseless("the association names nothing that can be restored").
			WithHint("name one instance, one of its backup sets, or a subclient")
	}
	from := source{site: p.sites[0]}
	if p.level == levelSubclient {
		from.job, p.set = p.jobs[0].ID, setOf(p.jobs[0])
	}
	set, err := o.set(ctx, t, p)
	if err == nil && set != fsSet {
		err = senseless("only backups of a whole server can be restored").WithHint("name %s and send fsBackupSetRestore true", fsSet)
	}
	return from, err
}

// set returns the backup set to restore from. Where the association ends at the
// instance, browseOption or fsBackupSetRestore says it; neither may say another
// than the association.
func (o *restoreOptions) set(ctx context.Context, t tree, p place) (setKind, error) {
	b := o.Browse.Backupset
	b.SubclientID, b.SubclientName = number{}, ""
	if b.InstanceName == "" && !b.InstanceID.given() {
		b.InstanceID = number{int64(p.sites[0].ID)} // the name of a set alone says nothing
	}
	q, err := locate(ctx, t, b)
	if err != nil {
		return "", err
	}
	set := p.set
	if set == "" {
		set = q.set
	}
	flagged := dumpSet
	if o.Postgres.FSBackupSetRestore.on {
		flagged = fsSet
	}
	if set == "" {
		set = flagged
	}
	if len(q.sites) != 1 || q.sites[0].ID != p.sites[0].ID || (q.set != "" && q.set != set) || (o.Postgres.FSBackupSetRestore.given && flagged != set) {
		return "", senseless("the association, browseOption.backupset and fsBackupSetRestore name different things").
			WithHint("name the same client, instance and backup set in all of them")
	}
	return set, nil
}

// target is where a restore writes.
type target struct {
	site      holdfast.Site // whose data directory it is; zero: directory
	host      holdfast.HostID
	directory string
	moved     map[string]string // directories besides the data directory, by their old paths
	inPlace   bool              // it is the source
}

// findTarget finds where a restore is to write. When it fails, the target still
// says whether it was meant to be in place.
func findTarget(ctx context.Context, t tree, from holdfast.Site, o *restoreOptions) (target, error) {
	to := target{host: from.Host}
	var wrong error
	if to.directory, to.moved, wrong = o.directories(from); wrong != nil {
		return to, wrong
	}
	client, err := locate(ctx, t, o.Destination.DestClient)
	if err != nil {
		return to, err
	}
	instance, err := locate(ctx, t, o.Destination.DestInstance)
	if err != nil {
		return to, err
	}
	unknown := senseless("the destination does not exist").
		WithHint("name a client and an instance that GET /Client and GET /Instance list, and give no other client than the instance's")
	for _, p := range []place{client, instance} {
		switch {
		case p.level == levelNone:
		case len(p.hosts) != 1 || (p.level != levelClient && len(p.sites) != 1):
			return to, unknown
		}
	}
	switch {
	case instance.level > levelClient:
		to.site, to.host = instance.sites[0], instance.sites[0].Host
	case instance.level == levelClient:
		to.host = instance.hosts[0].ID
	case client.level != levelNone:
		to.host = client.hosts[0].ID
	}
	if client.level != levelNone && client.hosts[0].ID != to.host {
		return to, unknown
	}
	switch {
	case to.directory != "":
		to.site = holdfast.Site{}
		return to, nil
	case to.site.ID == 0 && to.host != from.Host:
		return to, senseless("the destination client has no data directory by itself").
			WithHint("name a destinationInstance, or a directory in destPath")
	case to.site.ID == 0:
		to.site = from
	}
	to.directory, to.inPlace = to.site.DataDir, to.site.ID == from.ID
	return to, nil
}

// directories reads destPath and redirectItems: where the data directory goes,
// if not to an instance's, and where others go.
func (o *restoreOptions) directories(from holdfast.Site) (data string, moved map[string]string, err error) {
	for _, p := range o.Destination.DestPath {
		if p.unlessPlaceholder() == "" {
			continue
		}
		if data != "" {
			return "", nil, senseless("destPath holds several directories").WithHint("give one")
		}
		data = trimSlash(p)
	}
	redirect := o.Postgres.RedirectEnabled
	if redirect.given && !redirect.on {
		return data, nil, nil
	}
	if redirect.on && len(o.Postgres.RedirectItems) == 0 {
		return "", nil, senseless("redirectItems is empty").WithHint("send items like /old#/new")
	}
	moved = map[string]string{}
	for _, item := range o.Postgres.RedirectItems {
		was, is, ok := strings.Cut(string(item), "#")
		was, is = trimSlash(text(was)), trimSlash(text(is))
		switch _, twice := moved[was]; {
		case !ok || was == "" || is == "" || strings.Contains(is, "#") || twice:
			return "", nil, senseless("redirectItems holds %s", strconv.Quote(string(item))).WithHint("send items like /old#/new, each old path once")
		case was != from.DataDir:
			moved[was] = is
		case data != "" && data != is:
			return "", nil, senseless("the data directory goes to %s and to %s", data, is).WithHint("give one of destPath and redirectItems")
		default:
			data = is
		}
	}
	return data, moved, nil
}

// trimSlash takes a slash at a path's end away.
func trimSlash(p text) string {
	if s := strings.TrimRight(strings.TrimSpace(string(p)), "/"); s != "" {
		return s
	}
	return string(p)
}

// spec is the restore of the set into the target. Directories that are moved are
// those of the set's tablespaces.
func (to target) spec(set holdfast.BackupSet) (holdfast.RestoreSpec, error) {
	spec := holdfast.RestoreSpec{Set: set.ID, Host: to.host, Directory: to.directory, Site: to.site.ID}
	for was, is := range to.moved {
		i := slices.IndexFunc(set.Physical.Tablespaces, func(s holdfast.Tablespace) bool { return s.Path == was })
		if i < 0 {
			return spec, senseless("%s is neither the data directory nor a tablespace's of the backup", was).
				WithHint("give the paths as they are on the source")
		}
		if spec.Tablespaces == nil {
			spec.Tablespaces = map[uint32]string{}
		}
		spec.Tablespaces[set.Physical.Tablespaces[i].OID] = is
	}
	return spec, nil
}

// check refuses what would not be done as it is asked for: to leave it out in
// silence could restore something else.
func (o *restoreOptions) check(info taskInfo) error {
	if err := info.check(); err != nil {
		return err
	}
	sub := info.SubTasks[0]
	for _, no := range []struct {
		asked bool
		what  string
	}{
		{o.asksForTime(), "a restore to a point in time"},
		{sub.SubTask.OperationType == "1007", "live sync"},
		{o.Postgres.IsCloneRestore.on, "a clone"},
		{o.Postgres.TableLevelRestore.on, "a restore of tables"},
		{o.Postgres.InstanceRestore.on, "instanceRestore"},
		{o.Common.RestoreToDisk.on, "restoreToDisk"},
		{o.Common.ValidateOnly.on, "validateOnly"},
		{o.Impersonation.UseImpersonation.on, "impersonation"},
		{sub.Options.CommonOpts.StartUpOpts.StartInSuspendedState.on, "a restore that begins suspended"},
	} {
		if no.asked {
			return senseless("%s cannot be done", no.what).WithHint("see docs/api/commvault.md for what a restore can do")
		}
	}
	if sub.SubTask.OperationType == restoreByJob && len(o.jobs()) == 0 {
		return senseless("the restore by job names no job").WithHint(`send "jobIds":["1001"]`)
	}
	if len(o.FileOption.SourceItem) == 0 && len(o.JobIDs) == 0 {
		return senseless("fileOption.sourceItem is empty").WithHint(`send ["/data"]`)
	}
	for _, item := range o.FileOption.SourceItem {
		if _, ok := jobOfItem(item); !ok && strings.Trim(string(item), "/") != "data" {
			return senseless("%s cannot be restored alone", strconv.Quote(string(item))).WithHint(`send ["/data"] for the whole server`)
		}
	}
	return nil
}

// restoreByJob is the operationType that names the backup by its job.
const restoreByJob = "1005"

// jobOfItem reads a sourceItem that names a job: 2:1001, where 2 is the CommCell.
func jobOfItem(item text) (id code, ok bool) {
	cell, job, ok := strings.Cut(string(item), ":")
	if !ok || cell != strconv.Itoa(commCellID) {
		return "", false
	}
	_, err := strconv.ParseUint(job, 10, 64)
	return codeOf(job), err == nil
}

// jobs returns the jobs that a restore names its backup by, each once.
func (o *restoreOptions) jobs() []code {
	list := slices.DeleteFunc(slices.Clone(o.JobIDs), func(c code) bool { return c == "" })
	for _, item := range o.FileOption.SourceItem {
		if id, ok := jobOfItem(item); ok {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// setPage is how many sets are looked at together.
const setPage = 50

// findSet returns the backup set that a job made, or the newest good one.
func (h *handler) findSet(ctx context.Context, c call, from source, o *restoreOptions) (holdfast.BackupSet, error) {
	switch jobs := o.jobs(); len(jobs) {
	case 0:
	case 1:
		return h.setOfJob(ctx, c, from, jobs[0], o)
	default:
		return holdfast.BackupSet{}, senseless("%d jobs are named to restore from", len(jobs)).WithHint("name one")
	}
	f := store.SetFilter{Sites: []holdfast.SiteID{from.site.ID}, Job: from.job, Page: store.Page{Limit: setPage}}
	for {
		list, total, err := h.Service.Sets(ctx, c.actor, f)
		if err != nil {
			return holdfast.BackupSet{}, err
		}
		for _, s := range list {
			if s.Damaged == "" && slices.ContainsFunc(s.Copies, good) {
				return s.BackupSet, o.checkCopy(s)
			}
		}
		if f.Page.Offset += setPage; f.Page.Offset >= total || len(list) == 0 {
			return holdfast.BackupSet{}, senseless("there is no good backup to restore").
				WithHint("back up first; a damaged or unconfirmed backup is restored by its job: jobIds")
		}
	}
}

// good reports whether a copy is known to be as it should be.
func good(c holdfast.Copy) bool {
	return c.State == holdfast.CopyComplete || c.State == holdfast.CopyVerified
}

// setOfJob returns the set that a backup made, of whatever quality: it was chosen.
func (h *handler) setOfJob(ctx context.Context, c call, from source, job code, o *restoreOptions) (holdfast.BackupSet, error) {
	none := senseless("job %s made no backup of this source that is still there", job).WithHint("name a finished backup job of it")
	id, err := strconv.ParseInt(string(job), 10, 64)
	if err != nil {
		return holdfast.BackupSet{}, none
	}
	e, err := h.Service.Execution(ctx, c.actor, holdfast.ExecutionID(id))
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return holdfast.BackupSet{}, none
	case err != nil:
		return holdfast.BackupSet{}, err
	case e.Type != holdfast.JobBackup || e.Set == 0 || e.Site != from.site.ID || (from.job != 0 && e.Job != from.job):
		return holdfast.BackupSet{}, none
	}
	list, _, err := h.Service.Sets(ctx, c.actor, store.SetFilter{IDs: []holdfast.SetID{e.Set}})
	switch {
	case err != nil:
		return holdfast.BackupSet{}, err
	case len(list) != 1:
		return holdfast.BackupSet{}, none
	}
	return list[0].BackupSet, o.checkCopy(list[0])
}

// checkCopy refuses a storage copy that cannot be chosen: the best is taken.
func (o *restoreOptions) checkCopy(s service.SetView) error {
	asked := o.Browse.MediaOption.CopyPrecedence
	if !asked.Applicable.on || !asked.Copy.given() {
		return nil
	}
	n := 0
	for _, c := range s.Copies {
		if c.Readable() {
			n++
		}
	}
	if asked.Copy.n == 1 && n == 1 {
		return nil
	}
	return senseless("copy %d of the backup cannot be chosen", asked.Copy.n).WithHint("send copyPrecedence 0 for the best copy")
}

package commvault

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Limits of a list of jobs.
const (
	defaultJobs = 100
	maxJobPage  = 1000
	// defaultLookup is how far a list reaches back that does not say.
	defaultLookup = 365 * 24 * time.Hour
)

// jobCategory is which jobs a list shows.
type jobCategory string

// The categories, and the numbers that POST Jobs gives them. A suspended job is
// active.
const (
	categoryAll      jobCategory = "ALL"
	categoryActive   jobCategory = "ACTIVE"
	categoryFinished jobCategory = "FINISHED"
)

// categoryOf reads a word or a number; nothing is all.
func categoryOf(c code) (jobCategory, bool) {
	switch c {
	case "", "0", code(categoryAll):
		return categoryAll, true
	case "1", code(categoryActive):
		return categoryActive, true
	case "2", code(categoryFinished):
		return categoryFinished, true
	}
	return "", false
}

func (c jobCategory) states() []holdfast.State {
	switch c {
	case categoryActive:
		return slices.DeleteFunc(holdfast.States(), func(s holdfast.State) bool { return s == holdfast.StateEnded })
	case categoryFinished:
		return []holdfast.State{holdfast.StateEnded}
	case categoryAll:
	}
	return nil
}

// jobsAsked is what a list of jobs is asked for.
type jobsAsked struct {
	category jobCategory
	types    []holdfast.JobType // none: the list is empty
	lookup   time.Duration      // how far back; active jobs are there however old
	filter   filter
	page     store.Page
	oldest   bool // the oldest first
}

// jobs lists jobs by the parameters of the query.
func (h *handler) jobs(ctx context.Context, c call) (any, error) {
	ask := jobsAsked{types: []holdfast.JobType{holdfast.JobBackup}, lookup: defaultLookup}
	var ok bool
	if ask.category, ok = categoryOf(codeOf(c.query.get("jobCategory"))); !ok {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the parameter jobCategory is unknown").WithHint("use All, Active or Finished")
	}
	switch words := c.query.get("jobFilter"); {
	case words != "":
		ask.types = typesNamed(strings.Split(words, ","))
	case c.query.has("jobFilter"):
		ask.types = jobTypes()
	}
	lookup, ok, err := c.query.number("completedJobLookupTime")
	if err != nil {
		return nil, err
	}
	if ok && lookup > 0 {
		ask.lookup = lookupOf(lookup)
	}
	if ask.filter, err = readFilter(c); err != nil {
		return nil, err
	}
	if ask.page, err = readPage(c, defaultJobs); err != nil {
		return nil, err
	}
	return h.listJobs(ctx, c.actor, ask)
}

// lookupOf is a number of seconds; what reaches back beyond all jobs is as far as
// a time goes.
func lookupOf(n int64) time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	return time.Duration(min(max(n, 0), int64(most/time.Second))) * time.Second
}

// filteredJobs lists jobs by a body.
func (h *handler) filteredJobs(ctx context.Context, c call) (any, error) {
	var in struct {
		Category code `json:"category"`
		Paging   struct {
			Offset    number `json:"offset"`
			Limit     number `json:"limit"`
			Direction *code  `json:"sortDirection"`
		} `json:"pagingConfig"`
		Filter struct {
			Lookup  number      `json:"completedJobLookupTime"`
			Clients []jobTarget `json:"clientList"`
			Types   []text      `json:"jobTypeList"`
			Entity  jobTarget   `json:"entity"`
		} `json:"jobFilter"`
	}
	if err := decode(c.body, &in); err != nil {
		return nil, badBody()
	}
	ask := jobsAsked{types: jobTypes(), lookup: defaultLookup}
	var ok bool
	if ask.category, ok = categoryOf(in.Category); !ok {
		return nil, badBody()
	}
	if len(in.Filter.Types) > 0 {
		words := make([]string, len(in.Filter.Types))
		for i, w := range in.Filter.Types {
			words[i] = string(w)
		}
		ask.types = typesNamed(words)
	}
	if in.Filter.Lookup.given() {
		ask.lookup = lookupOf(in.Filter.Lookup.n)
	}
	ask.page = store.Page{Offset: int(min(max(in.Paging.Offset.n, 0), holdfast.MaxID)), Limit: int(min(max(in.Paging.Limit.n, 0), maxJobPage))}
	if ask.page.Limit == 0 {
		ask.page.Limit = defaultJobs
	}
	ask.oldest = in.Paging.Direction != nil && *in.Paging.Direction == "" // 0
	ask.filter = in.Filter.Entity.filter()
	return h.listJobs(ctx, c.actor, ask, in.Filter.Clients...)
}

// jobTarget names an entity in the filter of POST Jobs.
type jobTarget struct {
	Client      number `json:"clientId"`
	ClientName  text   `json:"clientName"`
	Application number `json:"applicationId"`
	Instance    number `json:"instanceId"`
	Backupset   number `json:"backupsetId"`
	Subclient   number `json:"subclientId"`
}

func (t jobTarget) filter() filter {
	f := filter{
		ids: map[level]*int64{}, names: map[level]string{levelClient: string(t.ClientName)},
		app: !t.Application.given() || t.Application.n == applicationID,
	}
	for l, n := range map[level]number{levelClient: t.Client, levelInstance: t.Instance, levelBackupset: t.Backupset, levelSubclient: t.Subclient} {
		if n.given() {
			f.ids[l] = &n.n
		}
	}
	return f
}

// listJobs answers with a page of jobs. With clients, those of any of them.
func (h *handler) listJobs(ctx context.Context, actor holdfast.Actor, ask jobsAsked, clients ...jobTarget) (any, error) {
	none := jobsReply{Jobs: []listedJob{}}
	v, err := h.view(ctx, actor)
	if err != nil {
		return nil, err
	}
	sites := v.instances(ask.filter)
	if len(clients) > 0 {
		on := map[holdfast.HostID]bool{}
		for _, t := range clients {
			for _, host := range v.clients(t.filter()) {
				on[host.ID] = true
			}
		}
		sites = slices.DeleteFunc(slices.Clone(sites), func(s holdfast.Site) bool { return !on[s.Host] })
	}
	if len(ask.types) == 0 || !slices.Contains(ask.filter.sets(), fsSet) {
		return none, nil
	}
	f := store.ExecutionFilter{Types: ask.types, States: ask.category.states(), Page: ask.page}
	f.Page.Limit = min(f.Page.Limit, maxJobPage)
	narrow := len(clients) > 0 || !ask.filter.app || slices.ContainsFunc([]level{levelClient, levelInstance, levelBackupset}, ask.filter.given)
	if narrow && len(sites) == 0 {
		return none, nil
	}
	if narrow { // else it is all that the actor may see, of sites that are gone too
		for _, site := range sites {
			f.Sites = append(f.Sites, site.ID)
		}
	}
	if id := ask.filter.ids[levelSubclient]; id != nil {
		f.Job, f.Restores = holdfast.JobID(*id), true
	}
	if ask.category != categoryActive {
		f.EndedSince = h.Now().Add(-ask.lookup)
	}
	list, total, err := h.page(ctx, actor, f, ask.oldest)
	if err != nil {
		return nil, err
	}
	items, err := v.items(ctx, list)
	return jobsReply{Total: total, Jobs: items}, err
}

// page reads a page of executions. The store counts from the newest, so that the
// oldest are its last.
func (h *handler) page(ctx context.Context, actor holdfast.Actor, f store.ExecutionFilter, oldest bool) ([]holdfast.Execution, int, error) {
	if !oldest {
		return h.Service.Executions(ctx, actor, f)
	}
	count := f
	count.Page = store.Page{Limit: 1}
	_, total, err := h.Service.Executions(ctx, actor, count)
	if err != nil {
		return nil, 0, err
	}
	end := total - f.Page.Offset
	if end <= 0 {
		return nil, total, nil
	}
	offset := max(0, end-f.Page.Limit)
	f.Page = store.Page{Offset: offset, Limit: end - offset}
	list, total, err := h.Service.Executions(ctx, actor, f)
	slices.Reverse(list)
	return list, total, err
}

// items translates a page of executions.
func (v *view) items(ctx context.Context, list []holdfast.Execution) ([]listedJob, error) {
	items := make([]listedJob, 0, len(list))
	if len(list) == 0 {
		return items, nil
	}
	repositories, err := v.h.Service.Repositories(ctx, v.actor)
	if err != nil {
		return nil, err
	}
	policies := map[holdfast.RepositoryID]policyName{}
	for _, r := range repositories {
		policies[r.ID] = policyName{r.Name, int64(r.ID)}
	}
	for _, e := range list {
		from, err := v.origin(ctx, e)
		if err != nil {
			return nil, err
		}
		items = append(items, listedJob{v.summary(e, from, policies[e.Repository])})
	}
	return items, nil
}

package bench

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
)

// arguments make what a path is filled with.
type arguments func(w *world, rng *rand.Rand) []any

func ofSite(w *world, rng *rand.Rand) []any { return []any{url.QueryEscape(pick(rng, w.sites))} }

// pages is a page, from 1, of a list, and its size.
func pages(total func(*world) int64, size int) arguments {
	return func(w *world, rng *rand.Rand) []any {
		return []any{begin(rng, total(w), size)/int64(size) + 1, size}
	}
}

// run picks a job that has run, with one of its executions.
func (w *world) run(rng *rand.Rand) job {
	for {
		if j := pick(rng, w.jobs); j.execution != 0 {
			return j
		}
	}
}

func enterpriseReads() []read {
	const api, root = "enterprise", "/data-protection/v2"
	aJob := func(w *world, rng *rand.Rand) []any {
		j := pick(rng, w.jobs)
		return []any{j.site, j.id}
	}
	run := func(w *world, rng *rand.Rand) []any {
		j := w.run(rng)
		return []any{j.site, j.id, j.execution}
	}
	largestJobs := func(w *world) int64 { return w.siteJobs }
	largestExecutions := func(w *world) int64 { return w.siteExecutions }
	const site, ofJob = root + "/sites/%s", root + "/sites/%s/jobs/%d"
	const largest = root + "/sites/site0"
	return []read{
		{api, "sites", get(root+"/sites", nil)},
		{api, "E1 jobs of the largest site", get(largest+"/jobs?page=%d&page-size=%d", pages(largestJobs, 10))},
		{api, "E1 a hundred of them", get(largest+"/jobs?page=%d&page-size=%d", pages(largestJobs, 100))},
		{api, "E1 active ones", get(largest+"/jobs?is-active=true&job-type=BACKUP&page=%d&page-size=%d",
			pages(func(w *world) int64 { return w.siteJobs * 17 / 20 }, 10))},
		{api, "E1 jobs of a site", get(site+"/jobs", ofSite)},
		{api, "E2 job", get(ofJob, aJob)},
		{api, "E4 executions of the largest site", get(largest+"/executions?page=%d&page-size=%d", pages(largestExecutions, 20))},
		{api, "E4 executions of a site", get(site+"/executions?page=1&page-size=20", ofSite)},
		{api, "E5 executions of the hot job", get(largest+"/jobs/1001/executions?page=%d&page-size=%d",
			pages(func(w *world) int64 { return w.hotExecutions }, 20))},
		{api, "E5 executions of a job", get(ofJob+"/executions?page-size=20", aJob)},
		{api, "execution", get(ofJob+"/executions/%d", run)},
		{api, "restores of the largest site", get(largest+"/restores?page=%d&page-size=%d", pages(func(w *world) int64 { return w.siteExecutions / 120 }, 10))},
		{api, "restores of an execution", get(ofJob+"/executions/%d/restores", run)},
		{api, "schedules of a job", get(ofJob+"/schedules", aJob)},
		{api, "next runs of a job", get(ofJob+"/next-runs", aJob)},
		{api, "retained copies of the largest site", get(largest+"/retained-copies?page=%d&page-size=%d", pages(func(w *world) int64 { return w.allSets / 2 }, 10))},
		{api, "retained copies of a job", get(ofJob+"/retained-copies", aJob)},
		{api, "activity of the largest site", get(largest+"/activity?page=%d&page-size=%d", pages(func(w *world) int64 { return w.allEvents / 2 }, 10))},
	}
}

// lake is a read with a token that its client has signed.
func lake(format string, args arguments) func(*world, *rand.Rand) request {
	plain := get(format, args)
	return func(w *world, rng *rand.Rand) request {
		r := plain(w, rng)
		r.header = bearer(w.signed)
		return r
	}
}

func lakeReads() []read {
	const api, root = "lake", "/api/accounts/acc-1001/baas"
	aJob := func(w *world, rng *rand.Rand) []any { return []any{pick(rng, w.jobs).id} }
	run := func(w *world, rng *rand.Rand) []any {
		j := w.run(rng)
		return []any{j.id, j.execution}
	}
	return []read{
		{api, "L1 jobs of the largest site", lake(root+"/jobs?site-id=site0&backup-type=BACKUP&page=%d&page-size=%d",
			pages(func(w *world) int64 { return w.siteJobs * 19 / 20 }, 10))},
		{api, "L1 jobs of a site", lake(root+"/jobs?site-id=%s", ofSite)},
		{api, "L2 job", lake(root+"/jobs/%d", aJob)},
		{api, "L4 organisation", lake("/api/my-organization", nil)},
		{api, "sites", lake(root+"/sites", nil)},
		{api, "executions of the largest site", lake(root+"/executions?site-id=site0&page=%d&page-size=%d",
			pages(func(w *world) int64 { return w.siteExecutions }, 20))},
		{api, "executions of a job", lake(root+"/jobs/%d/executions?page-size=20", aJob)},
		{api, "execution", lake(root+"/jobs/%d/executions/%d", run)},
	}
}

// commandCenter is one of the two roots of Commvault's API.
const commandCenter = "/commandcenter/api"

// session is a read in a session of Commvault's log-in; a body makes it a POST.
func session(path, body string, args arguments) func(*world, *rand.Rand) request {
	return func(w *world, rng *rand.Rand) request {
		var values []any
		if args != nil {
			values = args(w, rng)
		}
		r := request{header: map[string]string{"Authtoken": w.session, "Accept": "application/json"}}
		if body == "" {
			r.path = commandCenter + fmt.Sprintf(path, values...)
			return r
		}
		r.method, r.path, r.body = http.MethodPost, commandCenter+path, fmt.Sprintf(body, values...)
		return r
	}
}

func commvaultReads() []read {
	const api = "commvault"
	number := func(list func(*world) []int64) arguments {
		return func(w *world, rng *rand.Rand) []any { return []any{pick(rng, list(w))} }
	}
	host := number(func(w *world) []int64 { return w.hosts })
	instance := number(func(w *world) []int64 { return w.siteIDs })
	set := func(w *world, rng *rand.Rand) []any { return []any{2 * pick(rng, w.siteIDs)} }
	execution := number(func(w *world) []int64 { return w.executions })
	subclient := func(w *world, rng *rand.Rand) []any { return []any{pick(rng, w.jobs).id} }
	// One day, one of many days, or a year.
	lookUp := func(rng *rand.Rand) int { return pick(rng, []int{86400, 86400 * (1 + rng.IntN(365)), 365 * 86400}) }
	since := func(_ *world, rng *rand.Rand) []any { return []any{lookUp(rng)} }
	sinceAnywhere := func(w *world, rng *rand.Rand) []any {
		days := rng.Int64N(365) + 1
		return []any{days * 86400, begin(rng, w.allExecutions*days/400, 20)}
	}
	sinceOf := func(of arguments) arguments {
		return func(w *world, rng *rand.Rand) []any { return append(of(w, rng), lookUp(rng)) }
	}
	const paging = `"pagingConfig":{"sortField":"jobId","sortDirection":1,"offset":%[2]d,"limit":20}`
	return []read{
		{api, "CommServ", session("/CommServ", "", nil)},
		{api, "clients", session("/Client", "", nil)},
		{api, "client", session("/Client/%d", "", host)},
		{api, "agents", session("/Agent?clientId=%d", "", host)},
		{api, "instances of a client", session("/Instance?clientId=%d", "", host)},
		{api, "instances", session("/Instance", "", nil)},
		{api, "instance", session("/Instance/%d", "", instance)},
		{api, "backup sets of an instance", session("/Backupset?instanceId=%d", "", instance)},
		{api, "backup set", session("/Backupset/%d", "", set)},
		{api, "subclients of a backup set", session("/Subclient?backupsetId=%d&limit=100", "", set)},
		{api, "subclients", session("/Subclient", "", nil)},
		{api, "subclient", session("/Subclient/%d", "", subclient)},
		{api, "schedules of a subclient", session("/Schedules?subclientId=%d", "", subclient)},
		{api, "schedules of a backup set", session("/Schedules?backupsetId=%d&limit=100", "", set)},
		{api, "storage policies", session("/StoragePolicy", "", nil)},
		{api, "jobs", session("/Job?completedJobLookupTime=%d&limit=20", "", since)},
		{api, "jobs, a hundred", session("/Job?completedJobLookupTime=%d", "", since)},
		{api, "jobs of a client", session("/Job?clientId=%d&completedJobLookupTime=%d&limit=20", "", sinceOf(host))},
		{api, "finished jobs", session("/Job?jobCategory=Finished&jobFilter=Backup,Restore&completedJobLookupTime=%d&limit=20", "", since)},
		{api, "active jobs", session("/Job?jobCategory=Active&limit=20", "", nil)},
		{api, "jobs, any page", session("/Jobs", `{"category":0,`+paging+`,"jobFilter":{"completedJobLookupTime":%[1]d}}`, sinceAnywhere)},
		{api, "finished jobs, any page", session("/Jobs", `{"category":2,`+paging+`,"jobFilter":{"completedJobLookupTime":%[1]d}}`, sinceAnywhere)},
		{
			api, "jobs of the largest instance, any page",
			session("/Jobs", `{"category":0,`+paging+`,"jobFilter":{"completedJobLookupTime":%[1]d,"entity":{"instanceId":1001}}}`, func(w *world, rng *rand.Rand) []any {
				days := rng.Int64N(365) + 1
				return []any{days * 86400, begin(rng, w.siteExecutions*days/400, 20)}
			}),
		},
		{api, "jobs of a subclient", session("/Jobs", `{"category":0,"pagingConfig":{"offset":0,"limit":20},"jobFilter":{"completedJobLookupTime":%[2]d,"entity":{"subclientId":%[1]d}}}`,
			sinceOf(subclient))},
		{api, "job", session("/Job/%d", "", execution)},
		{api, "job details", session("/JobDetails", `{"jobId":%d,"showAttempt":true}`, execution)},
		{api, "task details", session("/Job/%d/TaskDetails", "", execution)},
		{api, "events of a job", session("/Events?jobId=%d", "", execution)},
		{api, "events", session("/Events", "", nil)},
	}
}

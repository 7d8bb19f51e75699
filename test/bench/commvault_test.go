package bench

import (
	"fmt"
	"math/rand/v2"
	"net/http"
)

// arguments make what a path is filled with.
type arguments func(w *world, rng *rand.Rand) []any

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
		{api, "subclient by name", session("/Subclient/byName(clientName='%s',appName='PostgreSQL',backupsetName='FSBasedBackupSet',subclientName='job-%d')", "",
			func(w *world, rng *rand.Rand) []any {
				j := pick(rng, w.jobs)
				return []any{w.hostOf[j.site], j.id - 1001}
			})},
		{api, "client by name", session("/Client/byName(clientName='%s')", "", func(w *world, rng *rand.Rand) []any { return []any{w.hostOf[pick(rng, w.sites)]} })},
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

package bench

import "math/rand/v2"

func nativeReads() []read {
	const api, root = "native", "/api/v1"
	of := func(list func(*world) []int64) func(*world, *rand.Rand) []any {
		return func(w *world, rng *rand.Rand) []any { return []any{pick(rng, list(w))} }
	}
	execution := of(func(w *world) []int64 { return w.executions })
	set := of(func(w *world) []int64 { return w.sets })
	host := of(func(w *world) []int64 { return w.hosts })
	aJob := func(w *world, rng *rand.Rand) []any { return []any{pick(rng, w.jobs).id} }
	aSite := func(w *world, rng *rand.Rand) []any { return []any{pick(rng, w.sites)} }
	within := func(total func(*world) int64, limit int) func(*world, *rand.Rand) []any {
		return func(w *world, rng *rand.Rand) []any { return []any{limit, begin(rng, total(w), limit)} }
	}
	jobs := func(w *world) int64 { return w.allJobs }
	executions := func(w *world) int64 { return w.allExecutions }
	siteExecutions := func(w *world) int64 { return w.siteExecutions }
	return []read{
		{api, "hosts", get(root+"/hosts", nil)},
		{api, "host", get(root+"/hosts/%d", host)},
		{api, "sites", get(root+"/sites", nil)},
		{api, "sites, some", scoped(get(root+"/sites", nil))},
		{api, "site", get(root+"/sites/%s", aSite)},
		{api, "repositories", get(root+"/repositories", nil)},
		{api, "repositories, some", scoped(get(root+"/repositories", nil))},
		{api, "jobs", get(root+"/jobs?limit=%d&offset=%d", within(jobs, 100))},
		{api, "jobs, some", scoped(get(root+"/jobs?limit=%d", func(*world, *rand.Rand) []any { return []any{20} }))},
		{api, "jobs of the largest site, active", get(root+"/jobs?site=site0&active=true&limit=%d&offset=%d",
			within(func(w *world) int64 { return w.siteJobs * 9 / 10 }, 100))},
		{api, "jobs by name", get(root+"/jobs?name=job-%d", func(w *world, rng *rand.Rand) []any { return []any{pick(rng, w.jobs).id - 1001} })},
		{api, "job", get(root+"/jobs/%d", aJob)},
		{api, "executions", get(root+"/executions?limit=%d&offset=%d", within(executions, 20))},
		{api, "executions, a hundred", get(root+"/executions?limit=%d&offset=%d", within(executions, 100))},
		{api, "executions, some", scoped(get(root+"/executions?limit=%d&offset=%d", within(func(w *world) int64 { return w.allExecutions / 20 }, 20)))},
		{api, "executions of the largest site", get(root+"/executions?site=site0&limit=%d&offset=%d", within(siteExecutions, 20))},
		{api, "executions of a site", get(root+"/executions?site=%s&limit=20&type=BACKUP", aSite)},
		{api, "executions of the hot job", get(root+"/executions?job=1001&limit=%d&offset=%d",
			within(func(w *world) int64 { return w.hotExecutions }, 20))},
		{api, "executions of a job", get(root+"/executions?job=%d&limit=20", aJob)},
		{api, "restores", get(root+"/executions?type=RESTORE&limit=%d&offset=%d", within(func(w *world) int64 { return w.allExecutions / 25 }, 20))},
		{api, "live executions", get(root+"/executions?state=QUEUED&state=RUNNING&state=SUSPENDED&limit=20", nil)},
		{api, "ended executions", get(root+"/executions?state=ENDED&limit=%d&offset=%d", within(func(w *world) int64 { return w.allExecutions * 9 / 10 }, 20))},
		{api, "executions of a parent", get(root+"/executions?parent=%d", execution)},
		{api, "execution", get(root+"/executions/%d", execution)},
		{api, "execution's log", get(root+"/executions/%d/log", execution)},
		{api, "sets", get(root+"/sets?limit=%d&offset=%d", within(func(w *world) int64 { return w.allSets }, 20))},
		{api, "sets, a hundred", get(root+"/sets?limit=%d&offset=%d", within(func(w *world) int64 { return w.allSets }, 100))},
		{api, "sets, some", scoped(get(root+"/sets?limit=%d", func(*world, *rand.Rand) []any { return []any{20} }))},
		{api, "sets of a site", get(root+"/sets?site=%s&limit=20", aSite)},
		{api, "sets of the hot job", get(root+"/sets?job=1001&limit=%d&offset=%d", within(func(w *world) int64 { return w.allSets / 10 }, 20))},
		{api, "set", get(root+"/sets/%d", set)},
		{api, "repository", get(root+"/repositories/%d", func(_ *world, rng *rand.Rand) []any { return []any{1001 + rng.IntN(9)} })},
		{api, "copies in a repository", get(root+"/repositories/%d/copies?limit=100", func(_ *world, rng *rand.Rand) []any { return []any{1001 + rng.IntN(9)} })},
		{api, "schedules of a job", get(root+"/jobs/%d/schedules", aJob)},
		{api, "triggers of a job", get(root+"/jobs/%d/triggers", aJob)},
		{api, "schedule", get(root+"/jobs/%d/schedules/%d", func(w *world, rng *rand.Rand) []any {
			s := pick(rng, w.schedules)
			return []any{s.of.id, s.id}
		})},
		{api, "next runs of a job", get(root+"/jobs/%d/next-runs", func(w *world, rng *rand.Rand) []any { return []any{pick(rng, w.schedules).of.id} })},
		{api, "retention plan of a job", get(root+"/jobs/%d/retention", aJob)},
		{api, "events of the largest site", get(root+"/sites/site0/events?limit=%d&offset=%d", within(func(w *world) int64 { return w.allEvents / 2 }, 100))},
		{api, "accounts", get(root+"/accounts", nil)},
		{api, "users", get(root+"/users", nil)},
		{api, "keys", get(root+"/keys", nil)},
		{api, "personal access tokens", get(root+"/pats", nil)},
		{api, "access keys", get(root+"/access-keys", nil)},
		{api, "tokens", get(root+"/tokens", nil)},
		{api, "jobs that are ETLs", get(root+"/jobs?type=ETL&limit=20", nil)},
		{api, "ETL's status", get(root+"/etls/%d/status", func(w *world, rng *rand.Rand) []any { return []any{pick(rng, w.etls).id} })},
		{api, "ETL's run configurations", get(root+"/etls/%d/run-configurations", func(w *world, rng *rand.Rand) []any { return []any{pick(rng, w.etls).id} })},
		{api, "workers", get(root+"/workers", nil)},
		{api, "events", get(root+"/events?after=%d&limit=100", func(w *world, rng *rand.Rand) []any { return []any{rng.Int64N(w.allEvents)} })},
	}
}

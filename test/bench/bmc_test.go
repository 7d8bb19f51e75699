package bench

import "math/rand/v2"

func bmcReads() []read {
	const api, root = "bmc", "/opt/api/v1/backend/etls"
	etl := func(w *world, rng *rand.Rand) []any { return []any{pick(rng, w.etls).id} }
	export := func(w *world, rng *rand.Rand) request {
		r := get(root+"/%d/configuration", etl)(w, rng)
		r.method = "POST"
		return r
	}
	return []read{
		{api, "ETLs, all", get(root+"/", nil)},
		{api, "ETLs, a page", get(root+"?size=100&page=%d", func(w *world, rng *rand.Rand) []any { return []any{rng.IntN(max(1, len(w.etls)/100))} })},
		{api, "ETLs, some", scoped(get(root, nil))},
		{api, "ETLs by a property", get(root+"?properties_filter.region=region-%d4", func(_ *world, rng *rand.Rand) []any { return []any{rng.IntN(100)} })},
		{api, "status", get(root+"/%d/status", etl)},
		{api, "status of one with ten thousand executions", get(root+"/1005/status", nil)},
		{api, "configuration", export},
		{api, "access keys", get("/ims/api/v1/access_keys", nil)},
		{api, "older check", get("/dh-services/backend/checkTaskExecutionStatus/%d", func(w *world, rng *rand.Rand) []any { return []any{pick(rng, w.etlRuns)} })},
	}
}

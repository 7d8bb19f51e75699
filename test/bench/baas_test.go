package bench

import (
	"fmt"
	"math/rand/v2"
	"net/url"
)

// tree is where one of Teradata's APIs has what belongs to a site, and to a job.
type tree struct {
	api   string
	site  func(slug, rest, query string) string
	job   func(j job, rest string) string
	token func(*world) string
}

func enterprise() tree {
	const root = "/data-protection/v2/sites/"
	return tree{
		api:  "enterprise",
		site: func(slug, rest, query string) string { return root + url.PathEscape(slug) + "/" + rest + "?" + query },
		job: func(j job, rest string) string {
			return fmt.Sprintf("%s%s/jobs/%d%s", root, url.PathEscape(j.site), j.id, rest)
		},
		token: func(w *world) string { return w.every },
	}
}

func lake() tree {
	const root = "/api/accounts/acc-1001/baas/"
	return tree{
		api: "lake",
		site: func(slug, rest, query string) string {
			return root + rest + "?site-id=" + url.QueryEscape(slug) + "&" + query
		},
		job:   func(j job, rest string) string { return fmt.Sprintf("%sjobs/%d%s", root, j.id, rest) },
		token: func(w *world) string { return w.signed },
	}
}

// numbered is the query for a page, from 1, of a list.
func numbered(rng *rand.Rand, total int64, size int) string {
	return fmt.Sprintf("page=%d&page-size=%d", begin(rng, total, size)/int64(size)+1, size)
}

// hot is the job that has run most often.
func hot() job { return job{id: 1001, site: largest} }

// largest is the slug of the site with half of the jobs.
const largest = "site0"

// baasReads lists what both APIs have.
func baasReads(t tree) []read {
	of := func(name string, path func(w *world, rng *rand.Rand) string) read {
		return read{t.api, name, func(w *world, rng *rand.Rand) request {
			return request{path: path(w, rng), header: bearer(t.token(w))}
		}}
	}
	run := func(w *world, rng *rand.Rand) job {
		for {
			if j := pick(rng, w.jobs); j.execution != 0 {
				return j
			}
		}
	}
	return []read{
		of("L1 E1 jobs of the largest site", func(w *world, rng *rand.Rand) string { return t.site(largest, "jobs", numbered(rng, w.siteJobs, 10)) }),
		of("L1 E1 a hundred of them", func(w *world, rng *rand.Rand) string { return t.site(largest, "jobs", numbered(rng, w.siteJobs, 100)) }),
		of("L1 E1 active backup jobs", func(w *world, rng *rand.Rand) string {
			return t.site(largest, "jobs", "is-active=true&job-type=BACKUP&"+numbered(rng, w.siteJobs*17/20, 10))
		}),
		of("L1 E1 jobs of a site", func(w *world, rng *rand.Rand) string { return t.site(pick(rng, w.sites), "jobs", "") }),
		of("L2 E2 job", func(w *world, rng *rand.Rand) string { return t.job(pick(rng, w.jobs), "") }),
		of("E4 executions of the largest site", func(w *world, rng *rand.Rand) string {
			return t.site(largest, "executions", numbered(rng, w.siteExecutions, 20))
		}),
		of("E4 executions of a site", func(w *world, rng *rand.Rand) string { return t.site(pick(rng, w.sites), "executions", "page-size=20") }),
		of("E5 executions of the hot job", func(w *world, rng *rand.Rand) string {
			return t.job(hot(), "/executions?"+numbered(rng, w.hotExecutions, 20))
		}),
		of("E5 executions of a job", func(w *world, rng *rand.Rand) string { return t.job(pick(rng, w.jobs), "/executions?page-size=20") }),
		of("execution", func(w *world, rng *rand.Rand) string {
			j := run(w, rng)
			return t.job(j, fmt.Sprintf("/executions/%d", j.execution))
		}),
		of("restores of the largest site", func(w *world, rng *rand.Rand) string {
			return t.site(largest, "restores", numbered(rng, w.siteExecutions/120, 10))
		}),
		of("restores of an execution", func(w *world, rng *rand.Rand) string {
			j := run(w, rng)
			return t.job(j, fmt.Sprintf("/executions/%d/restores", j.execution))
		}),
		of("restore", func(w *world, rng *rand.Rand) string {
			r := pick(rng, w.restores)
			return t.job(r.of, fmt.Sprintf("/executions/%d/restores/%d", r.of.execution, r.id))
		}),
		of("schedules of a job", func(w *world, rng *rand.Rand) string { return t.job(pick(rng, w.jobs), "/schedules") }),
		of("schedule", func(w *world, rng *rand.Rand) string {
			s := pick(rng, w.schedules)
			return t.job(s.of, fmt.Sprintf("/schedules/%d", s.id))
		}),
		of("next runs of a job", func(w *world, rng *rand.Rand) string { return t.job(pick(rng, w.schedules).of, "/next-runs") }),
		of("retained copies of the largest site", func(w *world, rng *rand.Rand) string {
			return t.site(largest, "retained-copies", numbered(rng, w.allSets/2, 10))
		}),
		of("retained copies of a job", func(w *world, rng *rand.Rand) string { return t.job(pick(rng, w.jobs), "/retained-copies") }),
		of("retained copy", func(w *world, rng *rand.Rand) string {
			s := pick(rng, w.setsOf)
			return t.job(s.of, fmt.Sprintf("/retained-copies/%d", s.id))
		}),
		of("activity of the largest site", func(w *world, rng *rand.Rand) string {
			return t.site(largest, "activity", numbered(rng, w.allEvents/2, 10))
		}),
	}
}

func enterpriseReads() []read {
	return append(baasReads(enterprise()), read{"enterprise", "sites", get("/data-protection/v2/sites", nil)})
}

func lakeReads() []read {
	signed := func(path string) func(*world, *rand.Rand) request {
		return func(w *world, _ *rand.Rand) request { return request{path: path, header: bearer(w.signed)} }
	}
	return append(baasReads(lake()),
		read{"lake", "sites", signed("/api/accounts/acc-1001/baas/sites")},
		read{"lake", "L4 organisation", signed("/api/my-organization")})
}

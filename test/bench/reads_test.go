package bench

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// world is what requests are made of.
type world struct {
	url string
	credentials

	sites      []string          // slugs of the first account, the largest site's first
	hostOf     map[string]string // names of the sites' hosts
	jobs       []job
	schedules  []belonging
	setsOf     []belonging
	restores   []belonging // at the site of what they restore
	executions []int64     // of the first account, but those of ETLs
	etls       []belonging // each with the newest of its executions, or none
	etlRuns    []int64     // executions of ETLs
	sets       []int64
	hosts      []int64
	siteIDs    []int64

	siteJobs, siteExecutions int64 // of the largest site
	allExecutions, allJobs   int64
	allSets, allEvents       int64
	hotExecutions            int64 // of the hot job
}

// job is a job that is not deleted.
type job struct {
	id        int64
	site      string
	execution int64 // one of it; 0: none
}

// belonging is something of a job; of.execution is what a restore restores.
type belonging struct {
	id int64
	of job
}

// look finds out what there is.
func (w *world) look(ctx context.Context, t testing.TB, r *rig) {
	t.Helper()
	db := r.database()
	w.sites = one[string](ctx, t, db, "SELECT slug FROM sites WHERE account = 1001 ORDER BY id")
	w.siteIDs = one[int64](ctx, t, db, "SELECT id FROM sites WHERE account = 1001 ORDER BY id")
	w.executions = one[int64](ctx, t, db, "SELECT id FROM executions WHERE account = 1001 AND type <> 'ETL' ORDER BY random() LIMIT 5000")
	w.etlRuns = one[int64](ctx, t, db, "SELECT id FROM executions WHERE account = 1001 AND type = 'ETL' ORDER BY random() LIMIT 5000")
	w.etls = belongings(ctx, t, db, "j.id, j.id, 0, s.slug FROM jobs j JOIN sites s ON s.id = j.site WHERE j.account = 1001 AND j.deleted IS NULL AND j.type = 'ETL'")
	w.sets = one[int64](ctx, t, db, "SELECT id FROM backup_sets WHERE account = 1001 AND readable > 0 ORDER BY random() LIMIT 5000")
	w.hosts = one[int64](ctx, t, db, "SELECT id FROM hosts WHERE account = 1001")
	w.lookAtJobs(ctx, t, db)
	count := func(text string) int64 { return one[int64](ctx, t, db, text)[0] }
	w.siteJobs = count("SELECT count(*) FROM jobs WHERE site = 1001 AND deleted IS NULL")
	w.allJobs = count("SELECT count(*) FROM jobs WHERE account = 1001 AND deleted IS NULL")
	w.siteExecutions = count("SELECT count(*) FROM executions WHERE account = 1001 AND site = 1001")
	w.allExecutions = count("SELECT count(*) FROM executions WHERE account = 1001")
	w.hotExecutions = count("SELECT count(*) FROM executions WHERE account = 1001 AND job = 1001")
	w.allSets = count("SELECT count(*) FROM backup_sets WHERE account = 1001 AND readable > 0")
	w.allEvents = count("SELECT max(id) FROM events") - 1000
	noError(t, db.Close())
}

// lookAtJobs picks jobs of the first account, and what belongs to jobs, at random.
func (w *world) lookAtJobs(ctx context.Context, t testing.TB, db *sql.DB) {
	t.Helper()
	for _, b := range belongings(ctx, t, db, `0, j.id, coalesce(
			(SELECT max(e.id) FROM executions e WHERE e.account = j.account AND e.job = j.id AND e.site = j.site AND e.type = j.type), 0), s.slug
		FROM jobs j JOIN sites s ON s.id = j.site WHERE j.account = 1001 AND j.deleted IS NULL AND j.type = 'BACKUP'`) {
		w.jobs = append(w.jobs, b.of)
	}
	const ofJob = " JOIN jobs j ON j.id = x.job JOIN sites s ON s.id = j.site WHERE j.account = 1001 AND j.deleted IS NULL AND j.type = 'BACKUP'"
	w.schedules = belongings(ctx, t, db, "x.id, j.id, 0, s.slug FROM schedules x"+ofJob)
	w.setsOf = belongings(ctx, t, db, "x.id, j.id, 0, s.slug FROM backup_sets x"+ofJob+" AND x.shown = 1")
	w.restores = belongings(ctx, t, db, "x.id, j.id, e.parent, s.slug FROM restores x JOIN executions e ON e.id = x.id"+ofJob+" AND x.site = j.site")
	hosts, sites := []string{}, []string{}
	for _, b := range []struct {
		into   *[]string
		column string
	}{{&hosts, "h.name"}, {&sites, "s.slug"}} {
		*b.into = one[string](ctx, t, db, "SELECT "+b.column+" FROM sites s JOIN hosts h ON h.id = s.host WHERE s.account = 1001 ORDER BY s.id")
	}
	w.hostOf = map[string]string{}
	for i, s := range sites {
		w.hostOf[s] = hosts[i]
	}
}

// belongings picks rows at random: id, job, execution and the site's slug.
func belongings(ctx context.Context, t testing.TB, db *sql.DB, query string) (all []belonging) {
	t.Helper()
	rows, err := db.QueryContext(ctx, "SELECT "+query+" ORDER BY random() LIMIT 5000")
	noError(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var b belonging
		noError(t, rows.Scan(&b.id, &b.of.id, &b.of.execution, &b.of.site))
		all = append(all, b)
	}
	noError(t, rows.Err())
	if len(all) == 0 {
		t.Fatalf("nothing is found by: %s", query)
	}
	return all
}

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

// begin is an offset: of the first page, the last, or any between.
func begin(rng *rand.Rand, total int64, limit int) int64 {
	last := max(total-int64(limit), 0)
	switch rng.IntN(4) {
	case 0:
		return 0
	case 1:
		return last
	}
	return rng.Int64N(last + 1)
}

// read is one kind of read. Its requests are made anew each time.
type read struct {
	api, name string
	make      func(w *world, rng *rand.Rand) request
}

type request struct {
	method, path, body string // GET when there is no method
	header             map[string]string
}

func (r request) http(ctx context.Context, base string) (*http.Request, error) {
	method := r.method
	if method == "" {
		method = http.MethodGet
	}
	var body *strings.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
	} else {
		body = strings.NewReader("")
	}
	out, err := http.NewRequestWithContext(ctx, method, base+r.path, body)
	if err != nil {
		return nil, err
	}
	for k, v := range r.header {
		out.Header.Set(k, v)
	}
	return out, nil
}

// reads lists every read of every API.
func reads() []read {
	return slices.Concat(nativeReads(), enterpriseReads(), lakeReads(), commvaultReads(), bmcReads())
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

// get is a read with the token that covers every site.
func get(format string, args func(w *world, rng *rand.Rand) []any) func(*world, *rand.Rand) request {
	return func(w *world, rng *rand.Rand) request {
		var values []any
		if args != nil {
			values = args(w, rng)
		}
		return request{path: fmt.Sprintf(format, values...), header: bearer(w.every)}
	}
}

// scoped is a read with a token that covers a hundred sites.
func scoped(of func(*world, *rand.Rand) request) func(*world, *rand.Rand) request {
	return func(w *world, rng *rand.Rand) request {
		r := of(w, rng)
		r.header = bearer(w.some)
		return r
	}
}

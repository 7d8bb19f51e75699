// Package api_test looks at all dialects together.
package api_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/baasenterprise"
	"github.com/holdfast-backup/holdfast/internal/api/baaslake"
	"github.com/holdfast-backup/holdfast/internal/api/bmcetl"
	"github.com/holdfast-backup/holdfast/internal/api/commvault"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// mark is in every name of the account that must not be seen.
const mark = "quokka"

// secretSize is the size of its backup set.
const secretSize = "777000777"

// tenant is an account with one of everything, as the words that a request names
// it by.
type tenant struct {
	actor holdfast.Actor
	token string
	words map[string]string
}

// furnish fills an account. prefix begins every name.
func furnish(t *testing.T, w *apitest.World, accountName, prefix, size string) tenant {
	t.Helper()
	ctx := t.Context()
	local, err := w.Service.LocalActor(ctx, "apitest", accountName)
	check(t, err)
	tn := tenant{actor: local, words: map[string]string{}}
	set := func(name string, v any) { tn.words[name] = fmt.Sprint(v) }
	account, err := w.Service.Account(ctx, local)
	check(t, err)
	set("account", "acc-"+strconv.FormatInt(int64(account.ID), 10))
	set("account-id", int64(account.ID))
	set("alias", accountName)
	host, err := w.Service.CreateHost(ctx, local, service.NewHost{Name: prefix + "-host", Address: prefix + ".example.com"})
	check(t, err)
	set("host", int64(host.ID))
	set("host-name", host.Name)
	repo, _, err := w.Service.CreateRepository(ctx, local, service.NewRepository{Name: prefix + "-repo", Location: "file:///" + prefix})
	check(t, err)
	set("repository", int64(repo.ID))
	set("repository-name", repo.Name)
	site, err := w.Service.CreateSite(ctx, local, service.NewSite{Site: holdfast.Site{
		Host: host.ID, Slug: prefix + "-site", Name: prefix + " site", DataDir: "/pg/" + prefix, Repository: repo.ID, Pool: prefix + "-pool",
		Server: holdfast.Server{Host: "/run/" + prefix, Port: 5432, User: prefix},
	}})
	check(t, err)
	set("site", site.Slug)
	set("site-id", int64(site.ID))
	set("fs-set", 2*int64(site.ID))
	set("dump-set", 2*int64(site.ID)+1)
	job, err := w.Service.CreateJob(ctx, local, holdfast.Job{Site: site.ID, Name: prefix + "-job", Description: prefix, Active: true})
	check(t, err)
	set("job", int64(job.ID))
	set("job-name", job.Name)
	schedule, err := w.Service.CreateSchedule(ctx, local, holdfast.Schedule{
		Job: job.ID, Expression: "7 3 * * *", TimeZone: "UTC", RunType: holdfast.RunDelta, Active: true,
	})
	check(t, err)
	set("schedule", int64(schedule.ID))
	sub, list, err := w.Service.ExecuteAll(ctx, local, service.Submit{
		Runs: []service.Run{{Job: job.ID}}, Request: json.RawMessage(strconv.Quote(prefix)),
	})
	check(t, err)
	id := strconv.FormatInt(int64(list[0].ID), 10)
	set("submission", int64(sub.ID))
	set("execution", id)
	check(t, w.Give(ctx, "start "+id))
	check(t, w.Give(ctx, "succeed "+id+" "+size))
	sets, _, err := w.Service.Sets(ctx, local, store.SetFilter{Job: job.ID})
	check(t, err)
	set("set", int64(sets[0].ID))
	restore, err := w.Service.Restore(ctx, local, service.NewRestore{
		Spec: holdfast.RestoreSpec{Set: sets[0].ID, Directory: "/srv/" + prefix}, Name: prefix + "-restore",
	})
	check(t, err)
	set("restore", int64(restore.ID))
	c, secret, err := w.Service.CreateToken(ctx, local, service.NewToken{Name: prefix + "-token", Role: holdfast.RoleAdmin})
	check(t, err)
	set("token", int64(c.ID))
	tn.token = secret.Reveal()
	user, err := w.Service.CreateUser(ctx, local, service.NewUser{
		Name: prefix + "-user", Role: holdfast.RoleAdmin, Password: holdfast.NewSecret("a password of " + prefix),
	})
	check(t, err)
	set("user", int64(user.ID))
	set("user-name", user.Name)
	key, err := w.Service.AddKey(ctx, local, service.NewKey{User: user.ID, Name: prefix + "-key", PEM: publicKey(t)})
	check(t, err)
	set("key", int64(key.ID))
	pat, _, err := w.Service.CreatePAT(ctx, local, service.NewPAT{User: user.ID})
	check(t, err)
	set("pat", int64(pat.ID))
	access, _, err := w.Service.CreateAccessKey(ctx, local, service.NewAccessKey{User: user.ID, Name: prefix + "-access"})
	check(t, err)
	set("access-key", int64(access.ID))
	set("access-half", string(access.PublicKey))
	etl := furnishETL(t, w, local, prefix, site, set)
	trigger, err := w.Service.CreateTrigger(ctx, local, holdfast.Trigger{Job: job.ID, Run: etl, Active: true})
	check(t, err)
	set("trigger", int64(trigger.ID))
	return tn
}

// furnishETL adds an ETL that has run.
func furnishETL(t *testing.T, w *apitest.World, actor holdfast.Actor, prefix string, site holdfast.Site, set func(string, any)) holdfast.JobID {
	t.Helper()
	etl, err := w.Service.CreateETL(t.Context(), actor, service.NewETL{
		Site: site.ID, Name: prefix + "-etl", Properties: map[string]string{"region": prefix + "-region", "db.password": prefix},
		Definition: strings.ReplaceAll(etlDefinition, "berlin", site.Slug),
	})
	check(t, err)
	set("etl", int64(etl.ID))
	set("etl-name", etl.Name)
	set("etl-region", prefix+"-region")
	set("run-configuration", int64(etl.ETL.Configurations[0].ID))
	a, err := w.Service.RunETL(t.Context(), actor, service.RunETL{Job: etl.ID})
	check(t, err)
	set("etl-execution", int64(a.Execution))
	id := strconv.FormatInt(int64(a.Execution), 10)
	check(t, w.Give(t.Context(), "start "+id))
	check(t, w.Give(t.Context(), "move "+id+" succeed"))
	return etl.ID
}

// etlDefinition is what the ETLs of the accounts do.
const etlDefinition = `{"apiVersion":"holdfast/etl/v1","name":"copy","connections":{"db":{"site":"berlin"}},
"extract":[{"name":"orders","connection":"db","table":"orders"}],"load":[{"from":"orders","connection":"db","table":"copies","mode":"replace"}]}`

func publicKey(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (%s)", err, holdfast.ErrorHint(err))
	}
}

// rows is everything of an account, as it sees itself.
func (tn tenant) rows(t *testing.T, w *apitest.World) string {
	t.Helper()
	ctx, s := t.Context(), w.Service
	var all []any
	add := func(v any, err error) {
		t.Helper()
		check(t, err)
		all = append(all, v)
	}
	sites, err := s.Sites(ctx, tn.actor)
	add(sites, err)
	hosts, err := s.Hosts(ctx, tn.actor)
	add(hosts, err)
	repositories, err := s.Repositories(ctx, tn.actor)
	add(repositories, err)
	jobs, _, err := s.Jobs(ctx, tn.actor, store.JobFilter{})
	add(jobs, err)
	executions, _, err := s.Executions(ctx, tn.actor, store.ExecutionFilter{})
	add(executions, err)
	sets, _, err := s.Sets(ctx, tn.actor, store.SetFilter{})
	add(sets, err)
	for _, j := range jobs {
		schedules, err := s.Schedules(ctx, tn.actor, j.ID)
		add(schedules, err)
		triggers, err := s.Triggers(ctx, tn.actor, j.ID)
		add(triggers, err)
	}
	events, err := s.Events(ctx, tn.actor, 0, 1000)
	add(events, err)
	b, err := json.Marshal(all)
	check(t, err)
	return string(b)
}

// dialect is one API with the calls that it serves.
type dialect struct {
	name    string
	handler http.Handler
	routes  []string // method and pattern
}

func dialects(t *testing.T, w *apitest.World) []dialect {
	t.Helper()
	var all []dialect
	e := dialect{name: "enterprise", handler: baasenterprise.Handler(baasenterprise.Config{Service: w.Service, Log: w.Log})}
	for _, r := range baasenterprise.Routes() {
		e.routes = append(e.routes, r.Method+" "+r.Pattern)
	}
	l := dialect{name: "lake", handler: baaslake.Handler(baaslake.Config{Service: w.Service, Now: w.Now, Log: w.Log})}
	for _, r := range baaslake.Routes() {
		l.routes = append(l.routes, r.Method+" "+r.Pattern)
	}
	c := dialect{name: "commvault", handler: commvault.Handler(commvault.Config{Service: w.Service, Name: "commserve", Now: w.Now, Log: w.Log})}
	for _, r := range commvault.Routes() {
		c.routes = append(c.routes, r.Method+" /"+strings.TrimPrefix(r.Path, "/"))
	}
	b := dialect{name: "bmc", handler: bmcetl.Handler(bmcetl.Config{Service: w.Service, Key: make([]byte, 32), Version: "test", Now: w.Now, Log: w.Log})}
	for _, r := range bmcetl.Routes() {
		b.routes = append(b.routes, r.Method+" "+r.Path)
	}
	n := dialect{name: "native", handler: native.Handler(native.Config{Service: w.Service, Version: "test", Now: w.Now, Log: w.Log})}
	n.routes = documented(t, n.handler, w.Token("admin"))
	return append(all, e, l, c, b, n)
}

// documented lists the calls of the native API's own description.
func documented(t *testing.T, h http.Handler, token string) []string {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, native.Root+"/openapi.json", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	check(t, json.Unmarshal(rec.Body.Bytes(), &doc))
	var all []string
	for path, methods := range doc.Paths {
		for m := range methods {
			all = append(all, strings.ToUpper(m)+" "+path)
		}
	}
	return all
}

// probe is a request with words in angle brackets.
type probe struct {
	route  string
	method string
	target string
	body   string
}

// probes reads the list of a dialect: "METHOD PATTERN => METHOD TARGET [BODY]".
func probes(t *testing.T, name string) []probe {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "tenants", name+".txt"))
	check(t, err)
	defer func() { check(t, f.Close()) }()
	var all []probe
	s := bufio.NewScanner(f)
	for s.Scan() {
		line := s.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		route, request, ok := strings.Cut(line, " => ")
		parts := strings.SplitN(request, " ", 3)
		if !ok || len(parts) < 2 {
			t.Fatalf("%s: %q is not a probe", name, line)
		}
		p := probe{route: route, method: parts[0], target: parts[1]}
		if len(parts) == 3 {
			p.body = parts[2]
		}
		all = append(all, p)
	}
	check(t, s.Err())
	return all
}

// fill puts words into a text.
func fill(text string, words map[string]string) string {
	for name, v := range words {
		text = strings.ReplaceAll(text, "<"+name+">", v)
	}
	return text
}

// answer is what a caller can tell of a response.
type answer struct {
	status  int
	headers string
	body    string
}

func (d dialect) send(ctx context.Context, p probe, token string) answer {
	r := httptest.NewRequestWithContext(ctx, p.method, p.target, strings.NewReader(p.body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	rec.Header().Set("X-Request-Id", "request")
	d.handler.ServeHTTP(rec, r)
	h := rec.Header()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if name != "Date" {
			lines = append(lines, name+": "+strings.Join(h[name], ", "))
		}
	}
	return answer{rec.Code, strings.Join(lines, "\n"), rec.Body.String()}
}

// without takes what a request asked for out of its answer: it is no news.
func (a answer) without(words map[string]string, asked ...map[string]string) answer {
	values := slices.Collect(maps.Values(words))
	for _, more := range asked {
		values = slices.AppendSeq(values, maps.Values(more))
	}
	slices.SortFunc(values, func(x, y string) int { return len(y) - len(x) })
	for _, v := range values {
		a.body = strings.ReplaceAll(a.body, v, "<asked>")
		a.headers = strings.ReplaceAll(a.headers, v, "<asked>")
	}
	return a
}

// TestNoAccountSeesAnother walks every route of every dialect with the ids of
// another account: the answer is that for ids which nobody has, it holds nothing
// of the other, and nothing of the other changes.
func TestNoAccountSeesAnother(t *testing.T) {
	t.Parallel()
	w := apitest.NewWorld(t)
	installation, err := w.Service.LocalActor(t.Context(), "apitest", "")
	check(t, err)
	for _, name := range []string{"wombat", mark} {
		_, err = w.Service.CreateAccount(t.Context(), installation, service.NewAccount{Name: name})
		check(t, err)
	}
	own := furnish(t, w, "wombat", "wombat", "4096")
	other := furnish(t, w, mark, mark, secretSize)
	missing := map[string]string{}
	for name, v := range other.words {
		missing[name] = nobody(v)
	}
	before := other.rows(t, w)
	for _, d := range dialects(t, w) {
		t.Run(d.name, func(t *testing.T) {
			list := probes(t, d.name)
			d.complete(t, list)
			for _, p := range list {
				d.walk(t, p, own, other.words, missing)
			}
		})
	}
	if after := other.rows(t, w); after != before {
		t.Errorf("the other account has changed: got\n%s\nwant\n%s", after, before)
	}
}

// nobody makes an id or a name of the same length that nobody has.
func nobody(v string) string {
	if _, err := strconv.ParseInt(v, 10, 64); err == nil {
		return strings.Repeat("9", len(v))
	}
	if n, ok := strings.CutPrefix(v, "acc-"); ok {
		return "acc-" + strings.Repeat("9", len(n))
	}
	if half, ok := strings.CutPrefix(v, "HFAK"); ok {
		return "HFAK" + strings.Repeat("7", len(half))
	}
	return strings.ReplaceAll(v, mark, "nobody")
}

// complete fails for a route without a probe, and for a probe without a route.
func (d dialect) complete(t *testing.T, list []probe) {
	t.Helper()
	missing := map[string]bool{}
	for _, r := range d.routes {
		missing[r] = true
	}
	for _, p := range list {
		if !slices.Contains(d.routes, p.route) {
			t.Errorf("the list names %s, which is no route", p.route)
		}
		delete(missing, p.route)
	}
	for _, r := range slices.Sorted(maps.Keys(missing)) {
		t.Errorf("the route %s is missing from testdata/tenants/%s.txt", r, d.name)
	}
}

// walk sends a probe once for each of its words: those before are the caller's
// own, that one and those after it are the other account's. A probe without words
// is a list.
func (d dialect) walk(t *testing.T, p probe, own tenant, other, missing map[string]string) {
	t.Helper()
	text := p.target + " " + p.body
	var names []string
	for name := range other {
		if strings.Contains(text, "<"+name+">") {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Index(text, "<"+a+">") - strings.Index(text, "<"+b+">") })
	if len(names) == 0 {
		d.silent(t, p, d.send(t.Context(), p, own.token))
		return
	}
	for i := range names {
		theirs, none := maps.Clone(own.words), maps.Clone(own.words)
		for _, name := range names[i:] {
			theirs[name], none[name] = other[name], missing[name]
		}
		one := filled(p, theirs)
		got := d.send(t.Context(), one, own.token)
		want := d.send(t.Context(), filled(p, none), own.token).without(none, own.words)
		got = got.without(theirs, own.words)
		if got != want {
			t.Errorf("%s %s %s: got %d\n%s\n%s\nwant what nobody's ids give, %d\n%s\n%s",
				one.method, one.target, one.body, got.status, got.headers, got.body, want.status, want.headers, want.body)
		}
		d.silent(t, one, got)
	}
}

func filled(p probe, with map[string]string) probe {
	p.target, p.body = fill(p.target, with), fill(p.body, with)
	return p
}

// silent fails when an answer holds something of the other account, or is a
// fault.
func (d dialect) silent(t *testing.T, p probe, a answer) {
	t.Helper()
	for _, secret := range []string{mark, secretSize} {
		if strings.Contains(a.body, secret) || strings.Contains(a.headers, secret) {
			t.Errorf("%s %s %s: the answer tells of the other account: %d %s", p.method, p.target, p.body, a.status, a.body)
		}
	}
	if a.status >= http.StatusInternalServerError && a.status != http.StatusNotImplemented && d.name != "commvault" {
		t.Errorf("%s %s %s: got %d %s", p.method, p.target, p.body, a.status, a.body)
	}
}

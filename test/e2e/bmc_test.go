package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// etlDefinitions are what the ETLs of this test do: the batch works until it is
// ended.
var etlDefinitions = map[string]string{
	"batch": `apiVersion: holdfast/etl/v1
name: orders
connections:
  shop: {site: berlin}
extract:
  - {name: orders, connection: shop, query: "SELECT i AS id, pg_sleep(600)::text AS pause FROM generate_series(1, 10) i"}
load:
  - {from: orders, connection: shop, table: public.copies, mode: replace}
`,
	"service": `apiVersion: holdfast/etl/v1
name: follow
mode: service
service: {interval: 1h}
connections:
  shop: {site: berlin}
extract:
  - {name: orders, connection: shop, query: "SELECT 1 AS id, 'x' AS pause"}
load:
  - {from: orders, connection: shop, table: public.copies, mode: replace}
`,
}

// bmc is an installation with two ETLs and an access key.
type bmc struct {
	*vendors
	batch, service int64
	jwt            string
}

func newBMC(t *testing.T) *bmc {
	t.Helper()
	b := &bmc{vendors: &vendors{rig: newRig(t)}}
	pg := testkit.StartPostgres(t, testkit.PostgresOptions{Password: password})
	pg.Exec(t, "", `CREATE TABLE copies (id integer, pause text)`)
	b.up("--self-signed")
	b.register(pg)
	b.host = strings.TrimPrefix(b.url(), "https://")
	for name, id := range map[string]*int64{"batch": &b.batch, "service": &b.service} {
		file := b.path(name + ".yaml")
		noError(t, os.WriteFile(file, []byte(etlDefinitions[name]), 0o644))
		var j struct {
			ID int64 `json:"id"`
		}
		b.ask(&j, "etl", "create", file)
		*id = j.ID
	}
	b.want(0, "user", "create", "scripts", "--role", "operator")
	halves := strings.Fields(b.want(0, "accesskey", "create", "scripts", "night").stdout)
	if len(halves) != 2 {
		t.Fatalf("accesskey create printed %q, want both halves", halves)
	}
	var login struct {
		Token   string `json:"json_web_token"`
		Refresh string `json:"token"`
	}
	body := fmt.Sprintf(`{"tenant_id":"1234567890","access_key":%q,"access_secret_key":%q}`, halves[0], halves[1])
	noError(t, json.Unmarshal([]byte(b.curl("-H", "Content-Type: application/json", "--data", body, "https://"+b.host+"/ims/api/v1/access_keys/login")), &login))
	var renewed struct {
		Token string `json:"json_web_token"`
	}
	noError(t, json.Unmarshal([]byte(b.curl("--data", fmt.Sprintf(`{"token":%q}`, login.Refresh), "https://"+b.host+"/ims/api/v1/auth/tokens")), &renewed))
	b.jwt = renewed.Token
	if login.Token == "" || b.jwt == "" {
		t.Fatal("the log-in gave no token")
	}
	return b
}

func (b *bmc) curl(args ...string) string {
	b.t.Helper()
	res := finish(b.t, b.client(testkit.Require(b.t, "curl"), append([]string{"-sS"}, args...)...))
	if res.code != 0 {
		b.t.Fatalf("curl %s: exit code %d\n%s", args[len(args)-1], res.code, res.stderr)
	}
	return res.stdout
}

// printed runs a sample of the page for an ETL, and returns its status line and
// its body.
func (b *bmc) printed(call string, etl int64) (status, body string) {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "pages", "bmc-"+call+".sh"))
	noError(b.t, err)
	filled := strings.NewReplacer("hostname.bmc.com", b.host, "<jwttoken>", b.jwt).Replace(string(text))
	filled = regexp.MustCompile(`/etls/[0-9]+/`).ReplaceAllString(filled, fmt.Sprintf("/etls/%d/", etl))
	res := finish(b.t, b.client(testkit.Require(b.t, "bash"), "-c", filled))
	if res.code != 0 {
		b.t.Fatalf("bmc-%s.sh: exit code %d\n%s%s", call, res.code, res.stdout, res.stderr)
	}
	head, body, _ := strings.Cut(res.stdout, "\r\n\r\n")
	status, _, _ = strings.Cut(head, "\r\n")
	return status, strings.TrimSpace(body)
}

// wantPrinted runs a sample and compares its answer; {number} stands for one.
func (b *bmc) wantPrinted(call string, etl int64, code, body string) string {
	b.t.Helper()
	status, got := b.printed(call, etl)
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(body), regexp.QuoteMeta("{number}"), "([0-9]+)") + "$"
	m := regexp.MustCompile(pattern).FindStringSubmatch(got)
	if m == nil || !strings.HasSuffix(strings.Fields(status + " ?")[1], code) {
		b.t.Fatalf("%s of ETL %d: got %s %s, want %s %s", call, etl, status, got, code, body)
	}
	return m[len(m)-1]
}

func (b *bmc) status(etl int64) (word *string) {
	b.t.Helper()
	var st struct {
		Status *string `json:"status"`
		Task   int64   `json:"task_id"`
	}
	noError(b.t, json.Unmarshal([]byte(b.curl("-H", "Authorization: Bearer "+b.jwt, fmt.Sprintf("https://%s/opt/api/v1/backend/etls/%d/status", b.host, etl))), &st))
	if st.Task != etl {
		b.t.Errorf("got the status of task %d, want %d", st.Task, etl)
	}
	return st.Status
}

// TestBMCPageAsPrinted sends what the page on executing ETLs prints, by curl over
// TLS with a token of a log-in.
func TestBMCPageAsPrinted(t *testing.T) {
	t.Parallel()
	b := newBMC(t)
	const ok = `{"task_execution_request_id":{number},"request_status":"OK"}`
	const none = `{"task_execution_request_id":0,"request_status":"ERROR","message":"ETL not found"}`
	first := b.wantPrinted("run", b.batch, "200", ok)
	if word := b.status(b.batch); word == nil || *word != "RUNNING" {
		t.Errorf("got the status %v after run, want RUNNING", word)
	}
	if second := b.wantPrinted("schedule", b.batch, "200", ok); second < first {
		t.Errorf("got the number %s after %s", second, first)
	}
	b.wantPrinted("stop", b.batch, "200", ok)
	status, body := b.printed("kill", b.batch)
	if !strings.Contains(status, " 200") || !strings.HasPrefix(body, `{"task_execution_request_id":`) || !strings.Contains(body, `"request_status":"OK"`) {
		t.Errorf("kill: got %s %s", status, body)
	}
	deadline := time.Now().Add(15 * time.Second)
	for word := b.status(b.batch); word != nil && *word == "RUNNING"; word = b.status(b.batch) {
		if time.Now().After(deadline) {
			t.Fatal("the ETL runs on 15 s after it was killed")
		}
		time.Sleep(200 * time.Millisecond)
	}

	for _, call := range []string{"run", "schedule", "stop", "kill"} {
		status, body := b.printed(call, b.service)
		if !strings.Contains(status, " 200") || !strings.HasPrefix(body, `{"task_execution_request_id":-1,"request_status":"OK"`) {
			t.Errorf("%s of the service: got %s %s, want -1", call, status, body)
		}
		b.wantPrinted(call, 9999, "400", none)
	}

	xml := b.curl("-H", "Authorization: Bearer "+b.jwt, fmt.Sprintf("https://%s/dh-services/backend/checkTaskExecutionStatus/%s", b.host, first))
	if !strings.Contains(xml, "<status>") || !strings.Contains(xml, first) {
		t.Errorf("the older check answered %s", xml)
	}
	var list []struct {
		ID int64 `json:"id"`
	}
	b.ask(&list, "accesskey", "list")
	b.want(0, "accesskey", "revoke", fmt.Sprint(list[0].ID))
	if got := b.curl("-o", "/dev/null", "-w", "%{http_code}", "-H", "Authorization: Bearer "+b.jwt, "https://"+b.host+"/opt/api/v1/backend/etls"); got != "401" {
		t.Errorf("got %s after the access key was revoked, want 401", got)
	}
}

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// userPassword is what the user "backup" signs in with.
const userPassword = "correct horse battery"

// debianPython is the interpreter that has Debian's python3-requests.
const debianPython = "/usr/bin/python3"

// vendors is an installation with what the vendors' pages suppose: TLS, an
// account with an alias, a user with a password, a key and a personal access
// token, and eleven jobs.
type vendors struct {
	*rig
	host  string // name and port
	token string // of our own kind
	pat   string
	key   string // file of the private key
	jobs  []int64
}

func newVendors(t *testing.T) *vendors {
	t.Helper()
	v := &vendors{rig: newRig(t)}
	pg := testkit.StartPostgres(t, testkit.PostgresOptions{Password: password})
	pg.Exec(t, "", `CREATE TABLE documents AS SELECT i, md5(i::text) AS title FROM generate_series(1, 100000) i`)
	v.up("--self-signed")
	v.register(pg)
	for i := range 10 {
		v.want(0, "job", "create", "--site", "berlin", "--name", fmt.Sprintf("job-%d", i))
	}
	var jobs []struct {
		ID int64 `json:"id"`
	}
	v.ask(&jobs, "job", "list")
	for _, j := range jobs {
		v.jobs = append(v.jobs, j.ID)
	}
	v.want(0, "account", "alias", "add", "default", "bxxxx-e1")
	noError(t, os.WriteFile(v.path("user-password"), []byte(userPassword+"\n"), 0o644))
	v.want(0, "user", "create", "backup", "--role", "operator", "--password-file", v.path("user-password"))
	v.key = v.path("backup.key")
	v.want(0, "key", "create", "backup", "laptop", "--out", v.key)
	v.pat = strings.TrimSpace(v.want(0, "pat", "create", "backup", "--role", "operator").stdout)
	v.token = strings.TrimSpace(v.want(0, "token", "create", "script", "--role", "operator").stdout)
	v.host = strings.TrimPrefix(v.url(), "https://")
	return v
}

// jwt signs a token with the claims of the page, as its readers do.
func (v *vendors) jwt(organisation string) string {
	v.t.Helper()
	script := `
import base64, json, subprocess, sys, time
b64 = lambda b: base64.urlsafe_b64encode(b).rstrip(b'=')
key, pat, org = sys.argv[1:]
now = int(time.time())
head = {'alg': 'RS256', 'typ': 'JWT', 'kid': 'laptop'}
claims = {'aud': ['td:service:authentication'], 'exp': now + 3600, 'iat': now, 'iss': 'wiki', org: 'default',
          'multi-use': True, 'pat': pat, 'sub': 'backup'}
text = b64(json.dumps(head).encode()) + b'.' + b64(json.dumps(claims).encode())
sign = subprocess.run(['openssl', 'dgst', '-sha256', '-sign', key, '-binary'], input=text, stdout=subprocess.PIPE, check=True)
print((text + b'.' + b64(sign.stdout)).decode())
`
	res := finish(v.t, testkit.Command(v.t, debianPython, "-c", script, v.key, v.pat, organisation))
	if res.code != 0 {
		v.t.Fatalf("sign: %s", res.stderr)
	}
	return strings.TrimSpace(res.stdout)
}

// page runs a sample as it is printed, with its placeholders filled in.
func (v *vendors) page(name string, more ...string) string {
	v.t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "pages", name))
	noError(v.t, err)
	jwt := v.jwt("org_key")
	filled := strings.NewReplacer(append([]string{
		"<console-url>", v.host, "<account-id>", "bxxxx-e1", "<job-id>", fmt.Sprint(v.jobs[0]), "<jwt>", jwt, "<JWT token>", jwt,
		"CommandCenterHostName", v.host,
	}, more...)...).Replace(string(text))
	interpreter := testkit.Require(v.t, "bash")
	if strings.HasSuffix(name, ".py") {
		interpreter = debianPython
	}
	cmd := v.client(interpreter, "-c", filled)
	res := finish(v.t, cmd)
	if res.code != 0 {
		v.t.Fatalf("%s: exit code %d\n%s%s", name, res.code, res.stdout, res.stderr)
	}
	return strings.TrimSpace(res.stdout)
}

// client prepares a program that trusts the server's certificate.
func (v *vendors) client(name string, args ...string) *exec.Cmd {
	v.t.Helper()
	cmd := testkit.Command(v.t, name, args...)
	ca := filepath.Join(v.state, "tls", "tls.crt")
	cmd.Env = append(cmd.Env, "REQUESTS_CA_BUNDLE="+ca, "CURL_CA_BUNDLE="+ca)
	return cmd
}

func (v *vendors) executions() int {
	v.t.Helper()
	var list []execution
	v.ask(&list, "execution", "list")
	return len(list)
}

// TestPagesAsPrinted runs the samples of the vendors' pages by curl and by
// Python's requests, over TLS, on a real PostgreSQL.
func TestPagesAsPrinted(t *testing.T) {
	t.Parallel()
	v := newVendors(t)

	for _, name := range []string{"lake-list.py", "lake-list.sh"} {
		if got := v.page(name); !strings.HasPrefix(got, "[{") || !strings.Contains(got, "nightly") || strings.Count(got, "no_of_retention_copies") != 10 {
			t.Errorf("%s printed %s, want a page of ten jobs", name, got)
		}
	}
	plain := v.page("lake-job.sh")
	if !strings.Contains(plain, `"job_settings"`) || v.page("lake-job-slash.sh") != plain {
		t.Errorf("lake-job printed %s, want the job, and the same with a slash", plain)
	}
	for _, name := range []string{"lake-job.py", "lake-execute.py"} { // the second is the same call: it starts nothing
		if got := v.page(name); !strings.Contains(got, "'job_settings'") {
			t.Errorf("%s printed %s, want the job", name, got)
		}
	}
	if n := v.executions(); n != 0 {
		t.Errorf("got %d executions before anything was executed", n)
	}
	if got := v.page("lake-execute.sh"); got != "{}" {
		t.Errorf("lake-execute.sh printed %q, want {}", got)
	}
	if n := v.executions(); n != 1 {
		t.Errorf("got %d executions, want one", n)
	}

	var login struct {
		Token string `json:"token"`
	}
	body := fmt.Sprintf(`{"username":"backup","password":%q}`, userPassword)
	res := finish(t, v.client(testkit.Require(t, "curl"), "-sS", "-H", "Content-Type: application/json", "--data", body,
		"https://"+v.host+"/commandcenter/api/Login"))
	noError(t, json.Unmarshal([]byte(res.stdout), &login))
	for _, c := range []struct {
		name   string
		filled []string
		want   string
	}{
		{"no token", []string{"<API_KEY_VALUE>", "none"}, `{"errorMessage":"Access Denied","errorCode":5}`},
		{
			"all placeholders",
			[]string{"<API_KEY_VALUE>", login.Token},
			`{"errorMessage":"Failed to start backups as no eligible subclients were found. ","errorCode":587207178}`,
		},
		{"an instance", []string{"<API_KEY_VALUE>", login.Token, `"instanceName": "string"`, `"instanceName": "berlin"`}, `"jobIds":["`},
	} {
		if got := v.page("commvault-createtask.sh", c.filled...); !strings.Contains(got, c.want) {
			t.Errorf("Createtask, %s: printed %s, want %s", c.name, got, c.want)
		}
	}
	if n := v.executions(); n != 1+len(v.jobs) {
		t.Errorf("got %d executions, want one more for each subclient of the instance", n)
	}
}

// TestSmoke runs the smoke tests of a replacement with Python's requests.
func TestSmoke(t *testing.T) {
	t.Parallel()
	v := newVendors(t)
	text, err := os.ReadFile(filepath.Join("testdata", "pages", "smoke.py"))
	noError(t, err)
	for _, organisation := range []string{"org_key", "org_id"} {
		noError(t, os.RemoveAll(v.path("restores/smoke")))
		cmd := v.client(debianPython, "-c", string(text))
		job := v.jobs[0]
		if organisation == "org_id" {
			job = v.jobs[1]
		}
		cmd.Env = append(cmd.Env, "BASE=https://"+v.host, "TOKEN="+v.token, "JWT="+v.jwt(organisation), "ACCOUNT=bxxxx-e1", "SITE=berlin",
			fmt.Sprintf("JOB=%d", job), fmt.Sprintf("LONG=%d", v.jobs[2]), "TARGET="+v.path("restores/smoke"))
		res := finish(t, cmd)
		t.Log(res.stdout)
		if res.code != 0 || strings.Count(res.stdout, "ok ") != 12 {
			t.Fatalf("%s: exit code %d\n%s", organisation, res.code, res.stderr)
		}
	}
}

package native_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// TestImportExchanges connects a repository, imports sets from it and confirms one; the
// golden file is read in review.
func TestImportExchanges(t *testing.T) {
	r := newRig(t)
	r.want(201, "POST", "/api/v1/hosts", `{"name":"db1"}`)
	r.transcript.Reset()
	connect := `{"name":"main","location":"file:///backup/main","password":"7Q4M-KIT0"}`
	r.want(201, "POST", "/api/v1/repositories/connect", connect)
	r.want(201, "POST", "/api/v1/repositories/connect", connect)
	r.want(409, "POST", "/api/v1/repositories/connect", `{"name":"again","location":"file:///backup/main","password":"7Q4M-KIT0"}`)
	r.want(422, "POST", "/api/v1/repositories/connect", `{"name":"main","location":"file:///backup/main"}`)
	found := func(n int, site string) string {
		return fmt.Sprintf(`{"snapshot":"%064x","installation":"0123456789abcdef0123456789abcdef","fence":1,"set":%d,"site":1003,"site_slug":"%s","job":1004,"job_name":"nightly",`+
			`"execution":%d,"engine":"pgphysical","run_type":"FULL","started":"2026-02-01T02:00:00Z","stopped":"2026-02-01T02:05:00Z","bytes":4096,"files":3,`+
			`"physical":{"system_identifier":"7300000000000000001","version":150004,"timeline":1,"start_lsn":"33554472","stop_lsn":"33554872"},`+
			`"server":{"host":"/run/postgresql","port":5432,"user":"backup"},"data_dir":"/pg/berlin"}`, n, 2000+n, site, 3000+n)
	}
	ask := func(more string) string {
		return `{"seen":{"site":1003,"job":1004,"execution":3002,"set":2002},"sets":[` + found(1, "berlin") + "," + found(2, "../x") + "]" + more + "}"
	}
	r.want(200, "POST", "/api/v1/repositories/main/import", ask(`,"dry_run":true`))
	r.want(200, "POST", "/api/v1/repositories/main/import", ask(`,"host":"db1"`))
	r.want(200, "POST", "/api/v1/repositories/main/import", ask(""))
	r.want(201, "POST", "/api/v1/repositories/connect", `{"name":"far","location":"file:///backup/far","password":"7Q4M-KIT0"}`)
	r.want(200, "POST", "/api/v1/repositories/far/import", ask(""))
	r.want(404, "POST", "/api/v1/repositories/main/import", ask(`,"host":"db9"`))
	r.want(404, "POST", "/api/v1/repositories/other/import", ask(""))
	r.want(200, "GET", "/api/v1/sets/2001", "")
	r.want(200, "POST", "/api/v1/sets/2001/confirm", "")
	r.want(404, "POST", "/api/v1/sets/9999/confirm", "")
	r.golden("import")

	var copies native.RepositoryCopies
	r.want(200, "GET", "/api/v1/repositories/main/copies?limit=5", "").decode(t, &copies)
	if len(copies.Items) != 1 || copies.Items[0].SetID != 2001 || copies.Items[0].State != holdfast.CopyComplete || len(copies.Installation) != 32 {
		t.Errorf("got %+v", copies)
	}
	bad := strings.Replace(ask(""), `"33554472"`, `"many"`, 1)
	r.want(400, "POST", "/api/v1/repositories/main/import", bad)
	r.socket = false
	r.want(401, "POST", "/api/v1/repositories/main/import", ask(""))
}

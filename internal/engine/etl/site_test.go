package etl_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/etl"
)

// TestSiteTest is of users with few rights: none is told to get those of a backup,
// and what the FIX says is enough.
func TestSiteTest(t *testing.T) {
	p := startServer(t)
	p.Exec(t, "", `CREATE ROLE reader LOGIN; CREATE ROLE "the loader" LOGIN; CREATE ROLE other LOGIN;
		CREATE TABLE orders (id int, secret text); GRANT SELECT (id) ON orders TO reader; CREATE TABLE hidden (id int)`)
	look := func(user string) (ok bool, all string) {
		t.Helper()
		site := siteOf(p, "shop")
		site.Server.User = user
		found, err := etl.New(etl.Config{}).Test(t.Context(), site)
		if err != nil {
			t.Fatal(err)
		}
		ok = true
		for _, f := range found {
			ok = ok && f.OK
			all += f.Name + ": " + f.Text + "\n" + f.Fix + "\n"
		}
		return ok, all
	}
	fix := func(all string) string {
		_, sql, _ := strings.Cut(all, " run: ")
		return sql
	}
	ok, all := look("reader")
	if !ok || !strings.Contains(all, "may read 1 tables") || !strings.Contains(all, "nothing can be loaded yet") || strings.Contains(all, "backup") {
		t.Errorf("a reader: got %v\n%s", ok, all)
	}
	_, all = look("the loader")
	p.Exec(t, "", fix(all))
	if ok, all = look("the loader"); !ok || !strings.Contains(all, "may use the schema") {
		t.Errorf("who owns the schema: got %v\n%s", ok, all)
	}
	if got := p.Value(t, "", "SELECT count(*) FROM pg_tables WHERE schemaname = 'holdfast_etl'"); got != "0" {
		t.Errorf("the test has left %s tables", got)
	}
	if ok, all = look("other"); !ok || !strings.Contains(all, "belongs to the role the loader") {
		t.Errorf("somebody else's schema: got %v\n%s", ok, all)
	}
	if ok, all = look("nobody"); ok {
		t.Errorf("an unknown user: got\n%s", all)
	}
	gone := siteOf(p, "shop")
	gone.Server.Database = "gone"
	found, err := etl.New(etl.Config{}).Test(t.Context(), gone)
	if err != nil || len(found) != 1 || found[0].OK || !strings.Contains(found[0].Fix, "an ETL reads and loads in the one that is named") {
		t.Errorf("no such database: got %+v, %v", found, err)
	}
}

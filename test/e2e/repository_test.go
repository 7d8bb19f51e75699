package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// TestRepositoryOfARunningServer checks a repository beside the server that writes
// to it, by its name, and finds what is damaged and what is gone.
func TestRepositoryOfARunningServer(t *testing.T) {
	t.Parallel()
	restic := testkit.Require(t, "restic")
	r := newRig(t)
	r.up()
	pg := source(t)
	r.register(pg)
	oid := pg.Value(t, "", "SELECT oid FROM pg_tablespace WHERE spcname !~ '^pg_'")
	space := func(dir string) string { return oid + "=" + r.path(dir) }
	var sets []int64
	for range 2 {
		var e execution
		r.ask(&e, "job", "run", "berlin/nightly", "--wait")
		sets = append(sets, e.Set)
	}
	if out := r.want(0, "repository", "check", "main", "--read-data").stdout; !strings.Contains(out, "2 snapshots") || !strings.Contains(out, "no damage") {
		t.Errorf("check says\n%s", out)
	}
	var usage struct {
		Snapshots   int     `json:"snapshots"`
		Dedup       float64 `json:"deduplication"`
		Compression float64 `json:"compression"`
	}
	r.ask(&usage, "repository", "stats", "main")
	if usage.Snapshots != 2 || usage.Dedup < 1.5 || usage.Compression < 1.5 {
		t.Errorf("got %+v", usage)
	}
	r.want(0, "repository", "locks", "main")
	r.want(0, "repository", "unlock", "main")
	r.want(4, "repository", "check", "another")

	// A person's key opens the repository for the stock restic, and goes again; the
	// service's stays.
	var slot, service struct{ ID, Use string }
	var slots []struct{ ID, Use string }
	secret := r.path("anna")
	noError(t, os.WriteFile(secret, []byte("anna's words"), 0o644))
	r.ask(&slot, "repository", "key", "add", "main", "--new-password-file", secret)
	// What lies under our own prefix is nothing to restic, as docs/format/repository.md says.
	noError(t, os.Mkdir(r.path("repository/holdfast"), 0o755))
	noError(t, os.WriteFile(r.path("repository/holdfast/note"), []byte("ours"), 0o644))
	stock := func(args ...string) string {
		t.Helper()
		res := finish(t, testkit.Command(t, restic, append([]string{"--no-cache", "-r", r.path("repository"), "--password-file", secret}, args...)...))
		if res.code != 0 {
			t.Errorf("restic %v: %s%s", args, res.stdout, res.stderr)
		}
		return res.stdout
	}
	stock("check", "--read-data")
	var listed []struct {
		Hostname, Username string
		Paths              []string
	}
	noError(t, json.Unmarshal([]byte(stock("snapshots", "--json", "--host", "berlin", "--tag", fmt.Sprintf("set=%d", sets[0]))), &listed))
	if len(listed) != 1 || listed[0].Hostname != "berlin" || listed[0].Username != "holdfast" || listed[0].Paths[0] != "/pgdata" {
		t.Errorf("restic lists %+v", listed)
	}
	var manifest struct {
		Version int
		Set     int64
		Site    string `json:"site_slug"`
	}
	noError(t, json.Unmarshal([]byte(stock("dump", "--host", "berlin", "latest", "/holdfast/set.json")), &manifest))
	if manifest.Version != 1 || manifest.Set != sets[1] || manifest.Site != "berlin" {
		t.Errorf("restic dumps %+v", manifest)
	}
	r.ask(&slots, "repository", "key", "list", "main")
	for _, s := range slots {
		if s.Use == "service" {
			service = s
		}
	}
	r.refuse(5, []string{"opened with"}, "repository", "key", "remove", "main", service.ID, "--yes", "--force")
	r.refuse(5, []string{"service's own"}, "repository", "key", "remove", service.ID, "--yes", "--force", "--kit", r.path("main.kit"))
	r.want(0, "repository", "key", "remove", "main", slot.ID, "--yes")
	r.want(0, "repository", "check", "main")

	// The service's own key gets another password; what it does goes on.
	r.refuse(2, []string{"makes its password itself"}, "repository", "key", "passwd", "main", "--new-password-file", secret)
	r.want(0, "repository", "key", "passwd", "main")
	r.ask(&slots, "repository", "key", "list", "main")
	for _, s := range slots {
		if s.ID == service.ID || len(slots) != 2 {
			t.Errorf("the service's old key %s is still among %v", service.ID, slots)
		}
	}
	r.want(0, "repository", "check", "main")
	r.want(0, "restore", fmt.Sprint(sets[0]), "--to", r.path("restores/rekeyed"), "--tablespace", space("restores/rekeyed-space"), "--wait")
	r.want(0, "repository", "check", "--kit", r.path("main.kit"))

	// A set whose snapshot is gone: only the server knows that it was there.
	snapshots, err := filepath.Glob(r.path("repository/snapshots/*"))
	noError(t, err)
	noError(t, os.Rename(snapshots[0], r.path("snapshot")))
	r.want(1, "repository", "check", "main")
	r.want(0, "repository", "check", "--kit", r.path("main.kit"))
	noError(t, os.Rename(r.path("snapshot"), snapshots[0]))

	r.want(0, "repository", "create", "far", "--location", r.path("far"), "--kit", r.path("far.kit"))
	copyAll := []string{"repository", "copy", "main", fmt.Sprint(sets[0]), fmt.Sprint(sets[1]), "--to", "far"}
	if out := r.want(0, copyAll...).stdout; strings.Count(out, "is now snapshot") != 2 {
		t.Errorf("copy says\n%s", out)
	}
	if out := r.want(0, copyAll...).stdout; strings.Count(out, "was there already as") != 2 || !strings.Contains(out, " 0 pieces new") {
		t.Errorf("copy says, the second time\n%s", out)
	}
	r.want(0, "repository", "check", "far", "--read-data")

	packs, err := filepath.Glob(r.path("repository/data/*/*"))
	noError(t, err)
	largest := packs[0]
	for _, p := range packs {
		a, err := os.Stat(p)
		noError(t, err)
		b, err := os.Stat(largest)
		noError(t, err)
		if a.Size() > b.Size() {
			largest = p
		}
	}
	noError(t, os.Remove(largest))
	var report struct {
		State    string
		Findings []struct{ Kind, Object string }
		Affected []struct{ Set, Site string }
	}
	res := finish(t, r.command("repository", "check", "main", "-o", "json"))
	if res.code != 1 {
		t.Errorf("exit code %d\n%s%s", res.code, res.stdout, res.stderr)
	}
	noError(t, json.Unmarshal([]byte(res.stdout), &report))
	if report.State != "damaged" || len(report.Findings) != 1 || report.Findings[0].Kind != "missing" || !strings.HasSuffix(report.Findings[0].Object, filepath.Base(largest)) {
		t.Errorf("got %+v", report)
	}
	if len(report.Affected) != 2 || report.Affected[0].Set != fmt.Sprint(sets[0]) || report.Affected[0].Site != "berlin" {
		t.Errorf("got %+v", report.Affected)
	}

	// What is lost is named, and what is left is never taken for the set.
	r.want(3, "repository", "repair", "index", "main")
	var repaired struct {
		Repaired []struct {
			Set, New  string
			Forgotten bool
			Lost      []struct{ Path string }
		}
	}
	res = finish(t, r.command("repository", "repair", "snapshots", "main", "--forget", "--yes", "-o", "json"))
	noError(t, json.Unmarshal([]byte(res.stdout), &repaired))
	if res.code != 3 || len(repaired.Repaired) != 2 || !repaired.Repaired[1].Forgotten || len(repaired.Repaired[1].Lost) == 0 {
		t.Fatalf("exit code %d, %+v\n%s", res.code, repaired, res.stderr)
	}
	r.want(0, "repository", "check", "--kit", r.path("main.kit"), "--read-data")
	r.refuse(4, []string{"what a repair has left"}, "restore", "--offline", "--kit", r.path("main.kit"), fmt.Sprint(sets[1]), "--to", r.path("none"))
	if out := r.want(0, "restore", "--offline", "--kit", r.path("main.kit"), "list").stdout; strings.Count(out, "INCOMPLETE") != 2 {
		t.Errorf("the kit's list:\n%s", out)
	}
	res = r.try("restore", fmt.Sprint(sets[1]), "--to", r.path("restores/gone"), "--tablespace", space("restores/gone-ts"), "--wait")
	if res.code != 1 || !strings.Contains(res.stdout+res.stderr, "not in its repository any more") {
		t.Errorf("the restore of the set: exit code %d\n%s%s", res.code, res.stdout, res.stderr)
	}

	// The copy is whole, without the server, and brings back what is lost.
	r.want(0, "repository", "copy", "--kit", r.path("far.kit"), "--all", "--to", "main")
	r.want(0, "restore", "--offline", "--kit", r.path("main.kit"), fmt.Sprint(sets[1]), "--to", r.path("whole"), "--tablespace", space("whole-ts"))
	r.want(0, "restore", "--offline", "--kit", r.path("far.kit"), "latest", "--to", r.path("copy"), "--tablespace", space("copy-ts"))
}

package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// unreadBytes is how much an execution says that it did not read.
func (r *rig) unreadBytes(e chained) int64 {
	r.t.Helper()
	log := r.want(0, "execution", "log", fmt.Sprint(e.ID)).stdout
	m := regexp.MustCompile(`files were not read.* bytes=(\d+)`).FindStringSubmatch(log)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	noError(r.t, err)
	return n
}

// TestDeltaReadsOnlyWhatHasChanged drives the binary: a delta after nothing reads no
// relation, one after a change reads what has changed, a site that wants everything
// read gets it, and the last set restores.
func TestDeltaReadsOnlyWhatHasChanged(t *testing.T) {
	t.Parallel()
	pg := source(t)
	r := newRig(t)
	r.up()
	r.register(pg)
	pg.Exec(t, "", "VACUUM (FREEZE)")
	pg.Exec(t, "", "CHECKPOINT")
	time.Sleep(2100 * time.Millisecond) // older than this, times are trusted
	run := func(runType string) (e chained, bytes int64) {
		t.Helper()
		r.ask(&e, "job", "run", "nightly", "--run-type", runType, "--wait")
		var set chained
		r.ask(&set, "set", "show", fmt.Sprint(e.Set))
		return e, set.Bytes
	}
	full, _ := run("full")
	if n := r.unreadBytes(full); n != 0 {
		t.Errorf("the FULL has not read %d bytes", n)
	}
	second, bytes := run("delta")
	if n := r.unreadBytes(second); n < bytes-30<<20 { // the rest is WAL, and small
		t.Errorf("nothing has changed: %d of %d bytes were not read", n, bytes)
	}
	pg.Exec(t, "", "UPDATE documents SET title = 'changed' WHERE id % 1000 = 0")
	third, _ := run("delta")
	if n, before := r.unreadBytes(third), r.unreadBytes(second); n == 0 || n >= before {
		t.Errorf("a table has changed: %d bytes were not read, after %d", n, before)
	}
	want := pg.Content(t)
	to := r.path("restores/trusted")
	r.want(0, "restore", fmt.Sprint(third.Set), "--to", to, "--tablespace", r.spaceOf(third.Set, "restores/trusted-ts1"), "--wait")
	restored(t, to, want)

	r.want(0, "site", "update", "berlin", "--read", "read-all")
	all, _ := run("delta")
	if n := r.unreadBytes(all); n != 0 {
		t.Errorf("the site wants everything read, and %d bytes were not", n)
	}

	// The other setting of a site's backups.
	pg.Exec(t, "", "CREATE TABLE plain AS SELECT i, repeat('x', 500) AS v FROM generate_series(1, 20000) i")
	r.want(0, "site", "update", "berlin", "--compression", "off")
	off, _ := run("delta")
	var set chained
	r.ask(&set, "set", "show", fmt.Sprint(off.Set))
	if set.Added < 10_000_000 {
		t.Errorf("without compression, a table of 10 MB added %d bytes", set.Added)
	}

	// The newest set over the copy of an older one, in which a server has run.
	want = pg.Content(t)
	over := []string{"restore", "--offline", "--kit", r.path("main.kit"), fmt.Sprint(off.Set), "--to", to, "--tablespace", r.spaceOf(off.Set, "restores/trusted-ts1")}
	r.refuse(2, []string{"is not empty"}, over...)
	r.want(0, append(over, "--delta")...)
	restored(t, to, want)
}

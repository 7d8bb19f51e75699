package bench

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

var (
	fullScale = flag.Bool("full", false, "fill the installation with what the measure is made for, and fail when a read is too slow")
	cacheDir  = flag.String("cache", "", "directory in which the full installation stays for the next run (empty: none stays)")
	results   = flag.String("results", "", "file that gets the table")
	only      = flag.String("only", "", "regular expression of the reads to measure")
	seconds   = flag.Float64("seconds", 7, "how long each read is measured: long enough that one stall of all connections is less than one in a hundred")
	pause     = flag.Duration("pause", 50*time.Millisecond, "how long each connection waits between an answer and its next request, on average")
)

// TestReads sends every read of every API to an installation, and at full scale
// fails when one in a hundred takes longer than it may.
func TestReads(t *testing.T) {
	on := machine()
	l := load{connections: 8, seed: 1}
	var r *rig
	switch {
	case !*fullScale:
		r = &rig{t: t, state: t.TempDir()}
		r.fill(small)
	case *cacheDir != "":
		r = cached(t, *cacheDir, full)
	default:
		r = &rig{t: t, state: t.TempDir()}
		r.fill(full)
	}
	if *fullScale {
		l.run = time.Duration(*seconds * float64(time.Second))
		l.warmUp, l.pause = l.run/3, *pause
	}
	r.up()
	w := &world{url: r.serve.url}
	w.look(t.Context(), t, r)
	w.admit(t.Context(), r)
	if *fullScale {
		r.settle()
	}
	w.checkCovered(t, reads())
	chosen, err := regexp.Compile(*only)
	noError(t, err)
	var all []figures
	slow := 0
	for _, rd := range reads() {
		if !chosen.MatchString(rd.api + " " + rd.name) {
			continue
		}
		f, err := l.measure(t.Context(), w, r.serve, rd)
		if err != nil {
			t.Error(err)
			continue
		}
		if f.over() {
			slow++
		}
		all = append(all, f)
		t.Logf("%-12s%-40s %7d %8s %8s %8s %8s", rd.api, rd.name, f.n, millis(f.p50), millis(f.p99), millis(f.max), millis(f.cpu))
	}
	r.down()
	if !*fullScale {
		return
	}
	noError(t, report(on, l, all))
	if slow > 0 {
		t.Errorf("%d of %d reads take longer than %s", slow, len(all), limit)
	}
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

// report prints the table, and writes it to a file when one is named.
func report(on string, l load, all []figures) error {
	var b strings.Builder
	fmt.Fprintf(&b, `# How long reads take

`+"`make bench-api`"+` wrote this at %s on %s.

The installation has %d sites of two accounts, %d jobs, %d executions, %d backup sets, %d schedules and %d events. The
binary serves it without a worker; %d connections on the loopback send one kind of read at a time for %s, after a third of that
to warm up. Each waits %s on average between an answer and its next request. Parameters are picked at random: any job, site or
execution; the first page of a list, its last, or any between. "some" is a token that covers a hundred sites. A time is from the
request to the last byte of the answer; CPU is the server's, for everything it does meanwhile, a request. One in a hundred may
take longer than %s.

`, time.Now().UTC().Format(time.DateOnly), on, full.sites, full.jobs, full.executions, full.sets, full.schedules, full.events,
		l.connections, l.run, l.pause, limit)
	b.WriteString("| API | Read | n | p50 ms | p99 ms | max ms | CPU ms | bytes |\n|---|---|---:|---:|---:|---:|---:|---:|\n")
	for _, f := range all {
		mark := ""
		if f.over() {
			mark = " **slow**"
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s%s | %s | %s | %d |\n",
			f.read.api, f.read.name, f.n, millis(f.p50), millis(f.p99), mark, millis(f.max), millis(f.cpu), f.bytes)
	}
	if *results != "" {
		if err := os.MkdirAll(filepath.Dir(*results), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(*results, []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(os.Stdout, b.String())
	return err
}

// machine says what was measured on.
func machine() string {
	model := "unknown"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	load := "unknown"
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(b), " ")
	}
	return fmt.Sprintf("%d processors (%s), %s, load average %s when it began", runtime.NumCPU(), model, runtime.Version(), load)
}

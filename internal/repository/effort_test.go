package repository

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// TestEffort lets one worker work in made-up time on a core of its own.
func TestEffort(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		read  time.Duration // a block takes to be read
		wait  time.Duration // of that the core idles
		fresh int           // one of so many is new
		blows int           // each level takes as much more than it should
		busy  bool          // others use the core whenever this process does not
		least compress.Level
		most  compress.Level // that most blocks get
		share float64        // of the time that compressing may take, but for the lowest level
	}{
		"a full backup from memory":           {read: ms / 5, fresh: 1, least: 1, most: 1, share: 1},
		"a full backup from a disk":           {read: 2 * ms, wait: 2 * ms, fresh: 1, least: 1, most: 1, share: 0.5},
		"a full backup from a slow disk":      {read: 30 * ms, wait: 29 * ms, fresh: 1, least: 6, most: 9, share: 0.3},
		"a full backup over a bad line":       {read: 2000 * ms, wait: 1999 * ms, fresh: 1, least: 17, most: 17, share: 0.25},
		"a delta of many changes":             {read: ms / 5, fresh: 10, least: 1, most: 1, share: 0.5},
		"a delta of few changes, from memory": {read: ms / 5, fresh: 200, least: 1, most: 1, share: 0.1},
		"a delta of few changes, from a disk": {read: ms / 2, wait: ms / 4, fresh: 200, least: 6, most: 9, share: 0.3},
		"a delta of hardly any":               {read: ms / 5, wait: ms / 10, fresh: 5000, least: 17, most: 17, share: 0.25},
		"a delta of hardly any, and too slow": {read: ms / 5, wait: ms / 10, fresh: 5000, blows: 10, least: 6, most: 17, share: 0.5},
		"a busy machine":                      {read: 30 * ms, wait: 29 * ms, fresh: 1, busy: true, least: 1, most: 1, share: 0.1},
	} {
		e, core := madeUpEffort()
		spent := time.Duration(0)
		levels := map[compress.Level]int{}
		for i := range 200 * c.fresh {
			core.work(c.read - c.wait)
			core.rest(c.wait, c.busy)
			if i%c.fresh != 0 {
				continue
			}
			l := e.level(holdfast.CompressDefault, core.now)
			levels[l]++
			took := costOf(l)
			if l != compress.Fast {
				took *= time.Duration(max(c.blows, 1))
			}
			core.work(took)
			spent += took
			e.took(took, core.now)
		}
		var common compress.Level
		for l, n := range levels {
			if n > levels[common] {
				common = l
			}
		}
		if share := float64(spent) / float64(core.now.Sub(testTime)); common < c.least || common > c.most || share > c.share {
			t.Errorf("%s: got levels %v, and %.2f of the time, want mostly %d to %d and at most %.2f", name, levels, share, c.least, c.most, c.share)
		}
	}
}

// madeUpCore is a core in made-up time.
type madeUpCore struct {
	now   time.Time
	times coreTimes
}

func madeUpEffort() (*effort, *madeUpCore) {
	c := &madeUpCore{now: testTime, times: coreTimes{known: true}}
	return &effort{cores: 1, meter: func() coreTimes { return c.times }}, c
}

// work uses the core, rest leaves it to others or to nobody.
func (c *madeUpCore) work(d time.Duration) {
	c.now, c.times.used = c.now.Add(d), c.times.used+d
}

func (c *madeUpCore) rest(d time.Duration, busy bool) {
	c.now = c.now.Add(d)
	if !busy {
		c.times.idle += d
	}
}

// costOf returns how long a made-up block takes.
func costOf(l compress.Level) time.Duration {
	for _, s := range steps {
		if s.level == l {
			return s.cost * time.Millisecond
		}
	}
	return 0
}

// TestEffortFallsAtOnce: a new table behind a long stretch of known blocks is not
// stored slowly.
func TestEffortFallsAtOnce(t *testing.T) {
	t.Parallel()
	e, core := madeUpEffort()
	e.level(holdfast.CompressDefault, core.now)
	core.rest(time.Hour, false)
	slow := time.Duration(0)
	for range 50 {
		took := costOf(e.level(holdfast.CompressDefault, core.now))
		if took > time.Millisecond {
			slow += took
		}
		core.work(took)
		e.took(took, core.now)
	}
	if e.step != 0 || slow == 0 || slow > 200*time.Millisecond {
		t.Errorf("got step %d after %s with much effort", e.step, slow)
	}
}

func TestCompressionSettings(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	stored := map[holdfast.Compression]int64{}
	for i, c := range append(holdfast.Compressions(), "") {
		s := set{"pgdata/f": file(text(3*blockSize, uint64(i+1))), "pgdata/noise": file(noise(2*blockSize, uint64(i+10)))}
		w := newWriter(t, r)
		w.Compress(c)
		for p, n := range s {
			if err := w.Add(t.Context(), n.file(p)); err != nil {
				t.Fatal(err)
			}
		}
		id, err := w.Commit(t.Context(), testCommit(), intendNothing)
		if err != nil {
			t.Fatal(err)
		}
		stored[c] = w.Stats().AddedBytes
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		compare(t, readSet(t, r, id), s)
		rd := newReader(t, r, id)
		for p, n := range s {
			found, err := rd.find(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			l := rd.index.Lookup(nil, found.content[0], pack.Data)[0]
			if want := c != holdfast.CompressOff && p == "pgdata/f"; (l.Raw != 0) != want {
				t.Errorf("%s: %q of %d bytes is compressed: %v, want %v", c, p, len(n.data), l.Raw != 0, want)
			}
		}
		if err := rd.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if off, fastest, most := stored[holdfast.CompressOff], stored[holdfast.CompressFastest], stored[holdfast.CompressMax]; off < 5*blockSize ||
		fastest > off-2*blockSize || most > fastest {
		t.Errorf("stored %v", stored)
	}
	restic(t, dir, "check", "--read-data")
}

// BenchmarkCompression says what each setting costs and saves: of a full backup, and
// of a delta in which one block of a hundred is new.
func BenchmarkCompression(b *testing.B) {
	data := benchFiles()[0].data
	changed := append([]byte(nil), data...)
	for at := 0; at < len(changed); at += 100 * blockSize {
		copy(changed[at:], text(blockSize/2, uint64(at+1)))
	}
	for _, c := range holdfast.Compressions() {
		for _, kind := range []string{"full", "delta"} {
			b.Run(fmt.Sprintf("%s/%s", c, kind), func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				var cpu time.Duration
				for b.Loop() {
					b.StopTimer()
					r, dir := newDirRepository(b)
					content := data
					if kind == "delta" {
						benchCompress(b, r, c, data)
						content = changed
					}
					begun := cpuTime(b)
					b.StartTimer()
					added := benchCompress(b, r, c, content)
					b.StopTimer()
					cpu += cpuTime(b) - begun
					b.ReportMetric(float64(added)/(1<<20), "MB-stored")
					_ = os.RemoveAll(dir)
					b.StartTimer()
				}
				b.ReportMetric(cpu.Seconds()/float64(b.N), "CPU-s/op")
			})
		}
	}
}

func benchCompress(b *testing.B, r *Repository, c holdfast.Compression, data []byte) int64 {
	b.Helper()
	w, err := r.NewWriter(b.Context(), WriterOptions{Holder: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	w.Compress(c)
	if err := w.Add(b.Context(), file(data).file("f")); err != nil {
		b.Fatal(err)
	}
	if _, err := w.Commit(context.WithoutCancel(b.Context()), testCommit(), intendNothing); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return w.Stats().AddedBytes
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package repository

import (
	"runtime"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
)

// maxLevel is the level of CompressMax: above it a block takes more than twice the
// time, and gets hardly smaller.
const maxLevel compress.Level = 17

// steps are the levels that CompressDefault climbs. Those in between take more time
// and save nothing on the pages of tables: BenchmarkLevels. cost is the time that a
// block takes, in units of the first.
var steps = [...]struct {
	level compress.Level
	cost  time.Duration
}{{compress.Fast, 1}, {6, 5}, {9, 7}, {maxLevel, 85}}

// effortWindow is how often the level is thought over.
const effortWindow = 200 * time.Millisecond

// Compress says how hard to compress the files that follow; without it, as
// CompressDefault. It is called before the first Add. Directories, indexes and
// snapshots are always compressed with the level Fast.
func (w *Writer) Compress(c holdfast.Compression) { w.packer.compression = c }

// effort is the level that the workers of a writer compress with. By default it rises
// while cores idle, because the workers wait for reads, for uploads or for files, and
// falls when they do not. Several goroutines use it at once.
type effort struct {
	cores  int
	meter  func() coreTimes
	mu     sync.Mutex    // guards the fields below
	step   int           // in steps
	since  time.Time     // begin of the window
	before coreTimes     // at that time
	spent  time.Duration // on compressing, in the window
}

// coreTimes are times of processors, added up, since any fixed point.
type coreTimes struct {
	used time.Duration // by this process
	idle time.Duration // by nobody on this machine; only with known
	// known is false where the machine does not tell how long it idles.
	known bool
}

func newEffort() *effort { return &effort{cores: runtime.GOMAXPROCS(0), meter: readCoreTimes} }

// level returns the level for the next block.
func (e *effort) level(c holdfast.Compression, now time.Time) compress.Level {
	switch c {
	case holdfast.CompressFastest:
		return compress.Fast
	case holdfast.CompressMax:
		return maxLevel
	case holdfast.CompressDefault, holdfast.CompressOff:
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch wall := now.Sub(e.since); {
	case e.since.IsZero():
		e.begin(now)
	case wall >= effortWindow:
		e.settle(wall)
		e.begin(now)
	}
	return steps[e.step].level
}

func (e *effort) begin(now time.Time) { e.since, e.spent, e.before = now, 0, e.meter() }

// settle ends a window. Half of what the cores have idled may go into compressing
// harder; and when they have not idled, less is.
func (e *effort) settle(wall time.Duration) {
	idle := e.idle(wall)
	if e.step > 0 && idle < wall/10 {
		e.step--
		return
	}
	// What no block was compressed in are windows, too.
	for range wall / effortWindow {
		next := e.step + 1
		if next == len(steps) || idle <= 2*e.more(next) {
			return
		}
		e.spent += e.more(next)
		e.step = next
	}
}

// more returns what the window's blocks would have taken longer with another step.
func (e *effort) more(step int) time.Duration {
	return e.spent * (steps[step].cost - steps[e.step].cost) / steps[e.step].cost
}

// idle returns how long the cores have idled that this process may use.
func (e *effort) idle(wall time.Duration) time.Duration {
	now := e.meter()
	idle := wall*time.Duration(e.cores) - (now.used - e.before.used)
	if now.known && e.before.known {
		idle = min(idle, now.idle-e.before.idle)
	}
	return max(idle, 0)
}

// took counts the time that a block took. When a fifth of a window's time of all cores is
// spent on more than the lowest level, the window ends, and the level is what the rest
// would have fitted with: new content behind a long stretch of known blocks.
func (e *effort) took(d time.Duration, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	budget := effortWindow * time.Duration(e.cores) / 5
	if e.spent += d; e.spent <= budget || e.step == 0 {
		return
	}
	// At this rate a whole window would take so much.
	rate := e.spent * effortWindow / max(min(now.Sub(e.since), effortWindow), e.spent/time.Duration(e.cores))
	for e.step > 0 && rate > budget {
		rate = rate * steps[e.step-1].cost / steps[e.step].cost
		e.step--
	}
	e.begin(now)
}

package repository

import (
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

// What compressing may take of a worker's time before the level falls, and how often
// that is looked at.
const (
	effortWindow = 200 * time.Millisecond
	effortBudget = effortWindow / 5
)

// Compress says how hard to compress the files that follow; without it, as
// CompressDefault. It is called before the first Add. Directories, indexes and
// snapshots are always compressed with the level Fast.
func (w *Writer) Compress(c holdfast.Compression) { w.packer.compression = c }

// effort is the level that one worker compresses with. By default it rises while
// the worker has time: it waits for reads, for uploads or for files, or most of what
// it reads is known. It falls when compressing keeps the worker from reading.
type effort struct {
	step  int           // in steps
	since time.Time     // begin of the window
	spent time.Duration // in the window
}

// level returns the level for the next block.
func (e *effort) level(c holdfast.Compression, now time.Time) compress.Level {
	switch c {
	case holdfast.CompressFastest:
		return compress.Fast
	case holdfast.CompressMax:
		return maxLevel
	case holdfast.CompressDefault, holdfast.CompressOff:
	}
	if e.since.IsZero() {
		e.since = now
	}
	// What no block was compressed in are windows, too.
	for now.Sub(e.since) >= effortWindow {
		e.climb()
		e.since = e.since.Add(effortWindow)
		if e.step == len(steps)-1 {
			e.since = now
		}
	}
	return steps[e.step].level
}

// climb ends a window: the next step must fit into the budget, too.
func (e *effort) climb() {
	if next := e.step + 1; next < len(steps) && e.spent*steps[next].cost/steps[e.step].cost < effortBudget {
		e.step = next
	}
	e.spent = 0
}

// took counts the time that a block took. When the budget is spent the window ends,
// and the level is what the rest would have fitted with.
func (e *effort) took(d time.Duration, now time.Time) {
	if e.spent += d; e.spent <= effortBudget {
		return
	}
	// At this rate a whole window would take so much.
	rate := e.spent * effortWindow / max(min(now.Sub(e.since), effortWindow), e.spent)
	for e.step > 0 && rate > effortBudget {
		rate = rate * steps[e.step-1].cost / steps[e.step].cost
		e.step--
	}
	e.since, e.spent = now, 0
}

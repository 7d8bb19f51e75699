package pgphysical

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// rereadPause is how long a page that looks bad is left alone before it is read
// again: the server was most likely writing it.
const rereadPause = 100 * time.Millisecond

// Limits of what is remembered of bad pages.
const (
	maxNamed    = 100  // bad pages that the warnings name
	maxSuspects = 1000 // pages that a late LSN excuses for now
)

// pageID names a page.
type pageID struct {
	path  string // of the segment file, below the data directory
	rel   pg.RelationFile
	block uint32 // in the whole fork
	lsn   pg.LSN
}

// inspector verifies pages while they are copied and keeps what it finds.
type inspector struct {
	on        bool // the cluster has page checksums
	blockSize int64
	perFile   uint32 // blocks in a segment file
	start     pg.LSN
	pause     time.Duration
	scratch   sync.Pool // of *[]byte of one page

	bytes atomic.Int64
	files atomic.Int64

	mu       sync.Mutex // guards the fields below
	bad      []pageID
	badCount int64
	suspects []pageID
}

func newInspector(c pg.Control, start pg.LSN) *inspector {
	size := int(c.BlockSize)
	return &inspector{
		on: c.DataChecksums(), blockSize: int64(size), perFile: c.SegmentBlocks, start: start, pause: rereadPause,
		scratch: sync.Pool{New: func() any { b := make([]byte, size); return &b }},
	}
}

// copied follows one file through the sink: its checksum is put together from its
// blocks, and the pages of a relation are verified.
type copied struct {
	in      *inspector
	cluster string
	size    int64
	rel     pg.RelationFile
	paged   bool
	crc     pg.FileCRC32C
	content engine.Content // set by open, before the first block
	parts   []uint32       // of the checksum, by offset in units of blockUnit; made by open
	report  engine.Report
}

// blockUnit divides the offset of every block that a sink shows.
const blockUnit = 8192

func (in *inspector) follow(e entry, report engine.Report) *copied {
	c := &copied{in: in, cluster: e.cluster, size: e.node.Size, report: report}
	if in.on {
		c.rel, c.paged = pg.ParseRelationPath(e.cluster)
	}
	return c
}

// open keeps the content for a second look at a page.
func (c *copied) open(content engine.Content, err error) (engine.Content, error) {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, engine.ErrVanished
	case err != nil:
		return nil, readError(err, c.cluster)
	}
	c.content = content
	c.parts = make([]uint32, (c.size+blockUnit-1)/blockUnit)
	return content, nil
}

// inspect verifies the pages of a block, takes it into the file's checksum and
// counts it.
func (c *copied) inspect(offset int64, block []byte) error {
	if c.paged {
		c.pages(offset, block)
	}
	c.parts[offset/blockUnit] = c.crc.Add(offset, block)
	c.report.Done(0, int64(len(block)))
	return nil
}

// stored returns the checksum of the bytes that were stored. Of a file that was
// truncated while it was read, blocks beyond its new end may have been seen: they
// are no part of the set.
func (c *copied) stored(size int64) uint32 {
	if size < c.size {
		for _, part := range c.parts[(size+blockUnit-1)/blockUnit:] {
			c.crc.Remove(part)
		}
		if c.paged {
			c.in.forget(c.cluster, c.rel.Segment*c.in.perFile+uint32(size/c.in.blockSize))
		}
	}
	c.parts = nil
	return c.crc.Sum(size)
}

// pages verifies the pages that begin in the block. Blocks begin at multiples of
// 8192: a larger page may end in the next one.
func (c *copied) pages(offset int64, block []byte) {
	size := c.in.blockSize
	for p := (offset + size - 1) / size * size; p < offset+int64(len(block)); p += size {
		number := c.rel.Segment*c.in.perFile + uint32(p/size)
		if rest := block[p-offset:]; int64(len(rest)) >= size {
			if page := rest[:size:size]; !pg.PageIsGood(page, number) {
				c.again(p, number, page)
			}
		} else if p+size <= c.size {
			c.straddling(p, number)
		} // else: a part of a page at the end, of a file that is being extended
	}
}

// straddling verifies a page that lies in two blocks by reading it by itself.
func (c *copied) straddling(p int64, number uint32) {
	scratch, _ := c.in.scratch.Get().(*[]byte)
	defer c.in.scratch.Put(scratch)
	page := *scratch
	if n, _ := c.content.ReadAt(page, p); n == len(page) && !pg.PageIsGood(page, number) {
		c.again(p, number, page)
	}
}

// again looks at a page a second time that seems to be bad. One whose LSN is at or
// above the start is replayed from WAL whatever it holds. The second reading takes
// the place of the first.
func (c *copied) again(p int64, number uint32, page []byte) {
	if c.excused(page, number) {
		return
	}
	if c.in.pause > 0 && c.in.fewBad() {
		time.Sleep(c.in.pause)
	}
	scratch, _ := c.in.scratch.Get().(*[]byte)
	defer c.in.scratch.Put(scratch)
	second := *scratch
	n, err := c.content.ReadAt(second, p)
	if n < len(second) {
		if errors.Is(err, io.EOF) {
			return // truncated meanwhile: WAL says so, too
		}
	} else {
		copy(page, second)
		if pg.PageIsGood(page, number) || c.excused(page, number) {
			return
		}
	}
	c.in.addBad(pageID{path: c.cluster, rel: c.rel, block: number, lsn: pg.PageLSN(page)})
}

// excused reports whether the page's LSN says that WAL since the start will
// replace it. A damaged header can say so, too: the page is remembered, and is
// bad after all when its LSN turns out to lie beyond the stop.
func (c *copied) excused(page []byte, number uint32) bool {
	lsn := pg.PageLSN(page)
	if lsn < c.in.start || pg.PageIsNew(page) {
		return false
	}
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if len(c.in.suspects) < maxSuspects {
		c.in.suspects = append(c.in.suspects, pageID{path: c.cluster, rel: c.rel, block: number, lsn: lsn})
	}
	return true
}

func (in *inspector) fewBad() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.badCount < maxNamed
}

func (in *inspector) addBad(p pageID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.badCount++
	if len(in.bad) < maxNamed {
		in.bad = append(in.bad, p)
	}
}

// forget drops what was found in the file from the block on.
func (in *inspector) forget(path string, from uint32) {
	gone := func(p pageID) bool { return p.path == path && p.block >= from }
	in.mu.Lock()
	defer in.mu.Unlock()
	named := len(in.bad)
	in.bad = slices.DeleteFunc(in.bad, gone)
	in.badCount -= int64(named - len(in.bad))
	in.suspects = slices.DeleteFunc(in.suspects, gone)
}

// judge decides about the suspects, now that the stop is known.
func (in *inspector) judge(stop pg.LSN) {
	in.mu.Lock()
	suspects := in.suspects
	in.suspects = nil
	in.mu.Unlock()
	for _, p := range suspects {
		if p.lsn > stop {
			in.addBad(p)
		}
	}
}

// text names a bad page; relation is its name when it is known, else empty.
func (p pageID) text(database, relation string) string {
	if relation != "" {
		relation = fmt.Sprintf("relation %s, ", relation)
	}
	if database != "" {
		relation = fmt.Sprintf("database %s, %s", database, relation)
	}
	return fmt.Sprintf("page checksum does not match: %sfile %s, fork %s, block %d", relation, p.path, p.rel.Fork, p.block)
}

package session

/*
#include <stdlib.h>

void holdfast_feed_bind(void *info);
void holdfast_feed_init(void *info);
void holdfast_feed_read(void *info, void *chunk);
typedef void (*holdfast_feed_t)(void *);
typedef void (*holdfast_feed_read_t)(void *, void *);
// They stand below, in Go.
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// feedFunction is a table function of our own: its rows are what comes through the
// pipe of a feed, in the binary form of PostgreSQL's COPY. So nothing is made text to
// be read again, and each thread of the engine reads rows of its own.
const (
	feedFunction = "holdfast_feed"
	feedOperator = "HOLDFAST_FEED" // in the engine's plans
)

// manyRows is what the engine's planner is told of a feed: it is streamed since it is
// large, and no other relation is to wait for it in memory.
const manyRows = 100_000_000

// feed is a pipe that a statement reads.
type feed struct {
	relation string
	columns  []duck.Column
	decoders []decoder
	threads  int   // that may read at once; one keeps the order of rows
	longest  int64 // bytes of a row

	mu     sync.Mutex // held by the thread that takes rows; guards the fields below
	file   *os.File
	scans  [][]int // the columns that each reader in the engine's plan needs, by its number
	reader int64   // the number of the one that reads; -1: none has begun
	rest   []byte  // was read, and is of the next rows
	within bool    // the header of a COPY was read, and its trailer was not
	ended  bool    // nothing comes any more
	fault  error
}

// feeds are those that are open.
var feeds tokens[feed]

// open makes a feed known to the engine's callbacks; done takes it away, closes the
// file, and returns what was wrong with the rows.
func (f *feed) open() (token int64, done func() error) {
	token = feeds.add(f)
	return token, func() error {
		feeds.remove(token)
		_ = f.file.Close() // and so whoever still reads comes to an end
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.fault
	}
}

// newFeed is the feed of a relation's pipe, which it takes.
func newFeed(rel *relation, threads int, longest int64) (*feed, error) {
	f := &feed{relation: rel.name, columns: rel.columns, threads: threads, longest: longest, reader: -1}
	for _, c := range rel.columns {
		d, err := decoderOf(c.Type)
		if err != nil {
			return nil, err
		}
		f.decoders = append(f.decoders, d)
	}
	var err error
	f.file, err = interruptible(rel.files[0])
	rel.files[0] = nil
	return f, err
}

// interruptible returns a pipe whose Read ends when it is closed, and closes the other.
func interruptible(pipe *os.File) (*os.File, error) {
	fd, err := syscall.Dup(int(pipe.Fd()))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take a pipe: %w", err), pipe.Close())
	}
	syscall.CloseOnExec(fd)
	err = errors.Join(syscall.SetNonblock(fd, true), pipe.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take a pipe: %w", err), syscall.Close(fd))
	}
	return os.NewFile(uintptr(fd), "feed"), nil
}

// scan is the SELECT that reads a feed. Columns get their names behind the function,
// whose own the engine would fold and compare in its way.
func (f *feed) scan(token int64) string {
	selected := make([]string, len(f.columns))
	for i, c := range f.columns {
		selected[i] = feedColumn(i) + " AS " + identifier(c.Name)
	}
	return fmt.Sprintf("SELECT %s FROM %s(%d::BIGINT)", strings.Join(selected, ", "), feedFunction, token)
}

func feedColumn(i int) string { return fmt.Sprintf("c%d", i) }

// feedTable makes the function known to the engine.
func feedTable(c mapping.Connection) mapping.State {
	f := mapping.CreateTableFunction()
	defer mapping.DestroyTableFunction(&f)
	number := mapping.CreateLogicalType(mapping.TypeBigInt)
	defer mapping.DestroyLogicalType(&number)
	mapping.TableFunctionSetName(f, feedFunction)
	mapping.TableFunctionAddParameter(f, number)
	mapping.TableFunctionSupportsProjectionPushdown(f, true)
	mapping.TableFunctionSetBind(f, unsafe.Pointer(C.holdfast_feed_t(C.holdfast_feed_bind)))
	mapping.TableFunctionSetInit(f, unsafe.Pointer(C.holdfast_feed_t(C.holdfast_feed_init)))
	mapping.TableFunctionSetFunction(f, unsafe.Pointer(C.holdfast_feed_read_t(C.holdfast_feed_read)))
	return mapping.RegisterTableFunction(c, f)
}

var errNoFeed = errors.New(feedFunction + " is called without a feed")

// feedOf finds the feed of a token.
func feedOf(token int64) (*feed, error) {
	if f := feeds.find(token); f != nil {
		return f, nil
	}
	return nil, errNoFeed
}

// held is a number that the engine keeps for us, and frees.
func held(n int64) unsafe.Pointer {
	kept := (*int64)(C.malloc(8))
	*kept = n
	return unsafe.Pointer(kept)
}

//export holdfast_feed_bind
func holdfast_feed_bind(info unsafe.Pointer) {
	b := mapping.BindInfo{Ptr: info}
	err := guarded(func() error {
		v := mapping.BindGetParameter(b, 0)
		token := mapping.GetInt64(v)
		mapping.DestroyValue(&v)
		f, err := feedOf(token)
		if err != nil {
			return err
		}
		for i, c := range f.columns {
			t := logicalType(duck.TypeOf(c.Type).DuckDB)
			mapping.BindAddResultColumn(b, feedColumn(i), t)
			mapping.DestroyLogicalType(&t)
		}
		mapping.BindSetCardinality(b, manyRows, false)
		mapping.BindSetBindData(b, held(token), C.free)
		return nil
	})
	if err != nil {
		mapping.BindSetError(b, err.Error())
	}
}

//export holdfast_feed_init
func holdfast_feed_init(info unsafe.Pointer) {
	i := mapping.InitInfo{Ptr: info}
	err := guarded(func() error {
		f, err := feedOf(*(*int64)(mapping.InitGetBindData(i)))
		if err != nil {
			return err
		}
		picked := make([]int, mapping.InitGetColumnCount(i))
		for k := range picked {
			picked[k] = int(mapping.InitGetColumnIndex(i, mapping.IdxT(k)))
		}
		mapping.InitSetMaxThreads(i, mapping.IdxT(f.threads))
		mapping.InitSetInitData(i, held(f.scanned(picked)), C.free)
		return nil
	})
	if err != nil {
		mapping.InitSetError(i, err.Error())
	}
}

//export holdfast_feed_read
func holdfast_feed_read(info, chunk unsafe.Pointer) {
	i := mapping.FunctionInfo{Ptr: info}
	err := guarded(func() error {
		f, err := feedOf(*(*int64)(mapping.FunctionGetBindData(i)))
		if err != nil {
			return err
		}
		return f.fill(*(*int64)(mapping.FunctionGetInitData(i)), mapping.DataChunk{Ptr: chunk})
	})
	if err != nil {
		mapping.FunctionSetError(i, err.Error())
	}
}

// scanned returns a number for who is going to read these columns. The engine may ask
// for several, of which one reads.
func (f *feed) scanned(columns []int) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scans = append(f.scans, columns)
	return int64(len(f.scans) - 1)
}

// begin returns the columns of a reader. A feed is read once.
func (f *feed) begin(reader int64) ([]int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reader < 0 {
		f.reader = reader
	}
	if f.reader != reader {
		return nil, f.spoil(holdfast.Errorf(holdfast.CodeInvalid, "the SQL reads the streamed relation %s more often than once", f.relation).WithHint("keep the relation"))
	}
	return f.scans[reader], nil
}

// spoil keeps the first fault. The caller holds the lock.
func (f *feed) spoil(err error) error {
	if f.fault == nil {
		f.fault = err
	}
	return err
}

// batches hold rows on their way. They are not counted by the engine's memory limit,
// and there is one a thread.
var batches = sync.Pool{New: func() any { return new(batch) }}

// fill makes the next rows a chunk of the engine's. No rows are the end.
func (f *feed) fill(reader int64, chunk mapping.DataChunk) error {
	picked, err := f.begin(reader)
	if err != nil {
		return err
	}
	b := batches.Get().(*batch)
	defer func() {
		if cap(b.raw) <= maxKept {
			batches.Put(b)
		}
	}()
	if err := f.take(b); err != nil {
		return err
	}
	for k, column := range picked {
		if column < 0 || column >= len(f.columns) { // the engine asks for no more than the number of rows
			continue
		}
		into := newTarget(mapping.DataChunkGetVector(chunk, mapping.IdxT(k)))
		if err := f.decoders[column](b, column, into); err != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.spoil(holdfast.Wrap(holdfast.CodeInvalid, err, "column %s of %s: a value %s", f.columns[column].Name, f.relation, err))
		}
	}
	mapping.DataChunkSetSize(chunk, mapping.IdxT(b.rows))
	return nil
}

const (
	feedRead  = 256 << 10 // bytes that are asked for at once
	feedBatch = 1 << 20   // bytes of rows in a chunk, but for a row that has more
)

var vectorSize = int(mapping.VectorSize())

// take moves rows into a batch: as many as a chunk holds, or as there are.
func (f *feed) take(b *batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b.reset(len(f.columns), f.rest)
	f.rest = f.rest[:0]
	if f.fault != nil {
		return f.fault
	}
	for !f.ended && b.rows < vectorSize && b.at < feedBatch {
		if !f.within {
			var err error
			if f.within, err = f.header(b); err != nil {
				return f.spoil(err)
			}
			f.ended = !f.within
			continue
		}
		done, err := b.row()
		if err != nil {
			return f.spoil(f.broken(err))
		}
		if done {
			f.within = false
		}
		if b.short == 0 {
			continue
		}
		if b.rows > 0 && b.short > feedRead { // a long row comes alone
			break
		}
		if int64(len(b.raw)-b.at+b.short) > f.longest {
			return f.spoil(holdfast.Errorf(holdfast.CodeInvalid, "a row of %s is longer than %d bytes", f.relation, f.longest).WithHint("%s", hintLongRow))
		}
		switch more, err := f.more(b); {
		case err != nil:
			return f.spoil(err)
		case !more:
			return f.spoil(f.broken(io.ErrUnexpectedEOF))
		}
	}
	f.rest = append(f.rest, b.raw[b.at:]...)
	return nil
}

// more reads what has come, and returns false when nothing does any more.
func (f *feed) more(b *batch) (bool, error) {
	b.raw = slices.Grow(b.raw, feedRead)
	n, err := f.file.Read(b.raw[len(b.raw):cap(b.raw)])
	b.raw = b.raw[:len(b.raw)+n]
	switch {
	case n > 0:
		return true, nil
	case errors.Is(err, io.EOF):
		return false, nil
	case errors.Is(err, os.ErrClosed):
		return false, errCancelled
	}
	return false, fmt.Errorf("read %s: %w", f.relation, err)
}

// broken is what is wrong with the form of rows.
func (f *feed) broken(err error) error {
	return holdfast.Wrap(holdfast.CodeInvalid, err, "the rows of %s are not those of a COPY in binary, or not all of them: %s", f.relation, err)
}

// header reads what the rows of a COPY begin with, and returns false when none follows:
// a feed is any number of them, one after the other, as files make them. Flags that are
// not known here, and mean that rows look otherwise, are an error, and an extension is
// passed over.
func (f *feed) header(b *batch) (bool, error) {
	const fixed = 19 // signature, flags and the length of the extension
	for need := fixed; ; {
		have := b.raw[b.at:]
		if len(have) >= fixed {
			if string(have[:11]) != string(copyBegin[:11]) || have[11] != 0 || have[12] != 0 {
				return false, f.broken(errors.New("another header"))
			}
			extension := binary.BigEndian.Uint32(have[15:])
			if extension > maxExtension {
				return false, f.broken(errors.New("a header too long"))
			}
			need = fixed + int(extension)
		}
		if len(have) >= need {
			b.at += need
			return true, nil
		}
		switch more, err := f.more(b); {
		case err != nil:
			return false, err
		case !more && len(have) == 0:
			return false, nil
		case !more:
			return false, f.broken(io.ErrUnexpectedEOF)
		}
	}
}

// maxExtension bounds what may stand in a header that nobody writes so far, in bytes.
const maxExtension = 1 << 20

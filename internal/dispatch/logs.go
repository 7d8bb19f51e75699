package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/execlog"
)

// How an execution's log lies in its directory, <id modulo 256 in hex>/<id>/:
// the log is cut into segments of segmentBytes, named by the offset at which
// they begin; the first one is kept, and of the others the last keepSegments.
// The file "section" says where the newest fence's part begins.
const (
	segmentBytes = 4 << 20
	keepSegments = 3
	sectionFile  = "section"
	segmentExt   = ".log"

	DefaultLogLife = 30 * 24 * time.Hour
	openLogs       = 256 // positions that are kept in memory
)

// Logs keeps what executions log, in append-only files by execution. It
// implements service.Logs. Its methods may be called from several goroutines.
type Logs struct {
	dir  string
	life time.Duration
	now  func() time.Time

	mu   sync.Mutex // guards the field below, and the users of each state
	open map[holdfast.ExecutionID]*logState
}

// logState is where an execution's log has come to.
type logState struct {
	users int // that have it, or wait for it

	mu      sync.Mutex // guards the fields below, and the files
	loaded  bool
	size    int64 // of the whole log
	section section
}

// section is the part of a log that one fence writes.
type section struct {
	Fence holdfast.Fence `json:"fence"`
	Base  int64          `json:"base"` // where its offset 0 lies in the log
	Lost  int64          `json:"lost"` // bytes of it that never came; its notes count negative
}

// OpenLogs keeps logs below dir, which is made when it is missing, for the given
// time; 0: DefaultLogLife.
func OpenLogs(dir string, life time.Duration, now func() time.Time) (*Logs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, holdfast.Wrap(holdfast.CodeUnavailable, err, "the directory for logs %s cannot be made", dir)
	}
	if life == 0 {
		life = DefaultLogLife
	}
	return &Logs{dir: dir, life: life, now: now, open: map[holdfast.ExecutionID]*logState{}}, nil
}

func (l *Logs) path(e holdfast.ExecutionID) string {
	return filepath.Join(l.dir, fmt.Sprintf("%02x", int64(e)%256), strconv.FormatInt(int64(e), 10))
}

// lock returns the state of an execution's log, which nobody else has until it is
// unlocked.
func (l *Logs) lock(e holdfast.ExecutionID) *logState {
	l.mu.Lock()
	st := l.open[e]
	if st == nil {
		l.forget()
		st = &logState{}
		l.open[e] = st
	}
	st.users++
	l.mu.Unlock()
	st.mu.Lock()
	return st
}

func (l *Logs) unlock(st *logState) {
	st.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	st.users--
}

// forget makes room for another state. One that somebody has, or waits for, stays:
// beside another of the same log it would write over what that has written.
func (l *Logs) forget() {
	if len(l.open) < openLogs {
		return
	}
	for e, st := range l.open { // any: it is read again from its files
		if st.users == 0 {
			delete(l.open, e)
			return
		}
	}
}

// Append adds what the fence logged at the offset, and returns the offset from
// which it goes on. Bytes that are there already are left out. A gap is refused:
// the returned offset is where the sender must go on; when it cannot, because it
// has let go of those bytes, it says so with lost, and a note takes their place.
// The fence's first bytes follow the line that header returns.
func (l *Logs) Append(
	ctx context.Context, e holdfast.ExecutionID, f holdfast.Fence, header func() ([]byte, error), offset int64, data []byte, lost bool,
) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	st := l.lock(e)
	defer l.unlock(st)
	next, err := l.append(ctx, e, st, f, header, offset, data, lost)
	if err != nil {
		st.loaded = false // the files say how far it came
		return 0, logError(err, e)
	}
	return next, nil
}

func (l *Logs) append(
	ctx context.Context, e holdfast.ExecutionID, st *logState, f holdfast.Fence, header func() ([]byte, error), offset int64, data []byte, lost bool,
) (int64, error) {
	if err := l.load(e, st); err != nil {
		return 0, err
	}
	if f < st.section.Fence {
		return 0, holdfast.Errorf(holdfast.CodeConflict, "fence %d has begun to log already", st.section.Fence)
	}
	if f > st.section.Fence {
		if err := l.begin(e, st, f, header); err != nil {
			return 0, err
		}
	}
	next := st.size - st.section.Base + st.section.Lost
	switch {
	case offset > next && !lost:
		return next, nil
	case offset > next:
		note := execlog.Line(ctx, l.now(), execlog.Run{Execution: e, Fence: f}, slog.LevelWarn, "a part of the log is lost", "bytes", offset-next)
		if err := l.write(e, st, note); err != nil {
			return 0, err
		}
		st.section.Lost += offset - next - int64(len(note))
		if err := l.saveSection(e, st.section); err != nil {
			return 0, err
		}
	case offset+int64(len(data)) <= next:
		return next, nil
	default:
		data = data[next-offset:]
	}
	if err := l.write(e, st, data); err != nil {
		return 0, err
	}
	return st.size - st.section.Base + st.section.Lost, nil
}

// begin starts the section of a new fence: its header line, then the note of
// where it begins. A crash in between leaves a second header line.
func (l *Logs) begin(e holdfast.ExecutionID, st *logState, f holdfast.Fence, header func() ([]byte, error)) error {
	line, err := header()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(l.path(e), 0o700); err != nil {
		return err
	}
	if err := l.write(e, st, line); err != nil {
		return err
	}
	st.section = section{Fence: f, Base: st.size}
	return l.saveSection(e, st.section)
}

func (l *Logs) saveSection(e holdfast.ExecutionID, s section) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	name := filepath.Join(l.path(e), sectionFile)
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// write appends to the last segment, begins new ones, and drops those in the
// middle that are too many.
func (l *Logs) write(e holdfast.ExecutionID, st *logState, data []byte) error {
	for len(data) > 0 {
		start := st.size / segmentBytes * segmentBytes
		n := min(int64(len(data)), start+segmentBytes-st.size)
		if err := appendFile(filepath.Join(l.path(e), segmentName(start)), data[:n]); err != nil {
			return err
		}
		began := st.size == start
		st.size += n
		data = data[n:]
		if drop := start - keepSegments*segmentBytes; began && drop > 0 {
			err := os.Remove(filepath.Join(l.path(e), segmentName(drop)))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func appendFile(name string, data []byte) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(data)
	return err
}

func segmentName(start int64) string { return fmt.Sprintf("%016d", start) + segmentExt }

// load finds out from the files how far the log has come.
func (l *Logs) load(e holdfast.ExecutionID, st *logState) error {
	if st.loaded {
		return nil
	}
	size, err := l.size(e)
	if err != nil {
		return err
	}
	st.size, st.section = size, section{}
	b, err := os.ReadFile(filepath.Join(l.path(e), sectionFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(b, &st.section); err != nil {
			return fmt.Errorf("read section of log %d: %w", e, err)
		}
		st.section.Base = min(st.section.Base, size)
	}
	st.loaded = true
	return nil
}

// size returns the size of the whole log, dropped segments included.
func (l *Logs) size(e holdfast.ExecutionID) (int64, error) {
	starts, err := l.segments(e)
	if err != nil || len(starts) == 0 {
		return 0, err
	}
	last := starts[len(starts)-1]
	info, err := os.Stat(filepath.Join(l.path(e), segmentName(last)))
	if err != nil {
		return 0, err
	}
	return last + info.Size(), nil
}

func (l *Logs) segments(e holdfast.ExecutionID) ([]int64, error) {
	entries, err := os.ReadDir(l.path(e))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var starts []int64
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), segmentExt)
		if !ok {
			continue
		}
		if n, err := strconv.ParseInt(name, 10, 64); err == nil {
			starts = append(starts, n)
		}
	}
	slices.Sort(starts)
	return starts, nil
}

// Read returns up to limit bytes from the offset, and the log's size so far. A
// part that was rotated away reads as a note, padded with empty lines to the
// size of what stood there: offsets never change their meaning.
func (l *Logs) Read(ctx context.Context, e holdfast.ExecutionID, offset int64, limit int) (data []byte, size int64, err error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if offset < 0 || limit < 0 {
		return nil, 0, holdfast.Errorf(holdfast.CodeInvalid, "offset %d and limit %d must not be negative", offset, limit)
	}
	size, err = l.size(e)
	if err != nil {
		return nil, 0, logError(err, e)
	}
	for offset < size && len(data) < limit {
		start := offset / segmentBytes * segmentBytes
		n := min(int64(limit-len(data)), start+segmentBytes-offset, size-offset)
		piece, err := readSegment(filepath.Join(l.path(e), segmentName(start)), offset-start, n)
		if err != nil {
			return nil, 0, logError(err, e)
		}
		if len(piece) == 0 {
			break
		}
		data = append(data, piece...)
		offset += int64(len(piece))
	}
	return data, size, nil
}

func readSegment(name string, offset, n int64) (_ []byte, err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		gone := bytes.Repeat([]byte{'\n'}, int(n))
		if offset == 0 {
			copy(gone, `{"level":"WARN","code":"ROTATED","msg":"this part of the log has been rotated away"}`)
		}
		return gone, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, n)
	got, err := f.ReadAt(buf, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return buf[:got], err
}

// Expire deletes the logs that nobody has written to for their life, but those that
// are to be kept.
func (l *Logs) Expire(ctx context.Context, keep func(context.Context, holdfast.ExecutionID) (bool, error)) error {
	shards, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	before := l.now().Add(-l.life)
	for _, shard := range shards {
		logs, err := os.ReadDir(filepath.Join(l.dir, shard.Name()))
		if err != nil {
			return err
		}
		for _, entry := range logs {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := l.expireOne(ctx, shard.Name(), entry.Name(), before, keep); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Logs) expireOne(
	ctx context.Context, shard, name string, before time.Time, keep func(context.Context, holdfast.ExecutionID) (bool, error),
) error {
	id, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		return nil // not ours
	}
	e := holdfast.ExecutionID(id)
	starts, err := l.segments(e)
	if err != nil {
		return err
	}
	dir := filepath.Join(l.dir, shard, name)
	if len(starts) > 0 {
		info, err := os.Stat(filepath.Join(dir, segmentName(starts[len(starts)-1])))
		if err != nil || info.ModTime().After(before) {
			return err
		}
		if kept, err := keep(ctx, e); kept || err != nil {
			return err
		}
	}
	st := l.lock(e)
	defer l.unlock(st)
	st.loaded = false
	return os.RemoveAll(dir)
}

func logError(err error, e holdfast.ExecutionID) error {
	if _, known := errors.AsType[*holdfast.Error](err); known {
		return err
	}
	return holdfast.Wrap(holdfast.CodeUnavailable, err, "the log of execution %d cannot be reached", e)
}

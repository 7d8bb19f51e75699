package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
)

// Disk knows what lies below a bucket's directory, and what of it a power cut would
// take: a file's content that was not synced, and, each on its own, the changes of
// names in a directory that was not. It is stricter than most file systems, which
// keep the order of changes. A bucket is put on it with fs.Around(disk.Around).
type Disk struct {
	// Lies says which syncs do nothing, although they say that they do; nil: none.
	Lies func(fs.Step) bool

	mu   sync.Mutex // held while a step is made; guards the fields below
	root *inode
}

// inode is a file or a directory.
type inode struct {
	dir    bool
	names  map[string]*slot // of a directory
	data   []byte           // of a file
	synced bool             // the data is on the disk
}

// slot is one name in a directory; nil is no file of that name.
type slot struct {
	kept  *inode   // on the disk
	later []*inode // what it became afterwards, one after the other
}

func (s *slot) now() *inode {
	if len(s.later) > 0 {
		return s.later[len(s.later)-1]
	}
	return s.kept
}

func newDir() *inode { return &inode{dir: true, names: map[string]*slot{}} }

// NewDisk returns the disk below an empty directory.
func NewDisk() *Disk { return &Disk{root: newDir()} }

// Around makes the step, and remembers it when it went well. Syncs are remembered
// only: they take long, and this machine's power is not cut.
func (d *Disk) Around(s fs.Step, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.Op != fs.SyncDir && s.Op != fs.SyncFile {
		if err := do(); err != nil {
			return err
		}
	}
	return d.record(s)
}

// Record remembers a step that was made elsewhere.
func (d *Disk) Record(s fs.Step) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.record(s)
}

func (d *Disk) record(s fs.Step) error {
	if path.IsAbs(s.Path) { // above the bucket's directory
		return nil
	}
	if s.Op == fs.SyncDir || s.Op == fs.SyncFile {
		if d.Lies != nil && d.Lies(s) {
			return nil
		}
		return d.sync(s)
	}
	dir := d.find(path.Dir(s.Path))
	if dir == nil || !dir.dir {
		return fmt.Errorf("%s %s: its directory is not known", s.Op, s.Path)
	}
	base := path.Base(s.Path)
	switch s.Op {
	case fs.Mkdir:
		dir.set(base, newDir())
	case fs.Write:
		dir.set(base, &inode{data: slices.Clone(s.Data)})
	case fs.Name:
		dir.set(path.Base(s.To), d.find(s.Path))
		dir.set(base, nil)
	case fs.Remove:
		dir.set(base, nil)
	case fs.SyncDir, fs.SyncFile:
	}
	return nil
}

func (d *Disk) sync(s fs.Step) error {
	n := d.find(s.Path)
	if n == nil || n.dir != (s.Op == fs.SyncDir) {
		return fmt.Errorf("%s %s: it is not known", s.Op, s.Path)
	}
	if !n.dir {
		n.synced = true
		return nil
	}
	for name, sl := range n.names {
		sl.kept, sl.later = sl.now(), nil
		if sl.kept == nil {
			delete(n.names, name)
		}
	}
	return nil
}

func (n *inode) set(name string, to *inode) {
	sl := n.names[name]
	if sl == nil {
		sl = &slot{}
		n.names[name] = sl
	}
	sl.later = append(sl.later, to)
}

func (d *Disk) find(name string) *inode {
	n := d.root
	if name == "." {
		return n
	}
	for part := range strings.SplitSeq(name, "/") {
		sl := n.names[part]
		if sl == nil || sl.now() == nil {
			return nil
		}
		n = sl.now()
	}
	return n
}

// Cut writes to dir, which is empty, what is left after a power cut now. What was not
// synced is left or not as the random numbers say; nil: all of it is lost.
func (d *Disk) Cut(dir string, random *rand.Rand) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.root.cut(dir, random)
}

func (n *inode) cut(dir string, random *rand.Rand) error {
	names := make([]string, 0, len(n.names))
	for name := range n.names {
		names = append(names, name)
	}
	slices.Sort(names) // so that the same numbers leave the same
	var errs []error
	for _, name := range names {
		sl := n.names[name]
		left := sl.kept
		if random != nil && len(sl.later) > 0 {
			if i := random.IntN(len(sl.later) + 1); i > 0 {
				left = sl.later[i-1]
			}
		}
		to := filepath.Join(dir, name)
		switch {
		case left == nil:
		case left.dir:
			errs = append(errs, os.Mkdir(to, 0o700), left.cut(to, random))
		default:
			errs = append(errs, os.WriteFile(to, left.remains(random), 0o600))
		}
	}
	return errors.Join(errs...)
}

// remains is what a file holds after a power cut.
func (n *inode) remains(random *rand.Rand) []byte {
	switch {
	case n.synced:
		return n.data
	case random == nil:
		return nil
	}
	switch random.IntN(4) {
	case 0:
		return n.data
	case 1:
		return n.data[:len(n.data)/2]
	case 2:
		return make([]byte, len(n.data)) // the size was written, and the blocks were not
	}
	return nil
}

// Within is a [Disk.Lies] for the syncs that a function of package fs asks for, such
// as (*Bucket).Delete: as if they were missing there.
func Within(function string) func(fs.Step) bool {
	return func(fs.Step) bool {
		var callers [16]uintptr
		frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers[:])])
		for {
			f, more := frames.Next()
			name := f.Function[strings.LastIndexByte(f.Function, '/')+1:]
			if rest, ok := strings.CutPrefix(name, "fs."+function); ok && (rest == "" || rest[0] == '.') {
				return true
			}
			if !more {
				return false
			}
		}
	}
}

// Restart makes the disk hold what a power cut has left in dir, all of it synced.
func (d *Disk) Restart(dir string) error {
	root, err := readInode(dir)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.root = root
	return nil
}

func readInode(name string) (*inode, error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	n := newDir()
	for _, e := range entries {
		below := &inode{synced: true}
		if e.IsDir() {
			below, err = readInode(filepath.Join(name, e.Name()))
		} else {
			below.data, err = os.ReadFile(filepath.Join(name, e.Name()))
		}
		if err != nil {
			return nil, err
		}
		n.names[e.Name()] = &slot{kept: below}
	}
	return n, nil
}

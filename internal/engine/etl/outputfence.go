package etl

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// Names in a flow's directory that belong to an execution and a fence: a version
// that is being written, and an empty file that says that the execution may begin
// none with this fence or a lower one, for a frozen worker that goes on.
const (
	tempPrefix   = ".writing-"
	closedPrefix = ".closed-"
)

// closedKept is how long a closed fence is remembered, as in holdfast_etl.
const closedKept = 90 * 24 * time.Hour

// fenced is a name that belongs to an execution and a fence.
type fenced struct {
	name      string
	execution holdfast.ExecutionID
	fence     holdfast.Fence
	entry     fs.DirEntry
}

// fenced lists the names with the prefix.
func (o *output) fenced(prefix string) ([]fenced, error) {
	entries, err := fs.ReadDir(o.root.FS(), ".")
	if err != nil {
		return nil, fileError(err, o.shown)
	}
	var all []fenced
	for _, e := range entries {
		f := fenced{name: e.Name(), entry: e}
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok {
			continue
		}
		if n, err := fmt.Sscanf(rest, "%d-%d", &f.execution, &f.fence); err == nil && n == 2 {
			all = append(all, f)
		}
	}
	return all, nil
}

// closeFence takes from an execution the right to begin a version with the fence or a
// lower one, and then what it was writing: there is nothing left to give a name to.
func (o *output) closeFence(execution holdfast.ExecutionID, fence holdfast.Fence) error {
	mark := fmt.Sprintf("%s%d-%d", closedPrefix, execution, fence)
	file, err := o.root.OpenFile(mark, os.O_CREATE|os.O_WRONLY, 0o640)
	if err == nil {
		err = errors.Join(file.Sync(), file.Close())
	}
	if err != nil {
		return fileError(err, path.Join(o.shown, mark))
	}
	if err := syncDir(o.root, o.shown); err != nil {
		return err
	}
	temps, err := o.fenced(tempPrefix)
	if err != nil {
		return err
	}
	for _, t := range temps {
		if t.execution == execution && t.fence <= fence {
			if err := o.remove(t.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// mayWrite is [engine.ErrStale] when our fence is closed. Whoever closes it writes
// his mark before he looks for what we are writing, and we ask after we have begun:
// one of us sees the other.
func (o *output) mayWrite() error {
	closed, err := o.fenced(closedPrefix)
	if err != nil {
		return err
	}
	for _, c := range closed {
		if c.execution == o.f.e.req.Execution && c.fence >= o.f.e.req.Fence {
			return engine.ErrStale
		}
	}
	return nil
}

// closeOthers closes the earlier fences of our execution, and all of every other
// that is writing: one execution of a job runs at a time, so they are dead or
// outdated. Marks that have served their time go.
func (o *output) closeOthers() error {
	req := o.f.e.req
	temps, err := o.fenced(tempPrefix)
	if err != nil {
		return err
	}
	for _, t := range temps {
		if t.execution != req.Execution {
			if err := o.closeFence(t.execution, math.MaxInt64); err != nil {
				return err
			}
		}
	}
	if req.Fence > 1 {
		if err := o.closeFence(req.Execution, req.Fence-1); err != nil {
			return err
		}
	}
	closed, err := o.fenced(closedPrefix)
	if err != nil {
		return err
	}
	for _, c := range closed {
		info, err := c.entry.Info()
		old := err == nil && time.Since(info.ModTime()) > closedKept
		if old || c.execution == req.Execution && c.fence < req.Fence-1 {
			if err := o.remove(c.name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *output) remove(name string) error {
	if err := o.root.RemoveAll(name); err != nil {
		return fileError(err, path.Join(o.shown, name))
	}
	return nil
}

// closeOutput closes the fence of an execution that has ended without its engine.
func (f *flow) closeOutput() error {
	o, err := f.openOutput(true)
	if err != nil {
		return err
	}
	defer o.close()
	return o.closeFence(f.e.req.Execution, f.e.req.Fence)
}

package etl

import (
	"bufio"
	"bytes"
	"context"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// memoryShare is the part of a machine's memory that one execution's transform process
// may have when nobody has said how much: several run at once, beside other work.
const memoryShare = 4

// memoryUnknown stands for the memory of a machine that does not tell.
const memoryUnknown = 2 << 30

// defaultMemory is what a transform process may have on this machine.
func defaultMemory(root fs.FS) holdfast.Size {
	return holdfast.Size(max(totalMemory(root)/memoryShare, duck.MinMemory))
}

// totalMemory is how much memory the machine has, or how much our control groups may
// use, if that is less. Source: proc(5), and cgroup-v1/memory.rst and cgroup-v2.rst in
// the Linux kernel's Documentation/admin-guide.
func totalMemory(root fs.FS) int64 {
	total := int64(math.MaxInt64)
	for line := range lines(root, "proc/meminfo") { // "MemTotal:  16303428 kB"
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				total = kb << 10
			}
		}
	}
	for line := range lines(root, "proc/self/cgroup") { // "0::/system.slice/a.service", "9:memory:/a"
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		switch dir := path.Clean("/" + f[2]); f[1] {
		case "":
			total = min(total, groupLimit(root, "sys/fs/cgroup", dir, "memory.max"))
		case "memory":
			total = min(total, groupLimit(root, "sys/fs/cgroup/memory", dir, "memory.limit_in_bytes"))
		}
	}
	if total == math.MaxInt64 {
		return memoryUnknown
	}
	return total
}

// groupLimit is the least limit of a control group and those above it, as far as they
// can be seen.
func groupLimit(root fs.FS, mount, dir, name string) int64 {
	limit := int64(math.MaxInt64)
	for ; ; dir = path.Dir(dir) {
		text, err := fs.ReadFile(root, path.Join(mount, dir, name))
		if err == nil { // "max", or a number
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
				limit = min(limit, n)
			}
		}
		if dir == "/" {
			return limit
		}
	}
}

// lines are those of a file; one that cannot be read has none.
func lines(root fs.FS, name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		text, _ := fs.ReadFile(root, name) // see above
		for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
			if !yield(s.Text()) {
				return
			}
		}
	}
}

// memory is what the execution's transform process gets: as much as the definition says,
// and at most what the worker has for it.
func (e *execution) memory(ctx context.Context) int64 {
	wanted, most := holdfast.Size(e.plan.Definition.Resources.Memory), e.p.memory
	if wanted <= most {
		return int64(wanted)
	}
	e.log.InfoContext(ctx, "the engine gets less memory than the definition says", "resources_memory", wanted.String(), "worker_etl_memory", most.String())
	return int64(most)
}

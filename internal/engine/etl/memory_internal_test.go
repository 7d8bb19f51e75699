package etl

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

func TestDefaultMemory(t *testing.T) {
	t.Parallel()
	const meminfo, group = "proc/meminfo", "proc/self/cgroup"
	const sixteen = "MemTotal:       16777216 kB\nMemFree: 1 kB\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  holdfast.Size
	}{
		"a machine":               {map[string]string{meminfo: sixteen}, 4 << 30},
		"nothing is known":        {nil, 512 << 20},
		"a small machine":         {map[string]string{meminfo: "MemTotal: 131072 kB\n"}, 64 << 20},
		"a group without a limit": {map[string]string{meminfo: sixteen, group: "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 4 << 30},
		"a container":             {map[string]string{meminfo: sixteen, group: "0::/\n", "sys/fs/cgroup/memory.max": "4294967296\n"}, 1 << 30},
		"the group above":         {map[string]string{meminfo: sixteen, group: "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "2147483648\n", "sys/fs/cgroup/a/b/memory.max": "8589934592\n"}, 512 << 20},
		"the older groups":        {map[string]string{meminfo: sixteen, group: "9:memory:/a\n8:cpu,cpuacct:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "4294967296\n"}, 1 << 30},
		"the older, no limit":     {map[string]string{meminfo: sixteen, group: "9:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 4 << 30},
	} {
		root := fstest.MapFS{}
		for f, text := range c.files {
			root[f] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := defaultMemory(root); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// A definition cannot take more of a machine than its worker gives.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ wanted, most, want int64 }{
		{512 << 20, 1 << 30, 512 << 20},
		{1 << 40, 256 << 20, 256 << 20},
	} {
		var out bytes.Buffer
		e := &execution{
			p: New(Config{Memory: holdfast.Size(c.most)}), log: slog.New(slog.NewTextHandler(&out, nil)),
			plan: &definition.Plan{Definition: &definition.Definition{Resources: definition.Resources{Memory: definition.Size(c.wanted)}}},
		}
		if got := e.memory(t.Context()); got != c.want {
			t.Errorf("got %d, want %d", got, c.want)
		}
		if told := strings.Contains(out.String(), "resources_memory=1TiB worker_etl_memory=256MiB"); told != (c.want != c.wanted) {
			t.Errorf("got the log %q", out.String())
		}
	}
}

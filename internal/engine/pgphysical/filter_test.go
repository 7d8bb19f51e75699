package pgphysical

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestLeftOut(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]bool{
		"PG_VERSION": false, "postgresql.auto.conf": false, "base/5/1259": false, "global/pg_control": false, "pg_xact/0000": false,
		"pg_wal": false, "pg_wal/000000010000000000000001": true, "pg_wal/archive_status": true, "pg_replslot": false, "pg_replslot/a/state": true,
		"pg_dynshmem/mmap.1": true, "pg_notify/0000": true, "pg_serial/0000": true, "pg_snapshots/1": true, "pg_stat_tmp/global.stat": true,
		"pg_subtrans/0000": true, "pg_stat/pgstat.stat": false, "pg_multixact/members/0000": false,
		"postmaster.pid": true, "postmaster.opts": true, "backup_manifest": true, "backup_label": true, "backup_label.old": true,
		"tablespace_map": true, "tablespace_map.old": true, "current_logfiles": true, "current_logfiles.tmp": true,
		"postgresql.auto.conf.tmp": true, "log/backup_label": false, "log/postmaster.pid": false,
		"base/pgsql_tmp": true, "pg_tblspc/16390/PG_15_202209061/pgsql_tmp": true, "base/pgsql_tmp/pgsql_tmp1.0": true,
		"global/pg_internal.init": true, "base/5/pg_internal.init.123": true,
		"base/5/t3_16384": true, "base/5/t3_16384_fsm.1": true, "base/5/t3_x": false, "pg_tblspc/16390/PG_15_202209061/5/t0_1": true,
	} {
		if got := leftOut(p); got != want {
			t.Errorf("%s: left out %v, want %v", p, got, want)
		}
	}
}

func TestUnlogged(t *testing.T) {
	t.Parallel()
	got := unlogged([]string{"1", "16384", "16384_fsm", "16384_init", "16385", "16386_init", "t3_5_init", "x_init", "PG_VERSION"})
	if want := map[uint32]bool{16384: true, 16386: true}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestConfLine(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][2]string{
		"work_mem = 4MB # comment\n":     {"work_mem", "4MB"},
		"  Port 5433\n":                  {"port", "5433"},
		"a.b='it''s \\'so\\'' # x":       {"a.b", "it's 'so'"},
		"include_dir 'conf.d'\n":         {"include_dir", "conf.d"},
		"# port = 1\n":                   {"", ""},
		"\n":                             {"", ""},
		"data_directory='/srv/a b' #c\n": {"data_directory", "/srv/a b"},
	} {
		if key, value := confLine(line); key != want[0] || value != want[1] {
			t.Errorf("%q: got %q %q, want %q", line, key, value, want)
		}
	}
}

func FuzzConfLine(f *testing.F) {
	f.Add("include 'a''b' # c")
	f.Fuzz(func(_ *testing.T, line string) {
		confLine(line)
		hbaIncludes(line)
		adaptConf(line, "/etc/a", "/etc", true)
	})
}

func TestHBAIncludes(t *testing.T) {
	t.Parallel()
	got := hbaIncludes("# @not\nlocal all,@dbs \"@users\" trust # @no\ninclude more.conf\ninclude_dir 'x'\nhost all all @ md5\n")
	want := []include{{path: "dbs"}, {path: "users"}, {path: "more.conf"}, {path: "'x'", dir: true}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAdaptConf(t *testing.T) {
	t.Parallel()
	got := adaptConf("port = 1\ndata_directory = '/srv'\ninclude '/etc/pg/a.conf'\ninclude 'b.conf'\ninclude_dir '/opt/c'", "/etc/pg", "/etc/pg", true)
	for _, want := range []string{
		"port = 1\n", "# changed by the restore: data_directory", "\ninclude 'a.conf'\n", "\ninclude 'b.conf'\n", "\ninclude_dir 'holdfast_config/opt/c'\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	got = adaptConf("include 'beside.conf'\ninclude '/etc/pg/a.conf'\n", "/opt/c", "/etc/pg", false)
	for _, want := range []string{"\ninclude 'beside.conf'\n", "\ninclude '../../../a.conf'\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("from elsewhere: got %q, want %q in it", got, want)
		}
	}
}

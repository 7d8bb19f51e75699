package pg_test

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/pg"
)

func TestParseLSN(t *testing.T) {
	for _, c := range []struct {
		in   string
		want pg.LSN
		ok   bool
	}{
		{"0/0", 0, true},
		{"0/2000028", 0x2000028, true},
		{"0/02000028", 0x2000028, true},
		{"1/0", 1 << 32, true},
		{"FFFFFFFF/ffffffff", 1<<64 - 1, true},
		{"", 0, false},
		{"0", 0, false},
		{"/", 0, false},
		{"0/", 0, false},
		{"0/123456789", 0, false},
		{"0/+1", 0, false},
		{"0x1/0", 0, false},
		{"0/1/2", 0, false},
		{" 0/1", 0, false},
	} {
		got, err := pg.ParseLSN(c.in)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("ParseLSN(%q): got %v, %v, want %v, ok %v", c.in, got, err, c.want, c.ok)
		}
	}
}

func FuzzLSN(f *testing.F) {
	f.Add("0/0")
	f.Add("16/B374D848")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := pg.ParseLSN(s)
		if err != nil {
			return
		}
		if back, err := pg.ParseLSN(l.String()); err != nil || back != l {
			t.Fatalf("%q: got %v, %v, want %v", s, back, err, l)
		}
	})
}

func TestSegmentName(t *testing.T) {
	for _, c := range []struct {
		tli  pg.Timeline
		lsn  pg.LSN
		size uint64
		want string
	}{
		{1, 0x2000028, 16 << 20, "000000010000000000000002"},
		{1, 0x2000000, 16 << 20, "000000010000000000000002"},
		{1, 0x1ffffff, 16 << 20, "000000010000000000000001"},
		{0x1a, 0x1ffffffff, 16 << 20, "0000001A00000001000000FF"},
		{1, 0x1ffffffff, 1 << 20, "000000010000000100000FFF"},
		{1, 0x1ffffffff, 1 << 30, "000000010000000100000003"},
	} {
		got := pg.SegmentName(c.tli, c.lsn, c.size)
		if got != c.want {
			t.Errorf("segment of %v: got %s, want %s", c.lsn, got, c.want)
		}
		tli, start, err := pg.ParseSegmentName(got, c.size)
		if want := c.lsn / pg.LSN(c.size) * pg.LSN(c.size); err != nil || tli != c.tli || start != want {
			t.Errorf("ParseSegmentName(%s): got %v %v %v, want %v %v", got, tli, start, err, c.tli, want)
		}
	}
	for _, bad := range []string{
		"", "00000001000000000000000", "0000000100000000000000000", "00000001000000000000010z",
		"000000010000000000000100", // beyond the last of 256 segments of 16 MiB
		"000000000000000000000001", "00000001.history", "00000001000000000000000a",
	} {
		if _, _, err := pg.ParseSegmentName(bad, 16<<20); err == nil {
			t.Errorf("ParseSegmentName(%q): no error", bad)
		}
	}
	if _, _, err := pg.ParseSegmentName("000000010000000000000001", 3<<20); err == nil {
		t.Error("segment size of 3 MiB: no error")
	}
	if got := pg.LastSegmentNumber(0x2000000, 16<<20); got != 1 {
		t.Errorf("last segment of a range that ends at a boundary: got %d, want 1", got)
	}
}

func FuzzSegmentName(f *testing.F) {
	f.Add("000000010000000000000001", uint8(4))
	f.Fuzz(func(t *testing.T, name string, shift uint8) {
		size := uint64(pg.MinSegmentSize) << (shift % 11)
		tli, lsn, err := pg.ParseSegmentName(name, size)
		if err != nil {
			return
		}
		if got := pg.SegmentName(tli, lsn, size); got != name {
			t.Fatalf("got %s, want %s", got, name)
		}
	})
}

func TestHistoryName(t *testing.T) {
	if tli, ok := pg.ParseHistoryName(pg.HistoryName(0x1b)); !ok || tli != 0x1b {
		t.Errorf("got %v %v, want 1B", tli, ok)
	}
	for _, bad := range []string{"00000000.history", "0000001b.history", "00000001.histor", "000000010.history"} {
		if _, ok := pg.ParseHistoryName(bad); ok {
			t.Errorf("%q is taken for a history file", bad)
		}
	}
}

func TestParseRelationPath(t *testing.T) {
	for _, c := range []struct {
		path string
		want pg.RelationFile
		ok   bool
	}{
		{"base/5/16384", pg.RelationFile{Tablespace: 1663, Database: 5, Node: 16384, Fork: pg.ForkMain}, true},
		{"base/5/16384.12", pg.RelationFile{Tablespace: 1663, Database: 5, Node: 16384, Fork: pg.ForkMain, Segment: 12}, true},
		{"base/5/16384_vm.1", pg.RelationFile{Tablespace: 1663, Database: 5, Node: 16384, Fork: pg.ForkVisibilityMap, Segment: 1}, true},
		{"base/5/16384_init", pg.RelationFile{Tablespace: 1663, Database: 5, Node: 16384, Fork: pg.ForkInit}, true},
		{"base/5/t3_16384_fsm", pg.RelationFile{Tablespace: 1663, Database: 5, Node: 16384, Fork: pg.ForkFreeSpace, Temporary: true, Backend: 3}, true},
		{"base/5/t0_16384", pg.RelationFile{Tablespace: 1663, Database: 5, Node: 16384, Fork: pg.ForkMain, Temporary: true}, true},
		{"global/1262", pg.RelationFile{Tablespace: 1664, Node: 1262, Fork: pg.ForkMain}, true},
		{"pg_tblspc/16390/PG_15_202209061/5/16391", pg.RelationFile{Tablespace: 16390, Database: 5, Node: 16391, Fork: pg.ForkMain}, true},
		{"global/pg_control", pg.RelationFile{}, false},
		{"base/5/PG_VERSION", pg.RelationFile{}, false},
		{"base/5/pg_filenode.map", pg.RelationFile{}, false},
		{"base/5/16384_main", pg.RelationFile{}, false},
		{"base/5/16384_x", pg.RelationFile{}, false},
		{"base/5/16384.0", pg.RelationFile{}, false},
		{"base/5/16384.01", pg.RelationFile{}, false},
		{"base/5/16384.bak", pg.RelationFile{}, false},
		{"base/5/016384", pg.RelationFile{}, false},
		{"base/5/99999999999", pg.RelationFile{}, false},
		{"base/x/16384", pg.RelationFile{}, false},
		{"pg_xact/0000", pg.RelationFile{}, false},
		{"base/pgsql_tmp/5", pg.RelationFile{}, false},
	} {
		got, ok := pg.ParseRelationPath(c.path)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: got %+v %v, want %+v %v", c.path, got, ok, c.want, c.ok)
		}
	}
}

func FuzzRelationName(f *testing.F) {
	for _, s := range []string{"16384", "16384_vm.1", "t3_16384", "16384_init", "pg_filenode.map"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, ok := pg.ParseRelationName(s); ok && r.Name() != s {
			t.Fatalf("got %s, want %s", r.Name(), s)
		}
	})
}

const label = `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
CHECKPOINT LOCATION: 0/2000060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-11-21 11:41:12 UTC
LABEL: nightly: of berlin
START TIMELINE: 1
`

func TestParseBackupLabel(t *testing.T) {
	got, err := pg.ParseBackupLabel(label)
	want := pg.BackupLabel{
		Start: 0x2000028, StartFile: "000000010000000000000002", Checkpoint: 0x2000060, Method: "streamed",
		From: "primary", StartTime: "2026-11-21 11:41:12 UTC", Label: "nightly: of berlin", Timeline: 1,
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got.String() != label {
		t.Errorf("written again: got %q, want %q", got.String(), label)
	}
	for _, missing := range []string{"START WAL", "CHECKPOINT", "START TIMELINE"} {
		var b strings.Builder
		for line := range strings.Lines(label) {
			if !strings.HasPrefix(line, missing) {
				b.WriteString(line)
			}
		}
		if _, err := pg.ParseBackupLabel(b.String()); err == nil {
			t.Errorf("label without %s: no error", missing)
		}
	}
}

func FuzzBackupLabel(f *testing.F) {
	f.Add(label)
	f.Fuzz(func(t *testing.T, s string) {
		l, err := pg.ParseBackupLabel(s)
		if err != nil {
			return
		}
		if back, err := pg.ParseBackupLabel(l.String()); err != nil || back != l {
			t.Fatalf("got %+v, %v, want %+v", back, err, l)
		}
	})
}

func TestTablespaceMap(t *testing.T) {
	links := []pg.TablespaceLink{
		{16390, "/srv/fast"},
		{16391, "/srv/odd \\ name\nwith\rlines"},
		{16392, "pg_tblspc/16392"},
	}
	text := pg.FormatTablespaceMap(links)
	got, err := pg.ParseTablespaceMap(text)
	if err != nil || !slices.Equal(got, links) {
		t.Errorf("got %+v, %v, want %+v", got, err, links)
	}
	if !links[2].InPlace() || links[0].InPlace() {
		t.Error("a relative path means in place, an absolute one does not")
	}
	for _, bad := range []string{"x /srv\n", "16390\n", "16390 /srv", "16390 /srv\\", "16390 \n", "0 /srv\n"} {
		if _, err := pg.ParseTablespaceMap(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzTablespaceMap(f *testing.F) {
	f.Add("16390 /srv/fast\n16391 /srv/od\\\\d\n")
	f.Fuzz(func(t *testing.T, s string) {
		links, err := pg.ParseTablespaceMap(s)
		if err != nil {
			return
		}
		back, err := pg.ParseTablespaceMap(pg.FormatTablespaceMap(links))
		if err != nil || !slices.Equal(back, links) {
			t.Fatalf("got %+v, %v, want %+v", back, err, links)
		}
	})
}

func TestParsePostmasterPID(t *testing.T) {
	p, err := pg.ParsePostmasterPID("4711\n/srv/data\n1763725272\n5433\n/run/postgresql\nlocalhost\n  1 2\nready   \n")
	if err != nil || p.PID != 4711 || p.DataDir != "/srv/data" || p.Started.Unix() != 1763725272 || p.Port != 5433 || p.SocketDir != "/run/postgresql" {
		t.Errorf("got %+v, %v", p, err)
	}
	if p, err := pg.ParsePostmasterPID("-12\n"); err != nil || p.PID != 12 {
		t.Errorf("single-user server: got %+v, %v", p, err)
	}
	if _, err := pg.ParsePostmasterPID(""); err == nil {
		t.Error("empty file: no error")
	}
}

func TestFileCRC32CInAnyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		data := make([]byte, r.IntN(5*8192))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		var offsets []int
		for o := 0; o < len(data); o += 8192 {
			offsets = append(offsets, o)
		}
		r.Shuffle(len(offsets), func(i, j int) { offsets[i], offsets[j] = offsets[j], offsets[i] })
		var f pg.FileCRC32C
		for _, o := range offsets {
			f.Add(int64(o), data[o:min(o+8192, len(data))])
		}
		want := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
		if got := f.Sum(int64(len(data))); got != want {
			t.Fatalf("%d bytes: got %08x, want %08x", len(data), got, want)
		}
		cut := r.IntN(len(data) + 1)
		if got := pg.CombineCRC32C(pg.CRC32C(data[:cut]), pg.CRC32C(data[cut:]), int64(len(data)-cut)); got != want {
			t.Fatalf("combined at %d of %d: got %08x, want %08x", cut, len(data), got, want)
		}
	}
}

func TestCRC32COfHugeFile(t *testing.T) {
	// Zeros extend a checksum by the same arithmetic: 2^40 bytes in doublings.
	sum, size := pg.CRC32C(make([]byte, 1<<20)), int64(1<<20)
	var f pg.FileCRC32C
	block := []byte("the last block of a file beyond the order of x")
	for size < 1<<40 {
		sum, size = pg.CombineCRC32C(sum, sum, size), 2*size
	}
	f.Add(size, block)
	var empty pg.FileCRC32C
	if got := empty.Sum(0); got != 0 {
		t.Errorf("empty file: got %08x, want 0", got)
	}
	// What Add counted beyond the first terabyte has to agree with Combine.
	want := pg.CombineCRC32C(sum, pg.CRC32C(block), int64(len(block))) ^ pg.CombineCRC32C(sum, 0, int64(len(block)))
	if got := f.Sum(size + int64(len(block))); got != want {
		t.Errorf("got %08x, want %08x", got, want)
	}
}

func TestParseControlRefuses(t *testing.T) {
	good := controlFile()
	if _, err := pg.ParseControl(good); err != nil {
		t.Fatalf("good file: %v", err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"a short file":        func(b []byte) []byte { return b[:100] },
		"a torn file":         func(b []byte) []byte { b[40]++; return b },
		"a version before 13": func(b []byte) []byte { binary.LittleEndian.PutUint32(b[8:], 1201); return seal(b) },
		"no block size":       func(b []byte) []byte { binary.LittleEndian.PutUint32(b[216:], 0); return seal(b) },
		"no segment size":     func(b []byte) []byte { binary.LittleEndian.PutUint32(b[220:], 0); return seal(b) },
		"odd WAL segments":    func(b []byte) []byte { binary.LittleEndian.PutUint32(b[228:], 3<<20); return seal(b) },
	} {
		if _, err := pg.ParseControl(change(slices.Clone(good))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// controlFile returns a pg_control of version 1300 as initdb makes it.
func controlFile() []byte {
	b := make([]byte, pg.ControlFileSize)
	le := binary.LittleEndian
	le.PutUint64(b, 7123456789012345678)
	le.PutUint32(b[8:], 1300)
	le.PutUint32(b[216:], 8192)
	le.PutUint32(b[220:], 131072)
	le.PutUint32(b[224:], 8192)
	le.PutUint32(b[228:], 16<<20)
	return seal(b)
}

func seal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[288:], pg.CRC32C(b[:288]))
	return b
}

func FuzzControl(f *testing.F) {
	f.Add(controlFile())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := pg.ParseControl(b)
		if err == nil && (c.BlockSize == 0 || c.SegmentBlocks == 0 || c.WALSegmentSize == 0) {
			t.Fatalf("sizes of zero pass: %+v", c)
		}
	})
}

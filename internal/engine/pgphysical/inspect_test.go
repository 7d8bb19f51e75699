package pgphysical

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// fakeContent is a file that changes between readings.
type fakeContent struct {
	now   []byte
	reads int
}

func (f *fakeContent) ReadAt(p []byte, off int64) (int, error) {
	f.reads++
	if off >= int64(len(f.now)) {
		return 0, io.EOF
	}
	n := copy(p, f.now[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *fakeContent) Close() error { return nil }

type silent struct{}

func (silent) Phase(string)       {}
func (silent) Total(int64, int64) {}
func (silent) Done(int64, int64)  {}

const pageSize = 8192

// pageAt makes a good page.
func pageAt(block uint32, lsn pg.LSN, fill byte) []byte {
	p := bytes.Repeat([]byte{fill}, pageSize)
	binary.LittleEndian.PutUint32(p, uint32(lsn>>32))
	binary.LittleEndian.PutUint32(p[4:], uint32(lsn))
	binary.LittleEndian.PutUint16(p[14:], pageSize)
	binary.LittleEndian.PutUint16(p[8:], pg.PageChecksum(p, block))
	return p
}

func torn(p []byte) []byte {
	t := slices.Clone(p)
	copy(t[4096:], bytes.Repeat([]byte{0xee}, 4096))
	return t
}

func newTestInspector(size uint32) *inspector {
	in := newInspector(pg.Control{BlockSize: size, SegmentBlocks: 131072, ChecksumVersion: 1}, 0x1000)
	in.pause = 0
	return in
}

func TestInspectPages(t *testing.T) {
	t.Parallel()
	const first = 131072 // the first block of segment 1
	old, late := pageAt(first, 0x500, 1), pageAt(first, 0x1800, 1)
	newish := make([]byte, pageSize)
	newish[100] = 1
	for name, c := range map[string]struct {
		seen, now []byte // in the block, and in the file afterwards; nil: the file was truncated
		stop      pg.LSN
		bad       bool
		stored    []byte
	}{
		"a good page":                       {seen: old, now: old, stored: old},
		"a page of zeros":                   {seen: make([]byte, pageSize), now: make([]byte, pageSize), stored: make([]byte, pageSize)},
		"a page that was torn, then whole":  {seen: torn(old), now: late, stored: late},
		"a bad page":                        {seen: torn(old), now: torn(old), bad: true, stored: torn(old)},
		"a torn page that WAL will replace": {seen: torn(late), now: torn(late), stop: 0x2000, stored: torn(late)},
		"a bad page that claims to be late": {seen: torn(late), now: torn(late), stop: 0x1700, bad: true, stored: torn(late)},
		"a page that was truncated":         {seen: torn(old), now: nil, stored: torn(old)},
		"a new page that is not zero":       {seen: newish, now: newish, bad: true, stored: newish},
		"a page that was being initialised": {seen: newish, now: late, stored: late},
		"a page of another block":           {seen: pageAt(0, 0x500, 1), now: pageAt(0, 0x500, 1), bad: true, stored: pageAt(0, 0x500, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			in := newTestInspector(pageSize)
			e := entry{cluster: "base/5/16384.1", node: engine.Node{Size: pageSize}}
			f := in.follow(e, silent{})
			if _, err := f.open(&fakeContent{now: c.now}, nil); err != nil {
				t.Fatal(err)
			}
			block := slices.Clone(c.seen)
			if err := f.inspect(0, block); err != nil {
				t.Fatal(err)
			}
			in.judge(max(c.stop, 0x1000))
			if got := in.badCount > 0; got != c.bad {
				t.Errorf("bad: got %v, want %v", got, c.bad)
			}
			if c.bad && (len(in.bad) != 1 || in.bad[0].block != first || in.bad[0].path != "base/5/16384.1") {
				t.Errorf("got %+v", in.bad)
			}
			if !bytes.Equal(block, c.stored) {
				t.Error("what is stored is not what was expected")
			}
			if got, want := f.crc.Sum(pageSize), pg.CRC32C(c.stored); got != want {
				t.Errorf("checksum: got %08x, want that of what is stored, %08x", got, want)
			}
		})
	}
}

func TestInspectLargePagesAcrossBlocks(t *testing.T) {
	t.Parallel()
	const size = 32768
	page := func(block uint32) []byte {
		p := bytes.Repeat([]byte{7}, size)
		binary.LittleEndian.PutUint32(p[4:], 0x500)
		binary.LittleEndian.PutUint32(p, 0)
		binary.LittleEndian.PutUint16(p[8:], pg.PageChecksum(p, block))
		return p
	}
	file := slices.Concat(page(0), page(1), page(2))
	file[size+20000]++
	in := newTestInspector(size)
	f := in.follow(entry{cluster: "base/5/16384", node: engine.Node{Size: int64(len(file))}}, silent{})
	if _, err := f.open(&fakeContent{now: file}, nil); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(file); off += 24576 { // each page but the first lies in two blocks
		if err := f.inspect(int64(off), file[off:min(off+24576, len(file))]); err != nil {
			t.Fatal(err)
		}
	}
	if in.badCount != 1 || in.bad[0].block != 1 {
		t.Errorf("got %d bad pages, %+v, want block 1", in.badCount, in.bad)
	}
}

func TestInspectPartialPage(t *testing.T) {
	t.Parallel()
	in := newTestInspector(pageSize)
	file := append(pageAt(0, 0x500, 1), 1, 2, 3) // being extended
	f := in.follow(entry{cluster: "base/5/16384", node: engine.Node{Size: int64(len(file))}}, silent{})
	if _, err := f.open(&fakeContent{now: file}, nil); err != nil {
		t.Fatal(err)
	}
	if err := f.inspect(0, file); err != nil || in.badCount != 0 {
		t.Errorf("got %v, %d bad pages", err, in.badCount)
	}
}

func TestOnlyRelationsHavePages(t *testing.T) {
	t.Parallel()
	in := newTestInspector(pageSize)
	for _, p := range []string{"pg_xact/0000", "base/5/pg_filenode.map", "global/pg_control", "postgresql.conf"} {
		if in.follow(entry{cluster: p}, silent{}).paged {
			t.Errorf("%s is taken for a relation", p)
		}
	}
	off := newInspector(pg.Control{BlockSize: pageSize}, 0)
	if off.follow(entry{cluster: "base/5/1"}, silent{}).paged {
		t.Error("pages are verified although the cluster has no checksums")
	}
}

func TestOpenVanished(t *testing.T) {
	t.Parallel()
	f := newTestInspector(pageSize).follow(entry{cluster: "base/5/1"}, silent{})
	if _, err := f.open(nil, os.ErrNotExist); !errors.Is(err, engine.ErrVanished) {
		t.Errorf("got %v, want ErrVanished", err)
	}
	if _, err := f.open(nil, os.ErrPermission); err == nil || errors.Is(err, engine.ErrVanished) {
		t.Errorf("a file that may not be read is no vanished one: got %v", err)
	}
}

// A sink that reads several blocks at once may have shown some beyond the end to
// which the file is then truncated.
func TestFileTruncatedWhileItIsRead(t *testing.T) {
	t.Parallel()
	in := newTestInspector(pageSize)
	var file []byte
	for i := range uint32(6) {
		file = append(file, pageAt(i, 0x500, byte(i))...)
	}
	file[1*pageSize+300]++
	file[4*pageSize+300]++
	f := in.follow(entry{cluster: "base/5/16384", node: engine.Node{Size: int64(len(file))}}, silent{})
	if _, err := f.open(&fakeContent{now: file}, nil); err != nil {
		t.Fatal(err)
	}
	end := 3*pageSize + 100
	for _, b := range [][2]int{{4 * pageSize, 6 * pageSize}, {2 * pageSize, end}, {0, 2 * pageSize}} {
		if err := f.inspect(int64(b[0]), file[b[0]:b[1]]); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := f.stored(int64(end)), pg.CRC32C(file[:end]); got != want {
		t.Errorf("checksum: got %08x, want that of what is stored, %08x", got, want)
	}
	if in.badCount != 1 || len(in.bad) != 1 || in.bad[0].block != 1 {
		t.Errorf("got %d bad pages, %+v, want block 1 only", in.badCount, in.bad)
	}
}

func TestManyBadPagesAreBounded(t *testing.T) {
	t.Parallel()
	in := newTestInspector(pageSize)
	block := bytes.Repeat(torn(pageAt(1, 0x500, 1)), 64)
	f := in.follow(entry{cluster: "base/5/16384", node: engine.Node{Size: 1 << 30}}, silent{})
	content := &fakeContent{now: bytes.Repeat(block, 4)}
	if _, err := f.open(content, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if err := f.inspect(int64(i*len(block)), block); err != nil {
			t.Fatal(err)
		}
	}
	if in.badCount != 256 || len(in.bad) != maxNamed {
		t.Errorf("got %d bad, %d named, want 256 and %d", in.badCount, len(in.bad), maxNamed)
	}
}

func TestInspectAllocatesNothing(t *testing.T) {
	in := newTestInspector(pageSize)
	block := bytes.Repeat(make([]byte, pageSize), 64)
	f := in.follow(entry{cluster: "base/5/16384", node: engine.Node{Size: 1 << 30}}, silent{})
	if _, err := f.open(&fakeContent{}, nil); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(20, func() { _ = f.inspect(0, block) }); n != 0 {
		t.Errorf("got %v allocations a block, want none", n)
	}
}

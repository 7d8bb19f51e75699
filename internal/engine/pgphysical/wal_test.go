package pgphysical

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/pg"
)

func TestWALPages(t *testing.T) {
	t.Parallel()
	const page, size = 8192, 4 * 8192
	const start = pg.LSN(7 * size)
	at := func(addr pg.LSN) []byte {
		p := bytes.Repeat([]byte{3}, page)
		binary.LittleEndian.PutUint16(p, 0xd110)
		binary.LittleEndian.PutUint64(p[8:], uint64(addr))
		return p
	}
	own := func(i int) []byte { return at(start + pg.LSN(i*page)) }
	stale, zero, dirty := at(3*size), make([]byte, page), make([]byte, page)
	dirty[page-1] = 1
	later := start + 10*size // recovery needs more segments after this one
	for name, c := range map[string]struct {
		pages [4][]byte
		end   pg.LSN
		want  bool
	}{
		"whole":                            {[4][]byte{own(0), own(1), own(2), own(3)}, later, true},
		"switched":                         {[4][]byte{own(0), own(1), zero, zero}, later, true},
		"a hole":                           {[4][]byte{own(0), zero, own(2), own(3)}, later, false},
		"never written":                    {[4][]byte{zero, zero, zero, zero}, later, false},
		"recycled":                         {[4][]byte{stale, stale, stale, stale}, later, false},
		"recycled from the middle":         {[4][]byte{own(0), own(1), stale, stale}, later, false},
		"nearly zero":                      {[4][]byte{own(0), own(1), dirty, zero}, later, false},
		"the last, stale beyond its end":   {[4][]byte{own(0), own(1), stale, zero}, start + 2*page, true},
		"the last, zero before its end":    {[4][]byte{own(0), zero, zero, zero}, start + page + 1, false},
		"the last, to its end":             {[4][]byte{own(0), own(1), own(2), own(3)}, start + size, true},
		"the last, to its end, not at all": {[4][]byte{own(0), own(1), own(2), zero}, start + size, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, order := range [][]int{{0, 1, 2, 3}, {3, 1, 0, 2}} {
				w := newWALPages("segment", start, c.end, pg.Control{WALSegmentSize: size, WALBlockSize: page})
				for _, i := range order {
					w.see(int64(i*page), c.pages[i])
				}
				if got := w.good(); got != c.want {
					t.Errorf("in the order %v: got %v, want %v", order, got, c.want)
				}
			}
		})
	}
}

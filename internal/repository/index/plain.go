package index

import (
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// plain reads an index object that is written as Encode and other programs of the
// format write it: no space, names in one order, nothing escaped. Millions of blobs are
// read at each start, and encoding/json takes several times as long. ok is false for
// whatever else JSON may be, good or bad: the general reader decides about that.
func plain(data []byte) (packs []Pack, ok bool) {
	s := scanner{data: data, blobs: make([]pack.Blob, 0, len(data)/bytesPerBlob+1)}
	if !s.text(`{"packs":[`) {
		return nil, false
	}
	if s.text(`]}`) {
		return nil, len(s.data) == 0
	}
	for {
		p, ok := s.pack()
		if !ok {
			return nil, false
		}
		packs = append(packs, p)
		if !s.text(`,`) {
			return packs, s.text(`]}`) && len(s.data) == 0
		}
	}
}

// bytesPerBlob is what the shortest blob takes: its names, and an id.
const bytesPerBlob = len(`{"id":"","type":"data","offset":0,"length":0},`) + 2*hash.Size

// scanner reads from the beginning of data.
type scanner struct {
	data  []byte
	blobs []pack.Blob // of all packs, side by side
}

func (s *scanner) text(want string) bool {
	if len(s.data) < len(want) || string(s.data[:len(want)]) != want {
		return false
	}
	s.data = s.data[len(want):]
	return true
}

func (s *scanner) pack() (p Pack, ok bool) {
	if !s.text(`{"id":"`) || !s.id(&p.ID) || p.ID.IsZero() || !s.text(`","blobs":[`) {
		return p, false
	}
	first := len(s.blobs)
	if !s.text(`]}`) {
		for {
			b, ok := s.blob()
			if !ok || b.Check() != nil {
				return p, false
			}
			s.blobs = append(s.blobs, b)
			if !s.text(`,`) {
				break
			}
		}
		if !s.text(`]}`) {
			return p, false
		}
	}
	p.Blobs = s.blobs[first:len(s.blobs):len(s.blobs)]
	return p, true
}

func (s *scanner) blob() (b pack.Blob, ok bool) {
	if !s.text(`{"id":"`) || !s.id(&b.ID) || !s.text(`","type":"`) {
		return b, false
	}
	switch {
	case s.text(`data`):
		b.Type = pack.Data
	case s.text(`tree`):
		b.Type = pack.Tree
	default:
		return b, false
	}
	ok = s.text(`","offset":`) && s.number(&b.Offset) && s.text(`,"length":`) && s.number(&b.Length)
	if ok && s.text(`,"uncompressed_length":`) {
		ok = s.number(&b.Raw)
	}
	return b, ok && s.text(`}`)
}

func (s *scanner) id(id *hash.ID) bool {
	const digits = 2 * hash.Size
	if len(s.data) < digits || id.UnmarshalText(s.data[:digits]) != nil {
		return false
	}
	s.data = s.data[digits:]
	return true
}

// number reads a number of up to 32 bits, as JSON writes it.
func (s *scanner) number(n *uint32) bool {
	var v uint64
	i := 0
	for ; i < len(s.data) && '0' <= s.data[i] && s.data[i] <= '9'; i++ {
		if v = 10*v + uint64(s.data[i]-'0'); v > 1<<32-1 {
			return false
		}
	}
	if i == 0 || i > 1 && s.data[0] == '0' {
		return false
	}
	s.data, *n = s.data[i:], uint32(v)
	return true
}

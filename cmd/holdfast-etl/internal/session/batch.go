package session

import (
	"encoding/binary"
	"errors"
)

// batch is some rows in the binary form of PostgreSQL's COPY.
type batch struct {
	raw     []byte
	at      int // where the next row begins
	columns int
	rows    int
	fields  []uint32 // where each value of each row begins in raw: its length comes first
	short   int      // bytes that the next row lacks, at least; 0: it was whole
}

const absent = 0xffffffff // the length of NULL

// reset makes it empty, but for what was read before.
func (b *batch) reset(columns int, rest []byte) {
	b.raw, b.fields = append(b.raw[:0], rest...), b.fields[:0]
	b.at, b.rows, b.short, b.columns = 0, 0, 0, columns
}

// row finds the values of the next row, or the trailer behind the last: then it is done.
// When not all of it has come, short says so, and nothing is added.
func (b *batch) row() (done bool, err error) {
	known := len(b.fields)
	at := b.at
	b.short = 0
	if len(b.raw) < at+2 {
		b.short = at + 2 - len(b.raw)
		return false, nil
	}
	n := int(int16(binary.BigEndian.Uint16(b.raw[at:])))
	at += 2
	switch {
	case n == -1:
		b.at = at
		return true, nil
	case n != b.columns:
		return false, errors.New("a row of another number of values")
	}
	for range n {
		if len(b.raw) < at+4 {
			b.short = at + 4 - len(b.raw)
			break
		}
		b.fields = append(b.fields, uint32(at))
		length := binary.BigEndian.Uint32(b.raw[at:])
		at += 4
		if length == absent {
			continue
		}
		if length > maxField {
			return false, errors.New("a value of a negative length")
		}
		if at += int(length); at > len(b.raw) {
			b.short = at - len(b.raw)
			break
		}
	}
	if b.short > 0 {
		b.fields = b.fields[:known]
		return false, nil
	}
	b.at = at
	b.rows++
	return false, nil
}

// value returns a value in place, and false for NULL.
func (b *batch) value(row, column int) ([]byte, bool) {
	at := b.fields[row*b.columns+column]
	length := binary.BigEndian.Uint32(b.raw[at:])
	if length == absent {
		return nil, false
	}
	at += 4
	return b.raw[at : at+length : at+length], true
}

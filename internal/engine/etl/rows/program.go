package rows

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// Program is what becomes of rows, compiled for their columns. It is for one
// goroutine at a time.
type Program struct {
	in   []Column
	out  []Column
	slot []int // of each column of out: where a row holds its value
	// constant are the values of the slots behind those of in; most are set by ops.
	constant [][]byte
	ops      []op
	places   []place // of ops
	raw      []codec // of in, to show a row
	counts   []TransformCounts
}

// TransformCounts are the rows that went through a transform.
type TransformCounts struct {
	Name               string
	In                 int64 // rows that came to it
	Filtered, Rejected int64 // those that went no further
}

// Out is how many rows have left the transform.
func (c TransformCounts) Out() int64 { return c.In - c.Filtered - c.Rejected }

// Counts are the rows of each transform, of all runs that have ended.
func (p *Program) Counts() []TransformCounts { return p.counts }

// CountInto makes runs add to these counts, of another program of the same transforms.
func (p *Program) CountInto(counts []TransformCounts) { p.counts = counts }

// op changes a row, and says what becomes of it.
type op func(r *row) verdict

type verdict uint8

const (
	pass   verdict = iota
	drop           // a filter leaves it out
	refuse         // its bad says why
)

// row is a row on its way. Values that ops make are in the arena, which is used
// again for each row.
type row struct {
	values [][]byte
	arena  []byte
	bad    badRow
}

// Columns returns the columns of the rows that come out.
func (p *Program) Columns() []Column { return p.out }

// Changes reports whether the program may change or leave out rows. When it does
// not, rows may pass as bytes.
func (p *Program) Changes() bool {
	for i, s := range p.slot {
		if s != i {
			return true
		}
	}
	return len(p.ops) > 0 || len(p.slot) != len(p.in)
}

// counted is after how many rows the counters are brought up to date.
const counted = 256

// Run reads all rows of r, and writes to w what becomes of them. Both are left
// open. Reject is as in [Transfer]; counters may be nil.
func (p *Program) Run(r io.Reader, in Format, w io.Writer, out Format, c *Counters, reject func(Reject) error) error {
	if c == nil {
		c = new(Counters)
	}
	from, err := in.reader(r, p.in)
	if err != nil {
		return err
	}
	to, err := out.writer(w, p.out)
	if err != nil {
		return err
	}
	run := run{p: p, from: from, to: to, c: c, reject: reject}
	run.ends = make([]ends, len(p.counts))
	err = run.all()
	run.count()
	run.countTransforms()
	if err != nil {
		return err
	}
	return to.close()
}

// run is one run of a program.
type run struct {
	p      *Program
	from   source
	to     sink
	c      *Counters
	reject func(Reject) error

	read, filtered, written int64 // not counted yet

	entered int64  // rows that came to the first transform
	ends    []ends // of each transform
}

// ends are the rows that went no further than a transform.
type ends struct{ filtered, rejected int64 }

func (r *run) countTransforms() {
	in := r.entered
	for i, e := range r.ends {
		c := &r.p.counts[i]
		c.In, c.Filtered, c.Rejected = c.In+in, c.Filtered+e.filtered, c.Rejected+e.rejected
		in -= e.filtered + e.rejected
	}
}

func (r *run) count() {
	r.c.Read.Add(r.read)
	r.c.Filtered.Add(r.filtered)
	r.c.Written.Add(r.written)
	r.read, r.filtered, r.written = 0, 0, 0
}

func (r *run) all() error {
	p := r.p
	state := row{values: make([][]byte, len(p.in)+len(p.constant)), arena: make([]byte, 0, 4096)}
	copy(state.values[len(p.in):], p.constant)
	out := make([][]byte, len(p.out))
	for {
		values, err := r.from.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if r.read++; r.read == counted {
			r.count()
		}
		if err != nil {
			if err := r.bad(err, nil); err != nil {
				return err
			}
			continue
		}
		r.entered++
		verdict, at := p.step(&state, values)
		switch verdict {
		case drop:
			r.filtered++
			r.ends[at.transform].filtered++
			continue
		case refuse:
			if at.transform >= 0 {
				r.ends[at.transform].rejected++
				state.bad.step = at.shown
			}
			if err := r.bad(&state.bad, values); err != nil {
				return err
			}
			continue
		case pass:
		}
		for i, s := range p.slot {
			out[i] = state.values[s]
		}
		if err := r.to.write(out); err != nil {
			if err := r.bad(err, values); err != nil {
				return err
			}
			continue
		}
		r.written++
	}
}

// step runs the operations on a row. The place is that of the one that it does not
// pass.
func (p *Program) step(state *row, values [][]byte) (verdict, place) {
	copy(state.values, values)
	state.arena = state.arena[:0]
	for i, op := range p.ops {
		if v := op(state); v != pass {
			return v, p.places[i]
		}
	}
	return pass, place{}
}

// bad rejects the current row when it is at fault, and otherwise returns the error.
func (r *run) bad(err error, values [][]byte) error {
	b, ok := errors.AsType[*badRow](err)
	if !ok {
		return err
	}
	if r.reject == nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "row %d: %s", r.from.line(), b.Error()).
			WithHint("mend the row where it comes from, or in a step before; what an extract itself brings, on_reject collects")
	}
	r.c.Rejected.Add(1)
	raw := r.from.raw()
	if raw == nil && values != nil {
		raw = r.p.json(values)
	}
	return r.reject(Reject{Line: r.from.line(), Column: b.column, Reason: inStep(b.step, b.reason), Raw: storable(raw)})
}

// storable returns text that every server keeps, of at most MaxRaw bytes.
func storable(raw []byte) string {
	cut := len(raw) > MaxRaw
	s := strings.ToValidUTF8(string(raw[:min(len(raw), MaxRaw)]), "\ufffd")
	s = strings.ReplaceAll(s, "\x00", "\ufffd")
	if !cut && len(s) <= MaxRaw {
		return s
	}
	return strings.ToValidUTF8(s[:min(len(s), MaxRaw-len("…"))], "") + "…"
}

// json shows a row as it came. Values that cannot become text show their bytes.
func (p *Program) json(values [][]byte) []byte {
	if p.raw == nil {
		for _, c := range p.in {
			k, _ := codecOf(c)
			p.raw = append(p.raw, k)
		}
	}
	b := []byte{'{'}
	var scratch []byte
	for i, v := range values {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendString(b, p.in[i].Name)
		b = append(b, ": "...)
		if v == nil {
			b = append(b, "null"...)
			continue
		}
		v = v[:min(len(v), MaxRaw)]
		err := errLength
		if p.raw[i].text != nil {
			scratch, err = p.raw[i].text(scratch[:0], v)
		}
		if err != nil {
			scratch, _ = textOfBytea(scratch[:0], v) // it takes every value
		}
		if b = appendString(b, string(scratch)); len(b) > MaxRaw {
			return b
		}
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		return append(b, `""`...) // no string fails
	}
	return append(b, quoted...)
}

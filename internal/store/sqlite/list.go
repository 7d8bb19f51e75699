package sqlite

import (
	"context"
	"math"
	"slices"
	"sort"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Executions lists the newest first, and says how many there are without the
// page.
func (r reader) Executions(ctx context.Context, a holdfast.AccountID, f store.ExecutionFilter) ([]holdfast.Execution, int, error) {
	list := r.history
	if f.Parent != 0 || len(f.States) > 0 && !slices.Contains(f.States, holdfast.StateEnded) {
		list = r.few
	}
	ids, total, err := list(ctx, a, f)
	if err != nil || len(ids) == 0 {
		return nil, int(total), err
	}
	found, err := selected(ids)
	if err != nil {
		return nil, 0, err
	}
	rows, err := about(ctx, r.s, len(ids), executionFields,
		"SELECT "+executionColumns+" FROM executions WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id DESC", found)
	return rows, int(total), err
}

// conditions is the filter without its states and without when they ended.
func conditions(a holdfast.AccountID, f store.ExecutionFilter) (where, error) {
	var w where
	if a != 0 {
		w.add("account = ?", a)
	}
	if f.Parent != 0 {
		w.add("parent = ?", f.Parent)
	}
	switch {
	case f.Job != 0 && f.Restores:
		w.add("(job = ? OR id IN (SELECT id FROM restores WHERE job = ?))", f.Job, f.Job)
	case f.Job != 0:
		w.add("job = ?", f.Job)
	}
	if err := in(&w, "job", f.Jobs); err != nil {
		return w, err
	}
	if err := in(&w, "site", f.Sites); err != nil {
		return w, err
	}
	err := inList(&w, "type", f.Types)
	return w, err
}

// notEndedBefore is the condition for what has not ended, or not before a time.
const notEndedBefore = "(ended IS NULL OR ended >= ?)"

// fewConditions is the whole filter, and the index for it: that of a parent, or
// that of the states in which executions do not stay.
func fewConditions(a holdfast.AccountID, f store.ExecutionFilter) (table string, w where, err error) {
	if w, err = conditions(a, f); err != nil {
		return "", w, err
	}
	table = "executions INDEXED BY executions_parent"
	switch {
	case f.Parent == 0:
		table = "executions INDEXED BY executions_live"
		w.add("state <> 'ENDED'") // for the index; and what lives has not ended before any time
	case !f.EndedSince.IsZero():
		w.add(notEndedBefore, micros{&f.EndedSince})
	}
	err = inList(&w, "state", f.States)
	return table, w, err
}

// few lists by what few rows meet.
func (r reader) few(ctx context.Context, a holdfast.AccountID, f store.ExecutionFilter) ([]int64, int64, error) {
	table, w, err := fewConditions(a, f)
	if err != nil {
		return nil, 0, err
	}
	ids, total, err := listed(ctx, r.s, idFields, "id", table, "id DESC", w, f.Page)
	return ids, int64(total), err
}

// history lists what has ended, with what is in the filter's other states, or
// everything.
func (r reader) history(ctx context.Context, a holdfast.AccountID, f store.ExecutionFilter) ([]int64, int64, error) {
	sel, err := r.selection(ctx, a, f)
	if err != nil || sel.total == 0 {
		return nil, 0, err
	}
	q := whole(sel)
	if !f.EndedSince.IsZero() {
		if q, err = r.since(ctx, sel, a, f); err != nil {
			return nil, 0, err
		}
	}
	others := slices.DeleteFunc(holdfast.States(), func(s holdfast.State) bool {
		return len(f.States) == 0 || slices.Contains(f.States, s)
	})
	if len(others) == 0 {
		offset, limit := bounds(f.Page, q.total)
		ids, err := r.slice(ctx, q, offset, limit)
		return ids, q.total, err
	}
	left := f
	left.States, left.Page = others, store.Page{}
	out, _, err := r.few(ctx, a, left)
	if err != nil {
		return nil, 0, err
	}
	offset, limit := bounds(f.Page, q.total-int64(len(out)))
	ids, err := r.sliceWithout(ctx, q, out, offset, limit)
	return ids, q.total - int64(len(out)), err
}

// bounds returns the positions of a page in a list of so many rows.
func bounds(p store.Page, total int64) (offset, limit int64) {
	offset = min(int64(max(p.Offset, 0)), total)
	limit = total - offset
	if p.Limit > 0 {
		limit = min(limit, int64(p.Limit))
	}
	return offset, limit
}

// A sequence is executions, the newest first: stretches of a selection.
type sequence struct {
	base      selection
	stretches []stretch // the newest first
	total     int64
}

// A stretch is what a sequence has of a range of ids.
type stretch struct {
	low, high int64 // ids from low on, below high
	// whole is true when it is everything that the base has there; else rows
	// selects it.
	whole bool
	rows  selection
	newer int64 // of a whole one: how many rows of the base are newer
	n     int64
}

// whole is everything that a selection has.
func whole(s selection) sequence {
	return sequence{base: s, stretches: []stretch{{high: math.MaxInt64, whole: true, n: s.total}}, total: s.total}
}

// slice reads a page.
func (r reader) slice(ctx context.Context, q sequence, offset, limit int64) ([]int64, error) {
	var ids []int64
	for _, s := range q.stretches {
		if offset >= s.n {
			offset -= s.n
			continue
		}
		n := min(limit-int64(len(ids)), s.n-offset)
		if n <= 0 {
			break
		}
		var part []int64
		var err error
		if s.whole {
			part, err = r.page(ctx, q.base, s.newer+offset, n)
		} else {
			part, err = r.ids(ctx, s.rows, "DESC", n, offset)
		}
		if err != nil {
			return nil, err
		}
		ids, offset = append(ids, part...), 0
	}
	return ids, nil
}

// newer says how many executions of a sequence are newer than the id.
func (r reader) newer(ctx context.Context, q sequence, id int64) (n int64, err error) {
	for _, s := range q.stretches {
		switch {
		case id < s.low:
			n += s.n
			continue
		case id >= s.high:
			return n, nil
		case !s.whole:
			more, err := r.count(ctx, s.rows.with(" AND id > ?", id))
			return n + more, err
		}
		older, err := r.rank(ctx, q.base, id+1)
		return n + q.base.total - older - s.newer, err
	}
	return n, nil
}

// chunkRows is how many more rows than asked for are read at once where some are
// left out.
const chunkRows = 1000

// leftOut says how many ids of out come before the row that is the at-th without
// them: the first so many before which there are no more than at others.
func (r reader) leftOut(ctx context.Context, q sequence, out []int64, at int64) (int, error) {
	// The row is the at-th of the whole sequence, or as far on as there are ids in
	// out, or between. Most often nothing of out lies between.
	var bounds [2]int
	for i, position := range []int64{at, at + int64(len(out))} {
		row, err := r.slice(ctx, q, position, 1)
		switch {
		case err != nil:
			return 0, err
		case len(row) == 0:
			return 0, errShort(q.total)
		}
		bounds[i] = sort.Search(len(out), func(k int) bool { return out[k] <= row[0] })
	}
	var err error
	more := sort.Search(bounds[1]-bounds[0], func(k int) bool {
		var n int64
		if k += bounds[0]; err == nil {
			n, err = r.newer(ctx, q, out[k])
		}
		return n-int64(k) > at
	})
	return bounds[0] + more, err
}

// sliceWithout reads a page of what is left of a sequence without the ids of
// out, which are of it and come the newest first.
func (r reader) sliceWithout(ctx context.Context, q sequence, out []int64, offset, limit int64) ([]int64, error) {
	if len(out) == 0 {
		return r.slice(ctx, q, offset, limit)
	}
	ids := make([]int64, 0, limit)
	for left := limit; left > 0; left = limit - int64(len(ids)) {
		at := offset + int64(len(ids))
		before, err := r.leftOut(ctx, q, out, at)
		if err != nil {
			return nil, err
		}
		chunk, err := r.slice(ctx, q, at+int64(before), left+min(int64(len(out)-before), chunkRows))
		if err != nil {
			return nil, err
		}
		if len(chunk) == 0 {
			return nil, errShort(q.total)
		}
		for _, id := range chunk {
			for before < len(out) && out[before] > id {
				before++
			}
			if (before == len(out) || out[before] != id) && int64(len(ids)) < limit {
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}

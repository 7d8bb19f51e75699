package sqlite

import (
	"context"
	"database/sql"
	"math"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const (
	endsBlock = 1024 // ids of a row of execution_ends
	maxBlock  = holdfast.MaxID / endsBlock
	// minStretch is the fewest blocks that are worth a stretch of their own among
	// others that are walked through.
	minStretch = 4
	// maxLookedAt bounds how long a selection may be that is looked at row by row.
	maxLookedAt = 100
)

// class says which executions of a block have ended since a time, or not at all.
type class int

const (
	none class = iota // but those that have not ended
	some
	all
)

// run is neighbouring blocks of one class.
type run struct {
	first, last int64
	class       class
}

// since lists what has not ended, or not before a time. Executions end in nearly
// the order in which they came: of a long history most blocks are in as a whole
// or out as a whole, and only those between are looked at row by row.
func (r reader) since(ctx context.Context, sel selection, a holdfast.AccountID, f store.ExecutionFilter) (sequence, error) {
	q := sequence{base: sel}
	looked := sel.ending(f)
	if sel.total <= maxLookedAt {
		n, err := r.count(ctx, looked)
		q.stretches, q.total = []stretch{{high: math.MaxInt64, rows: looked, n: n}}, n
		return q, err
	}
	runs, err := r.runs(ctx, f.EndedSince)
	if err != nil {
		return q, err
	}
	if looked, err = r.looked(ctx, sel, a, f); err != nil {
		return q, err
	}
	for i, u := range runs {
		s := stretch{low: u.first * endsBlock, high: (u.last + 1) * endsBlock, whole: u.class == all}
		if i == 0 {
			s.high = math.MaxInt64
		}
		switch u.class {
		case all:
			s.newer, s.n, err = r.wholeStretch(ctx, sel, s)
		case some:
			s.rows = looked.with(" AND id >= ? AND id < ?", s.low, s.high)
			s.n, err = r.count(ctx, s.rows)
		case none:
			if s.rows, err = live(a, f, s); err == nil {
				s.n, err = r.count(ctx, s.rows)
			}
		}
		if err != nil {
			return q, err
		}
		q.stretches = append(q.stretches, s)
		q.total += s.n
	}
	return q, nil
}

// ending is what of a selection has not ended, or not before the filter's time.
func (s selection) ending(f store.ExecutionFilter) selection {
	return s.with(" AND "+notEndedBefore, micros{&f.EndedSince})
}

// lookedShare is how large a share of all that an account has a selection must be,
// at least, so that it is faster to walk through all, in an index which knows
// when they ended, than to look into each row of the selection.
const lookedShare = 50

// looked is ending by the faster way.
func (r reader) looked(ctx context.Context, sel selection, a holdfast.AccountID, f store.ExecutionFilter) (selection, error) {
	own := f
	own.Restores = false
	w, err := conditions(a, own)
	if err != nil {
		return sel, err
	}
	every, n, err := r.kinds(ctx, a, w)
	if err != nil || sel.total*lookedShare < n {
		return sel.ending(f), err
	}
	if f.Restores && f.Job != 0 {
		every, err = r.withRestores(ctx, every, a, f)
	}
	return every.ending(f), err
}

// wholeStretch counts what a selection has above a stretch and in it.
func (r reader) wholeStretch(ctx context.Context, sel selection, s stretch) (newer, n int64, err error) {
	above, below := sel.total, int64(0)
	if s.high != math.MaxInt64 {
		if above, err = r.rank(ctx, sel, s.high); err != nil {
			return 0, 0, err
		}
	}
	if s.low > 0 {
		if below, err = r.rank(ctx, sel, s.low); err != nil {
			return 0, 0, err
		}
	}
	return sel.total - above, above - below, nil
}

// live selects what a filter takes in of a stretch and has not ended.
func live(a holdfast.AccountID, f store.ExecutionFilter, s stretch) (selection, error) {
	f.States = []holdfast.State{holdfast.StatePlanned, holdfast.StateQueued, holdfast.StateRunning, holdfast.StateSuspended}
	table, w, err := fewConditions(a, f)
	if err != nil {
		return selection{}, err
	}
	w.add("id >= ? AND id < ?", s.low, s.high)
	var sel selection
	sel.addFrom(table+w.String(), w.args)
	return sel, nil
}

// runs cuts the history into runs, the newest first, which leave no id out. A
// block without a row has nothing that ended: it may go with any class.
func (r reader) runs(ctx context.Context, since time.Time) ([]run, error) {
	var oldestIn, newestOut sql.NullInt64 // blocks with something that is in, and out
	err := r.s.each(ctx, func(rows *sql.Rows) error { return rows.Scan(&oldestIn, &newestOut) }, `
		SELECT (SELECT block FROM execution_ends WHERE last >= ?1 ORDER BY block LIMIT 1),
			(SELECT block FROM execution_ends WHERE first < ?1 ORDER BY block DESC LIMIT 1)`, micros{&since})
	switch {
	case err != nil:
		return nil, err
	case !newestOut.Valid:
		return []run{{last: maxBlock, class: all}}, nil
	case !oldestIn.Valid:
		return []run{{last: maxBlock, class: none}}, nil
	}
	between, err := many(ctx, r.s, func(u *run) []any { return []any{&u.first, &u.last, &u.class} }, `
		SELECT block, block, CASE WHEN first >= ?1 THEN 2 WHEN last < ?1 THEN 0 ELSE 1 END
		FROM execution_ends WHERE block BETWEEN ?2 AND ?3 ORDER BY block DESC`, micros{&since}, oldestIn.Int64, newestOut.Int64)
	if err != nil {
		return nil, err
	}
	between = joined(between)
	for i, u := range between {
		if u.last-u.first+1 < minStretch {
			between[i].class = some
		}
	}
	runs := append([]run{{first: newestOut.Int64 + 1, last: maxBlock, class: all}}, between...)
	return joined(append(runs, run{last: min(oldestIn.Int64-1, newestOut.Int64), class: none})), nil
}

// joined makes one of neighbours of one class, and lets each run reach down to
// the next.
func joined(runs []run) []run {
	var out []run
	for _, u := range runs {
		if len(out) > 0 {
			newer := &out[len(out)-1]
			newer.first = u.last + 1
			if newer.class == u.class {
				newer.first = u.first
				continue
			}
		}
		out = append(out, u)
	}
	return out
}

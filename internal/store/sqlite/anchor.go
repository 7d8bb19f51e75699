package sqlite

import (
	"context"
	"slices"
	"sort"
	"sync"
)

const (
	anchorStep = 250 // executions between two anchors
	maxAnchors = 250 // selections whose anchors are kept; about 32 KiB for each million executions
)

// anchors remembers the id at every anchorStep-th position of selections,
// counted from the oldest execution. Executions join at the newer end only, so
// that a position, once known, holds in every later snapshot; when something
// else happens to them, the epoch in the database rises and all is forgotten.
type anchors struct {
	mu    sync.Mutex // guards the fields below
	epoch int64
	ids   map[string][]int64 // by selection: the ids at positions 0, anchorStep, 2·anchorStep, …
}

func newAnchors() *anchors { return &anchors{ids: make(map[string][]int64)} }

// known returns what is known of a selection in this epoch.
func (a *anchors) known(epoch int64, key string) []int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch != epoch {
		return nil
	}
	return a.ids[key]
}

// learn keeps the ids, unless a snapshot of another epoch or one that knew more
// came first.
func (a *anchors) learn(epoch int64, key string, ids []int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if epoch < a.epoch {
		return
	}
	if epoch > a.epoch || len(a.ids) >= maxAnchors {
		a.epoch = epoch
		clear(a.ids)
	}
	if len(ids) > len(a.ids[key]) {
		a.ids[key] = ids
	}
}

// anchorIDs returns the anchors of a selection, at least its first n where look
// says that what is not known shall be looked for.
func (r reader) anchorIDs(ctx context.Context, s selection, n int, look bool) ([]int64, error) {
	key := s.key()
	ids := r.anchors.known(r.s.epoch, key)
	if len(ids) >= n || !look {
		return ids, nil
	}
	ids = append(make([]int64, 0, n), ids...) // others may be reading what is known
	if len(ids) == 0 {
		first, err := r.ids(ctx, s, "ASC", 1, 0)
		if err != nil {
			return nil, err
		}
		ids = append(ids, first...)
	}
	if len(ids) > 0 && len(ids) < n {
		more, err := r.anchorsAfter(ctx, s, ids[len(ids)-1], n-len(ids))
		if err != nil {
			return nil, err
		}
		ids = append(ids, more...)
	}
	if len(ids) < n {
		return nil, errShort(s.total)
	}
	r.anchors.learn(r.s.epoch, key, ids)
	return ids, nil
}

// anchorsAfter finds the next n anchors from one to the next.
func (r reader) anchorsAfter(ctx context.Context, s selection, anchor int64, n int) ([]int64, error) {
	next, args := s.with(" AND id >= a.id").union()
	return many(ctx, r.s, idFields, `
		WITH RECURSIVE a (id) AS (
			SELECT ?
			UNION ALL
			SELECT (`+next+` ORDER BY id LIMIT 1 OFFSET ?) FROM a WHERE a.id IS NOT NULL`+limited+`
		) SELECT id FROM a WHERE id IS NOT NULL LIMIT -1 OFFSET 1`, slices.Concat([]any{anchor}, args, []any{anchorStep, n + 1})...)
}

// anchor returns an execution at or before the position, counted from the
// oldest, and how many positions it is before it; 0 when none is known and none
// shall be looked for.
func (r reader) anchor(ctx context.Context, s selection, position int64, look bool) (id, past int64, err error) {
	n := int(position / anchorStep)
	ids, err := r.anchorIDs(ctx, s, n+1, look)
	if err != nil || len(ids) <= n {
		return 0, 0, err
	}
	return ids[n], position % anchorStep, nil
}

// rank returns how many executions of a selection have a lower id.
func (r reader) rank(ctx context.Context, s selection, id int64) (int64, error) {
	if r.anchors == nil || s.total <= 2*anchorStep {
		return r.count(ctx, s.with(" AND id < ?", id))
	}
	// The snapshot may be older than what is known: anchors beyond the id are of no
	// matter here.
	ids, err := r.anchorIDs(ctx, s, int((s.total-1)/anchorStep)+1, true)
	if err != nil {
		return 0, err
	}
	n := sort.Search(len(ids), func(i int) bool { return ids[i] > id }) - 1
	if n < 0 {
		return 0, nil
	}
	past, err := r.count(ctx, s.with(" AND id >= ? AND id < ?", ids[n], id))
	return int64(n)*anchorStep + past, err
}

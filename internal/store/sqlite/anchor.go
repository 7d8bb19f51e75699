package sqlite

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

const (
	anchorStep = 1000 // executions between two anchors
	maxAnchors = 1000 // selections whose anchors are kept; about 8 KiB for each million executions
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

// key tells selections apart.
func (s selection) key() string {
	var b strings.Builder
	for i, from := range s.ranges {
		fmt.Fprintln(&b, from, s.args[i])
	}
	return b.String()
}

// anchor returns an execution at or before the position, counted from the
// oldest, and how many positions it is before it; 0 when none is known and none
// shall be looked for.
func (r reader) anchor(ctx context.Context, s selection, position int64, look bool) (id, past int64, err error) {
	epoch, err := r.s.number(ctx, "SELECT epoch FROM installation")
	if err != nil {
		return 0, 0, err
	}
	key, n := s.key(), int(position/anchorStep)
	ids := r.anchors.known(epoch, key)
	if len(ids) <= n && !look {
		return 0, 0, nil
	}
	if len(ids) <= n {
		ids = append(make([]int64, 0, n+1), ids...) // others may be reading what is known
		for len(ids) <= n {
			next, from := s, int64(0)
			if len(ids) > 0 {
				next, from = s.with(" AND id >= ?", ids[len(ids)-1]), anchorStep
			}
			found, err := r.ids(ctx, next, "ASC", 1, from)
			if err != nil {
				return 0, 0, err
			}
			if len(found) == 0 {
				return 0, 0, fmt.Errorf("the history has fewer than the %d executions that it should have", s.total)
			}
			ids = append(ids, found[0])
		}
		r.anchors.learn(epoch, key, ids)
	}
	return ids[n], position % anchorStep, nil
}

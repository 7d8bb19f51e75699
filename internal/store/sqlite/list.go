package sqlite

import (
	"context"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// maxParts bounds how many parts of the history a page merges; a filter that
// takes in more walks the account's whole history.
const maxParts = 64

// Executions lists the newest first, and says how many there are without the
// page.
func (r reader) Executions(ctx context.Context, a holdfast.AccountID, f store.ExecutionFilter) ([]holdfast.Execution, int, error) {
	restores, err := r.restoresOf(ctx, f)
	if err != nil {
		return nil, 0, err
	}
	w, err := conditions(a, f, restores)
	if err != nil {
		return nil, 0, err
	}
	withEnded := len(f.States) == 0 || slices.Contains(f.States, holdfast.StateEnded)
	if f.Parent != 0 || !withEnded || len(restores) > 0 { // few rows meet these
		if err := addStates(&w, f.States); err != nil {
			return nil, 0, err
		}
		return listed(ctx, r.s, executionFields, executionColumns, "executions", "id DESC", w, f.Page)
	}
	sel, err := r.selection(ctx, a, f, w)
	if err != nil || sel.total == 0 {
		return nil, 0, err
	}
	ids, total, err := r.pageOfStates(ctx, sel, w, f)
	if err != nil || len(ids) == 0 {
		return nil, int(total), err
	}
	in, err := selected(ids)
	if err != nil {
		return nil, 0, err
	}
	rows, err := many(ctx, r.s, executionFields,
		"SELECT "+executionColumns+" FROM executions WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id DESC", in)
	return rows, int(total), err
}

// restoresOf returns the restores of what the filter's job made, when the filter
// asks for them. It begins with the restores, which are few; a job has many
// executions.
func (r reader) restoresOf(ctx context.Context, f store.ExecutionFilter) ([]holdfast.ExecutionID, error) {
	if !f.Restores || f.Job == 0 {
		return nil, nil
	}
	return many(ctx, r.s, func(id *holdfast.ExecutionID) []any { return []any{id} },
		`SELECT r.id FROM jobs j
		CROSS JOIN execution_totals n ON n.account = j.account AND n.job = 0 AND n.type = 'RESTORE'
		CROSS JOIN executions r ON r.account = j.account AND r.site = n.site AND r.type = 'RESTORE'
		CROSS JOIN executions p ON p.id = r.parent
		WHERE j.id = ? AND p.job = j.id AND r.job <> j.id`, f.Job)
}

// conditions is the filter without its states. restores are selected together
// with the executions of its job.
func conditions(a holdfast.AccountID, f store.ExecutionFilter, restores []holdfast.ExecutionID) (where, error) {
	var w where
	if a != 0 {
		w.add("account = ?", a)
	}
	if f.Parent != 0 {
		w.add("parent = ?", f.Parent)
	}
	if len(restores) > 0 {
		ids, err := selected(restores)
		if err != nil {
			return w, err
		}
		w.add("(job = ? OR id IN (SELECT value FROM json_each(?)))", f.Job, ids)
	} else if f.Job != 0 {
		w.add("job = ?", f.Job)
	}
	if len(f.Jobs) > 0 {
		if err := w.in("job", f.Jobs); err != nil {
			return w, err
		}
	}
	if len(f.Sites) > 0 {
		if err := w.in("site", f.Sites); err != nil {
			return w, err
		}
	}
	if f.Type != "" {
		w.add("type = ?", f.Type)
	}
	return w, nil
}

func addStates(w *where, states []holdfast.State) error {
	if len(states) == 0 {
		return nil
	}
	if !slices.Contains(states, holdfast.StateEnded) {
		w.add("state <> 'ENDED'") // for the index
	}
	return w.in("state", states)
}

// A part is the executions of one job, or of one type at one site: what an index
// holds in the order of ids, and execution_totals counts.
type part struct {
	account holdfast.AccountID
	job     holdfast.JobID // 0: by site and type
	site    holdfast.SiteID
	kind    holdfast.JobType
	n       int64
}

func partFields(p *part) []any { return []any{&p.account, &p.job, &p.site, &p.kind, &p.n} }

// selection finds the parts that a filter takes in, and how many rows they have.
// w is the filter's conditions.
func (r reader) selection(ctx context.Context, a holdfast.AccountID, f store.ExecutionFilter, w where) (selection, error) {
	byJob := f.Job != 0 || len(f.Jobs) > 0
	totals := where{conditions: slices.Clone(w.conditions), args: slices.Clone(w.args)}
	if byJob {
		totals.add("job <> 0")
	} else {
		totals.add("job = 0")
	}
	parts, err := many(ctx, r.s, partFields,
		"SELECT account, job, site, type, n FROM execution_totals"+totals.String()+" ORDER BY account, job, site, type", totals.args...)
	if err != nil {
		return selection{}, err
	}
	var sel selection
	for _, p := range parts {
		sel.total += p.n
	}
	switch {
	case len(w.conditions) == 0:
		sel.add("", nil)
	case len(w.conditions) == 1 && a != 0:
		sel.add(" INDEXED BY executions_account WHERE account = ?", []any{a})
	case len(parts) > maxParts:
		sel.add(w.String(), w.args)
	case byJob:
		for _, p := range parts {
			sel.add(" INDEXED BY executions_job WHERE account = ? AND job = ? AND site = ? AND type = ?", []any{p.account, p.job, p.site, p.kind})
		}
	default:
		for _, p := range parts {
			sel.add(" INDEXED BY executions_site WHERE account = ? AND site = ? AND type = ?", []any{p.account, p.site, p.kind})
		}
	}
	return sel, nil
}

// pageOfStates returns the ids of a page of those of the selection that are in
// the filter's states, and how many there are. The states hold ENDED, or are
// none at all: the few rows in other states are what is left out.
func (r reader) pageOfStates(ctx context.Context, sel selection, w where, f store.ExecutionFilter) ([]int64, int64, error) {
	others := slices.DeleteFunc(holdfast.States(), func(s holdfast.State) bool {
		return len(f.States) == 0 || slices.Contains(f.States, s)
	})
	if len(others) == 0 {
		ids, err := r.page(ctx, sel, f.Page)
		return ids, sel.total, err
	}
	if err := addStates(&w, others); err != nil {
		return nil, 0, err
	}
	out, err := r.s.number(ctx, "SELECT count(*) FROM executions"+w.String(), w.args...)
	if err != nil {
		return nil, 0, err
	}
	left, err := selected(others)
	if err != nil {
		return nil, 0, err
	}
	sel.total -= out
	ids, err := r.walk(ctx, sel.with(
		" AND id NOT IN (SELECT id FROM executions WHERE state <> 'ENDED' AND state IN (SELECT value FROM json_each(?)))", left), f.Page)
	return ids, sel.total, err
}

// A selection is executions in the order of their ids, out of one or several
// ranges of an index. Executions only ever join it at its newer end.
type selection struct {
	ranges []string // what follows FROM executions
	args   [][]any
	total  int64
}

func (s *selection) add(from string, args []any) {
	if from == "" {
		from = " WHERE 1"
	}
	s.ranges = append(s.ranges, from)
	s.args = append(s.args, args)
}

// with adds a condition to every range.
func (s selection) with(condition string, args ...any) selection {
	out := selection{total: s.total}
	for i, from := range s.ranges {
		out.add(from+condition, slices.Concat(s.args[i], args))
	}
	return out
}

// query reads ids in an order.
func (s selection) query(order string, limit, offset int64) (string, []any) {
	var b strings.Builder
	var args []any
	for i, from := range s.ranges {
		if i > 0 {
			b.WriteString(" UNION ALL ")
		}
		b.WriteString("SELECT id FROM executions")
		b.WriteString(from)
		args = append(args, s.args[i]...)
	}
	b.WriteString(" ORDER BY id " + order + " LIMIT ? OFFSET ?")
	return b.String(), append(args, limit, offset)
}

func idFields(n *int64) []any { return []any{n} }

func (r reader) ids(ctx context.Context, s selection, order string, limit, offset int64) ([]int64, error) {
	text, args := s.query(order, limit, offset)
	return many(ctx, r.s, idFields, text, args...)
}

// span returns the positions of a page, the newest execution being 0.
func (s selection) span(p store.Page) (offset, limit int64) {
	offset = min(int64(max(p.Offset, 0)), s.total)
	limit = s.total - offset
	if p.Limit > 0 {
		limit = min(limit, int64(p.Limit))
	}
	return offset, limit
}

// walk reads a page from the nearer end.
func (r reader) walk(ctx context.Context, s selection, p store.Page) ([]int64, error) {
	offset, limit := s.span(p)
	if limit == 0 {
		return nil, nil
	}
	older := s.total - offset - limit // how many are older than the page
	if offset <= older {
		return r.ids(ctx, s, "DESC", limit, offset)
	}
	ids, err := r.ids(ctx, s, "ASC", limit, older)
	slices.Reverse(ids)
	return ids, err
}

// shortWalk is how many rows a page may pass over without looking for an anchor.
const shortWalk = 10 * anchorStep

// page reads a page, in the middle of a long selection from an anchor near it.
func (r reader) page(ctx context.Context, s selection, p store.Page) ([]int64, error) {
	offset, limit := s.span(p)
	older := s.total - offset - limit
	if r.anchors == nil || min(offset, older) <= shortWalk {
		return r.walk(ctx, s, p)
	}
	from, past, err := r.anchor(ctx, s, older)
	if err != nil {
		return nil, err
	}
	ids, err := r.ids(ctx, s.with(" AND id >= ?", from), "ASC", limit, past)
	slices.Reverse(ids)
	return ids, err
}

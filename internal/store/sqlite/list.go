package sqlite

import (
	"cmp"
	"context"
	"fmt"
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
	var ids []int64
	var total int64
	var err error
	if !f.EndedSince.IsZero() {
		ids, total, err = r.since(ctx, a, f)
	} else if f.Parent != 0 || len(f.States) > 0 && !slices.Contains(f.States, holdfast.StateEnded) {
		ids, total, err = r.few(ctx, a, f)
	} else {
		ids, total, err = r.history(ctx, a, f)
	}
	if err != nil || len(ids) == 0 {
		return nil, int(total), err
	}
	list, err := selected(ids)
	if err != nil {
		return nil, 0, err
	}
	rows, err := many(ctx, r.s, executionFields,
		"SELECT "+executionColumns+" FROM executions WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id DESC", list)
	return rows, int(total), err
}

// since lists what has not ended, or not before a time.
func (r reader) since(ctx context.Context, a holdfast.AccountID, f store.ExecutionFilter) ([]int64, int64, error) {
	w, err := conditions(a, f)
	if err != nil {
		return nil, 0, err
	}
	w.add("(ended IS NULL OR ended >= ?)", micros{&f.EndedSince})
	if len(f.States) > 0 {
		if err := in(&w, "state", f.States); err != nil {
			return nil, 0, err
		}
	}
	ids, total, err := listed(ctx, r.s, idFields, "id", "executions", "id DESC", w, f.Page)
	return ids, int64(total), err
}

// few lists by what few rows meet: a parent, or states in which executions do
// not stay.
func (r reader) few(ctx context.Context, a holdfast.AccountID, f store.ExecutionFilter) ([]int64, int64, error) {
	w, err := conditions(a, f)
	if err != nil {
		return nil, 0, err
	}
	table := "executions INDEXED BY executions_parent"
	if f.Parent == 0 {
		table = "executions INDEXED BY executions_live"
		w.add("state <> 'ENDED'") // for the index
	}
	if len(f.States) > 0 {
		if err := in(&w, "state", f.States); err != nil {
			return nil, 0, err
		}
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
	others := slices.DeleteFunc(holdfast.States(), func(s holdfast.State) bool {
		return len(f.States) == 0 || slices.Contains(f.States, s)
	})
	if len(others) == 0 {
		ids, err := r.page(ctx, sel, f.Page)
		return ids, sel.total, err
	}
	left := f
	left.States, left.Page = others, store.Page{}
	out, _, err := r.few(ctx, a, left)
	if err != nil {
		return nil, 0, err
	}
	ids, err := r.pageWithout(ctx, sel, out, f.Page)
	return ids, sel.total - int64(len(out)), err
}

// restoresOf is the condition for the restores of what a job made.
const restoresOf = "id IN (SELECT execution FROM restores WHERE job = ?)"

// conditions is the filter without its states.
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
		w.add("(job = ? OR "+restoresOf+")", f.Job, f.Job)
	case f.Job != 0:
		w.add("job = ?", f.Job)
	}
	if len(f.Jobs) > 0 {
		if err := in(&w, "job", f.Jobs); err != nil {
			return w, err
		}
	}
	if len(f.Sites) > 0 {
		if err := in(&w, "site", f.Sites); err != nil {
			return w, err
		}
	}
	if len(f.Types) > 0 {
		if err := in(&w, "type", f.Types); err != nil {
			return w, err
		}
	}
	return w, nil
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
func (r reader) selection(ctx context.Context, a holdfast.AccountID, f store.ExecutionFilter) (selection, error) {
	restores := f.Restores && f.Job != 0
	f.Restores = false
	w, err := conditions(a, f)
	if err != nil {
		return selection{}, err
	}
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
		sel.add(" WHERE 1", nil)
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
	if restores {
		return r.withRestores(ctx, sel, a, f)
	}
	return sel, nil
}

// withRestores adds the restores of what the filter's job made. They are few, and
// are counted.
func (r reader) withRestores(ctx context.Context, sel selection, a holdfast.AccountID, f store.ExecutionFilter) (selection, error) {
	job := f.Job
	f.Job = 0
	w, err := conditions(a, f)
	if err != nil {
		return sel, err
	}
	w.add(restoresOf+" AND job <> ?", job, job)
	n, err := r.s.number(ctx, "SELECT count(*) FROM executions"+w.String(), w.args...)
	if err != nil || n == 0 {
		return sel, err
	}
	sel.total += n
	sel.add(w.String(), w.args)
	return sel, nil
}

// A selection is executions in the order of their ids, out of one or several
// ranges of an index. Executions only ever join it at its newer end.
type selection struct {
	ranges []string // what follows FROM executions
	args   [][]any
	total  int64
}

func (s *selection) add(from string, args []any) {
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
func (r reader) walk(ctx context.Context, s selection, offset, limit int64) ([]int64, error) {
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

// longWalk is how many rows a page may pass over before it is worth to look for
// all anchors of a selection.
const longWalk = 10 * anchorStep

// page reads a page, in the middle of a long selection from an anchor near it.
func (r reader) page(ctx context.Context, s selection, p store.Page) ([]int64, error) {
	offset, limit := s.span(p)
	older := s.total - offset - limit
	way := min(offset, older)
	if r.anchors == nil || way <= anchorStep {
		return r.walk(ctx, s, offset, limit)
	}
	from, past, err := r.anchor(ctx, s, older, way > longWalk)
	if err != nil {
		return nil, err
	}
	if from == 0 {
		return r.walk(ctx, s, offset, limit)
	}
	ids, err := r.ids(ctx, s.with(" AND id >= ?", from), "ASC", limit, past)
	slices.Reverse(ids)
	return ids, err
}

// pageWithout reads a page of what is left of a selection without the few ids of
// out, the newest first.
func (r reader) pageWithout(ctx context.Context, s selection, out []int64, p store.Page) ([]int64, error) {
	left := s
	left.total -= int64(len(out))
	offset, limit := left.span(p)
	if limit == 0 {
		return nil, nil
	}
	// Where the page begins in the whole selection: as much further on as there
	// are rows before it that are left out. Each step brings more of them into
	// sight, or no more.
	var begin int64
	for at, seen := offset, int64(-1); ; {
		row, err := r.page(ctx, s, store.Page{Offset: int(at), Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(row) == 0 {
			return nil, fmt.Errorf("the history has fewer than the %d executions that it should have", s.total)
		}
		newer := int64(indexDown(out, row[0]))
		if begin = row[0]; newer == seen {
			break
		}
		seen, at = newer, offset+newer
	}
	var ids []int64
	for more := true; more && int64(len(ids)) < limit; {
		chunk, err := r.ids(ctx, s.with(" AND id <= ?", begin), "DESC", limit, 0)
		if err != nil {
			return nil, err
		}
		if more = int64(len(chunk)) == limit; more {
			begin = chunk[len(chunk)-1] - 1
		}
		chunk = slices.DeleteFunc(chunk, func(id int64) bool {
			i := indexDown(out, id)
			return i < len(out) && out[i] == id
		})
		ids = append(ids, chunk...)
	}
	return ids[:min(int64(len(ids)), limit)], nil
}

// indexDown returns where the id stands, or would stand, among ids from the
// highest to the lowest.
func indexDown(ids []int64, id int64) int {
	i, _ := slices.BinarySearchFunc(ids, id, func(a, b int64) int { return cmp.Compare(b, a) })
	return i
}

package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const (
	// maxParts bounds how many parts of the history a page merges.
	maxParts = 64
	// maxGathered bounds how many executions of more parts are gathered and sorted;
	// of more executions the account's whole history is walked, where every
	// hundredth at least is one of them.
	maxGathered = 10_000
)

// A part is the executions of one job, or of one type at one site or anywhere:
// what an index holds in the order of ids, and execution_totals counts.
type part struct {
	account holdfast.AccountID
	job     holdfast.JobID  // 0: by type
	site    holdfast.SiteID // 0: anywhere
	kind    holdfast.JobType
	n       int64
}

func partFields(p *part) []any { return []any{&p.account, &p.job, &p.site, &p.kind, &p.n} }

// everyAccount is the condition that lets an index which begins with the account
// serve a filter without one.
const everyAccount = "account IN (SELECT id FROM accounts)"

// selection finds the executions that a filter takes in without its states and
// without when they ended, and counts them.
func (r reader) selection(ctx context.Context, a holdfast.AccountID, f store.ExecutionFilter) (selection, error) {
	restores := f.Restores && f.Job != 0
	f.Restores = false
	w, err := conditions(a, f)
	if err != nil {
		return selection{}, err
	}
	if a == 0 {
		w.add(everyAccount) // for the indexes
	}
	totals := where{conditions: slices.Clone(w.conditions), args: slices.Clone(w.args)}
	byJob := f.Job != 0 || len(f.Jobs) > 0
	switch {
	case byJob:
		totals.add("job <> 0")
	case len(f.Sites) > 0:
		totals.add("job = 0 AND site <> 0")
	default:
		totals.add("job = 0 AND site = 0")
	}
	parts, err := many(ctx, r.s, partFields, "SELECT account, job, site, type, n FROM execution_totals"+totals.String()+
		" ORDER BY account, job, site, type"+limited, append(totals.args, maxParts+1)...)
	if err != nil {
		return selection{}, err
	}
	var sel selection
	if len(parts) <= maxParts {
		for _, p := range parts {
			sel.addPart(p)
		}
	} else if sel, err = r.wide(ctx, a, w, totals, byJob); err != nil {
		return selection{}, err
	}
	if restores {
		return r.withRestores(ctx, sel, a, f)
	}
	return sel, nil
}

// wide is a selection of more parts than a page merges.
func (r reader) wide(ctx context.Context, a holdfast.AccountID, w, totals where, byJob bool) (selection, error) {
	var sel selection
	var err error
	if sel.total, err = r.s.number(ctx, "SELECT sum(n) FROM execution_totals"+totals.String(), totals.args...); err != nil {
		return sel, err
	}
	switch {
	case sel.total > maxGathered:
		// One range for each account and type: what the index begins with.
		total := sel.total
		sel, _, err = r.kinds(ctx, a, w)
		sel.total, sel.sparse = total, true
		return sel, err
	case byJob:
		sel.add(" INDEXED BY executions_job"+w.String(), w.args)
	default:
		sel.add(" INDEXED BY executions_site"+w.String(), w.args)
	}
	return sel, nil
}

// kinds walks through all that an account has, type by type, in an index that
// knows all columns of the conditions, and says through how many rows.
func (r reader) kinds(ctx context.Context, a holdfast.AccountID, w where) (sel selection, n int64, err error) {
	var of where
	of.account(a)
	parts, err := many(ctx, r.s, partFields,
		"SELECT account, job, site, type, n FROM execution_totals"+of.String()+" AND job = 0 AND site = 0 ORDER BY account, type", of.args...)
	if err != nil {
		return sel, 0, err
	}
	for _, p := range parts {
		sel.addPart(p)
	}
	n = sel.total
	switch {
	case len(parts) > maxParts: // every account of a large installation
		sel = selection{}
		sel.add(" NOT INDEXED"+w.String(), w.args)
	case len(w.conditions) > 0:
		sel = sel.with(" AND "+strings.Join(w.conditions, " AND "), w.args...)
	}
	return sel, n, nil
}

// withRestores adds the restores of what the filter's job made.
func (r reader) withRestores(ctx context.Context, sel selection, a holdfast.AccountID, f store.ExecutionFilter) (selection, error) {
	if len(f.Types) > 0 && !slices.Contains(f.Types, holdfast.JobRestore) {
		return sel, nil
	}
	var w where
	w.add("job = ? AND own <> ?", f.Job, f.Job)
	if a != 0 {
		w.add("account = ?", a)
	}
	if err := in(&w, "site", f.Sites); err != nil {
		return sel, err
	}
	if err := in(&w, "own", f.Jobs); err != nil {
		return sel, err
	}
	n, err := r.s.number(ctx, "SELECT count(*) FROM restores"+w.String(), w.args...)
	if err != nil || n == 0 {
		return sel, err
	}
	sel.total += n
	sel.addFrom("restores"+w.String(), w.args)
	return sel, nil
}

// A selection is executions in the order of their ids, out of one or several
// ranges of an index. Executions only ever join it at its newer end.
type selection struct {
	ranges []string // what follows FROM
	args   [][]any
	total  int64
	sparse bool // others lie between its executions
}

func (s *selection) add(from string, args []any) { s.addFrom("executions"+from, args) }

func (s *selection) addFrom(from string, args []any) {
	s.ranges = append(s.ranges, from)
	s.args = append(s.args, args)
}

func (s *selection) addPart(p part) {
	if p.n == 0 {
		return
	}
	s.total += p.n
	switch {
	case p.job != 0:
		s.add(" INDEXED BY executions_job WHERE account = ? AND job = ? AND site = ? AND type = "+literal(p.kind), []any{p.account, p.job, p.site})
	case p.site != 0:
		s.add(" INDEXED BY executions_site WHERE account = ? AND site = ? AND type = "+literal(p.kind), []any{p.account, p.site})
	default:
		s.add(" INDEXED BY executions_kind WHERE account = ? AND type = "+literal(p.kind), []any{p.account})
	}
}

// literal is a type as a literal of SQL; for the reason see inList.
func literal(t holdfast.JobType) string { return "'" + strings.ReplaceAll(string(t), "'", "''") + "'" }

// with adds a condition to every range. Its total is no longer known.
func (s selection) with(condition string, args ...any) selection {
	var out selection
	for i, from := range s.ranges {
		out.addFrom(from+condition, slices.Concat(s.args[i], args))
	}
	return out
}

// union is the ids of every range.
func (s selection) union() (string, []any) {
	var b strings.Builder
	var args []any
	for i, from := range s.ranges {
		if i > 0 {
			b.WriteString(" UNION ALL ")
		}
		b.WriteString("SELECT id FROM " + from)
		args = append(args, s.args[i]...)
	}
	return b.String(), args
}

// key tells selections apart.
func (s selection) key() string {
	var b strings.Builder
	for i, from := range s.ranges {
		fmt.Fprintln(&b, from, s.args[i])
	}
	return b.String()
}

func idFields(n *int64) []any { return []any{n} }

// ids reads ids in an order.
func (r reader) ids(ctx context.Context, s selection, order string, limit, offset int64) ([]int64, error) {
	text, args := s.union()
	return many(ctx, r.s, idFields, text+" ORDER BY id "+order+paged, append(args, limit, offset)...)
}

// count walks through a selection.
func (r reader) count(ctx context.Context, s selection) (int64, error) {
	text, args := s.union()
	return r.s.number(ctx, "SELECT count(*) FROM ("+text+")", args...)
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
// all anchors of a selection that is not sparse.
const longWalk = 40 * anchorStep

// page reads a page, in the middle of a long selection from an anchor near it.
func (r reader) page(ctx context.Context, s selection, offset, limit int64) ([]int64, error) {
	older := s.total - offset - limit
	way := min(offset, older)
	if r.anchors == nil || way <= 2*anchorStep {
		return r.walk(ctx, s, offset, limit)
	}
	from, past, err := r.anchor(ctx, s, older, s.sparse || way > longWalk)
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

// errShort says that rows are missing which were counted.
func errShort(total int64) error {
	return fmt.Errorf("the history has fewer than the %d executions that it should have", total)
}

package sqlite

import (
	"context"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// A counted list is rows of every account whose number a table keeps for each so
// many ids: by site, and with site 0 for the whole account. Rows may come and go
// anywhere in it, and a page needs to walk through its own blocks only.
type counted struct {
	table     string
	present   string // condition for a row to be in the list
	account   string // index by account and id
	site      string // index by account, site and id
	blocks    string // table of the counts
	counts    string // condition for a count to be the list's
	size      int64  // ids of a block
	direction string // ASC or DESC
}

// block is how many rows a list has among the ids of a block.
type block struct{ number, n int64 }

func blockFields(b *block) []any { return []any{&b.number, &b.n} }

// pageOf reads a page of what an account has at the sites, or at all, and says
// how many rows there are without the page. Of the other conditions, w, both the
// counts and the indexes know all columns.
func pageOf[T any](
	ctx context.Context, s *session, l counted, fields func(*T) []any, columns string, a holdfast.AccountID, sites []holdfast.SiteID, w where, p store.Page,
) ([]T, int, error) {
	var counts, rows where
	counts.add(l.counts+" AND account = ?", a)
	rows.add(l.present+" AND account = ?", a)
	index := l.site
	if len(sites) == 0 {
		counts.add("site = 0")
		index = l.account
	}
	if err := in(&counts, "site", sites); err != nil {
		return nil, 0, err
	}
	if err := in(&rows, "site", sites); err != nil {
		return nil, 0, err
	}
	counts.addAll(w)
	rows.addAll(w)
	blocks, err := many(ctx, s, blockFields,
		"SELECT block, sum(n) FROM "+l.blocks+counts.String()+" GROUP BY block ORDER BY block "+l.direction, counts.args...)
	if err != nil {
		return nil, 0, err
	}
	var total int64
	for _, b := range blocks {
		total += b.n
	}
	offset, limit := bounds(p, total)
	if limit == 0 {
		return nil, int(total), nil
	}
	first := 0
	for ; offset >= blocks[first].n; first++ {
		offset -= blocks[first].n
	}
	last := first
	for end := offset + limit; end > blocks[last].n; last++ {
		end -= blocks[last].n
	}
	low, high := min(blocks[first].number, blocks[last].number)*l.size, (max(blocks[first].number, blocks[last].number)+1)*l.size
	rows.add("id >= ? AND id < ?", low, high)
	out, err := about(ctx, s, int(limit), fields, "SELECT "+columns+" FROM "+l.table+" WHERE id IN (SELECT id FROM "+l.table+" INDEXED BY "+index+rows.String()+
		" ORDER BY id "+l.direction+paged+") ORDER BY id "+l.direction, append(slices.Clip(rows.args), limit, offset)...)
	return out, int(total), err
}

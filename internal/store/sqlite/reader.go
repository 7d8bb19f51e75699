package sqlite

import (
	"context"

	"github.com/holdfast-backup/holdfast/internal/store"
)

// reader is a [store.Reader] on one transaction.
type reader struct {
	s *session
	// What is known by heart; nil inside Update, which may see rows that never
	// come to be.
	anchors   *anchors
	directory *directory
	etls      *etlShelf
}

// tx is a [store.Tx] on one transaction.
type tx struct{ reader }

var _ store.Tx = tx{}

// mine is the condition for an account, given twice; zero is every account.
const mine = "(? = 0 OR account = ?)"

// limited and paged are the ends of queries. SQLite looks at the value of a
// parameter that is a limit, and prepares the statement again whenever it is
// bound; it does not look into a sum.
const (
	limited = " LIMIT 0 + ?"
	paged   = " LIMIT 0 + ? OFFSET ?"
)

// Installation returns the random id that was made with the database.
func (r reader) Installation(ctx context.Context) (string, error) {
	return one(ctx, r.s, "installation", func(s *string) []any { return []any{s} }, "SELECT id FROM installation")
}

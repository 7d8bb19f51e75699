package sqlite

import (
	"context"
	"io/fs"
	"maps"
	"slices"

	"github.com/holdfast-backup/holdfast/internal/store"
)

// WithSchema opens with other migrations than the program's own.
func WithSchema(files fs.FS) Option { return func(o *options) { o.schema = schema{files: files} } }

// EmbeddedSchema returns the program's own migrations.
func EmbeddedSchema() fs.FS { return embedded().files }

// Exec runs a statement inside a transaction.
func Exec(ctx context.Context, t store.Tx, text string, args ...any) error {
	_, err := t.(tx).s.exec(ctx, text, args...)
	return err
}

// Number reads one number inside a transaction.
func Number(ctx context.Context, r store.Reader, text string, args ...any) (int64, error) {
	switch r := r.(type) {
	case tx:
		return r.s.number(ctx, text, args...)
	case reader:
		return r.s.number(ctx, text, args...)
	}
	panic("not a transaction of this package")
}

// AnchorsOf says how many positions are known by heart.
func AnchorsOf(s *Store) int {
	s.anchors.mu.Lock()
	defer s.anchors.mu.Unlock()
	n := 0
	for _, ids := range s.anchors.ids {
		n += len(ids)
	}
	return n
}

// Statements lists the text of everything that was prepared. Nothing may be
// running.
func Statements(s *Store) []string {
	texts := map[string]bool{}
	for _, c := range s.readers.idle {
		for text := range c.stmts {
			texts[text] = true
		}
	}
	return slices.Sorted(maps.Keys(texts))
}

// WithWALLimit says beyond how many bytes the write-ahead log is begun anew.
func WithWALLimit(n int64) Option { return func(o *options) { o.walLimit = n } }

// ForgetStatements closes everything that was prepared. Nothing may be running.
func ForgetStatements(s *Store) {
	for _, c := range s.readers.idle {
		for text, st := range c.stmts {
			_ = st.Close()
			delete(c.stmts, text)
		}
	}
}

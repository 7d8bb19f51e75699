package repository_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

// TestOpenWithoutConfig: a lost config is not the same as no repository.
func TestOpenWithoutConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ object, want string }{
		{"", "there is no repository"},
		{"other", "there is no repository"},
		{"keys/" + strings.Repeat("ab", 32), "config is missing: keys/"},
		{"snapshots/" + strings.Repeat("ab", 32), "config is missing: snapshots/"},
		{"data/ab/" + strings.Repeat("ab", 32), "config is missing: data/"},
	} {
		var b objstore.Bucket = mem.New()
		if c.object != "" {
			if err := b.Put(t.Context(), c.object, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		_, err := repository.Open(t.Context(), b, holdfast.NewSecret("x"))
		if holdfast.ErrorCode(err) != holdfast.CodeNotFound || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.object, err, c.want)
		}
	}
}

package worker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/wire"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// TestJoinRefused gives tokens that lead nowhere: each is a clear error.
func TestJoinRefused(t *testing.T) {
	t.Parallel()
	id, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := wire.JoinToken{Address: "127.0.0.1:1", Pin: strings.Repeat("0", 64), Secret: holdfast.NewSecret("s3cret")}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token string
		want  holdfast.Code
	}{
		"no token":          {"", holdfast.CodeInvalid},
		"a cut token":       {nobody[:20], holdfast.CodeInvalid},
		"nobody is there":   {nobody, holdfast.CodeUnavailable},
		"some other secret": {"hft_abcdef", holdfast.CodeInvalid},
	} {
		_, err := worker.Join(t.Context(), worker.Joining{Token: c.token, Name: "w", Identity: id, Slots: 1})
		if holdfast.ErrorCode(err) != c.want || holdfast.ErrorHint(err) == "" || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v (hint %q), want %s with a hint", name, err, holdfast.ErrorHint(err), c.want)
		}
	}
}

func TestMembershipDamaged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "membership.json")
	for _, text := range []string{"", "{", "{}", `{"address":"a:1","worker":1001,"pin":"short"}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := worker.LoadMembership(path); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%q: got %v, want %s", text, err, holdfast.CodeInvalid)
		}
	}
}

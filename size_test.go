package holdfast_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]holdfast.Size{
		"0": 0, "1": 1, "1024": 1024, "1 KiB": 1024, "3MiB": 3 << 20, "2GiB": 2 << 30, "5TiB": 5 << 40, "1536KiB": 1536 << 10,
	} {
		var got, again holdfast.Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
		written, err := got.MarshalText()
		if err != nil || again.UnmarshalText(written) != nil || again != want {
			t.Errorf("%q is written as %q, %v, which is %d", text, written, err, again)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "+1", "1.5GiB", "1GB", "50M", "1mib", "9000000TiB", "1 1", "inf"} {
		if got := new(holdfast.Size); got.UnmarshalText([]byte(text)) == nil {
			t.Errorf("the size %q was taken for %d", text, *got)
		}
	}
}

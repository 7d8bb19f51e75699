package worker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine"
)

// TestKeptGoesBack runs the command of the detail, on paths that a shell would take
// apart.
func TestKeptGoesBack(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "it's $HOME; a `place`")
	var kept []engine.Kept
	for _, name := range []string{"data", "space", "gone"} {
		path := filepath.Join(base, name)
		kept = append(kept, engine.Kept{Path: path, At: engine.KeptAt(path, 1002)})
		for _, dir := range []string{path, engine.KeptAt(path, 1002)} {
			if dir == path && name == "gone" {
				continue // the restore died before it made it anew
			}
			if err := os.MkdirAll(filepath.Join(dir, "of "+filepath.Base(dir)), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	detail := withKept("it failed", kept, 1002, false)
	said, command, ok := strings.Cut(detail, "; to have it back: ")
	if !ok || !strings.HasPrefix(said, "it failed; what was in ") {
		t.Fatalf("got %q, want what went wrong, where it is, and how to have it back", detail)
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	for _, k := range kept {
		name := filepath.Base(k.At)
		if _, err := os.Stat(filepath.Join(k.Path, "of "+name)); err != nil {
			t.Errorf("%s is not back: %v", k.Path, err)
		}
		if _, err := os.Stat(k.At); err == nil {
			t.Errorf("%s is still there", k.At)
		}
	}
	if _, err := os.Stat(kept[0].Path + ".failed-1002"); err != nil {
		t.Errorf("what was half-written is gone: %v", err)
	}
}

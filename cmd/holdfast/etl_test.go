package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

// TestETLValidateNamesTheFile is for who checks many at once.
func TestETLValidateNamesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: holdfast/etl/v1\nname: a\nlaod: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := new(app).root()
	root.SetArgs([]string{"etl", "validate", file})
	err := root.ExecuteContext(t.Context())
	if got, want := holdfast.ErrorMessage(err), file+" is no sound definition:\nline 1, column 1: "; !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want it to begin with %q", got, want)
	}
	if holdfast.ErrorHint(err) == "" {
		t.Error("nothing says that more faults may show")
	}
}

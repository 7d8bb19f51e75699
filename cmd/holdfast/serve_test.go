package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/config"
)

// TestAMissingMasterKeyIsNotMadeAnew starts where a database is and its key is
// not: a new key would open none of the secrets in it, and hide that the old one
// is gone until the next backup fails.
func TestAMissingMasterKeyIsNotMadeAnew(t *testing.T) {
	dir := t.TempDir()
	c := config.Default()
	c.State = dir
	s := &state{dir: dir}
	first, err := openMaster(c, s)
	if err != nil {
		t.Fatalf("first start: %v", err)
	}
	if err := os.WriteFile(s.path(databaseName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := openMaster(c, s)
	if err != nil || again.ID() != first.ID() {
		t.Fatalf("second start: %v", err)
	}
	if err := os.Rename(c.MasterKeyFile(), filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	_, err = openMaster(c, s)
	if holdfast.ErrorCode(err) != holdfast.CodeForbidden || holdfast.ErrorHint(err) == "" {
		t.Errorf("without its key: got %v, want a refusal that says what to do", err)
	}
	if exists(c.MasterKeyFile()) {
		t.Error("a new key was made")
	}
}

// TestALostKitIsSaid ends the creation of a repository without an answer: the
// server may have made it, and the kit was in the answer.
func TestALostKitIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		said bool
	}{
		"interrupted": {errSignal, true},
		"no answer":   {holdfast.Errorf(holdfast.CodeUnavailable, "no server answers"), true},
		"refused":     {holdfast.Errorf(holdfast.CodeConflict, "the name is taken"), false},
	} {
		out, err := os.CreateTemp(t.TempDir(), "stderr")
		if err != nil {
			t.Fatal(err)
		}
		(&app{stderr: out}).warnOfLostKit(c.err, "main")
		text, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got := len(text) > 0; got != c.said {
			t.Errorf("%s: got %q, want a warning: %t", name, text, c.said)
		}
	}
}

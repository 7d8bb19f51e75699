package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
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

// TestETLWrongRequests are told of in words, before a server is asked, and exit with
// the code of a wrong request.
func TestETLWrongRequests(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(file, make([]byte, definition.MaxText+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"preview " + file, file + " is longer than a definition may be, which is 256 KiB"},
		{"create " + file, file + " is longer than a definition may be, which is 256 KiB"},
		{"preview a.yaml --rows 0", "--rows is 0: it may be from 1 to 1000"},
		{"preview a.yaml --rows 1001", "--rows is 1001: it may be from 1 to 1000"},
		{"schedule a --at tomorrow", `invalid argument "tomorrow" for "--at" flag: write the time as 2026-01-31T02:00:00Z, or with its distance from UTC as 2026-01-31T02:00:00+01:00`},
		{"counter a --set 1 --reset --flow f --extract e", "--set and --reset exclude each other"},
		{"counter a --set 1 --flow f", "which counter is to be set is missing"},
		{"counter a --flow f --extract e", "what becomes of the counter is missing"},
		{"update a --active --inactive", "--active and --inactive exclude each other"},
	} {
		a := &app{state: t.TempDir()}
		root := a.root()
		root.SetArgs(append([]string{"etl"}, strings.Fields(c.args)...))
		err := root.ExecuteContext(t.Context())
		if got := holdfast.ErrorMessage(err); holdfast.ErrorCode(err) != holdfast.CodeInvalid || got != c.want {
			t.Errorf("%s: got %v, want %q", c.args, err, c.want)
		}
	}
}

func TestPropertyFlags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"one": "a secret=\n", "two": "a\nb\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := propertyFlags{values: []string{"day=1", "x=a=b"}, files: []string{"db.password=" + filepath.Join(dir, "one")}}
	got, err := p.read()
	if err != nil || len(got) != 3 || got["day"] != "1" || got["x"] != "a=b" || got["db.password"] != "a secret=" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, file := range []string{"a", "=" + filepath.Join(dir, "one"), "a=", "a=" + filepath.Join(dir, "two"), "a=" + filepath.Join(dir, "none"), "day=" + filepath.Join(dir, "one")} {
		p.files = []string{file}
		if _, err := p.read(); holdfast.ErrorCode(err) != holdfast.CodeInvalid || strings.Contains(err.Error(), "a secret") {
			t.Errorf("%s: got %v, want that it is invalid", file, err)
		}
	}
}

package fs

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

func TestFailClassifies(t *testing.T) {
	for errno, want := range map[syscall.Errno]holdfast.Code{
		syscall.ENOSPC: holdfast.CodeExhausted, syscall.EDQUOT: holdfast.CodeExhausted, syscall.EFBIG: holdfast.CodeExhausted,
		syscall.EACCES: holdfast.CodeForbidden, syscall.EPERM: holdfast.CodeForbidden, syscall.EROFS: holdfast.CodeForbidden,
		syscall.ENAMETOOLONG: holdfast.CodeInvalid,
		syscall.EIO:          holdfast.CodeUnavailable, syscall.ESTALE: holdfast.CodeUnavailable,
		syscall.EMFILE: holdfast.CodeUnavailable, syscall.ETIMEDOUT: holdfast.CodeUnavailable,
		syscall.ELOOP: holdfast.CodeInternal,
	} {
		err := fail("/backup", &fs.PathError{Op: "write", Path: "data/ab/abc", Err: errno}, "write object %s", "data/ab/abc")
		if got := holdfast.ErrorCode(err); got != want {
			t.Errorf("%v: got code %q, want %q", errno, got, want)
		}
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), "write object data/ab/abc") {
			t.Errorf("%v: got %q, want the cause and what was tried", errno, err)
		}
		hint := holdfast.ErrorHint(err)
		switch want {
		case holdfast.CodeExhausted, holdfast.CodeForbidden, holdfast.CodeUnavailable:
			if !strings.Contains(hint, "/backup") {
				t.Errorf("%v: the hint %q does not say where", errno, hint)
			}
		}
	}
}

func TestPublishNeverReplaces(t *testing.T) {
	for name, publish := range map[string]func(*os.Root, string, string) error{"the best way": publish, "a link": publishByLink} {
		dir := t.TempDir()
		b, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		root := b.root
		for _, temp := range []string{"one", "two"} {
			if _, err := b.writeFile(root, temp, []byte(temp)); err != nil {
				t.Fatal(err)
			}
		}
		if err := publish(root, "one", "object"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := publish(root, "two", "object"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: got %v for a name that is taken, want that it exists", name, err)
		}
		if got, err := root.ReadFile("object"); err != nil || string(got) != "one" {
			t.Errorf("%s: the object holds %q, %v, want the first", name, got, err)
		}
		if _, err := root.Lstat("one"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the temporary file is still there: %v", name, err)
		}
	}
}

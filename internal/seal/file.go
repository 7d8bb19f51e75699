package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/holdfast-backup/holdfast"
)

// maxFileLen bounds what is read of a file that should hold keys.
const maxFileLen = 4096

// readFile reads a small file that only its owner may read. what names it in
// errors.
func readFile(what, path string) (data []byte, err error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, holdfast.Wrap(holdfast.CodeNotFound, err, "%s file %s is missing", what, path).
			WithHint("put it back from where you keep its copy")
	case err != nil:
		return nil, holdfast.Wrap(holdfast.CodeForbidden, err, "%s file %s cannot be opened", what, path).
			WithHint("let the user that runs holdfast own it")
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, holdfast.Wrap(holdfast.CodeUnavailable, err, "%s file %s cannot be looked at", what, path)
	case !info.Mode().IsRegular():
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s file %s is not a regular file", what, path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, holdfast.Errorf(holdfast.CodeForbidden, "%s file %s may be read by others than its owner (mode %04o)", what, path, info.Mode().Perm()).
			WithHint("run: chmod 600 %s", path)
	case info.Size() > maxFileLen:
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s file %s has %d bytes, which is too long", what, path, info.Size()).
			WithHint("put the right file there")
	}
	data, err = io.ReadAll(io.LimitReader(f, maxFileLen))
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeUnavailable, err, "%s file %s cannot be read", what, path)
	}
	return data, nil
}

// loadKey reads a file of one line in hexadecimal, size bytes long.
func loadKey(what, path string, size int) ([]byte, error) {
	data, err := readFile(what, path)
	if err != nil {
		return nil, err
	}
	text := bytes.TrimSpace(data)
	key := make([]byte, hex.DecodedLen(len(text)))
	// The error of hex.Decode shows a byte of the key: it goes nowhere.
	if _, err := hex.Decode(key, text); err != nil || len(key) != size {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s file %s does not hold %d hexadecimal digits, but %d bytes that are something else", what, path, 2*size, len(text)).
			WithHint("put the file back from where you keep its copy")
	}
	return key, nil
}

package etl

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
)

// makeDirs makes the directories of a path that are missing, each durable in the
// one above it.
func makeDirs(root *os.Root, name, shown string) error {
	info, err := root.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fileError(err, path.Join(shown, name))
	}
	above := path.Dir(path.Clean(name))
	if above != "." {
		if err := makeDirs(root, above, shown); err != nil {
			return err
		}
	}
	if err := root.Mkdir(name, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return fileError(err, path.Join(shown, name))
	}
	dir, err := root.OpenRoot(above)
	if err != nil {
		return fileError(err, path.Join(shown, above))
	}
	defer dir.Close() //nolint:errcheck // nothing was written through it
	return syncDir(dir, path.Join(shown, above))
}

// readSmall reads a file, of which nothing behind [maxManifest] is read.
func readSmall(dir *os.Root, name string) ([]byte, error) {
	file, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(file, maxManifest))
}

// writeDurably writes a small file into a directory, and the directory's entries.
func writeDurably(dir *os.Root, name string, text []byte, shown string) error {
	file, err := dir.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return fileError(err, path.Join(shown, name))
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fileError(err, path.Join(shown, name))
	}
	return syncDir(dir, shown)
}

func syncDir(dir *os.Root, shown string) error {
	d, err := dir.Open(".")
	if err != nil {
		return fileError(err, shown)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fileError(err, shown)
	}
	return nil
}

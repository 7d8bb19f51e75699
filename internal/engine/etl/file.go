package etl

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// Limits of a counter of files.
const (
	maxGone = 10_000  // files that it remembers though they are gone: they may come back
	maxSeen = 8 << 20 // bytes; about 80,000 files
)

// seenFile is a file that an extract by files has loaded.
type seenFile struct {
	Path  string    `json:"path"`
	Size  int64     `json:"size"`
	MTime time.Time `json:"mtime"` // in UTC
}

// seenFiles are those that a counter knows, by path.
type seenFiles map[string]seenFile

// has reports whether the file was loaded as it is now.
func (s seenFiles) has(f seenFile) bool {
	k, ok := s[f.Path]
	return ok && k.Size == f.Size && k.MTime.Equal(f.MTime)
}

// inputFile is a file that is read, open.
type inputFile struct {
	name string // below its connection
	file *os.File
	seen seenFile
	// temporary files have no name any more.
	temporary bool
}

// openRoot opens the directory of a connection. Nothing leads out of the allowed
// root above it: no .. and no symbolic link.
func (e *execution) openRoot(dir string) (*os.Root, error) {
	for _, r := range e.req.Roots {
		rel, err := filepath.Rel(r, dir)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		root, err := os.OpenRoot(r)
		if err != nil {
			return nil, fileError(err, r)
		}
		if rel == "." {
			return root, nil
		}
		defer root.Close() //nolint:errcheck // nothing was written
		below, err := root.OpenRoot(rel)
		if err != nil {
			return nil, fileError(err, dir)
		}
		return below, nil
	}
	return nil, holdfast.Errorf(holdfast.CodeForbidden, "the directory %s is not below a directory that this worker allows", dir).
		WithHint("start its server with --etl-root, or add it to etl_roots in the worker's configuration; now there are: %s", strings.Join(e.req.Roots, ", "))
}

// fileError puts a failed call to the file system in words.
func fileError(err error, name string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s does not exist", name).WithHint("check the path in the definition")
	case escapes(err):
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s leads out of the directory that it is looked for in", name).
			WithHint("it is a symbolic link, or lies behind one: put the file itself there, or give the directory that it leads to a connection; that directory has to be below one of the etl_roots of the worker's configuration")
	case errors.Is(err, fs.ErrPermission):
		return holdfast.Wrap(holdfast.CodeForbidden, err, "%s may not be used", name).WithHint("let the worker's user read and write it as the definition asks")
	case isFull(err):
		return holdfast.Wrap(holdfast.CodeExhausted, err, "there is no room left for %s", name).WithHint("make room there")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s cannot be used: %s", name, cause(err)).
			WithHint("raise the worker's limit of open files (ulimit -n, or LimitNOFILE of its unit), or give it fewer slots")
	}
	return holdfast.Wrap(holdfast.CodeInvalid, err, "%s cannot be used: %s", name, cause(err))
}

// escapes reports whether a path leads out of an [os.Root], whose error has no name.
func escapes(err error) bool { return cause(err) == "path escapes from parent" }

// cause is the innermost reason of an error of the file system.
func cause(err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// openFiles opens the files of an extract, by name; those that the counter has are
// left out. after is the counter when they are loaded.
func (f *flow) openFiles(ctx context.Context, in *definition.Input, counter string) (files []inputFile, after string, err error) {
	c := f.e.plan.Definition.Connections[in.Extract.Connection]
	byFile := in.Extract.Incremental != nil
	var known seenFiles
	if byFile && counter != "" {
		if known, err = parseSeen(counter); err != nil {
			return nil, "", err
		}
	}
	defer func() {
		if err != nil {
			closeFiles(files)
			files = nil
		}
	}()
	present := []string{in.Extract.File.Path}
	switch {
	case c.URL != "":
		files, err = f.fetch(ctx, c.URL, in, known)
	case c.Bucket != nil:
		files, present, err = f.fetchObjects(ctx, *c.Bucket, in, known)
	default:
		files, present, err = f.e.openMatching(c.Directory, in.Extract.File.Path, known)
	}
	if err == nil && len(files) == 0 && !byFile {
		err = f.noFile(ctx, in)
	}
	if err != nil || !byFile {
		return files, "", err
	}
	for _, file := range files {
		if _, ok := known[file.name]; ok {
			f.e.warn(ctx, "a file has changed since it was loaded, and is loaded again", "extract", in.Extract.Name, "file", file.name)
		}
	}
	if len(files) == 0 {
		return nil, "", nil
	}
	if after = known.with(files, present, maxGone).encode(); len(after) > maxSeen {
		after = known.with(files, present, 0).encode()
	}
	if len(after) > maxSeen {
		return files, "", holdfast.Errorf(holdfast.CodeInvalid, "extract %s matches so many files that its counter cannot remember them", in.Extract.Name).
			WithHint("move files that were loaded to another directory, or let several extracts read some of them each")
	}
	return files, after, nil
}

// noFile tells of a path that matches nothing. It may be mistyped: no load empties
// its target for that.
func (f *flow) noFile(ctx context.Context, in *definition.Input) error {
	if f.empties() {
		return holdfast.Errorf(holdfast.CodeNotFound, "no file matches %s of extract %s, and flow %s would have emptied its target", in.Extract.File.Path, in.Extract.Name, f.plan.Load.Name).
			WithHint("check the path; an empty file with the right columns empties the target, when the definition says empty: ok")
	}
	f.e.warn(ctx, "no file matches the path of an extract", "extract", in.Extract.Name, "path", in.Extract.File.Path)
	return nil
}

// openMatching opens the regular files that match a path below a directory, but for
// those that are known. present are the names of all.
func (e *execution) openMatching(dir, pattern string, known seenFiles) (files []inputFile, present []string, err error) {
	root, err := e.openRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close() //nolint:errcheck // nothing was written
	defer func() {
		if err != nil {
			closeFiles(files)
			files = nil
		}
	}()
	place, last := path.Split(pattern)
	matched := []string{last}
	if strings.ContainsAny(last, "*?[") {
		if matched, err = matching(root, strings.TrimSuffix(place, "/"), last); err != nil {
			return nil, nil, fileError(err, path.Join(dir, place))
		}
	}
	for _, name := range matched {
		name = path.Join(place, name)
		present = append(present, name)
		file, err := openRegular(root, name)
		if err != nil {
			return files, nil, fileError(err, path.Join(dir, name))
		}
		info, err := file.Stat()
		if err != nil {
			_ = file.Close()
			return files, nil, fileError(err, path.Join(dir, name))
		}
		seen := seenFile{Path: name, Size: info.Size(), MTime: info.ModTime().UTC()}
		if known.has(seen) {
			_ = file.Close()
			continue
		}
		files = append(files, inputFile{name: name, file: file, seen: seen})
	}
	return files, present, nil
}

// openRegular opens a file for reading. Opening a pipe that nobody writes would
// wait for ever.
func openRegular(root *os.Root, name string) (*os.File, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("it is no regular file")}
	}
	return root.Open(name)
}

// matching returns the names of files in a directory that match, in order. Hidden
// ones do not.
func matching(root *os.Root, dir, pattern string) ([]string, error) {
	if dir == "" {
		dir = "."
	}
	entries, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		ok, err := path.Match(pattern, e.Name())
		if err != nil {
			return nil, err
		}
		if ok && !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			all = append(all, e.Name())
		}
	}
	return all, nil
}

// with adds files that are loaded as well. Of those that are gone so many stay, the
// newest; one that is there would be loaded again if it were forgotten.
func (s seenFiles) with(files []inputFile, present []string, stay int) seenFiles {
	all := seenFiles{}
	maps.Copy(all, s)
	for _, f := range files {
		all[f.name] = f.seen
	}
	gone := maps.Clone(all)
	for _, name := range present {
		delete(gone, name)
	}
	oldest := slices.SortedFunc(maps.Values(gone), func(a, b seenFile) int { return a.MTime.Compare(b.MTime) })
	for _, f := range oldest[:max(0, len(oldest)-stay)] {
		delete(all, f.Path)
	}
	return all
}

func closeFiles(files []inputFile) {
	for _, f := range files {
		_ = f.file.Close() // only read
	}
}

// copyFile gives a file's bytes to w, and ends with the context.
func (e *execution) copyFile(ctx context.Context, w io.Writer, file *os.File) error {
	m := &meter{w: w, report: e.req.Report}
	defer func() {
		m.flush()
		e.bytes.Add(m.total)
	}()
	buf := make([]byte, 256<<10)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := file.Read(buf)
		if n > 0 {
			if _, err := m.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fileError(err, file.Name())
		}
	}
}

// parseSeen reads a counter of files.
func parseSeen(value string) (seenFiles, error) {
	var list []seenFile
	if err := json.Unmarshal([]byte(value), &list); err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the counter of files is no list of files").
			WithHint(`set it to [{"path": "orders/1.csv", "size": 1024, "mtime": "2026-01-31T12:00:00Z"}], or to nothing to load all files again`)
	}
	all := seenFiles{}
	for _, f := range list {
		f.MTime = f.MTime.UTC() // a person writes it with the offset of his clock
		all[f.Path] = f
	}
	return all, nil
}

// encode writes the counter, ordered by path.
func (s seenFiles) encode() string {
	list := slices.SortedFunc(maps.Values(s), func(a, b seenFile) int { return strings.Compare(a.Path, b.Path) })
	b, err := json.Marshal(list)
	if err != nil || len(list) == 0 { // times of files marshal
		return "[]"
	}
	return string(b)
}

// isFull reports whether a disk has no room left.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// parquet makes Parquet files readable for the engine: it has to jump about in them,
// which no pipe lets it do, so each gets a name in the one directory that is open to
// it.
func (s *Session) parquet(ctx context.Context, rel *relation, files []*os.File) error {
	for _, f := range files {
		path, err := s.place(ctx, f)
		if err != nil {
			return err
		}
		rel.links = append(rel.links, path)
	}
	names := map[string]string{}
	for i, path := range rel.links {
		names[path] = rel.input.Names[i]
	}
	body, err := s.scanParquet(ctx, rel.input, rel.links)
	rel.body = body
	return naming(err, names)
}

// place gives a file another name, or copies it, where the first cannot be done: on
// another file system, or in a file that is another user's.
func (s *Session) place(ctx context.Context, f *os.File) (string, error) {
	s.mu.Lock()
	s.placed++
	path := filepath.Join(filesDir(s.dir), fmt.Sprintf("%d.parquet", s.placed))
	s.mu.Unlock()
	raw, err := f.SyscallConn()
	if err != nil {
		return "", fmt.Errorf("take a file: %w", err)
	}
	var linked error
	err = raw.Control(func(fd uintptr) {
		linked = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	})
	if err != nil {
		return "", fmt.Errorf("take a file: %w", err)
	}
	if linked == nil {
		return path, nil
	}
	if err := s.copyFile(ctx, f, path); err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, nil
}

// copyFile copies a file, within the bounds of temporary space.
func (s *Session) copyFile(ctx context.Context, f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("copy a file: %w", err)
	}
	if info.Size() > s.temp {
		return holdfast.Errorf(holdfast.CodeExhausted, "a Parquet file of %d bytes has to be copied, and the engine may have %d bytes of temporary space", info.Size(), s.temp).
			WithHint("raise resources.temp in the definition, or put the worker's temporary directory on the file system of the file")
	}
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("copy a file: %w", err)
	}
	from := io.NewSectionReader(f, 0, info.Size())
	for err == nil && ctx.Err() == nil {
		_, err = io.CopyN(to, from, 16<<20) // so that a cancellation does not wait long
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(ctx.Err(), err, to.Close())
}

// filesDir is where the engine may open files by their names.
func filesDir(dir string) string { return filepath.Join(dir, "files") }

// scanParquet reads Parquet, whose columns have types of their own.
func (s *Session) scanParquet(ctx context.Context, in *duck.Input, paths []string) (string, error) {
	source := "read_parquet(" + list(paths) + ")"
	rows, err := s.db.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM "+source+")")
	if err != nil {
		return "", err
	}
	defer rows.Close()
	types := map[string]string{}
	var names []string
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			return "", err
		}
		types[name] = typ
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	selected := make([]string, len(in.Columns))
	for i, c := range in.Columns {
		typ, ok := types[c.Name]
		if !ok {
			return "", holdfast.Errorf(holdfast.CodeInvalid, "%s has no column %s", in.Names[0], c.Name).
				WithHint("it has %s", strings.Join(names, ", "))
		}
		value, want := identifier(c.Name), duck.TypeOf(c.Type).DuckDB
		if want == "VARCHAR" { // as PostgreSQL writes it
			_, value = duck.ResultOf(typ, value)
		}
		selected[i] = fmt.Sprintf("CAST(%s AS %s) AS %s", value, want, identifier(c.Name))
	}
	return "SELECT " + strings.Join(selected, ", ") + " FROM " + source, nil
}

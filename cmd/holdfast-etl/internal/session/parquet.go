package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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

// describe answers with the columns of Parquet files.
func (s *Session) describe(ctx context.Context, d *duck.Describe, files []*os.File, r *duck.Response) error {
	rel := &relation{}
	defer rel.close()
	names := map[string]string{}
	for i, f := range files {
		path, err := s.place(ctx, f)
		if err != nil {
			return err
		}
		rel.links = append(rel.links, path)
		names[path] = d.Names[i]
	}
	columns, err := s.describeFiles(ctx, rel.links, d.Names)
	r.Columns = columns
	return naming(err, names)
}

// describeFiles returns the columns that Parquet files have, which must be the same in
// all: the engine would cast those of the others to the types of the first.
func (s *Session) describeFiles(ctx context.Context, paths, names []string) ([]duck.Column, error) {
	var first []duck.Column
	for i, path := range paths {
		own, err := s.describeFile(ctx, path)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			first = own
			continue
		}
		for _, c := range first {
			at := slices.IndexFunc(own, func(o duck.Column) bool { return o.Name == c.Name })
			switch {
			case at < 0:
				return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s has no column %s, and %s has", names[i], c.Name, names[0]).WithHint("%s", duck.HintFilesDiffer)
			case own[at].Type != c.Type:
				return nil, holdfast.Errorf(holdfast.CodeInvalid, "column %s is %s in %s, and %s in %s", c.Name, own[at].Type, names[i], c.Type, names[0]).
					WithHint("%s", duck.HintFilesDiffer)
			}
		}
	}
	return first, nil
}

func (s *Session) describeFile(ctx context.Context, path string) (all []duck.Column, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet("+literal(path)+"))")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c duck.Column
		if err := rows.Scan(&c.Name, &c.Type); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

// scanParquet reads Parquet, whose columns have types of their own.
func (s *Session) scanParquet(ctx context.Context, in *duck.Input, paths []string) (string, error) {
	own, err := s.describeFiles(ctx, paths, in.Names)
	if err != nil {
		return "", err
	}
	selected := make([]string, len(in.Columns))
	for i, c := range in.Columns {
		at := slices.IndexFunc(own, func(o duck.Column) bool { return o.Name == c.Name })
		if at < 0 {
			var names []string
			for _, o := range own {
				names = append(names, o.Name)
			}
			return "", holdfast.Errorf(holdfast.CodeInvalid, "%s has no column %s", in.Names[0], c.Name).
				WithHint("it has %s", strings.Join(names, ", "))
		}
		if !duck.Fits(own[at].Type, c.Type) {
			return "", holdfast.Errorf(holdfast.CodeInvalid, "column %s is %s in %s, and not %s", c.Name, own[at].Type, in.Names[0], c.Type)
		}
		value, want := identifier(c.Name), duck.TypeOf(c.Type).DuckDB
		if want == "VARCHAR" { // as PostgreSQL writes it
			_, value = duck.ResultOf(own[at].Type, value)
		}
		selected[i] = fmt.Sprintf("CAST(%s AS %s) AS %s", value, want, identifier(c.Name))
	}
	return "SELECT " + strings.Join(selected, ", ") + " FROM read_parquet(" + list(paths) + ")", nil
}

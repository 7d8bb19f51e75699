package main

import (
	"context"
	"errors"
	iofs "io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

// repositories makes repositories in directories. It implements
// service.Repositories.
type repositories struct{}

// NewKitPassword implements service.Repositories.
func (repositories) NewKitPassword() (holdfast.Secret, error) { return repository.NewKitPassword() }

// Create makes an empty repository with two key slots. When it fails, a
// directory that it made is gone again.
func (repositories) Create(ctx context.Context, location string, svc, kit holdfast.Secret) (_ string, err error) {
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "file" || u.Path == "" {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "location %q is not the URL of a directory", location).WithHint("use file:///absolute/path")
	}
	_, statErr := os.Lstat(u.Path)
	made := errors.Is(statErr, iofs.ErrNotExist)
	defer func() {
		if err != nil && made {
			removeEmpty(u.Path)
		}
	}()
	b, err := fs.Create(u.Path)
	if err != nil {
		return "", err
	}
	r, err := repository.Create(ctx, b, svc, kit)
	if err != nil {
		return "", err
	}
	return r.ID(), nil
}

// removeEmpty removes a directory and what is below it, as far as there are no
// files: those may be of another repository that was made meanwhile.
func removeEmpty(dir string) {
	var dirs []string
	_ = filepath.WalkDir(dir, func(p string, d iofs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil
	})
	for _, d := range slices.Backward(dirs) {
		_ = os.Remove(d) // what is left in the way of a new attempt is an empty directory at most
	}
}

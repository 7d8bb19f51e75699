// Package place opens where a repository stands: the bucket that a location and its
// access lead to. It is the one way there, for the service, for workers, and for
// commands without a server.
package place

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/objstore/limit"
	"github.com/holdfast-backup/holdfast/internal/objstore/retry"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3"
)

// probe begins the name of the object that is written twice where a repository is to
// be. Who may do nothing else may still delete what begins with locks/; no repository
// is there yet that could take it for a lock. Its name is new each time: a server that
// keeps versions may take a deleted one for one that exists.
const probe = "locks/conditions-"

// Open opens the bucket at a location. What comes of an object store is tried again,
// and counts against the access's limit each time. Idle connections to it end by
// themselves, a minute after the last request.
func Open(location string, access holdfast.ObjectAccess, log *slog.Logger) (objstore.Bucket, error) {
	l, err := holdfast.ParseLocation(location)
	if err != nil {
		return nil, err
	}
	if !l.InStore() {
		return fs.Open(l.Dir)
	}
	b, err := open(l, access)
	if err != nil {
		return nil, err
	}
	return patient(b, access, log), nil
}

// OpenVersions opens what the store at a location has kept of what was deleted there.
// CodeInvalid for a directory: it keeps nothing.
func OpenVersions(location string, access holdfast.ObjectAccess, log *slog.Logger) (objstore.Versions, error) {
	l, err := holdfast.ParseLocation(location)
	if err != nil {
		return nil, err
	}
	if !l.InStore() {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s is a directory, which does not keep what was deleted", l).
			WithHint("bring it back from a copy of the directory, or from a snapshot of its file system")
	}
	b, err := open(l, access)
	if err != nil {
		return nil, err
	}
	return retry.WrapVersions(b, retry.Options{Log: log}), nil
}

// Store is a bucket that takes objects of any size, too.
type Store struct {
	objstore.Bucket
	uploads *retry.Uploads
}

// Upload puts an object that need not fit into memory. An object of that name is
// overwritten.
func (s *Store) Upload(ctx context.Context, name string, content io.ReaderAt, size int64) error {
	return s.uploads.Upload(ctx, name, content, size)
}

// OpenStore is Open for a location in an object store.
func OpenStore(location string, access holdfast.ObjectAccess, log *slog.Logger) (*Store, error) {
	l, err := holdfast.ParseLocation(location)
	if err != nil {
		return nil, err
	}
	if !l.InStore() {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s is no bucket of an object store", l).WithHint("use s3:https://HOST/BUCKET/PREFIX")
	}
	b, err := open(l, access)
	if err != nil {
		return nil, err
	}
	return &Store{Bucket: patient(b, access, log), uploads: retry.WrapParts(b, retry.Options{Log: log})}, nil
}

func open(l holdfast.Location, access holdfast.ObjectAccess) (*s3.Bucket, error) {
	if access.IsZero() {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the access key for %s is missing", l).
			WithHint("holdfast repository access sets the one that a server uses; without a server, set HOLDFAST_S3_ACCESS_KEY and HOLDFAST_S3_SECRET_KEY")
	}
	if err := access.Validate(); err != nil {
		return nil, err
	}
	return s3.Open(s3.Config{
		Endpoint: l.Host, Plain: l.Plain, Bucket: l.Bucket, Prefix: l.Prefix,
		AccessKey: access.AccessKey, SecretKey: access.SecretKey, SessionToken: access.SessionToken,
		CA: []byte(access.CA), Region: access.Region, PathStyle: access.PathStyle,
		StorageClass: access.StorageClass, Encryption: access.Encryption,
	})
}

func patient(b objstore.Bucket, access holdfast.ObjectAccess, log *slog.Logger) objstore.Bucket {
	return retry.Wrap(limit.New(access.BytesPerSec).Wrap(b), retry.Options{Log: log})
}

// Create opens a place for a new repository: a directory, which it makes if need be,
// or a bucket under whose prefix nothing is. CodeConflict when something is there,
// CodeInvalid for a store that overwrites objects although it is asked not to. undo
// takes back what Create has made, as long as nothing else is in it.
func Create(ctx context.Context, location string, access holdfast.ObjectAccess, log *slog.Logger) (_ objstore.Bucket, undo func(), err error) {
	l, err := holdfast.ParseLocation(location)
	if err != nil {
		return nil, nil, err
	}
	if !l.InStore() {
		return createDir(l.Dir)
	}
	b, err := open(l, access)
	if err != nil {
		return nil, nil, err
	}
	// One try each: somebody waits, and a second probe would find the first one.
	if err := empty(ctx, b, l); err != nil {
		return nil, nil, err
	}
	if err := b.CheckConditions(ctx, probe+strings.ToLower(rand.Text())); err != nil {
		return nil, nil, err
	}
	return patient(b, access, log), func() {}, nil
}

// empty refuses a prefix under which there is anything.
func empty(ctx context.Context, b objstore.Bucket, l holdfast.Location) error {
	errFound := errors.New("found")
	var name string
	err := b.List(ctx, "", func(i objstore.Info) error {
		name = i.Name
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return holdfast.Errorf(holdfast.CodeConflict, "%s is not empty: %s is there", l, name).
			WithHint("choose another prefix; or, if nothing needs it, remove what is there")
	case err != nil:
		return err
	}
	return nil
}

func createDir(dir string) (objstore.Bucket, func(), error) {
	_, err := os.Lstat(dir)
	made := errors.Is(err, iofs.ErrNotExist)
	undo := func() {
		if made {
			removeEmpty(dir)
		}
	}
	if err := emptyDir(dir); err != nil {
		return nil, nil, err
	}
	b, err := fs.Create(dir)
	if err != nil {
		undo()
		return nil, nil, err
	}
	return b, undo, nil
}

// emptyDir refuses a directory in which there is anything but what a filesystem puts into
// its root.
func emptyDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil // missing; or making the repository says what is wrong
	}
	defer d.Close() //nolint:errcheck // read only
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil // as above
	}
	for _, name := range names {
		if name != "lost+found" {
			return holdfast.Errorf(holdfast.CodeConflict, "%s is not empty: %q is there", dir, name).
				WithHint("choose another directory; or connect it, if it is a repository: holdfast repository connect")
		}
	}
	return nil
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

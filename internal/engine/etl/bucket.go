package etl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	stores "github.com/holdfast-backup/holdfast/internal/objstore/place"
)

const (
	bucketCallLimit = time.Minute     // for a small object
	bucketListLimit = 5 * time.Minute // for a listing
	maxObjects      = 100_000         // that a path may match
)

var errBucketSilent = errors.New("the object store does not answer")

// bucket is where the flow writes in an object store; nil: it does not.
func (f *flow) bucket() *definition.Bucket {
	return f.e.plan.Definition.Connections[f.plan.Load.Connection].Bucket
}

// shownIn names an object for people.
func shownIn(b definition.Bucket, name string) string {
	return strings.TrimSuffix(b.Location, "/") + "/" + name
}

// openBucket opens a place in an object store, with the keys among the properties.
func (e *execution) openBucket(b definition.Bucket) (*stores.Store, error) {
	values := map[string]holdfast.Secret{}
	for what, parameter := range b.Parameters() {
		p := e.plan.Definition.Parameters[parameter]
		text := ""
		if v := e.plan.Parameters[parameter]; v != nil {
			text = *v
		} else if v, ok := e.req.Properties[p.Property]; ok { // who looks on has no parameters
			text = v
		}
		if text == "" {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "property %s, the %s for %s, is not set", p.Property, strings.ReplaceAll(what, "_", " "), b.Location).
				WithHint("set it in the run configuration: holdfast etl configuration update ETL CONFIGURATION --property-file %s=FILE", p.Property)
		}
		values[what] = holdfast.NewSecret(text)
	}
	return stores.OpenStore(b.Location, holdfast.ObjectAccess{
		AccessKey: values["access_key"].Reveal(), SecretKey: values["secret_key"], SessionToken: values["session_token"],
		Region: b.Region, PathStyle: b.PathStyle, CA: b.CA, StorageClass: b.StorageClass, Encryption: b.Encryption,
	}, e.logOf())
}

// logOf is where the store's retries are told of; who looks on has no log of its own.
func (e *execution) logOf() *slog.Logger {
	if e.log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return e.log
}

// fetchObjects gets the objects that match the path of an extract, but for those that
// are known, into the directory for temporary files. present are the names of all.
func (f *flow) fetchObjects(ctx context.Context, b definition.Bucket, in *definition.Input, known seenFiles) (files []inputFile, present []string, err error) {
	s, err := f.e.openBucket(b)
	if err != nil {
		return nil, nil, err
	}
	found, err := matchingObjects(ctx, s, in.Extract.File.Path)
	if err != nil {
		return nil, nil, f.bucketError(err, shownIn(b, in.Extract.File.Path))
	}
	defer func() {
		if err != nil {
			closeFiles(files)
			files = nil
		}
	}()
	for _, o := range found {
		present = append(present, o.Name)
		seen := seenFile{Path: o.Name, Size: o.Size, MTime: o.Modified}
		if known.has(seen) || f.e.preview && len(files) > 0 { // a preview reads the first one only
			continue
		}
		file, err := f.fetchObject(ctx, s, o, int64(in.Extract.File.MaxSize), shownIn(b, o.Name))
		if err != nil {
			return files, nil, err
		}
		files = append(files, inputFile{name: o.Name, file: file, seen: seen, temporary: true})
	}
	return files, present, nil
}

// matchingObjects lists the objects that a path names, in order. Hidden ones do not
// match a pattern.
func matchingObjects(ctx context.Context, b objstore.Bucket, pattern string) ([]objstore.Info, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bucketListLimit, errBucketSilent)
	defer cancel()
	fixed := strings.IndexAny(pattern, "*?[")
	if fixed < 0 {
		o, err := b.Stat(ctx, pattern)
		return []objstore.Info{o}, err
	}
	dir := path.Dir(pattern)
	var all []objstore.Info
	err := b.List(ctx, pattern[:fixed], func(o objstore.Info) error {
		ok, err := path.Match(pattern, o.Name)
		if err != nil || !ok || path.Dir(o.Name) != dir || strings.HasPrefix(path.Base(o.Name), ".") {
			return err
		}
		if all = append(all, o); len(all) > maxObjects {
			return holdfast.Errorf(holdfast.CodeInvalid, "the path %s matches more than %d objects", pattern, maxObjects).
				WithHint("let several extracts read some of them each, or move those away that were loaded")
		}
		return nil
	})
	return all, err
}

// fetchObject gets one object.
func (f *flow) fetchObject(ctx context.Context, s *stores.Store, o objstore.Info, limit int64, shown string) (_ *os.File, err error) {
	if limit == 0 {
		limit = defaultFetch
	}
	if o.Size > limit {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s is larger than %d bytes", shown, limit).WithHint("raise max_size of the file, if that is as it should be")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(fetchIdleLimit, func() { cancel(holdfast.Wrap(holdfast.CodeUnavailable, errBucketSilent, "%s was cut off", shown)) })
	defer idle.Stop()
	r, err := s.Get(ctx, o.Name, 0, -1)
	if err != nil {
		return nil, f.bucketError(err, shown)
	}
	defer r.Close() //nolint:errcheck // only read
	file, err := f.e.tempFile()
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(diskFile{file}, &idleReader{r: io.LimitReader(r, limit+1), reset: func() { idle.Reset(fetchIdleLimit) }})
	switch {
	case err != nil:
		err = f.bucketError(err, shown)
	case n != o.Size:
		err = holdfast.Errorf(holdfast.CodeUnavailable, "%s has changed while it was looked at: it has %d bytes now, and had %d", shown, n, o.Size)
	default:
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		closeFiles([]inputFile{{file: file, temporary: true}})
		return nil, err
	}
	return file, nil
}

// diskFile says what is wrong with the disk, where a reader's error is the store's.
type diskFile struct{ *os.File }

func (d diskFile) Write(b []byte) (int, error) {
	n, err := d.File.Write(b)
	if err != nil {
		err = fileError(err, path.Dir(d.Name()))
	}
	return n, err
}

// bucketError puts what a store has refused in words for who wrote the definition.
func (f *flow) bucketError(err error, shown string) error {
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s does not exist", shown).WithHint("check the path in the definition")
	}
	return fmt.Errorf("%s: %w", shown, err)
}

// readObject reads a small object.
func readObject(ctx context.Context, b objstore.Bucket, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bucketCallLimit, errBucketSilent)
	defer cancel()
	return objstore.ReadAll(ctx, b, name, maxManifest)
}

// listNames lists the names that begin with prefix.
func listNames(ctx context.Context, b objstore.Bucket, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bucketListLimit, errBucketSilent)
	defer cancel()
	var all []string
	err := b.List(ctx, prefix, func(o objstore.Info) error {
		all = append(all, o.Name)
		return nil
	})
	return slices.Clip(all), err
}

func deleteObject(ctx context.Context, b objstore.Bucket, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bucketCallLimit, errBucketSilent)
	defer cancel()
	return b.Delete(ctx, name)
}

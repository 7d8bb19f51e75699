package etl

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	stores "github.com/holdfast-backup/holdfast/internal/objstore/place"
)

// outputPrefix begins the names of directories in which versions for buckets grow.
const outputPrefix = "holdfast-etl-output-"

// bucketOutput is the prefix of a flow's versions in an object store. A version's files
// are put below a prefix that nobody else uses; a state that names it makes it visible.
type bucketOutput struct {
	*output // what it says of the newest version; it has no directory
	store   *stores.Store
	prefix  string // before every name
	began   bucketState
}

var _ versions = (*bucketOutput)(nil)

// openBucketOutput reads what the flow has written.
func (f *flow) openBucketOutput(ctx context.Context) (*bucketOutput, error) {
	b := *f.bucket()
	s, err := f.e.openBucket(b)
	if err != nil {
		return nil, err
	}
	at := f.plan.Load.Output.Path
	o := &bucketOutput{output: &output{f: f, shown: shownIn(b, at)}, store: s, prefix: at}
	if o.began, err = o.state(ctx); err != nil {
		return nil, err
	}
	o.newest = o.began.Version
	if o.began.Manifest != nil {
		o.last = *o.began.Manifest
	}
	return o, nil
}

func (o *bucketOutput) key(name string) string { return o.prefix + "/" + name }

// claim makes the prefix ours, as [output.claim] does a directory, and removes what
// closed fences were writing.
func (o *bucketOutput) claim(ctx context.Context) error {
	var s bucketState
	err := o.change(ctx, func(now *bucketState) (changed bool, err error) {
		changed, err = now.Claims.claim(o.f.e.req, time.Now().UTC())
		s = *now
		return changed, err
	})
	if err != nil {
		return err
	}
	o.sweep(ctx, s)
	return nil
}

// release closes our fence.
func (o *bucketOutput) release(ctx context.Context) error {
	var s bucketState
	err := o.change(ctx, func(now *bucketState) (bool, error) {
		changed := now.Claims.release(o.f.e.req, time.Now().UTC())
		s = *now
		return changed, nil
	})
	if err != nil {
		return err
	}
	o.sweep(ctx, s)
	return nil
}

func (o *bucketOutput) mayWrite(ctx context.Context) error {
	s, err := o.state(ctx)
	if err != nil {
		return err
	}
	return o.mayWriteIn(s)
}

// mayWriteIn is [engine.ErrStale] when the state says that our fence is closed.
func (o *bucketOutput) mayWriteIn(s bucketState) error {
	req := o.f.e.req
	if _, known := s.Claims.Executions[holderOf(req)]; !known {
		return holdfast.Errorf(holdfast.CodeUnavailable, "%s has lost what flow %s wrote there", o.shown, o.f.plan.Load.Name).
			WithHint("if it was restored, the next attempt goes on from what it holds now")
	}
	if !s.Claims.open(fencedBy(req)) {
		return engine.ErrStale
	}
	return nil
}

// begin makes a directory of this machine in which the version grows.
func (o *bucketOutput) begin(context.Context) (v *version, err error) {
	home := o.f.e.p.temp()
	sweepTemp(home, outputPrefix)
	v = &version{o: o.output, number: o.newest + 1, temp: outputPrefix + rand.Text()}
	v.shown = path.Join(home, v.temp)
	if v.home, err = os.OpenRoot(home); err != nil {
		return nil, fileError(err, home)
	}
	if err = v.home.Mkdir(v.temp, 0o700); err == nil {
		v.dir, err = v.home.OpenRoot(v.temp)
	}
	if err != nil {
		v.drop()
		return nil, fileError(err, v.shown)
	}
	return v, nil
}

// versionPrefix is where a version's files are: nobody else has used the name.
func (o *bucketOutput) versionPrefix(number int) string {
	return nameOf(number) + "-" + fencedBy(o.f.e.req).name() + "-" + strings.ToLower(rand.Text()[:8])
}

// commit puts the files, and then the state that names them. [engine.ErrStale] when it
// is not ours to write any longer.
func (o *bucketOutput) commit(ctx context.Context, v *version) (err error) {
	prefix := o.versionPrefix(v.number)
	manifest := v.manifest
	committed, tried := false, false
	defer func() {
		// A state that was put, or may have been, names them: a sweep knows better.
		if !committed && !tried {
			o.remove(context.WithoutCancel(ctx), prefix+"/")
		}
	}()
	if err := o.put(ctx, v, prefix); err != nil {
		return err
	}
	o.f.e.p.step("uploaded")
	err = o.change(ctx, func(s *bucketState) (bool, error) {
		if err := o.mayWriteIn(*s); err != nil {
			return false, err
		}
		if same, err := s.same(o.began); err != nil || !same {
			if err == nil {
				err = holdfast.Errorf(holdfast.CodeUnavailable, "the newest version in %s, or its counter, has changed meanwhile", o.shown).
					WithHint("the next attempt goes on from what is there now")
			}
			return false, err
		}
		s.Version, s.Prefix, s.Manifest = v.number, prefix, &manifest
		tried = true
		return true, nil
	})
	committed = err == nil
	return err
}

// put uploads the files of a version.
func (o *bucketOutput) put(ctx context.Context, v *version, prefix string) error {
	entries, err := fs.ReadDir(v.dir.FS(), ".")
	if err != nil {
		return fileError(err, v.shown)
	}
	for _, e := range entries {
		file, err := v.dir.Open(e.Name())
		if err != nil {
			return fileError(err, path.Join(v.shown, e.Name()))
		}
		info, err := file.Stat()
		if err == nil {
			err = o.store.Upload(ctx, o.key(prefix+"/"+e.Name()), file, info.Size())
		}
		_ = file.Close() // only read
		if err != nil {
			return o.f.bucketError(err, o.shown+"/"+prefix+"/"+e.Name())
		}
	}
	return nil
}

// remove removes what is below a prefix, as far as the store lets us. What is under
// retention stays, and nobody sees it.
func (o *bucketOutput) remove(ctx context.Context, prefix string) {
	names, err := listNames(ctx, o.store, o.key(prefix))
	for _, name := range names {
		if e := deleteObject(ctx, o.store, name); e != nil && !retained(e) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		o.f.e.log.InfoContext(ctx, "objects that no version names are left", "prefix", o.shown+"/"+prefix, "error", err)
	}
}

func retained(err error) bool {
	_, ok := objstore.RetainedUntil(err)
	return ok
}

// sweep removes what closed fences were writing: it would have become the version
// behind the newest.
func (o *bucketOutput) sweep(ctx context.Context, s bucketState) {
	names, err := listNames(ctx, o.store, o.key(nameOf(s.Version+1)+"-"))
	if err != nil {
		return // a later one tries again
	}
	done := map[string]bool{}
	for _, name := range names {
		prefix, _, _ := strings.Cut(strings.TrimPrefix(name, o.key("")), "/")
		w, ok := writerOf(prefix)
		if ok && !done[prefix] && !s.Claims.open(w) {
			done[prefix] = true
			o.remove(ctx, prefix+"/")
		}
	}
}

// writerOf returns who puts files below a version's prefix.
func writerOf(prefix string) (w fenced, ok bool) {
	number, rest, _ := strings.Cut(prefix, "-")
	at := strings.LastIndexByte(rest, '-') // what follows is by chance
	if at < 0 || !versionName.MatchString(number) {
		return w, false
	}
	return parseFenced(rest[:at])
}

// prune removes versions beyond those that stay, and what others have written for the
// newest number in vain.
func (o *bucketOutput) prune(ctx context.Context) error {
	if o.f.e.req.Simulate {
		return nil
	}
	s, err := o.state(ctx)
	if err != nil {
		return err
	}
	kept, list := o.f.plan.Load.Output.MaxKept, nameOf(s.Version)+"-"
	if kept > 0 {
		list = "v"
	}
	names, err := listNames(ctx, o.store, o.key(list))
	if err != nil {
		return o.f.bucketError(err, o.shown)
	}
	var errs []error
	told := map[string]bool{}
	for _, name := range names {
		prefix, _, _ := strings.Cut(strings.TrimPrefix(name, o.key("")), "/")
		var number int
		if _, err := fmt.Sscanf(prefix, "v%d-", &number); err != nil || prefix == s.Prefix || number > s.Version {
			continue
		}
		if number < s.Version && (kept == 0 || number > s.Version-kept) {
			continue
		}
		if err := deleteObject(ctx, o.store, name); err != nil {
			if !retained(err) {
				errs = append(errs, err)
			}
			continue
		}
		if !told[prefix] && number < s.Version {
			told[prefix] = true
			o.f.e.log.InfoContext(ctx, "old version removed", "flow", o.f.plan.Load.Name, "version", number)
		}
	}
	return errors.Join(errs...)
}

// setCounter puts a state with another counter of the newest version. Who writes a
// version meanwhile finds it when it commits, and starts anew.
func (o *bucketOutput) setCounter(ctx context.Context, extract, value string) error {
	return o.change(ctx, func(s *bucketState) (bool, error) {
		if s.Manifest == nil {
			return false, holdfast.Errorf(holdfast.CodeConflict, "the flow has written no version yet, and its counter stands in the newest one")
		}
		m := o.f.withCounter(*s.Manifest, extract, value)
		s.Manifest = &m
		return true, nil
	})
}

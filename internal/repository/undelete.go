package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// undeleteLanes is how many objects are brought back at once.
const undeleteLanes = 16

// UndeleteOptions say what Undelete brings back.
type UndeleteOptions struct {
	Since  time.Time // by the store's clock
	DryRun bool      // look only
	// Progress is called for each object when it is back, from one goroutine at a time; nil: nobody
	// wants to know.
	Progress func(Undeleted)
}

// UndeleteResult is what Undelete found.
type UndeleteResult struct {
	Objects []Undeleted // that are back, or would be, in the order in which they come back
	Lost    []Undeleted // of which the store has no version that could come back
}

// Undeleted is an object that was deleted, or written over.
type Undeleted struct {
	Name string
	Time time.Time // of the delete, or of what was written last, by the store's clock
	Size int64     // of what comes back
	// Done says how it comes back; empty: it is lost.
	Done     string
	Versions int // that the store has kept of it; of a lost object none is what its name says
}

// How an object comes back.
const (
	UndeletedMarker = "undeleted" // its delete marker was taken away
	UndeletedAgain  = "restored"  // its good version was written again, over one that is not
)

// Undelete brings back what was deleted of a repository since a time, or written over, its
// locks apart. It needs no key: the keys may be among it. The name of an object is the
// hash of what it holds, so the good one of several versions is known; nothing but delete
// markers is taken away. What others name comes back before them, so that a repository in
// which only some of it is back is no worse than before, and the same call goes on.
//
// Source: the names are those of docs/format/repository.md.
func Undelete(ctx context.Context, v objstore.Versions, o UndeleteOptions) (UndeleteResult, error) {
	r := UndeleteResult{Objects: []Undeleted{}, Lost: []Undeleted{}}
	for _, prefix := range undeletePrefixes() {
		found, err := changedBelow(ctx, v, prefix, o.Since)
		if err != nil {
			return r, fmt.Errorf("list what was deleted: %w", err)
		}
		done, err := undelete(ctx, v, found, o)
		for _, u := range done {
			if u.Done == "" {
				r.Lost = append(r.Lost, u)
			} else {
				r.Objects = append(r.Objects, u)
			}
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// undeletePrefixes are the names that come back, by what needs them: packs come before
// the index that names them, and that before snapshots. Packs are many, and come in
// parts: what is known of the versions below a prefix is held in memory.
func undeletePrefixes() []string {
	out := []string{configName, kindKey().prefix}
	for _, digit := range "0123456789abcdef" {
		out = append(out, kindPack().prefix+string(digit))
	}
	return append(out, kindIndex().prefix, kindMark().prefix, kindSentence().prefix, kindDamaged().prefix, kindSnapshot().prefix)
}

func changedBelow(ctx context.Context, v objstore.Versions, prefix string, since time.Time) ([]objstore.Changed, error) {
	ctx, cancel := withTimeout(ctx, dataTimeout)
	defer cancel()
	found, err := v.Changed(ctx, prefix, since)
	slices.SortFunc(found, func(a, b objstore.Changed) int { return cmp.Compare(a.Name, b.Name) })
	return slices.DeleteFunc(found, func(c objstore.Changed) bool { _, ours := promisedBy(c.Name); return !ours }), err
}

// promised is what an object of a name must hold.
type promised struct {
	id    hash.ID // zero: any; it is not named by its hash
	limit int64   // of its size
}

// maxPack is larger than any pack: restic's are closed at 128 MiB.
const maxPack = 1 << 30

// promisedBy says what the object of this name must hold; false: it is none of ours.
func promisedBy(name string) (promised, bool) {
	if name == configName {
		return promised{limit: kindKey().limit}, true
	}
	id, err := hash.Parse(path.Base(name))
	if err != nil {
		return promised{}, false
	}
	if name == kindDamaged().name(id) {
		return promised{limit: kindDamaged().limit}, true
	}
	for _, k := range []kind{kindKey(), kindPack(), kindIndex(), kindMark(), kindSentence(), kindSnapshot()} {
		if strings.HasPrefix(name, k.prefix) {
			return promised{id: id, limit: cmp.Or(k.limit, maxPack)}, name == k.name(id)
		}
	}
	return promised{}, false
}

// undelete brings objects back, and returns those that are, and those that are lost.
func undelete(ctx context.Context, v objstore.Versions, objects []objstore.Changed, o UndeleteOptions) ([]Undeleted, error) {
	var g errgroup.Group
	g.SetLimit(undeleteLanes)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make(chan Undeleted, undeleteLanes)
	finished := make(chan error)
	go func() {
		for _, c := range objects {
			if ctx.Err() != nil {
				break
			}
			g.Go(func() error {
				u, err := undeleteOne(ctx, v, c, o)
				if err != nil {
					err = fmt.Errorf("bring back %s: %w", c.Name, err)
					cancel(err)
					return err
				}
				if u != nil {
					results <- *u
				}
				return nil
			})
		}
		err := g.Wait()
		close(results)
		finished <- err
	}()
	var done []Undeleted
	for u := range results {
		done = append(done, u)
		if o.Progress != nil && u.Done != "" && !o.DryRun {
			o.Progress(u)
		}
	}
	if err := <-finished; err != nil {
		return done, err
	}
	return done, context.Cause(ctx)
}

// undeleteOne brings an object back; nil: it is there, and what its name says.
func undeleteOne(ctx context.Context, v objstore.Versions, c objstore.Changed, o UndeleteOptions) (*Undeleted, error) {
	u := &Undeleted{Name: c.Name, Time: c.Time, Versions: len(c.Versions)}
	good, err := goodVersion(ctx, v, c, o.Since)
	if err != nil || good < 0 {
		return u, err
	}
	of := c.Versions[good]
	u.Size, u.Done = of.Size, UndeletedAgain
	if good == 0 {
		if !c.Deleted {
			return nil, nil //nolint:nilnil // nothing is to be done, and nothing is lost
		}
		u.Done = UndeletedMarker
	}
	if o.DryRun {
		return u, nil
	}
	ctx, stop := withTimeout(ctx, versionTimeout(of))
	defer stop()
	if good == 0 {
		id, err := v.Undelete(ctx, c)
		if err != nil || id == of.ID {
			return u, err
		}
		u.Done = UndeletedAgain // the store's times were wrong: another one was the newest
	}
	return u, v.Restore(ctx, c.Name, of)
}

// goodVersion returns the place of the version that the object shall be; negative: there
// is none.
func goodVersion(ctx context.Context, v objstore.Versions, c objstore.Changed, since time.Time) (int, error) {
	want, _ := promisedBy(c.Name)
	last := len(c.Versions) - 1
	switch {
	case last < 0:
		return -1, nil
	case want.id.IsZero():
		// What it must hold only the key knows. It is written once: so it is the one that
		// was there before, or the first one where the store does not tell when it was.
		i := slices.IndexFunc(c.Versions, func(v objstore.Version) bool { return v.Time.Before(since.Truncate(time.Second)) })
		if i < 0 {
			i = last
		}
		if i > 0 && sameVersions(ctx, v, c.Name, c.Versions[0], c.Versions[i]) {
			i = 0 // it was restored before
		}
		return i, context.Cause(ctx)
	case last == 0 && c.Deleted && c.Versions[0].Time.Before(since.Truncate(time.Second)):
		return 0, nil // it was there then, and there is no other: it need not be read
	}
	// The newest, which need not be written again; then the first, for we write a name once.
	order := []int{0}
	for i := last; i > 0; i-- {
		order = append(order, i)
	}
	var failed []error
	for _, i := range order {
		if c.Versions[i].Size > want.limit {
			continue
		}
		sum, err := versionSum(ctx, v, c.Name, c.Versions[i])
		switch {
		case err == nil && hash.ID(sum) == want.id:
			return i, nil
		case ctx.Err() != nil:
			return -1, context.Cause(ctx)
		case err != nil && holdfast.ErrorCode(err) != holdfast.CodeNotFound:
			failed = append(failed, err)
		}
	}
	return -1, errors.Join(failed...) // of one that was not read nobody knows
}

// sameVersions reports whether two versions hold the same; one that cannot be read does not.
func sameVersions(ctx context.Context, v objstore.Versions, name string, a, b objstore.Version) bool {
	if want, _ := promisedBy(name); a.Size != b.Size || a.Size > want.limit {
		return false
	}
	first, err := versionSum(ctx, v, name, a)
	if err != nil {
		return false
	}
	second, err := versionSum(ctx, v, name, b)
	return err == nil && first == second
}

func versionSum(ctx context.Context, v objstore.Versions, name string, of objstore.Version) (hash.ID, error) {
	ctx, cancel := withTimeout(ctx, versionTimeout(of))
	defer cancel()
	return v.Sum(ctx, name, of)
}

// versionTimeout is how long a version may take to be read, or copied: what the slowest
// link that works takes for a pack of ours, and as long for each further one.
func versionTimeout(v objstore.Version) time.Duration {
	return dataTimeout * time.Duration(1+v.Size/(16<<20))
}

package repository

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// Repository is an opened repository. It may be used by several goroutines.
type Repository struct {
	bucket objstore.Bucket
	key    *crypt.Key
	config config
	clock  clock
	slot   hash.ID // of the key that opened it
}

// maxConfig is the largest config object that is read, in bytes.
const maxConfig = 64 << 10

// Create makes a new repository in an empty bucket, with one key slot for each
// password: the first is the service's, the others are of recovery kits. A bucket
// that holds anything of a repository is CodeConflict.
func Create(ctx context.Context, b objstore.Bucket, passwords ...holdfast.Secret) (*Repository, error) {
	c := systemClock()
	params, err := measureParams(c.now)
	if err != nil {
		return nil, err
	}
	return create(ctx, b, c, params, passwords)
}

func create(ctx context.Context, b objstore.Bucket, c clock, params crypt.Params, passwords []holdfast.Secret) (_ *Repository, err error) {
	if len(passwords) == 0 {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a repository needs a password")
	}
	if err := checkEmpty(ctx, b); err != nil {
		return nil, err
	}
	r := &Repository{bucket: b, clock: c}
	if r.config, err = newConfig(); err != nil {
		return nil, err
	}
	if r.key, err = crypt.RandomKey(); err != nil {
		return nil, err
	}
	var slots []hash.ID
	defer func() {
		if err != nil { // without its config a slot opens nothing, and stands in the way of the next attempt
			err = errors.Join(err, r.removeSlots(ctx, slots))
		}
	}()
	for i, password := range passwords {
		use, p := UseKit, params
		if i == 0 {
			use = UseService
			if random := crypt.RandomParams(); random.Work() < p.Work() {
				p = random
			}
		}
		id, err := addKey(ctx, b, r.key, password, use, p, r.now())
		slots = append(slots, id)
		if err != nil {
			return nil, err
		}
	}
	plain, err := json.Marshal(r.config)
	if err != nil {
		return nil, err
	}
	sealed, err := r.key.Seal(plain)
	if err != nil {
		return nil, err
	}
	if err := putObject(ctx, b, configName, "the repository's", sealed); err != nil {
		return nil, err
	}
	r.slot = slots[0]
	return r, nil
}

func (r *Repository) removeSlots(ctx context.Context, slots []hash.ID) error {
	ctx, cancel := withTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if _, err := r.bucket.Stat(ctx, configName); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return nil // the config may be ours all the same: a slot too many is harmless, one too few is not
	}
	var errs []error
	for _, id := range slots {
		errs = append(errs, r.remove(ctx, kindKey(), id))
	}
	return errors.Join(errs...)
}

// checkEmpty refuses a bucket that holds a repository, or what is left of one.
func checkEmpty(ctx context.Context, b objstore.Bucket) error {
	ctx, cancel := withTimeout(ctx, callTimeout)
	defer cancel()
	found := errors.New("found")
	for _, prefix := range []string{configName, kindKey().prefix, kindSnapshot().prefix, kindIndex().prefix, kindPack().prefix} {
		err := b.List(ctx, prefix, func(objstore.Info) error { return found })
		switch {
		case errors.Is(err, found) && prefix == configName:
			return holdfast.Errorf(holdfast.CodeConflict, "there is a repository at this location already").
				WithHint("choose an empty location, or open the repository with its password")
		case errors.Is(err, found):
			return holdfast.Errorf(holdfast.CodeConflict, "the location holds parts of a repository (%s), but no config", prefix).
				WithHint("choose an empty location; or bring the object config back from a copy if this was a repository")
		case err != nil:
			return err
		}
	}
	return nil
}

// Open opens the repository. A password that fits no key is CodeForbidden, a
// bucket without a repository CodeNotFound, a format newer than this program
// CodeInvalid.
func Open(ctx context.Context, b objstore.Bucket, password holdfast.Secret) (*Repository, error) {
	sealed, err := readConfig(ctx, b)
	if err != nil {
		return nil, err
	}
	r := &Repository{bucket: b, clock: systemClock()}
	opened := false
	err = findKey(ctx, b, password, func(slot hash.ID, master *crypt.Key) (bool, error) {
		plain, err := master.OpenInPlace(append([]byte(nil), sealed...))
		if err != nil {
			// A slot of another repository, or a damaged config: the next slot may fit.
			opened = true
			return false, nil //nolint:nilerr // reported when no slot fits
		}
		r.key, r.slot = master, slot
		r.config, err = parseConfig(plain)
		return true, err
	})
	if opened && holdfast.ErrorCode(err) == holdfast.CodeForbidden {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the password is right, but the repository's config is damaged").
			WithHint("bring the object config back from a copy of the repository")
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func readConfig(ctx context.Context, b objstore.Bucket) ([]byte, error) {
	ctx, cancel := withTimeout(ctx, callTimeout)
	defer cancel()
	sealed, err := objstore.ReadAll(ctx, b, configName, maxConfig)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return nil, withoutConfig(ctx, b, err)
	}
	return sealed, err
}

// withoutConfig says what is there when there is no config: nothing, or the rest of a
// repository.
func withoutConfig(ctx context.Context, b objstore.Bucket, cause error) error {
	for _, k := range []kind{kindKey(), kindSnapshot(), kindPack()} {
		some := errors.New("there is one")
		err := b.List(ctx, k.prefix, func(objstore.Info) error { return some })
		if errors.Is(err, some) {
			return holdfast.Wrap(holdfast.CodeNotFound, cause, "a repository is at this location, but its object config is missing: %s is there", k.prefix).
				WithHint("bring the object config back: from a copy of the repository, or with holdfast repository undelete in a bucket that keeps versions")
		}
	}
	return holdfast.Wrap(holdfast.CodeNotFound, cause, "there is no repository at this location").
		WithHint("check the location; a repository has an object named config. If it was deleted in a bucket that keeps versions, holdfast repository undelete brings it back")
}

// ID returns the id in the repository's own config, in hexadecimal.
func (r *Repository) ID() string { return r.config.ID.String() }

func (r *Repository) compresses() bool { return r.config.Version >= 2 }

func (r *Repository) now() time.Time { return r.clock.now() }

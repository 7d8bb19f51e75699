package repository

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// configName is the one object that is not named by its hash.
const configName = "config"

// kind is a family of objects that are named by their hash.
type kind struct {
	word   string // for messages
	prefix string // of their names
	limit  int64  // of their size, in bytes: as stored, and again after decompression
}

// The kinds. Packs are read in ranges, so their limit is never used.
func kindKey() kind      { return kind{"key", "keys/", 64 << 10} }
func kindPack() kind     { return kind{"pack", "data/", 0} }
func kindIndex() kind    { return kind{"index", "index/", 1 << 30} }
func kindSnapshot() kind { return kind{"snapshot", "snapshots/", 16 << 20} }
func kindLock() kind     { return kind{"lock", "locks/", 1 << 20} }

func (k kind) name(id hash.ID) string {
	s := id.String()
	if k.prefix == kindPack().prefix {
		return k.prefix + s[:2] + "/" + s
	}
	return k.prefix + s
}

// packName is where a pack lies.
func packName(id hash.ID) string { return kindPack().name(id) }

// How long one call to the bucket may take. A pack has 16 MiB, so the slowest
// link that works has 0.5 Mbit/s.
const (
	callTimeout = time.Minute
	dataTimeout = 5 * time.Minute
)

var errCallTimeout = errors.New("the object store did not answer in time")

func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, errCallTimeout)
}

// compressedMark is the first byte of an object that was compressed before it
// was sealed. What is not begins with a brace.
const compressedMark = 2

// list returns the ids of the kind's objects. Other names are none of ours.
func list(ctx context.Context, b objstore.Bucket, k kind) ([]hash.ID, error) {
	ctx, cancel := withTimeout(ctx, dataTimeout)
	defer cancel()
	var ids []hash.ID
	err := b.List(ctx, k.prefix, func(i objstore.Info) error {
		if id, err := hash.Parse(i.Name[len(k.prefix):]); err == nil {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s objects: %w", k.word, err)
	}
	return ids, nil
}

// fetch returns the stored bytes of an object, whose hash it checks.
func fetch(ctx context.Context, b objstore.Bucket, k kind, id hash.ID) ([]byte, error) {
	ctx, cancel := withTimeout(ctx, dataTimeout)
	defer cancel()
	data, err := objstore.ReadAll(ctx, b, k.name(id), k.limit)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", k.word, id.Short(), err)
	}
	if hash.Sum(data) != id {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s object %s is damaged: its content is not what its name says", k.word, id)
	}
	return data, nil
}

// load returns the content of an object, opened and decompressed.
func (r *Repository) load(ctx context.Context, k kind, id hash.ID) ([]byte, error) {
	data, err := fetch(ctx, r.bucket, k, id)
	if err != nil {
		return nil, err
	}
	plain, err := decodeObject(r.key, data, k.limit)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "%s object %s cannot be read", k.word, id)
	}
	return plain, nil
}

// decodeObject opens a sealed object, in place, and decompresses it when it is
// marked so. limit bounds the result.
func decodeObject(key *crypt.Key, sealed []byte, limit int64) ([]byte, error) {
	plain, err := key.OpenInPlace(sealed)
	if err != nil {
		return nil, err
	}
	switch {
	case len(plain) == 0:
		return nil, errors.New("the object is empty")
	case plain[0] == '{' || plain[0] == '[':
		return plain, nil
	case plain[0] != compressedMark:
		return nil, fmt.Errorf("the object has encoding %d, which this version does not know", plain[0])
	}
	z, err := compress.NewReader(bytes.NewReader(plain[1:]))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, limit+1))
	err = errors.Join(err, z.Close())
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if int64(len(out)) > limit {
		return nil, fmt.Errorf("the object is larger than %d bytes when decompressed", limit)
	}
	return out, nil
}

// encode returns the sealed object and its id.
func (r *Repository) encode(plain []byte) (hash.ID, []byte, error) {
	if r.compresses() {
		frame, err := compress.New().Encode(make([]byte, 0, compress.Bound(len(plain))), plain)
		if err != nil {
			return hash.ID{}, nil, fmt.Errorf("compress: %w", err)
		}
		plain = append([]byte{compressedMark}, frame...)
	}
	sealed, err := r.key.Seal(plain)
	if err != nil {
		return hash.ID{}, nil, fmt.Errorf("seal: %w", err)
	}
	return hash.Sum(sealed), sealed, nil
}

// put stores an encoded object. A name that is taken is this very object, put by
// an attempt that was told that it failed: the name is the hash of a content with
// a random nonce. That it is all there is looked at: that attempt may have been right.
func (r *Repository) put(ctx context.Context, k kind, id hash.ID, sealed []byte) error {
	err := putObject(ctx, r.bucket, k.name(id), k.word, sealed)
	if holdfast.ErrorCode(err) != holdfast.CodeConflict {
		return err
	}
	ctx, cancel := withTimeout(ctx, dataTimeout)
	defer cancel()
	there, err := objstore.ReadAll(ctx, r.bucket, k.name(id), int64(len(sealed)))
	if err == nil && !bytes.Equal(there, sealed) {
		err = holdfast.Errorf(holdfast.CodeUnavailable, "the store has kept a part of it")
	}
	if err != nil {
		return fmt.Errorf("put %s %s, whose name is taken: %w", k.word, k.name(id), err)
	}
	return nil
}

func putObject(ctx context.Context, b objstore.Bucket, name, word string, data []byte) error {
	ctx, cancel := withTimeout(ctx, dataTimeout)
	defer cancel()
	if err := b.Put(ctx, name, data); err != nil {
		return fmt.Errorf("put %s %s: %w", word, name, err)
	}
	return nil
}

// save encodes and stores a new object and returns its id.
func (r *Repository) save(ctx context.Context, k kind, plain []byte) (hash.ID, error) {
	id, sealed, err := r.encode(plain)
	if err != nil {
		return id, err
	}
	return id, r.put(ctx, k, id, sealed)
}

// remove deletes an object; it is no error when there is none.
func (r *Repository) remove(ctx context.Context, k kind, id hash.ID) error {
	ctx, cancel := withTimeout(ctx, callTimeout)
	defer cancel()
	if err := r.bucket.Delete(ctx, k.name(id)); err != nil {
		return fmt.Errorf("delete %s %s: %w", k.word, id.Short(), err)
	}
	return nil
}

// sortedIDs are the keys of a map in their order.
func sortedIDs[V any](m map[hash.ID]V) []hash.ID {
	return slices.SortedFunc(maps.Keys(m), func(a, b hash.ID) int { return cmp.Compare(a.String(), b.String()) })
}

package repository

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// maxDataBlob is the largest piece of a file that is read. Ours have 512 KiB,
// those of other programs up to 8 MiB.
const maxDataBlob = 64 << 20

// readRange reads a part of a pack into buf, which grows when it must.
func (r *Repository) readRange(ctx context.Context, id hash.ID, offset, length int64, buf []byte) (_ []byte, err error) {
	ctx, cancel := withTimeout(ctx, dataTimeout)
	defer cancel()
	rc, err := r.bucket.Get(ctx, packName(id), offset, length)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return buf, holdfast.Wrap(holdfast.CodeInvalid, errors.Join(ErrLost, err), "pack %s is missing from the repository", id)
	}
	if err != nil {
		return buf, fmt.Errorf("read pack %s: %w", id, err)
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	if int64(cap(buf)) < length {
		buf = make([]byte, length)
	}
	buf = buf[:length]
	if _, err := io.ReadFull(rc, buf); err != nil {
		return buf, fmt.Errorf("read %d bytes at %d of pack %s: %w", length, offset, id, err)
	}
	return buf, nil
}

// errNotIndexed means that no index object that was read names a blob.
var errNotIndexed = fmt.Errorf("%w: no index object names a blob", ErrLost)

// locate returns where a blob lies; there is at least one place.
func locate(x *index.Index, dst []index.Location, id hash.ID, t pack.Type) ([]index.Location, error) {
	dst = x.Lookup(dst, id, t)
	if len(dst) == 0 {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, errNotIndexed, "%s blob %s is not in the repository's index", t, id)
	}
	return dst, nil
}

// openBlob opens a sealed blob in place; the result is still compressed when
// the location says so.
func (r *Repository) openBlob(l index.Location, sealed []byte) ([]byte, error) {
	content, err := r.key.OpenInPlace(sealed)
	if err != nil {
		return nil, damagedBlob(l, err, "blob %s in pack %s is damaged", l.ID, l.Pack)
	}
	return content, nil
}

// decodeData decompresses and verifies an opened data blob. The result lies in
// content or in buf, which grows when it must and is returned.
func decodeData(codec compress.Codec, l index.Location, content, buf []byte) (data, newBuf []byte, err error) {
	data, buf, err = decompress(codec, l, content, buf)
	if err != nil {
		return nil, buf, err
	}
	return data, buf, verify(l, hash.Sum(data))
}

// decompress is decodeData without the look at the content.
func decompress(codec compress.Codec, l index.Location, content, buf []byte) (data, newBuf []byte, err error) {
	if l.Raw == 0 {
		return content, buf, nil
	}
	if cap(buf) < int(l.Raw) {
		buf = make([]byte, l.Raw)
	}
	n, err := codec.Decode(buf[:l.Raw], content)
	if err != nil || n != int(l.Raw) {
		return nil, buf, damagedBlob(l, err, "blob %s in pack %s does not decompress to %d bytes", l.ID, l.Pack, l.Raw)
	}
	return buf[:n], buf, nil
}

// verify compares what a blob's content hashes to with its name.
func verify(l index.Location, got hash.ID) error {
	if got != l.ID {
		return damagedBlob(l, nil, "blob %s in pack %s is damaged: its content is not what its name says", l.ID, l.Pack)
	}
	return nil
}

// checkSize refuses data blobs that nobody writes.
func checkSize(l index.Location) error {
	if l.Size() > maxDataBlob || l.Length > maxDataBlob {
		return holdfast.Errorf(holdfast.CodeInvalid, "blob %s in pack %s has more than %d bytes", l.ID, l.Pack, maxDataBlob)
	}
	return nil
}

// dataBlob reads one data blob from any place that has it whole.
func (r *Repository) dataBlob(ctx context.Context, x *index.Index, codec compress.Codec, id hash.ID) ([]byte, error) {
	places, err := locate(x, nil, id, pack.Data)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, l := range places {
		data, err := r.dataBlobAt(ctx, codec, l)
		if err == nil {
			return data, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, firstOf(errs)
}

func (r *Repository) dataBlobAt(ctx context.Context, codec compress.Codec, l index.Location) ([]byte, error) {
	if err := checkSize(l); err != nil {
		return nil, err
	}
	sealed, err := r.readRange(ctx, l.Pack, int64(l.Offset), int64(l.Length), nil)
	if err != nil {
		return nil, err
	}
	content, err := r.openBlob(l, sealed)
	if err != nil {
		return nil, err
	}
	data, _, err := decodeData(codec, l, content, nil)
	return data, err
}

// treeBlob reads one tree blob, opened and not decompressed, from any place that
// has it whole.
func (r *Repository) treeBlob(ctx context.Context, x *index.Index, id hash.ID) (pack.Blob, []byte, error) {
	places, err := locate(x, nil, id, pack.Tree)
	if err != nil {
		return pack.Blob{}, nil, err
	}
	var errs []error
	for _, l := range places {
		sealed, err := r.readRange(ctx, l.Pack, int64(l.Offset), int64(l.Length), nil)
		if err == nil {
			var content []byte
			if content, err = r.openBlob(l, sealed); err == nil && len(places) > 1 {
				err = verifyTree(l.Blob, content) // it may be another one
			}
			if err == nil {
				return l.Blob, content, nil
			}
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return pack.Blob{}, nil, firstOf(errs)
}

// firstOf returns a single error as it is, so that its code and hint show, and
// joins several.
func firstOf(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

package repository

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// blobMover is the memory of one goroutine that takes blobs from one pack to another.
// What is compressed stays compressed: only the encryption is new.
type blobMover struct {
	from, to *Repository
	codec    compress.Codec
	sealed   []byte
	raw      []byte
}

// read returns a blob as it goes into a pack of the other repository, verified. The
// content is valid until the next call.
func (m *blobMover) read(ctx context.Context, l index.Location) (b pack.Blob, content []byte, err error) {
	if m.sealed, err = m.from.readRange(ctx, l.Pack, int64(l.Offset), int64(l.Length), m.sealed); err != nil {
		return b, nil, err
	}
	return m.take(l, m.sealed)
}

// take is read for a blob whose sealed bytes are there already; they are used up.
func (m *blobMover) take(l index.Location, sealed []byte) (b pack.Blob, content []byte, err error) {
	if content, err = m.from.openBlob(l, sealed); err != nil {
		return b, nil, err
	}
	b = pack.Blob{ID: l.ID, Type: l.Type, Raw: l.Raw}
	switch {
	case l.Type == pack.Tree && (l.Raw == 0 || m.to.compresses()):
		err = verifyTree(l.Blob, content)
	case l.Type == pack.Tree:
		content, err = unpackTree(l.Blob, content)
		b.Raw = 0
	default:
		content, err = m.data(l, content, &b)
	}
	if err != nil {
		return b, nil, err
	}
	if len(content) > math.MaxUint32-crypt.Overhead {
		return b, nil, treeTooLarge(l.ID.String())
	}
	b.Length = uint32(len(content) + crypt.Overhead) //nolint:gosec // checked above
	return b, content, nil
}

func (m *blobMover) data(l index.Location, content []byte, b *pack.Blob) ([]byte, error) {
	if err := checkSize(l); err != nil {
		return nil, err
	}
	if m.codec == nil {
		m.codec = compress.New()
	}
	plain, raw, err := decodeData(m.codec, l, content, m.raw)
	m.raw = raw
	if err != nil {
		return nil, err
	}
	if !m.to.compresses() {
		b.Raw = 0
		return plain, nil
	}
	return content, nil
}

// verifyTree compares an opened tree with its id. Trees may be large: nothing is kept.
func verifyTree(b pack.Blob, content []byte) error {
	return copyTree(io.Discard, b, content)
}

// unpackTree returns a tree that is not compressed.
func unpackTree(b pack.Blob, content []byte) ([]byte, error) {
	var out bytes.Buffer
	err := copyTree(&out, b, content)
	return out.Bytes(), err
}

func copyTree(w io.Writer, b pack.Blob, content []byte) (err error) {
	var src io.Reader = bytes.NewReader(content)
	if b.Raw != 0 {
		z, err := compress.NewReader(src)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, z.Close()) }()
		src = z
	}
	h := hash.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(src, b.Size()+1))
	if err != nil || n != b.Size() || hash.Finish(h) != b.ID {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "tree %s is damaged: its content is not what its name says", b.ID)
	}
	return nil
}

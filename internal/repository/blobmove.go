package repository

import (
	"bytes"
	"context"
	"errors"
	"io"

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
	if l.Type == pack.Tree {
		if err := verifyTree(l.Blob, content); err != nil {
			return b, nil, err
		}
		return m.tree(l.Blob, content)
	}
	return m.data(l, content)
}

// tree is take for a tree that is opened, and verified.
func (m *blobMover) tree(b pack.Blob, content []byte) (pack.Blob, []byte, error) {
	if b.Raw != 0 && !m.to.compresses() {
		var out bytes.Buffer
		if err := copyTree(&out, b, content); err != nil {
			return b, nil, err
		}
		content, b.Raw = out.Bytes(), 0
	}
	if len(content) > maxTree {
		return b, nil, treeTooLarge(b.ID.String())
	}
	return pack.Blob{ID: b.ID, Type: pack.Tree, Raw: b.Raw, Length: uint32(len(content) + crypt.Overhead)}, content, nil //nolint:gosec // at most maxTree
}

func (m *blobMover) data(l index.Location, content []byte) (b pack.Blob, _ []byte, err error) {
	if err := checkSize(l); err != nil {
		return b, nil, err
	}
	if m.codec == nil {
		m.codec = compress.New()
	}
	plain, raw, err := decodeData(m.codec, l, content, m.raw)
	m.raw = raw
	if err != nil {
		return b, nil, err
	}
	b = pack.Blob{ID: l.ID, Type: pack.Data, Raw: l.Raw}
	if b.Raw != 0 && !m.to.compresses() {
		content, b.Raw = plain, 0
	}
	b.Length = uint32(len(content) + crypt.Overhead) //nolint:gosec // at most maxDataBlob
	return b, content, nil
}

// verifyTree compares an opened tree with its id. Trees may be large: nothing is kept.
func verifyTree(b pack.Blob, content []byte) error {
	return copyTree(io.Discard, b, content)
}

// copyTree writes a tree's plain content.
func copyTree(w io.Writer, b pack.Blob, content []byte) (err error) {
	src, err := plainTree(b, content)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	h := hash.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(src, b.Size()+1))
	if err != nil || n != b.Size() || hash.Finish(h) != b.ID {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "tree %s is damaged: its content is not what its name says", b.ID)
	}
	return nil
}

package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// How files are cut. Readers accept any sizes; ours stay as they are, because
// equal pages give equal blobs only when they are cut in the same places.
const (
	wholeFile  = 64 << 10  // a file up to this size is one blob
	blockSize  = 512 << 10 // blobs of larger files
	sliceSize  = 128 << 10 // read, inspected and hashed at once: stays in the cache
	laneSlice  = 64 << 10  // the same, of each of four blocks
	taskBlocks = 8         // blocks that one worker takes of a file
	small      = 32        // a block that gets smaller by this much is not compressed harder
)

// input is a regular file on its way through the workers.
type input struct {
	file  engine.File
	entry *entry
	ids   []hash.ID // one a block; zero: it is in parts

	cutMu sync.Mutex        // guards the field below
	parts map[int][]hash.ID // of the blocks that are kept in parts

	open    sync.Once
	content engine.Content
	openErr error

	end  atomic.Int64 // the file's size, or where it has ended earlier
	left atomic.Int32 // tasks not done
}

// task is some blocks of a file. An empty file has one task without blocks.
type task struct {
	in    *input
	first int
	count int
}

func newInput(f engine.File, e *entry) *input {
	in := &input{file: f, entry: e, ids: make([]hash.ID, blocks(f.Size))}
	in.end.Store(f.Size)
	return in
}

func blocks(size int64) int {
	if size <= wholeFile {
		return int(min(size, 1))
	}
	return int((size + blockSize - 1) / blockSize)
}

func (in *input) tasks() []task {
	var tasks []task
	for first := 0; first == 0 || first < len(in.ids); first += taskBlocks {
		tasks = append(tasks, task{in: in, first: first, count: min(taskBlocks, len(in.ids)-first)})
	}
	in.left.Store(int32(len(tasks))) //nolint:gosec // a file of 2^63 bytes has 2^41 tasks, and no such file exists
	return tasks
}

// begin opens the file once. ok is false when it has vanished.
func (in *input) begin() (ok bool, err error) {
	in.open.Do(func() { in.content, in.openErr = in.file.Open() })
	if errors.Is(in.openErr, engine.ErrVanished) {
		return false, nil
	}
	if in.openErr != nil {
		return false, fmt.Errorf("open %q: %w", in.file.Path, in.openErr)
	}
	return true, nil
}

// shorten records that the file ends at the offset.
func (in *input) shorten(end int64) {
	for {
		old := in.end.Load()
		if end >= old || in.end.CompareAndSwap(old, end) {
			return
		}
	}
}

// blockWorker is what one worker works with.
type blockWorker struct {
	*Writer
	*blockMemory
	codec   compress.Codec
	sampler *compress.Sampler
	sums    sums
	missed  uint // blocks in a row none of whose parts was known
}

// blockMemory is the memory of one worker; others use it after it.
type blockMemory struct {
	blocks [hash.Lanes][]byte
	frame  []byte
	second []byte // a frame of another level; made when first used
}

var blockMemories = sync.Pool{New: func() any {
	m := &blockMemory{frame: make([]byte, 0, compress.Bound(blockSize))}
	for l := range m.blocks {
		m.blocks[l] = make([]byte, blockSize)
	}
	return m
}}

// work does tasks until there will be no more. When the writer has failed it
// only lets go of the files.
func (w *Writer) work(ctx context.Context) {
	b := blockWorker{Writer: w, blockMemory: blockMemories.Get().(*blockMemory), codec: compress.New()} //nolint:forcetypeassert // there is nothing else in it
	defer blockMemories.Put(b.blockMemory)
	b.sampler = compress.NewSampler(b.codec)
	for t := range w.tasks {
		if ctx.Err() == nil {
			if err := b.do(ctx, t); err != nil {
				w.cancel(err)
			}
		}
		w.taskDone(t.in)
		w.queued.add(-1)
	}
}

func (b *blockWorker) do(ctx context.Context, t task) error {
	ok, err := t.in.begin()
	if !ok {
		return err
	}
	for i, end := t.first, t.first+t.count; i < end; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		offset := int64(i) * blockSize
		size := t.in.end.Load()
		if offset >= size {
			return nil // it has shrunk
		}
		store, n := b.storeOne, 1
		if end-i >= hash.Lanes && size-offset >= hash.Lanes*blockSize {
			store, n = b.storeFour, hash.Lanes
		}
		if err := store(ctx, t.in, i, offset); err != nil {
			return fmt.Errorf("store %q at offset %d: %w", t.in.file.Path, offset, err)
		}
		i += n
	}
	return nil
}

// storeOne takes one block through all steps.
func (b *blockWorker) storeOne(ctx context.Context, in *input, i int, offset int64) error {
	block := b.blocks[0][:min(blockSize, in.file.Size-offset)]
	n, err := in.readBlock(&b.sums, block, offset)
	if err != nil {
		return err
	}
	if n < len(block) {
		in.shorten(offset + int64(n))
	}
	return b.store(ctx, in, i, 0, block[:n])
}

// storeFour takes four whole blocks through all steps.
func (b *blockWorker) storeFour(ctx context.Context, in *input, i int, offset int64) error {
	n, err := in.readFour(&b.sums, &b.blocks, offset)
	if err != nil {
		return err
	}
	for l := range n {
		if n[l] < blockSize {
			in.shorten(offset + int64(l)*blockSize + int64(n[l]))
		}
	}
	for l := range n {
		if err := b.store(ctx, in, i+l, l, b.blocks[l][:n[l]]); err != nil {
			return err
		}
	}
	return nil
}

// store notes the block that a lane has read, and stores of it what is not known.
func (b *blockWorker) store(ctx context.Context, in *input, i, lane int, block []byte) error {
	if len(block) == 0 {
		return nil
	}
	b.read.Add(int64(len(block)))
	cut := b.cuts(in, lane, block)
	b.sums.cut = cut // the next block is most likely kept as this one
	if cut {
		return b.storeParts(ctx, in, i, b.sums.partsOf(lane, block), block)
	}
	in.ids[i] = b.sums.wholeOf(lane, block)
	return b.storePiece(ctx, in.ids[i], block)
}

// storePiece stores a block or a part of one unless it is known.
func (b *blockWorker) storePiece(ctx context.Context, id hash.ID, content []byte) error {
	b.blobs.Add(1)
	if b.index.Claim(id, pack.Data) == index.Known {
		return nil
	}
	b.fresh.Add(1)
	return b.storeBlob(ctx, pack.Blob{ID: id, Type: pack.Data}, content)
}

// storeBlob compresses and packs a blob that was claimed.
func (b *blockWorker) storeBlob(ctx context.Context, blob pack.Blob, content []byte) error {
	frame, err := b.compress(content)
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if frame != nil {
		blob.Raw = uint32(len(content)) //nolint:gosec // at most blockSize
		content = frame
	}
	blob.Length = uint32(len(content) + crypt.Overhead) //nolint:gosec // at most blockSize and a little
	return b.packer.seal(ctx, blob, content)
}

// compress returns the frame of a block; nil: it is stored as it is.
func (b *blockWorker) compress(block []byte) ([]byte, error) {
	c := b.packer.compression
	if !b.repo.compresses() || c == holdfast.CompressOff || b.sampler.Hopeless(block) {
		return nil, nil
	}
	begun := b.repo.clock.now()
	frame, err := b.codec.Encode(b.frame, block)
	if err != nil {
		return nil, err
	}
	if l := b.effort.level(c, begun); l != compress.Fast && len(frame) > len(block)/small {
		if b.second == nil {
			b.second = make([]byte, 0, compress.Bound(blockSize))
		}
		// Pages of very regular tables get larger with more effort.
		harder, err := b.codec.EncodeLevel(b.second, block, l)
		if err != nil {
			return nil, err
		}
		if len(harder) < len(frame) {
			frame = harder
		}
	}
	now := b.repo.clock.now()
	b.effort.took(now.Sub(begun), now)
	if len(frame) >= len(block) {
		return nil, nil
	}
	return frame, nil
}

// readBlock fills the block, shows it to the inspector and hashes it, slice by
// slice while each is in the cache. n is less than the block when the file ends
// early.
func (in *input) readBlock(s *sums, block []byte, offset int64) (n int, err error) {
	s.begin()
	h := hash.New()
	for n < len(block) {
		slice := block[n:min(n+sliceSize, len(block))]
		got, err := in.readSlice(slice, offset+int64(n))
		if err != nil {
			return n, err
		}
		if !s.cut {
			h.Write(slice[:got])
		}
		n += got
		if got < len(slice) {
			break
		}
	}
	if !s.cut {
		s.whole[0], s.hasWhole[0] = hash.Finish(h), true
	}
	return n, nil
}

// readFour is readBlock for four blocks that follow each other, whose slices are
// hashed at once. n are their lengths.
func (in *input) readFour(s *sums, blocks *[hash.Lanes][]byte, offset int64) (n [hash.Lanes]int, err error) {
	s.begin()
	whole := true
	for at := 0; at < blockSize; at += laneSlice {
		var slices [hash.Lanes][]byte
		for l := range blocks {
			slices[l] = blocks[l][at : at+laneSlice]
			if n[l] < at {
				continue // it has ended
			}
			got, err := in.readSlice(slices[l], offset+int64(l*blockSize+at))
			if err != nil {
				return n, err
			}
			n[l] += got
			whole = whole && got == laneSlice
		}
		if whole {
			s.write(&slices, at)
		}
	}
	if whole {
		s.finish(blocks)
	} else {
		s.four.Reset() // the file has shrunk meanwhile, and each is hashed by itself
	}
	return n, nil
}

// readSlice fills the slice, unless the file ends, and shows what it read to the
// inspector.
func (in *input) readSlice(slice []byte, offset int64) (int, error) {
	n, err := readFull(in.content, slice, offset)
	if err != nil || n == 0 || in.file.Inspect == nil {
		return n, err
	}
	return n, in.file.Inspect(offset, slice[:n])
}

// readFull reads until p is full or the file ends.
func readFull(r io.ReaderAt, p []byte, offset int64) (int, error) {
	n := 0
	for n < len(p) {
		got, err := r.ReadAt(p[n:], offset+int64(n))
		n += got
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if got == 0 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// taskDone ends the file with its last task.
func (w *Writer) taskDone(in *input) {
	if in.left.Add(-1) > 0 {
		return
	}
	if in.content != nil {
		if err := in.content.Close(); err != nil {
			w.cancel(fmt.Errorf("close %q: %w", in.file.Path, err))
		}
	}
	if w.cause() != nil {
		return
	}
	if in.content == nil { // vanished
		in.entry.vanished = true
	} else {
		in.entry.node.Size = in.end.Load()
		in.entry.content = in.pieces()
		w.files.Add(1)
	}
	if in.file.Done != nil {
		in.file.Done(engine.FileResult{Vanished: in.entry.vanished, Size: in.entry.node.Size})
	}
}

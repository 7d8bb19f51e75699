package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// The sizes and numbers of packs. Measured: packs of 16 to 32 MiB are best on
// disks and on S3, and two uploads at once are as fast as four.
const (
	packSize    = 16 << 20           // a pack is closed when its blobs have this many bytes
	packBuffer  = packSize + 1<<20   // room for the last blob and the header
	uploaders   = 2                  // packs that are put at once
	packBuffers = uploaders + 2      // one pack of data and one of trees are open
	maxTree     = 1<<32 - 1 - 64<<10 // bytes of one tree, sealed or not: lengths have 32 bits
)

// packer fills packs and puts them. Several goroutines fill one pack at once.
type packer struct {
	repo    *Repository
	index   *index.Index
	lock    *lock
	fail    func(error)
	free    chan []byte // a fixed number of buffers, made when first used
	uploads chan *openPack
	running gauge // packs that were begun and are not durable yet

	compression holdfast.Compression // set before the first file; empty: the default

	mu   sync.Mutex // guards the fields below
	open [pack.Tree + 1]*openPack

	indexMu   sync.Mutex // held while index objects are written
	durableMu sync.Mutex // guards the fields below
	durable   []index.Pack

	added atomic.Int64 // bytes put: packs and index objects
	packs atomic.Int64
}

// openPack is a pack that is being filled. The last one to let go of it sends it
// to the uploaders.
type openPack struct {
	*pack.Builder
	refs   atomic.Int32
	pooled bool // its buffer goes back
}

func newPacker(r *Repository, x *index.Index, l *lock, fail func(error)) *packer {
	p := &packer{
		repo: r, index: x, lock: l, fail: fail,
		free:    make(chan []byte, packBuffers),
		uploads: make(chan *openPack, packBuffers),
	}
	for range packBuffers {
		p.free <- nil
	}
	return p
}

// storeApart has fill put blobs into packs of their own, beside any writer. On return
// they are durable, and in the index. The lock is the caller's.
func (r *Repository) storeApart(ctx context.Context, l *lock, fill func(ctx context.Context, to *packer) error) (packs, bytes int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := newPacker(r, index.New(), l, cancel)
	var puts sync.WaitGroup
	for range uploaders {
		puts.Go(func() { p.upload(ctx) })
	}
	if err = fill(ctx, p); err == nil {
		err = p.flush(ctx, ctx.Done(), func() error { return context.Cause(ctx) })
	}
	if err != nil {
		cancel(err) // the first one stays
		err = context.Cause(ctx)
	}
	close(p.uploads)
	puts.Wait()
	p.letGo()
	return p.packs.Load(), p.added.Load(), err
}

// seal adds a blob that was claimed: content is what lies in the pack, sealed.
func (p *packer) seal(ctx context.Context, b pack.Blob, content []byte) error {
	o, room, err := p.reserve(ctx, b)
	if err != nil {
		return err
	}
	err = p.repo.key.SealTo(room, content)
	return errors.Join(err, p.release(ctx, o))
}

func (p *packer) reserve(ctx context.Context, b pack.Blob) (*openPack, []byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.open[b.Type]
	if o != nil && !o.Fits(int(b.Length)) {
		if err := p.closePack(ctx, b.Type); err != nil {
			return nil, nil, err
		}
		o = nil
	}
	if o == nil {
		var err error
		if o, err = p.begin(ctx, b); err != nil {
			return nil, nil, err
		}
		p.open[b.Type] = o
	}
	room := o.Reserve(b)
	o.refs.Add(1)
	if o.Len() >= packSize {
		if err := p.closePack(ctx, b.Type); err != nil {
			return nil, nil, errors.Join(err, p.release(ctx, o))
		}
	}
	return o, room, nil
}

// packMemory are buffers of packs that no writer uses.
var packMemory = sync.Pool{New: func() any {
	b := make([]byte, 0, packBuffer)
	return &b
}}

// letGo gives the buffers to other writers. Nothing is uploaded any more.
func (p *packer) letGo() {
	for {
		select {
		case buf := <-p.free:
			if cap(buf) == packBuffer { // tests have smaller ones
				buf = buf[:0]
				packMemory.Put(&buf)
			}
		default:
			return
		}
	}
}

// begin opens a pack for a blob, and waits while all buffers are in use.
func (p *packer) begin(ctx context.Context, b pack.Blob) (*openPack, error) {
	o := &openPack{}
	if int(b.Length) > packBuffer/2 { // a large tree gets a buffer of its own
		o.Builder = pack.NewBuilder(nil)
	} else {
		select {
		case buf := <-p.free:
			if buf == nil {
				buf = *packMemory.Get().(*[]byte) //nolint:forcetypeassert // there is nothing else in it
			}
			o.Builder, o.pooled = pack.NewBuilder(buf), true
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	o.refs.Store(1)
	p.running.add(1)
	return o, nil
}

// closePack lets go of the open pack of the type. The caller holds mu.
func (p *packer) closePack(ctx context.Context, t pack.Type) error {
	o := p.open[t]
	p.open[t] = nil
	if o == nil {
		return nil
	}
	return p.release(ctx, o)
}

func (p *packer) release(ctx context.Context, o *openPack) error {
	if o.refs.Add(-1) > 0 {
		return nil
	}
	select {
	case p.uploads <- o:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// upload puts packs until the channel is closed or the context ends.
func (p *packer) upload(ctx context.Context) {
	for o := range p.uploads {
		if ctx.Err() == nil {
			if err := p.putPack(ctx, o); err != nil {
				p.fail(err)
			}
		}
		if o.pooled {
			p.free <- o.buffer()
		}
		p.running.add(-1)
	}
}

func (o *openPack) buffer() []byte {
	if b := o.Buffer(); cap(b) == packBuffer {
		return b
	}
	return nil
}

func (p *packer) putPack(ctx context.Context, o *openPack) error {
	data, err := o.Finish(p.repo.key)
	if err != nil {
		return fmt.Errorf("finish a pack: %w", err)
	}
	if err := p.lock.mayWrite(); err != nil {
		return err
	}
	id := hash.Sum(data)
	if err := p.repo.put(ctx, kindPack(), id, data); err != nil {
		return err
	}
	p.added.Add(int64(len(data)))
	p.packs.Add(1)
	p.index.Add(id, o.Blobs())
	p.durableMu.Lock()
	p.durable = append(p.durable, index.Pack{ID: id, Blobs: o.Blobs()})
	p.durableMu.Unlock()
	return nil
}

// flush returns when every blob is durable and in an index object. Nothing may
// be added meanwhile.
func (p *packer) flush(ctx context.Context, failed <-chan struct{}, cause func() error) error {
	p.mu.Lock()
	err := errors.Join(p.closePack(ctx, pack.Data), p.closePack(ctx, pack.Tree))
	p.mu.Unlock()
	if err != nil {
		return err
	}
	if err := p.running.wait(ctx, failed, cause); err != nil {
		return err
	}
	if err := cause(); err != nil {
		return err
	}
	return p.writeIndex(ctx)
}

// writeIndex writes index objects for the packs that are durable and in none.
func (p *packer) writeIndex(ctx context.Context) error {
	p.indexMu.Lock()
	defer p.indexMu.Unlock()
	for {
		batch := p.nextBatch()
		if len(batch) == 0 {
			return nil
		}
		_, size, err := p.lock.putIndex(ctx, batch)
		if err != nil {
			return err
		}
		p.added.Add(int64(size))
		p.durableMu.Lock()
		p.durable = p.durable[len(batch):]
		p.durableMu.Unlock()
	}
}

// nextBatch returns the packs for one index object; they stay listed until it is
// written.
func (p *packer) nextBatch() []index.Pack {
	p.durableMu.Lock()
	defer p.durableMu.Unlock()
	blobs := 0
	for i, d := range p.durable {
		if blobs += len(d.Blobs); blobs > index.MaxBlobs && i > 0 {
			return p.durable[:i:i]
		}
	}
	return slices.Clip(p.durable)
}

func treeTooLarge(path string) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "directory %q has too many files for one set: its listing is larger than 4 GiB", path)
}

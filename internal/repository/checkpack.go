package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// badPack is a pack from which some blobs cannot be had.
type badPack struct {
	finding *finding
	all     bool
	offsets map[uint32]bool // of the blobs that are bad
}

// packJob is a pack to be read.
type packJob struct {
	id    hash.ID
	size  int64       // as the store says
	blobs []pack.Blob // by their offsets, as the index says, or else the header
}

// firstTail is how much of a pack's end is read to see its header: enough for 400
// blobs.
const firstTail = 16 << 10

// checkIndex reads the index, and finds packs that it does not name.
func (c *checker) checkIndex(ctx context.Context) error {
	ids, err := list(ctx, c.bucket, kindIndex())
	if err != nil {
		return err
	}
	c.phase("index", int64(len(ids)), 0)
	c.result.Indexes = len(ids)
	before, err := c.packSizes(ctx) // first: what was put before is indexed, or nobody's
	if err != nil {
		return err
	}
	named := map[hash.ID]int{}
	var mu sync.Mutex
	c.index, err = c.loadIndexOf(ctx, func(ctx context.Context) (packFilter, error) {
		c.sizes, err = c.packSizes(ctx)
		return func(p index.Pack) bool {
			mu.Lock()
			defer mu.Unlock()
			named[p.ID]++
			return true
		}, err
	}, func(id hash.ID, err error) error {
		kind, err2 := broken(ctx, err)
		if err2 == nil {
			c.report(Finding{Kind: kind, Object: kindIndex().name(id), What: err.Error(), Hint: hintIndex})
		}
		return err2
	})
	if err != nil {
		return err
	}
	c.result.Packs, c.result.Blobs = c.index.Packs(), c.index.Len()
	for id, n := range named {
		if n > 1 {
			c.report(Finding{Kind: FindingTwice, Object: packName(id), What: fmt.Sprintf("the index names it %d times", n), Hint: hintIndex})
		}
	}
	for id, size := range before {
		if named[id] == 0 {
			c.unindexed = append(c.unindexed, packJob{id: id, size: size})
		}
	}
	return nil
}

// checkPacks looks for every pack that the index names, and reads those that it
// was asked to, and those that cannot be right.
func (c *checker) checkPacks(ctx context.Context) error {
	c.countPacks()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.options.Workers)
	readers := sync.Pool{New: func() any { return &packReader{checker: c, codec: compress.New()} }}
	each := func(do func(*packReader, packJob) error) func(packJob) {
		return func(j packJob) {
			g.Go(func() error {
				p, _ := readers.Get().(*packReader)
				defer readers.Put(p)
				err := do(p, j)
				c.step(func(s *CheckProgress) { s.Done++ })
				return err
			})
		}
	}
	known := each(func(p *packReader, j packJob) error { return p.known(gctx, j) })
	err := c.index.ByPack(func(id hash.ID, blobs []pack.Blob) error {
		known(packJob{id: id, blobs: slices.Clone(blobs)}) // waits while enough are in work
		return gctx.Err()
	})
	if err = errors.Join(g.Wait(), err); err != nil {
		return err
	}
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(c.options.Workers)
	loose := each(func(p *packReader, j packJob) error { return p.loose(gctx, j) })
	for _, j := range c.unindexed {
		if gctx.Err() != nil {
			break
		}
		loose(j)
	}
	return g.Wait()
}

// countPacks tells how much there is to read.
func (c *checker) countPacks() {
	var bytes int64
	if c.options.ReadData {
		for id, size := range c.sizes {
			if c.options.Subset.has(id) {
				bytes += size
			}
		}
	}
	c.phase("packs", int64(c.index.Packs()+len(c.unindexed)), bytes)
}

// packReader is the memory of one goroutine that reads packs.
type packReader struct {
	*checker
	codec  compress.Codec
	sealed []byte
	raw    []byte
}

// known checks a pack that the index names.
func (p *packReader) known(ctx context.Context, j packJob) error {
	var there bool
	if j.size, there = p.sizes[j.id]; !there {
		return p.missing(ctx, j)
	}
	// A pack of the wrong size is read in any case, and one that was bad before: only so it
	// shows what is left of it.
	if want := pack.Size(j.blobs); j.size != want || p.noted[j.id] || p.options.ReadData && p.options.Subset.has(j.id) {
		return p.read(ctx, j, want)
	}
	return nil
}

// missing reports a pack that the listing did not have, unless it is there.
func (p *packReader) missing(ctx context.Context, j packJob) error {
	sctx, cancel := withTimeout(ctx, callTimeout)
	defer cancel()
	info, err := p.bucket.Stat(sctx, packName(j.id))
	if err == nil {
		j.size = info.Size
		return p.read(ctx, j, pack.Size(j.blobs))
	}
	kind, err2 := broken(ctx, err)
	if err2 != nil {
		return err2
	}
	p.badPack(j.id, Finding{Kind: kind, What: "the index names it: " + err.Error()}, true).pruned = kind == FindingMissing && p.condemned[j.id]
	return nil
}

// loose checks a pack that no index object names: its header says what it holds.
func (p *packReader) loose(ctx context.Context, j packJob) error {
	if p.noted[j.id] {
		if !p.condemned[j.id] {
			p.report(Finding{
				Kind: FindingUnused, Object: packName(j.id), What: "a repair has found it damaged: what was good in it lies elsewhere, and no index object names it",
				Hint: "it only takes room, until a prune; when somebody has brought back the whole one: holdfast repository repair index",
			})
		}
		return nil
	}
	blobs, err := p.header(ctx, j)
	if err != nil {
		kind, err2 := broken(ctx, err)
		if err2 != nil {
			return err2
		}
		if kind != FindingMissing && !p.others && !p.condemned[j.id] {
			p.report(Finding{
				Kind: FindingUnused, Object: packName(j.id), What: fmt.Sprintf("no index object names it, and its header cannot be read: %v", err),
				Hint: "an interrupted backup leaves such packs; when other findings say that blobs are lost, bring it back from a copy of the repository",
			})
		}
		return nil
	}
	j.blobs = blobs
	p.looseIndex.Add(j.id, blobs)
	p.mu.Lock()
	p.loosePacks[j.id] = nil
	p.mu.Unlock()
	if p.options.ReadData && p.options.Subset.has(j.id) {
		return p.read(ctx, j, j.size)
	}
	return nil
}

// header reads the end of a pack.
func (p *packReader) header(ctx context.Context, j packJob) ([]pack.Blob, error) {
	n := min(j.size, firstTail)
	for {
		tail, err := p.readRange(ctx, j.id, j.size-n, n, nil)
		if err != nil {
			return nil, err
		}
		if len(tail) >= 4 {
			need, err := pack.TailLen([4]byte(tail[len(tail)-4:]), j.size)
			if err != nil {
				return nil, err
			}
			if need > n {
				n = need
				continue
			}
		}
		return pack.ParseTail(p.key, tail, j.size)
	}
}

// A writer stores again what only a missing pack had, or one that is known to be bad.
const (
	hintMissingPack = "bring it back from a copy of the repository; without one: holdfast repository repair index; " +
		"then back up again: what the source still has is stored anew"
	hintDamagedPack = "backups from now on store anew what the source still has of it; bring it back from a copy of the repository, and run repair index then; " +
		"without one: holdfast repository repair index --read-data, which saves what is good in it"
)

// badPack notes what is wrong with a pack: once, by what was seen first.
func (c *checker) badPack(id hash.ID, f Finding, all bool, offsets ...uint32) *finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.bad[id]
	if b == nil {
		f.Object = packName(id)
		if f.Hint == "" {
			f.Hint = hintDamagedPack
			if f.Kind == FindingMissing {
				f.Hint = hintMissingPack
			}
		}
		b = &badPack{finding: c.keep(f), offsets: map[uint32]bool{}}
		c.bad[id] = b
		c.anyBad.Store(true)
	}
	b.all = b.all || all
	for _, o := range offsets {
		b.offsets[o] = true
	}
	return b.finding
}

// badPlace returns why a blob cannot be had from a place; nil: as far as is known
// it can.
func (c *checker) badPlace(l index.Location) *finding {
	if !c.anyBad.Load() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.bad[l.Pack]; b != nil && (b.all || b.offsets[l.Offset]) {
		return b.finding
	}
	return nil
}

// read reads a pack whole, once, from its beginning to its end.
func (p *packReader) read(ctx context.Context, j packJob, want int64) error {
	v := packVerdict{size: j.size, want: want}
	err := p.stream(ctx, j, &v)
	if err != nil {
		kind, err2 := broken(ctx, err)
		if err2 != nil {
			return err2
		}
		if kind == FindingMissing { // removed since it was listed: a prune removes what nobody needs
			p.badPack(j.id, Finding{Kind: kind, What: err.Error()}, true).pruned = p.condemned[j.id]
			return nil
		}
		v.err = err
		if err := p.readEach(ctx, j, &v); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.result.ReadPacks++
	p.mu.Unlock()
	p.notes.see(v.first)
	if what := v.what(len(j.blobs)); what != "" {
		kind := FindingDamaged
		if v.err != nil {
			kind = FindingUnreadable
		}
		p.badPack(j.id, Finding{Kind: kind, What: what}, false, v.bad...)
	}
	return nil
}

// packVerdict is what the reading of a pack has shown.
type packVerdict struct {
	size, want int64 // as the store has it; as it was written
	done       int   // blobs that were looked at
	bad        []uint32
	first      error // of the first bad blob
	header     error
	hash       bool // the content is what the name says
	err        error
}

func (v *packVerdict) blob(b pack.Blob, err error) {
	v.done++
	if err == nil {
		return
	}
	v.bad = append(v.bad, b.Offset)
	if v.first == nil {
		v.first = err
	}
}

// what says what is wrong, or nothing.
func (v *packVerdict) what(blobs int) string {
	s := ""
	switch {
	case v.err != nil:
		s = fmt.Sprintf("it cannot be read: %v", v.err)
	case v.size != v.want:
		s = fmt.Sprintf("it has %d bytes where %d were written", v.size, v.want)
	case !v.hash:
		s = "its content is not what its name says"
	case v.header != nil:
		s = fmt.Sprintf("its header and the index do not agree: %v", v.header)
	}
	switch {
	case len(v.bad) > 0:
		if s != "" {
			s += "; "
		}
		return s + fmt.Sprintf("%d of its %d blobs cannot be read: %v", len(v.bad), blobs, v.first)
	case s != "" && v.err == nil:
		return s + "; all its blobs can be read all the same"
	}
	return s
}

// stream reads the pack in one go.
func (p *packReader) stream(ctx context.Context, j packJob, v *packVerdict) (err error) {
	ctx, cancel := withTimeout(ctx, dataTimeout)
	defer cancel()
	rc, err := p.bucket.Get(ctx, packName(j.id), 0, -1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	h := hash.New()
	count := &counter{checker: p.checker}
	r := io.TeeReader(rc, io.MultiWriter(h, count))
	for _, b := range j.blobs {
		if int64(b.Offset) < count.n {
			v.blob(b, holdfast.Errorf(holdfast.CodeInvalid, "blob %s begins inside of another one", b.ID))
			continue
		}
		if _, err := io.CopyN(io.Discard, r, int64(b.Offset)-count.n); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		p.sealed = grow(p.sealed, int(b.Length))
		n, err := fill(r, p.sealed)
		switch {
		case err != nil:
			return err
		case n < len(p.sealed):
			v.blob(b, holdfast.Errorf(holdfast.CodeInvalid, "blob %s lies beyond the end", b.ID))
		default:
			v.blob(b, p.verify(index.Location{Blob: b, Pack: j.id}, p.sealed))
		}
	}
	tail, err := io.ReadAll(io.LimitReader(r, pack.MaxTail))
	if err != nil {
		return err
	}
	if more, err := io.Copy(io.Discard, r); err != nil {
		return err
	} else if more > 0 {
		tail = nil // no header is so long
	}
	v.size = count.n
	v.hash = hash.Finish(h) == j.id
	header, err := pack.ParseTail(p.key, tail, v.size)
	if v.header = err; err == nil && !slices.Equal(header, j.blobs) {
		v.header = fmt.Errorf("the index lists %d blobs, the header others, or %d", len(j.blobs), len(header))
	}
	return nil
}

// readEach reads the blobs that a broken stream has not come to, one by one.
func (p *packReader) readEach(ctx context.Context, j packJob, v *packVerdict) error {
	for _, b := range j.blobs[v.done:] {
		sealed, err := p.readRange(ctx, j.id, int64(b.Offset), int64(b.Length), p.sealed)
		if err == nil {
			p.sealed = sealed
			err = p.verify(index.Location{Blob: b, Pack: j.id}, sealed)
		} else if _, err2 := broken(ctx, err); err2 != nil {
			return err2
		}
		v.blob(b, err)
	}
	return nil
}

// verify opens a blob, in place, and compares its content with its id.
func (p *packReader) verify(l index.Location, sealed []byte) error {
	content, err := p.openBlob(l, sealed)
	if err != nil {
		return err
	}
	if l.Type == pack.Tree {
		return decodeTree(l.Blob, content, func(node) error { return nil })
	}
	if err := checkSize(l); err != nil {
		return err
	}
	_, p.raw, err = decodeData(p.codec, l, content, p.raw)
	return err
}

// counter counts what is read, for progress.
type counter struct {
	*checker
	n int64
}

// Write counts.
func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	c.step(func(p *CheckProgress) { p.DoneBytes += int64(len(b)) })
	c.readBytes.Add(int64(len(b)))
	return len(b), nil
}

func grow(buf []byte, n int) []byte {
	if cap(buf) < n {
		return make([]byte, n)
	}
	return buf[:n]
}

// fill reads until buf is full or the reader ends.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) {
		got, err := r.Read(buf[n:])
		n += got
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

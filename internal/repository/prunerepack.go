package repository

import (
	"context"
	"fmt"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// repack stores what is needed of wasteful packs anew. On return it is durable, and in
// the index, and the packs are among those that are condemned.
func (p *pruner) repack(ctx context.Context) error {
	if len(p.plan.repack) == 0 {
		return nil
	}
	p.phase("repack", p.plan.Copy)
	p.step(func(s *CheckProgress) { s.TotalBytes = p.plan.Copy })
	_, written, err := p.storeApart(ctx, p.lock, p.copyKept)
	p.result.Written += written
	if holdfast.ErrorCode(err) == holdfast.CodeExhausted { // what is condemned all the same leaves room for the next
		p.noRoom = err
		return nil
	}
	if err != nil {
		return err
	}
	// Those that are condemned already, as sentenced ones are, get a second mark: who has
	// read the index until now knows no other place.
	for _, id := range sortedIDs(p.plan.repack) {
		p.result.Repacked.add(p.sizes[id])
		p.plan.unused = append(p.plan.unused, id)
	}
	return nil
}

// copyKept copies the blobs that the packs are the keepers of.
func (p *pruner) copyKept(ctx context.Context, to *packer) error {
	m := blobMover{from: p.Repository, to: p.Repository}
	var places []index.Location
	return p.index.ByPack(func(id hash.ID, blobs []pack.Blob) error {
		if !p.plan.repack[id] {
			return ctx.Err()
		}
		for _, b := range blobs {
			if !p.use.Has(b.ID, b.Type) {
				continue
			}
			places = p.index.Lookup(places[:0], b.ID, b.Type)
			if k := places[p.plan.keeper(places)]; k.Pack != id || k.Offset != b.Offset {
				continue
			}
			moved, content, err := m.read(ctx, index.Location{Blob: b, Pack: id})
			for i := 0; err != nil && ctx.Err() == nil && i < len(places); i++ { // another pack may have it whole
				if other, c, err2 := m.read(ctx, places[i]); err2 == nil {
					moved, content, err = other, c, nil
				}
			}
			if err != nil {
				return fmt.Errorf("copy what is needed of pack %s: %w", id, err)
			}
			if err := to.seal(ctx, moved, content); err != nil {
				return err
			}
			p.step(func(s *CheckProgress) { s.DoneBytes += int64(b.Length) })
		}
		return nil
	})
}

// condemn marks the packs that nobody needs. Whoever loads the index from now on sees
// that, and whoever has loaded it before is seen now.
func (p *pruner) condemn(ctx context.Context) error {
	if len(p.plan.unused) == 0 {
		return nil
	}
	p.phase("condemn", int64(len(p.plan.unused)))
	if err := p.lock.check(ctx); err != nil {
		return err
	}
	m := mark{Version: recordVersion, Time: p.now(), Packs: p.plan.unused}
	id, err := putRecord(ctx, p.Repository, kindMark(), m)
	if err != nil {
		return err
	}
	p.marks[id] = m
	if p.locks, err = p.heldLocks(ctx, p.lock); err != nil {
		return err
	}
	m.Seen = p.lookAround()
	if err := p.replaceMark(ctx, id, m); err != nil {
		return err
	}
	for _, id := range m.Packs {
		p.result.Condemned.add(p.sizes[id])
	}
	return nil
}

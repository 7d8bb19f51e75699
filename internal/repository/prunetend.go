package repository

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// tendMarks brings the marks up to date: pardons packs, notes who still holds a lock,
// removes the locks of the dead, and looks for holders where nobody has looked yet.
func (p *pruner) tendMarks(ctx context.Context) error {
	now := p.now()
	dead := map[hash.ID]bool{}
	for _, id := range sortedIDs(p.marks) {
		m := p.marks[id]
		next := mark{Version: recordVersion, Time: m.Time, Seen: m.Seen}
		for _, pack := range m.Packs {
			if _, there := p.sizes[pack]; there && !p.plan.pardon[pack] {
				next.Packs = append(next.Packs, pack)
			}
		}
		switch {
		case m.Seen == nil || m.Seen.Time.After(now): // nobody has looked, or by a clock that was wrong
			next.Seen = p.lookAround()
		default:
			s, gone := m.Seen.renew(p.locks, now)
			for _, l := range gone {
				dead[l] = true
			}
			if s = s.settle(p.readers, now); len(s.Sessions) == 0 && !m.Seen.Settled && now.Sub(s.Time) >= p.options.Wait {
				s.Settled = false // its packs go now
			}
			next.Seen = &s
		}
		if len(next.Packs) == len(m.Packs) && m.Seen != nil && m.Seen.equal(*next.Seen) {
			continue
		}
		if err := p.replaceMark(ctx, id, next); err != nil {
			return err
		}
	}
	for _, id := range p.badMarks {
		if err := p.removeMark(ctx, id); err != nil {
			return err
		}
	}
	if err := p.buryDead(ctx, dead); err != nil {
		return err
	}
	if len(p.plan.pardon) == 0 {
		return nil
	}
	p.result.Pardoned = p.plan.Pardon
	return p.refuseNewSentences(ctx)
}

// lookAround notes who holds a lock now.
func (p *pruner) lookAround() *seen {
	now := p.now()
	return &seen{Time: now, Sessions: newSessions(p.locks, now)}
}

// replaceMark puts the next mark, unless it names nothing, and removes the old one.
func (p *pruner) replaceMark(ctx context.Context, old hash.ID, next mark) error {
	if err := p.lock.check(ctx); err != nil {
		return err
	}
	if len(next.Packs) > 0 {
		id, err := putRecord(ctx, p.Repository, kindMark(), next)
		if err != nil {
			return err
		}
		p.marks[id] = next
	}
	return p.removeMark(ctx, old)
}

// removeMark removes a mark. One that the store keeps stays, and condemns what it
// names: that costs room, and loses nothing.
func (p *pruner) removeMark(ctx context.Context, id hash.ID) error {
	err := p.remove(ctx, kindMark(), id)
	if _, kept := objstore.RetainedUntil(err); kept {
		p.log.InfoContext(ctx, "mark not removed yet", "error", err)
		return nil
	}
	if err == nil {
		delete(p.marks, id)
	}
	return err
}

// buryDead removes the locks of sessions that have not refreshed them for long: one
// that was only frozen notices then.
func (p *pruner) buryDead(ctx context.Context, dead map[hash.ID]bool) error {
	for _, l := range p.locks {
		if !dead[l.id] {
			continue
		}
		if err := p.remove(ctx, kindLock(), l.id); err != nil {
			return err
		}
		p.log.WarnContext(ctx, "lock removed: nobody has refreshed it", "holder", l.body.Holder, "host", l.body.Hostname, "pid", l.body.PID)
		p.result.Locks = append(p.result.Locks, Lock{
			ID: l.id.String(), Time: l.body.Time, Exclusive: l.body.Exclusive, Hostname: l.body.Hostname, Username: l.body.Username,
			PID: l.body.PID, Holder: l.body.Holder, Stale: StaleOld,
		})
	}
	return nil
}

// refuseNewSentences is the second half of a pardon: a prune that sentenced one of
// the packs meanwhile may delete it.
func (p *pruner) refuseNewSentences(ctx context.Context) error {
	all, err := p.Repository.sentences(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		for _, id := range s.Packs {
			if p.plan.pardon[id] {
				return errOtherPrune()
			}
		}
	}
	return nil
}

func errOtherPrune() error {
	return holdfast.Errorf(holdfast.CodeConflict, "another prune is at work on the repository").
		WithHint("prune again when it has finished; what was done so far is kept")
}

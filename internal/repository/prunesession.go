package repository

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// session is somebody with a lock, however often it is refreshed.
type session struct {
	Holder     string    `json:"holder,omitempty"` // empty: another program's
	Generation int64     `json:"generation,omitempty"`
	Hostname   string    `json:"hostname"`
	PID        int       `json:"pid"`
	Lock       hash.ID   `json:"lock"`  // its newest object when a prune last saw it change
	Noted      time.Time `json:"noted"` // when that was, by the clock of prunes
}

// heldLock is a lock that is there.
type heldLock struct {
	id   hash.ID
	body lockJSON
}

// same reports whether the lock is the session's.
func (s session) same(l lockJSON) bool {
	if s.Holder == "" || l.Holder == "" {
		return s.Holder == l.Holder && s.Hostname == l.Hostname && s.PID == l.PID
	}
	return s.Holder == l.Holder && s.Generation == l.Generation
}

func newSession(l heldLock, now time.Time) session {
	return session{Holder: l.body.Holder, Generation: l.body.Generation, Hostname: l.body.Hostname, PID: l.body.PID, Lock: l.id, Noted: now}
}

// heldLocks returns all locks but our own, the newest first. A refresh that is under
// way may hide a session from one listing, so two that follow each other must agree.
func (r *Repository) heldLocks(ctx context.Context, own *lock) ([]heldLock, error) {
	bodies := map[hash.ID]lockJSON{}
	var before []hash.ID
	for pass := range maxIndexPasses + 1 {
		ids, err := list(ctx, r.bucket, kindLock())
		if err != nil {
			return nil, err
		}
		if pass > 0 && slices.Equal(ids, before) {
			return otherLocks(ids, bodies, own), nil
		}
		before = nil
		for _, id := range ids {
			if _, ok := bodies[id]; !ok {
				data, err := r.load(ctx, kindLock(), id)
				if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
					continue // released or refreshed meanwhile
				}
				if err == nil {
					bodies[id], err = parseLock(data)
				}
				if err != nil {
					return nil, err
				}
			}
			before = append(before, id)
		}
	}
	return nil, holdfast.Errorf(holdfast.CodeUnavailable, "the repository's locks keep changing while they are read")
}

func otherLocks(ids []hash.ID, bodies map[hash.ID]lockJSON, own *lock) []heldLock {
	var all []heldLock
	for _, id := range ids {
		if b := bodies[id]; own == nil || !own.is(b) {
			all = append(all, heldLock{id, b})
		}
	}
	slices.SortFunc(all, func(a, b heldLock) int {
		return cmp.Or(b.body.Time.Compare(a.body.Time), cmp.Compare(a.id.String(), b.id.String()))
	})
	return all
}

// foreign reports whether another program holds one of the locks. It knows no marks.
func foreign(locks []heldLock) bool {
	return slices.ContainsFunc(locks, func(l heldLock) bool { return l.body.Holder == "" })
}

// renew compares the sessions with the locks that are there: those of gone ones are
// left out, and another program's is added, whenever it came. dead are the lock
// objects of sessions that have not been refreshed for so long that they are none.
func (s seen) renew(locks []heldLock, now time.Time) (out seen, dead []hash.ID) {
	out = seen{Time: s.Time, Sessions: []session{}, Settled: s.Settled}
	for _, l := range locks { // the newest of a session comes first
		if slices.ContainsFunc(out.Sessions, func(o session) bool { return o.same(l.body) }) {
			continue
		}
		i := slices.IndexFunc(s.Sessions, func(o session) bool { return o.same(l.body) })
		switch {
		case i >= 0 && s.Sessions[i].Lock == l.id && !s.Sessions[i].Noted.After(now): // or the clock was wrong
			out.Sessions = append(out.Sessions, s.Sessions[i])
		case i >= 0 || l.body.Holder == "":
			out.Sessions = append(out.Sessions, newSession(l, now))
		}
	}
	out.Sessions = slices.DeleteFunc(out.Sessions, func(o session) bool {
		if now.Sub(o.Noted) < staleAfter {
			return false
		}
		for _, l := range locks {
			if o.same(l.body) {
				dead = append(dead, l.id)
			}
		}
		return true
	})
	return out, dead
}

// settle goes on to the readers once nobody is left who may put a snapshot that needs the
// packs; readers are those that were there after all snapshots had been walked, and
// whoever reads one from then on does not need the packs. Before that, one may
// read a set that a session of the mark has put, and that was dropped since: it came after
// the mark, which has not seen it.
func (s seen) settle(readers []heldLock, now time.Time) seen {
	if s.Settled || len(s.Sessions) > 0 {
		return s
	}
	return seen{Time: s.Time, Sessions: newSessions(readers, now), Settled: true}
}

// newSessions are those of the locks.
func newSessions(locks []heldLock, now time.Time) []session {
	all := []session{}
	for _, l := range locks {
		if !slices.ContainsFunc(all, func(o session) bool { return o.same(l.body) }) {
			all = append(all, newSession(l, now))
		}
	}
	return all
}

func (s seen) equal(o seen) bool {
	return s.Time.Equal(o.Time) && s.Settled == o.Settled && slices.EqualFunc(s.Sessions, o.Sessions, func(a, b session) bool {
		return a.Lock == b.Lock && a.Noted.Equal(b.Noted) && a.Holder == b.Holder && a.Generation == b.Generation && a.Hostname == b.Hostname && a.PID == b.PID
	})
}

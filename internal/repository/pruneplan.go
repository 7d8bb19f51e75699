package repository

import (
	"cmp"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// PackCount is a number of packs.
type PackCount struct {
	Packs int
	Bytes int64 // of them, as they are stored
}

func (c *PackCount) add(bytes int64) {
	c.Packs++
	c.Bytes += bytes
}

func (c *PackCount) take(bytes int64) {
	c.Packs--
	c.Bytes -= bytes
}

// PrunePlan says what a prune does with each pack.
type PrunePlan struct {
	Keep     PackCount // stay as they are
	Waste    int64     // bytes in them that nobody needs
	Repack   PackCount // their used pieces are stored anew; then they are condemned
	Copy     int64     // bytes of these pieces
	Unused   PackCount // hold nothing that is needed, and are condemned now
	Pardon   PackCount // were condemned, and are needed after all
	Delete   PackCount // were condemned long enough, and are deleted now
	Waiting  []WaitingPacks
	Left     PackCount // would be condemned or deleted now, and are left to the next prune, as one record cannot name them all
	Unnamed  PackCount // are in no index object, and stay, because needed pieces are missing
	Lost     int       // places of needed pieces that are in no pack
	LostFile string    // one of the files
	Unread   int       // marks that cannot be read; their packs are condemned anew
}

// WaitingPacks are packs that were condemned at once, and must wait.
type WaitingPacks struct {
	PackCount
	Since time.Time // the zero time: the wait begins with the next prune
	Until time.Time // when they may be deleted, if nobody holds them then
	For   []Session // whose locks must go first
}

// Session is somebody who holds a lock for whom packs wait.
type Session struct {
	Holder   string // empty: another program
	Hostname string
	PID      int
	Noted    time.Time // since when it is known not to have refreshed its lock
}

// prunePlan is the plan with its packs.
type prunePlan struct {
	PrunePlan
	pardon map[hash.ID]bool
	ripe   map[hash.ID]int64          // packs that are deleted now, with their sizes
	ghosts map[hash.ID]bool           // packs that the index names, that are not there, and that nobody needs
	repack map[hash.ID]bool           // packs whose kept blobs are copied
	unused []hash.ID                  // packs that are condemned
	keeper func([]index.Location) int // of the places of a blob
}

// The classes of packs, the best keeper first.
type packClass int

const (
	packLive packClass = iota
	packCondemned
	packSentenced // somebody may delete it at any time
	packMissing
)

// packUse says what of a pack is needed.
type packUse struct {
	id    hash.ID
	class packClass
	// It has not the size that its blobs make, or a repair has found it bad: whoever
	// else has its blobs is the better keeper, even one that is condemned.
	damaged bool
	size    int64 // as it is stored
	blobs   int64 // bytes of its blobs
	sole    int64 // of them, bytes of used blobs that lie nowhere else
	kept    int64 // of them, bytes that it is the keeper of
}

func (u *packUse) waste() int64 { return u.blobs - u.kept }

// compare orders keepers, the best first.
func (u *packUse) compare(o *packUse) int {
	rank := func(u *packUse) int {
		switch {
		case u.class == packMissing:
			return 2
		case u.damaged:
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(rank(u), rank(o)), cmp.Compare(u.class, o.class), cmp.Compare(o.sole, u.sole), cmp.Compare(u.id.String(), o.id.String()))
}

// uses finds for each used blob the pack that keeps it, and returns the packs in the
// order of their ids. It takes what ByPack takes, twice in turn.
func uses(
	x *index.Index, use *index.Use, class func(hash.ID) packClass, sizes map[hash.ID]int64, noted map[hash.ID]bool,
) ([]*packUse, func([]index.Location) int, error) {
	packs := map[hash.ID]*packUse{}
	var places []index.Location
	err := x.ByPack(func(id hash.ID, blobs []pack.Blob) error {
		u := &packUse{id: id, class: class(id), size: sizes[id]}
		u.damaged = noted[id] || u.class != packMissing && u.size != pack.Size(blobs)
		packs[id] = u
		for _, b := range blobs {
			u.blobs += int64(b.Length)
			if !use.Has(b.ID, b.Type) {
				continue
			}
			if places = x.Lookup(places[:0], b.ID, b.Type); len(places) == 1 {
				u.sole += int64(b.Length)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	get := func(id hash.ID) *packUse {
		if u := packs[id]; u != nil {
			return u
		}
		return &packUse{id: id, class: packMissing} // it came after the look
	}
	// Of several places the best is one in a pack that stays anyway.
	keeper := func(places []index.Location) int {
		best := 0
		for i := 1; i < len(places); i++ {
			a, b := get(places[best].Pack), get(places[i].Pack)
			if cmp.Or(a.compare(b), cmp.Compare(places[best].Offset, places[i].Offset)) > 0 {
				best = i
			}
		}
		return best
	}
	err = x.ByPack(func(id hash.ID, blobs []pack.Blob) error {
		for _, b := range blobs {
			if !use.Has(b.ID, b.Type) {
				continue
			}
			places = x.Lookup(places[:0], b.ID, b.Type)
			if k := places[keeper(places)]; k.Pack == id && k.Offset == b.Offset {
				packs[id].kept += int64(b.Length)
			}
		}
		return nil
	})
	all := make([]*packUse, 0, len(packs))
	for _, u := range packs {
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b *packUse) int { return slices.Compare(a.id[:], b.id[:]) })
	return all, keeper, err
}

// planInput is all that a plan is made of.
type planInput struct {
	packs   []*packUse
	loose   map[hash.ID]bool // in no index object, and not adopted
	sizes   map[hash.ID]int64
	marks   map[hash.ID]mark
	locks   []heldLock
	readers []heldLock // that were there after the snapshots had been walked
	lost    int        // places of needed blobs that are in no pack, and packs that may not have theirs
	now     time.Time
	options PruneOptions
}

// planPrune decides about every pack.
func planPrune(in planInput) prunePlan {
	p := prunePlan{pardon: map[hash.ID]bool{}, ripe: map[hash.ID]int64{}, ghosts: map[hash.ID]bool{}, repack: map[hash.ID]bool{}}
	condemned := map[hash.ID]bool{}
	ripe := in.ripe(condemned)
	wait := map[hash.ID]bool{}
	going := func(id hash.ID, size int64) {
		switch {
		case !condemned[id]:
			p.unused = append(p.unused, id)
			p.Unused.add(size)
		case ripe[id]:
			p.ripe[id] = size
			p.Delete.add(size)
		default:
			wait[id] = true
		}
	}
	var stay []*packUse
	for _, u := range in.packs {
		switch {
		case u.class == packMissing:
			if u.kept == 0 {
				p.ghosts[u.id] = true
			}
		case u.kept == 0:
			going(u.id, u.size)
		case u.class == packCondemned:
			p.pardon[u.id] = true
			p.Pardon.add(u.size)
		case u.class == packSentenced: // it is never trusted again
			p.repack[u.id] = true
			p.Repack.add(u.size)
			p.Copy += u.kept
		case u.damaged: // what is needed of it may not be there to be copied
			p.Keep.add(u.size)
			p.Waste += u.waste()
		default:
			stay = append(stay, u)
		}
	}
	p.planRepack(stay, in.options)
	for _, id := range sortedIDs(in.loose) {
		if in.lost > 0 && !condemned[id] {
			p.Unnamed.add(in.sizes[id])
			continue
		}
		if in.lost > 0 {
			wait[id] = true
			continue
		}
		going(id, in.sizes[id])
	}
	p.Waiting = in.waiting(wait)
	p.limit(in)
	return p
}

// limit leaves to the next prune what one mark, or one sentence, has no room for.
func (p *prunePlan) limit(in planInput) {
	most := in.options.mostPacks()
	room := max(0, most-len(p.repack)) // these are condemned, too
	if len(p.unused) > room {
		for _, id := range p.unused[room:] {
			p.Unused.take(in.sizes[id])
			p.Left.add(in.sizes[id])
		}
		p.unused = p.unused[:room]
	}
	if len(p.ripe) <= most {
		return
	}
	for _, id := range sortedIDs(p.ripe)[most:] {
		p.Delete.take(p.ripe[id])
		p.Left.add(p.ripe[id])
		delete(p.ripe, id)
	}
}

func (o PruneOptions) mostPacks() int { return cmp.Or(o.recordPacks, maxRecordPacks) }

// planRepack takes the most wasteful packs until the waste is small enough.
func (p *prunePlan) planRepack(stay []*packUse, o PruneOptions) {
	var waste, blobs int64
	for _, u := range stay {
		waste += u.waste()
		blobs += u.blobs
	}
	slices.SortStableFunc(stay, func(a, b *packUse) int {
		return cmp.Compare(float64(b.waste())/float64(b.blobs), float64(a.waste())/float64(a.blobs))
	})
	for _, u := range stay {
		if u.waste() > 0 && float64(waste) > o.MaxUnused*float64(blobs) && (o.RepackLimit == 0 || p.Copy+u.kept <= o.RepackLimit) && len(p.repack) < o.mostPacks() {
			p.repack[u.id] = true
			p.Repack.add(u.size)
			p.Copy += u.kept
			waste -= u.waste()
			blobs -= u.waste()
			continue
		}
		p.Keep.add(u.size)
		p.Waste += u.waste()
	}
}

// ripe returns the packs that have waited, and fills in all that are condemned. Of a
// pack that several marks name, all must be ripe.
func (in planInput) ripe(condemned map[hash.ID]bool) map[hash.ID]bool {
	ripe := map[hash.ID]bool{}
	for _, m := range in.marks {
		ok := m.ripe(in.locks, in.readers, in.now, in.options.Wait)
		for _, id := range m.Packs {
			ripe[id] = ok && (ripe[id] || !condemned[id])
			condemned[id] = true
		}
	}
	return ripe
}

// ripe reports whether the wait is over, and nobody is left who may have counted on
// the packs.
func (m mark) ripe(locks, readers []heldLock, now time.Time, wait time.Duration) bool {
	if m.Seen == nil || now.Before(m.Seen.Time) || now.Sub(m.Seen.Time) < wait || foreign(locks) {
		return false
	}
	s, _ := m.Seen.renew(locks, now)
	return len(s.settle(readers, now).Sessions) == 0
}

// waiting says for each mark what waits, and for whom. A pack is counted once, with
// the mark that keeps it longest.
func (in planInput) waiting(wait map[hash.ID]bool) []WaitingPacks {
	marks := make([]mark, 0, len(in.marks))
	for _, id := range sortedIDs(in.marks) {
		marks = append(marks, in.marks[id])
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return b.since().Compare(a.since()) })
	var out []WaitingPacks
	counted := map[hash.ID]bool{}
	for _, m := range marks {
		w := WaitingPacks{Since: m.since()}
		for _, id := range m.Packs {
			if wait[id] && !counted[id] {
				counted[id] = true
				w.add(in.sizes[id])
			}
		}
		if w.Packs == 0 {
			continue
		}
		if m.Seen != nil {
			w.Until = w.Since.Add(in.options.Wait)
			s, _ := m.Seen.renew(in.locks, in.now)
			for _, o := range s.settle(in.readers, in.now).Sessions {
				w.For = append(w.For, Session{Holder: o.Holder, Hostname: o.Hostname, PID: o.PID, Noted: o.Noted})
			}
		}
		out = append(out, w)
	}
	return out
}

func (m mark) since() time.Time {
	if m.Seen == nil {
		return time.Time{}
	}
	return m.Seen.Time
}

// classes says which packs may be counted on.
func (p *pruner) classes() func(hash.ID) packClass {
	classes := map[hash.ID]packClass{}
	for _, m := range p.marks {
		for _, id := range m.Packs {
			classes[id] = packCondemned
		}
	}
	for _, s := range p.sentences {
		for _, id := range s.Packs {
			classes[id] = packSentenced
		}
	}
	return func(id hash.ID) packClass {
		if _, there := p.sizes[id]; !there {
			return packMissing
		}
		return classes[id]
	}
}

// decide makes the plan of what was looked at.
func (p *pruner) decide() error {
	class := p.classes()
	packs, keeper, err := uses(p.index, p.use, class, p.sizes, p.noted)
	if err != nil {
		return err
	}
	lost, doubtful := p.lostBlobs, 0
	p.damaged = map[hash.ID]bool{}
	for _, u := range packs {
		switch {
		case u.class == packMissing && u.kept > 0:
			lost++
		case u.damaged:
			p.damaged[u.id] = true
			if u.kept > 0 {
				doubtful++
			}
		}
	}
	loose := map[hash.ID]bool{}
	for id := range p.loose {
		if !p.adopted[id] {
			loose[id] = true
		}
	}
	p.plan = planPrune(planInput{
		packs: packs, loose: loose, sizes: p.sizes, marks: p.marks, locks: p.locks, readers: p.readers, lost: lost + doubtful, now: p.now(), options: p.options,
	})
	p.plan.keeper = keeper
	p.plan.Lost, p.plan.LostFile, p.plan.Unread = lost, p.lostExample, len(p.badMarks)
	return nil
}

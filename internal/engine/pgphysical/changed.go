package pgphysical

import "github.com/holdfast-backup/holdfast/internal/pg"

// changed is what tells the sink how many pages of a block have changed since the base;
// nil: nothing does. A page's LSN is where the WAL record of its last change ends. It is
// a hint only: a hint bit may change a page and leave its LSN, and so may a disk.
func (b *backup) changed(e entry) func(block []byte) (changed, pages int) {
	if b.base == nil || b.base.Result.Physical == nil {
		return nil
	}
	f, ok := pg.ParseRelationPath(e.cluster)
	if !ok || f.Fork != pg.ForkMain { // the others have no LSN on every page
		return nil
	}
	since, size := pg.LSN(b.base.Result.Physical.StartLSN), int(b.control.BlockSize)
	return func(block []byte) (changed, pages int) {
		for ; len(block) >= size; block = block[size:] {
			pages++
			if pg.PageLSN(block[:size]) > since {
				changed++
			}
		}
		return changed, pages
	}
}

package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// copy imports a snapshot whose set's number is a set's here. When it is that set, its
// copy in this repository becomes known; else it is refused.
func (im *importer) copy(ctx context.Context, set holdfast.BackupSet, f FoundSet) error {
	copies, err := im.tx.Copies(ctx, set.Account, set.ID)
	if err != nil {
		return err
	}
	of := func(c holdfast.Copy) bool { return c.Origin == f.Origin && c.Execution == f.Set.Execution }
	sameFence := func(c holdfast.Copy) bool { return of(c) && c.Fence == f.Fence }
	here := slices.IndexFunc(copies, func(c holdfast.Copy) bool {
		return of(c) && c.Repository == im.repository.ID && (sameFence(c) || c.Readable())
	})
	switch {
	case set.Account != im.repository.Account, !slices.ContainsFunc(copies, of):
		return errImport("backup set %d is another one here", set.ID).WithHint("%s", hintTaken)
	case here >= 0:
		return errImport("backup set %d is known here by another snapshot, %s", set.ID, shorten(copies[here].Snapshot, 16)).
			WithHint("this is a copy of it, or an attempt that was given up: it can stay, and restore --offline reads it")
	case !slices.ContainsFunc(copies, sameFence):
		return errImport("backup set %d is known here by another attempt at it", set.ID).
			WithHint("this one was given up: it can stay, and restore --offline reads it")
	}
	if what := difference(set, f.Set); what != "" {
		return errImport("backup set %d is known here, and this is not a copy of it: %s", set.ID, what).
			WithHint("somebody has changed what it says of itself, or two installations had one id; restore --offline reads it")
	}
	if !slices.ContainsFunc(copies, func(c holdfast.Copy) bool { return sameFence(c) && c.Readable() }) {
		return errImport("backup set %d was dropped here", set.ID).WithHint("restore --offline reads it")
	}
	c := holdfast.Copy{
		Account: set.Account, Set: set.ID, Repository: im.repository.ID, Snapshot: f.Snapshot, State: holdfast.CopyUnconfirmed,
		Execution: f.Set.Execution, Fence: f.Fence, Origin: f.Origin, Intended: im.now,
	}
	if err := im.tx.InsertCopy(ctx, &c); err != nil {
		return err
	}
	return record(ctx, im.tx, im.actor, im.now, setSubject(set.ID), "copy.imported", facts{
		"site": set.Site, "job": set.Job, "repository": im.repository.ID, "snapshot": f.Snapshot, "installation": f.Origin,
	})
}

// difference says in what a found set is not the one that is here; empty: it is that
// one. Names and numbers of sites and jobs may have changed on the way here; when and of
// what the set was taken has not.
func difference(here, found holdfast.BackupSet) string {
	at := func(t time.Time) string { return t.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano) } // as rows keep it
	p, q := here.Physical, found.Physical
	for _, v := range []struct {
		what        string
		here, found any
	}{
		{"engine", here.Engine, found.Engine},
		{"run type", here.RunType, found.RunType},
		{"begin", at(here.Started), at(found.Started)},
		{"end", at(here.Stopped), at(found.Stopped)},
		{"size", here.Bytes, found.Bytes},
		{"system identifier", p.SystemIdentifier, q.SystemIdentifier},
		{"server's version", p.Version, q.Version},
		{"timeline", p.Timeline, q.Timeline},
		{"first LSN", p.StartLSN, q.StartLSN},
		{"last LSN", p.StopLSN, q.StopLSN},
	} {
		if v.here != v.found {
			return fmt.Sprintf("its %s is %v, and %v here", v.what, v.found, v.here)
		}
	}
	return ""
}

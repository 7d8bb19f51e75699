package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// snapshotKind is what a snapshot is to the server.
type snapshotKind string

// The kinds of snapshots.
const (
	snapshotRecorded   snapshotKind = "recorded"   // a copy of the server's
	snapshotDeleted    snapshotKind = "deleted"    // of a copy that the server takes for deleted
	snapshotForeign    snapshotKind = "foreign"    // of another program
	snapshotRemains    snapshotKind = "remains"    // what a repair has left of a set
	snapshotCopied     snapshotKind = "copied"     // by repository copy, from another repository
	snapshotUnrecorded snapshotKind = "unrecorded" // a set of this installation, which does not know it
	snapshotOther      snapshotKind = "other"      // a set of another installation
	snapshotSuperseded snapshotKind = "superseded" // an earlier attempt at a set, or another copy of it
)

// foundSnapshot is a snapshot, and what it is to the server.
type foundSnapshot struct {
	repository.Snapshot
	kind snapshotKind
	set  setKey         // zero: it is of no set
	next *foundSnapshot // of the same set, if this one turns out not to be good
}

// setKey names a backup set among those of all installations.
type setKey struct {
	installation string
	set          string
}

// foundSnapshots are the snapshots of a repository beside what the server knows of it.
type foundSnapshots struct {
	installation string // the server's
	all          []foundSnapshot
	unreadable   error                            // those that cannot be read
	copies       map[string]native.RepositoryCopy // the server's, by snapshot
}

// find lists the snapshots, and what each is. The snapshots come first: whatever the
// server is writing meanwhile, it has recorded before.
func (p *openedRepository) find(ctx context.Context) (*foundSnapshots, error) {
	if p.client == nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "this needs a server, and the name that it has for the repository").
			WithHint("without a server, holdfast restore --offline --kit FILE list shows what a repository holds")
	}
	list, err := p.Snapshots(ctx)
	if err != nil && (ctx.Err() != nil || passes(err)) {
		return nil, fmt.Errorf("list the snapshots: %w", err)
	}
	f := &foundSnapshots{unreadable: err, copies: map[string]native.RepositoryCopy{}}
	for after := holdfast.CopyID(0); ; {
		page, err := p.client.RepositoryCopies(ctx, strconv.FormatInt(int64(p.id), 10), after)
		if err != nil {
			return nil, fmt.Errorf("list what the server knows: %w", err)
		}
		f.installation = page.Installation
		for _, c := range page.Items {
			after = c.ID
			if old, ok := f.copies[c.Snapshot]; !ok || old.State == holdfast.CopyDeleted {
				f.copies[c.Snapshot] = c
			}
		}
		if len(page.Items) == 0 {
			break
		}
	}
	f.classify(list)
	return f, nil
}

// classify says what each snapshot is.
func (f *foundSnapshots) classify(list []repository.Snapshot) {
	for _, s := range list {
		f.all = append(f.all, foundSnapshot{Snapshot: s, kind: f.kindOf(s), set: keyOf(s)})
	}
	f.supersede()
}

// passes reports whether the same call may succeed later, or with other rights: nothing
// is said of the object then.
func passes(err error) bool {
	switch holdfast.ErrorCode(err) {
	case holdfast.CodeUnavailable, holdfast.CodeExhausted, holdfast.CodeForbidden, holdfast.CodeUnauthenticated:
		return true
	case holdfast.CodeInvalid, holdfast.CodeNotFound, holdfast.CodeConflict, holdfast.CodeInternal:
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func keyOf(s repository.Snapshot) (k setKey) {
	k.set, _ = s.Tag("set")
	k.installation, _ = s.Tag("installation")
	return k
}

func (f *foundSnapshots) kindOf(s repository.Snapshot) snapshotKind {
	_, ours := s.Tag("set")
	_, remains := s.Tag(repository.RepairedFromTag)
	_, copied := s.Tag(repository.CopiedFromTag)
	c, recorded := f.copies[s.ID]
	switch {
	case recorded && c.State == holdfast.CopyDeleted:
		return snapshotDeleted
	case recorded:
		return snapshotRecorded
	case !ours:
		return snapshotForeign
	case remains:
		return snapshotRemains
	case copied:
		return snapshotCopied
	case keyOf(s).installation == f.installation:
		return snapshotUnrecorded
	}
	return snapshotOther
}

// supersede finds the snapshots of sets that have a better one: of several attempts the
// one with the highest fence counts, and the newest of those; one that the server knows
// comes before all. Tags say so, which anybody may write: the others stand behind it.
func (f *foundSnapshots) supersede() {
	attempts := map[setKey][]*foundSnapshot{}
	for i, s := range f.all {
		if s.set.set != "" && s.kind != snapshotRemains {
			attempts[s.set] = append(attempts[s.set], &f.all[i])
		}
	}
	for _, all := range attempts {
		slices.SortStableFunc(all, compareAttempts)
		var last *foundSnapshot
		for i, s := range all {
			switch s.kind {
			case snapshotUnrecorded, snapshotOther, snapshotCopied:
				if i > 0 {
					s.kind = snapshotSuperseded
				}
				if last != nil {
					last.next = s
				}
				last = s
			case snapshotRecorded, snapshotDeleted, snapshotForeign, snapshotRemains, snapshotSuperseded:
			}
		}
	}
}

// compareAttempts orders the attempts at a set, the best first.
func compareAttempts(s, than *foundSnapshot) int {
	known := func(s *foundSnapshot) int {
		if s.kind == snapshotRecorded {
			return 1
		}
		return 0
	}
	fence := func(s *foundSnapshot) uint64 {
		v, _ := s.Tag("fence")
		n, _ := strconv.ParseUint(v, 10, 64) // one that is none is the lowest
		return n
	}
	return cmp.Or(cmp.Compare(known(than), known(s)), cmp.Compare(fence(than), fence(s)), than.Time.Compare(s.Time))
}

// importable are the snapshots of sets that the server does not know, the newest
// installation first, and in each the oldest set first. Where two installations have given
// one number twice, the newer one keeps it.
func (f *foundSnapshots) importable(installation string) []foundSnapshot {
	var out []foundSnapshot
	newest := map[string]int64{}
	for _, s := range f.all {
		switch s.kind {
		case snapshotUnrecorded, snapshotOther, snapshotCopied:
			if installation == "" || s.set.installation == installation {
				out = append(out, s)
				newest[s.set.installation] = max(newest[s.set.installation], s.Time.UnixNano())
			}
		case snapshotRecorded, snapshotDeleted, snapshotForeign, snapshotRemains, snapshotSuperseded:
		}
	}
	number := func(s foundSnapshot) int64 {
		n, _ := strconv.ParseInt(s.set.set, 10, 64) // one that is none is refused later
		return n
	}
	slices.SortStableFunc(out, func(a, b foundSnapshot) int {
		return cmp.Or(-cmp.Compare(newest[a.set.installation], newest[b.set.installation]), strings.Compare(a.set.installation, b.set.installation),
			cmp.Compare(number(a), number(b)))
	})
	return out
}

// manifests reads what the snapshots say of their sets. One that cannot be read has its
// error, and the next attempt at its set is read; an error of the whole means that the
// repository does not answer.
func (p *openedRepository) manifests(ctx context.Context, list []foundSnapshot, take func(foundSnapshot, worker.SetManifest, error)) (err error) {
	if len(list) == 0 {
		return nil
	}
	reader, err := p.NewReader(ctx, list[0].ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	for i := range list {
		for s := &list[i]; s != nil; s = s.next {
			m, err := worker.ReadManifest(ctx, reader.At(s.Snapshot), s.Snapshot)
			if err != nil && (ctx.Err() != nil || passes(err)) {
				return fmt.Errorf("read snapshot %s: %w", s.ID[:8], err)
			}
			take(*s, m, err)
			if err == nil {
				break
			}
		}
	}
	return nil
}

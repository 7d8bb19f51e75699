package service

import (
	"context"
	"errors"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// FoundSet is what a snapshot of a repository says of the backup set in it. All of it
// comes from the repository, and nobody vouches for it.
type FoundSet struct {
	Snapshot string
	Origin   string // id of the installation that wrote it
	Fence    holdfast.Fence
	Set      holdfast.BackupSet // with the ids that things had there
	SiteSlug string
	JobName  string
	Server   holdfast.Server // of the site; empty: it does not say
	DataDir  string          // of the site; empty: it does not say
	Files    int64
	Warnings string // what was left out, for people
}

// Import asks for sets that were found in a repository to be known here.
type Import struct {
	Repository holdfast.RepositoryID
	Host       holdfast.HostID // where sites are put that are not here; zero: the only host that there is
	DryRun     bool            // say what would be done, and do nothing
	Seen       store.Sequences // the highest ids in the whole repository: none up to them is given out from now on
	Sets       []FoundSet
}

// ImportState is what became of a found set.
type ImportState string

// The states of found sets.
const (
	ImportNew     ImportState = "new"     // imported; of a dry run: would be
	ImportCopy    ImportState = "copy"    // its set was here already, from another repository, and has one copy more
	ImportKnown   ImportState = "known"   // it was here already
	ImportRefused ImportState = "refused" // the reason says why
)

// Imported is what became of one found set.
type Imported struct {
	Snapshot string
	Set      holdfast.SetID
	State    ImportState
	Reason   string // for people; empty when it is new, or a copy
	Hint     string
	Site     string // slug
	Job      string // its name here
	NewSite  bool   // the site had to be made
	NewJob   bool
}

// MaxImport is how many sets one call may ask for.
const MaxImport = 200

// MaxImportID is the highest id that is imported: a repository must not use up the
// numbers that there are.
const MaxImportID = 1 << 40

// Limits of what a repository may make us believe.
const (
	maxTextBytes   = 4096 // of what is damaged, and what was left out
	maxTablespaces = 10000
)

// unknownServer stands for the address of a site whose set does not tell it: a name
// that never leads anywhere (RFC 2606).
const unknownServer = "unknown.invalid"

// errDryRun takes back what a dry run has done.
var errDryRun = errors.New("nothing but a dry run")

// errNoHost is in the tree of the error that ends an import which has no place for a site.
var errNoHost = errors.New("no host for a site")

// errImport refuses one set, and no other.
func errImport(format string, args ...any) *holdfast.Error {
	return holdfast.Errorf(holdfast.CodeConflict, format, args...)
}

// ImportSets makes rows of sets that were found in a repository, and of the sites and jobs
// that they name and that are not here. Their copies are UNCONFIRMED: no retention counts
// or drops them, and nothing builds on them, until [Service.ConfirmSet]. A set that cannot
// be imported is refused with a reason, and the others are imported. What was imported
// before is known, and stays as it is; a snapshot of a set that is known from another
// repository is one more copy of it. Only the owner of the server's socket may: it
// decides about the numbers of all accounts.
func (s *Service) ImportSets(ctx context.Context, actor holdfast.Actor, in Import) ([]Imported, error) {
	if err := allow(actor, opImportSets, account()); err != nil {
		return nil, err
	}
	if !atSocket(actor) {
		return nil, holdfast.Errorf(holdfast.CodeForbidden, "sets are imported by the owner of the server alone").
			WithHint("run holdfast repository import on the server's machine, as its user")
	}
	if len(in.Sets) > MaxImport {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%d sets are more than one call takes", len(in.Sets)).WithHint("ask for up to %d at once", MaxImport)
	}
	if err := checkSeen(in.Seen); err != nil {
		return nil, err
	}
	now := s.now()
	var out []Imported
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		out = nil
		im := &importer{s: s, tx: tx, actor: actor, now: now, host: in.Host, sites: map[string]*importSite{}}
		if err := im.begin(ctx, in); err != nil {
			return err
		}
		for _, f := range in.Sets {
			v, err := im.set(ctx, f)
			if err != nil {
				return err
			}
			out = append(out, v)
		}
		if in.DryRun {
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return nil, err
	}
	for _, v := range out {
		if (v.State == ImportNew || v.State == ImportCopy) && !in.DryRun {
			s.cfg.Log.InfoContext(ctx, "backup set imported", "backup_set", v.Set, "site", v.Site, "job", v.Job, "snapshot", v.Snapshot, "state", v.State, "actor", actor.String())
		}
	}
	return out, nil
}

// checkSeen bounds the ids that sequences are raised to.
func checkSeen(q store.Sequences) error {
	for _, id := range []int64{int64(q.Site), int64(q.Job), int64(q.Execution), int64(q.Set)} {
		if id < 0 || id > MaxImportID {
			return holdfast.Errorf(holdfast.CodeInvalid, "%d is not an id that anything can have", id)
		}
	}
	return nil
}

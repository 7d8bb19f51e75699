// Package engine is the contract between a worker and the code that reads and
// writes databases. An [Engine] fills a [Sink] with the files of one backup set,
// or empties a [Source] into a directory; who keeps the files is not its concern.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// ErrWish is the cause of a context that ended because somebody wants the
// execution to rest or to end; [context.Cause] of the context wraps it. The
// engine leaves nothing behind on the server and returns the cause.
var ErrWish = errors.New("the execution is wanted to end or to rest")

// ErrStale is the cause of a context that ended because the order's fence is
// old. The engine ends at once and writes nothing more.
var ErrStale = errors.New("the order is outdated: another fence has taken its place")

// Engine does the work of one kind of job. Implementations may be used by
// several executions at once.
//
// An error with [holdfast.CodeUnavailable] may pass and is tried again later
// with a new fence; any other error ends the execution.
type Engine interface {
	// Backup adds every file of one backup set to the sink. On return, with or
	// without an error, nothing of the backup is left on the server: no session,
	// slot or backup mode. Whatever an older fence of the same execution left
	// there is ended first.
	Backup(ctx context.Context, req Backup, sink Sink) (Result, error)
	// Restore writes the set into the directory that the request names. An
	// interrupted restore cannot be started by mistake, and the same execution's
	// next fence continues in its directory, or finds it complete and succeeds. A
	// restore in place moves aside what is there, and deletes nothing: the result
	// says where it is kept, also beside an error.
	Restore(ctx context.Context, req Restore, src Source) (Result, error)
	// Release ends what this execution, with any fence up to the given one, left
	// on the server. It is called when an execution ends without its engine.
	Release(ctx context.Context, req Backup) error
	// Test looks at the site and says what a backup of it would miss.
	Test(ctx context.Context, site Site) ([]Finding, error)
}

// Site is a site as an engine sees it.
type Site struct {
	ID       holdfast.SiteID `json:"id"`
	Slug     string          `json:"slug"`
	Server   holdfast.Server `json:"server"`
	DataDir  string          `json:"data_dir"`
	Password holdfast.Secret `json:"-"`
}

// Backup asks for one backup set.
type Backup struct {
	Site Site
	// Installation is the control plane's own id: executions of several may meet on
	// one server.
	Installation string
	Execution    holdfast.ExecutionID
	Fence        holdfast.Fence
	RunType      holdfast.RunType
	// Base is the set that the sink builds on; nil: every file is read.
	Base   *Base
	Report Report
	Log    *slog.Logger // goes to the execution's log
}

// Base is an earlier set of the same site, whose content the sink has.
type Base struct {
	Set    holdfast.SetID
	Source Source
	Result Result // of the backup that made it
}

// Restore asks for one backup set to be written to a directory.
type Restore struct {
	// Installation is as in [Backup]; empty for a restore that no control plane asked for.
	Installation string
	Execution    holdfast.ExecutionID
	Fence        holdfast.Fence
	Spec         holdfast.RestoreSpec
	// InPlace is the site that Spec.Site names, without its password: its server
	// must not run. Zero unless the restore is in place.
	InPlace Site
	// Repository is the directory that the set is read from; empty when it is none of
	// this machine. A restore must not move it aside, nor write over it.
	Repository string
	// Roots are the directories below which a restore may write; nil allows every
	// directory (an operator at the machine, offline).
	Roots  []string
	Report Report
	Log    *slog.Logger
}

// Report takes progress. It may be called from several goroutines.
type Report interface {
	// Phase names what the execution is doing now: a short noun, such as "copy".
	Phase(name string)
	// Total says how much there is to do; it may be called again when more is known.
	Total(files, bytes int64)
	// Done adds to what is done.
	Done(files, bytes int64)
}

// Result is what an engine says of what it did.
type Result struct {
	Started  time.Time               `json:"started,omitzero"` // by the database server's clock
	Stopped  time.Time               `json:"stopped,omitzero"`
	Bytes    int64                   `json:"bytes"` // of the files, as they are restored
	Files    int64                   `json:"files"`
	Warnings []string                `json:"warnings,omitempty"` // what was left out or is damaged; not empty: the outcome is WARNING
	Damaged  string                  `json:"damaged,omitempty"`  // what in the set is damaged
	Physical *holdfast.PhysicalFacts `json:"physical,omitempty"`
	Reading  *Reading                `json:"reading,omitempty"` // of a physical backup
	Kept     []Kept                  `json:"kept,omitempty"`    // what a restore in place has moved aside
	Written  int64                   `json:"written,omitempty"` // bytes that this attempt at a restore has written
	Note     string                  `json:"note,omitempty"`    // for whoever goes on with what was restored
	Flows    []FlowResult            `json:"flows,omitempty"`
	Rounds   int64                   `json:"rounds,omitempty"` // of a service
	// Ignored are the properties of an ETL that no parameter names.
	Ignored []string `json:"ignored,omitempty"`
}

// Reading is how a physical backup has read its files. The next backup decides by
// it which files it need not read.
type Reading struct {
	Began     Moment `json:"began"`     // before the checkpoint with which the backup starts
	Ended     Moment `json:"ended"`     // after the last one was read
	Directory string `json:"directory"` // tells a data directory from one that was restored in its place
	// Trusting counts the backups since the last one that read every file, this one
	// included; zero: this one has read every file.
	Trusting int   `json:"trusting"`
	Files    int64 `json:"files_unread"`
	Bytes    int64 `json:"bytes_unread"`
}

// Moment is a time by the clock of one machine.
type Moment struct {
	Time   time.Time     `json:"time"`
	Boot   string        `json:"boot"`   // which start of the machine; empty: not known
	Uptime time.Duration `json:"uptime"` // since then, in nanoseconds; no setting of the clock changes it
}

// Kept is a directory that a restore in place has moved aside.
type Kept struct {
	Path string `json:"path"` // where it was, without symbolic links
	At   string `json:"at"`   // where it is
}

// KeptAt is where the execution keeps what it found in a directory: beside it.
func KeptAt(dir string, e holdfast.ExecutionID) string { return fmt.Sprintf("%s.before-%d", dir, e) }

// Finding is one thing that Test saw.
type Finding struct {
	Name string `json:"name"` // what was looked at: "backup functions"
	OK   bool   `json:"ok"`
	Text string `json:"text"`          // what was seen
	Fix  string `json:"fix,omitempty"` // what to do: a statement of SQL, or a sentence
}

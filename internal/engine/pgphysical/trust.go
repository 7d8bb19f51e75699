package pgphysical

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

const (
	// trustAge is how much older than the start of the base a file's times must be: a
	// file can change twice within one tick of the clock, and ticks of old file
	// systems are two seconds long.
	trustAge = 2 * time.Second
	// trustRuns is how many deltas in a row may leave files unread, before one reads
	// everything: the seventh.
	trustRuns = 6
)

// trust knows which files need not be read, because the set that the backup builds
// on has their content.
//
// A file is the base's when size, inode, mtime and ctime are what they were when the
// base looked at it, before it read it, and both times are older by trustAge than
// the start of the base, before its checkpoint: so nothing has changed the file since,
// nothing had just changed it then, and no write that had set its times was still to
// change it. That holds as long as each change leaves a ctime that was
// never there before, which a clock that was set back breaks.
//
// It is asked for files that the server itself writes, by calls that set their
// times at once: relations and transaction status. Whatever else lies in a data
// directory is read. An extension may have mapped it into memory, and times are
// late then.
type trust struct {
	older time.Time         // than this the times of a file must be
	sums  map[string]listed // of the base's manifest, by place below the data directory
}

// newTrust decides whether any file may be left unread. Without, why says what is
// against it, for people.
func (b *backup) newTrust(ctx context.Context) (t *trust, why string, err error) {
	if b.base == nil {
		return nil, "", nil
	}
	if why := b.distrust(); why != "" {
		return nil, why, nil
	}
	sums, err := b.baseSums(ctx)
	if ctx.Err() != nil {
		return nil, "", context.Cause(ctx)
	}
	if err != nil {
		return nil, "the manifest of the base cannot be read: " + holdfast.ErrorMessage(err), nil
	}
	return &trust{older: b.base.Result.Reading.Began.Time.Add(-trustAge), sums: sums}, "", nil
}

// decideTrust decides whether files may be left unread, and tells the log.
func (b *backup) decideTrust(ctx context.Context) error {
	t, why, err := b.newTrust(ctx)
	switch {
	case err != nil:
		return err
	case t != nil:
		b.trust = t
		b.log.InfoContext(ctx, "files whose size, inode and times are those of the base are not read", "backup_set", b.base.Set, "older_than", t.older)
	case why != "":
		b.log.InfoContext(ctx, "every file is read", "reason", why)
	}
	return nil
}

// same is what the sink asks of the base about a file; nil: nothing.
func (b *backup) same(e entry) func(engine.Node) bool {
	if b.trust == nil || !trustable(e.cluster) {
		return nil
	}
	return func(base engine.Node) bool { return b.trust.same(e, base) }
}

// endReading notes how the files were read.
func (b *backup) endReading(ctx context.Context) {
	r := &b.reading
	r.Ended, r.Files, r.Bytes = b.clock(), b.filesUnread.Load(), b.bytesUnread.Load()
	if b.trust == nil {
		return
	}
	if r.Files > 0 {
		r.Trusting = b.base.Result.Reading.Trusting + 1
	}
	b.log.InfoContext(ctx, "files were not read: the base has their content, and their page checksums were not verified",
		"backup_set", b.base.Set, "files", r.Files, "bytes", r.Bytes)
}

// distrust says why every file must be read; empty: nothing is against trusting.
func (b *backup) distrust() string {
	r, facts := b.base.Result.Reading, b.base.Result.Physical
	switch {
	case b.runType != holdfast.RunDelta:
		return fmt.Sprintf("a backup with the run type %s reads every file", b.runType)
	case r == nil || facts == nil:
		return "the base does not say how its files were read"
	case b.base.Result.Damaged != "":
		return "the base is damaged"
	case r.Trusting >= trustRuns:
		return fmt.Sprintf("%d deltas in a row have left files unread", r.Trusting)
	case facts.SystemIdentifier != b.control.SystemIdentifier:
		return "the base is of another cluster"
	case facts.Timeline != uint32(b.control.Timeline):
		return fmt.Sprintf("the base is on timeline %d, and the server on %d", facts.Timeline, b.control.Timeline)
	case r.Directory == "" || r.Directory != b.reading.Directory:
		return "the data directory was restored, or replaced, after the base was taken"
	case wentBack(r.Began, r.Ended) || wentBack(r.Ended, b.reading.Began):
		return "the clock has gone back since the base was taken"
	case r.Ended.Boot != b.reading.Began.Boot:
		// After a power cut a file may have newer content than its times say, and a clock
		// that was behind for a while, or is another machine's, does not show.
		return "the machine was started anew since the base was taken, or is another one"
	case b.future != "":
		return fmt.Sprintf("the clock has gone back: %s was changed at a time that is still to come", b.future)
	case b.start <= pg.LSN(facts.StopLSN):
		return fmt.Sprintf("the server has gone back to %s, behind the end of the base, %s: its disk or its machine was put back to an earlier state", b.start, pg.LSN(facts.StopLSN))
	}
	return b.foreign
}

// baseSums reads the base's manifest, as far as files may be trusted.
func (b *backup) baseSums(ctx context.Context) (_ map[string]listed, err error) {
	f, err := os.CreateTemp(b.tempDir, "holdfast-base-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	err = b.base.Source.Fetch(ctx, []engine.Target{{
		Path: "pgdata/" + pg.ManifestName, Open: func() (engine.TargetFile, error) { return fetched{f}, nil },
	}})
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, 0); err != nil {
		return nil, err
	}
	return readSums(f, trustable)
}

// fetched is a file without a name, which is read when it has been fetched.
type fetched struct{ *os.File }

func (fetched) Sync() error  { return nil }
func (fetched) Close() error { return nil }

// trustable reports whether the file at a place below the data directory is one
// that the server itself writes, and nobody else.
func trustable(place string) bool {
	if _, ok := pg.ParseRelationPath(place); ok {
		return true
	}
	for _, dir := range []string{"pg_xact/", "pg_multixact/offsets/", "pg_multixact/members/", "pg_commit_ts/"} {
		if name, ok := strings.CutPrefix(place, dir); ok {
			return name != "" && strings.Trim(name, "0123456789ABCDEF") == ""
		}
	}
	return false
}

// same reports whether the file need not be read.
func (t *trust) same(e entry, base engine.Node) bool {
	n := e.node
	if n.Inode == 0 || n.ChangeTime.IsZero() || n.Size != base.Size || n.Inode != base.Inode || !n.ModTime.Equal(base.ModTime) || !n.ChangeTime.Equal(base.ChangeTime) {
		return false
	}
	if !n.ModTime.Before(t.older) || !n.ChangeTime.Before(t.older) {
		return false
	}
	sum, ok := t.sums[e.cluster]
	return ok && sum.size == n.Size
}

// directoryMark is what tells a data directory from one that was restored in its
// place: the directory itself, the label that a server keeps of the backup from
// which it was started, and what a restore of ours has written there.
func directoryMark(path string) (string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return "", readError(err, path)
	}
	h := sha256.New()
	_, _ = fmt.Fprintln(h, idOf(fi).ino) // a hash takes everything
	label := filepath.Join(path, "backup_label.old")
	if fi, err = os.Lstat(label); err == nil && fi.Mode().IsRegular() {
		n := node("", fi)
		_, _ = fmt.Fprintf(h, "%d %d %d\n", n.Inode, n.Size, n.ChangeTime.UnixNano())
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", readError(err, label)
	}
	text, err := readLimited(filepath.Join(path, autoConf), maxConfigFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", readError(err, filepath.Join(path, autoConf))
	}
	_, _ = fmt.Fprintln(h, newestReceipt(string(text)))
	return fmt.Sprintf("%x", h.Sum(nil)[:16]), nil
}

package pgphysical

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// backup is one backup while it runs.
type backup struct {
	site    engine.Site
	by      pgsession.Owner
	fence   holdfast.Fence
	report  engine.Report
	log     *slog.Logger
	tempDir string
	runType holdfast.RunType
	base    *engine.Base
	clock   func() engine.Moment
	sink    engine.Sink
	cancel  context.CancelCauseFunc

	session  *session
	data     *dataDir
	control  pg.Control        // as it was right after the start
	spaces   map[uint32]string // oid → path of each tablespace, before the start
	copied   map[string]bool   // oids of the tablespaces behind links that were copied
	left     map[string]string // links in the data directory that were left out, and where they lead
	started  time.Time
	start    pg.LSN
	stopped  stopped
	label    pg.BackupLabel
	in       *inspector
	trust    *trust // nil: every file is read
	future   string // a file that was changed at a time that is still to come
	foreign  string // why the times of the files in a directory mean nothing here
	reading  engine.Reading
	spool    *spool
	owner    engine.Node // who owns the data directory: files of ours get the same
	warnings []string

	mu         sync.Mutex // guards the fields below
	totalFiles int64
	totalBytes int64

	filesUnread, bytesUnread atomic.Int64
}

// run takes the backup. The caller calls leave after it, whatever it returns.
func (b *backup) run(ctx context.Context) (engine.Result, error) {
	b.report.Phase("connect")
	if err := b.begin(ctx); err != nil {
		return engine.Result{}, err
	}
	b.report.Phase("checkpoint")
	if err := b.startBackup(ctx); err != nil {
		return engine.Result{}, err
	}
	defer b.spool.close()
	b.report.Phase("copy")
	if err := b.copyFiles(ctx); err != nil {
		return engine.Result{}, err
	}
	b.report.Phase("stop")
	if err := b.stopBackup(ctx); err != nil {
		return engine.Result{}, err
	}
	b.report.Phase("wal")
	if err := b.addWAL(ctx); err != nil {
		return engine.Result{}, err
	}
	if err := b.session.check(ctx); err != nil {
		return engine.Result{}, err
	}
	b.report.Phase("finish")
	res, err := b.finish(ctx)
	if err != nil {
		return engine.Result{}, err
	}
	if ctx.Err() != nil {
		return engine.Result{}, context.Cause(ctx)
	}
	return res, nil
}

// begin connects and proves that the data directory is the server's.
func (b *backup) begin(ctx context.Context) (err error) {
	if b.session, err = beginSession(ctx, b.site, b.by, b.fence); err != nil {
		return err
	}
	rights, err := rightFindings(ctx, b.session.conn, b.session.version)
	if err != nil {
		return err
	}
	if err := missing(rights); err != nil {
		return err
	}
	if b.data, err = checkDataDir(ctx, b.session.conn, b.site.DataDir); err != nil {
		return err
	}
	fi, err := os.Stat(b.data.path)
	if err != nil {
		return readError(err, b.data.path)
	}
	b.owner = node("", fi)
	b.log.InfoContext(ctx, "data directory is the server's", "path", b.data.path, "version", b.session.version.String(),
		"system_identifier", b.data.control.SystemIdentifier, "checksums", b.data.control.DataChecksums())
	return nil
}

func (b *backup) startBackup(ctx context.Context) (err error) {
	if b.spaces, err = b.session.tablespaces(ctx); err != nil {
		return err
	}
	if err := b.session.reserve(ctx); err != nil {
		return err
	}
	// Before the checkpoint, which waits for every write of a page that is under way: a
	// write sets the times first, and may be held up before it changes the content.
	b.reading.Began = b.clock()
	if b.started, b.start, err = b.session.start(ctx, b.by.Session(b.fence)); err != nil {
		return err
	}
	b.log.InfoContext(ctx, "backup started", "lsn", b.start.String())
	if b.control, err = checkFresh(ctx, b.data, b.start); err != nil {
		return err
	}
	b.in = newInspector(b.control, b.start)
	if b.spool, err = newSpool(b.tempDir, b.session.version, b.control.SystemIdentifier); err != nil {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "no temporary file can be made for the manifest").
			WithHint("make room in the worker's directory for temporary files")
	}
	return nil
}

// copyFiles copies everything but WAL; pg_control comes last.
func (b *backup) copyFiles(ctx context.Context) (err error) {
	stop := b.session.watch(ctx, func(err error) { b.cancel(err) })
	defer stop()
	if b.reading.Directory, err = directoryMark(b.data.path); err != nil {
		return err
	}
	count := b.walker(b.count)
	if err := count.walk(ctx); err != nil {
		return err
	}
	b.total(1, pg.ControlFileSize)
	if err := b.decideTrust(ctx); err != nil {
		return err
	}
	files := b.walker(func(e entry) error { return b.add(ctx, e) })
	if err := files.walk(ctx); err != nil {
		return err
	}
	b.copied, b.left = files.visited, files.left
	b.warnings = append(b.warnings, files.warnings()...)
	if err := b.sink.Flush(ctx); err != nil {
		return err
	}
	_, content, err := readControlFile(ctx, b.data.path)
	if err != nil {
		return err
	}
	fi, err := os.Stat(filepath.Join(b.data.path, pg.ControlFile))
	if err != nil {
		return readError(err, pg.ControlFile)
	}
	n := node("pgdata/"+pg.ControlFile, fi)
	n.Size = int64(len(content))
	if err := b.addBytes(ctx, n, pg.ControlFile, content); err != nil {
		return err
	}
	if err := b.sink.Flush(ctx); err != nil {
		return err
	}
	b.endReading(ctx)
	return nil
}

// count notes how much there is to do, and what is against trusting times.
func (b *backup) count(e entry) error {
	if e.node.Mode.IsDir() {
		if kind := foreignClock(e.source); kind != "" {
			b.foreign = fmt.Sprintf("%s lies on %s, whose times another machine may set", e.source, kind)
		}
		return nil
	}
	b.totalFiles++
	b.totalBytes += e.node.Size
	if e.node.ChangeTime.After(time.Now()) {
		b.future = e.cluster
	}
	return nil
}

func (b *backup) walker(visit func(entry) error) *walker {
	return &walker{
		root: b.data.path, tablespaceDir: pg.TablespaceDir(b.session.version.Major(), b.control.CatalogVersion),
		as: readerOf(b.owner), logs: filepath.Clean(b.data.settings.logDirectory), log: b.log, visit: visit,
	}
}

// add gives a file or directory to the sink.
func (b *backup) add(ctx context.Context, e entry) error {
	if e.node.Mode.IsDir() {
		return b.sink.Add(ctx, engine.File{Node: e.node})
	}
	c := b.in.follow(e, b.report)
	return b.sink.Add(ctx, engine.File{
		Node: e.node,
		Open: func() (engine.Content, error) {
			f, err := os.Open(e.source)
			return c.open(f, err)
		},
		Inspect: c.inspect,
		Same:    b.same(e),
		Changed: b.changed(e),
		Done:    func(r engine.FileResult) { b.done(c, e.node, r) },
	})
}

// addBytes gives a small file that the manifest lists, from memory.
func (b *backup) addBytes(ctx context.Context, n engine.Node, cluster string, content []byte) error {
	c := b.in.follow(entry{cluster: cluster, node: n}, b.report)
	return b.sink.Add(ctx, engine.File{
		Node:    n,
		Open:    func() (engine.Content, error) { return c.open(memory{bytes.NewReader(content)}, nil) },
		Inspect: c.inspect,
		Done:    func(r engine.FileResult) { b.done(c, n, r) },
	})
}

// memory is content that lies in memory.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// done lists a stored file in the manifest.
func (b *backup) done(c *copied, n engine.Node, r engine.FileResult) {
	if r.Vanished {
		b.report.Done(1, 0)
		return
	}
	if r.Unread {
		b.spool.add(c.cluster, n, r.Size, b.trust.sums[c.cluster].crc)
		b.filesUnread.Add(1)
		b.bytesUnread.Add(r.Size)
		b.report.Done(0, r.Size)
	} else {
		b.spool.add(c.cluster, n, r.Size, c.stored(r.Size))
	}
	b.stored(r)
}

// stored counts a file that is in the set.
func (b *backup) stored(r engine.FileResult) {
	b.in.files.Add(1)
	b.in.bytes.Add(r.Size)
	b.report.Done(1, 0)
}

// total reports that there is more to do.
func (b *backup) total(files, bytes int64) {
	b.mu.Lock()
	b.totalFiles += files
	b.totalBytes += bytes
	files, bytes = b.totalFiles, b.totalBytes
	b.mu.Unlock()
	b.report.Total(files, bytes)
}

func (b *backup) stopBackup(ctx context.Context) (err error) {
	if err := b.session.check(ctx); err != nil {
		return err
	}
	if b.stopped, err = b.session.stop(ctx); err != nil {
		return err
	}
	if b.label, err = pg.ParseBackupLabel(b.stopped.label); err != nil {
		return err
	}
	if b.label.Start != b.start {
		return holdfast.Errorf(holdfast.CodeUnavailable, "the backup that stopped began at %s, ours at %s", b.label.Start, b.start).
			WithHint("connect to the server itself, not through a pooler that shares sessions")
	}
	b.in.judge(b.stopped.stop)
	b.log.InfoContext(ctx, "backup stopped", "lsn", b.stopped.stop.String())
	return nil
}

// finish adds what describes the backup; the server is no longer needed for it.
func (b *backup) finish(ctx context.Context) (engine.Result, error) {
	facts := &holdfast.PhysicalFacts{
		SystemIdentifier: b.control.SystemIdentifier, Version: int(b.session.version), Timeline: uint32(b.label.Timeline),
		StartLSN: uint64(b.label.Start), StopLSN: uint64(b.stopped.stop),
	}
	var err error
	if facts.Tablespaces, err = b.checkTablespaces(ctx); err != nil {
		return engine.Result{}, err
	}
	if err := b.addConfiguration(ctx); err != nil {
		return engine.Result{}, err
	}
	if b.stopped.spaceMap != "" {
		if err := b.addPlain(ctx, "holdfast/tablespace_map", []byte(b.stopped.spaceMap)); err != nil {
			return engine.Result{}, err
		}
	}
	b.total(2, int64(len(b.stopped.label)))
	if err := b.addBytes(ctx, b.ours("pgdata/backup_label", int64(len(b.stopped.label))), "backup_label", []byte(b.stopped.label)); err != nil {
		return engine.Result{}, err
	}
	if err := b.sink.Flush(ctx); err != nil {
		return engine.Result{}, err
	}
	if err := b.addManifest(ctx); err != nil {
		return engine.Result{}, err
	}
	res := engine.Result{
		Started: b.started, Stopped: b.stopped.at, Bytes: b.in.bytes.Load(), Files: b.in.files.Load(), Physical: facts,
		Reading: &b.reading,
	}
	damage, damaged := b.damage(ctx)
	res.Warnings, res.Damaged = append(damage, b.warnings...), damaged
	return res, nil
}

// ours describes a small file of our own.
func (b *backup) ours(place string, size int64) engine.Node {
	return engine.Node{Path: place, Mode: 0o600, ModTime: b.stopped.at, UID: b.owner.UID, GID: b.owner.GID, Size: size}
}

// addPlain adds a small file that the manifest does not list.
func (b *backup) addPlain(ctx context.Context, place string, content []byte) error {
	b.total(1, int64(len(content)))
	return b.sink.Add(ctx, engine.File{
		Node:    b.ours(place, int64(len(content))),
		Open:    func() (engine.Content, error) { return memory{bytes.NewReader(content)}, nil },
		Inspect: b.countBytes,
		Done:    b.stored,
	})
}

func (b *backup) countBytes(_ int64, block []byte) error {
	b.report.Done(0, int64(len(block)))
	return nil
}

// addManifest adds the manifest: every file that it lists is stored.
func (b *backup) addManifest(ctx context.Context) error {
	size, err := b.spool.finish(pg.WALRange{Timeline: b.label.Timeline, Start: b.label.Start, End: b.stopped.stop})
	if err != nil {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the manifest cannot be written to a temporary file").
			WithHint("make room in the worker's directory for temporary files")
	}
	b.total(0, size)
	err = b.sink.Add(ctx, engine.File{
		Node:    b.ours("pgdata/"+pg.ManifestName, size),
		Open:    func() (engine.Content, error) { return unclosed{b.spool.file}, nil },
		Inspect: b.countBytes,
		Done:    b.stored,
	})
	if err != nil {
		return err
	}
	return b.sink.Flush(ctx)
}

// leave ends the session, and with it slot and backup mode, and returns when it is
// gone. It is called when the context may have ended.
func (b *backup) leave(ctx context.Context) {
	if b.session == nil && ctx.Err() == nil {
		return // refused, or closed in peace
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	if b.session != nil {
		pgsession.Close(ctx, b.session.conn)
	}
	err := b.by.End(ctx, b.site, b.fence)
	if err == nil || b.session == nil {
		return
	}
	// A server that cannot be reached ends the session by itself when it notices;
	// the next fence looks again.
	b.log.WarnContext(ctx, "cannot see whether the backup's session has ended", "error", err)
}

// tablespaces returns the oid and path of every tablespace but the built-in ones.
func (s *session) tablespaces(ctx context.Context) (map[uint32]string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	rows, err := s.conn.Query(ctx, "SELECT oid::bigint, pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')")
	if err != nil {
		return nil, pgsession.QueryError(err, "list its tablespaces")
	}
	defer rows.Close()
	all := map[uint32]string{}
	for rows.Next() {
		var oid int64
		var path string
		if err := rows.Scan(&oid, &path); err != nil {
			return nil, pgsession.QueryError(err, "list its tablespaces")
		}
		all[uint32(oid)] = path
	}
	if err := rows.Err(); err != nil {
		return nil, pgsession.QueryError(err, "list its tablespaces")
	}
	return all, nil
}

// checkTablespaces lists the set's tablespaces. It refuses a backup that lacks one
// of them, and warns of one that was made while the backup ran: replaying that
// makes it at its original path.
func (b *backup) checkTablespaces(ctx context.Context) ([]holdfast.Tablespace, error) {
	now, err := b.session.tablespaces(ctx)
	if err != nil {
		return nil, err
	}
	var list []holdfast.Tablespace
	for _, oid := range sortedOIDs(b.spaces) {
		t := holdfast.Tablespace{OID: oid, Path: b.spaces[oid]}
		if !filepath.IsAbs(t.Path) {
			t.Path = ""
		} else if _, still := now[oid]; still && !b.copied[strconv.FormatUint(uint64(oid), 10)] {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "tablespace %d at %s does not hold the cluster's files on the worker's machine", oid, t.Path).
				WithHint("mount its file system where the worker runs: the worker must see what the server sees")
		}
		list = append(list, t)
	}
	for _, oid := range sortedOIDs(now) {
		if _, old := b.spaces[oid]; !old {
			b.warnings = append(b.warnings, fmt.Sprintf(
				"tablespace %d was created while the backup ran: a restored server creates it again at its original path %s", oid, now[oid]))
		}
	}
	return list, nil
}

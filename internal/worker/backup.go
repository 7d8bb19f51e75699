package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore/limit"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// openRepository opens the order's repository, and makes sure that it is the one
// that is meant. What passes counts against the rate; nil: there is no limit.
func (w *Worker) openRepository(ctx context.Context, at wire.Repository, secrets wire.Secrets, rate *limit.Limiter) (Repository, error) {
	b, err := w.cfg.OpenBucket(ctx, at.Location, secrets.Access)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", at.Location, err)
	}
	if rate != nil {
		b = rate.Wrap(b)
	}
	open := w.cfg.OpenRepository
	if open == nil {
		open = openRepository
	}
	r, err := open(ctx, b, secrets.Repository)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return nil, holdfast.Wrap(holdfast.CodeNotFound, err, "there is no repository at %s on the machine of worker %s", at.Location, w.cfg.Name).
			WithHint("%s", elsewhere(at.Location))
	}
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", at.Location, err)
	}
	if at.FormatID != "" && r.ID() != at.FormatID {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "another repository lies at %s: its id is %s, not %s", at.Location, wire.Clip(r.ID(), 16), wire.Clip(at.FormatID, 16)).
			WithHint("put the right repository there, or mount its file system")
	}
	return r, nil
}

// elsewhere says what to do when no repository is where it should be.
func elsewhere(location string) string {
	if l, err := holdfast.ParseLocation(location); err == nil && l.InStore() {
		return "somebody has removed or moved it: bring the objects back to where they were"
	}
	return "mount the repository there, under the same path as on the server's machine"
}

func (r *run) backup(e engine.Engine, secrets wire.Secrets) (res engine.Result, err error) {
	r.progress.Phase("open")
	repo, err := r.w.openRepository(r.soft, r.order.Repository, secrets, r.rate)
	if err != nil {
		return res, err
	}
	holder := r.order.Installation + "/" + strconv.FormatInt(int64(r.w.cfg.ID), 10)
	writer, err := repo.NewWriter(r.hard, holder, r.w.cfg.Hostname, r.log)
	if err != nil {
		return res, fmt.Errorf("begin to write: %w", err)
	}
	r.setWriter(writer)
	committed := false
	defer func() {
		closeErr := writer.Close()
		if committed && closeErr != nil {
			// The set is whole; a lock that stays behind expires.
			r.log.WarnContext(r.link, "repository not closed cleanly", "error", closeErr)
			closeErr = nil
		}
		err = errors.Join(err, closeErr)
	}()
	writer.Compress(r.order.Site.Compression)
	sink, err := r.buildOn(writer)
	if err != nil {
		return res, err
	}
	defer sink.close(r)
	res, err = e.Backup(r.soft, engine.Backup{
		Site: siteOf(r.order.Site, secrets.Site), Installation: r.order.Installation, Execution: r.order.Execution, Fence: r.order.Fence,
		RunType: r.order.RunType, Base: sink.base, Report: &r.progress, Log: r.log,
	}, sink)
	if err != nil {
		return res, err
	}
	if err := r.addManifest(writer, res); err != nil {
		return res, err
	}
	r.progress.Phase("commit")
	r.w.cfg.Step("backup.stored")
	_, err = writer.Commit(r.hard, r.commit(res), r.intend)
	if err != nil {
		return res, err
	}
	committed = true
	r.w.cfg.Step("snapshot.written")
	return res, nil
}

func siteOf(s wire.Site, password holdfast.Secret) engine.Site {
	return engine.Site{ID: s.ID, Slug: s.Slug, Server: s.Server, DataDir: s.DataDir, Password: password}
}

// commit is what the snapshot says of itself, for readers without a catalogue.
func (r *run) commit(res engine.Result) repository.Commit {
	t := res.Stopped
	if t.IsZero() {
		t = time.Now()
	}
	o := r.order
	runType, _ := r.chain(res)
	return repository.Commit{
		Time: t, Hostname: o.Site.Slug, Username: "holdfast", Paths: []string{"/pgdata"},
		Tags: slices.Concat([]string{
			fmt.Sprintf("set=%d", o.Set),
			fmt.Sprintf("site=%s", o.Site.Slug),
			"run_type=" + string(runType),
		}, ownTags(o.Installation, o.Execution, o.Fence), damagedTag(res)),
	}
}

// ownTags are the tags of a snapshot that tell by which order it was written.
func ownTags(installation string, e holdfast.ExecutionID, f holdfast.Fence) []string {
	return []string{"installation=" + installation, fmt.Sprintf("execution=%d", e), fmt.Sprintf("fence=%d", f)}
}

// chain is what the set is in the chain of its job: as the order says, unless
// another cluster was found than the one that the base is of. The control plane
// comes to the same from the same facts.
func (r *run) chain(res engine.Result) (holdfast.RunType, holdfast.SetID) {
	o := r.order
	if o.Base == nil {
		return o.RunType, 0
	}
	was, is := o.Base.SystemIdentifier, uint64(0)
	if res.Physical != nil {
		is = res.Physical.SystemIdentifier
	}
	if was != 0 && is != 0 && was != is {
		return holdfast.RunFull, 0
	}
	return o.RunType, o.Base.Set
}

// addManifest adds SetFile to the set.
func (r *run) addManifest(sink engine.Sink, res engine.Result) error {
	o, now := r.order, time.Now()
	runType, parent := r.chain(res)
	server := SetServer(o.Site.Server)
	b, err := json.MarshalIndent(SetManifest{
		Version: manifestVersion, Installation: o.Installation, Account: o.Account, Site: o.Site.ID, SiteSlug: o.Site.Slug,
		Job: o.Job, JobName: o.JobName, Execution: o.Execution, Fence: o.Fence, Set: o.Set,
		Engine: o.Engine, RunType: runType, Parent: parent, Created: now.UTC(), Server: &server, DataDir: o.Site.DataDir, Result: res,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode set manifest: %w", err)
	}
	return sink.Add(r.hard, engine.File{
		Node: engine.Node{Path: SetFile, Mode: 0o600, ModTime: now, Size: int64(len(b))},
		Open: func() (engine.Content, error) { return memory{bytes.NewReader(b)}, nil },
	})
}

// memory is an engine.Content in memory.
type memory struct{ *bytes.Reader }

// Close does nothing.
func (memory) Close() error { return nil }

// intend asks until it is answered. The same question again is answered alike,
// so a lost answer costs nothing.
func (r *run) intend(ctx context.Context, snapshot string) error {
	r.w.cfg.Step("intend.before")
	subject := wire.ExecutionSubject(wire.KindIntend, r.w.cfg.ID, r.order.Execution)
	in := &wire.Intend{Fence: r.order.Fence, Snapshot: snapshot}
	failures := 0
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		reply, err := request[wire.Reply](ctx, r.w.line, subject, in, requestLimit)
		if err == nil {
			r.hear()
			err = reply.Failure.Err()
		}
		switch {
		case err == nil:
			r.w.cfg.Step("intend.granted")
			return nil
		case holdfast.ErrorCode(err) == holdfast.CodeConflict && reply.Wanted >= holdfast.WantAbort:
			r.wish(reply.Wanted)
			return fmt.Errorf("%w: %w", engine.ErrWish, err)
		case holdfast.ErrorCode(err) == holdfast.CodeConflict:
			return fmt.Errorf("%w: %w", engine.ErrStale, err)
		case !passing(err, &failures):
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(jitter(wait)):
		}
	}
}

// passing reports whether the same message may be answered later. A control
// plane that fails inside may be mended, but not for ever: failures counts.
func passing(err error, failures *int) bool {
	code := holdfast.ErrorCode(err)
	if code == holdfast.CodeInternal {
		*failures++
		return *failures < internalMost
	}
	return code == holdfast.CodeUnavailable || code == holdfast.CodeExhausted
}

package worker

import (
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// beats says that the order is being worked on, at once and then again and
// again, and takes in what the answers want. It ends with the link.
func (r *run) beats() {
	subject := wire.ExecutionSubject(wire.KindBeat, r.w.cfg.ID, r.order.Execution)
	t := time.NewTicker(r.w.cfg.Beat)
	defer t.Stop()
	for n := uint64(1); ; n++ {
		beat := &wire.Beat{
			Fence: r.order.Fence, Number: n, Progress: r.snapshotProgress(), LockGoodSeconds: r.lockGood().Seconds(),
			Rounds: r.rounds.Load(), Version: r.properties.version,
		}
		reply, err := request[wire.BeatReply](r.link, r.w.line, subject, beat, r.w.cfg.Beat)
		switch {
		case r.link.Err() != nil:
			return
		case err != nil:
			if r.alone() {
				r.cancelLink(errAlone)
				return
			}
		case reply.Stale:
			r.cancelLink(engine.ErrStale)
			return
		default:
			r.hear()
			if reply.Failure == nil {
				r.renew(reply)
				r.limit(reply.BytesPerSec)
				r.wish(reply.Wanted)
			}
		}
		select {
		case <-r.link.Done():
			return
		case <-t.C:
		}
	}
}

// renew hands the engine newer properties. Those that cannot be opened are told
// again with the next answer.
func (r *run) renew(reply wire.BeatReply) {
	if reply.Version <= r.properties.version {
		return
	}
	secrets, err := r.w.secrets(reply.Sealed)
	if err != nil {
		r.log.WarnContext(r.link, "new properties not taken over", "version", reply.Version, "error", err)
		return
	}
	r.properties.give(reply.Version, secrets.Properties)
}

// hear notes that the control plane has answered.
func (r *run) hear() { r.heard.Store(int64(time.Since(r.began))) }

// alone reports whether nobody has answered for too long.
func (r *run) alone() bool {
	return time.Since(r.began)-time.Duration(r.heard.Load()) >= r.w.cfg.Alone
}

func (r *run) lockGood() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writer == nil {
		return 0
	}
	return max(r.writer.LockGood(), 0)
}

func (r *run) setWriter(w Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writer = w
}

func (r *run) snapshotProgress() holdfast.Progress {
	p := r.progress.get()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writer != nil {
		p.AddedBytes = r.writer.AddedBytes()
	}
	return p
}

// progress is the engine.Report of a run.
type progress struct {
	phase                  atomic.Pointer[string]
	doneFiles, doneBytes   atomic.Int64
	totalFiles, totalBytes atomic.Int64
}

var _ engine.Report = (*progress)(nil)

// Phase names what the execution is doing now.
func (p *progress) Phase(name string) {
	name = wire.Clip(name, 200)
	p.phase.Store(&name)
}

// Total says how much there is to do.
func (p *progress) Total(files, bytes int64) {
	p.totalFiles.Store(max(files, 0))
	p.totalBytes.Store(max(bytes, 0))
}

// Done adds to what is done.
func (p *progress) Done(files, bytes int64) {
	p.doneFiles.Add(files)
	p.doneBytes.Add(bytes)
}

func (p *progress) get() holdfast.Progress {
	out := holdfast.Progress{
		DoneFiles: max(p.doneFiles.Load(), 0), DoneBytes: max(p.doneBytes.Load(), 0),
		TotalFiles: p.totalFiles.Load(), TotalBytes: p.totalBytes.Load(),
	}
	if phase := p.phase.Load(); phase != nil {
		out.Phase = *phase
	}
	return out
}

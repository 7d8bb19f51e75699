package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// How long locks live. Others take a lock of this format for dead when its time
// is staleAfter old; we give ours up earlier, so that clocks that differ a
// little and a snapshot that is being put do not matter.
const (
	refreshEvery = 5 * time.Minute
	retryEvery   = 30 * time.Second // after a refresh that failed
	staleAfter   = 30 * time.Minute
	lockLife     = 25 * time.Minute
)

// lockJSON is a lock object. The names are the format's; those that begin with
// holdfast are ours, and other programs leave them alone. Source:
// docs/format/lock.md.
type lockJSON struct {
	Time       time.Time `json:"time"`
	Exclusive  bool      `json:"exclusive"`
	Hostname   string    `json:"hostname"`
	Username   string    `json:"username"`
	PID        int       `json:"pid"`
	UID        uint32    `json:"uid,omitempty"`
	GID        uint32    `json:"gid,omitempty"`
	Holder     string    `json:"holdfast_holder,omitempty"`
	Generation int64     `json:"holdfast_generation,omitempty"` // microseconds at which the holder read the index; survives refreshes
	PIDSpace   string    `json:"holdfast_pid_space,omitempty"`  // where PID is the id of the process; empty: nobody knows
	Started    int64     `json:"holdfast_started,omitempty"`    // when the process began, in the kernel's ticks; zero: nobody knows
}

func parseLock(data []byte) (lockJSON, error) {
	var l lockJSON
	if err := json.Unmarshal(data, &l); err != nil {
		return l, holdfast.Wrap(holdfast.CodeInvalid, err, "the lock is not the JSON of one")
	}
	return l, nil
}

// stale reports whether nobody has refreshed the lock for so long that its holder
// has given it up.
func (l lockJSON) stale(now time.Time) bool { return now.Sub(l.Time) > staleAfter }

// reads reports whether the holder reads sets: a restore, a check, a copy.
func (l lockJSON) reads() bool {
	what := path.Base(l.Holder)
	return l.Holder == l.Hostname+"/"+what && what != pruning && what != repairing
}

// dead reports whether the process that wrote the lock is gone for sure. That can be told
// where its id means the same to us alone: a host name is no sign of that, for containers
// and copies of machines share one. So of another program's lock, and of those that our
// older versions wrote, it is never told: these wait until they are stale.
func (l lockJSON) dead() bool {
	here := pidSpace()
	return here != "" && l.PIDSpace == here && !processLives(l.PID, l.Started)
}

// lock is a shared lock that we hold. Its goroutine keeps it fresh.
type lock struct {
	repo *Repository
	log  *slog.Logger
	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex // guards the fields below
	body  lockJSON
	id    hash.ID
	old   []hash.ID     // replaced, but not deleted yet
	since time.Duration // boot time before the last write that succeeded
	lost  error         // why it is no longer ours
	// indexes are the index objects that were put under it.
	indexes []hash.ID
}

// errNoLock means that the bucket does not let us write a lock, or has no room for
// one.
var errNoLock = errors.New("the object store does not take a lock")

// lockToRead takes a lock for who reads as what; nil when the bucket takes none: a
// read-only copy, or a full disk, must not keep anybody from reading.
func (r *Repository) lockToRead(ctx context.Context, what string) (*lock, error) {
	host, _ := os.Hostname() // for people
	l, err := r.takeLockTo(ctx, true, host+"/"+what, host, slog.New(slog.DiscardHandler))
	if errors.Is(err, errNoLock) {
		return nil, nil //nolint:nilnil // no lock is a lock here
	}
	return l, err
}

// takeLock takes a shared lock to write. An exclusive one of somebody else is
// CodeConflict.
func (r *Repository) takeLock(ctx context.Context, holder, hostname string, log *slog.Logger) (*lock, error) {
	return r.takeLockTo(ctx, false, holder, hostname, log)
}

// takeLockTo is takeLock for who only reads, too.
func (r *Repository) takeLockTo(ctx context.Context, read bool, holder, hostname string, log *slog.Logger) (*lock, error) {
	l := &lock{repo: r, log: log, done: make(chan struct{})}
	l.body = lockJSON{Hostname: hostname, PID: os.Getpid(), Holder: holder, Generation: r.now().UnixMicro()}
	if l.body.Hostname == "" {
		l.body.Hostname, _ = os.Hostname() // for people
	}
	l.body.PIDSpace, l.body.Started = pidSpace(), processStart(os.Getpid())
	l.body.UID, l.body.GID = uint32(max(os.Getuid(), 0)), uint32(max(os.Getgid(), 0)) //nolint:gosec // ids have 32 bits
	if u, err := user.Current(); err == nil {
		l.body.Username = u.Username
	}
	if err := l.checkOthers(ctx, read, true); err != nil {
		return nil, err
	}
	if err := l.write(ctx); err != nil {
		if code := holdfast.ErrorCode(err); code == holdfast.CodeForbidden || code == holdfast.CodeExhausted {
			return nil, errors.Join(errNoLock, err)
		}
		return nil, err
	}
	// Whoever wrote an exclusive lock meanwhile sees ours, or we see theirs.
	if err := l.checkOthers(ctx, read, false); err != nil {
		return nil, errors.Join(err, l.remove(ctx))
	}
	// The lock lives until release, whatever becomes of the caller's context.
	rctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = cancel
	go l.refresh(rctx)
	return l, nil
}

// checkOthers looks at every lock. With clean it removes those that this holder left
// behind when it died, and says so in the log.
//
// An exclusive lock is another program's, which deletes packs. That nobody has refreshed
// it for long does not say that its holder is dead: it may be frozen, on a machine that
// sleeps, and goes on when it wakes, or its clock is wrong. Who reads takes the risk to
// fail; who writes would lose what it has counted on.
func (l *lock) checkOthers(ctx context.Context, read, clean bool) error {
	r := l.repo
	ids, err := list(ctx, r.bucket, kindLock())
	if err != nil {
		return err
	}
	for _, id := range ids {
		data, err := r.load(ctx, kindLock(), id)
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			continue // released or refreshed meanwhile
		}
		var other lockJSON
		if err == nil {
			other, err = parseLock(data)
		}
		if err != nil {
			return holdfast.Wrap(holdfast.CodeConflict, err, "lock %s cannot be read, so it may be an exclusive one", id).
				WithHint("when no other program works on the repository, remove all locks: holdfast repository unlock --all")
		}
		stale := other.stale(r.now())
		switch {
		case clean && other.Holder != "" && other.Holder == l.body.Holder && (stale || other.dead()):
			err := r.remove(ctx, kindLock(), id)
			switch {
			case err == nil:
				l.log.InfoContext(ctx, "lock of a dead holder removed", "holder", other.Holder, "host", other.Hostname, "pid", other.PID, "since", other.Time.UTC())
			case holdfast.ErrorCode(err) != holdfast.CodeForbidden:
				return err
			}
		case other.Exclusive && (!read || !stale):
			return holdfast.Errorf(holdfast.CodeConflict, "the repository is locked exclusively by process %d on %s, user %s, since %s",
				other.PID, other.Hostname, other.Username, other.Time.UTC().Format(time.RFC3339)).
				WithHint("wait until it has finished; if that process is gone, run on its machine: restic unlock; or 30 minutes later: holdfast repository unlock")
		}
	}
	return nil
}

// write puts a lock object with the time of now.
func (l *lock) write(ctx context.Context) error {
	l.mu.Lock()
	body := l.body
	l.mu.Unlock()
	since := l.repo.clock.boot()
	body.Time = l.repo.now()
	plain, err := json.Marshal(body)
	if err != nil {
		return err
	}
	id, err := l.repo.save(ctx, kindLock(), plain)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.id.IsZero() {
		l.old = append(l.old, l.id)
		// The process may have been frozen between its last look at the old lock and
		// now: then nothing has protected it meanwhile, and a new lock heals nothing.
		if l.lost == nil && l.repo.clock.boot()-l.since >= lockLife {
			l.lost = errLockOutlived()
		}
	}
	l.id, l.body, l.since = id, body, since
	return l.lost
}

// refresh replaces the lock again and again until it is released or lost.
func (l *lock) refresh(ctx context.Context) {
	defer close(l.done)
	timer := time.NewTimer(refreshEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := refreshEvery
		if err := l.refreshOnce(ctx); err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "lock not refreshed", "error", err, "good", l.good())
			if next = retryEvery; l.good() <= 0 {
				return // lost for good
			}
		}
		timer.Reset(next)
	}
}

// refreshOnce writes the new lock first and deletes the old one then. A lock
// that has outlived its life, or that somebody has removed, is lost for good:
// what it protected may be gone.
func (l *lock) refreshOnce(ctx context.Context) error {
	if err := l.check(ctx); err != nil {
		return err
	}
	before := l.current()
	if err := l.write(ctx); err != nil {
		return err
	}
	// Whoever removed the old one before the new one was there takes us for dead.
	switch err := l.stat(ctx, before); {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return l.lose(errLockRemoved(err))
	case err != nil:
		return fmt.Errorf("look at our lock: %w", err)
	}
	l.mu.Lock()
	old := l.old
	l.old = nil
	l.mu.Unlock()
	var errs []error
	for _, id := range old {
		if err := l.repo.remove(ctx, kindLock(), id); err != nil {
			l.mu.Lock()
			l.old = append(l.old, id)
			l.mu.Unlock()
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// check asks whether the lock is still ours: young enough, and there.
func (l *lock) check(ctx context.Context) error {
	for {
		if l.good() <= 0 {
			return l.lose(errLockOutlived())
		}
		id := l.current()
		err := l.stat(ctx, id)
		switch {
		case err == nil:
			return nil
		case holdfast.ErrorCode(err) != holdfast.CodeNotFound:
			return fmt.Errorf("look at our lock: %w", err)
		case l.current() == id:
			return l.lose(errLockRemoved(err))
		}
		// It was refreshed while we looked: we have removed the old one ourselves.
	}
}

func (l *lock) current() hash.ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}

func (l *lock) stat(ctx context.Context, id hash.ID) error {
	ctx, cancel := withTimeout(ctx, callTimeout)
	defer cancel()
	_, err := l.repo.bucket.Stat(ctx, kindLock().name(id))
	return err
}

func errLockRemoved(err error) error {
	return holdfast.Wrap(holdfast.CodeConflict, err, "somebody has removed our lock from the repository").
		WithHint("run the job again; what it has stored is kept")
}

func errLockOutlived() error {
	return holdfast.Errorf(holdfast.CodeConflict, "the lock on the repository could not be refreshed for %s", lockLife).
		WithHint("run the job again; what it has stored is kept")
}

func (l *lock) lose(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost == nil {
		l.lost = err
	}
	return l.lost
}

// good returns for how long the lock is still good; zero or less: it is lost.
func (l *lock) good() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost != nil {
		return 0
	}
	return lockLife - (l.repo.clock.boot() - l.since)
}

// release ends the goroutine and removes the lock.
func (l *lock) release(ctx context.Context) error {
	l.stop()
	<-l.done
	if err := l.tidyIndex(ctx); err != nil {
		l.log.WarnContext(ctx, "the index may name packs that are gone, until a prune", "error", err)
	}
	return l.remove(ctx)
}

func (l *lock) remove(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	l.mu.Lock()
	ids := append(l.old, l.id)
	l.old = nil
	l.mu.Unlock()
	var errs []error
	for _, id := range ids {
		if err := l.repo.remove(ctx, kindLock(), id); err != nil && holdfast.ErrorCode(err) != holdfast.CodeForbidden {
			errs = append(errs, err) // a store that forbids us to delete lets the lock grow stale
		}
	}
	return errors.Join(errs...)
}

// mayWrite returns why nothing may be written any more under the lock; nil while it is
// good.
func (l *lock) mayWrite() error {
	if l.good() > 0 {
		return nil
	}
	return l.lose(errLockOutlived())
}

// is reports whether a lock object is of this session.
func (l *lock) is(body lockJSON) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.body.Holder == body.Holder && l.body.Generation == body.Generation && l.body.Hostname == body.Hostname && l.body.PID == body.PID
}

package service

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Limits of failed logins. Five tries forgive typing; with a lock of a quarter of
// an hour after them an attacker has 480 tries a day for a name, far below what
// even a poor password of eight characters withstands.
const (
	maxFailures   = 5
	failureWindow = 10 * time.Minute
	lockTime      = 15 * time.Minute
	maxLockNames  = 10_000 // names that failures are remembered of, some 200 bytes each
)

// LoginError is what a refused login tells besides being refused. It is the
// cause of a [holdfast.Error] with CodeUnauthenticated.
type LoginError struct {
	Locked    bool          // after too many failures; the right password is refused too
	Remaining time.Duration // of the lock
}

func (e *LoginError) Error() string {
	if e.Locked {
		return fmt.Sprintf("locked for %s", e.Remaining)
	}
	return "wrong user or password"
}

func errLogin(cause LoginError) error {
	if cause.Locked {
		return holdfast.Wrap(holdfast.CodeUnauthenticated, &cause, "too many logins of this user have failed").
			WithHint("try again in %s, or let an administrator set a new password", cause.Remaining.Round(time.Second))
	}
	return holdfast.Wrap(holdfast.CodeUnauthenticated, &cause, "the user or the password is wrong").
		WithHint("look at the account, the user and the password")
}

// lockKey names whom failures are counted of: a user of an account, whether they
// exist or not. It is a hash, so that a long name costs no more than a short one.
type lockKey [sha256.Size]byte

func newLockKey(account, user string) lockKey {
	return sha256.Sum256([]byte(account + "\x00" + strings.ToLower(user)))
}

// lockouts counts failed logins in memory: a restart forgives. Logins of one name
// go one after the other, so that guesses at once are counted, too.
type lockouts struct {
	most int // failures within failureWindow that lock

	mu    sync.Mutex // guards the field below, and in its values all but turn
	names map[lockKey]*lockState
}

type lockState struct {
	turn     chan struct{} // holds one token while a login of the name is under way
	failures []time.Time   // within failureWindow, the oldest first
	locked   time.Time     // until when; zero: not
	used     time.Time     // last login
	waiting  int           // logins that hold this state, under way or in line
}

func newLockouts(most int) *lockouts { return &lockouts{most: most, names: map[lockKey]*lockState{}} }

// attempt is a login under way. Its end must be called.
type attempt struct {
	l   *lockouts
	key lockKey
	s   *lockState
}

// begin waits until no other login of the name is under way. It returns a
// LoginError when the name is locked.
func (l *lockouts) begin(ctx context.Context, key lockKey, now func() time.Time) (*attempt, error) {
	l.mu.Lock()
	s := l.names[key]
	if s == nil {
		l.makeRoom(now())
		s = &lockState{turn: make(chan struct{}, 1)}
		l.names[key] = s
	}
	s.waiting++
	s.used = now()
	l.mu.Unlock()
	a := &attempt{l, key, s}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		a.leave()
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "too many logins of this user at once").WithHint("try again")
	}
	if remaining := l.remaining(s, now()); remaining > 0 {
		a.end()
		return nil, errLogin(LoginError{Locked: true, Remaining: remaining})
	}
	return a, nil
}

func (l *lockouts) remaining(s *lockState, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, s.locked.Sub(now))
}

// failed counts a failure and reports whether it locks the name.
func (a *attempt) failed(now time.Time) bool {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	var recent []time.Time
	for _, t := range a.s.failures {
		if now.Sub(t) < failureWindow {
			recent = append(recent, t)
		}
	}
	a.s.failures = append(recent, now)
	if len(a.s.failures) < a.l.most {
		return false
	}
	a.s.failures, a.s.locked = nil, now.Add(lockTime)
	return true
}

// succeeded forgives the failures.
func (a *attempt) succeeded() {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	a.s.failures, a.s.locked = nil, time.Time{}
}

// end lets the next login of the name begin.
func (a *attempt) end() {
	<-a.s.turn
	a.leave()
}

func (a *attempt) leave() {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	a.s.waiting--
	if a.s.waiting == 0 && len(a.s.failures) == 0 && a.s.locked.IsZero() && a.l.names[a.key] == a.s {
		delete(a.l.names, a.key)
	}
}

// forgive forgets what is known of a name.
func (l *lockouts) forgive(key lockKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.names[key]; s != nil {
		s.failures, s.locked = nil, time.Time{}
	}
}

// makeRoom drops the name that was used the longest ago when there are too many.
// Those that are locked go last: else whoever sends enough other names would end
// a lock.
func (l *lockouts) makeRoom(now time.Time) {
	if len(l.names) < maxLockNames {
		return
	}
	var oldest lockKey
	var least *lockState
	for key, s := range l.names {
		if s.waiting == 0 && (least == nil || s.before(least, now)) {
			oldest, least = key, s
		}
	}
	if least != nil {
		delete(l.names, oldest)
	}
}

// before reports whether s is given up before other.
func (s *lockState) before(other *lockState, now time.Time) bool {
	if locked := s.locked.After(now); locked != other.locked.After(now) {
		return !locked
	}
	return s.used.Before(other.used)
}

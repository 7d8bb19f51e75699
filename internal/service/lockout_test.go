package service_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// guess logs in with a wrong password and returns what the refusal tells.
func (r *rig) guess(account, user string) service.LoginError {
	r.t.Helper()
	_, err := r.svc.Login(r.t.Context(), service.Login{Account: account, User: user, Password: holdfast.NewSecret("wrong password")}, "x")
	_, cause := loginError(r.t, err)
	return cause
}

// tryRight logs in with the right password and reports whether that is refused.
func (r *rig) tryRight(user string) (refused service.LoginError, ok bool) {
	r.t.Helper()
	_, err := r.svc.Login(r.t.Context(), service.Login{User: user, Password: holdfast.NewSecret(password)}, "x")
	if err == nil {
		return refused, true
	}
	_, refused = loginError(r.t, err)
	return refused, false
}

func TestNoUserForgivesTheFailuresOfAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.user("ada")
	if _, err := r.svc.CreateUser(t.Context(), r.admin, service.NewUser{
		Name: "ADA", Role: holdfast.RoleReader, Password: holdfast.NewSecret(password),
	}); holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("got %v for a name that differs in its case alone, want a conflict", err)
	}
	for i := range 2 {
		r.guess("", "ada")
		if _, ok := r.tryRight("ADA"); ok {
			t.Fatalf("somebody else logged in as ADA after %d failures of ada", i+1)
		}
	}
	if got := r.guess("", "ada"); !got.Locked {
		t.Errorf("got %+v after five failures, want locked", got)
	}
}

func TestFiveFailuresLock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ada := r.user("ada")
	r.user("eve")
	for i, user := range []string{"ada", "ADA", "Ada", "ada"} {
		if got := r.guess("", user); got.Locked {
			t.Fatalf("got locked after %d failures", i+1)
		}
		r.clock.add(time.Minute)
	}
	if got := r.guess("default", "ada"); !got.Locked || got.Remaining != 15*time.Minute {
		t.Errorf("got %+v at the fifth failure, want locked for 15m", got)
	}
	r.clock.add(5 * time.Minute)
	if got, ok := r.tryRight("ada"); ok || !got.Locked || got.Remaining != 10*time.Minute {
		t.Errorf("got %+v with the right password, want locked for 10m", got)
	}
	if _, ok := r.tryRight("eve"); !ok {
		t.Error("eve is locked, too")
	}
	r.clock.add(10*time.Minute - time.Second)
	if got := r.guess("", "ada"); !got.Locked || got.Remaining != time.Second {
		t.Errorf("got %+v, want locked for a second: guesses do not make it longer", got)
	}
	r.clock.add(time.Second)
	if _, ok := r.tryRight("ada"); !ok {
		t.Error("ada is locked for longer than 15 minutes")
	}
	must(0, r.svc.Close())(t) // writes the event
	var locks []holdfast.Event
	for _, e := range r.events(0) {
		if e.Kind == "user.locked" {
			locks = append(locks, e)
		}
	}
	if len(locks) != 1 || locks[0].Subject != "user "+strings.TrimPrefix(locks[0].Subject, "user ") || !strings.Contains(string(locks[0].Data), `"ada"`) ||
		locks[0].Account != ada.Account || !locks[0].Time.Equal(start.Add(4*time.Minute)) {
		t.Errorf("got events %+v, want one of the lock", locks)
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i, c := range []struct {
		name  string
		after func(r *rig, u service.User)
		again int // failures that lock after it
	}{
		{"not at once", func(*rig, service.User) {}, 1},
		{"not within ten minutes", func(r *rig, _ service.User) { r.clock.add(10*time.Minute - time.Second) }, 1},
		{"after ten minutes", func(r *rig, _ service.User) { r.clock.add(10 * time.Minute) }, 5},
		{"by a success", func(r *rig, u service.User) { r.tryRight(u.Name) }, 5},
		{"by a new password", func(r *rig, u service.User) {
			must(0, r.svc.SetPassword(r.t.Context(), r.admin, u.ID, holdfast.NewSecret(password)))(r.t)
		}, 5},
		{"by enabling the user", func(r *rig, u service.User) { must(r.svc.EnableUser(r.t.Context(), r.admin, u.ID))(r.t) }, 5},
		{"by a restart", func(r *rig, _ service.User) { r.restart() }, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := r.user(fmt.Sprint("user", i))
			for range 4 {
				r.guess("", u.Name)
			}
			c.after(r, u)
			for i := 1; i <= c.again; i++ {
				if got := r.guess("", u.Name); got.Locked != (i == c.again) {
					t.Fatalf("failure %d afterwards: got %+v, want a lock at %d", i, got, c.again)
				}
			}
		})
	}
}

func TestANewPasswordEndsALock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.user("ada")
	for range 5 {
		r.guess("", "ada")
	}
	must(0, r.svc.SetPassword(t.Context(), r.admin, u.ID, holdfast.NewSecret(password)))(t)
	if got, ok := r.tryRight("ada"); !ok {
		t.Errorf("got %+v after a new password", got)
	}
}

// A name that nobody has is locked like any other, so that a lock tells nothing,
// and leaves no event: strangers must not make the history grow.
func TestNamesThatNobodyHasAreLocked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.account(service.NewAccount{Name: "acme", Aliases: []string{"north"}})
	after := r.lastEvent().ID
	for _, c := range []struct {
		name     string
		accounts [2]string
		user     string
	}{
		{"in the default account", [2]string{"", "default"}, "nobody"},
		{"the owner of the socket", [2]string{"", "default"}, "local"},
		{"in another account, by name and alias", [2]string{"acme", "north"}, "nobody"},
		{"in no account", [2]string{"nowhere", "nowhere"}, "ada"},
	} {
		for i := 1; i <= 6; i++ {
			got := r.guess(c.accounts[i%2], c.user)
			if got.Locked != (i >= 5) {
				t.Errorf("%s, failure %d: got %+v", c.name, i, got)
			}
		}
	}
	must(0, r.svc.Close())(t)
	if list := r.events(after); len(list) != 0 {
		t.Errorf("got %d events, want none", len(list))
	}
}

func TestGuessesAtOnceAreCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.user("ada")
	var wg sync.WaitGroup
	var mu sync.Mutex
	unlocked := 0
	for range 12 {
		wg.Go(func() {
			_, err := r.svc.Login(t.Context(), service.Login{User: "ada", Password: holdfast.NewSecret("wrong password")}, "x")
			mu.Lock()
			defer mu.Unlock()
			if !strings.Contains(holdfast.ErrorMessage(err), "too many") {
				unlocked++
			}
		})
	}
	wg.Wait()
	if unlocked != 4 {
		t.Errorf("got %d guesses that were looked at, and one that locked; want 4", unlocked)
	}
}

// Many that log in rightly at once do not lock each other out.
func TestLoginsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.user("ada")
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, err := r.svc.Login(t.Context(), service.Login{User: "ada", Password: holdfast.NewSecret(password)}, "x"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(r.sessions()); n != 6 {
		t.Errorf("got %d sessions, want 6", n)
	}
}

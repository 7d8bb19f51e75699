package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// login opens a session on a device called laptop.
func (r *rig) login(user string) service.Session {
	r.t.Helper()
	return must(r.svc.Login(r.t.Context(), service.Login{User: user, Password: holdfast.NewSecret(password), Device: "laptop"}, "api/x"))(r.t)
}

// wantSession uses a session, which keeps it from ending.
func (r *rig) wantSession(s service.Session, valid bool) {
	r.t.Helper()
	_, err := r.svc.AuthenticateSession(r.t.Context(), s.Secret, "api/x")
	switch {
	case valid && err != nil:
		r.t.Errorf("got %v, want a session that is valid", err)
	case !valid:
		wantCode(r.t, err, holdfast.CodeUnauthenticated)
	}
}

// restart lets another process go on with the store.
func (r *rig) restart() {
	r.t.Helper()
	must(0, r.svc.Close())(r.t)
	r.svc = service.New(service.Config{
		Store: r.store, Sealer: r.master, Dispatcher: r.out, Logs: r.out, Repositories: r.out,
		Engines: []holdfast.Engine{holdfast.EnginePhysical}, Now: r.clock.Now, Log: testkit.Logger(r.t),
	})
}

// sessions lists the rows of sessions.
func (r *rig) sessions() (list []holdfast.Credential) {
	r.t.Helper()
	must(0, r.store.View(r.t.Context(), func(rd store.Reader) error {
		all, err := rd.Credentials(r.t.Context(), 0)
		list = nil
		for _, c := range all {
			if c.Kind == holdfast.CredentialSession {
				list = append(list, c)
			}
		}
		return err
	}))(r.t)
	return list
}

func TestLoginOpensASession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	u := must(r.svc.CreateUser(ctx, r.admin, service.NewUser{
		Name: "ada", Role: holdfast.RoleOperator, Sites: []holdfast.SiteID{r.sites[0].ID}, Password: holdfast.NewSecret(password),
	}))(t)
	s := r.login("ada")
	if s.Idle != 30*time.Minute || !s.Expires.Equal(start.AddDate(0, 0, 7)) || !strings.HasPrefix(s.Secret.Reveal(), "hfs_") || len(s.Secret.Reveal()) != 56 {
		t.Errorf("got session %+v", s)
	}
	a := must(r.svc.AuthenticateSession(ctx, s.Secret, "api/x"))(t)
	if a.Principal.ID != u.ID || a.Credential.Role != holdfast.RoleOperator || !a.Credential.Covers(r.sites[0].ID) || a.Credential.Covers(r.sites[1].ID) ||
		a.String() != "user ada" || a.Dialect != "api/x" || a.Credential.Hash != nil {
		t.Errorf("got actor %+v, want ada at her site", a)
	}
	if e := r.lastEvent(); e.Kind != "session.opened" || e.Actor != "user ada" || e.Dialect != "api/x" {
		t.Errorf("got event %+v", e)
	}
	must(0, r.svc.Close())(t)
	if u := must(r.svc.Users(ctx, r.admin))(t)[0]; !u.LastLogin.Equal(start) {
		t.Errorf("got last login %s, want %s", u.LastLogin, start)
	}
	_, err := r.svc.Authenticate(ctx, s.Secret.Reveal(), "x")
	wantCode(t, err, holdfast.CodeUnauthenticated) // a session is no token
	_, secret := r.token(service.NewToken{Name: "t", Role: holdfast.RoleReader})
	for _, other := range []string{secret, "", "hfs_", "hfs_" + strings.Repeat("a", 52), s.Secret.Reveal() + "a"} {
		_, err := r.svc.AuthenticateSession(ctx, holdfast.NewSecret(other), "x")
		wantCode(t, err, holdfast.CodeUnauthenticated)
	}
}

func TestIdleTimeIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.user("ada")
	for ask, want := range map[time.Duration]time.Duration{
		0: 30 * time.Minute, time.Second: time.Minute, -time.Hour: time.Minute, 5 * time.Minute: 5 * time.Minute, 25 * time.Hour: 24 * time.Hour,
	} {
		s := must(r.svc.Login(t.Context(), service.Login{User: "ada", Password: holdfast.NewSecret(password), Idle: ask}, "x"))(t)
		if s.Idle != want {
			t.Errorf("asked for %s: got %s, want %s", ask, s.Idle, want)
		}
	}
}

func TestASessionEndsByIdleness(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i, c := range []struct {
		name          string
		use, wait     time.Duration // after its making; after that
		valid, atOnce bool
	}{
		{"never used, within", 0, 30*time.Minute - time.Second, true, false},
		{"never used, at the end", 0, 30 * time.Minute, false, false},
		{"used late in its minute, just within", 10*time.Minute + 59*time.Second, 30*time.Minute - time.Second, true, false},
		{"used late in its minute, at the end", 10*time.Minute + 59*time.Second, 30 * time.Minute, true, false}, // up to a minute more
		{"used late in its minute, over", 10*time.Minute + 59*time.Second, 30*time.Minute + time.Second, false, false},
		{"used early in its minute, within", 10 * time.Minute, 30*time.Minute + 59*time.Second, true, false},
		{"used early in its minute, a minute over", 10 * time.Minute, 31 * time.Minute, false, false},
		{"used in the minute of its making", 30 * time.Second, 30*time.Minute - time.Second, true, false},
		{"used while the touch is not written", 10 * time.Minute, 29 * time.Minute, true, true},
	} {
		t.Run(c.name, func(*testing.T) {
			name := fmt.Sprint("user", i)
			r.user(name)
			now := r.clock.Now()
			r.clock.add(now.Truncate(time.Minute).Add(time.Minute).Sub(now))
			s := r.login(name)
			if c.use > 0 {
				r.clock.add(c.use)
				r.wantSession(s, true)
			}
			if !c.atOnce {
				r.restart()
			}
			r.clock.add(c.wait)
			r.wantSession(s, c.valid)
		})
	}
}

// A session that is used all the time lives until its absolute end, and not a
// second longer.
func TestASessionEndsAfterAWeek(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.user("ada")
	s := must(r.svc.Login(ctx, service.Login{User: "ada", Password: holdfast.NewSecret(password), Idle: 24 * time.Hour, Device: "laptop"}, "x"))(t)
	for range 7*2 - 1 {
		r.clock.add(12 * time.Hour)
		r.wantSession(s, true)
	}
	r.clock.add(12*time.Hour - time.Second)
	s = must(r.svc.RenewSession(ctx, s.Secret, "laptop", "x"))(t)
	if !s.Expires.Equal(start.AddDate(0, 0, 7)) {
		t.Errorf("the renewed session ends at %s, want the end of the first", s.Expires)
	}
	r.wantSession(s, true)
	r.clock.add(time.Second)
	r.wantSession(s, false)
	_, err := r.svc.RenewSession(ctx, s.Secret, "laptop", "x")
	wantCode(t, err, holdfast.CodeUnauthenticated)
}

// A use whose time could not be written must not end the session early.
func TestATouchIsNotLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, testkit.Expect("last use of tokens not written yet"))
	disk := &brokenDisk{failed: make(chan struct{}, 10)}
	r.store.wrap = func(tx store.Tx) store.Tx { return brokenTx{tx, disk} }
	r.user("ada")
	s := r.login("ada")
	disk.broken.Store(true)
	r.clock.add(20 * time.Minute)
	r.wantSession(s, true)
	<-disk.failed
	r.clock.add(20 * time.Minute)
	r.wantSession(s, true)
	disk.broken.Store(false)
	r.restart() // the end of the first service writes what is left
	r.clock.add(20 * time.Minute)
	r.wantSession(s, true)
}

// brokenDisk refuses to write credentials while it is broken.
type brokenDisk struct {
	broken atomic.Bool
	failed chan struct{}
}

type brokenTx struct {
	store.Tx
	disk *brokenDisk
}

func (b brokenTx) UpdateCredential(ctx context.Context, c holdfast.Credential) error {
	if !b.disk.broken.Load() {
		return b.Tx.UpdateCredential(ctx, c)
	}
	b.disk.failed <- struct{}{}
	return holdfast.Errorf(holdfast.CodeUnavailable, "planted")
}

func TestRenewSession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i, c := range []struct {
		name   string
		after  func(r *rig, s service.Session)
		device string
		ok     bool
	}{
		{"at once", func(*rig, service.Session) {}, "laptop", true},
		{"just ended by idleness", func(r *rig, _ service.Session) { r.clock.add(30 * time.Minute) }, "laptop", true},
		{"ended a day ago", func(r *rig, _ service.Session) { r.clock.add(24*time.Hour + 30*time.Minute - time.Second) }, "laptop", true},
		{"ended longer ago", func(r *rig, _ service.Session) { r.clock.add(24*time.Hour + 30*time.Minute) }, "laptop", false},
		{"another device", func(*rig, service.Session) {}, "phone", false},
		{"no device", func(*rig, service.Session) {}, "", false},
		{"logged out", func(r *rig, s service.Session) { must(0, r.svc.Logout(r.t.Context(), s.Secret))(r.t) }, "laptop", false},
		{"renewed already", func(r *rig, s service.Session) {
			must(r.svc.RenewSession(r.t.Context(), s.Secret, "laptop", "x"))(r.t)
		}, "laptop", false},
		{"disabled user", func(r *rig, s service.Session) {
			must(r.svc.DisableUser(r.t.Context(), r.admin, s.Actor.Principal.ID))(r.t)
		}, "laptop", false},
		{"after a restart", func(r *rig, _ service.Session) { r.restart() }, "laptop", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprint("user", i)
			r.user(name)
			s := r.login(name)
			c.after(r, s)
			renewed, err := r.svc.RenewSession(t.Context(), s.Secret, c.device, "api/x")
			if !c.ok {
				wantCode(t, err, holdfast.CodeUnauthenticated)
				if want := "the session does not exist or has ended"; holdfast.ErrorMessage(err) != want {
					t.Errorf("got %q, want %q whatever the cause", holdfast.ErrorMessage(err), want)
				}
				return
			}
			must(renewed, err)(t)
			r.wantSession(s, false)
			r.wantSession(renewed, true)
			if renewed.Secret.Reveal() == s.Secret.Reveal() || renewed.Idle != s.Idle || renewed.Actor.Principal.ID != s.Actor.Principal.ID {
				t.Errorf("got session %+v after %+v", renewed, s)
			}
			if e := r.lastEvent(); e.Kind != "session.renewed" || e.Actor != "user "+name {
				t.Errorf("got event %+v", e)
			}
			r.clock.add(29 * time.Minute) // its idle time begins anew
			r.wantSession(renewed, true)
		})
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.user("ada")
	s, other := r.login("ada"), r.login("ada")
	must(0, r.svc.Logout(ctx, s.Secret))(t)
	r.wantSession(s, false)
	r.wantSession(other, true)
	if e := r.lastEvent(); e.Kind != "session.closed" {
		t.Errorf("got event %s", e.Kind)
	}
	must(0, r.svc.Logout(ctx, s.Secret))(t) // again, as a client may that got no answer
	must(0, r.svc.Logout(ctx, holdfast.NewSecret("hfs_nonsense")))(t)
	if n := len(r.sessions()); n != 1 {
		t.Errorf("got %d sessions, want 1", n)
	}
	r.clock.add(time.Hour)
	must(0, r.svc.Logout(ctx, other.Secret))(t) // one that ended by idleness
	_, err := r.svc.RenewSession(ctx, other.Secret, "laptop", "x")
	wantCode(t, err, holdfast.CodeUnauthenticated)
}

func TestSessionsOfAUserAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.user("ada")
	r.user("eve")
	others, busy, unused := r.login("eve"), r.login("ada"), r.login("ada")
	r.clock.add(time.Minute)
	r.wantSession(busy, true)
	r.update(func(tx store.Tx) error { // as 98 logins would
		for i := range 98 {
			c := unused.Actor.Credential
			c.ID, c.Hash, c.Created = 0, fmt.Append(nil, "session ", i), r.clock.Now().Add(time.Duration(i)*time.Second)
			if err := tx.InsertCredential(t.Context(), &c); err != nil {
				return err
			}
		}
		return nil
	})
	r.clock.add(2 * time.Minute)
	last := r.login("ada")
	if n := len(r.sessions()); n != 101 {
		t.Errorf("got %d sessions, want 100 of ada and 1 of eve", n)
	}
	r.wantSession(unused, false) // not used for the longest time
	for _, s := range []service.Session{busy, others, last} {
		r.wantSession(s, true)
	}

	// Those that nobody can renew any more go with the next login.
	r.clock.add(30 * time.Hour)
	r.login("ada")
	if n := len(r.sessions()); n != 2 {
		t.Errorf("got %d sessions, want the new one and eve's", n)
	}
}

// loginError returns what a refusal says, so that two can be compared.
func loginError(t *testing.T, err error) (string, service.LoginError) {
	t.Helper()
	wantCode(t, err, holdfast.CodeUnauthenticated)
	var cause *service.LoginError
	if !errors.As(err, &cause) {
		t.Fatalf("got %v, want a LoginError in it", err)
	}
	return holdfast.ErrorMessage(err) + "|" + holdfast.ErrorHint(err) + "|" + cause.Error(), *cause
}

func TestRefusedLoginsTellNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.user("ada")
	gone := r.user("gone")
	must(r.svc.DisableUser(ctx, r.admin, gone.ID))(t)
	must(r.svc.CreateUser(ctx, r.admin, service.NewUser{Name: "keys", Role: holdfast.RoleReader}))(t)
	r.token(service.NewToken{Name: "nightly", Role: holdfast.RoleReader})
	r.account(service.NewAccount{Name: "acme", Aliases: []string{"north"}})
	right := holdfast.NewSecret(password)
	want := ""
	for _, c := range []struct {
		name string
		in   service.Login
	}{
		{"a wrong password", service.Login{User: "ada", Password: holdfast.NewSecret("wrong password")}},
		{"no password", service.Login{User: "ada"}},
		{"a password that is too long", service.Login{User: "ada", Password: holdfast.NewSecret(strings.Repeat("x", 1<<20))}},
		{"an unknown user", service.Login{User: "nobody", Password: right}},
		{"no user", service.Login{Password: right}},
		{"a user with a long name", service.Login{User: strings.Repeat("x", 1<<20), Password: right}},
		{"a user in other letters", service.Login{User: "Ada", Password: right}},
		{"a disabled user", service.Login{User: "gone", Password: right}},
		{"a user without a password", service.Login{User: "keys", Password: right}},
		{"a token", service.Login{User: "nightly", Password: right}},
		{"the owner of the socket", service.Login{User: "local", Password: right}},
		{"an unknown account", service.Login{Account: "nowhere", User: "ada", Password: right}},
		{"another account", service.Login{Account: "acme", User: "ada", Password: right}},
		{"another account's alias", service.Login{Account: "north", User: "ada", Password: right}},
	} {
		_, err := r.svc.Login(ctx, c.in, "x")
		got, cause := loginError(t, err)
		if want == "" {
			want = got
		}
		if got != want || cause.Locked || cause.Remaining != 0 {
			t.Errorf("%s: got %q, %+v; want %q", c.name, got, cause, want)
		}
	}
	s := must(r.svc.Login(ctx, service.Login{Account: "default", User: "ada", Password: right}, "x"))(t)
	if s.Actor.Principal.Account != holdfast.FirstID {
		t.Errorf("got account %d", s.Actor.Principal.Account)
	}
}

func TestSessionSecretsStandNowhere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	u := r.user("ada")
	first := r.login("ada")
	second := must(r.svc.RenewSession(ctx, first.Secret, "laptop", "x"))(t)
	name := r.signer(u, "laptop", service.NewPAT{})
	_, err := r.svc.Login(ctx, service.Login{User: "ada", Password: holdfast.NewSecret("planted wrong password")}, "x")
	wantCode(t, err, holdfast.CodeUnauthenticated)
	must(0, r.svc.SetPassword(ctx, r.admin, u.ID, holdfast.NewSecret("planted other password")))(t)
	planted := []string{
		password, "planted wrong password", "planted other password", first.Secret.Reveal(), second.Secret.Reveal(), name.PAT.Reveal(),
	}
	for _, e := range r.events(0) {
		for i, s := range append(planted, "$argon2id$") {
			if bytes.Contains(e.Data, []byte(s)) || strings.Contains(e.Subject+e.Actor, s) {
				t.Errorf("event %s shows secret %d", e.Kind, i)
			}
		}
	}
	for name, data := range r.files() {
		for i, s := range planted {
			if bytes.Contains(data, []byte(s)) {
				t.Errorf("file %s shows secret %d", name, i)
			}
		}
	}
}

package service_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// password is what the rig's users have; it must not stand anywhere.
const password = "planted correct horse"

// user makes a user who may do everything.
func (r *rig) user(name string) service.User {
	r.t.Helper()
	return must(r.svc.CreateUser(r.t.Context(), r.admin, service.NewUser{
		Name: name, Role: holdfast.RoleAdmin, Password: holdfast.NewSecret(password),
	}))(r.t)
}

// newUser makes a user without a password.
func newUser(r *rig) int64 {
	u := must(r.svc.CreateUser(r.t.Context(), r.admin, service.NewUser{Name: newName(), Role: holdfast.RoleAdmin}))(r.t)
	return int64(u.ID)
}

func TestCreateUser(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.token(service.NewToken{Name: "nightly", Role: holdfast.RoleReader})
	sites := []holdfast.SiteID{r.sites[1].ID, r.sites[0].ID, r.sites[1].ID}
	u := must(r.svc.CreateUser(ctx, r.admin, service.NewUser{Name: "ada", Role: holdfast.RoleOperator, Sites: sites, Password: holdfast.NewSecret("12345678")}))(t)
	if u.Kind != holdfast.PrincipalPerson || u.Role != holdfast.RoleOperator || !u.HasPassword || !u.LastLogin.IsZero() ||
		!slices.Equal(u.Sites, []holdfast.SiteID{r.sites[0].ID, r.sites[1].ID}) {
		t.Errorf("got user %+v", u)
	}
	bob := must(r.svc.CreateUser(ctx, r.admin, service.NewUser{Name: "bob", Role: holdfast.RoleReader}))(t)
	if bob.HasPassword {
		t.Error("bob has a password that nobody gave")
	}
	list := must(r.svc.Users(ctx, r.admin))(t)
	if len(list) != 2 || list[0].Name != "ada" || list[1].Name != "bob" || list[1].Role != holdfast.RoleReader || list[1].HasPassword {
		t.Errorf("got users %+v, want ada and bob", list)
	}
	for _, bad := range []struct {
		name string
		in   service.NewUser
		want holdfast.Code
	}{
		{"no name", service.NewUser{Role: holdfast.RoleReader}, holdfast.CodeInvalid},
		{"a name with a blank", service.NewUser{Name: "a b", Role: holdfast.RoleReader}, holdfast.CodeInvalid},
		{"no role", service.NewUser{Name: "x"}, holdfast.CodeInvalid},
		{"an unknown role", service.NewUser{Name: "x", Role: "owner"}, holdfast.CodeInvalid},
		{"a user's name", service.NewUser{Name: "ada", Role: holdfast.RoleReader}, holdfast.CodeConflict},
		{"a token's name", service.NewUser{Name: "nightly", Role: holdfast.RoleReader}, holdfast.CodeConflict},
		{"the socket owner's name", service.NewUser{Name: "local", Role: holdfast.RoleReader}, holdfast.CodeConflict},
		{"an unknown site", service.NewUser{Name: "x", Role: holdfast.RoleReader, Sites: []holdfast.SiteID{unknown}}, holdfast.CodeNotFound},
		{"a password of 7 characters", service.NewUser{Name: "x", Role: holdfast.RoleReader, Password: holdfast.NewSecret("üüüüüüü")}, holdfast.CodeInvalid},
		{"a password of 1025 bytes", service.NewUser{Name: "x", Role: holdfast.RoleReader, Password: holdfast.NewSecret(strings.Repeat("x", 1025))}, holdfast.CodeInvalid},
		{"a password that is no UTF-8", service.NewUser{Name: "x", Role: holdfast.RoleReader, Password: holdfast.NewSecret("12345678\xff")}, holdfast.CodeInvalid},
	} {
		if _, err := r.svc.CreateUser(ctx, r.admin, bad.in); holdfast.ErrorCode(err) != bad.want {
			t.Errorf("%s: got %v, want code %s", bad.name, err, bad.want)
		}
	}
	_, _, err := r.svc.CreateToken(ctx, r.admin, service.NewToken{Name: "ada", Role: holdfast.RoleReader})
	wantCode(t, err, holdfast.CodeConflict)
	must(r.svc.CreateUser(ctx, r.admin, service.NewUser{Name: "x", Role: holdfast.RoleReader, Password: holdfast.NewSecret(strings.Repeat("x", 1024))}))(t)
}

func TestSetPasswordEndsSessions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	u := r.user("ada")
	other := r.user("eve")
	s, others := r.login("ada"), r.login("eve")
	must(0, r.svc.SetPassword(ctx, r.admin, u.ID, holdfast.NewSecret("another password")))(t)
	r.wantSession(s, false)
	r.wantSession(others, true)
	_, err := r.svc.RenewSession(ctx, s.Secret, "laptop", "x")
	wantCode(t, err, holdfast.CodeUnauthenticated)
	_, err = r.svc.Login(ctx, service.Login{User: "ada", Password: holdfast.NewSecret(password)}, "x")
	wantCode(t, err, holdfast.CodeUnauthenticated)
	must(r.svc.Login(ctx, service.Login{User: "ada", Password: holdfast.NewSecret("another password")}, "x"))(t)
	list := must(r.svc.Users(ctx, r.admin))(t)
	if len(list) != 2 || list[0].Role != holdfast.RoleAdmin || !list[0].HasPassword {
		t.Errorf("got users %+v, want ada with her role", list)
	}

	// No password at all: nothing gets in, not even what stands for none.
	must(0, r.svc.SetPassword(ctx, r.admin, u.ID, holdfast.Secret{}))(t)
	for _, guess := range []string{"", "another password", "!"} {
		_, err = r.svc.Login(ctx, service.Login{User: "ada", Password: holdfast.NewSecret(guess)}, "x")
		wantCode(t, err, holdfast.CodeUnauthenticated)
	}
	wantInvalid(t, r.svc.SetPassword(ctx, r.admin, other.ID, holdfast.NewSecret("short")))
	wantCode(t, r.svc.SetPassword(ctx, r.admin, unknown, holdfast.NewSecret(password)), holdfast.CodeNotFound)
	wantCode(t, r.svc.SetPassword(ctx, r.admin, r.admin.Principal.ID, holdfast.NewSecret(password)), holdfast.CodeNotFound)
}

func TestADisabledUserLosesEverythingAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	u := r.user("ada")
	s := r.login("ada")
	name := r.signer(u, "laptop", service.NewPAT{})
	must(r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: name}, "x"))(t)

	if got := must(r.svc.DisableUser(ctx, r.admin, u.ID))(t); !got.Disabled {
		t.Errorf("got user %+v, want it disabled", got)
	}
	r.wantSession(s, false)
	_, err := r.svc.RenewSession(ctx, s.Secret, "laptop", "x")
	wantCode(t, err, holdfast.CodeUnauthenticated)
	_, err = r.svc.Login(ctx, service.Login{User: "ada", Password: holdfast.NewSecret(password)}, "x")
	wantCode(t, err, holdfast.CodeUnauthenticated)
	_, err = r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: name}, "x")
	wantCode(t, err, holdfast.CodeUnauthenticated)
	if k := must(r.svc.PublicKey(ctx, name))(t); k.Equal(r.key(u, "laptop")) {
		t.Error("the key of a disabled user is still given out")
	}
	if e := r.lastEvent(); e.Kind != "user.disabled" {
		t.Errorf("got event %s last", e.Kind)
	}
	after := r.lastEvent().ID
	must(r.svc.DisableUser(ctx, r.admin, u.ID))(t)
	if n := len(r.events(after)); n != 0 {
		t.Errorf("got %d events for a user who is disabled already", n)
	}

	must(r.svc.EnableUser(ctx, r.admin, u.ID))(t)
	r.wantSession(s, false)
	must(r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: name}, "x"))(t)
	r.login("ada")
	_, err = r.svc.DisableUser(ctx, r.admin, r.admin.Principal.ID)
	wantCode(t, err, holdfast.CodeNotFound)
}

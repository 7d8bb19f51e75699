package service_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// password is what the rig's users have.
const password = "planted correct horse"

// user makes a user who may do everything.
func (r *rig) user(name string) service.User {
	r.t.Helper()
	return must(r.svc.CreateUser(r.t.Context(), r.admin, service.NewUser{
		Name: name, Role: holdfast.RoleAdmin, Password: holdfast.NewSecret(password),
	}))(r.t)
}

func newUser(r *rig) int64 {
	u := must(r.svc.CreateUser(r.t.Context(), r.admin, service.NewUser{Name: newName(), Role: holdfast.RoleAdmin}))(r.t)
	return int64(u.ID)
}

func TestLoginOpensASession(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	u := r.user("ada")
	s := must(r.svc.Login(t.Context(), service.Login{User: "ada", Password: holdfast.NewSecret(password)}, "api/x"))(t)
	a := must(r.svc.AuthenticateSession(t.Context(), s.Secret, "api/x"))(t)
	if a.Principal.ID != u.ID || a.Credential.Role != holdfast.RoleAdmin || a.String() != "user ada" || a.Dialect != "api/x" {
		t.Errorf("got actor %+v, want ada", a)
	}
}

package service_test

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func newAccessKey(r *rig) int64 {
	k, _ := r.accessKey(service.NewAccessKey{User: holdfast.PrincipalID(newUser(r))})
	return int64(k.ID)
}

// accessKey makes an access key, by default with a new name.
func (r *rig) accessKey(in service.NewAccessKey) (service.UserKey, holdfast.Secret) {
	r.t.Helper()
	if in.Name == "" {
		in.Name = newName()
	}
	k, secret, err := r.svc.CreateAccessKey(r.t.Context(), r.admin, in)
	must(0, err)(r.t)
	return k, secret
}

// access logs in with an access key.
func (r *rig) access(k service.UserKey, secret holdfast.Secret) (service.AccessSession, error) {
	r.t.Helper()
	return r.svc.LoginAccessKey(r.t.Context(), service.AccessLogin{Key: string(k.PublicKey), Secret: secret}, "api/x")
}

func TestCreateAccessKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	berlin, paris := r.sites[0].ID, r.sites[1].ID
	ada := must(r.svc.CreateUser(ctx, r.admin, service.NewUser{Name: "ada", Role: holdfast.RoleOperator, Sites: []holdfast.SiteID{berlin}}))(t)
	k, secret := r.accessKey(service.NewAccessKey{User: ada.ID, Name: "night"})
	if !regexp.MustCompile(`^HFAK[A-Z2-7]{16}$`).Match(k.PublicKey) || !regexp.MustCompile(`^hfsk_[a-z2-7]{52}$`).MatchString(secret.Reveal()) {
		t.Errorf("got access key %q with the secret %q", k.PublicKey, secret.Reveal())
	}
	if k.Role != holdfast.RoleOperator || !slices.Equal(k.Sites, []holdfast.SiteID{berlin}) || !k.Expires.IsZero() || k.Hash != nil || k.User != "ada" {
		t.Errorf("got access key %+v", k)
	}
	if e := r.lastEvent(); e.Kind != "accesskey.created" || strings.Contains(string(e.Data), secret.Reveal()) {
		t.Errorf("got event %+v", e)
	}
	for _, bad := range []struct {
		name string
		in   service.NewAccessKey
		want holdfast.Code
	}{
		{"no name", service.NewAccessKey{User: ada.ID}, holdfast.CodeInvalid},
		{"a name that is in use", service.NewAccessKey{User: ada.ID, Name: "night"}, holdfast.CodeConflict},
		{"an unknown user", service.NewAccessKey{User: unknown, Name: "a"}, holdfast.CodeNotFound},
		{"an unknown role", service.NewAccessKey{User: ada.ID, Name: "a", Role: "owner"}, holdfast.CodeInvalid},
		{"more than the user's role", service.NewAccessKey{User: ada.ID, Name: "a", Role: holdfast.RoleAdmin}, holdfast.CodeInvalid},
		{"more than the user's sites", service.NewAccessKey{User: ada.ID, Name: "a", Sites: []holdfast.SiteID{paris}}, holdfast.CodeInvalid},
		{"an end that is past", service.NewAccessKey{User: ada.ID, Name: "a", Expires: start}, holdfast.CodeInvalid},
	} {
		if _, _, err := r.svc.CreateAccessKey(ctx, r.admin, bad.in); holdfast.ErrorCode(err) != bad.want {
			t.Errorf("%s: got %v, want %s", bad.name, err, bad.want)
		}
	}
	must(0, r.svc.RevokeAccessKey(ctx, r.admin, k.ID))(t)
	r.accessKey(service.NewAccessKey{User: ada.ID, Name: "night"})
	list := must(r.svc.AccessKeys(ctx, r.admin))(t)
	if len(list) != 2 || list[0].Revoked.IsZero() || list[0].User != "ada" || list[0].Hash != nil {
		t.Errorf("got %+v, want two, the first revoked", list)
	}
	for i := range 99 {
		r.accessKey(service.NewAccessKey{User: ada.ID, Name: fmt.Sprint(i)})
	}
	_, _, err := r.svc.CreateAccessKey(ctx, r.admin, service.NewAccessKey{User: ada.ID, Name: "one too many"})
	wantCode(t, err, holdfast.CodeConflict)
}

func TestLoginWithAnAccessKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	ada := r.user("ada")
	k, secret := r.accessKey(service.NewAccessKey{User: ada.ID, Role: holdfast.RoleReader})
	other, otherSecret := r.accessKey(service.NewAccessKey{User: ada.ID})
	s := must(r.access(k, secret))(t)
	if s.Actor.Principal.ID != ada.ID || s.Actor.Credential.Role != holdfast.RoleReader || s.Actor.Credential.ID != k.ID ||
		s.Actor.String() != "user ada" || s.Actor.Dialect != "api/x" || s.Actor.Credential.Hash != nil {
		t.Errorf("got actor %+v", s.Actor)
	}
	if !strings.HasPrefix(s.Refresh.Reveal(), "hfr_") || !s.Ends.Equal(start.Add(24*time.Hour)) {
		t.Errorf("got refresh token %q until %s", s.Refresh.Reveal(), s.Ends)
	}
	if e := r.lastEvent(); e.Kind != "session.opened" || e.Actor != "user ada" {
		t.Errorf("got event %+v", e)
	}
	for name, in := range map[string]service.AccessLogin{
		"nothing":                {},
		"an unknown key":         {Key: "HFAK234567ABCDEFGHIJ", Secret: secret},
		"a secret of another":    {Key: string(k.PublicKey), Secret: otherSecret},
		"a key of another":       {Key: string(other.PublicKey), Secret: secret},
		"no secret":              {Key: string(k.PublicKey)},
		"halves that are joined": {Key: "", Secret: holdfast.NewSecret(string(k.PublicKey) + "\x00" + secret.Reveal())},
	} {
		_, err := r.svc.LoginAccessKey(ctx, in, "x")
		if text, _ := loginError(t, err); !strings.Contains(text, "access key or its secret is wrong") {
			t.Errorf("%s: got %q", name, text)
		}
	}
	for _, text := range []string{"", "hfr_", s.Refresh.Reveal() + "a", "hfr_" + strings.Repeat("a", 52), secret.Reveal()} {
		_, err := r.svc.RenewAccess(ctx, holdfast.NewSecret(text), "x")
		wantCode(t, err, holdfast.CodeUnauthenticated)
	}
	again := must(r.svc.RenewAccess(ctx, s.Refresh, "x"))(t)
	if a := again.Actor; a.Credential.ID != k.ID || a.Principal.ID != ada.ID || a.Credential.Hash != nil || again.ID != s.ID || !again.Ends.Equal(s.Ends) || !again.Refresh.IsZero() {
		t.Errorf("got %+v, want the same log-in of ada", again)
	}
	if a := must(r.svc.AuthenticateAccess(ctx, holdfast.FirstID, s.ID, "x"))(t); a.Credential.ID != k.ID || a.Principal.ID != ada.ID || a.Credential.Hash != nil {
		t.Errorf("got %+v, want ada", a)
	}
	for name, err := range map[string]error{
		"another account":        second(r.svc.AuthenticateAccess(ctx, holdfast.FirstID+1, s.ID, "x")),
		"every account":          second(r.svc.AuthenticateAccess(ctx, 0, s.ID, "x")),
		"an unknown log-in":      second(r.svc.AuthenticateAccess(ctx, holdfast.FirstID, unknown, "x")),
		"an access key's id":     second(r.svc.AuthenticateAccess(ctx, holdfast.FirstID, k.ID, "x")),
		"a refresh as a token":   second(r.svc.Authenticate(ctx, s.Refresh.Reveal(), "x")),
		"a secret as a token":    second(r.svc.Authenticate(ctx, secret.Reveal(), "x")),
		"a refresh as a session": second(r.svc.AuthenticateSession(ctx, s.Refresh, "x")),
	} {
		if holdfast.ErrorCode(err) != holdfast.CodeUnauthenticated {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
	r.clock.add(24*time.Hour - time.Second)
	must(r.svc.RenewAccess(ctx, s.Refresh, "x"))(t)
	r.clock.add(time.Second)
	for _, err := range []error{second(r.svc.RenewAccess(ctx, s.Refresh, "x")), second(r.svc.AuthenticateAccess(ctx, holdfast.FirstID, s.ID, "x"))} {
		wantCode(t, err, holdfast.CodeUnauthenticated)
	}
}

func second[T any](_ T, err error) error { return err }

func TestEndOfAnAccessKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(r *rig, k service.UserKey)
		back func(r *rig, k service.UserKey) // nil: it never comes back
	}{
		{"revoked", func(r *rig, k service.UserKey) { must(0, r.svc.RevokeAccessKey(r.t.Context(), r.admin, k.ID))(r.t) }, nil},
		{"expired", func(r *rig, _ service.UserKey) { r.clock.add(time.Hour) }, nil},
		{
			"its user disabled", func(r *rig, k service.UserKey) { must(r.svc.DisableUser(r.t.Context(), r.admin, k.Principal))(r.t) },
			func(r *rig, k service.UserKey) { must(r.svc.EnableUser(r.t.Context(), r.admin, k.Principal))(r.t) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			ctx := t.Context()
			k, secret := r.accessKey(service.NewAccessKey{User: r.user("ada").ID, Expires: start.Add(time.Hour)})
			s := must(r.access(k, secret))(t)
			ended := func() {
				t.Helper()
				for i, err := range []error{second(r.svc.RenewAccess(ctx, s.Refresh, "x")), second(r.svc.AuthenticateAccess(ctx, k.Account, s.ID, "x"))} {
					if holdfast.ErrorCode(err) != holdfast.CodeUnauthenticated {
						t.Errorf("call %d: got %v, want it refused", i, err)
					}
				}
			}
			c.end(r, k)
			ended()
			_, err := r.access(k, secret)
			wantCode(t, err, holdfast.CodeUnauthenticated)
			if c.back == nil {
				return
			}
			c.back(r, k)
			ended() // the key comes back, and no log-in that was opened before
			s = must(r.access(k, secret))(t)
			must(r.svc.RenewAccess(ctx, s.Refresh, "x"))(t)
			must(r.svc.AuthenticateAccess(ctx, k.Account, s.ID, "x"))(t)
		})
	}
}

// refreshes lists the ids of refresh tokens.
func (r *rig) refreshes() (ids []holdfast.CredentialID) {
	r.t.Helper()
	must(0, r.store.View(r.t.Context(), func(rd store.Reader) error {
		all, err := rd.Credentials(r.t.Context(), 0, holdfast.CredentialRefresh)
		ids = nil
		for _, c := range all {
			ids = append(ids, c.ID)
		}
		return err
	}))(r.t)
	return ids
}

func TestRefreshTokensAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	k, secret := r.accessKey(service.NewAccessKey{User: r.user("ada").ID})
	first := must(r.access(k, secret))(t)
	must(0, r.store.Update(t.Context(), func(tx store.Tx) error {
		for i := range 999 {
			c := holdfast.Credential{
				Account: k.Account, Principal: k.Principal, Kind: holdfast.CredentialRefresh, Hash: fmt.Appendf(nil, "%032d", i), Parent: k.ID,
				Created: start, Expires: first.Ends,
			}
			if err := tx.InsertCredential(t.Context(), &c); err != nil {
				return err
			}
		}
		return nil
	}))(t)
	must(r.svc.RenewAccess(t.Context(), first.Refresh, "x"))(t)
	must(r.access(k, secret))(t)
	if n := len(r.refreshes()); n != 1000 {
		t.Errorf("got %d refresh tokens, want 1000", n)
	}
	_, err := r.svc.RenewAccess(t.Context(), first.Refresh, "x")
	wantCode(t, err, holdfast.CodeUnauthenticated)
	r.clock.add(24 * time.Hour)
	must(r.access(k, secret))(t)
	if n := len(r.refreshes()); n != 1 {
		t.Errorf("got %d refresh tokens a day later, want that of the last log-in", n)
	}
	must(0, r.svc.RevokeAccessKey(t.Context(), r.admin, k.ID))(t)
	if ids := r.refreshes(); len(ids) != 0 {
		t.Errorf("got refresh tokens %v of a revoked key", ids)
	}
}

func TestFailuresLockAnAccessKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	k, secret := r.accessKey(service.NewAccessKey{User: r.user("ada").ID, Name: "night"})
	wrong := holdfast.NewSecret("hfsk_" + strings.Repeat("a", 52))
	var cause service.LoginError
	for i := range 5 {
		_, err := r.access(k, wrong)
		if _, cause = loginError(t, err); cause.Locked != (i == 4) {
			t.Fatalf("got %+v after %d failures", cause, i+1)
		}
	}
	if cause.Remaining != 15*time.Minute {
		t.Errorf("got locked for %s", cause.Remaining)
	}
	if _, err := r.access(k, secret); holdfast.ErrorCode(err) != holdfast.CodeUnauthenticated {
		t.Errorf("got %v with the right secret, want it refused", err)
	}
	must(0, r.svc.Close())(t)
	if e := r.lastEvent(); e.Kind != "accesskey.locked" || !bytes.Contains(e.Data, []byte(`"night"`)) {
		t.Errorf("got event %+v", e)
	}
	r.clock.add(15 * time.Minute)
	must(r.access(k, secret))(t)
}

func TestFailuresLockAnAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	k, secret := r.accessKey(service.NewAccessKey{User: r.user("ada").ID})
	try := func(key, address string) error {
		_, err := r.svc.LoginAccessKey(t.Context(), service.AccessLogin{Key: key, Secret: secret, Address: address}, "x")
		return err
	}
	for range 100 { // one script in a loop
		loginError(t, try("HFAKX", "192.0.2.1"))
	}
	r.clock.add(15 * time.Minute)
	must(0, try(string(k.PublicKey), "192.0.2.1"))(t)
	for i := range 50 {
		if _, cause := loginError(t, try(fmt.Sprintf("HFAK%d", i), "192.0.2.1")); cause.Locked {
			t.Fatalf("locked after %d failures", i+1)
		}
	}
	if _, cause := loginError(t, try(string(k.PublicKey), "192.0.2.1")); !cause.Locked {
		t.Error("an address with 50 failures is not locked")
	}
	must(0, try(string(k.PublicKey), "192.0.2.2"))(t)
	must(0, try(string(k.PublicKey), ""))(t)
	r.clock.add(15 * time.Minute)
	must(0, try(string(k.PublicKey), "192.0.2.1"))(t)
}

func TestTenantOfALogin(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	k, secret := r.accessKey(service.NewAccessKey{User: r.user("ada").ID})
	try := func(tenant string) error {
		_, err := r.svc.LoginAccessKey(t.Context(), service.AccessLogin{Key: string(k.PublicKey), Secret: secret, Tenant: tenant}, "x")
		return err
	}
	must(0, try("1234567890"))(t) // while there is one account, any
	r.account(service.NewAccount{Name: "acme"})
	must(r.svc.SetAliases(t.Context(), r.admin, holdfast.FirstID, func([]string) []string { return []string{"1234567890", "t-7"} }))(t)
	for _, tenant := range []string{"", "default", "1001", "1234567890", "T-7"} {
		if err := try(tenant); err != nil {
			t.Errorf("tenant %q: got %v", tenant, err)
		}
	}
	for _, tenant := range []string{"acme", "1002", "nobody"} {
		if text, _ := loginError(t, try(tenant)); !strings.Contains(text, "wrong") {
			t.Errorf("tenant %q: got %q", tenant, text)
		}
		must(0, try("default"))(t) // which forgives
	}
}

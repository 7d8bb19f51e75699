package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

func newPAT(r *rig) int64 {
	k, _ := r.pat(service.NewPAT{User: holdfast.PrincipalID(newUser(r))})
	return int64(k.ID)
}

// pat makes a personal access token.
func (r *rig) pat(in service.NewPAT) (service.UserKey, holdfast.Secret) {
	r.t.Helper()
	k, secret, err := r.svc.CreatePAT(r.t.Context(), r.admin, in)
	must(0, err)(r.t)
	return k, secret
}

// signer gives a user of the default account a new key and a new personal access
// token, and returns how a request names them.
func (r *rig) signer(u service.User, key string, in service.NewPAT) service.KeyName {
	r.t.Helper()
	r.addKey(u, key)
	in.User = u.ID
	_, secret := r.pat(in)
	return service.KeyName{Organisation: "default", User: u.Name, Key: key, PAT: secret}
}

func TestCreatePAT(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	berlin, paris := r.sites[0].ID, r.sites[1].ID
	ada := must(r.svc.CreateUser(ctx, r.admin, service.NewUser{Name: "ada", Role: holdfast.RoleOperator}))(t)
	bob := must(r.svc.CreateUser(ctx, r.admin, service.NewUser{Name: "bob", Role: holdfast.RoleOperator, Sites: []holdfast.SiteID{berlin}}))(t)
	k, secret := r.pat(service.NewPAT{User: ada.ID})
	if k.Role != holdfast.RoleOperator || len(k.Sites) != 0 || !k.Expires.Equal(start.Add(365*24*time.Hour)) || k.Idle != 0 || k.Hash != nil || k.User != "ada" ||
		!strings.HasPrefix(secret.Reveal(), "hfpat_") || len(secret.Reveal()) != 58 {
		t.Errorf("got token %+v", k)
	}
	k, _ = r.pat(service.NewPAT{
		User: ada.ID, Role: holdfast.RoleReader, Sites: []holdfast.SiteID{paris, berlin, paris}, Expires: start.AddDate(9, 0, 0), Idle: 30 * 24 * time.Hour,
	})
	if k.Role != holdfast.RoleReader || !slices.Equal(k.Sites, []holdfast.SiteID{berlin, paris}) || !k.Expires.Equal(start.AddDate(9, 0, 0)) || k.Idle != 720*time.Hour {
		t.Errorf("got token %+v", k)
	}
	if k, _ = r.pat(service.NewPAT{User: bob.ID}); !slices.Equal(k.Sites, []holdfast.SiteID{berlin}) {
		t.Errorf("got sites %v, want the user's", k.Sites)
	}
	for _, bad := range []struct {
		name string
		in   service.NewPAT
		want holdfast.Code
	}{
		{"an unknown user", service.NewPAT{User: unknown}, holdfast.CodeNotFound},
		{"the owner of the socket", service.NewPAT{User: r.admin.Principal.ID}, holdfast.CodeNotFound},
		{"an unknown role", service.NewPAT{User: ada.ID, Role: "owner"}, holdfast.CodeInvalid},
		{"more than the user's role", service.NewPAT{User: ada.ID, Role: holdfast.RoleAdmin}, holdfast.CodeInvalid},
		{"more than the user's sites", service.NewPAT{User: bob.ID, Sites: []holdfast.SiteID{berlin, paris}}, holdfast.CodeInvalid},
		{"an unknown site", service.NewPAT{User: ada.ID, Sites: []holdfast.SiteID{unknown}}, holdfast.CodeNotFound},
		{"an end that is past", service.NewPAT{User: ada.ID, Expires: start}, holdfast.CodeInvalid},
		{"an end in eleven years", service.NewPAT{User: ada.ID, Expires: start.AddDate(11, 0, 0)}, holdfast.CodeInvalid},
		{"an idle time of seconds", service.NewPAT{User: ada.ID, Idle: 59 * time.Second}, holdfast.CodeInvalid},
		{"an idle time below zero", service.NewPAT{User: ada.ID, Idle: -time.Hour}, holdfast.CodeInvalid},
		{"an idle time of eleven years", service.NewPAT{User: ada.ID, Idle: 11 * 365 * 24 * time.Hour}, holdfast.CodeInvalid},
	} {
		if _, _, err := r.svc.CreatePAT(ctx, r.admin, bad.in); holdfast.ErrorCode(err) != bad.want {
			t.Errorf("%s: got %v, want %s", bad.name, err, bad.want)
		}
	}
	if n := len(must(r.svc.PATs(ctx, r.admin))(t)); n != 3 {
		t.Errorf("got %d tokens, want 3", n)
	}
	must(0, r.svc.DeleteSite(ctx, r.admin, berlin))(t)
	if k, _ = r.pat(service.NewPAT{User: bob.ID}); !slices.Equal(k.Sites, []holdfast.SiteID{berlin}) {
		t.Errorf("got sites %v, want the user's, though it is gone", k.Sites)
	}
	for range 98 {
		r.pat(service.NewPAT{User: ada.ID})
	}
	_, _, err := r.svc.CreatePAT(ctx, r.admin, service.NewPAT{User: ada.ID})
	wantCode(t, err, holdfast.CodeConflict)
}

func TestSignedProofs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	ada, eve := r.user("ada"), r.user("eve")
	acme := r.account(service.NewAccount{Name: "acme", Organisation: "default"})
	globex := r.account(service.NewAccount{Name: "globex"})
	name := r.signer(ada, "laptop", service.NewPAT{Role: holdfast.RoleReader})
	eves := r.signer(eve, "laptop", service.NewPAT{})
	revoked := r.signer(ada, "lost", service.NewPAT{})
	for _, k := range must(r.svc.Keys(ctx, r.admin))(t) {
		if k.Name == "lost" {
			must(0, r.svc.RevokeKey(ctx, r.admin, k.ID))(t)
		}
	}
	pat, ended := r.pat(service.NewPAT{User: ada.ID})
	must(0, r.svc.RevokePAT(ctx, r.admin, pat.ID))(t)
	_, session := r.token(service.NewToken{Name: "t", Role: holdfast.RoleAdmin})

	a := must(r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: name}, "api/x"))(t)
	if a.Principal.ID != ada.ID || a.Credential.Role != holdfast.RoleReader || a.String() != "user ada" || a.Dialect != "api/x" || a.Credential.Hash != nil {
		t.Errorf("got actor %+v, want ada as a reader", a)
	}
	if k := must(r.svc.PublicKey(ctx, name))(t); !k.Equal(r.key(ada, "laptop")) {
		t.Error("got another key than ada's")
	}
	change := func(f func(n *service.KeyName)) service.KeyName {
		n := name
		f(&n)
		return n
	}
	byNumber := change(func(n *service.KeyName) { n.Organisation = "1001" })
	must(r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: byNumber}, "x"))(t)

	want := ""
	decoy := must(r.svc.PublicKey(ctx, service.KeyName{}))(t)
	if decoy.N.BitLen() != 2048 || decoy.E != 65537 {
		t.Errorf("got a decoy of %d bits", decoy.N.BitLen())
	}
	for _, c := range []struct {
		name string
		in   service.KeyName
	}{
		{"nothing", service.KeyName{}},
		{"no token", change(func(n *service.KeyName) { n.PAT = holdfast.Secret{} })},
		{"an unknown token", change(func(n *service.KeyName) { n.PAT = holdfast.NewSecret("hfpat_" + strings.Repeat("a", 52)) })},
		{"another kind of token", change(func(n *service.KeyName) { n.PAT = holdfast.NewSecret(session) })},
		{"a revoked token", change(func(n *service.KeyName) { n.PAT = ended })},
		{"another user's token", change(func(n *service.KeyName) { n.PAT = eves.PAT })},
		{"another user", change(func(n *service.KeyName) { n.User = "eve" })},
		{"an unknown user", change(func(n *service.KeyName) { n.User = "nobody" })},
		{"no user", change(func(n *service.KeyName) { n.User = "" })},
		{"an unknown key", change(func(n *service.KeyName) { n.Key = "phone" })},
		{"no key", change(func(n *service.KeyName) { n.Key = "" })},
		{"a revoked key", revoked},
		{"another organisation", change(func(n *service.KeyName) { n.Organisation = "globex" })},
		{"another organisation's number", change(func(n *service.KeyName) { n.Organisation = "1002" })},
		{"an unknown organisation", change(func(n *service.KeyName) { n.Organisation = "nowhere" })},
		{"no organisation", change(func(n *service.KeyName) { n.Organisation = "" })},
		{"an account for the organisation", change(func(n *service.KeyName) { n.Organisation = "acme" })},
	} {
		_, err := r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: c.in}, "x")
		wantCode(t, err, holdfast.CodeUnauthenticated)
		got := holdfast.ErrorMessage(err) + "|" + holdfast.ErrorHint(err)
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", c.name, got, want)
		}
		if k, err := r.svc.PublicKey(ctx, c.in); err != nil || !k.Equal(decoy) {
			t.Errorf("%s: got error %v, and a key that is not the decoy", c.name, err)
		}
	}

	// The token decides which account of the organisation is meant, and with it
	// whose key.
	for _, other := range []struct {
		actor        holdfast.Actor
		organisation string
	}{{acme, "default"}, {globex, "globex"}} {
		u := must(r.svc.CreateUser(ctx, other.actor, service.NewUser{Name: "ada", Role: holdfast.RoleAdmin}))(t)
		key, text := keyPair(t, 2048)
		must(r.svc.AddKey(ctx, other.actor, service.NewKey{User: u.ID, Name: "laptop", PEM: text}))(t)
		_, secret, err := r.svc.CreatePAT(ctx, other.actor, service.NewPAT{User: u.ID})
		must(0, err)(t)
		theirs := service.KeyName{Organisation: other.organisation, User: "ada", Key: "laptop", PAT: secret}
		if got := must(r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: theirs}, "x"))(t); got.Principal.Account != other.actor.Principal.Account {
			t.Errorf("got account %d, want %d", got.Principal.Account, other.actor.Principal.Account)
		}
		if k := must(r.svc.PublicKey(ctx, theirs))(t); !k.Equal(key) {
			t.Error("got another account's key")
		}
		if k := must(r.svc.PublicKey(ctx, name))(t); !k.Equal(r.key(ada, "laptop")) {
			t.Error("the default account's key is another now")
		}
	}
	if got := must(r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: name}, "x"))(t); got.Principal.ID != ada.ID {
		t.Errorf("got principal %d, want ada of the default account", got.Principal.ID)
	}
}

func TestAPATEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i, c := range []struct {
		name      string
		life      time.Duration
		idle      time.Duration
		use, wait time.Duration // after its making; after that
		valid     bool
	}{
		{"before its end", time.Hour, 0, 0, time.Hour - time.Second, true},
		{"at its end", time.Hour, 0, 30 * time.Minute, 30 * time.Minute, false},
		{"without an end, within the year", 0, 0, 0, 365*24*time.Hour - time.Second, true},
		{"without an end, after the year", 0, 0, 0, 365 * 24 * time.Hour, false},
		{"never used, within its idle time", 0, time.Hour, 0, time.Hour - time.Second, true},
		{"never used, after its idle time", 0, time.Hour, 0, time.Hour, false},
		{"used, within its idle time", 0, time.Hour, 59*time.Minute + 59*time.Second, time.Hour - time.Second, true},
		{"used, a minute after its idle time", 0, time.Hour, 59 * time.Minute, time.Hour + time.Minute, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := service.NewPAT{Idle: c.idle}
			if c.life > 0 {
				in.Expires = r.clock.Now().Add(c.life)
			}
			name := r.signer(r.user(fmt.Sprint("user", i)), "laptop", in)
			if c.use > 0 {
				r.clock.add(c.use)
				must(r.svc.AuthenticatePAT(t.Context(), service.PATProof{KeyName: name}, "x"))(t)
			}
			r.restart()
			r.clock.add(c.wait)
			_, err := r.svc.AuthenticatePAT(t.Context(), service.PATProof{KeyName: name}, "x")
			if c.valid {
				must(0, err)(t)
				return
			}
			wantCode(t, err, holdfast.CodeUnauthenticated)
		})
	}
}

func TestAProofForOneUseIsUsedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	ada := r.user("ada")
	name := r.signer(ada, "laptop", service.NewPAT{})
	eves := r.signer(r.user("eve"), "laptop", service.NewPAT{})
	proof := service.PATProof{KeyName: name, Once: []byte("jti 1"), Until: start.Add(time.Hour)}

	// A proof that does not hold is not used up.
	wrong := proof
	wrong.Organisation = "nowhere"
	_, err := r.svc.AuthenticatePAT(ctx, wrong, "x")
	wantCode(t, err, holdfast.CodeUnauthenticated)

	must(r.svc.AuthenticatePAT(ctx, proof, "x"))(t)
	replayed := func(p service.PATProof) {
		t.Helper()
		_, err := r.svc.AuthenticatePAT(ctx, p, "x")
		wantCode(t, err, holdfast.CodeUnauthenticated)
		if want := "the signed token was used before"; holdfast.ErrorMessage(err) != want {
			t.Errorf("got %q, want %q", holdfast.ErrorMessage(err), want)
		}
	}
	replayed(proof)
	r.restart()
	replayed(proof)
	r.clock.add(time.Hour)
	replayed(proof)

	// What another calls unique is another's, and a proof without it may be used
	// often.
	must(r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: eves, Once: []byte("jti 1"), Until: start.Add(2 * time.Hour)}, "x"))(t)
	must(r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: name, Once: []byte("jti 2"), Until: start.Add(2 * time.Hour)}, "x"))(t)
	for range 3 {
		must(r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: name}, "x"))(t)
	}
}

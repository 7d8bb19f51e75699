package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// account makes an account and returns its admin at the server's socket.
func (r *rig) account(in service.NewAccount) holdfast.Actor {
	r.t.Helper()
	must(r.svc.CreateAccount(r.t.Context(), r.admin, in))(r.t)
	return must(r.svc.LocalActor(r.t.Context(), "api/native", in.Name))(r.t)
}

// tokenOf returns an admin of the actor's account who came with a token.
func (r *rig) tokenOf(a holdfast.Actor) holdfast.Actor {
	r.t.Helper()
	_, secret, err := r.svc.CreateToken(r.t.Context(), a, service.NewToken{Name: newName(), Role: holdfast.RoleAdmin})
	if err != nil {
		r.t.Fatal(err)
	}
	return must(r.svc.Authenticate(r.t.Context(), secret.Reveal(), "api/native"))(r.t)
}

func TestCreateAccount(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	first := must(r.svc.CreateAccount(ctx, r.admin, service.NewAccount{Name: "acme", Organisation: "north", Aliases: []string{"9eydr2-yrt", "974c1971-6a08"}}))(t)
	second := must(r.svc.CreateAccount(ctx, r.admin, service.NewAccount{Name: "globex", Organisation: "north"}))(t)
	third := must(r.svc.CreateAccount(ctx, r.admin, service.NewAccount{Name: "initech"}))(t)
	if first.ID != 1002 || first.Organisation.Name != "north" || first.Organisation.ID != 1002 || !first.Created.Equal(start) {
		t.Errorf("got account %+v", first)
	}
	if second.Organisation.ID != first.Organisation.ID || third.Organisation.Name != "initech" {
		t.Errorf("got organisations %+v and %+v, want the same and one of its own name", second.Organisation, third.Organisation)
	}
	if e := r.lastEvent(); e.Kind != "account.created" || e.Subject != "account 1004" || e.Account != holdfast.FirstID {
		t.Errorf("got event %+v", e)
	}
	many := make([]string, 33)
	for i := range many {
		many[i] = fmt.Sprint("alias", i)
	}
	for _, bad := range []struct {
		name string
		in   service.NewAccount
		want holdfast.Code
	}{
		{"no name", service.NewAccount{}, holdfast.CodeInvalid},
		{"a name with a slash", service.NewAccount{Name: "a/b"}, holdfast.CodeInvalid},
		{"an organisation with a blank", service.NewAccount{Name: "a", Organisation: "a b"}, holdfast.CodeInvalid},
		{"the default account's name", service.NewAccount{Name: "default"}, holdfast.CodeConflict},
		{"another's name, in another organisation", service.NewAccount{Name: "acme", Organisation: "south"}, holdfast.CodeConflict},
		{"another's alias", service.NewAccount{Name: "9eydr2-yrt"}, holdfast.CodeConflict},
		{"an alias that is another's name", service.NewAccount{Name: "a", Aliases: []string{"globex"}}, holdfast.CodeConflict},
		{"an alias that is another's", service.NewAccount{Name: "a", Aliases: []string{"974c1971-6a08"}}, holdfast.CodeConflict},
		{"an alias that is its own name", service.NewAccount{Name: "a", Aliases: []string{"a"}}, holdfast.CodeConflict},
		{"an alias twice", service.NewAccount{Name: "a", Aliases: []string{"b", "b"}}, holdfast.CodeConflict},
		{"an empty alias", service.NewAccount{Name: "a", Aliases: []string{""}}, holdfast.CodeInvalid},
		{"an alias with a slash", service.NewAccount{Name: "a", Aliases: []string{"b/c"}}, holdfast.CodeInvalid},
		{"an alias with a new line", service.NewAccount{Name: "a", Aliases: []string{"b\nc"}}, holdfast.CodeInvalid},
		{"an alias that ends with a blank", service.NewAccount{Name: "a", Aliases: []string{"b "}}, holdfast.CodeInvalid},
		{"an alias that is no UTF-8", service.NewAccount{Name: "a", Aliases: []string{"b\xff"}}, holdfast.CodeInvalid},
		{"an alias of 65 characters", service.NewAccount{Name: "a", Aliases: []string{strings.Repeat("ü", 65)}}, holdfast.CodeInvalid},
		{"33 aliases", service.NewAccount{Name: "a", Aliases: many}, holdfast.CodeInvalid},
	} {
		_, err := r.svc.CreateAccount(ctx, r.admin, bad.in)
		if holdfast.ErrorCode(err) != bad.want || holdfast.ErrorHint(err) == "" {
			t.Errorf("%s: got %v (hint %q), want %s with a hint", bad.name, err, holdfast.ErrorHint(err), bad.want)
		}
	}
	if n := len(must(r.svc.Accounts(ctx, r.admin))(t)); n != 4 {
		t.Errorf("got %d accounts after the refusals, want 4", n)
	}
	must(r.svc.CreateAccount(ctx, r.admin, service.NewAccount{Name: "wide", Aliases: []string{strings.Repeat("ü", 64), "a b"}}))(t)
}

func TestSetAliases(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	acme := r.account(service.NewAccount{Name: "acme", Aliases: []string{"old"}})
	id := acme.Principal.Account
	v := must(r.svc.SetAliases(ctx, r.admin, id, func(list []string) []string { return append(list, "new") }))(t)
	if !slices.Equal(v.Aliases, []string{"old", "new"}) {
		t.Errorf("got aliases %v", v.Aliases)
	}
	for _, name := range []string{"acme", "old", "new"} {
		if a := must(r.svc.LocalActor(ctx, "x", name))(t); a.Principal.Account != id {
			t.Errorf("%s: got account %d, want %d", name, a.Principal.Account, id)
		}
	}
	must(r.svc.SetAliases(ctx, r.admin, id, func([]string) []string { return []string{"new"} }))(t)
	_, err := r.svc.LocalActor(ctx, "x", "old")
	wantCode(t, err, holdfast.CodeNotFound)
	must(r.svc.SetAliases(ctx, r.admin, holdfast.FirstID, func([]string) []string { return []string{"old"} }))(t)
	_, err = r.svc.SetAliases(ctx, r.admin, id, func([]string) []string { return []string{"old"} })
	wantCode(t, err, holdfast.CodeConflict)
	_, err = r.svc.SetAliases(ctx, r.admin, unknown, func([]string) []string { return nil })
	wantCode(t, err, holdfast.CodeNotFound)
}

func TestOnlyTheSocketsOwnerSeesAllAccounts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	acme := r.account(service.NewAccount{Name: "acme"})
	for _, c := range []struct {
		who   string
		actor holdfast.Actor
		sees  []string
	}{
		{"the owner", r.admin, []string{"default", "acme"}},
		{"a token of the default account", r.tokenOf(r.admin), []string{"default"}},
		{"the owner as acme", acme, []string{"acme"}},
		{"a token of acme", r.tokenOf(acme), []string{"acme"}},
	} {
		var names []string
		for _, v := range must(r.svc.Accounts(ctx, c.actor))(t) {
			names = append(names, v.Name)
		}
		if !slices.Equal(names, c.sees) {
			t.Errorf("%s: got accounts %v, want %v", c.who, names, c.sees)
		}
		if v := must(r.svc.Account(ctx, c.actor))(t); v.ID != c.actor.Principal.Account || v.Organisation.Name != v.Name {
			t.Errorf("%s: got its account as %+v", c.who, v)
		}
		_, err := r.svc.CreateAccount(ctx, c.actor, service.NewAccount{Name: newName()})
		_, err2 := r.svc.SetAliases(ctx, c.actor, holdfast.FirstID, func([]string) []string { return nil })
		if len(c.sees) == 2 {
			must(0, err)(t)
			must(0, err2)(t)
			continue
		}
		wantCode(t, err, holdfast.CodeForbidden)
		wantCode(t, err2, holdfast.CodeForbidden)
	}
	bound := r.actor(holdfast.RoleReader, r.sites[0].ID)
	if v := must(r.svc.Account(ctx, bound))(t); v.Name != "default" {
		t.Errorf("got account %q for a credential that is bound to a site", v.Name)
	}
}

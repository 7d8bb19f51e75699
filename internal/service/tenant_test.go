package service_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// TestTwoAccountsShareNothing gives two accounts things of the same names. What
// one may not see of the other by its ids is in TestWhatIsNotSeenIsAnUnknownID.
func TestTwoAccountsShareNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.backup(r.job(0, "full"), holdfast.CopyComplete)
	r.user("ada")
	r.token(service.NewToken{Name: "nightly", Role: holdfast.RoleAdmin})
	acme := r.account(service.NewAccount{Name: "acme"})

	empty := func(when string, want [10]int) {
		t.Helper()
		jobs, n1, err := r.svc.Jobs(ctx, acme, store.JobFilter{})
		must(0, err)(t)
		executions, n2, err := r.svc.Executions(ctx, acme, store.ExecutionFilter{})
		must(0, err)(t)
		sets, n3, err := r.svc.Sets(ctx, acme, store.SetFilter{})
		must(0, err)(t)
		got := [10]int{
			len(must(r.svc.Hosts(ctx, acme))(t)), len(must(r.svc.Sites(ctx, acme))(t)), len(must(r.svc.Repositories(ctx, acme))(t)),
			len(jobs) + n1, len(executions) + n2, len(sets) + n3, len(must(r.svc.Workers(ctx, acme))(t)), len(must(r.svc.Users(ctx, acme))(t)),
			len(must(r.svc.Tokens(ctx, acme))(t)), len(must(r.svc.Events(ctx, acme, 0, 0))(t)),
		}
		if got != want {
			t.Errorf("%s: got %v hosts, sites, repositories, jobs, executions, sets, workers, users, tokens, events; want %v", when, got, want)
		}
	}
	empty("at first", [10]int{})

	// All the names again.
	h := must(r.svc.CreateHost(ctx, acme, service.NewHost{Name: r.hosts[0].Name}))(t)
	repo, _, err := r.svc.CreateRepository(ctx, acme, service.NewRepository{Name: r.repo.Name, Location: "file:///acme"})
	must(0, err)(t)
	site := must(r.svc.CreateSite(ctx, acme, service.NewSite{Site: holdfast.Site{
		Host: h.ID, Slug: "berlin", DataDir: "/pg/acme", Repository: repo.ID, Pool: "fast", Server: holdfast.Server{Host: "/run/postgresql", User: "backup"},
	}}))(t)
	j := must(r.svc.CreateJob(ctx, acme, holdfast.Job{Site: site.ID, Name: "full"}))(t)
	must(r.svc.Execute(ctx, acme, service.Run{Job: j.ID}))(t)
	must(r.svc.CreateUser(ctx, acme, service.NewUser{Name: "ada", Role: holdfast.RoleReader}))(t)
	_, _, err = r.svc.CreateToken(ctx, acme, service.NewToken{Name: "nightly", Role: holdfast.RoleReader})
	must(0, err)(t)
	empty("with things of its own", [10]int{1, 1, 1, 2, 2, 0, 1, 1, 1, 7})

	// The other way round.
	if sites, _, _ := r.svc.Jobs(ctx, r.admin, store.JobFilter{}); len(sites) != 1 {
		t.Errorf("the default account sees %d jobs, want its own", len(sites))
	}
	for _, e := range r.events(0) {
		if bytes.Contains(e.Data, []byte("/pg/acme")) || bytes.Contains(e.Data, []byte("file:///acme")) {
			t.Errorf("the default account's event %s tells of acme: %s", e.Kind, e.Data)
		}
	}
}

// This is for what TestWhatIsNotSeenIsAnUnknownID leaves out.
func TestAnotherAccountsUsersKeysAndTokensAreUnknownIDs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	acme := r.tokenOf(r.account(service.NewAccount{Name: "acme"}))
	n := 0
	for name, op := range operations() {
		if op.kind != whole {
			continue
		}
		id := op.prepare(r)
		if id == 0 {
			continue
		}
		n++
		err, unknownErr := op.call(t.Context(), r, acme, id), op.call(t.Context(), r, acme, unknown)
		wantCode(t, unknownErr, holdfast.CodeNotFound)
		words := func(err error) string {
			return varying.ReplaceAllString(holdfast.ErrorMessage(err)+"|"+holdfast.ErrorHint(err), "N")
		}
		if holdfast.ErrorCode(err) != holdfast.CodeNotFound || words(err) != words(unknownErr) {
			t.Errorf("%s: got %v, want the words of an unknown id, %v", name, err, unknownErr)
		}
	}
	if n < 9 {
		t.Errorf("got %d use cases with an id, want 9 at least", n)
	}
}

func TestWorkersOfTwoAccounts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	acme := r.account(service.NewAccount{Name: "acme"})
	far := must(r.svc.CreateHost(ctx, r.admin, service.NewHost{Name: "far", Remote: true}))(t)
	acmeFar := must(r.svc.CreateHost(ctx, acme, service.NewHost{Name: "far", Remote: true}))(t)
	site := r.sites[0]
	site.Pool = "fast"
	must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: site}))(t)

	see := func(a holdfast.Actor) (list []string) {
		for _, w := range must(r.svc.Workers(ctx, a))(t) {
			list = append(list, fmt.Sprint(w.Name, w.Hosts, w.Pools))
		}
		return list
	}
	want := func(who string, a holdfast.Actor, want ...string) {
		t.Helper()
		if got := see(a); !slices.Equal(got, want) {
			t.Errorf("%s sees workers %v, want %v", who, got, want)
		}
	}
	want("the default account", r.admin, "local[1001 1002] [default fast]")
	want("acme, which has nothing here", acme)
	here := must(r.svc.CreateHost(ctx, acme, service.NewHost{Name: "here"}))(t)
	want("acme, whose host is here", acme, fmt.Sprintf("local[%d] [default]", here.ID))
	want("the default account", r.admin, "local[1001 1002] [default fast]")

	// A worker of one name in each account, as a join makes it.
	for _, c := range []struct {
		actor holdfast.Actor
		host  holdfast.HostID
	}{{r.admin, far.ID}, {acme, acmeFar.ID}} {
		must(r.svc.InviteWorker(ctx, c.actor, service.Invite{Name: "w", Hosts: []holdfast.HostID{c.host}}))(t)
		r.update(func(tx store.Tx) error {
			return tx.InsertWorker(ctx, &holdfast.Worker{
				Account: c.actor.Principal.Account, Name: "w", Key: newName(), Hosts: []holdfast.HostID{c.host}, Pools: []string{"west"}, Created: start,
			})
		})
		_, err := r.svc.InviteWorker(ctx, c.actor, service.Invite{Name: "w", Hosts: []holdfast.HostID{c.host}})
		wantCode(t, err, holdfast.CodeConflict)
	}
	want("acme", acme, fmt.Sprintf("local[%d] [default]", here.ID), fmt.Sprintf("w[%d] [west]", acmeFar.ID))
	_, err := r.svc.InviteWorker(ctx, acme, service.Invite{Name: "x", Hosts: []holdfast.HostID{far.ID}})
	wantCode(t, err, holdfast.CodeNotFound)

	mine := must(r.svc.Workers(ctx, r.admin))(t)[1]
	wantCode(t, r.svc.RemoveWorker(ctx, acme, mine.ID), holdfast.CodeNotFound)
	wantCode(t, r.svc.RemoveWorker(ctx, acme, r.worker.ID), holdfast.CodeConflict)
	must(0, r.svc.RemoveWorker(ctx, r.admin, mine.ID))(t)
	want("acme", acme, fmt.Sprintf("local[%d] [default]", here.ID), fmt.Sprintf("w[%d] [west]", acmeFar.ID))
}

func TestTheServersMachineIsItsOwners(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	acme := r.account(service.NewAccount{Name: "acme"})
	tenant := r.tokenOf(acme)
	repository := func(a holdfast.Actor, location string) error {
		_, _, err := r.svc.CreateRepository(ctx, a, service.NewRepository{Name: newName(), Location: location})
		return err
	}
	_, err := r.svc.CreateHost(ctx, tenant, service.NewHost{Name: "here"})
	wantCode(t, err, holdfast.CodeForbidden)
	must(r.svc.CreateHost(ctx, tenant, service.NewHost{Name: "far", Remote: true}))(t)
	must(r.svc.CreateHost(ctx, acme, service.NewHost{Name: "here"}))(t)
	must(r.svc.CreateHost(ctx, r.tokenOf(r.admin), service.NewHost{Name: "here"}))(t)

	wantCode(t, repository(tenant, "file:///acme"), holdfast.CodeForbidden)
	must(0, repository(acme, "file:///acme"))(t)
	made := len(r.out.locations)
	for _, location := range []string{"file:///backup/main", "file:///backup/main/data", "file:///backup"} {
		err := repository(acme, location)
		wantCode(t, err, holdfast.CodeConflict)
		if want := "no repository can stand at " + location; holdfast.ErrorMessage(err) != want {
			t.Errorf("got %q, want %q, which names nothing of the other account", holdfast.ErrorMessage(err), want)
		}
	}
	wantCode(t, repository(r.admin, "file:///acme/a"), holdfast.CodeConflict)
	if n := len(r.out.locations); n != made {
		t.Errorf("%d repositories were made that were refused", n-made)
	}
	must(0, repository(r.tokenOf(r.admin), "file:///backup/second"))(t)
}

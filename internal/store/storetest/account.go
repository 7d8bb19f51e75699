package storetest

import (
	"context"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func testAccounts(t *testing.T, f *fixture) {
	acme := holdfast.Organisation{Name: "acme", Created: at(1)}
	first := holdfast.Account{Name: "one", Created: at(2)}
	second := holdfast.Account{Name: "two", Aliases: []string{"tenant-2", "zwei"}, Created: at(3)}
	// A name is an organisation's own.
	namesake := holdfast.Account{Organisation: holdfast.FirstID, Name: "one"}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(
			func() error { return tx.InsertOrganisation(ctx, &acme) },
			func() error { first.Organisation = acme.ID; return tx.InsertAccount(ctx, &first) },
			func() error { second.Organisation = acme.ID; return tx.InsertAccount(ctx, &second) },
			func() error { return tx.InsertAccount(ctx, &namesake) },
		)
	})
	if acme.ID != holdfast.FirstID+1 || first.ID != holdfast.FirstID+1 || second.ID != holdfast.FirstID+2 {
		t.Errorf("got organisation %d with accounts %d and %d, want the ids after the first", acme.ID, first.ID, second.ID)
	}
	second.Aliases = []string{"zwei"}
	first.Aliases = []string{"eins"}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(func() error { return tx.UpdateAccount(ctx, first) }, func() error { return tx.UpdateAccount(ctx, second) })
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		accounts, err := r.Accounts(ctx)
		if err != nil {
			return err
		}
		wantEqual(t, "accounts after the first", accounts[1:], []holdfast.Account{first, second, namesake})
		organisations, err := r.Organisations(ctx)
		if err != nil {
			return err
		}
		if len(organisations) != 2 || organisations[0].ID != holdfast.FirstID || organisations[0].Name != "default" || organisations[0].Created.IsZero() {
			t.Errorf("got organisations %+v, want the default one first", organisations)
		}
		wantEqual(t, "organisations after the first", organisations[1:], []holdfast.Organisation{acme})
		return nil
	})

	// What one account has is not seen from another.
	host := holdfast.Host{Account: second.ID, Name: f.host.Name}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertHost(ctx, &host) })
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "host by a name that two accounts have", host)(r.HostByName(ctx, second.ID, f.host.Name))
		same(t, "hosts of the first account", []holdfast.Host{f.host})(r.Hosts(ctx, f.account))
		return nil
	})
}

func testPrincipals(t *testing.T, f *fixture) {
	ada := holdfast.Principal{Account: f.account, Kind: holdfast.PrincipalPerson, Name: "ada", Created: at(1)}
	script := holdfast.Principal{Account: f.account, Kind: holdfast.PrincipalService, Name: "script", Created: at(2)}
	tenant := holdfast.Account{Organisation: holdfast.FirstID, Name: "tenant"}
	namesake := holdfast.Principal{Kind: holdfast.PrincipalPerson, Name: "ada"}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(
			func() error { return tx.InsertAccount(ctx, &tenant) },
			func() error { return tx.InsertPrincipal(ctx, &ada) },
			func() error { namesake.Account = tenant.ID; return tx.InsertPrincipal(ctx, &namesake) },
			func() error { return tx.InsertPrincipal(ctx, &script) },
		)
	})
	ada.Disabled, script.Name = true, "cron"
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(func() error { return tx.UpdatePrincipal(ctx, ada) }, func() error { return tx.UpdatePrincipal(ctx, script) })
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "principals of the account", []holdfast.Principal{ada, script})(r.Principals(ctx, f.account))
		same(t, "principals of the other account", []holdfast.Principal{namesake})(r.Principals(ctx, tenant.ID))
		same(t, "a name that two accounts have", namesake)(r.PrincipalByName(ctx, tenant.ID, "ada"))
		code[holdfast.Principal](t, "a name that was given up", holdfast.CodeNotFound)(r.PrincipalByName(ctx, f.account, "script"))
		return nil
	})
}

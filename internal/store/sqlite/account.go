package sqlite

import (
	"context"

	"github.com/holdfast-backup/holdfast"
)

const accountColumns = "id, organisation, name, aliases, created"

func accountFields(a *holdfast.Account) []any {
	return []any{idOf(&a.ID), &a.Organisation, &a.Name, listOf(&a.Aliases), micros{&a.Created}}
}

func organisationFields(o *holdfast.Organisation) []any {
	return []any{idOf(&o.ID), &o.Name, micros{&o.Created}}
}

// Accounts lists every account, by id.
func (r reader) Accounts(ctx context.Context) ([]holdfast.Account, error) {
	return many(ctx, r.s, accountFields, "SELECT "+accountColumns+" FROM accounts ORDER BY id")
}

// Account returns one account.
func (r reader) Account(ctx context.Context, id holdfast.AccountID) (holdfast.Account, error) {
	return one(ctx, r.s, named("account", id), accountFields, "SELECT "+accountColumns+" FROM accounts WHERE id = ?", id)
}

// Organisations lists every organisation, by id.
func (r reader) Organisations(ctx context.Context) ([]holdfast.Organisation, error) {
	return many(ctx, r.s, organisationFields, "SELECT id, name, created FROM organisations ORDER BY id")
}

// InsertOrganisation makes an organisation.
func (t tx) InsertOrganisation(ctx context.Context, o *holdfast.Organisation) error {
	n, err := t.s.insert(ctx, "INSERT INTO organisations (id, name, created) VALUES (?,?,?)", organisationFields(o)...)
	if err != nil {
		return taken(err, "organisation %q", o.Name)
	}
	o.ID = holdfast.OrganisationID(n)
	return nil
}

// InsertAccount makes an account.
func (t tx) InsertAccount(ctx context.Context, a *holdfast.Account) error {
	n, err := t.s.insert(ctx, "INSERT INTO accounts ("+accountColumns+") VALUES (?,?,?,?,?)", accountFields(a)...)
	if err != nil {
		return taken(err, "account %q", a.Name)
	}
	a.ID = holdfast.AccountID(n)
	return nil
}

// UpdateAccount writes name and aliases.
func (t tx) UpdateAccount(ctx context.Context, a holdfast.Account) error {
	n, err := t.s.exec(ctx, "UPDATE accounts SET (name, aliases) = (?,?) WHERE id = ?", a.Name, listOf(&a.Aliases), a.ID)
	return changed(n, taken(err, "account %q", a.Name), "account %d", a.ID)
}

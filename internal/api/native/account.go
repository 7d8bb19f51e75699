package native

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// Account is a tenant: nothing of one is seen by another.
type Account struct {
	ID             holdfast.AccountID      `json:"id"`
	Name           string                  `json:"name"`
	OrganisationID holdfast.OrganisationID `json:"organisation_id"`
	Organisation   string                  `json:"organisation"`
	Aliases        []string                `json:"aliases" doc:"Other names that it is known by"`
	Created        time.Time               `json:"created"`
}

// NewAccount asks for an account.
type NewAccount struct {
	Name         string   `json:"name" maxLength:"63"`
	Organisation string   `json:"organisation,omitempty" maxLength:"63" doc:"Made when there is none of this name; left out: one with the account's name"`
	Aliases      []string `json:"aliases,omitempty" maxItems:"32"`
}

// AliasChange adds and removes aliases of an account.
type AliasChange struct {
	Add    []string `json:"add,omitempty" maxItems:"32"`
	Remove []string `json:"remove,omitempty" maxItems:"32"`
}

func accountOf(v service.AccountView) Account {
	return Account{
		ID: v.ID, Name: v.Name, OrganisationID: v.Organisation.ID, Organisation: v.Organisation.Name,
		Aliases: append([]string{}, v.Aliases...), Created: utc(v.Created),
	}
}

// AccountPath names an account in a path.
type AccountPath struct {
	Account string `path:"account" doc:"Id or name"`
}

func (a *api) registerAccounts() {
	register(a, operation{
		id: "list-accounts", method: http.MethodGet, path: "/accounts", tag: "accounts",
		summary: "List accounts: the caller's, or all for the owner of the server's socket",
	}, func(ctx context.Context, actor holdfast.Actor, _ *none) (*listOutput[Account], error) {
		all, err := a.Service.Accounts(ctx, actor)
		if err != nil {
			return nil, err
		}
		return listOf(all, -1, accountOf), nil
	})
	register(a, operation{
		id: "create-account", method: http.MethodPost, path: "/accounts", tag: "accounts", status: http.StatusCreated,
		summary: "Create an account; for the owner of the server's socket",
	}, func(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewAccount }) (*created[Account], error) {
		v, err := a.Service.CreateAccount(ctx, actor, service.NewAccount{
			Name: in.Body.Name, Organisation: in.Body.Organisation, Aliases: in.Body.Aliases,
		})
		if err != nil {
			return nil, err
		}
		return &created[Account]{Location: fmt.Sprintf("%s/accounts/%d", Root, v.ID), Body: accountOf(v)}, nil
	})
	register(a, operation{
		id: "change-aliases", method: http.MethodPatch, path: "/accounts/{account}/aliases", tag: "accounts",
		summary: "Add and remove aliases of an account; for the owner of the server's socket",
	}, a.changeAliases)
}

func (a *api) changeAliases(ctx context.Context, actor holdfast.Actor, in *struct {
	AccountPath
	Body AliasChange
},
) (*output[Account], error) {
	all, err := a.Service.Accounts(ctx, actor)
	if err != nil {
		return nil, err
	}
	found, err := find("account", in.Account, all, func(v service.AccountView) (int64, string) { return int64(v.ID), v.Name })
	if err != nil {
		return nil, err
	}
	v, err := a.Service.SetAliases(ctx, actor, found.ID, func(aliases []string) []string {
		aliases = slices.DeleteFunc(aliases, func(s string) bool { return slices.Contains(in.Body.Remove, s) })
		return append(aliases, in.Body.Add...)
	})
	if err != nil {
		return nil, err
	}
	return &output[Account]{Body: accountOf(v)}, nil
}

package main

import (
	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/api/native"
)

func (a *app) accountCommand() *cobra.Command {
	var in native.NewAccount
	create := &cobra.Command{
		Use: "create NAME", Short: "Create an account", Args: args(1),
		Long: "An account is a tenant: nothing of one is seen by another. Only the owner of the server's socket creates accounts;\n" +
			"what belongs to one is made there with --account, or by its administrators.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			in.Name = args[0]
			made, err := c.CreateAccount(cmd.Context(), in)
			if err != nil {
				return err
			}
			return a.printAccounts(made, made)
		},
	}
	create.Flags().StringVar(&in.Organisation, "organisation", "", "`name` of its organisation, which is made when there is none (default: the account's)")
	create.Flags().StringArrayVar(&in.Aliases, "alias", nil, "`name` that it is known by, too (repeatable)")
	list := &cobra.Command{
		Use: "list", Short: "List accounts", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := c.Accounts(cmd.Context())
			if err != nil {
				return err
			}
			return a.printAccounts(all, all...)
		},
	}
	alias := group("alias", "Other names of an account",
		a.aliasCommand("add", "Let an account be known by another name", func(s string) native.AliasChange { return native.AliasChange{Add: []string{s}} }),
		a.aliasCommand("remove", "Take another name from an account", func(s string) native.AliasChange { return native.AliasChange{Remove: []string{s}} }))
	return group("account", "Tenants", create, list, alias)
}

func (a *app) aliasCommand(verb, short string, change func(alias string) native.AliasChange) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ACCOUNT ALIAS", Short: short, Args: args(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			v, err := c.ChangeAliases(cmd.Context(), args[0], change(args[1]))
			if err != nil {
				return err
			}
			return a.printAccounts(v, v)
		},
	}
}

func (a *app) printAccounts(v any, accounts ...native.Account) error {
	return a.print(v, "ID NAME ORGANISATION ALIASES CREATED", func(row func(...any)) {
		for _, v := range accounts {
			row(v.ID, v.Name, v.Organisation, v.Aliases, v.Created)
		}
	})
}

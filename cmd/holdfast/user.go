package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
)

func (a *app) userCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List users", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			users, err := c.Users(cmd.Context())
			if err != nil {
				return err
			}
			return a.printUsers(users, users...)
		},
	}
	return group("user", "People who log in, or sign with keys", a.userCreateCommand(), list, a.userPasswordCommand(),
		a.userChangeCommand("disable", "Refuse a user from now on: sessions end, keys and tokens rest", (*client.Client).DisableUser),
		a.userChangeCommand("enable", "Let a disabled or locked user in again", (*client.Client).EnableUser))
}

func (a *app) userCreateCommand() *cobra.Command {
	var in native.NewUser
	var role holdfast.Role
	var password passwordFlags
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a user", Args: args(1),
		Long: "Without a password a user cannot log in, but may have keys and personal access tokens.",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.Password, err = a.password(password); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			in.Name, in.Role = args[0], role
			u, err := c.CreateUser(cmd.Context(), in)
			if err != nil {
				return err
			}
			return a.printUsers(u, u)
		},
	}
	create.Flags().Var(roleFlag{&role}, "role", "`role`: reader, operator or admin")
	create.Flags().StringArrayVar(&in.Sites, "site", nil, "`site` that the user sees (repeatable; default: every site)")
	password.add(create)
	require(create, "role")
	return create
}

func (a *app) userPasswordCommand() *cobra.Command {
	var password passwordFlags
	var none bool
	passwd := &cobra.Command{
		Use: "passwd USER", Short: "Set a user's password, which ends sessions and a lock", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, err := a.password(password)
			if err != nil {
				return err
			}
			if secret.IsZero() != none {
				return holdfast.Errorf(holdfast.CodeInvalid, "a password comes from --password-file or --password-stdin").
					WithHint("or give --none alone, and the user cannot log in any more")
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.SetPassword(cmd.Context(), args[0], secret)
		},
	}
	passwd.Flags().BoolVar(&none, "none", false, "take the password away")
	password.add(passwd)
	return passwd
}

func (a *app) userChangeCommand(
	verb, short string, do func(c *client.Client, ctx context.Context, ref string) (native.User, error),
) *cobra.Command {
	return &cobra.Command{
		Use: verb + " USER", Short: short, Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			u, err := do(c, cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printUsers(u, u)
		},
	}
}

func (a *app) printUsers(v any, users ...native.User) error {
	return a.print(v, "ID NAME ROLE SITES PASSWORD LAST-LOGIN DISABLED", func(row func(...any)) {
		for _, u := range users {
			row(u.ID, u.Name, u.Role, everySite(u.Sites, u.SiteIDs), u.HasPassword, u.LastLogin, u.Disabled)
		}
	})
}

// everySite says so when no site is named.
func everySite(slugs []string, ids []holdfast.SiteID) []string {
	if len(ids) == 0 {
		return []string{"every"}
	}
	return slugs
}

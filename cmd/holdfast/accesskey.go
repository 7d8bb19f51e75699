package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

func (a *app) accessKeyCommand() *cobra.Command {
	var user string
	list := &cobra.Command{
		Use: "list", Short: "List access keys", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			keys, err := c.AccessKeys(cmd.Context(), user)
			if err != nil {
				return err
			}
			return a.print(keys, "ID USER NAME ACCESS-KEY ROLE SITES EXPIRES LAST-USED REVOKED", func(row func(...any)) {
				for _, k := range keys {
					row(k.ID, k.User, k.Name, k.AccessKey, k.Role, everySite(k.Sites, k.SiteIDs), k.Expires, k.LastUsed, k.Revoked)
				}
			})
		},
	}
	list.Flags().StringVar(&user, "user", "", "`user` whose access keys are listed (default: every user)")
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "End an access key at once, and every log-in that it opened", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number[holdfast.CredentialID]("access key", args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.RevokeAccessKey(cmd.Context(), id)
		},
	}
	return group("accesskey", "Access keys, with which scripts log in to the BMC API", a.accessKeyCreateCommand(), list, revoke)
}

func (a *app) accessKeyCreateCommand() *cobra.Command {
	var in native.NewAccessKey
	var role holdfast.Role
	var expires span
	create := &cobra.Command{
		Use: "create USER NAME", Short: "Create an access key and print both its halves, the secret one this once", Args: args(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.User, in.Name, in.Role = args[0], args[1], role
			if expires > 0 {
				in.Expires = time.Now().Add(time.Duration(expires)).UTC().Truncate(time.Second)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			k, err := c.CreateAccessKey(cmd.Context(), in)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return printJSON(a.stdout, k)
			}
			_, err = fmt.Fprintln(a.stdout, k.AccessKey.AccessKey, k.Secret) // alone, so that a script can read both
			_, _ = fmt.Fprintf(a.stderr, "access key %d (%s, of user %s, %s): access_key and access_secret_key; the second is not shown again\n", k.ID, k.Name, k.User, k.Role)
			return err
		},
	}
	f := create.Flags()
	f.Var(roleFlag{&role}, "role", "`role`: reader, operator or admin, at most the user's (default: the user's)")
	f.StringArrayVar(&in.Sites, "site", nil, "`site` that it covers, of those of the user (repeatable; default: the user's)")
	f.Var(&expires, "expires", "`duration` after which it ends, such as 90d (default: never)")
	return create
}

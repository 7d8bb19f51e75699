package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

func (a *app) tokenCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List tokens", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			tokens, err := c.Tokens(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(tokens, "ID NAME ROLE SITES EXPIRES LAST-USED REVOKED", func(row func(...any)) {
				for _, t := range tokens {
					sites := t.Sites
					if len(t.SiteIDs) == 0 {
						sites = []string{"every"}
					}
					row(t.ID, t.Name, t.Role, sites, t.Expires, t.LastUsed, t.Revoked)
				}
			})
		},
	}
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "End a token at once", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number[holdfast.CredentialID]("token", args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.RevokeToken(cmd.Context(), id)
		},
	}
	return group("token", "Tokens for the APIs", a.tokenCreateCommand(), list, revoke)
}

func (a *app) tokenCreateCommand() *cobra.Command {
	var in native.NewToken
	var role holdfast.Role
	var expires time.Duration
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a token and print it, this once", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name, in.Role = args[0], role
			if expires < 0 {
				return holdfast.Errorf(holdfast.CodeInvalid, "--expires %s is in the past", expires)
			}
			if expires > 0 {
				in.Expires = time.Now().Add(expires).UTC().Truncate(time.Second)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			t, err := c.CreateToken(cmd.Context(), in)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return printJSON(a.stdout, t)
			}
			_, err = fmt.Fprintln(a.stdout, t.Secret) // alone, so that a script can take it
			_, _ = fmt.Fprintf(a.stderr, "token %d (%s, %s); it is not shown again\n", t.ID, t.Name, t.Role)
			return err
		},
	}
	f := create.Flags()
	f.Var(roleFlag{&role}, "role", "`role`: reader, operator or admin")
	f.StringArrayVar(&in.Sites, "site", nil, "`site` that it covers (repeatable; default: every site)")
	f.DurationVar(&expires, "expires", 0, "`duration` after which it ends, such as 720h (default: never)")
	require(create, "role")
	return create
}

// withArticle is a noun with its article.
func withArticle(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

// number reads an id.
func number[T ~int64](what, s string) (T, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return 0, holdfast.Errorf(holdfast.CodeInvalid, "%q is not the id of %s", s, withArticle(what)).WithHint("see: holdfast %s list", what)
	}
	return T(n), nil
}

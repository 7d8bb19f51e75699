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

// maxSpan is the longest duration that a flag takes: about ten years.
const maxSpan = 3653 * 24 * time.Hour

// span is a flag's duration that may be given in days: 365d.
type span time.Duration

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	var d time.Duration
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is no number of days", days)
		}
		d = time.Duration(n) * 24 * time.Hour
	} else {
		var err error
		if d, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("%q is no duration such as 30m, 12h or 365d", text)
		}
	}
	if d < time.Minute || d > maxSpan {
		return fmt.Errorf("%s is not between a minute and ten years", text)
	}
	*s = span(d)
	return nil
}

// String implements pflag.Value.
func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

// Type implements pflag.Value.
func (*span) Type() string { return "duration" }

func (a *app) patCommand() *cobra.Command {
	var user string
	list := &cobra.Command{
		Use: "list", Short: "List personal access tokens", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			pats, err := c.PATs(cmd.Context(), user)
			if err != nil {
				return err
			}
			return a.print(pats, "ID USER ROLE SITES EXPIRES IDLE LAST-USED REVOKED", func(row func(...any)) {
				for _, p := range pats {
					row(p.ID, p.User, p.Role, everySite(p.Sites, p.SiteIDs), p.Expires, idle(p.IdleMinutes), p.LastUsed, p.Revoked)
				}
			})
		},
	}
	list.Flags().StringVar(&user, "user", "", "`user` whose tokens are listed (default: every user)")
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "End a personal access token at once", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number[holdfast.CredentialID]("pat", args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.RevokePAT(cmd.Context(), id)
		},
	}
	return group("pat", "Personal access tokens, which go inside of what a user's key signs", a.patCreateCommand(), list, revoke)
}

// idle writes a time as span reads it; nothing for 0.
func idle(minutes int64) string {
	switch {
	case minutes == 0:
		return ""
	case minutes%(24*60) == 0:
		return fmt.Sprintf("%dd", minutes/(24*60))
	}
	return strings.TrimSuffix((time.Duration(minutes) * time.Minute).String(), "0s")
}

func (a *app) patCreateCommand() *cobra.Command {
	var in native.NewPAT
	var role holdfast.Role
	var expires, unused span
	create := &cobra.Command{
		Use: "create USER", Short: "Create a personal access token and print it, this once", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.User, in.Role = args[0], role
			if expires > 0 {
				in.Expires = time.Now().Add(time.Duration(expires)).UTC().Truncate(time.Second)
			}
			in.IdleMinutes = int64(time.Duration(unused) / time.Minute)
			c, err := a.client()
			if err != nil {
				return err
			}
			p, err := c.CreatePAT(cmd.Context(), in)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return printJSON(a.stdout, p)
			}
			_, err = fmt.Fprintln(a.stdout, p.Secret) // alone, so that a script can take it
			_, _ = fmt.Fprintf(a.stderr, "personal access token %d (of user %s, %s); it is not shown again\n", p.ID, p.User, p.Role)
			return err
		},
	}
	f := create.Flags()
	f.Var(roleFlag{&role}, "role", "`role`: reader, operator or admin, at most the user's (default: the user's)")
	f.StringArrayVar(&in.Sites, "site", nil, "`site` that it covers, of those of the user (repeatable; default: the user's)")
	f.Var(&expires, "expires", "`duration` after which it ends, such as 90d (default: 365d)")
	f.Var(&unused, "idle", "`duration` without use after which it ends, such as 30d (default: never)")
	return create
}

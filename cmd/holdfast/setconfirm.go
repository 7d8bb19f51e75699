package main

import (
	"cmp"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

func (a *app) setConfirmCommand() *cobra.Command {
	var whole bool
	var site string
	cmd := &cobra.Command{
		Use: "confirm [SET...]", Short: "Confirm imported backup sets: retention counts them from then on", Args: cobra.ArbitraryArgs,
		Long: "An imported set is UNCONFIRMED: retention neither counts nor drops it, and no backup builds on it. Confirm those that you have\n" +
			"restored, or trust. Before that, give the job the retention that it is to have: holdfast job update --retain; a job that an\n" +
			"import has made keeps everything. What goes then, holdfast retention plan shows.",
		Example: "  holdfast set confirm 1007 1008\n" +
			"  holdfast set confirm --all --site berlin",
	}
	cmd.Flags().BoolVar(&whole, "all", false, "all sets that are UNCONFIRMED")
	cmd.Flags().StringVar(&site, "site", "", "with --all: those of this `site`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case whole == (len(args) > 0):
			return holdfast.Errorf(holdfast.CodeInvalid, "name the sets, or give --all").WithHint("see: %s --help", cmd.CommandPath())
		case site != "" && !whole:
			return holdfast.Errorf(holdfast.CodeInvalid, "--site goes with --all only").WithHint("see: %s --help", cmd.CommandPath())
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		var ids []holdfast.SetID
		for _, arg := range args {
			id, err := number[holdfast.SetID]("set", arg)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		if whole {
			q := url.Values{}
			if site != "" {
				q.Set("site", site)
			}
			sets, err := all(func(q url.Values) (native.List[native.Set], error) { return c.Sets(cmd.Context(), q) }, q)
			if err != nil {
				return err
			}
			for _, s := range sets {
				if unconfirmed(s) {
					ids = append(ids, s.ID)
				}
			}
		}
		confirmed := []native.Set{}
		var failed error
		for _, id := range ids {
			s, err := c.ConfirmSet(cmd.Context(), id)
			if err != nil {
				failed = err // those before it are told all the same
				break
			}
			confirmed = append(confirmed, s)
		}
		err = a.print(confirmed, "ID SITE JOB RUN-TYPE TAKEN SIZE STATE", func(row func(...any)) {
			for _, s := range confirmed {
				row(s.ID, s.Site, s.JobID, s.RunType, s.Stopped, size(s.Bytes), setState(s))
			}
		})
		_, _ = fmt.Fprintf(a.stderr, "confirmed %s\n", count(int64(len(confirmed)), "set"))
		return cmp.Or(failed, err)
	}
	return cmd
}

// unconfirmed reports whether nobody has confirmed a copy of the set.
func unconfirmed(s native.Set) bool {
	for _, c := range s.Copies {
		if c.State == holdfast.CopyUnconfirmed {
			return true
		}
	}
	return false
}

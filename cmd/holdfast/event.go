package main

import (
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

func (a *app) eventCommand() *cobra.Command {
	var site string
	var limit int
	list := &cobra.Command{
		Use: "list --site SITE", Short: "List what was done to a site, its jobs and executions, the newest first", Args: args(0),
		Example: "  holdfast event list --site berlin",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			events, err := c.SiteEvents(cmd.Context(), site, url.Values{"limit": {strconv.Itoa(limit)}})
			if err != nil {
				return err
			}
			return a.print(events.Items, "TIME ACTOR KIND SUBJECT DATA", func(row func(...any)) {
				for _, e := range events.Items {
					row(e.Time, e.Actor, e.Kind, e.Subject, string(e.Data))
				}
			})
		},
	}
	list.Flags().StringVar(&site, "site", "", "`name` or number of the site")
	list.Flags().IntVarP(&limit, "limit", "n", 50, "list at most so many")
	require(list, "site")
	return group("event", "The history: who did what, and what was left out", list)
}

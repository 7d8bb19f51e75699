package main

import (
	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/api/native"
)

func (a *app) hostCommand() *cobra.Command {
	var in native.NewHost
	add := &cobra.Command{
		Use: "add NAME", Short: "Add a machine that sites stand on", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			in.Name = args[0]
			h, err := c.CreateHost(cmd.Context(), in)
			if err != nil {
				return err
			}
			return a.printHosts(h, h)
		},
	}
	add.Flags().StringVar(&in.Address, "address", "", "`address` of the machine, for people")
	add.Flags().BoolVar(&in.Remote, "remote", false, "the machine is not the server's: a worker of its own will join for it")
	list := &cobra.Command{
		Use: "list", Short: "List hosts", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			hosts, err := c.Hosts(cmd.Context())
			if err != nil {
				return err
			}
			return a.printHosts(hosts, hosts...)
		},
	}
	remove := &cobra.Command{
		Use: "remove HOST", Short: "Remove a host on which no site stands", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.DeleteHost(cmd.Context(), args[0])
		},
	}
	return group("host", "Machines that sites stand on", add, list, remove)
}

func (a *app) printHosts(v any, hosts ...native.Host) error {
	return a.print(v, "ID NAME ADDRESS CREATED", func(row func(...any)) {
		for _, h := range hosts {
			row(h.ID, h.Name, h.Address, h.Created)
		}
	})
}

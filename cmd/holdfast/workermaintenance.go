package main

import (
	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/api/native"
)

func (a *app) workerMaintenanceCommand() *cobra.Command {
	var off bool
	cmd := &cobra.Command{
		Use: "maintenance WORKER", Short: "Mark a worker for maintenance: only such a one deletes in repositories", Args: args(1),
		Long: "What has expired, or was deleted, is removed from its repository by a worker that is marked for maintenance; the one inside serve\n" +
			"(local) is marked when it is made. Give it the access key that may delete, in HOLDFAST_WORKER_MAINTENANCE_ACCESS_KEY and\n" +
			"HOLDFAST_WORKER_MAINTENANCE_SECRET_KEY of its own process, and the repository one that may not.",
		Example: "  holdfast worker maintenance db2-worker\n  holdfast worker maintenance local --off",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			w, err := c.SetMaintenance(cmd.Context(), args[0], !off)
			if err != nil {
				return err
			}
			return a.printWorkers(w, w)
		},
	}
	cmd.Flags().BoolVar(&off, "off", false, "not any more")
	return cmd
}

func (a *app) printWorkers(v any, all ...native.Worker) error {
	return a.print(v, "ID NAME HOSTS POOLS SLOTS MAINTENANCE SEEN", func(row func(...any)) {
		for _, w := range all {
			row(w.ID, w.Name, w.Hosts, w.Pools, w.Slots, w.Maintenance, w.Seen)
		}
	})
}

package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/api/native"
)

func (a *app) etlConfigurationCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list ETL", Short: "List the run configurations of an ETL", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := c.RunConfigurations(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.print(all, "ID NAME ACTIVE PROPERTIES", func(row func(...any)) {
				for _, rc := range all {
					row(rc.ID, rc.Name, rc.Active, pairs(rc.Properties))
				}
			})
		},
	}
	remove := &cobra.Command{
		Use: "delete ETL CONFIGURATION", Short: "Delete a run configuration that is not active", Args: args(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.DeleteRunConfiguration(cmd.Context(), args[0], args[1])
		},
	}
	return group("configuration", "Named sets of properties of an ETL, of which at most one is active; CONFIGURATION is an id or a name",
		list, a.etlConfigurationCreateCommand(), a.etlConfigurationUpdateCommand(),
		a.etlConfigurationActiveCommand("activate", "Make a run configuration the one that executions use", true),
		a.etlConfigurationActiveCommand("deactivate", "Leave the ETL without an active run configuration: nothing runs", false),
		remove)
}

func (a *app) etlConfigurationCreateCommand() *cobra.Command {
	var in native.NewRunConfiguration
	var props propertyFlags
	create := &cobra.Command{
		Use: "create ETL", Short: "Give an ETL another run configuration", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.Properties, err = props.read(); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			made, err := c.CreateRunConfiguration(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.printRunConfiguration(made)
		},
	}
	create.Flags().StringVar(&in.Name, "name", "", "`name`, unique in the ETL")
	props.add(create, "")
	create.Flags().BoolVar(&in.Active, "active", false, "executions use it from now on")
	require(create, "name")
	return create
}

func (a *app) etlConfigurationUpdateCommand() *cobra.Command {
	var name string
	var props propertyFlags
	update := &cobra.Command{
		Use: "update ETL CONFIGURATION", Short: "Change a run configuration: what no flag names stays", Args: args(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := native.RunConfigurationChange{Name: changed(cmd, "name", name)}
			p, err := props.read()
			if err != nil {
				return err
			}
			if props.given(cmd) {
				in.Properties = &p
			}
			return a.changeRunConfiguration(cmd, args, in)
		},
	}
	update.Flags().StringVar(&name, "name", "", "new `name`, unique in the ETL")
	props.add(update, ": these replace all; ******** as a secret's value leaves it as it is")
	return update
}

func (a *app) etlConfigurationActiveCommand(verb, short string, active bool) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ETL CONFIGURATION", Short: short, Args: args(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeRunConfiguration(cmd, args, native.RunConfigurationChange{Active: &active})
		},
	}
}

func (a *app) changeRunConfiguration(cmd *cobra.Command, args []string, in native.RunConfigurationChange) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	rc, err := c.UpdateRunConfiguration(cmd.Context(), args[0], args[1], in)
	if err != nil {
		return err
	}
	return a.printRunConfiguration(rc)
}

func (a *app) printRunConfiguration(rc native.RunConfiguration) error {
	return a.print(rc, "", func(row func(...any)) {
		row("configuration", rc.ID)
		row("name", rc.Name)
		row("active", rc.Active)
		row("properties", pairs(rc.Properties))
	})
}

// pairs writes properties as name=value, by name.
func pairs(properties map[string]string) string {
	list := make([]string, 0, len(properties))
	for name, value := range properties {
		if strings.ContainsAny(value, " \t\n\"") {
			value = strconv.Quote(value)
		}
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

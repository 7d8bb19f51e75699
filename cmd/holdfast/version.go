package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionText is the version that the linker set, or the commit that was built.
func versionText() string {
	if version != "dev" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return version + "-" + s.Value[:12]
		}
	}
	return version
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: args(0),
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{versionText(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return a.print(v, "", func(row func(...any)) {
				row("holdfast", v.Version)
				row("go", v.Go)
				row("platform", v.Platform)
			})
		},
	}
}

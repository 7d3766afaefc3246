package main

import (
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"example.com/keystore/backend"
)

// versionView is the version as --json prints it.
type versionView struct {
	Version string   `json:"version"`
	Go      string   `json:"go"`
	Schemes []string `json:"schemes"` // of --store
}

func (a *app) version() *cobra.Command {
	return a.command("version", "Show the version, and the schemes of --store", "Shows the version, and the schemes that --store can have.",
		"  keystore version --json", noArguments, func(*cobra.Command, []string) error {
			view := versionView{Version: buildVersion(), Go: runtime.Version(), Schemes: backend.Schemes()}
			return a.print(view, []field{
				{"version", view.Version}, {"go", view.Go}, {"schemes", strings.Join(view.Schemes, " ")},
			})
		})
}

// buildVersion is the version of the module, which go build makes of the commit
// in a checkout.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}

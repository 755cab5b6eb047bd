package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// orionAPIVersion is the version of the Orion API that the server speaks.
const orionAPIVersion = "0.3.1"

// versionInfo is what "sluice version" says.
type versionInfo struct {
	Version    string `json:"version"`
	APIVersion string `json:"api_version"`
	Commit     string `json:"commit"`
	Go         string `json:"go"`
	OS         string `json:"os"`
	Arch       string `json:"arch"`
	Profile    string `json:"profile"`
	API        string `json:"api"`
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show the version of this binary",
		Long:    "Show the version of this binary, of the API it speaks, and which cluster it is configured to use.",
		Example: "  sluice version\n  sluice version -o json",
		Args:    cobra.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			address, _ := a.settings.lookup(settingAPIURL)
			v := versionInfo{
				Version: version(), APIVersion: orionAPIVersion, Commit: commit(), Go: runtime.Version(),
				OS: runtime.GOOS, Arch: runtime.GOARCH, Profile: a.settings.profile, API: address,
			}
			if a.quiet || a.structured() {
				return a.printObject(v, v.Version, v.Version)
			}
			for _, line := range [][2]string{
				{"Version", v.Version}, {"API version", v.APIVersion}, {"Git commit", v.Commit}, {"Go version", v.Go},
				{"OS/Arch", v.OS + "/" + v.Arch}, {"Profile", v.Profile}, {"API", v.API},
			} {
				fmt.Fprintf(a.out, "%-20s%s\n", line[0]+":", line[1])
			}
			return nil
		},
	}
}

func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value[:min(10, len(setting.Value))]
		}
	}
	return ""
}

func newCompletionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print a script that completes commands in your shell",
		Long: `Print a script that completes commands, flags and the names of deployments, work queues and flow runs in your shell.

    bash:        source <(sluice completion bash)
    zsh:         sluice completion zsh > "${fpath[1]}/_sluice"
    fish:        sluice completion fish | source
    powershell:  sluice completion powershell | Out-String | Invoke-Expression`,
		Example:   "  source <(sluice completion bash)",
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(command *cobra.Command, args []string) error {
			root := command.Root()
			write := map[string]func(io.Writer) error{
				"bash":       func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
				"zsh":        root.GenZshCompletion,
				"fish":       func(w io.Writer) error { return root.GenFishCompletion(w, true) },
				"powershell": root.GenPowerShellCompletionWithDesc,
			}[args[0]]
			return write(a.out)
		},
	}
}

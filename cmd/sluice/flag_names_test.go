package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestTheValuesOfFlagsHaveNames: what a description has in backquotes becomes the name of the flag's value, and a command that it
// names there would be one.
func TestTheValuesOfFlagsHaveNames(t *testing.T) {
	t.Parallel()
	var walk func(*cobra.Command)
	walk = func(command *cobra.Command) {
		command.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if name, usage := pflag.UnquoteUsage(flag); strings.ContainsAny(name, " =") || strings.Contains(usage, "`") {
				t.Errorf("%s --%s: the help calls its value %q: %s", command.CommandPath(), flag.Name, name, usage)
			}
		})
		for _, child := range command.Commands() {
			walk(child)
		}
	}
	walk(emptyTree())
}

// TestArgumentsThatNameSomethingAreCompleted: the shell offers names wherever a command takes one.
func TestArgumentsThatNameSomethingAreCompleted(t *testing.T) {
	t.Parallel()
	for _, command := range leaves(emptyTree()) {
		for _, word := range strings.Fields(command.Use)[1:] {
			switch strings.Trim(word, "[].") {
			case "DEPLOYMENT", "QUEUE", "RUN", "FLOW_RUN", "FLOW", "TASK_RUN", "AGENT", "WEBHOOK", "BLOCK", "SPEC", "SEARCH", "STORAGE", "TOKEN", "JOB", "PROFILE", "TAG", "NODE":
				if command.ValidArgsFunction == nil && command.ValidArgs == nil && command.Annotations[namesNew] == "" {
					t.Errorf("%s: nothing completes %s", command.CommandPath(), word)
				}
			}
		}
	}
}

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api/client"
)

// makesProfile marks the command that may name a profile that does not exist yet.
const makesProfile = "makes_profile"

func newConfigCommand(a *app) *cobra.Command {
	set := &cobra.Command{
		Use:         "set KEY=VALUE...",
		Short:       "Set variables in the active profile",
		Long:        "Set variables in the active profile, or in the one named by --profile, which is made if it does not exist.",
		Example:     "  sluice config set SLUICE_API_URL=http://127.0.0.1:4200/api",
		Args:        cobra.MinimumNArgs(1),
		Annotations: map[string]string{makesProfile: "yes"},
		RunE:        func(_ *cobra.Command, args []string) error { return setVariables(a, args) },
	}
	unset := &cobra.Command{
		Use:     "unset KEY...",
		Short:   "Remove variables from the active profile",
		Long:    "Remove variables from the active profile, so that their defaults hold again.",
		Example: "  sluice config unset SLUICE_API_URL",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return unsetVariables(a, args) },
	}
	var showDefaults, hideDefaults, showSources, hideSources bool
	view := &cobra.Command{
		Use:     "view",
		Short:   "Show the settings in use and where they come from",
		Long:    "Show the settings in use and where they come from. Keys are not shown in clear.",
		Example: "  sluice config view --show-defaults",
		Args:    cobra.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			return viewSettings(a, showDefaults && !hideDefaults, showSources && !hideSources)
		},
	}
	view.Flags().BoolVar(&showDefaults, "show-defaults", false, "also show settings that have their default")
	view.Flags().BoolVar(&showSources, "show-sources", true, "show where each setting comes from")
	view.Flags().BoolVar(&hideDefaults, "hide-defaults", false, "the opposite of --show-defaults")
	view.Flags().BoolVar(&hideSources, "hide-sources", false, "the opposite of --show-sources")
	return group("config", "Set and view configuration", "Set and view the variables of profiles.",
		"  sluice config set SLUICE_API_URL=http://127.0.0.1:4200/api\n  sluice config view", set, unset, view)
}

// variable is one setting as config prints it.
type variable struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

func setVariables(a *app, args []string) error {
	s := a.settings
	section := s.profiles.Sections[s.profile]
	if section == nil {
		section = map[string]string{}
		s.profiles.Sections[s.profile] = section
	}
	var changed []variable
	for _, arg := range args {
		key, value, found := strings.Cut(arg, "=")
		if !found {
			return usagef("%q is not of the form KEY=VALUE", arg)
		}
		if err := s.checkVariable(key); err != nil {
			return err
		}
		if key == settingAPIURL {
			if _, err := client.ParseAddresses(value); err != nil {
				return fmt.Errorf("set %s: %w", key, err)
			}
			value = withAPIPath(value) // flows read the profile themselves
		}
		section[key] = value
		changed = append(changed, variable{key, value, "profile"})
	}
	if err := s.profiles.Write(); err != nil {
		return err
	}
	if a.structured() {
		return printList(a, variableList(changed))
	}
	for _, v := range changed {
		a.say("Set variable '%s' to '%s'", v.Key, s.shown(v.Key, v.Value))
	}
	a.say("Updated profile '%s'", s.profile)
	for _, v := range changed {
		if a.environment[v.Key] != "" && a.environment[v.Key] != v.Value {
			a.note("note: %s is also set in the environment to '%s', which comes first", v.Key, s.shown(v.Key, a.environment[v.Key]))
		}
	}
	return nil
}

func unsetVariables(a *app, keys []string) error {
	s := a.settings
	section := s.profiles.Sections[s.profile]
	var removed []variable
	for _, key := range keys {
		value, set := section[key]
		if !set {
			return notFoundf("sluice config view", "'%s' is not set in profile '%s'", key, s.profile)
		}
		delete(section, key)
		removed = append(removed, variable{key, value, "profile"})
	}
	if err := s.profiles.Write(); err != nil {
		return err
	}
	if a.structured() {
		return printList(a, variableList(removed))
	}
	for _, v := range removed {
		a.say("Unset variable '%s'", v.Key)
	}
	a.say("Updated profile '%s'", s.profile)
	return nil
}

// checkVariable refuses a variable that nothing reads.
func (s *settings) checkVariable(key string) error {
	if _, known := s.known[key]; known {
		return nil
	}
	return usagef("unknown variable '%s'%s\nknown are: %s", key, didYouMean(key, s.known),
		strings.Join(slices.Sorted(maps.Keys(s.known)), ", "))
}

// shown hides secrets.
func (s *settings) shown(key, value string) string {
	if s.known[key].secret && value != "" {
		return "********"
	}
	return value
}

func viewSettings(a *app, showDefaults, showSources bool) error {
	s := a.settings
	var shown []variable
	for _, key := range slices.Sorted(maps.Keys(s.known)) {
		value, source := s.lookup(key)
		if source != sourceDefault || showDefaults {
			shown = append(shown, variable{key, s.shown(key, value), source})
		}
	}
	if a.structured() || a.output != "" || a.quiet {
		return printList(a, variableList(shown))
	}
	a.say("SLUICE_PROFILE='%s'", s.profile)
	for _, v := range shown {
		source := ""
		if showSources {
			source = " (from " + v.Source + ")"
		}
		a.say("%s='%s'%s", v.Key, v.Value, source)
	}
	return nil
}

func variableList(variables []variable) list[variable] {
	return list[variable]{
		title: "Settings",
		columns: []column[variable]{
			{header: "Variable", cell: func(v variable, _ bool) string { return v.Key }},
			{header: "Value", fold: true, cell: func(v variable, _ bool) string { return v.Value }},
			{header: "From", cell: func(v variable, _ bool) string { return v.Source }},
		},
		items: variables,
		id:    func(v variable) string { return v.Key },
		name:  func(v variable) string { return v.Key },
	}
}

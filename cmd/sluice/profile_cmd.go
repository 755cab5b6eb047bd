package main

import (
	"maps"
	"regexp"
	"slices"

	"github.com/spf13/cobra"
)

func newProfileCommand(a *app) *cobra.Command {
	return group("profile", "Keep settings for several clusters",
		`Keep settings for several clusters in profiles, one of which is active. --profile and SLUICE_PROFILE use another one for one
command. The variables are set with "sluice config set".`,
		"  sluice profile create production --from default\n  sluice profile use production",
		newProfileList(a), newProfileInspect(a), newProfileCreate(a), newProfileUse(a), newProfileRename(a), newProfileDelete(a))
}

// profileView is a profile as it is shown: secrets are not.
type profileView struct {
	Name      string            `json:"name"`
	Active    bool              `json:"active"`
	Variables map[string]string `json:"variables"`
}

func (a *app) profileView(name string) profileView {
	p := profileView{Name: name, Active: name == a.settings.profiles.Active, Variables: map[string]string{}}
	for key, value := range a.settings.profiles.Sections[name] {
		p.Variables[key] = a.settings.shown(key, value)
	}
	return p
}

// profileCommand is a command about profiles; it works when the active profile does not exist.
func profileCommand(a *app, arguments int, command *cobra.Command) *cobra.Command {
	command.Args = cobra.ExactArgs(arguments)
	command.Annotations = map[string]string{makesProfile: "yes"}
	command.ValidArgsFunction = func(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp
		if len(args) > 0 || arguments == 0 || a.loadSettings(command) != nil {
			return nil, directive
		}
		return slices.Sorted(maps.Keys(a.settings.profiles.Sections)), directive
	}
	return command
}

func newProfileList(a *app) *cobra.Command {
	return profileCommand(a, 0, &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List profiles",
		Long:    "List profiles by name. The active one is marked with *.",
		Example: "  sluice profile ls",
		RunE: func(_ *cobra.Command, _ []string) error {
			var all []profileView
			for _, name := range slices.Sorted(maps.Keys(a.settings.profiles.Sections)) {
				all = append(all, a.profileView(name))
			}
			return printList(a, list[profileView]{
				title:   "Profiles",
				caption: "* denotes the active profile",
				columns: []column[profileView]{
					{header: "Name", sgr: sgrGreen, cell: func(p profileView, people bool) string {
						if p.Active && people {
							return "* " + p.Name
						}
						return p.Name
					}},
					{header: "Active", programs: true, cell: func(p profileView, _ bool) string {
						if p.Active {
							return "true"
						}
						return "false"
					}},
					{header: "API", fold: true, cell: func(p profileView, _ bool) string { return withoutPasswords(p.Variables[settingAPIURL]) }},
				},
				items: all,
				id:    func(p profileView) string { return p.Name },
				name:  func(p profileView) string { return p.Name },
			})
		},
	})
}

func newProfileInspect(a *app) *cobra.Command {
	return profileCommand(a, 1, &cobra.Command{
		Use:     "inspect PROFILE",
		Short:   "Show a profile's variables as JSON",
		Long:    "Show a profile's variables as JSON, or in the format of -o. Keys are not shown in clear.",
		Example: "  sluice profile inspect default",
		RunE: func(_ *cobra.Command, args []string) error {
			if err := a.settings.requireSection(args[0]); err != nil {
				return err
			}
			return a.printObject(a.profileView(args[0]), args[0], args[0])
		},
	})
}

// profileName is what the file and the SDKs that read it can hold.
var profileName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (s *settings) checkNewProfile(name string) error {
	if !profileName.MatchString(name) {
		return usagef("'%s' cannot name a profile; use up to 64 letters, digits, - and _", name)
	}
	if s.profiles.Sections[name] != nil {
		return &failure{code: exitConflict, err: usagef("there is a profile '%s' already", name), hint: "sluice profile inspect " + name}
	}
	return nil
}

func (s *settings) requireSection(name string) error {
	if s.profiles.Sections[name] == nil {
		return notFoundf("sluice profile ls", "there is no profile '%s'", name)
	}
	return nil
}

func newProfileCreate(a *app) *cobra.Command {
	var from string
	command := profileCommand(a, 1, &cobra.Command{
		Use:     "create NAME",
		Short:   "Make a profile",
		Long:    "Make a profile, empty or with the variables of another one. It is used when it is chosen with \"sluice profile use\".",
		Example: "  sluice profile create production --from default",
	})
	command.Flags().StringVar(&from, "from", "", "profile whose variables it begins with")
	command.RunE = func(_ *cobra.Command, args []string) error {
		s := a.settings
		if err := s.checkNewProfile(args[0]); err != nil {
			return err
		}
		variables := map[string]string{}
		if from != "" {
			if err := s.requireSection(from); err != nil {
				return err
			}
			variables = maps.Clone(s.profiles.Sections[from])
		}
		s.profiles.Sections[args[0]] = variables
		if err := s.profiles.Write(); err != nil {
			return err
		}
		return a.printDone(a.profileView(args[0]), args[0], args[0], "Created profile '"+args[0]+"'; use it with: sluice profile use "+args[0])
	}
	return command
}

func newProfileUse(a *app) *cobra.Command {
	return profileCommand(a, 1, &cobra.Command{
		Use:     "use PROFILE",
		Short:   "Make a profile the active one",
		Long:    "Make a profile the active one: all commands use it unless --profile or SLUICE_PROFILE names another.",
		Example: "  sluice profile use production",
		RunE: func(_ *cobra.Command, args []string) error {
			s := a.settings
			if err := s.requireSection(args[0]); err != nil {
				return err
			}
			s.profiles.Active = args[0]
			if err := s.profiles.Write(); err != nil {
				return err
			}
			if used := a.environment["SLUICE_PROFILE"]; used != "" && used != args[0] {
				a.note("note: SLUICE_PROFILE is set in the environment to '%s', which comes first", used)
			}
			return a.printDone(a.profileView(args[0]), args[0], args[0], "Profile '"+args[0]+"' is now active")
		},
	})
}

func newProfileRename(a *app) *cobra.Command {
	return profileCommand(a, 2, &cobra.Command{
		Use:     "rename PROFILE NAME",
		Short:   "Give a profile another name",
		Long:    "Give a profile another name. The active one stays active.",
		Example: "  sluice profile rename production live",
		RunE: func(_ *cobra.Command, args []string) error {
			s := a.settings
			if err := s.requireSection(args[0]); err != nil {
				return err
			}
			if err := s.checkNewProfile(args[1]); err != nil {
				return err
			}
			s.profiles.Sections[args[1]] = s.profiles.Sections[args[0]]
			delete(s.profiles.Sections, args[0])
			if s.profiles.Active == args[0] {
				s.profiles.Active = args[1]
			}
			if err := s.profiles.Write(); err != nil {
				return err
			}
			return a.printDone(a.profileView(args[1]), args[1], args[1], "Renamed profile '"+args[0]+"' to '"+args[1]+"'")
		},
	})
}

func newProfileDelete(a *app) *cobra.Command {
	return profileCommand(a, 1, &cobra.Command{
		Use:     "delete PROFILE",
		Short:   "Delete a profile with its variables",
		Long:    "Delete a profile with its variables. The active one is refused: make another one active first.",
		Example: "  sluice profile delete production",
		RunE: func(_ *cobra.Command, args []string) error {
			s := a.settings
			if err := s.requireSection(args[0]); err != nil {
				return err
			}
			if s.profiles.Active == args[0] {
				return &failure{code: exitConflict, err: usagef("profile '%s' is active", args[0]), hint: "sluice profile use ANOTHER"}
			}
			gone := a.profileView(args[0])
			delete(s.profiles.Sections, args[0])
			if err := s.profiles.Write(); err != nil {
				return err
			}
			return a.printDone(gone, args[0], args[0], "Deleted profile '"+args[0]+"'")
		},
	})
}

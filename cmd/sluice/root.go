package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newRootCommand builds the command tree.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Workflow orchestrator whose servers replicate their state with Raft",
		Long: `Sluice schedules runs of your flows, hands them to agents through work queues and follows every state and log line.

    sluice dev                                   everything on this machine, in one process
    sluice server start                          one node of a cluster, or a cluster of one
    sluice deployment create leo_deployment.py   tell it what to run
    sluice work-queue create --tag tutorial q    collect runs
    sluice agent start q                         execute them`,
		Example:       "  sluice deployment ls\n  sluice flow-run ls -o json",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE:          runGroup,
		PersistentPreRunE: func(command *cobra.Command, _ []string) error {
			if err := a.checkFormat(); err != nil {
				return err
			}
			switch a.color {
			case "auto", "always", "never":
			default:
				return usagef("--color is %q; it is one of auto, always, never", a.color)
			}
			if err := a.checkTimeFormat(); err != nil {
				return err
			}
			if err := a.loadSettings(command); err != nil {
				return err
			}
			if command.Annotations[makesProfile] != "" {
				return nil
			}
			return a.settings.requireProfile()
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return wrongFlag(err) })
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", "", "format: "+strings.Join(formats, ", ")+" or template=TEXT (default table on a terminal, else plain; env SLUICE_OUTPUT)")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print ids only, and no talk")
	flags.StringSliceVar(&a.wantedColumns, "columns", nil, "columns to show, by their headers, separated by commas")
	flags.BoolVar(&a.noHeaders, "no-headers", false, "no header line in plain output")
	flags.StringVar(&a.color, "color", "auto", "colour: auto, always, never; NO_COLOR is honoured")
	flags.StringVar(&a.timeFormat, "time-format", "", "times: relative, iso (local, with the offset) or raw (UTC, as the API has them) (default relative in tables, else raw)")
	flags.StringVarP(&a.profile, "profile", "p", "", "profile to use (env SLUICE_PROFILE)")
	flags.StringVar(&a.api, "api", defaultAPIURL, "addresses of the API, separated by commas")
	flags.StringVar(&a.configFile, "config", "", "YAML file of settings (env SLUICE_CONFIG)")
	flags.StringVar(&a.logLevel, "log-level", "info", "lowest level logged: debug, info, warn, error")
	flags.StringVar(&a.logFormat, "log-format", "text", "form of log lines: text, json")
	bindSetting(flags, "api", "log-level", "log-format")
	completeWords(root, "output", formats...)
	completeWords(root, "color", "auto", "always", "never")
	completeWords(root, "time-format", timeFormats...)
	completeWords(root, "log-level", "debug", "info", "warn", "error")
	completeWords(root, "log-format", "text", "json")

	root.AddCommand(
		newTokenCommand(a),
		newAuditCommand(a),
		newDevCommand(a),
		newServerCommand(a, "server"),
		newServerCommand(a, "orion"),
		newAgentCommand(a),
		newClusterCommand(a),
		newDebugCommand(a),
		newSnapshotCommand(a),
		newRunCommand(a),
		newDeploymentCommand(a),
		newWorkQueueCommand(a),
		newFlowRunCommand(a),
		newJobCommand(a),
		newEventCommand(a),
		newFlowCommand(a),
		newTaskRunCommand(a),
		newArtifactCommand(a),
		newLimitCommand(a),
		newSearchCommand(a),
		newRetentionCommand(a),
		newWebhookCommand(a),
		newStorageCommand(a),
		newSecretsCommand(a),
		newBlockCommand(a),
		newBlockSpecCommand(a),
		newConfigCommand(a),
		newProfileCommand(a),
		newAPICommand(a),
		newDoctorCommand(a),
		newUICommand(a),
		newVersionCommand(a),
		newBenchCommand(a),
		newPythonCommand(a),
		newCompletionCommand(a),
		&cobra.Command{
			Use:   "exit-codes",
			Short: "How commands end (a help topic)",
			Long:  exitCodesHelp,
		},
		&cobra.Command{
			Use:   "settings",
			Short: "Where settings come from (a help topic)",
			Long:  settingsHelp,
		},
	)
	requireArguments(root)
	completeArguments(a, root)
	return root
}

const settingsHelp = `A setting comes from the first of these that has it:

    1. its flag, like --api
    2. the environment, like SLUICE_API_URL
    3. the YAML file given with --config, with the flag's name as key: api: http://node1:4200/api
    4. the active profile, written with "sluice config set"
    5. its default

Profiles lie in $SLUICE_HOME/profiles.toml; SLUICE_HOME is ~/.sluice unless set. SLUICE_API_URL may list the addresses of
several nodes, separated by commas; they are tried in turn. "sluice config view" shows every setting and its source.
Unknown keys are errors.`

// group makes a command that only holds others; without one of them it shows its help.
func group(use, short, long, example string, children ...*cobra.Command) *cobra.Command {
	command := &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long,
		Example: example,
		RunE:    runGroup,
	}
	command.AddCommand(children...)
	return command
}

// runGroup shows the help of a group, or refuses what is no command of it.
func runGroup(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return command.Help()
	}
	message := "there is no command '" + command.CommandPath() + " " + args[0] + "'"
	command.SuggestionsMinimumDistance = 2
	if near := command.SuggestionsFor(args[0]); len(near) > 0 {
		message += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef("%s", message)
}

// requireArguments makes a wrong number of arguments a usage error everywhere.
func requireArguments(command *cobra.Command) {
	if check := command.Args; check != nil {
		command.Args = func(command *cobra.Command, args []string) error {
			if err := check(command, args); err != nil {
				return wrongArguments(command, args)
			}
			return nil
		}
	}
	for _, child := range command.Commands() {
		requireArguments(child)
	}
}

// wrongArguments says what a command takes, in the words of its usage, and what it was given.
func wrongArguments(command *cobra.Command, args []string) error {
	given := "it was given none"
	if len(args) > 0 {
		given = "it was given '" + strings.Join(args, "', '") + "'"
	}
	_, takes, _ := strings.Cut(command.Use, " ")
	if takes == "" {
		return usagef("%s takes no arguments; %s", command.CommandPath(), given)
	}
	return usagef("%s takes %s; %s", command.CommandPath(), takes, given)
}

// missingFlags names the flags that cobra missed: err has them in quotation marks.
func missingFlags(err error) error {
	var names []string
	for i, part := range strings.Split(err.Error(), `"`) {
		if i%2 == 1 {
			names = append(names, "--"+part)
		}
	}
	return usagef("needed and not given: %s", strings.Join(names, ", "))
}

// wrongFlag says what a flag takes whose value is of another kind.
func wrongFlag(err error) error {
	wrong, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return usagef("%w", err)
	}
	kinds := map[string]string{
		"int": "a whole number", "int64": "a whole number", "uint64": "a whole number from 0 on", "float64": "a number",
		"bool": "true or false", "duration": "a time like 90s, 15m or 2h",
	}
	kind, ok := kinds[wrong.GetFlag().Value.Type()]
	if !ok {
		return usagef("%w", err)
	}
	return usagef("--%s is '%s'; it is %s", wrong.GetFlag().Name, wrong.GetValue(), kind)
}

// orionFlags spells out the one flag of Orion's command line that begins with a single dash and has two letters.
func orionFlags(args []string) []string {
	if len(args) == 0 || args[0] != "work-queue" {
		return args
	}
	args = slices.Clone(args)
	for i, arg := range args {
		switch value, given := strings.CutPrefix(arg, "-fr="); {
		case arg == "--":
			return args
		case arg == "-fr":
			args[i] = "--flow-runner"
		case given:
			args[i] = "--flow-runner=" + value
		}
	}
	return args
}

// completeWords offers fixed words for a flag.
func completeWords(command *cobra.Command, flag string, words ...string) {
	// It fails only for a flag that does not exist; the command tree test completes every flag.
	_ = command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/agent"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/internal/localserver"
)

func newRunCommand(a *app) *cobra.Command {
	var given runFlags
	var flow string
	anyway := false
	command := &cobra.Command{
		Use:   "run [--flow NAME] -- COMMAND [ARGUMENT...]",
		Short: "Run a command and record it as a flow run",
		Long: `Run a command here and now, and record it: a flow run with its times, its output as logs, and the state that follows from its
exit code. The command keeps this terminal, directory and environment; interrupts and SIGTERM reach it; this command ends with
the command's own exit code (128 + the signal that ended it, 127 when it could not be started). When the flow run is cancelled,
the command gets SIGTERM, and SIGKILL 10 seconds later.

Without a server that is configured one is started that ends by itself; "sluice server start" and "sluice dev" show its runs
later. So a line of a crontab needs nothing but "sluice run --" before its command.

Parameters are recorded; the command has them as SLUICE_PARAM_NAME, and {{NAME}} in an argument stands for one.`,
		Example: `  sluice run -- pg_dump -f backup.sql shop
  sluice run --flow backup --tag nightly --param db=shop -- ./backup.sh '{{db}}'
  0 2 * * * sluice run --flow backup --anyway -- /usr/local/bin/backup.sh`,
		Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	flags := command.Flags()
	flags.SetInterspersed(false) // what follows the command is the command's
	flags.StringVar(&flow, "flow", "", "name of the flow (default the command's)")
	flags.StringVar(&given.name, "name", "", "name of the flow run (default two random words)")
	flags.StringArrayVarP(&given.tags, "tag", "t", nil, "tag of the run (repeatable)")
	flags.StringArrayVar(&given.params, "param", nil, "parameter as KEY=VALUE (repeatable)")
	flags.StringVar(&given.file, "params", "", "parameters as a JSON object, @FILE or - for stdin")
	flags.BoolVar(&anyway, "anyway", false, "run the command unrecorded when no server can be reached")
	command.RunE = func(command *cobra.Command, args []string) error {
		if flow == "" {
			flow = filepath.Base(args[0])
		}
		return runCommand(command.Context(), a, flow, args, given, anyway)
	}
	return command
}

func runCommand(ctx context.Context, a *app, flow string, args []string, given runFlags, anyway bool) error {
	parameters, err := a.parameters(given, &parameterSchema{})
	if err != nil {
		return err
	}
	argv, err := agent.Arguments(args, parameters)
	if err != nil {
		return usagef("%w; give it with --param", err)
	}
	var end commandEnd
	c, made, err := a.flowOf(ctx, flow)
	if err == nil {
		defer c.Close()
		run := api.FlowRunCreate{FlowID: made.ID, Parameters: parameters, Tags: given.tags}
		if given.name != "" {
			run.Name = &given.name
		}
		end, err = a.record(ctx, c, recordedCommand{flow: flow, argv: argv, run: run, told: "sluice run"})
	} else if anyway && ctx.Err() == nil && judge(err).code == exitUnreachable {
		a.note("warning: %v; the command runs unrecorded", err)
		end.code, err = a.unrecorded(ctx, argv, parameters)
	}
	switch {
	case err != nil:
		return err
	case end.code != 0:
		return &failure{code: end.code, err: fmt.Errorf("%s ended with code %d", argv[0], end.code), silent: true}
	case end.state != nil && end.state.Type != api.Completed:
		return ended(end.state)
	}
	return nil
}

// flowOf connects to the server that is configured, or to one that is started for this, and makes the flow.
func (a *app) flowOf(ctx context.Context, name string) (*client.Client, *api.Flow, error) {
	c, err := a.connectOrStart(ctx)
	if err != nil {
		return nil, nil, err
	}
	flow, err := c.CreateFlow(ctx, api.FlowCreate{Name: name})
	if err != nil {
		c.Close()
		return nil, nil, fmt.Errorf("create flow '%s': %w", name, err)
	}
	return c, flow, nil
}

// connectOrStart returns a client of the server that is configured; without one, of a server that ends by itself.
func (a *app) connectOrStart(ctx context.Context) (*client.Client, error) {
	if _, source := a.settings.lookup(settingAPIURL); source != sourceDefault || a.program == "" {
		return a.connect(0)
	}
	address, err := localserver.StartEphemeral(ctx, a.program, a.home(), a.environ)
	if err != nil {
		return nil, &failure{code: exitUnreachable, err: err, hint: "name a server: sluice config set SLUICE_API_URL=http://127.0.0.1:4200/api"}
	}
	addresses, err := client.ParseAddresses(address)
	if err != nil {
		return nil, err
	}
	return a.newClient(addresses, 0)
}

// again returns another client of the servers that c is one of.
func (a *app) again(c *client.Client, retryFor time.Duration) (*client.Client, error) {
	return a.newClient(c.Addresses(), retryFor)
}

// unrecorded runs a command that nobody records.
func (a *app) unrecorded(ctx context.Context, argv []string, parameters json.RawMessage) (int, error) {
	variables, err := agent.ParameterVariables(parameters)
	if err != nil {
		return 0, err
	}
	command := exec.Command(argv[0], argv[1:]...)
	command.Env = changedEnvironment(a.environ, variables)
	command.Stdin, command.Stdout, command.Stderr = a.in, a.out, a.err
	code, err := a.runForeground(ctx, command)
	if err != nil {
		a.note("error: %v", err)
		return exitCannotStart, nil
	}
	return code, nil
}

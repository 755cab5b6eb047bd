package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// runFlags are what "deployment run" may change of the deployment.
type runFlags struct {
	params  []string
	file    string
	tags    []string
	name    string
	startIn time.Duration
	startAt string
	watch   bool
	timeout time.Duration
	every   time.Duration // how often it is looked why the run waits
	web     bool
	// priority 0 is the deployment's.
	priority int
}

func newDeploymentRun(a *app) *cobra.Command {
	var given runFlags
	command := deploymentArgument(a, &cobra.Command{
		Use:   "run DEPLOYMENT",
		Short: "Create a flow run of a deployment",
		Long: `Create a flow run of a deployment; an agent that serves one of its work queues executes it. The command returns at once.
With --watch it follows states and logs and ends as the run ends (see "sluice help exit-codes"); Ctrl-C then stops watching,
not the run.

Parameters are read as the deployment's schema says, which "sluice deployment inspect" shows, and checked by the server:
--param n=3 --param name=Leo --param 'tags=["a"]'. Without a schema a value is JSON if it can be read as such, else text.`,
		Example: `  sluice deployment run leonardo_dicapriflow/leonardo-deployment
  sluice deployment run leonardo_dicapriflow/leonardo-deployment --param name=Marvin --watch`,
	})
	flags := command.Flags()
	flags.StringArrayVar(&given.params, "param", nil, "parameter as KEY=VALUE (repeatable)")
	flags.StringVar(&given.file, "params", "", "parameters as a JSON object, @FILE or - for stdin")
	flags.StringArrayVarP(&given.tags, "tag", "t", nil, "tag added to the deployment's (repeatable)")
	flags.StringVar(&given.name, "name", "", "name of the flow run (default two random words)")
	flags.DurationVar(&given.startIn, "start-in", 0, "start after this time, like 90s or 2h")
	flags.StringVar(&given.startAt, "start-at", "", "start at this time, like 2026-11-23T09:30:00+01:00; UTC without offset")
	flags.BoolVarP(&given.watch, "watch", "w", false, "follow the run until it ends")
	flags.DurationVar(&given.timeout, "timeout", 0, "with --watch: stop watching after this time (default never)")
	flags.DurationVar(&given.timeout, "watch-timeout", 0, "the same as --timeout")
	watchInterval(command, &given.every)
	flags.BoolVar(&given.web, "web", false, "open the run's page in a browser")
	flags.StringVar(&given.name, "flow-run-name", "", "the same as --name")
	flags.IntVar(&given.priority, "priority", 0, "priority of the run, 1 goes first (default the deployment's)")
	_ = command.RegisterFlagCompletionFunc("param", completeParameters(a)) // it fails only for a flag that does not exist
	command.MarkFlagsMutuallyExclusive("timeout", "watch-timeout")
	command.MarkFlagsMutuallyExclusive("name", "flow-run-name")
	command.MarkFlagsMutuallyExclusive("start-in", "start-at")
	command.PreRunE = func(*cobra.Command, []string) error { return checkInterval(given.every) }
	command.RunE = onDeployment(a, func(ctx context.Context, c *client.Client, d *namedDeployment) error {
		return runDeployment(ctx, a, c, d, given)
	})
	return command
}

func runDeployment(ctx context.Context, a *app, c *client.Client, d *namedDeployment, given runFlags) error {
	parameters, err := a.parameters(given, schemaOf(d.Deployment))
	if err != nil {
		return err
	}
	start := time.Now().Add(given.startIn)
	if given.startAt != "" {
		if start, err = api.ParseTime(given.startAt); err != nil {
			return usagef("--start-at is '%s'; it is a time like 2026-11-23T09:30:00+01:00", given.startAt)
		}
	}
	state := api.NewState(api.Scheduled, "")
	state.StateDetails = &api.StateDetails{ScheduledTime: api.Zoned(start.UTC())}
	key := api.NewID().String() // so that the request may be repeated when the connection breaks
	body := api.DeploymentFlowRunCreate{Parameters: parameters, Tags: given.tags, State: &state, IdempotencyKey: &key}
	if given.name != "" {
		body.Name = &given.name
	}
	if given.priority != 0 {
		body.Priority = &given.priority
	}
	run, err := c.RunDeployment(ctx, d.ID, body)
	if err != nil {
		return fmt.Errorf("run deployment '%s': %w", d.title(), err)
	}
	if given.watch && a.output == formatJSON {
		err = a.printJSONLine(run) // as what follows: one object a line
	} else {
		err = a.printDone(run, run.ID.String(), run.Name, "Created flow run "+short(run.Name, run.ID))
	}
	if err != nil {
		return err
	}
	if given.web {
		err = a.openPage(ctx, c, "runs/"+run.ID.String())
	} else {
		a.notePage(c, "runs/"+run.ID.String())
	}
	if err != nil || !given.watch {
		return err
	}
	return a.followRun(ctx, run, following{logs: true, states: true, tail: -1, timeout: given.timeout, interval: given.every})
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// manyRuns is what a command does to one run by its name, or to many by a job.
type manyRuns struct {
	selection runSelection
	dryRun    bool
	yes       bool
	noWait    bool
	// job is what is done to the many; its filter comes from the selection.
	job api.JobCreate
	// verb is what is done, like "cancel".
	verb string
	// one does it to one run.
	one func(ctx context.Context, c *client.Client, run *api.FlowRun) error
	// prepare fills the job with what the flags say; it may be nil.
	prepare func() error
}

const manyLong = `

Many runs are selected by --state, --deployment, --flow-name, --tag, --filter or --all. The command shows how many they are
and asks; -y does not ask, --dry-run only shows. The server does it as a job, whose progress the command follows: it concerns
the runs that exist now, and goes on when the command is interrupted (see "sluice job").`

func (m *manyRuns) register(a *app, command *cobra.Command) *cobra.Command {
	command.Args = cobra.MaximumNArgs(1)
	command.ValidArgsFunction = completeNames(a, flowRunNames)
	m.selection.register(a, command)
	flags := command.Flags()
	flags.BoolVar(&m.dryRun, "dry-run", false, "show which runs are selected and change nothing")
	flags.BoolVarP(&m.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&m.noWait, "no-wait", false, "do not wait for the end of the job")
	command.RunE = func(command *cobra.Command, args []string) error { return m.run(command.Context(), a, args) }
	return command
}

func (m *manyRuns) run(ctx context.Context, a *app, args []string) error {
	switch many := m.selection.given(); {
	case many && len(args) > 0:
		return usagef("give the name of one run, or criteria for many, not both")
	case !many && len(args) == 0:
		return usagef("which flow run? Give its name or id, or select many by --state, --deployment, --flow-name, --tag, --filter or --all")
	}
	if m.prepare != nil {
		if err := m.prepare(); err != nil {
			return err
		}
	}
	if err := m.selection.check(); err != nil {
		return err
	}
	c, err := a.connect(0)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		run, err := findFlowRun(ctx, c, args[0])
		if err != nil {
			return err
		}
		if m.dryRun {
			return a.printDone(run, run.ID.String(), run.Name, fmt.Sprintf("Would %s flow run %s", m.verb, short(run.Name, run.ID)))
		}
		return m.one(ctx, c, run)
	}
	m.job.All = m.selection.all
	if m.job.Filter, err = m.selection.filters(ctx, a, c); err != nil {
		return err
	}
	preview, err := c.PreviewJob(ctx, m.job)
	if err != nil {
		return fmt.Errorf("select flow runs: %w", err)
	}
	if m.dryRun {
		return m.show(a, preview)
	}
	if preview.Count == 0 {
		return a.printDone(preview, "", "", "No flow run is selected: nothing was changed")
	}
	if err := m.confirm(ctx, a, preview); err != nil {
		return err
	}
	// Named, so that the client may repeat it when the connection breaks.
	job, err := c.CreateJob(client.WithIdempotencyKey(ctx, api.NewID().String()), m.job)
	if err != nil {
		return fmt.Errorf("%s %d flow runs: %w", m.verb, preview.Count, err)
	}
	if m.noWait {
		return a.printDone(job, job.ID.String(), job.ID.String(), "Began job "+job.ID.String()+"; follow it with `sluice job watch "+job.ID.String()+"`")
	}
	return a.followJob(ctx, c, job)
}

func (m *manyRuns) show(a *app, preview *api.JobPreview) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Would %s %d flow runs", m.verb, preview.Count)
	for i, run := range preview.Sample {
		if i == 0 {
			b.WriteString(", the newest of them:")
		}
		state := ""
		if run.State != nil {
			state = run.State.Name
		}
		fmt.Fprintf(&b, "\n  %s  %s", short(run.Name, run.ID), state)
	}
	return a.printDone(preview, fmt.Sprint(preview.Count), fmt.Sprint(preview.Count), b.String())
}

func (m *manyRuns) confirm(ctx context.Context, a *app, preview *api.JobPreview) error {
	if m.yes {
		return nil
	}
	if !a.inTTY {
		return &failure{code: exitUsage, err: fmt.Errorf("%d flow runs are selected, and nobody can be asked", preview.Count),
			hint: "-y if that is meant, --dry-run to see them"}
	}
	ask := &prompter{ctx: ctx, app: a, lines: bufio.NewReader(a.in)}
	question := fmt.Sprintf("%s %d flow runs? [y/N]: ", strings.ToUpper(m.verb[:1])+m.verb[1:], preview.Count)
	answer, err := ask.line(question)
	if err != nil {
		return err
	}
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return &failure{code: exitError, err: errors.New("nothing was changed")}
	}
	return nil
}

func newRunCancel(a *app) *cobra.Command {
	var message string
	m := &manyRuns{verb: "cancel", job: api.JobCreate{Action: api.JobCancel}}
	command := m.register(a, &cobra.Command{
		Use:   "cancel [RUN]",
		Short: "Cancel a flow run, or many",
		Long: `Cancel a flow run. One that waits is Cancelled at once. The owner of a running one is told: the process gets a
SIGTERM, and a SIGKILL when it has not stopped after its grace period.` + manyLong,
		Example: "  sluice flow-run cancel tan-lion --message 'wrong parameters'\n  sluice flow-run cancel --state Late --deployment etl/nightly --dry-run",
	})
	command.Flags().StringVar(&message, "message", "", "why, kept in the run's state")
	m.prepare = messageOf(m, &message)
	m.one = func(ctx context.Context, c *client.Client, run *api.FlowRun) error {
		answer, err := c.CancelFlowRun(ctx, run.ID, message)
		if err != nil {
			return otherwise(fmt.Errorf("cancel flow run '%s': %w", run.Name, err), "sluice flow-run inspect "+shellWord(run.Name))
		}
		sentence := "Cancelled flow run " + short(run.Name, run.ID)
		if answer.Status == api.StatusCancelling {
			sentence = "Cancelling flow run " + short(run.Name, run.ID) + ": its owner was told to stop it"
		}
		return a.printDone(answer, run.ID.String(), run.Name, sentence)
	}
	return command
}

func messageOf(m *manyRuns, message *string) func() error {
	return func() error {
		if *message != "" {
			m.job.Message = message
		}
		return nil
	}
}

func newRunRetry(a *app) *cobra.Command {
	var message string
	m := &manyRuns{verb: "retry", job: api.JobCreate{Action: api.JobRetry}}
	command := m.register(a, &cobra.Command{
		Use:   "retry [RUN]",
		Short: "Try a flow run again that did not succeed, or many",
		Long: `Try a flow run again that failed, crashed, timed out or was cancelled. It stays the same run and waits for an agent at
once. Task runs that completed with a stored result are not executed again; all others are, with all of their retries. What is
left of the earlier attempt can change nothing any more. For a run that completed, see "sluice flow-run rerun".` + manyLong,
		Example: "  sluice flow-run retry tan-lion\n  sluice flow-run retry --state Crashed --tag etl -y",
	})
	command.Flags().StringVar(&message, "message", "", "why, kept in the run's state")
	m.prepare = messageOf(m, &message)
	m.one = func(ctx context.Context, c *client.Client, run *api.FlowRun) error {
		retry := api.FlowRunRetry{Message: m.job.Message}
		changed, err := c.RetryFlowRun(client.WithIdempotencyKey(ctx, api.NewID().String()), run.ID, retry)
		if err != nil {
			return fmt.Errorf("retry flow run '%s': %w", run.Name, err)
		}
		if err := a.printDone(changed, run.ID.String(), run.Name, "Flow run "+short(run.Name, run.ID)+" is tried again"); err != nil {
			return err
		}
		a.notePage(c, "runs/"+run.ID.String())
		return nil
	}
	return command
}

func newRunRerun(a *app) *cobra.Command {
	var given runFlags
	command := runArgument(a, &cobra.Command{
		Use:   "rerun RUN",
		Short: "Make a new flow run with the parameters of another",
		Long: `Make a new flow run of the same deployment with the parameters and tags of another one, whatever became of that.
Parameters given here take the place of those of the same name. The new run remembers which one it repeats.`,
		Example: "  sluice flow-run rerun tan-lion --watch\n  sluice flow-run rerun tan-lion --param day=2026-11-02",
	})
	flags := command.Flags()
	flags.StringArrayVar(&given.params, "param", nil, "parameter as KEY=VALUE (repeatable)")
	flags.StringVar(&given.file, "params", "", "parameters as a JSON object, @FILE or - for stdin")
	flags.StringVar(&given.name, "name", "", "name of the new run (default two random words)")
	flags.DurationVar(&given.startIn, "start-in", 0, "start after this time, like 90s or 2h")
	flags.BoolVarP(&given.watch, "watch", "w", false, "follow the new run until it ends")
	command.RunE = onRun(a, func(ctx context.Context, c *client.Client, run *api.FlowRun) error {
		schema := &parameterSchema{}
		if run.DeploymentID != nil && len(given.params) > 0 {
			d, err := c.Deployment(ctx, *run.DeploymentID)
			if err != nil {
				return fmt.Errorf("read the deployment of flow run '%s': %w", run.Name, err)
			}
			schema = schemaOf(*d)
		}
		parameters, err := a.parameters(given, schema)
		if err != nil {
			return err
		}
		body := api.FlowRunRerun{Parameters: parameters}
		if given.name != "" {
			body.Name = &given.name
		}
		if given.startIn != 0 {
			body.ScheduledTime = api.TimeAt(time.Now().Add(given.startIn))
		}
		made, err := c.RerunFlowRun(client.WithIdempotencyKey(ctx, api.NewID().String()), run.ID, body)
		if err != nil {
			return fmt.Errorf("run flow run '%s' again: %w", run.Name, err)
		}
		err = a.printDone(made, made.ID.String(), made.Name, "Created flow run "+short(made.Name, made.ID)+", which repeats "+short(run.Name, run.ID))
		if err != nil {
			return err
		}
		a.notePage(c, "runs/"+made.ID.String())
		if !given.watch {
			return nil
		}
		return a.followRun(ctx, made, following{logs: true, states: true, tail: -1})
	})
	return command
}

func newRunDelete(a *app) *cobra.Command {
	m := &manyRuns{verb: "delete", job: api.JobCreate{Action: api.JobDelete}}
	command := m.register(a, &cobra.Command{
		Use:   "delete [RUN]",
		Short: "Delete a flow run with its task runs, or many",
		Long: `Delete a flow run with its states and task runs. Of many, those that are being executed are refused: cancel them first,
or delete them too with --force.` + manyLong,
		Example: "  sluice flow-run delete tan-lion -y\n  sluice flow-run delete --state Cancelled --tag test --dry-run",
	})
	command.Flags().BoolVar(&m.job.Force, "force", false, "of many: also those that are being executed")
	m.one = func(ctx context.Context, c *client.Client, run *api.FlowRun) error {
		if err := c.DeleteFlowRun(ctx, run.ID); err != nil {
			return fmt.Errorf("delete flow run '%s': %w", run.Name, err)
		}
		return a.printDone(run, run.ID.String(), run.Name, "Deleted flow run "+short(run.Name, run.ID))
	}
	return command
}

func newRunSetState(a *app) *cobra.Command {
	var to, name, message string
	m := &manyRuns{verb: "set the state of", job: api.JobCreate{Action: api.JobSetState}}
	command := m.register(a, &cobra.Command{
		Use:   "set-state --to TYPE [RUN]",
		Short: "Give a flow run another state, or many",
		Long: `Give a flow run another state, by the rules: what they do not allow is refused, as a run that has ended, or a start
before its time. With --force the state is set against them, also in place of a final one; whoever executes the run is not
stopped.` + manyLong,
		Example: "  sluice flow-run set-state --to FAILED --name Wrong --force tan-lion\n  sluice flow-run set-state --to CANCELLED --state Late --tag test -y",
	})
	flags := command.Flags()
	flags.StringVar(&to, "to", "", "type of the new state (required)")
	flags.StringVar(&name, "name", "", "name of the new state (default that of its type)")
	flags.StringVar(&message, "message", "", "why, kept in the run's state")
	flags.BoolVar(&m.job.Force, "force", false, "against the rules, also in place of a final state")
	completeWords(command, "to", stateNames()...)
	m.prepare = func() error {
		t := api.StateType(strings.ToUpper(to))
		if !t.Valid() {
			if to == "" {
				return usagef("--to is missing: the state to set, one of %s", strings.Join(stateNames(), ", "))
			}
			return usagef("--to is '%s'; it is one of %s", to, strings.Join(stateNames(), ", "))
		}
		m.job.State = &api.JobState{Type: t}
		if name != "" {
			m.job.State.Name = &name
		}
		return messageOf(m, &message)()
	}
	m.one = func(ctx context.Context, c *client.Client, run *api.FlowRun) error {
		body := api.SetState{State: api.NewState(m.job.State.Type, message), Force: m.job.Force, ReplaceTerminal: m.job.Force}
		body.State.Name = m.job.State.Name
		result, err := c.SetFlowRunState(ctx, run.ID, body, "")
		if err != nil {
			return fmt.Errorf("set the state of flow run '%s': %w", run.Name, err)
		}
		if result.Status != api.Accept && result.Status != api.Reject {
			return &failure{code: exitConflict, err: fmt.Errorf("flow run %s keeps its state: %s", short(run.Name, run.ID), strings.TrimSuffix(result.Reason(), ".")),
				hint: "--force sets a state against the rules"}
		}
		return a.printDone(result, run.ID.String(), run.Name, "Flow run "+short(run.Name, run.ID)+" is "+result.State.Name)
	}
	return command
}

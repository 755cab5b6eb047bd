package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-dev/sluice/agent"
	flowprocess "github.com/sluice-dev/sluice/agent/process"
	"github.com/sluice-dev/sluice/agent/program"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/storage"
)

// stopGrace is how long a plain command may take to stop after SIGTERM.
const stopGrace = 10 * time.Second

// pipeDelay is how long the output of a command that has ended is read, when processes it left still hold it open.
const pipeDelay = 2 * time.Second

// signalDelay is how much later than the context's end the signal that ended it may be seen.
const signalDelay = 50 * time.Millisecond

// reportPatience is how long the end of a run is reported while no server answers.
const reportPatience = time.Minute

func newDeploymentExecute(a *app) *cobra.Command {
	return deploymentArgument(a, &cobra.Command{
		Use:   "execute DEPLOYMENT",
		Short: "Run a deployment's flow here and now",
		Long: `Run a deployment's flow in this process's directory and environment, without work queue and agent. The code comes from
the storage. States and logs go to the server as usual. The exit code says how the flow run ended (see "sluice help
exit-codes").

Python flows are run by python3, or by the interpreter that SLUICE_PYTHON names.`,
		Example: "  sluice deployment execute leonardo_dicapriflow/leonardo-deployment",
		RunE: onDeployment(a, func(ctx context.Context, c *client.Client, d *namedDeployment) error {
			if d.FlowData.Encoding == api.EncodingCommand {
				return executeCommand(ctx, a, c, d)
			}
			if d.FlowData.Encoding == api.EncodingProgram {
				return executeProgram(ctx, a, c, d)
			}
			return executePython(ctx, a, d)
		}),
	})
}

// executePython hands the deployment to the Python engine, which reports to the server itself.
func executePython(ctx context.Context, a *app, d *namedDeployment) error {
	interpreter, err := a.interpreter()
	if err != nil {
		return err
	}
	environment, err := a.pythonEnvironment()
	if err != nil {
		return err
	}
	command := exec.Command(interpreter, "-m", "sluice.engine", "--deployment", d.ID.String())
	command.Env = environment
	command.Stdin, command.Stdout, command.Stderr = a.in, a.out, a.err
	code, err := a.runForeground(ctx, command)
	switch {
	case err != nil:
		return fmt.Errorf("start %s: %w", interpreter, err)
	case ctx.Err() != nil:
		return interrupted(fmt.Errorf("interrupted"))
	case code != 0:
		return &failure{code: engineCode(code), err: fmt.Errorf("the flow run of '%s' did not complete", d.title()), silent: true}
	}
	return nil
}

// executeProgram fetches a program of the Go SDK and has it run its flow.
func executeProgram(ctx context.Context, a *app, c *client.Client, d *namedDeployment) error {
	described, err := program.Parse(d.FlowData)
	if err != nil {
		return err
	}
	cache := program.Cache{Dir: filepath.Join(a.home(), "programs"), Load: func(ctx context.Context, document api.DataDocument) ([]byte, error) {
		return storage.Load(ctx, c, document, a.places())
	}}
	path, err := cache.Path(ctx, described)
	if err != nil {
		return err
	}
	command := exec.Command(path, "run", described.Flow, "--params", "-")
	if command.Env, err = a.pythonEnvironment(); err != nil {
		return err
	}
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(d.Parameters), a.out, a.err
	code, err := a.runForeground(ctx, command)
	switch {
	case err != nil:
		return fmt.Errorf("start the program: %w", err)
	case ctx.Err() != nil:
		return interrupted(fmt.Errorf("interrupted"))
	case code != 0:
		return &failure{code: engineCode(code), err: fmt.Errorf("the flow run of '%s' did not complete", d.title()), silent: true}
	}
	return nil
}

// engineCode maps the exit code of the engine to ours: it uses ours, or Python's 1 for anything else.
func engineCode(code int) int {
	switch code {
	case exitFailed, exitCrashed, exitCancelled, exitUnreachable, exitInterrupted:
		return code
	}
	return exitFailed
}

// runForeground runs a process that shares the terminal with this one. An interrupt from the terminal reaches it by itself;
// other ends of ctx are passed on as SIGTERM. It returns the exit code, 128 + the signal that ended it. When this process is
// killed, so is what the command has started: its run becomes Crashed and must not work on.
func (a *app) runForeground(ctx context.Context, command *exec.Cmd) (int, error) {
	if a.program != "" && !flowprocess.Marked(command.Env) {
		guard, err := flowprocess.StartGuard([]string{a.program, "agent", "supervise"})
		if err != nil {
			return 0, err
		}
		defer guard.Release()
		command.Env = append(command.Env, guard.Variable())
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt) // only to know it came from the terminal
	defer signal.Stop(interrupts)
	if err := command.Start(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case <-interrupts:
			err = <-done // the terminal interrupted it too; how fast it stops is its own affair
		case err = <-done:
		case <-time.After(signalDelay):
			_ = command.Process.Signal(syscall.SIGTERM) // it may have ended just now
			kill := time.AfterFunc(stopGrace, func() { _ = command.Process.Kill() })
			err = <-done
			kill.Stop()
		}
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// executeCommand runs a plain command under a lease of its own and reports its states.
func executeCommand(ctx context.Context, a *app, c *client.Client, d *namedDeployment) error {
	var argv []string
	if err := json.Unmarshal([]byte(d.FlowData.Blob), &argv); err != nil || len(argv) == 0 {
		return fmt.Errorf("the command of deployment '%s' is not a list of texts: %s", d.title(), d.FlowData.Blob)
	}
	variables, err := agent.ParameterVariables(d.Parameters)
	if err != nil {
		return fmt.Errorf("read the parameters of deployment '%s': %w", d.title(), err)
	}
	key := api.NewID().String()
	pending := api.NewState(api.Pending, "")
	run, err := c.CreateFlowRun(ctx, api.FlowRunCreate{
		FlowID: d.FlowID, Parameters: d.Parameters, Tags: d.Tags, FlowRunner: &d.FlowRunner, State: &pending, IdempotencyKey: &key,
	})
	if err != nil {
		return fmt.Errorf("create flow run: %w", err)
	}
	host, _ := os.Hostname() // only told
	owner := fmt.Sprintf("sluice deployment execute on %s (pid %d)", host, os.Getpid())
	lease, err := c.LeaseFlowRun(ctx, run.ID, owner)
	if err != nil {
		return fmt.Errorf("lease flow run '%s': %w", run.Name, err)
	}
	a.note("Created flow run '%s' for flow '%s'", run.Name, d.flow)
	report, err := a.connect(reportPatience)
	if err != nil {
		return err
	}
	defer report.Close()
	running, err := c.SetFlowRunState(ctx, run.ID, api.SetState{State: api.NewState(api.Running, "")}, lease.Token)
	if err != nil {
		return fmt.Errorf("report that flow run '%s' runs: %w", run.Name, err)
	}
	if running.Status != api.Accept {
		return fmt.Errorf("flow run '%s' may not run: %s", run.Name, running.Reason())
	}

	commandCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		renewLease(commandCtx, report, run.ID, lease, cancel)
	}()
	command := exec.Command(argv[0], argv[1:]...)
	logs := startCommandLogs(context.WithoutCancel(ctx), report, run.ID)
	out, errs := logs.writer(a.out), logs.writer(a.err)
	command.Env = changedEnvironment(a.environ, variables)
	command.Stdin, command.Stdout, command.Stderr = a.in, out, errs
	command.WaitDelay = pipeDelay
	code, startErr := a.runForeground(commandCtx, command)
	if errors.Is(startErr, exec.ErrWaitDelay) { // it left processes behind, which may go on writing
		startErr = nil
	}
	cause := context.Cause(commandCtx)
	out.Close()
	errs.Close()
	if err := logs.Close(); err != nil {
		a.note("note: %v", err)
	}
	cancel(nil)
	<-renewed

	if errors.Is(cause, errLeaseLost) {
		return &failure{code: exitCrashed, err: fmt.Errorf("flow run '%s': %w; its command was stopped", run.Name, cause)}
	}
	final := endOfCommand(code, startErr, cause)
	// The end must reach the server even if this process is being interrupted.
	reportCtx, stop := context.WithTimeout(context.WithoutCancel(ctx), reportPatience)
	defer stop()
	result, err := report.SetFlowRunState(reportCtx, run.ID, api.SetState{State: final}, lease.Token)
	if err != nil {
		return fmt.Errorf("report the end of flow run '%s': %w", run.Name, err)
	}
	if result.State == nil {
		return fmt.Errorf("the end of flow run '%s' was refused: %s", run.Name, result.Reason())
	}
	a.note("Flow run '%s' - Finished in state %s", run.Name, result.State)
	if ctx.Err() != nil {
		return interrupted(ctx.Err())
	}
	return ended(result.State)
}

var (
	errLeaseLost  = errors.New("its lease was lost")
	errCancelling = errors.New("it was cancelled")
)

// renewLease renews until ctx ends and stops the command when the lease is lost or the run is cancelled.
func renewLease(ctx context.Context, c *client.Client, run api.ID, lease *api.Lease, stop context.CancelCauseFunc) {
	every := max(lease.RenewSeconds.Std(), 100*time.Millisecond)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	beat := api.Heartbeat{Leases: []api.HeldLease{{FlowRunID: run, Token: lease.Token}}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		answer, err := c.RenewLeases(ctx, beat)
		switch {
		case err != nil: // the client has tried long enough for the lease to be over
			if ctx.Err() == nil {
				stop(errLeaseLost)
			}
			return
		case len(answer.Lost) > 0:
			stop(errLeaseLost)
			return
		case len(answer.Cancelling) > 0:
			stop(errCancelling)
			return
		}
	}
}

// endOfCommand is the state in which a plain command leaves its run.
func endOfCommand(code int, startErr, cause error) api.StateCreate {
	switch {
	case startErr != nil:
		return api.NewState(api.Failed, "The command could not be started: "+startErr.Error())
	case errors.Is(cause, errCancelling):
		return api.NewState(api.Cancelled, "The command was stopped.")
	case code == 0:
		return api.NewState(api.Completed, "The command exited with code 0.")
	case code > 128 && code < 128+65:
		signal := syscall.Signal(code - 128)
		return api.NewState(api.Failed, fmt.Sprintf("The command was ended by signal %d (%s).", int(signal), signal))
	}
	return api.NewState(api.Failed, fmt.Sprintf("The command exited with code %d.", code))
}

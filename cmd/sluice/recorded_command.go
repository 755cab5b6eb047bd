package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/sluice-dev/sluice/agent"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// recordedCommand is a plain command that runs in this terminal as a flow run.
type recordedCommand struct {
	flow string   // its name, for people
	argv []string // parameters are in their places
	run  api.FlowRunCreate
	told string // what runs it, for people
}

// commandEnd is how a recorded command ended.
type commandEnd struct {
	state *api.State
	code  int // 128 + the signal that ended it
}

// record runs a command under a lease of its own and reports its states and its output.
func (a *app) record(ctx context.Context, c *client.Client, r recordedCommand) (commandEnd, error) {
	variables, err := agent.ParameterVariables(r.run.Parameters)
	if err != nil {
		return commandEnd{}, fmt.Errorf("read the parameters of the command: %w", err)
	}
	key := api.NewID().String()
	pending := api.NewState(api.Pending, "")
	r.run.State, r.run.IdempotencyKey = &pending, &key
	run, err := c.CreateFlowRun(ctx, r.run)
	if err != nil {
		return commandEnd{}, fmt.Errorf("create flow run: %w", err)
	}
	host, _ := os.Hostname() // only told
	lease, err := c.LeaseFlowRun(ctx, run.ID, fmt.Sprintf("%s on %s (pid %d)", r.told, host, os.Getpid()))
	if err != nil {
		return commandEnd{}, fmt.Errorf("lease flow run '%s': %w", run.Name, err)
	}
	a.note("Created flow run '%s' for flow '%s'", run.Name, r.flow)
	report, err := a.again(c, reportPatience)
	if err != nil {
		return commandEnd{}, err
	}
	defer report.Close()
	running, err := c.SetFlowRunState(ctx, run.ID, api.SetState{State: api.NewState(api.Running, "")}, lease.Token)
	if err != nil {
		return commandEnd{}, fmt.Errorf("report that flow run '%s' runs: %w", run.Name, err)
	}
	if running.Status != api.Accept {
		return commandEnd{}, fmt.Errorf("flow run '%s' may not run: %s", run.Name, running.Reason())
	}

	commandCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		renewLease(commandCtx, report, run.ID, lease, cancel)
	}()
	command := exec.Command(r.argv[0], r.argv[1:]...)
	logs := startCommandLogs(context.WithoutCancel(ctx), report, run.ID)
	out, errs := logs.writer(a.out), logs.writer(a.err)
	variables["SLUICE_FLOW_RUN_ID"] = run.ID.String()
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
		return commandEnd{}, &failure{code: exitCrashed, err: fmt.Errorf("flow run '%s': %w; its command was stopped", run.Name, cause)}
	}
	final := endOfCommand(code, startErr, cause)
	// The end must reach the server even if this process is being interrupted.
	reportCtx, stop := context.WithTimeout(context.WithoutCancel(ctx), reportPatience)
	defer stop()
	result, err := report.SetFlowRunState(reportCtx, run.ID, api.SetState{State: final}, lease.Token)
	if err != nil {
		return commandEnd{}, fmt.Errorf("report the end of flow run '%s': %w", run.Name, err)
	}
	if result.State == nil {
		return commandEnd{}, fmt.Errorf("the end of flow run '%s' was refused: %s", run.Name, result.Reason())
	}
	a.note("Flow run '%s' - Finished in state %s", run.Name, result.State)
	if startErr != nil {
		code = exitCannotStart
	}
	return commandEnd{result.State, code}, nil
}

// exitCannotStart is what shells answer for a command that cannot be started.
const exitCannotStart = 127

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
	case cause != nil && code != 0: // this process was told to end, and told the command
		return api.NewState(api.Failed, "The command was interrupted: "+cause.Error()+".").Named(api.NameCrashed)
	case code == 0:
		return api.NewState(api.Completed, "The command exited with code 0.")
	case code > 128 && code < 128+65:
		signal := syscall.Signal(code - 128)
		return api.NewState(api.Failed, fmt.Sprintf("The command was ended by signal %d (%s).", int(signal), signal))
	}
	return api.NewState(api.Failed, fmt.Sprintf("The command exited with code %d.", code))
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-dev/sluice/agent/process"
	"github.com/sluice-dev/sluice/agent/spool"
	"github.com/sluice-dev/sluice/api"
)

// Why an execution is stopped; the cause of a Runner's context.
var (
	// ErrLost: the run is somebody else's; nothing may be reported.
	ErrLost = errors.New("the lease was lost")
	// ErrCancelled: the user wants it so.
	ErrCancelled = errors.New("the flow run is being cancelled")
	// ErrStopping: the agent has waited for the run's end as long as it may.
	ErrStopping = errors.New("the agent is stopping")
)

// ErrReported is the error of a Runner that has reported the end of the run itself.
var ErrReported = errors.New("the end of the flow run was reported")

// execution is one granted flow run, from the grant until its end is reported.
type execution struct {
	agent *Agent
	id    api.ID // of the flow run
	grant api.Grant
	log   *slog.Logger

	// stop ends with the first reason to stop the process; see the errors above.
	stop   context.Context
	end    context.CancelCauseFunc
	killed chan struct{} // closed when the process must die at once
	kill   func()        // closes it, once
	// report ends when nothing must be reported any more: the lease is lost, or
	// the agent gives up.
	reports context.Context
	mute    context.CancelCauseFunc

	before  []*execution  // of the same run under older leases; must be over first
	ended   atomic.Bool   // the process has ended, or never ran
	doubted atomic.Bool   // leaseEnded was called
	done    chan struct{} // closed when run has returned

	mu      sync.Mutex // guards renewed
	renewed time.Time  // when the server last said that the lease is ours
}

func (a *Agent) newExecution(grant api.Grant) *execution {
	e := &execution{agent: a, id: grant.FlowRun.ID, grant: grant,
		killed: make(chan struct{}), done: make(chan struct{}), renewed: a.config.Clock.Now()}
	e.log = a.log.With("flow_run_id", e.id.String())
	e.stop, e.end = context.WithCancelCause(context.Background())
	e.reports, e.mute = context.WithCancelCause(a.reporting)
	e.kill = sync.OnceFunc(func() { close(e.killed) })
	return e
}

// lose makes the execution vanish without a word: the run is somebody else's.
func (e *execution) lose(reason string) {
	e.log.Warn(fmt.Sprintf("Lost the lease on flow run '%s'; stopping its process", e.id), "reason", reason)
	e.mute(ErrLost)
	e.end(ErrLost)
	e.kill()
}

// over reports whether the process has ended; then there is nothing to stop.
func (e *execution) over() bool { return e.ended.Load() }

// cancel stops the process as the user asked. It reports whether this is news.
func (e *execution) cancel() bool {
	if context.Cause(e.stop) != nil {
		return false
	}
	e.log.Info(fmt.Sprintf("Cancelling flow run '%s'", e.id))
	e.end(ErrCancelled)
	return true
}

// leaseEnded is called when the server says that the lease is not ours. That is
// also so, and no loss, after the flow process has reported its own end; then it
// has the grace period to clean up and to send its last log lines.
func (e *execution) leaseEnded(reason string) {
	ctx, cancel := context.WithTimeout(e.reports, e.agent.config.Grace)
	defer cancel()
	run, err := e.agent.config.API.FlowRun(ctx, e.id)
	if err != nil || run.State == nil || run.State.Name == api.NameCrashed || !run.State.Type.Terminal() {
		e.lose(reason)
		return
	}
	if run.State.Type == api.Cancelled {
		e.mute(ErrLost)
		e.end(ErrLost) // SIGTERM, grace, SIGKILL
		return
	}
	select {
	case <-e.done:
	case <-e.agent.config.Clock.After(e.agent.config.Grace):
		e.lose(reason)
	}
}

// renew notes that the lease is ours at t.
func (e *execution) renew(t time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.After(e.renewed) {
		e.renewed = t
	}
}

// leased reports whether the lease was renewed within its time to live, so that
// no other agent can have the run yet.
func (e *execution) leased() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.agent.config.Clock.Now().Sub(e.renewed) < e.ttl()
}

// exclusive reports whether the process must end with its lease, because the run may then be executed elsewhere: where the agent
// was told so, and where the run is tried again after a crash.
func (e *execution) exclusive() bool {
	native := e.grant.FlowRun.FlowRunNative
	return e.agent.config.Exclusive || native != nil && native.CrashRetriesMax > native.CrashRetries
}

func (e *execution) ttl() time.Duration {
	if ttl := e.grant.TTLSeconds.Std(); ttl > 0 {
		return ttl
	}
	e.agent.mu.Lock()
	defer e.agent.mu.Unlock()
	return e.agent.ttl
}

// run executes the flow run.
func (e *execution) run() {
	defer close(e.done)
	defer e.mute(nil)
	defer e.end(nil)
	defer e.ended.Store(true)
	for _, former := range e.before {
		<-former.done
	}
	e.log.Info(fmt.Sprintf("Submitting flow run '%s'", e.id))
	if e.agent.claiming.Err() != nil {
		e.giveBack()
		return
	}
	runner, err := e.agent.runnerFor(&e.grant.FlowRun)
	if err != nil {
		e.fail(err)
		return
	}
	command := isCommand(e.grant.Deployment)
	if command && !e.reportRunning() {
		return
	}
	if err := context.Cause(e.stop); err != nil {
		e.endUnstarted(err, command)
		return
	}
	if !e.leased() {
		e.log.Warn(fmt.Sprintf("Not starting flow run '%s': its lease was not renewed in time", e.id))
		return
	}
	output, shipped := e.output()
	exit, err := runner.Run(e.stop, Job{
		FlowRun: &e.grant.FlowRun, Deployment: e.grant.Deployment, Token: e.grant.Token, Output: output,
		Started: func() { e.log.Info(fmt.Sprintf("Completed submission of flow run '%s'", e.id)) },
		Grace:   e.agent.config.Grace, Kill: e.killed,
	})
	e.ended.Store(true)
	output.finish()
	shipped()
	e.shipSDKLines()
	switch cause := context.Cause(e.stop); {
	case errors.Is(cause, ErrLost):
		e.log.Info(fmt.Sprintf("Dropped flow run '%s'", e.id))
	case errors.Is(err, ErrReported):
	case err != nil:
		e.fail(err)
	case errors.Is(cause, ErrCancelled):
		e.reportFinal(e.reports, api.NewState(api.Cancelled, "The flow run was cancelled."))
	case errors.Is(cause, ErrStopping) && (!command || !succeeded(exit)):
		message := fmt.Sprintf("The agent '%s' was stopped before the flow run had ended.", e.agent.config.Name)
		e.reportCrash(message)
	case command:
		e.reportFinal(e.reports, commandEnd(exit))
	default:
		e.reportCrash("The flow process " + describe(exit) + " without reporting a final state.")
	}
}

// reportRunning gets the server's consent to start a command. On anything else
// the execution is over.
func (e *execution) reportRunning() bool {
	// Stopping must end the waiting, but not leave the outcome open: whatever was
	// accepted is followed by a final state.
	ctx, cancel := context.WithCancelCause(e.reports)
	defer cancel(nil)
	defer context.AfterFunc(e.stop, func() { cancel(context.Cause(e.stop)) })()
	result, err := e.report(ctx, api.NewState(api.Running, ""), e.leased)
	switch {
	case err == nil && result.Status == api.Accept:
		return true
	case err == nil:
		e.log.Warn(fmt.Sprintf("The server does not let flow run '%s' start", e.id), "status", result.Status, "reason", result.Reason())
	case errors.Is(err, ErrLost), errors.Is(err, ErrCancelled), errors.Is(err, ErrStopping):
		e.endUnstarted(err, false)
	default:
		e.log.Error(fmt.Sprintf("Cannot report that flow run '%s' starts; not starting it", e.id), "error", err)
	}
	return false
}

// endUnstarted reports a run whose process was not started, for the cause of
// e.stop. running says that the run is Running already.
func (e *execution) endUnstarted(cause error, running bool) {
	switch {
	case errors.Is(cause, ErrCancelled):
		e.reportFinal(e.reports, api.NewState(api.Cancelled, "The flow run was cancelled before it started."))
	case errors.Is(cause, ErrStopping) && running:
		e.reportCrash(fmt.Sprintf("The agent '%s' was stopped before the flow run had started.", e.agent.config.Name))
	case errors.Is(cause, ErrStopping):
		e.giveBack()
	}
}

// fail reports a run that could not be started.
func (e *execution) fail(err error) {
	e.log.Error(fmt.Sprintf("Cannot start flow run '%s'", e.id), "error", err)
	e.reportFinal(e.reports, api.NewState(api.Failed, "Submission failed: "+err.Error()))
}

// giveBack returns a run that was granted but not started.
func (e *execution) giveBack() {
	result, err := e.report(e.reports, api.NewState(api.Scheduled, fmt.Sprintf("Given back by the agent '%s', which is stopping.", e.agent.config.Name)), e.leased)
	if err != nil || result.Status != api.Accept {
		e.log.Warn(fmt.Sprintf("Cannot give back flow run '%s'; it is scheduled again when its lease ends", e.id), "error", err)
		return
	}
	e.log.Info(fmt.Sprintf("Gave back flow run '%s'", e.id))
}

// reportCrash ends a run whose process is gone, unless the process itself has
// reported where the run stands.
func (e *execution) reportCrash(message string) {
	pauses := backoff{clock: e.agent.config.Clock}
	for {
		run, err := e.agent.config.API.FlowRun(e.reports, e.id)
		if err == nil {
			// Scheduled: it waits for a retry or was given back.
			if run.StateType != nil && (run.StateType.Terminal() || *run.StateType == api.Scheduled) {
				return
			}
			break
		}
		if api.IsNotFound(err) {
			return // deleted
		}
		if !passing(err) {
			break // the report will tell
		}
		if pauses.pause(e.reports) != nil {
			break
		}
	}
	e.log.Error(fmt.Sprintf("Flow run '%s' crashed: %s", e.id, message))
	e.reportFinal(e.reports, api.NewState(api.Failed, message).Named(api.NameCrashed))
}

// output makes the place for the output of the run. The function returned waits
// until the server has the lines, so that they come before the final state; but
// not for long, as the state matters more.
func (e *execution) output() (*output, func()) {
	finished := make(chan struct{})
	var shipping *shipper
	o := &output{clock: e.agent.config.Clock, log: e.log}
	if streams(&e.grant.FlowRun) {
		o.echo = e.agent.echo
	}
	o.open = func() (*spool.File, error) {
		file, err := e.agent.spools.Create(e.id)
		if err != nil {
			return nil, err
		}
		shipping = e.agent.ship(file, finished)
		return file, nil
	}
	return o, func() {
		close(finished)
		if shipping == nil {
			return
		}
		select {
		case <-shipping.done:
		case <-e.agent.config.Clock.After(flushTimeout):
		case <-e.reports.Done():
		}
	}
}

// shipSDKLines has the log lines delivered that the process could not deliver itself, and waits for that, but not for long.
func (e *execution) shipSDKLines() {
	done := make(chan struct{})
	e.agent.shippers.Go(func() {
		defer close(done)
		e.agent.shipSDKLines(&e.id)
	})
	select {
	case <-done:
	case <-e.agent.config.Clock.After(flushTimeout):
	case <-e.reports.Done():
	}
}

// flushTimeout is how long a final state waits for the output before it.
const flushTimeout = 3 * time.Second

func succeeded(exit process.Exit) bool { return exit == process.Exit{} }

// describe continues a sentence like "The command …".
func describe(exit process.Exit) string {
	if exit.Signal != 0 {
		return "was killed by signal " + signalName(exit.Signal)
	}
	return fmt.Sprintf("exited with code %d", exit.Code)
}

func commandEnd(exit process.Exit) api.StateCreate {
	if succeeded(exit) {
		return api.NewState(api.Completed, "The command exited with code 0.")
	}
	return api.NewState(api.Failed, "The command "+describe(exit)+".")
}

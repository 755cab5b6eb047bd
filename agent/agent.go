// Package agent is the process that executes flow runs: it claims them from work
// queues under leases, starts them with a flow runner, keeps their leases alive,
// ships their output, and reports how they ended when they cannot do so
// themselves. See DESIGN.md.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sluice-dev/sluice/agent/console"
	"github.com/sluice-dev/sluice/agent/process"
	"github.com/sluice-dev/sluice/agent/spool"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/storage/relay"
)

// Supervise is the body of the command Config.Supervisor: it reads from its
// standard input until the agent has ended, and kills the flow processes the
// agent left. Signals do not end it.
func Supervise(r io.Reader) error { return process.Supervise(r) }

// Agent executes flow runs. Config → New → Start → Stop, or New → Run.
type Agent struct {
	config       Config
	id           api.ID
	registration api.AgentRegister
	log          *slog.Logger
	launcher     *process.Launcher // nil when no processes are started
	storages     *relay.Server     // of those processes; nil like launcher
	spools       *spool.Directory
	runners      map[string]Runner
	echo         io.Writer
	missing      map[api.ID]bool // queues that were warned about; of claimLoop
	freed        chan struct{}   // capacity 1: an execution has ended

	claiming      context.Context // ends when no new work is taken
	stopClaiming  context.CancelFunc
	reporting     context.Context // ends when nothing more is told to the server
	stopReporting context.CancelFunc
	beating       context.Context // ends after the last report
	stopBeating   context.CancelFunc

	claims    sync.WaitGroup // claimLoop
	beats     sync.WaitGroup // heartbeatLoop and what it started
	work      sync.WaitGroup // executions
	shippers  sync.WaitGroup
	ended     chan struct{} // closed when claimLoop has returned
	failure   error         // of claimLoop; valid once ended is closed
	killed    chan struct{} // closed by Kill
	kill      func()
	startStop sync.Mutex // makes Start and Stop exclude each other; guards started, stopped
	started   bool
	stopped   bool

	mu         sync.Mutex            // guards what follows
	executions map[string]*execution // by token
	ttl, beat  time.Duration         // as the server wants them
	calledBack chan struct{}         // closed when the agent may claim again; nil while it may
	outage     time.Time             // when the server was last found unreachable; zero while it answers
}

// New checks the configuration.
func New(config Config) (*Agent, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("configure the agent: %w", err)
	}
	spools, err := spool.Open(config.SpoolDir, spool.Limits{Unshipped: config.OutputLimit})
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("learn the name of this machine: %w", err)
	}
	a := &Agent{
		config: config, id: api.NewID(), spools: spools,
		log:        config.Logger.With(console.LoggerKey, "sluice.agent"),
		echo:       &lockedWriter{w: config.Output},
		missing:    map[api.ID]bool{},
		freed:      make(chan struct{}, 1),
		ended:      make(chan struct{}),
		killed:     make(chan struct{}),
		executions: map[string]*execution{},
		ttl:        defaultTTL,
		beat:       defaultBeat,
	}
	a.kill = sync.OnceFunc(func() { close(a.killed) })
	a.registration = api.AgentRegister{ID: a.id, Name: config.Name, Hostname: host, PID: os.Getpid(),
		Version: config.Version, WorkQueueIDs: config.WorkQueueIDs}
	a.runners = maps.Clone(config.Runners)
	if a.runners[subprocessType] == nil {
		a.launcher = process.New(process.Config{Supervisor: config.Supervisor, Logger: a.log})
		if a.runners == nil {
			a.runners = map[string]Runner{}
		}
		a.storages = relay.New(relay.Config{Blocks: config.API, Places: a.config.places(), Logger: a.log})
		a.runners[subprocessType] = newSubprocess(&a.config, a.launcher, a.storages)
	}
	a.claiming, a.stopClaiming = context.WithCancel(context.Background())
	a.reporting, a.stopReporting = context.WithCancel(context.Background())
	a.beating, a.stopBeating = context.WithCancel(context.Background())
	return a, nil
}

// ID is how the server knows this agent.
func (a *Agent) ID() api.ID { return a.id }

// Name is how people know it.
func (a *Agent) Name() string { return a.config.Name }

// Run starts the agent, waits until ctx ends or there is nothing left to take
// work from, and stops it. While it drains, Kill makes it hurry.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.Start(ctx); err != nil {
		return err
	}
	return a.Wait(ctx)
}

// Wait is the part of Run after Start.
func (a *Agent) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		a.Stop()
		return nil
	case <-a.ended:
	}
	// Deleting the queues is no reason to stop the runs that came from them.
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		a.work.Wait()
	}()
	select {
	case <-ctx.Done():
	case <-idle:
	}
	a.Stop()
	<-idle
	return a.failure
}

// Start registers the agent, ships what a former one left, and begins to take
// work. A server that does not answer is waited for in the background; one that
// refuses the agent is an error.
func (a *Agent) Start(ctx context.Context) error {
	a.startStop.Lock()
	defer a.startStop.Unlock()
	if a.started || a.stopped {
		return errors.New("an agent is started once")
	}
	if a.launcher != nil {
		if err := a.storages.Start(); err != nil {
			return err
		}
		if err := a.launcher.Start(); err != nil {
			a.storages.Stop()
			return err
		}
	}
	if err := a.register(ctx); err != nil {
		if ctx.Err() != nil || !passing(err) {
			a.stopLauncher()
			return err
		}
		a.unreachable(err)
	}
	a.started = true
	a.shippers.Go(a.shipLeftovers)
	a.beats.Go(func() { a.heartbeatLoop(a.beating) })
	a.claims.Go(func() {
		defer close(a.ended)
		a.failure = a.claimLoop(a.claiming)
	})
	return nil
}

// Stop takes no new work, gives back what was not started, waits for running
// flow runs up to Config.DrainTimeout, stops the others, and leaves when the
// server knows about all of them, or Config.ReportTimeout later. Calling it
// again waits for the first call.
func (a *Agent) Stop() {
	a.startStop.Lock()
	defer a.startStop.Unlock()
	if a.stopped {
		return
	}
	a.stopped = true
	if !a.started {
		return
	}
	a.stopClaiming()
	a.claims.Wait() // no execution begins after this
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		a.work.Wait()
	}()
	if running := len(a.running()); running > 0 {
		a.log.Info(fmt.Sprintf("Stopping; waiting up to %s for %d flow runs to end", a.config.DrainTimeout, running))
	}
	select {
	case <-worked:
	case <-a.config.Clock.After(a.config.DrainTimeout):
		a.stopExecutions(worked)
	case <-a.killed:
		a.stopExecutions(worked)
	}
	<-worked
	a.finishShipping()
	a.stopBeating() // only now: leases must live until the last report
	a.beats.Wait()
	a.deregister()
	a.stopLauncher()
}

func (a *Agent) stopLauncher() {
	if a.launcher != nil {
		a.launcher.Stop()
		a.storages.Stop()
	}
}

// Busy is how many flow runs the agent executes now.
func (a *Agent) Busy() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.executions)
}

// Kill makes a running or coming Stop kill the flow processes instead of waiting
// for them. It returns at once.
func (a *Agent) Kill() { a.kill() }

// stopExecutions ends what still runs when draining took too long.
func (a *Agent) stopExecutions(worked <-chan struct{}) {
	for _, e := range a.running() {
		e.end(ErrStopping)
	}
	// After the grace period all processes are dead; what remains are reports.
	select {
	case <-worked:
		return
	case <-a.config.Clock.After(a.config.Grace):
	case <-a.killed:
	}
	for _, e := range a.running() {
		e.kill()
	}
	select {
	case <-worked:
	case <-a.config.Clock.After(a.config.ReportTimeout):
		a.log.Warn("The server does not answer; leaving without having reported the last flow runs")
		a.stopReporting()
	}
}

// finishShipping gives the last lines of output a little time.
func (a *Agent) finishShipping() {
	shipped := make(chan struct{})
	go func() {
		defer close(shipped)
		a.shippers.Wait()
	}()
	select {
	case <-shipped:
	case <-a.config.Clock.After(a.config.ReportTimeout):
		a.log.Warn("The server does not answer; output of flow runs stays on disk for the next agent", "folder", a.config.SpoolDir)
	}
	a.stopReporting()
	<-shipped
}

// deregister says goodbye. Without it the server notices a little later.
func (a *Agent) deregister() {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	if err := a.config.API.DeleteAgent(ctx, a.id); err != nil {
		a.log.Debug("Cannot deregister the agent", "error", err)
	}
}

// execute begins a granted run. A grant that is known already, from an answer
// that was repeated, changes nothing.
func (a *Agent) execute(grant api.Grant) {
	e := a.newExecution(grant)
	a.mu.Lock()
	if a.executions[grant.Token] != nil {
		a.mu.Unlock()
		return
	}
	for _, other := range a.executions {
		if other.id == e.id {
			e.before = append(e.before, other)
		}
	}
	a.executions[grant.Token] = e
	a.mu.Unlock()
	for _, former := range e.before {
		former.lose("the run was granted anew")
	}
	a.work.Go(func() {
		e.run()
		a.mu.Lock()
		delete(a.executions, grant.Token)
		last := a.calledBack != nil && len(a.executions) == 0
		a.mu.Unlock()
		if last {
			a.log.Info(drained)
		}
		select {
		case a.freed <- struct{}{}:
		default:
		}
	})
}

// running lists the executions that have not lost their lease, in the order of
// their runs' ids.
func (a *Agent) running() []*execution {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []*execution
	for _, e := range a.executions {
		if !errors.Is(context.Cause(e.reports), ErrLost) {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(x, y *execution) int { return x.id.Compare(y.id) })
	return list
}

// ship sends the lines of a spool file while they are written.
func (a *Agent) ship(file *spool.File, finished <-chan struct{}) *shipper {
	s := &shipper{api: a.config.API, clock: a.config.Clock, log: a.log, file: file, finished: finished, done: make(chan struct{})}
	a.shippers.Go(func() { s.run(a.reporting) })
	return s
}

// shipLeftovers sends what killed agents have left on disk, one file after the
// other, so that it does not crowd out what is written now.
func (a *Agent) shipLeftovers() {
	files, err := a.spools.Adopt()
	if err != nil {
		a.log.Error("Cannot read the output that a former agent left", "error", err)
	}
	finished := make(chan struct{})
	close(finished)
	for _, file := range files {
		a.log.Info(fmt.Sprintf("Shipping the output that a former agent left of flow run '%s'", file.FlowRun()), "flow_run_id", file.FlowRun().String())
		s := &shipper{api: a.config.API, clock: a.config.Clock, log: a.log, file: file, finished: finished, done: make(chan struct{})}
		s.run(a.reporting)
	}
	a.shipSDKLines(nil)
}

// shipSDKLines sends the log lines that ended flow processes had not delivered themselves: those of one flow run, or all.
func (a *Agent) shipSDKLines(flowRun *api.ID) {
	files, err := a.spools.AdoptSDK(flowRun)
	if err != nil {
		a.log.Error("Cannot read the log lines that a flow process left", "error", err)
	}
	for _, file := range files {
		if err := a.shipSDKFile(file); err != nil {
			a.log.Error("Cannot deliver the log lines that a flow process left; they stay on disk", "file", file.Path(), "error", err)
		}
		_ = file.Close() // what was to be removed is
	}
}

func (a *Agent) shipSDKFile(file *spool.SDKFile) error {
	for {
		batch, err := file.Next()
		if errors.Is(err, io.EOF) {
			return file.Remove()
		}
		if err != nil {
			return err
		}
		if !sendLogs(a.reporting, a.config.API, a.config.Clock, a.log, batch.Producer, batch.Sequence, batch.Logs) {
			return a.reporting.Err()
		}
	}
}

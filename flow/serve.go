package flow

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/sluice-dev/sluice/agent"
	"github.com/sluice-dev/sluice/agent/process"
	programs "github.com/sluice-dev/sluice/agent/program"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/flow/internal/engine"
	"github.com/sluice-dev/sluice/flow/internal/server"
)

// serveLimit is how many runs a program that serves executes at once, unless told otherwise: they are goroutines, not processes.
const serveLimit = 256

// serve executes the runs of work queues in this process.
func (p *program) serve(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.SetOutput(p.stderr)
	limit := flags.Int("limit", serveLimit, "how many flow runs to execute at once")
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	if flags.NArg() == 0 {
		return p.usage("serve needs the names or ids of work queues")
	}
	recorder, err := newRecorder(ctx)
	if err != nil {
		p.complain("error: %s", err)
		return exitFailed
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLines)
		defer cancel()
		if err := recorder.Close(ending); err != nil {
			p.say("warning: %s", err)
		}
	}()
	if err := p.serveWith(ctx, recorder, flags.Args(), *limit); err != nil {
		p.complain("error: %s", err)
		return exitFailed
	}
	return exitOK
}

func (p *program) serveWith(ctx context.Context, recorder *server.Recorder, queues []string, limit int) error {
	var ids []api.ID
	for _, name := range queues {
		id, err := api.ParseID(name)
		if err != nil {
			queue, err := recorder.Client().WorkQueueByName(ctx, name)
			if err != nil {
				return fmt.Errorf("find work queue %q: %w", name, err)
			}
			id = queue.ID
		}
		ids = append(ids, id)
	}
	spool, err := os.MkdirTemp("", "sluice-serve-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(spool) }()
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	connection := engine.Connection{Recorder: recorder, Level: loggingLevel()}
	a, err := agent.New(agent.Config{
		Name: fmt.Sprintf("%s-%s-%d", filepath.Base(os.Args[0]), host, os.Getpid()), Version: revision(), WorkQueueIDs: ids, Limit: limit, SpoolDir: spool,
		APIURL: strings.Join(recorder.Client().Addresses(), ","), API: recorder.Client(), Output: p.stderr, Logger: slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Runners: map[string]agent.Runner{"subprocess": served{p, engine.Connect(context.WithoutCancel(ctx), connection), recorder}},
	})
	if err != nil {
		return err
	}
	p.say("Serving %s from %s.", strings.Join(p.names(), ", "), strings.Join(queues, ", "))
	defer context.AfterFunc(ctx, func() {
		p.say("Stopping: takes no more flow runs, and waits up to 30 s for those that it has.")
	})()
	return a.Run(ctx)
}

func (p *program) names() []string {
	var names []string
	for _, f := range p.flows {
		names = append(names, f.flow.Name)
	}
	return names
}

// served executes granted runs as goroutines.
type served struct {
	program   *program
	connected context.Context
	recorder  *server.Recorder
}

// Run implements agent.Runner.
func (s served) Run(ctx context.Context, job agent.Job) (process.Exit, error) {
	name, err := s.recorder.FlowName(ctx, job.FlowRun.FlowID)
	if err != nil {
		return process.Exit{}, fmt.Errorf("read the flow of the run: %w", err)
	}
	f := s.program.find(name)
	if f == nil {
		return process.Exit{}, fmt.Errorf("the program that serves this work queue has no flow %q, only %s; give the deployment other tags, or the queue another filter", name, strings.Join(s.program.names(), ", "))
	}
	warning := ""
	if other := deployedVersion(job.Deployment); other != "" && other != f.flow.Version {
		warning = fmt.Sprintf("The deployment was made of version %s of the flow; the program that serves this work queue executes version %s.", other, cmp.Or(f.flow.Version, "(unknown)"))
	}
	running, end := context.WithCancelCause(s.connected)
	defer end(nil)
	defer context.AfterFunc(ctx, func() { end(causeOf(context.Cause(ctx))) })()
	job.Started()
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = f.flow.RunGranted(running, job.FlowRun, job.Token, warning, f.decode) // how it ended was reported; that is all that anybody asks for
	}()
	select {
	case <-over:
	case <-job.Kill:
		return process.Exit{}, errors.New("the flow did not end when it was told to; it goes on, for a goroutine cannot be killed: let flows look at their context, or have an agent execute this one in a process")
	}
	return process.Exit{}, agent.ErrReported
}

// deployedVersion is the version of the flow in the program that a deployment was made of; "" when it is not known.
func deployedVersion(deployment *api.Deployment) string {
	if deployment == nil || deployment.FlowData.Encoding != api.EncodingProgram {
		return ""
	}
	made, err := programs.Parse(deployment.FlowData)
	if err != nil {
		return "" // who executes it in a process says so
	}
	return made.Version
}

// causeOf says in the engine's words why the agent ends a run.
func causeOf(cause error) error {
	switch {
	case errors.Is(cause, agent.ErrCancelled):
		return engine.ErrCancelled
	case errors.Is(cause, agent.ErrLost):
		return engine.ErrLeaseLost
	}
	return &engine.Terminated{Signal: "SIGTERM"}
}

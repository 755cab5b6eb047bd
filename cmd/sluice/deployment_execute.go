package main

import (
	"bytes"
	"context"
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
	"github.com/sluice-dev/sluice/internal/redact"
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
	if described.Language == api.LanguageScript {
		return executeCommand(ctx, a, c, d)
	}
	path, err := a.fetchProgram(ctx, c, described)
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

// executeCommand runs a plain command or a script here.
func executeCommand(ctx context.Context, a *app, c *client.Client, d *namedDeployment) error {
	argv, err := a.commandOf(ctx, c, d)
	if err != nil {
		return fmt.Errorf("the command of deployment '%s': %w", d.title(), err)
	}
	runner := d.FlowRunner
	if redact.HasMask(runner.Config) {
		runner.Config = nil // an operator is not shown it, and nothing executes this run by it
	}
	end, err := a.record(ctx, c, recordedCommand{
		flow: d.flow, argv: argv, told: "sluice deployment execute",
		run: api.FlowRunCreate{FlowID: d.FlowID, Parameters: d.Parameters, Tags: d.Tags, FlowRunner: &runner},
	})
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil:
		return interrupted(ctx.Err())
	}
	return ended(end.state)
}

// commandOf returns the command line of a deployment, with its parameters in it.
func (a *app) commandOf(ctx context.Context, c *client.Client, d *namedDeployment) ([]string, error) {
	var argv []string
	var err error
	if d.FlowData.Encoding == api.EncodingProgram {
		described, err := program.Parse(d.FlowData)
		if err != nil {
			return nil, err
		}
		path, err := a.fetchProgram(ctx, c, described)
		if err != nil {
			return nil, err
		}
		argv = append([]string{path}, described.Arguments...)
	} else if argv, err = agent.Command(d.FlowData); err != nil {
		return nil, err
	}
	return agent.Arguments(argv, d.Parameters)
}

// fetchProgram returns the file of a stored program.
func (a *app) fetchProgram(ctx context.Context, c *client.Client, described *api.Program) (string, error) {
	cache := program.Cache{Dir: filepath.Join(a.home(), "programs"), Load: func(ctx context.Context, document api.DataDocument) ([]byte, error) {
		return storage.Load(ctx, c, document, a.places())
	}}
	return cache.Path(ctx, described)
}

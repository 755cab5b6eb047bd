package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-dev/sluice/agent"
	"github.com/sluice-dev/sluice/agent/console"
	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/python"
	"github.com/sluice-dev/sluice/storage/cloud"
)

// runAgent runs an agent until ctx ends and its flows have, or a second signal stops them.
func runAgent(ctx context.Context, a *app, o agentOptions) error {
	address, _ := a.settings.lookup(settingAPIURL)
	running, err := a.startAgent(ctx, o, address)
	if err != nil {
		return err
	}
	o.Ready()
	manager := a.serviceManager(o.Logger)
	manager.ready(fmt.Sprintf("agent %s looks for work", running.Name()))
	defer manager.watch(func(context.Context) error {
		manager.status(fmt.Sprintf("agent %s executes %d flow runs", running.Name(), running.Busy()))
		return nil
	})()
	stopping := context.AfterFunc(ctx, func() {
		manager.stopping(fmt.Sprintf("waiting up to %s for %d flow runs to end", o.Drain, running.Busy()))
	})
	defer stopping()
	stop := hurryOnSecondSignal(ctx, running)
	defer stop()
	if err := running.Wait(ctx); err != nil {
		return err
	}
	a.say("\nAgent stopped!")
	return nil
}

// startAgent starts an agent of the cluster at the address.
func (a *app) startAgent(ctx context.Context, o agentOptions, address string) (*agent.Agent, error) {
	c, err := a.connectTo(address)
	if err != nil {
		return nil, err
	}
	sdk, err := python.WriteTo(filepath.Join(a.home(), "cache"))
	if err != nil {
		return nil, fmt.Errorf("unpack the Python SDK: %w", err)
	}
	// The agent's lines are its data: they go where the tutorial shows them. The level was checked when the command began.
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return nil, fmt.Errorf("read the log level: %w", err)
	}
	addresses, err := client.ParseAddresses(address)
	if err != nil {
		return nil, err
	}
	token := a.token(addresses)
	authority, err := a.authority()
	if err != nil {
		return nil, err
	}
	interpreter, _ := a.settings.lookup(settingPython)
	interpreter = directInterpreter(ctx, interpreter)
	var queues []api.ID
	for _, q := range o.Queues {
		queues = append(queues, q.ID)
	}
	running, err := agent.New(agent.Config{
		Name: o.Name, Version: version(), WorkQueueIDs: queues, Limit: o.Limit, DrainTimeout: o.Drain, APIURL: address, APICAFile: authority, Token: token, Python: interpreter, PythonPath: sdk,
		Home: a.home(), Storages: cloud.Openers(cloud.Results), SpoolDir: filepath.Join(a.home(), "spool"), API: c, Logger: slog.New(console.New(a.out, console.Options{Level: level, Format: console.Format(a.logFormat)})), Output: a.out,
	})
	if err != nil {
		return nil, err
	}
	if err := running.Start(ctx); err != nil {
		return nil, err
	}
	return running, nil
}

// hurryOnSecondSignal makes the agent kill its flows when the user interrupts it again while it waits for them.
func hurryOnSecondSignal(ctx context.Context, running *agent.Agent) (stop func()) {
	again := make(chan os.Signal, 1)
	ended := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		case <-ended:
			return
		}
		select {
		case <-again:
			running.Kill()
		case <-ended:
		}
	}()
	return func() {
		signal.Stop(again)
		close(ended)
	}
}

// directInterpreter returns the program behind an interpreter's name. Version managers put a script in its place that costs more
// than starting Python does, at every run; which one it picks here and now is what it would pick for the agent's runs. A name
// that cannot be run stays: the runs that need it say what is wrong.
func directInterpreter(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, "-c", "import sys; print(sys.executable)").Output()
	path := strings.TrimSpace(string(out))
	if err != nil || !filepath.IsAbs(path) {
		return name
	}
	return path
}

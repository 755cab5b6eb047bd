package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
	"github.com/sluice-dev/sluice/storage"
)

// What `sluice dev` sets up.
const (
	devQueue      = "default"
	devFlow       = "hello"
	devDeployment = "sample"
)

//go:embed sample_flow.py
var sampleFlow string

// runDev runs a node, an agent and a sample deployment until ctx ends.
func runDev(ctx context.Context, a *app, o serverOptions) error {
	o.InternalAddr, o.GossipAddr = "127.0.0.1:0", ""
	o.WebhookPrivate = true // it is for trying things on one machine
	s, err := startInPlace(ctx, a, o)
	if err != nil {
		return err
	}
	err = workBeside(ctx, s.wait, func(ctx context.Context) error { return runDevAgent(ctx, a, s.apiURL(), o) })
	if err == nil {
		a.say("\nSluice stopped! What it stored is in %s", o.DataDir)
	}
	return err
}

// workBeside runs a server and an agent that works for it. The server outlives the agent, whose last reports must reach somebody;
// a server that ends by itself ends the agent, which nobody would give runs.
func workBeside(ctx context.Context, serve, work func(context.Context) error) error {
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	working, stopWorking := context.WithCancel(ctx)
	defer stopWorking()
	served := make(chan error, 1)
	go func() {
		served <- serve(serving)
		stopWorking()
	}()
	err := work(working)
	stopServing()
	return errors.Join(err, <-served)
}

func runDevAgent(ctx context.Context, a *app, apiURL string, o serverOptions) error {
	c, err := a.connectTo(apiURL)
	if err != nil {
		return err
	}
	defer c.Close()
	queue, err := ensureDevQueue(ctx, c)
	if err != nil {
		return err
	}
	interpreter, _ := a.settings.lookup(settingPython)
	if err := ensureSample(ctx, c, interpreter); err != nil {
		return err
	}
	running, err := a.startAgent(ctx, agentOptions{Queues: []api.WorkQueue{*queue}}, apiURL)
	if err != nil {
		return err
	}
	o.Ready(apiURL, apiURL[:len(apiURL)-len("/api")])
	a.say("An agent serves the work queue '%s'. Run the sample deployment with:\n\n    sluice --api %s deployment run %s/%s --watch\n", devQueue, apiURL, devFlow, devDeployment)
	if rules, err := c.Retention(ctx); err == nil {
		a.say("Finished runs are kept for %s and logs for %s; `sluice retention set` changes that.\n", people(rules.Runs.MaxAge), people(rules.Logs.MaxAge))
	}
	stop := hurryOnSecondSignal(ctx, running)
	defer stop()
	return running.Wait(ctx)
}

// people is an age in words.
func people(age api.Age) string {
	if days := time.Duration(age) / (24 * time.Hour); days > 1 && time.Duration(age)%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", days)
	}
	if age == api.Forever {
		return "ever"
	}
	return age.String()
}

// ensureDevQueue returns the queue that takes every deployment's runs.
func ensureDevQueue(ctx context.Context, c *client.Client) (*api.WorkQueue, error) {
	queue, err := c.WorkQueueByName(ctx, devQueue)
	if api.IsNotFound(err) {
		queue, err = c.CreateWorkQueue(ctx, api.WorkQueueCreate{Name: devQueue, Description: "Made by `sluice dev`: takes the runs of every deployment."})
	}
	if err != nil {
		return nil, fmt.Errorf("make the work queue '%s': %w", devQueue, err)
	}
	return queue, nil
}

// ensureSample makes the sample deployment unless there is one: of a Python flow, or of a command where there is no Python.
func ensureSample(ctx context.Context, c *client.Client, interpreter string) error {
	_, err := c.DeploymentByName(ctx, devFlow, devDeployment)
	if !api.IsNotFound(err) {
		return err
	}
	flow, err := c.CreateFlow(ctx, api.FlowCreate{Name: devFlow})
	if err != nil {
		return fmt.Errorf("make the sample flow: %w", err)
	}
	deployment := api.DeploymentCreate{Name: devDeployment, FlowID: flow.ID, Tags: []string{"sample"}, Parameters: json.RawMessage(`{"name":"World"}`)}
	if _, err := exec.LookPath(interpreter); err != nil {
		deployment.FlowData = api.DataDocument{Encoding: "sluice-command", Blob: `["sh","-c","echo \"Hello $SLUICE_PARAM_NAME!\""]`}
	} else {
		code, err := json.Marshal(map[string]string{"encoding": "sluice-flow", "blob": sampleFlow, "path": "sample_flow.py", "flow_name": devFlow, "language": "python"})
		if err != nil {
			return fmt.Errorf("encode the sample flow: %w", err)
		}
		store := storage.BuiltIn(c)
		key, err := store.Write(ctx, code)
		if err != nil {
			return fmt.Errorf("store the sample flow: %w", err)
		}
		deployment.FlowData = api.DataDocument{Encoding: "sluice-store", Blob: key}
	}
	if _, err := c.CreateDeployment(ctx, deployment); err != nil {
		return fmt.Errorf("make the sample deployment: %w", err)
	}
	return nil
}

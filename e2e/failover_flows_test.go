//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// greetings is how many lines a run of talkingFlow logs, each in a task of its own.
const greetings = 12

// talkingFlow is the tutorial's flow, greeting again and again for a second or two. It notes its start.
const talkingFlow = `from sluice import flow, task, get_run_logger
import os, time


@task
def log_message(name, n):
    get_run_logger().info(f"Hello {name}! {n}")


@flow
def leonardo_dicapriflow(name: str):
    with open(os.environ["E2E_STARTS"], "a") as file:
        file.write(os.environ["SLUICE_FLOW_RUN_ID"] + "\n")
    for n in range(%d):
        log_message(name, n)
        time.sleep(0.1)
`

// TestPythonFlowsGoOnWhileTheLeaderIsKilled: runs of the tutorial's flow wait in the tutorial's queue, are claimed and report what
// they do, while one leader after the other is killed.
func TestPythonFlowsGoOnWhileTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	kills := 3
	if long() {
		kills = 10
	}
	random := seeded(t)
	c := startNodes(t, 3, "--insecure")
	conn := c.connect()
	shell := newShell(t)
	shell.env["SLUICE_API_URL"] = strings.Join(c.addresses(), ",")
	shell.env["E2E_STARTS"] = filepath.Join(shell.dir, "starts")
	shell.write("leo_flow.py", strings.Replace(talkingFlow, "%d", fmt.Sprint(greetings), 1))
	shell.write("leo_deployment.yaml", "name: leonardo-deployment\nflow_location: ./leo_flow.py\ntags: [tutorial]\nparameters: {name: Leo}\n")
	shell.ok("deployment", "create", "leo_deployment.yaml")
	shell.ok("work-queue", "create", "--tag", "tutorial", "tutorial_queue")
	agent := shell.startAgent("tutorial_queue", "--limit", "6")
	deployment := must[*api.Deployment](t)(conn.DeploymentByName(t.Context(), "leonardo-dicapriflow", "leonardo-deployment")).ID

	// A user asks for a run every now and then, until all kills are over.
	var mu sync.Mutex
	var runs []api.ID
	over := make(chan struct{})
	finish := sync.OnceFunc(func() { close(over) })
	var asking sync.WaitGroup
	t.Cleanup(func() { finish(); asking.Wait() })
	asking.Go(func() {
		tick := time.NewTicker(400 * time.Millisecond)
		defer tick.Stop()
		for {
			state, key := api.NewState(api.Scheduled, ""), api.NewID().String()
			asked, err := conn.RunDeployment(t.Context(), deployment, api.DeploymentFlowRunCreate{State: &state, IdempotencyKey: &key})
			if err != nil {
				if t.Context().Err() == nil {
					t.Errorf("a run was not accepted: %v", err)
				}
				return
			}
			mu.Lock()
			runs = append(runs, asked.ID)
			mu.Unlock()
			select {
			case <-over:
				return
			case <-tick.C:
			}
		}
	})
	newest := func() api.ID {
		var id api.ID
		eventually(t, "a run was asked for", func() error {
			mu.Lock()
			defer mu.Unlock()
			if len(runs) == 0 {
				return fmt.Errorf("none yet")
			}
			id = runs[len(runs)-1]
			return nil
		})
		return id
	}
	for i := range kills {
		// Somewhere between a run's claim and its end; others are in other states then.
		watchUntil(t, conn, newest(), "Running", patience, func(s api.State) bool { return s.Type != api.Scheduled && s.Type != api.Pending })
		time.Sleep(time.Duration(random.Int64N(int64(1500 * time.Millisecond)))) // the moment is random, not awaited
		dead := c.leader()
		dead.kill9()
		began := time.Now()
		dead.restart()
		t.Logf("kill %d: node %s, ready again %s after its start", i+1, dead.address, time.Since(began).Round(time.Millisecond))
	}
	finish()
	asking.Wait()
	for _, id := range runs {
		watchUntil(t, conn, id, "Completed", patience, func(s api.State) bool { return s.Type.Terminal() })
		checkLife(t, conn, id)
		checkCount(t, "run "+id.String(), numbers(t, allLogs(t, conn, id), "Hello Leo! "), greetings)
	}
	starts := linesOf(t, shell.env["E2E_STARTS"])
	slices.Sort(starts)
	if len(starts) != len(runs) || len(slices.Compact(starts)) != len(runs) {
		t.Errorf("%d runs were started %d times", len(runs), len(linesOf(t, shell.env["E2E_STARTS"])))
	}
	if agent.exited() {
		t.Errorf("the agent ended with exit code %d", agent.code)
	}
	t.Logf("%d runs through %d kills", len(runs), kills)
}

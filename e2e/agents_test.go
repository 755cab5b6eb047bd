//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// crashLimit is the promise: what a dead owner leaves is Crashed after at most so long.
const crashLimit = 30 * time.Second

// A command that leaves a process in a session of its own, one in its group, and waits itself.
var lingering = []string{"sh", "-c", "setsid sleep 300 & sleep 300 & echo started; sleep 300"}

const lingeringFlow = `from sluice import flow, get_run_logger
import subprocess
import time


@flow
def lingering():
    subprocess.Popen(["sleep", "300"])
    subprocess.Popen(["sleep", "300"], start_new_session=True)
    get_run_logger().info("started")
    time.sleep(300)
`

func TestAnAgentThatIsKilled(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		deploy    func(t *testing.T, s *server) api.ID
		processes int // of the run, at least
	}{
		"of a Python flow leaves no process, a Crashed run and a free slot": {
			func(t *testing.T, s *server) api.ID { return deployPython(t, s, "lingering", lingeringFlow) }, 3},
		"of a command leaves no process, a Crashed run and a free slot": {
			func(t *testing.T, s *server) api.ID {
				return deploy(t, connect(t, s, 0), "lingering", nil, lingering...).deployment
			}, 4},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			conn := connect(t, s, 0)
			queueID := queue(t, conn, "one-at-a-time", 1)
			first := run(t, conn, c.deploy(t, s))
			agent := newClient(t, s).startAgent("one-at-a-time", "--name", "the-doomed")
			removeCarriers(t, first.String())
			watchUntil(t, conn, first, "Running", patience, named("Running"))
			eventually(t, "all processes of the run live", func() error {
				if n := len(carriers("SLUICE_FLOW_RUN_ID=" + first.String())); n < c.processes {
					return fmt.Errorf("%d of %d do", n, c.processes)
				}
				return nil
			})
			// The second run waits for the slot, with an agent that would take it.
			second := run(t, conn, deploy(t, conn, "next", nil, "true").deployment)
			newClient(t, s).startAgent("one-at-a-time", "--name", "the-heir")
			if q := must[*api.WorkQueue](t)(conn.WorkQueue(t.Context(), queueID)); q.SlotsInUse != 1 {
				t.Errorf("%d slots of the queue are in use while one run is executed", q.SlotsInUse)
			}

			killed := time.Now()
			agent.kill9()
			goneWithin(t, first.String())
			state := watchUntil(t, conn, first, "Crashed", patience, named(api.NameCrashed))
			if took := state.Timestamp.Sub(killed); took > crashLimit {
				t.Errorf("the run became Crashed %s after its agent was killed; %s are promised", took, crashLimit)
			} else {
				t.Logf("Crashed after %s", took)
			}
			if state.Type != api.Failed || state.Message == nil || !strings.Contains(*state.Message, "the-doomed") {
				t.Errorf("the state %s %q does not name the agent", state.Type, describeState(state))
			}
			watchUntil(t, conn, second, "Completed", patience, named("Completed"))
			checkLife(t, conn, second)
			if r := must[*api.FlowRun](t)(conn.FlowRun(t.Context(), second)); r.AgentName == nil || *r.AgentName != "the-heir" {
				t.Errorf("the second run was executed by %v", r.AgentName)
			}
			// The last slot is free too.
			if q := must[*api.WorkQueue](t)(conn.WorkQueue(t.Context(), queueID)); q.SlotsInUse != 0 {
				t.Errorf("%d slots of the queue are in use while no run is executed", q.SlotsInUse)
			}
		})
	}
}

func TestTwoAgentsOnOneQueueStartEachOfFiftyRunsOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn := connect(t, s, 0)
	queue(t, conn, "shared", 0)
	starts := filepath.Join(t.TempDir(), "starts")
	command := deploy(t, conn, "noted", nil, "sh", "-c", "echo $SLUICE_FLOW_RUN_ID >> "+starts).deployment
	python := deployPython(t, s, "noted_flow", fmt.Sprintf(`from sluice import flow
import os


@flow
def noted_flow():
    with open(%q, "a") as file:
        file.write(os.environ["SLUICE_FLOW_RUN_ID"] + "\n")
`, starts))
	agents := []*process{
		newClient(t, s).startAgent("shared", "--name", "left"),
		newClient(t, s).startAgent("shared", "--name", "right"),
	}
	var runs []api.ID
	for i := range 50 {
		deployment := command
		if i%5 == 0 {
			deployment = python
		}
		runs = append(runs, run(t, conn, deployment))
	}
	executed := map[string]int{}
	for _, id := range runs {
		watchUntil(t, conn, id, "ended", 2*patience, func(s api.State) bool { return s.Type.Terminal() })
		checkLife(t, conn, id)
		executed[*must[*api.FlowRun](t)(conn.FlowRun(t.Context(), id)).AgentName]++
	}
	count := map[string]int{}
	for _, id := range linesOf(t, starts) {
		count[id]++
	}
	for _, id := range runs {
		if count[id.String()] != 1 {
			t.Errorf("flow run %s was started %d times", id, count[id.String()])
		}
	}
	if len(count) != len(runs) {
		t.Errorf("%d runs were started, not %d", len(count), len(runs))
	}
	t.Logf("runs by agent: %v", executed)
	for _, agent := range agents {
		agent.signal(syscall.SIGTERM)
		if code := agent.wait(); code != 0 {
			t.Errorf("an agent without work, told to stop, ended with exit code %d", code)
		}
	}
}

func TestAnAgentThatIsToldToStopLetsItsFlowEndAndTakesNoMore(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn := connect(t, s, 0)
	queue(t, conn, "drained", 0)
	gate := filepath.Join(t.TempDir(), "gate")
	waiting := deploy(t, conn, "waiting", nil, "sh", "-c", "echo begun; until [ -e "+gate+" ]; do sleep 0.05; done; echo finished").deployment
	agent := newClient(t, s).startAgent("drained")
	first := run(t, conn, waiting)
	agent.waitFor("begun")
	agent.signal(syscall.SIGTERM)
	agent.waitFor("Stopping")
	second := run(t, conn, waiting)
	s.shell.write("gate", "")
	if err := syscall.Link(filepath.Join(s.shell.dir, "gate"), gate); err != nil {
		t.Fatal(err)
	}
	if code := agent.wait(); code != 0 {
		t.Errorf("the agent ended with exit code %d", code)
	}
	watchUntil(t, conn, first, "Completed", patience, named("Completed"))
	checkLife(t, conn, first)
	if lines := allLogs(t, conn, first); len(lines) != 2 || lines[0].Message != "begun" || lines[1].Message != "finished" {
		t.Errorf("the logs of the drained run are %v", lines)
	}
	if r := must[*api.FlowRun](t)(conn.FlowRun(t.Context(), second)); *r.StateType != api.Scheduled {
		t.Errorf("a run that came while the agent drained is %s", *r.StateType)
	}
	for _, a := range must[[]api.Agent](t)(conn.FilterAgents(t.Context())) {
		t.Errorf("the agent that has stopped is still listed: %+v", a)
	}
	// Nothing is wrong with the run that was left: the next agent takes it.
	newClient(t, s).startAgent("drained")
	watchUntil(t, conn, second, "Completed", patience, named("Completed"))
	checkLife(t, conn, second)
}

func TestCancellingARunEndsItsProcesses(t *testing.T) {
	t.Parallel()
	cases := map[string]func(t *testing.T, s *server) api.ID{
		"of a Python flow": func(t *testing.T, s *server) api.ID { return deployPython(t, s, "lingering", lingeringFlow) },
		"of a command": func(t *testing.T, s *server) api.ID {
			return deploy(t, connect(t, s, 0), "lingering", nil, lingering...).deployment
		},
	}
	for name, deployIt := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			conn := connect(t, s, 0)
			queue(t, conn, "q", 0)
			newClient(t, s).startAgent("q")
			user := newClient(t, s)
			id := run(t, conn, deployIt(t, s))
			removeCarriers(t, id.String())
			watch := user.start("flow-run", "watch", id.String())
			watch.waitFor("started")
			user.ok("flow-run", "cancel", id.String())
			if code := watch.wait(); code != 12 {
				t.Errorf("flow-run watch ended with exit code %d, not 12\n%s", code, watch.output())
			}
			goneWithin(t, id.String())
			if r := must[*api.FlowRun](t)(conn.FlowRun(t.Context(), id)); *r.StateType != api.Cancelled {
				t.Errorf("the run is %s", *r.StateType)
			}
		})
	}
}

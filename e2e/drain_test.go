//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

func TestAnAgentIsDrainedAndCalledBack(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, user := connect(t, s, patience), newClient(t, s)
	queue(t, conn, "q", 0)
	gate := user.write("gate", "")
	d := deploy(t, conn, "waits", nil, "sh", "-c", "echo begun; while [ ! -s "+gate+" ]; do sleep 0.05; done").deployment
	first := run(t, conn, d)
	agent := user.startAgent("q", "--name", "worker-1")
	watchUntil(t, conn, first, "Running", patience, named("Running"))

	contains(t, user.ok("agent", "drain", "worker-1"), "Draining agent 'worker-1'", "finishes 1 flow run")
	agent.waitFor(`Draining: claiming no more flow runs; 1 go on`)
	contains(t, user.ok("agent", "ls"), "draining")
	second := run(t, conn, d)
	s.kill9()
	s.start()
	eventually(t, "the agent is known to live, drained", func() error {
		e, err := conn.ExplainFlowRun(t.Context(), second)
		if err == nil && e.Reasons[0].Code != api.ExplainAgentsDrained {
			err = fmt.Errorf("%s: %s", e.Reasons[0].Code, e.Summary)
		}
		return err
	})
	waiting := user.start("agent", "drain", "worker-1", "--wait", "-o", "json")
	waiting.waitFor("waiting for 1 flow run to end")
	user.write("gate", "open")
	if code := waiting.wait(); code != 0 {
		t.Fatalf("drain --wait: %d %s", code, waiting.output())
	}
	var drained api.Agent
	output := waiting.output()
	if err := json.Unmarshal([]byte(output[strings.Index(output, "{"):]), &drained); err != nil || !drained.Draining || len(drained.FlowRuns) != 0 {
		t.Errorf("%v %s", err, output)
	}
	agent.waitFor("Drained: no flow run is left")
	if state := must[*api.FlowRun](t)(conn.FlowRun(t.Context(), second)).State; state.Type != api.Scheduled {
		t.Errorf("a drained agent took a run: it is %s", state.Name)
	}
	contains(t, user.ok("agent", "undrain", "worker-1"), "Agent 'worker-1'", "claims flow runs again")
	agent.waitFor("Called back")
	watchUntil(t, conn, second, "Completed", patience, named("Completed"))
	agent.signal(syscall.SIGTERM)
	agent.wait()
}

// The time from asking for a run's cancellation to the SIGTERM its process gets is told, for docs/performance.md.
func TestACancelledCommandIsToldToStop(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn := connect(t, s, patience)
	queue(t, conn, "q", 0)
	newClient(t, s).startAgent("q")
	d := deploy(t, conn, "sleeps", nil, "sh", "-c", "trap 'date +%s%N; exit 1' TERM; echo begun; while :; do sleep 0.005; done").deployment
	n := 3
	if long() {
		n = 100
	}
	var took []time.Duration
	for range n {
		id := run(t, conn, d)
		eventually(t, "the command has begun", func() error {
			if len(allLogs(t, conn, id)) == 0 {
				return errors.New("it has no log lines")
			}
			return nil
		})
		asked := time.Now()
		must[*api.CancelAnswer](t)(conn.CancelFlowRun(t.Context(), id, "enough"))
		watchUntil(t, conn, id, "Cancelled", patience, named("Cancelled"))
		lines := allLogs(t, conn, id)
		told, err := strconv.ParseInt(lines[len(lines)-1].Message, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Unix(0, told).Sub(asked))
	}
	slices.Sort(took)
	t.Logf("from cancel to SIGTERM, of %d: p50 %s, p90 %s, most %s", n, took[n/2], took[n*9/10], took[n-1])
}

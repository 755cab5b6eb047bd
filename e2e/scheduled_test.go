//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const tickingFlow = `from sluice import flow, get_run_logger

@flow
def ticking():
    get_run_logger().info("tick")
`

const tickingDeployment = `from datetime import timedelta

from sluice.deployments import DeploymentSpec
from sluice.orion.schemas.schedules import IntervalSchedule

DeploymentSpec(
    name="every-two-seconds",
    flow_location="./ticking.py",
    schedule=IntervalSchedule(interval=timedelta(seconds=2)),
)
`

// scheduledRun is what the test needs of a flow run.
type scheduledRun struct {
	id, state  string
	due, start time.Time
}

func TestAScheduledDeploymentFiresOnTimeNoneMissedNoneTwice(t *testing.T) {
	t.Parallel()
	const interval, fires = 2 * time.Second, 5
	server := startServer(t)
	s := newClient(t, server)
	s.ok("work-queue", "create", "all")
	agent := s.startAgent("all")
	s.write("ticking.py", tickingFlow)
	s.write("ticking_deployment.py", tickingDeployment)
	s.ok("deployment", "create", "ticking_deployment.py")
	id := decode[object](t, s.ok("deployment", "inspect", "ticking/every-two-seconds"))["id"].(string)

	for range fires {
		mark := agent.mark()
		agent.waitAfter(mark, `Subprocess for flow run '.*' exited cleanly\.`)
	}
	s.ok("deployment", "pause", "ticking/every-two-seconds") // deletes the runs that were planned
	agent.interrupt()
	if code := agent.wait(); code != 0 {
		t.Errorf("the agent ended with exit code %d", code)
	}

	runs := server.scheduledRuns(id)
	if len(runs) < fires {
		t.Fatalf("%d runs were made, want at least %d: %v", len(runs), fires, runs)
	}
	for i, run := range runs {
		if run.due.UnixNano()%int64(interval) != 0 {
			t.Errorf("run %s was due at %s, which the anchor (midnight) and the interval do not give", run.id, run.due)
		}
		if i > 0 && !run.due.Equal(runs[i-1].due.Add(interval)) {
			t.Errorf("run %s was due at %s, the one before at %s: a fire is missing or doubled", run.id, run.due, runs[i-1].due)
		}
		if run.state == "SCHEDULED" && i == len(runs)-1 {
			continue // due between the agent's last claim and its end
		}
		if run.state != "COMPLETED" || run.start.Before(run.due) {
			t.Errorf("run %s, due at %s, started at %s and is %s", run.id, run.due, run.start, run.state)
		}
		for _, name := range server.stateNames(run.id) {
			if name == "Late" {
				t.Errorf("run %s was late", run.id)
			}
		}
		t.Logf("due %s, started %s later", run.due.Format(time.TimeOnly), run.start.Sub(run.due))
	}
}

// scheduledRuns returns the runs that a schedule made, by the time they were due.
func (s *server) scheduledRuns(deployment string) []scheduledRun {
	s.t.Helper()
	var runs []scheduledRun
	for _, run := range s.list("/flow_runs/filter", object{
		"deployments": object{"id": object{"any_": []string{deployment}}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 200,
	}) {
		if run["auto_scheduled"] != true {
			s.t.Errorf("run %v was not made by the schedule", run["id"])
		}
		found := scheduledRun{id: run["id"].(string), state: fmt.Sprint(run["state_type"]), due: instant(s.t, run["expected_start_time"])}
		if run["start_time"] != nil {
			found.start = instant(s.t, run["start_time"])
		}
		runs = append(runs, found)
	}
	slices.Reverse(runs)
	return runs
}

// stateNames returns the names of all states that a flow run had.
func (s *server) stateNames(run string) []string {
	s.t.Helper()
	var states []object
	if _, err := s.request(s.t.Context(), "GET", "/flow_run_states/?flow_run_id="+run, nil, &states); err != nil {
		s.t.Fatal(err)
	}
	if len(states) == 0 {
		s.t.Errorf("run %s has no states", run)
	}
	var names []string
	for _, state := range states {
		names = append(names, state["name"].(string))
	}
	return names
}

func instant(t *testing.T, value any) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, fmt.Sprint(value))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

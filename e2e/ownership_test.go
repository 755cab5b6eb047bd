//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

const sleepingScript = `from sluice import flow, get_run_logger
import time


@flow
def sleeping():
    get_run_logger().info("asleep")
    time.sleep(300)


if __name__ == "__main__":
    sleeping()
`

// onlyRun waits for the server's one flow run to be Running and returns its id.
func onlyRun(t *testing.T, c *client.Client) api.ID {
	t.Helper()
	var id api.ID
	eventually(t, "the one flow run is there", func() error {
		runs, err := c.FilterFlowRuns(t.Context(), api.FilterRequest{})
		if err != nil || len(runs) != 1 {
			return fmt.Errorf("%d runs, %v", len(runs), err)
		}
		id = runs[0].ID
		return nil
	})
	watchUntil(t, c, id, "Running", patience, named("Running"))
	return id
}

// checkCrash waits for the run of a process that was just killed to become Crashed, in time and naming the process.
func checkCrash(t *testing.T, c *client.Client, id api.ID, killed time.Time, owner ...string) {
	t.Helper()
	state := watchUntil(t, c, id, "Crashed", patience, named(api.NameCrashed))
	if took := state.Timestamp.Sub(killed); took > crashLimit {
		t.Errorf("the run became Crashed %s after its process was killed; %s are promised", took, crashLimit)
	}
	for _, part := range owner {
		if state.Message == nil || !strings.Contains(*state.Message, part) {
			t.Errorf("the state %q does not name %q", describeState(state), part)
		}
	}
	if state.Type != api.Failed {
		t.Errorf("Crashed is of type %s", state.Type)
	}
}

func TestAProcessWithoutAgentThatIsKilledLeavesACrashedRun(t *testing.T) {
	t.Parallel()
	t.Run("a script", func(t *testing.T) {
		t.Parallel()
		s := startServer(t)
		conn := connect(t, s, 0)
		user := newClient(t, s)
		user.env["PYTHONPATH"] = filepath.Join(built.root, "python")
		user.write("sleepy.py", sleepingScript)
		script := user.launch(launch{program: built.python, args: []string{"sleepy.py"}})
		id := onlyRun(t, conn)
		killed := time.Now()
		script.kill9()
		checkCrash(t, conn, id, killed, "sleepy.py", fmt.Sprintf("(pid %d)", script.pid()))
	})
	t.Run("the flow process of deployment execute", func(t *testing.T) {
		t.Parallel()
		s := startServer(t)
		conn := connect(t, s, 0)
		deployPython(t, s, "sleeping", sleepingScript)
		user := newClient(t, s)
		marker := api.NewID().String()
		user.env["E2E_MARKER"] = marker
		execute := user.start("deployment", "execute", "sleeping/sleeping")
		removeCarriers(t, marker)
		id := onlyRun(t, conn)
		flows := slices.DeleteFunc(carriers(marker), func(pid int) bool { return !strings.Contains(tell([]int{pid}), "sluice.engine") })
		if len(flows) != 1 {
			t.Fatalf("deployment execute has started %d flow processes:%s", len(flows), tell(flows))
		}
		killed := time.Now()
		if err := syscall.Kill(flows[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if code := execute.wait(); code == 0 {
			t.Error("deployment execute ends with exit code 0 when its flow process was killed")
		}
		checkCrash(t, conn, id, killed, fmt.Sprintf("(pid %d)", flows[0]))
	})
	for name, deployIt := range map[string]func(t *testing.T, s *server){
		"of a Python flow": func(t *testing.T, s *server) { deployPython(t, s, "sleeping", sleepingScript) },
		"of a command": func(t *testing.T, s *server) {
			deploy(t, connect(t, s, 0), "sleeping", nil, "sh", "-c", "sleep 300 & sleep 300")
		},
	} {
		t.Run("deployment execute "+name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			conn := connect(t, s, 0)
			deployIt(t, s)
			user := newClient(t, s)
			marker := api.NewID().String()
			user.env["E2E_MARKER"] = marker
			execute := user.start("deployment", "execute", "sleeping/sleeping")
			removeCarriers(t, marker)
			id := onlyRun(t, conn)
			killed := time.Now()
			execute.signal(syscall.SIGKILL) // not kill9: children may hold the output
			goneWithin(t, marker)
			checkCrash(t, conn, id, killed, "(pid ")
		})
	}
}

// orion speaks as Orion's agent and engine do: strict, without leases.
type orion struct {
	t   *testing.T
	url string
}

// send sends a request; the answer must have the status and, for set_state, be an ACCEPT.
func (o orion) send(method, path string, body any, want int) object {
	o.t.Helper()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			o.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(o.t.Context(), method, o.url+path, content)
	if err != nil {
		o.t.Fatal(err)
	}
	request.Header.Set(api.HeaderOrionVersion, "0.3.1")
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	if response.StatusCode != want {
		o.t.Fatalf("%s %s answers %d, not %d: %s", method, path, response.StatusCode, want, answer)
	}
	var out object
	_ = json.Unmarshal(answer, &out) // lists and empty bodies are for the caller to ask for otherwise
	return out
}

// set proposes a state as Orion's client words it.
func (o orion) set(kind, id, stateType, name string, message any) {
	o.t.Helper()
	var flowRun, taskRun any
	if kind == "flow_runs" {
		flowRun = id
	} else {
		taskRun = id
	}
	answer := o.send("POST", "/"+kind+"/"+id+"/set_state", object{"force": false, "state": object{
		"type": stateType, "name": name, "message": message, "data": nil, "state_details": object{
			"flow_run_id": flowRun, "task_run_id": taskRun, "child_flow_run_id": nil, "scheduled_time": nil, "cache_key": nil, "cache_expiration": nil}}}, 201)
	if answer["status"] != "ACCEPT" {
		o.t.Fatalf("%s of %s is answered with %v", name, kind, answer)
	}
}

// orionSilence is how long a run of Orion's clients says nothing: far more than any lease lives.
const orionSilence = 90 * time.Second

func TestARunOfOrionsClientsIsNotCrashedForItsSilence(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn := connect(t, s, 0)
	o := orion{t, s.apiURL()}
	flow := o.send("POST", "/flows/", object{"name": "leonardo_dicapriflow", "tags": []string{}}, 201)
	deployment := o.send("POST", "/deployments/", object{"name": "leonardo-deployment", "flow_id": flow["id"], "tags": []string{"tutorial"},
		"flow_data":  object{"encoding": "blockstorage", "blob": `{"data": "\"768b3093a34cd66c70460a62f8d0a126\"", "block_id": "ae781f0b-12d7-446d-9edc-f838008ffad7"}`},
		"parameters": object{"name": "Leo"}, "flow_runner": object{"type": "universal", "config": object{}}}, 201)
	queueID := o.send("POST", "/work_queues/", object{"name": "tutorial_queue", "filter": object{"tags": []string{"tutorial"}}}, 201)["id"].(string)
	id := o.send("POST", "/deployments/"+deployment["id"].(string)+"/create_flow_run", object{"state": object{"type": "SCHEDULED", "message": "Quick run through the Orion UI."}}, 201)["id"].(string)
	runID := must[api.ID](t)(api.ParseID(id))

	// The agent.
	limit := 10
	due := must[[]api.FlowRun](t)(conn.WorkQueueRuns(t.Context(), must[api.ID](t)(api.ParseID(queueID)), api.GetRuns{Limit: &limit, ScheduledBefore: api.TimeAt(time.Now().Add(10 * time.Second))}))
	if len(due) != 1 || due[0].ID != runID {
		t.Fatalf("get_runs answers %v", due)
	}
	o.set("flow_runs", id, "PENDING", "Pending", nil)

	// The engine.
	o.send("GET", "/flow_runs/"+id, nil, 200)
	o.send("GET", "/deployments/"+deployment["id"].(string), nil, 200)
	o.send("GET", "/flows/"+flow["id"].(string), nil, 200)
	o.send("PATCH", "/flow_runs/"+id, object{"flow_version": "768b3093a34cd66c70460a62f8d0a126"}, 204)
	o.send("POST", "/blocks/get_default_storage_block", nil, 204)
	o.set("flow_runs", id, "RUNNING", "Running", nil)
	task := o.send("POST", "/task_runs/", object{"name": "log_message-718c3f46-0", "flow_run_id": id, "task_key": "718c3f46d05e8c78a2675077640cfe24",
		"dynamic_key": "0", "tags": []string{}, "task_inputs": object{"name": []string{}}, "empirical_policy": object{"max_retries": 0, "retry_delay_seconds": 0.0},
		"state": object{"type": "PENDING", "name": "Pending", "message": nil, "data": nil}}, 201)["id"].(string)
	o.set("task_runs", task, "RUNNING", "Running", nil)

	explained := must[*api.Explanation](t)(conn.ExplainFlowRun(t.Context(), runID))
	if len(explained.Reasons) != 1 || explained.Reasons[0].Code != api.ExplainOwnerWithoutExpiry {
		t.Errorf("explain says %+v", explained)
	}
	contains(t, newClient(t, s).ok("flow-run", "explain", id), "holds no lease")

	// Any state it gets during the silence ends the wait early; the end of the wait is what is wanted here.
	before := must[[]api.State](t)(conn.FlowRunStates(t.Context(), runID))
	silent, cancel := context.WithTimeout(t.Context(), orionSilence)
	defer cancel()
	seen := 0
	err := conn.StreamFlowRun(silent, runID, false, "", func(event client.Event) error {
		if seen++; seen > len(before) {
			return fmt.Errorf("during the silence the run got the state %s", event.Data)
		}
		return nil
	})
	if silent.Err() == nil {
		t.Fatalf("the silence was broken: %v", err)
	}
	o.set("task_runs", task, "COMPLETED", "Completed", nil)
	o.set("flow_runs", id, "COMPLETED", "Completed", "All states completed.")
	o.send("POST", "/logs/", []object{{"name": "prefect.flow_runs", "level": 20, "message": "Hello Leo!", "timestamp": "2026-11-23T00:24:24.802539+00:00", "flow_run_id": id, "task_run_id": nil}}, 201)
	checkLife(t, conn, runID)
	if lines := allLogs(t, conn, runID); len(lines) != 1 {
		t.Errorf("the run's logs are %v", lines)
	}
}

// outage is how long the server is away.
const outage = 60 * time.Second

// What the flow prints and logs goes two ways: through the agent's spool and through the SDK.
const countingFlow = `from sluice import flow, get_run_logger
import os
import time


@flow
def counting(gate: str = ""):
    logger = get_run_logger()
    number = 0
    while not os.path.exists(gate):
        logger.info("logged %d", number)
        print(f"printed {number}")
        number += 1
        time.sleep(0.1)
    with open(gate + ".count", "w") as file:
        file.write(str(number))
`

func TestAServerThatIsAwayForAMinuteCostsNoRunAndNoLine(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn := connect(t, s, 0)
	queue(t, conn, "q", 0)
	agent := newClient(t, s).startAgent("q")
	gate := filepath.Join(t.TempDir(), "gate")
	deployment := deployPython(t, s, "counting", countingFlow)
	id := must[*api.FlowRun](t)(conn.RunDeployment(t.Context(), deployment, api.DeploymentFlowRunCreate{
		Parameters: must[[]byte](t)(json.Marshal(object{"gate": gate})), State: &api.StateCreate{Type: api.Scheduled}})).ID
	waiting := run(t, conn, deploy(t, conn, "short", nil, "sleep", "20").deployment) // ends while the server is away
	agent.waitFor(`printed 20\n`)
	s.kill9()
	// A minute is what is promised; nothing happens that could be waited for but the flow's own lines.
	agent.waitFor(`printed 21\n`)
	away := time.NewTimer(outage)
	select {
	case <-away.C:
	case <-agent.ended:
		t.Fatal("the agent ended while the server was away")
	}
	s.restart()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	watchUntil(t, conn, id, "Completed", patience, named("Completed"))
	watchUntil(t, conn, waiting, "Completed", patience, named("Completed"))
	checkLife(t, conn, id)
	checkLife(t, conn, waiting)
	count := must[int](t)(countOf(gate + ".count"))
	// The SDK and the agent have each delivered everything before the run's end was reported or the flow process ended.
	agent.signal(syscall.SIGTERM)
	if code := agent.wait(); code != 0 {
		t.Errorf("the agent ended with exit code %d", code)
	}
	lines := allLogs(t, conn, id)
	checkCount(t, "what the flow logged", numbers(t, lines, "logged "), count)
	checkCount(t, "what the flow printed", numbers(t, lines, "printed "), count)
	t.Logf("%d lines each way", count)
}

func countOf(path string) (int, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var n int
	_, err = fmt.Sscan(string(content), &n)
	return n, err
}

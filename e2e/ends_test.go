//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
)

// endingLines is how many lines a run logs right before its process ends.
const endingLines = 200

// endingFlow logs, and ends its process in the way it is told. Its task ends with it.
const endingFlow = `import os, resource, signal, sys, threading, time
from sluice import flow, task, get_run_logger


@task
def step(n):
    return n


@flow
def ending(how: str):
    logger = get_run_logger()
    step(1).wait()
    with open(os.path.join(os.environ["E2E_PIDS"], how), "w") as file:
        file.write(str(os.getpid()))
    for n in range(200):
        logger.info("line %d", n)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "thread":
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        return "went on"
    if how == "sys.exit":
        sys.exit(3)
    if how == "os._exit":
        os._exit(4)
    if how == "abort":
        os.abort()
    if how == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        return len([bytearray(1 << 20) for _ in range(2000)])
    if how == "stack":
        def deeper(): return deeper()
        deeper()
    if how in ("loop", "deaf"):
        if how == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            pass
    time.sleep(600)
`

// ending is one way in which the process of a run can end.
type ending struct {
	how     string
	act     func(s *shell, id api.ID, pid int) // what happens to it from outside; nil for nothing
	state   string                             // type and name
	message string                             // part of it
	log     string                             // what must be in the log beside the lines
}

func terminate(_ *shell, _ api.ID, pid int) { _ = syscall.Kill(pid, syscall.SIGTERM) }

func cancel(s *shell, id api.ID, _ int) { s.ok("flow-run", "cancel", id.String()) }

// TestEveryEndOfAFlowProcessIsTold: however the process of a run under an agent ends, the run gets the right state with the cause, and
// what it had logged is there to the last line.
func TestEveryEndOfAFlowProcessIsTold(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, shell := connect(t, s, 0), newClient(t, s)
	shell.env["E2E_PIDS"] = t.TempDir()
	deployment := deployPython(t, s, "ending", endingFlow)
	queue(t, conn, "python", 0)
	shell.startAgent("python", "--limit", "12")
	checkEndings(t, s, shell, deployment, []ending{
		{how: "kill", state: "FAILED Crashed", message: "The flow process was killed by signal KILL"},
		{how: "os._exit", state: "FAILED Crashed", message: "The flow process exited with code 4"},
		{how: "abort", state: "FAILED Crashed", message: "The flow process was killed by signal ABRT"},
		{how: "sys.exit", state: "FAILED Crashed", message: "SystemExit: 3"},
		{how: "memory", state: "FAILED Failed", message: "exception", log: "MemoryError"},
		{how: "stack", state: "FAILED Failed", message: "exception", log: "RecursionError"},
		{how: "thread", state: "COMPLETED Completed", log: "ZeroDivisionError: division by zero"},
		{how: "term", act: terminate, state: "FAILED Crashed", message: "terminated by SIGTERM"},
		{how: "loop", act: cancel, state: "CANCELLED Cancelled", message: "cancelled"},
		{how: "deaf", act: cancel, state: "CANCELLED Cancelled", message: "cancelled"},
	})
}

// TestEveryEndOfAGoFlowProcessIsTold is the same for programs of the Go SDK, whose runtime has ends of its own.
func TestEveryEndOfAGoFlowProcessIsTold(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, shell := connect(t, s, 0), newClient(t, s)
	shell.env["E2E_PIDS"] = t.TempDir()
	goFlows(t, shell)
	shell.startAgent("go", "--limit", "12")
	deployment := must[*api.Deployment](t)(conn.DeploymentByName(t.Context(), "ending", "e")).ID
	checkEndings(t, s, shell, deployment, []ending{
		{how: "kill", state: "FAILED Crashed", message: "The flow process was killed by signal KILL"},
		{how: "exit", state: "FAILED Crashed", message: "The flow process exited with code 4"},
		{how: "fatal", state: "FAILED Crashed", message: "The flow process exited with code 1", log: "this is fatal"},
		{how: "goroutine", state: "FAILED Crashed", message: "The flow process exited with code 2", log: "panic: nobody catches this"},
		{how: "map", state: "FAILED Crashed", message: "The flow process exited with code 2", log: "fatal error: concurrent map writes"},
		{how: "memory", state: "FAILED Crashed", message: "The flow process exited with code 2", log: "out of memory"},
		{how: "stack", state: "FAILED Crashed", message: "The flow process exited with code 2", log: "stack overflow"},
		{how: "panic", state: "FAILED Failed", message: "panic: caught", log: "Encountered a panic during execution: panic: caught"},
		{how: "goexit", state: "FAILED Failed", message: "runtime.Goexit"},
		{how: "term", act: terminate, state: "FAILED Crashed", message: "terminated by SIGTERM"},
		{how: "loop", act: cancel, state: "CANCELLED Cancelled", message: "cancelled"},
		{how: "deaf", act: cancel, state: "CANCELLED Cancelled", message: "cancelled"},
	})
}

// checkEndings runs a deployment whose parameter says how its process ends.
func checkEndings(t *testing.T, s *server, shell *shell, deployment api.ID, endings []ending) {
	t.Helper()
	conn := connect(t, s, 0)
	const within = 30 * time.Second
	pid := func(how string) int {
		var found int
		eventually(t, how+" runs", func() (err error) {
			content := linesOf(t, filepath.Join(shell.env["E2E_PIDS"], how))
			if len(content) == 0 {
				return fmt.Errorf("no process yet")
			}
			found, err = strconv.Atoi(content[0])
			return err
		})
		return found
	}
	for _, end := range endings {
		t.Run(end.how, func(t *testing.T) {
			t.Parallel()
			state, key := api.NewState(api.Scheduled, ""), api.NewID().String()
			parameters, err := json.Marshal(map[string]string{"how": end.how})
			if err != nil {
				t.Fatal(err)
			}
			id := must[*api.FlowRun](t)(conn.RunDeployment(t.Context(), deployment, api.DeploymentFlowRunCreate{State: &state, IdempotencyKey: &key, Parameters: parameters})).ID
			process := pid(end.how)
			if end.act != nil {
				eventually(t, "the last line is on its way", func() error {
					if n := len(numbers(t, allLogs(t, conn, id), "line ")); n < endingLines {
						return fmt.Errorf("%d lines", n)
					}
					return nil
				})
				end.act(shell, id, process)
			}
			got := watchUntil(t, conn, id, end.state, within, func(s api.State) bool { return s.Type.Terminal() })
			message := ""
			if got.Message != nil {
				message = *got.Message
			}
			if string(got.Type)+" "+got.Name != end.state || !strings.Contains(message, end.message) {
				t.Errorf("ended as %s %s: %s", got.Type, got.Name, message)
			}
			logged := allLogs(t, conn, id)
			checkCount(t, end.how, numbers(t, logged, "line "), endingLines)
			var text strings.Builder
			for _, line := range logged {
				text.WriteString(line.Message + "\n")
			}
			if !strings.Contains(text.String(), end.log) {
				t.Errorf("the log does not name the cause, %s:\n%s", end.log, text.String())
			}
			for _, run := range s.list("/task_runs/filter", object{"flow_runs": object{"id": object{"any_": []any{id}}}}) {
				if state := run["state"].(object); state["type"] != "COMPLETED" {
					t.Errorf("the task that had ended is %s", state["name"])
				}
			}
		})
	}
}

//go:build linux

package e2e

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// goFlows creates the deployments of testdata/goflows with a shell.
func goFlows(t *testing.T, s *shell) {
	t.Helper()
	program := filepath.Join(s.dir, "goflows")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./e2e/testdata/goflows")
	build.Dir = built.root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.ok("deployment", "create", program)
	s.ok("work-queue", "create", "--tag", "go", "go")
}

// TestGoFlows runs programs of the Go SDK through an agent.
func TestGoFlows(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, shell := connect(t, s, 0), newClient(t, s)
	goFlows(t, shell)
	shell.startAgent("go")
	begin := func(flow, deployment string) api.ID {
		return run(t, conn, must[*api.Deployment](t)(conn.DeploymentByName(t.Context(), flow, deployment)).ID)
	}
	t.Run("record tasks, retries, cached results, subflows and what they return", func(t *testing.T) {
		t.Parallel()
		id := begin("talking", "t")
		end := watchUntil(t, conn, id, "Completed", patience, func(s api.State) bool { return s.Type.Terminal() })
		if end.Type != api.Completed || end.Data == nil || end.Data.Blob != "3" {
			t.Fatalf("%s, %+v", describeState(end), end.Data)
		}
		checkLife(t, conn, id)
		checkCount(t, "talking", numbers(t, allLogs(t, conn, id), "Hello Leo! "), 12)
		if shown := shell.ok("artifact", "inspect", "talk", "-o", "json"); !strings.Contains(shown, `"name": "`) {
			t.Errorf("the artifact is %s", shown)
		}
		contains(t, shell.ok("artifact", "ls", "--run", id.String(), "-o", "json"), `"key": "talk"`, `"lines": 12`)
		names := map[string]int{}
		for _, r := range s.list("/task_runs/filter", object{"flow_runs": object{"id": object{"any_": []any{id}}}}) {
			names[r["state"].(object)["name"].(string)]++
			if strings.HasPrefix(r["name"].(string), "flaky-") && r["run_count"] != 3.0 {
				t.Errorf("%s ran %v times", r["name"], r["run_count"])
			}
		}
		// 12 say, flaky, cached, the subflow's; the first cached may take over the result of the run by hand.
		if names["Completed"]+names["Cached"] != 16 || names["Cached"] == 0 || names["Cached"] > 2 {
			t.Errorf("the task runs are %v", names)
		}
	})
	t.Run("that return an error have failed with it", func(t *testing.T) {
		t.Parallel()
		end := watchUntil(t, conn, begin("failing", "f"), "Failed", patience, func(s api.State) bool { return s.Type.Terminal() })
		if end.Type != api.Failed || *end.Message != "this is why" {
			t.Error(describeState(end))
		}
	})
	t.Run("that are cancelled end so", func(t *testing.T) {
		t.Parallel()
		id := begin("waiting", "w")
		watchUntil(t, conn, id, "Running", patience, named("Running"))
		shell.ok("flow-run", "cancel", id.String())
		watchUntil(t, conn, id, "Cancelled", patience, named("Cancelled"))
	})
	t.Run("whose process ends or is killed have crashed, their last lines delivered where that was possible", func(t *testing.T) {
		t.Parallel()
		id := begin("ending", "e")
		end := watchUntil(t, conn, id, "Crashed", patience, func(s api.State) bool { return s.Type.Terminal() })
		if end.Name != api.NameCrashed || !strings.Contains(*end.Message, "exited with code 4") {
			t.Error(describeState(end))
		}
		killed := begin("waiting", "w")
		watchUntil(t, conn, killed, "Running", patience, named("Running"))
		for _, pid := range carriers("SLUICE_FLOW_RUN_ID=" + killed.String()) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended with another of them
		}
		watchUntil(t, conn, killed, "Crashed", patience, named(api.NameCrashed))
	})
	t.Run("refuse parameters that do not fit before they begin", func(t *testing.T) {
		t.Parallel()
		r := shell.run("deployment", "run", "talking/t", "--param", "lines=many", "-w")
		if r.code == 0 || !strings.Contains(r.String(), "lines") {
			t.Error(r)
		}
	})
	t.Run("are run by hand, alike", func(t *testing.T) {
		t.Parallel()
		r := shell.exec("", filepath.Join(shell.dir, "goflows"), "run", "talking", "--name", "Ada", "--lines=1")
		if r.code != 0 || strings.TrimSpace(r.stdout) != "3" {
			t.Error(r)
		}
		contains(t, r.stderr, "Hello Ada! 0", "Created subflow run", "Finished in state Completed('All states completed.')")
		for _, args := range [][]string{{"run", "talking"}, {"run", "talking", "--name", "Ada", "--lines", "x"}, {"run", "nobody"}, {"run", "talking", "--nmae", "Ada"}, {"fly"}} {
			if r := shell.exec("", filepath.Join(shell.dir, "goflows"), args...); r.code != 2 || !strings.Contains(r.stderr, "error: ") {
				t.Errorf("%v: %s", args, r)
			}
		}
	})
	t.Run("are executed by the command line, alike", func(t *testing.T) {
		t.Parallel()
		if r := shell.run("deployment", "execute", "failing/f"); r.code == 0 || !strings.Contains(r.String(), "this is why") {
			t.Error(r)
		}
	})
}

// TestGoFlowsServed has one process execute all runs of a queue.
func TestGoFlowsServed(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	conn, shell := connect(t, s, 0), newClient(t, s)
	goFlows(t, shell)
	serving := shell.launch(launch{program: filepath.Join(shell.dir, "goflows"), args: []string{"serve", "go"}})
	serving.waitFor("Serving talking, inner, waiting, ending, failing from go")
	begin := func(flow, deployment string) api.ID {
		return run(t, conn, must[*api.Deployment](t)(conn.DeploymentByName(t.Context(), flow, deployment)).ID)
	}
	talking, waiting, failing, left := begin("talking", "t"), begin("waiting", "w"), begin("failing", "f"), begin("waiting", "w")
	watchUntil(t, conn, waiting, "Running", patience, named("Running"))
	shell.ok("flow-run", "cancel", waiting.String())
	watchUntil(t, conn, waiting, "Cancelled", patience, named("Cancelled"))
	if end := watchUntil(t, conn, failing, "Failed", patience, named("Failed")); *end.Message != "this is why" {
		t.Error(describeState(end))
	}
	if end := watchUntil(t, conn, talking, "Completed", patience, named("Completed")); end.Data.Blob != "3" {
		t.Errorf("%+v", end.Data)
	}
	checkCount(t, "talking", numbers(t, allLogs(t, conn, talking), "Hello Leo! "), 12)
	watchUntil(t, conn, left, "Running", patience, named("Running"))
	serving.kill9()
	end := watchUntil(t, conn, left, "Crashed", patience, named(api.NameCrashed))
	if !strings.Contains(*end.Message, "goflows-") {
		t.Errorf("the state does not name the process: %s", describeState(end))
	}
}

// TestGoFlowsGoOnWhileTheLeaderIsKilled is what it says.
func TestGoFlowsGoOnWhileTheLeaderIsKilled(t *testing.T) {
	t.Parallel()
	c := startNodes(t, 3, "--insecure")
	conn, shell := c.connect(), newShell(t)
	shell.env["SLUICE_API_URL"] = strings.Join(c.addresses(), ",")
	goFlows(t, shell)
	shell.startAgent("go")
	deployment := must[*api.Deployment](t)(conn.DeploymentByName(t.Context(), "talking", "t")).ID
	var runs []api.ID
	for range 4 {
		runs = append(runs, run(t, conn, deployment))
	}
	watchUntil(t, conn, runs[0], "Running", patience, named("Running"))
	c.leader().kill9()
	for _, id := range runs {
		watchUntil(t, conn, id, "Completed", patience, func(s api.State) bool { return s.Type.Terminal() })
		checkLife(t, conn, id)
		checkCount(t, "run "+id.String(), numbers(t, allLogs(t, conn, id), "Hello Leo! "), 12)
		// Nothing was begun twice because an answer was lost.
		runsOf := must[[]api.TaskRun](t)(conn.FilterTaskRuns(t.Context(), api.FilterRequest{Filters: api.Filters{FlowRuns: &api.FlowRunFilter{ID: &api.IDAnyNot{Any: []api.ID{id}}}}}))
		for _, r := range slices.DeleteFunc(runsOf, func(r api.TaskRun) bool { return strings.HasPrefix(r.Name, "flaky-") }) {
			if r.RunCount > 1 {
				t.Errorf("%s of run %s ran %d times", r.Name, id, r.RunCount)
			}
		}
	}
}

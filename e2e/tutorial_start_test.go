//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestDevShowsARunAtOnceAndKeepsEverything is what `make run` leads to.
func TestDevShowsARunAtOnceAndKeepsEverything(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.env["SLUICE_HTTP_ADDR"] = freeAddress(t)
	dev := s.terminal("dev")
	command := dev.waitFor(`\n    sluice (--api http://\S+ deployment run \S+ --watch)\n`)[1]
	contains(t, s.shown(strings.Fields(command)...), "State: Completed", "Hello World!")
	s.env["SLUICE_API_URL"] = strings.Fields(command)[1]
	before := s.ok("flow-run", "ls") + s.ok("deployment", "ls") + s.ok("work-queue", "ls")
	children := descendants(t, dev.pid())
	if len(children) == 0 {
		t.Error("dev has no child, but its agent has a supervisor: this test looks in the wrong place")
	}
	dev.interrupt()
	if code := dev.wait(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C\n%s", code, dev.output())
	}
	contains(t, dev.output(), "Sluice stopped! What it stored is in "+filepath.Join(s.home, ".sluice", "data"))
	waitGone(t, children)

	dev = s.terminal("dev")
	dev.waitFor(`deployment run \S+ --watch\n`)
	if after := s.ok("flow-run", "ls") + s.ok("deployment", "ls") + s.ok("work-queue", "ls"); after != before || !strings.Contains(after, "Completed") {
		t.Errorf("after the second start there is\n%s\nthere was\n%s", after, before)
	}
}

// waitGone waits until none of the processes is there any more.
func waitGone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("the process %d is gone", pid), func() error {
			if err := syscall.Kill(pid, 0); err != nil {
				return nil
			}
			return os.ErrExist
		})
	}
}

// descendants returns the pids of a process's children and theirs.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	parents := map[int]int{}
	for _, p := range allProcesses(t) {
		parents[p.pid] = p.parent
	}
	var found []int
	for child := range parents {
		for up := parents[child]; up > 1; up = parents[up] {
			if up == pid {
				found = append(found, child)
				break
			}
		}
	}
	return found
}

const waitingScript = `import os, time
from sluice import flow, get_run_logger

@flow
def waiting():
    get_run_logger().info("waiting")
    while not os.path.exists("go"):
        time.sleep(0.02)

waiting()
`

func TestAServerLetsTheScriptRunsOnItsDataDirectoryEndBeforeItStarts(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.write("waiting.py", waitingScript)
	script := s.startScript("waiting.py")
	script.waitFor(`- waiting\n`)

	server := &server{t: t, shell: s, address: freeAddress(t)}
	server.process = s.start("server", "start", "--http-addr", server.address, "--internal-addr", freeAddress(t), "--gossip-addr", freeAddress(t))
	server.waitFor(`Waiting for the server of script runs \(pid \d+\) to end\.\.\.`)
	s.write("go", "")
	if code := script.wait(); code != 0 {
		t.Errorf("the script ended with exit code %d\n%s", code, script.output())
	}
	server.waitReady()
	s.env["SLUICE_API_URL"] = server.apiURL()
	contains(t, s.ok("flow-run", "ls"), "waiting\t", "\tCompleted\t")
}

func TestTheExamplesRun(t *testing.T) {
	t.Parallel()
	server := startServer(t)
	s := newClient(t, server)
	if err := os.CopyFS(s.dir, os.DirFS(filepath.Join(built.root, "examples"))); err != nil {
		t.Fatal(err)
	}
	s.ok("work-queue", "create", "-t", "tutorial", "tutorial_queue")
	newClient(t, server).startAgent("tutorial_queue")
	for file, deployments := range map[string]map[string]string{
		"leo_deployment.py":       {leonardo: "Leo", marvin: "Marvin"},
		"leo_deployment.yaml":     {"leonardo_dicapriflow/ford-deployment": "Ford", "leonardo_dicapriflow/trillian-deployment": "Trillian"},
		"command_deployment.yaml": {"shell-greeting/greet": "Leo"},
	} {
		s.ok("deployment", "create", file)
		for deployment, name := range deployments {
			contains(t, s.ok("deployment", "run", deployment, "--watch"), "State: Completed", "Hello "+name+"!")
		}
	}
}

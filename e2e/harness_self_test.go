//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestAServerKeepsItsAddressAndItsDataThroughKillAndRestart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	client := newClient(t, s)
	client.ok("work-queue", "create", "--tag", "tutorial", "tutorial_queue")
	s.kill9()
	s.restart()
	contains(t, client.ok("work-queue", "ls"), "tutorial_queue")
	s.stop()
	s.restart()
	contains(t, client.shown("work-queue", "ls"), "│ tutorial_queue │")
}

// doomed is the environment variable that makes the test below the one that is killed.
const doomed = "SLUICE_E2E_DOOMED"

func TestNothingOutlivesTestsThatAreKilled(t *testing.T) {
	t.Parallel()
	if os.Getenv(doomed) != "" {
		p := newShell(t).launch(launch{program: "sleep", args: []string{"600"}}) // prints nothing, so that no broken pipe ends it
		fmt.Printf("pid %d\n", p.pid())
		p.wait()
		return
	}
	own := newShell(t)
	own.env[doomed], own.env["SLUICE_E2E_BINARY"] = "1", built.binary
	own.env["TMPDIR"] = t.TempDir() // a process that is killed leaves its files
	p := own.launch(launch{program: must[string](t)(filepath.Abs(os.Args[0])), args: []string{"-test.run", "^" + t.Name() + "$", "-test.v"}})
	var pid int
	if _, err := fmt.Sscan(p.waitFor(`pid (\d+)`)[1], &pid); err != nil {
		t.Fatal(err)
	}
	p.kill9()
	eventually(t, "what it had started has ended", func() error {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("process %d is there: %v", pid, err)
		}
		return nil
	})
}

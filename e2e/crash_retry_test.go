//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-dev/sluice/api"
)

// The flow's process is killed once, as the kernel does to one that takes too much memory, or ended, as a service manager does: then it
// reports its crash itself.
func TestAPythonFlowThatIsKilledIsTriedAgainByPolicy(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			isTriedAgain(t, signal)
		})
	}
}

func isTriedAgain(t *testing.T, signal syscall.Signal) {
	t.Helper()
	s := startServer(t)
	conn := connect(t, s, 0)
	queue(t, conn, "q", 0)
	user := newClient(t, s)
	tries := filepath.Join(t.TempDir(), "tries")
	user.write("fragile.py", fmt.Sprintf(`from sluice import flow
import time


@flow
def fragile():
    with open(%q, "a+") as file:
        file.seek(0)
        first = not file.read()
        file.write("x")
    while first:
        time.sleep(1)
    return 1
`, tries))
	user.write("spec.yaml", "name: fragile\nflow_location: ./fragile.py\non_crash: {retries: 1}\n")
	user.ok("deployment", "create", "spec.yaml")
	d := must[*api.Deployment](t)(conn.DeploymentByName(t.Context(), "fragile", "fragile"))
	if d.OnCrash == nil || d.OnCrash.Retries != 1 {
		t.Fatalf("on_crash is %v", d.OnCrash)
	}
	user.startAgent("q")
	id := run(t, conn, d.ID)
	eventually(t, "the flow has begun", func() error {
		if len(linesOf(t, tries)) == 0 {
			return fmt.Errorf("it has not written yet")
		}
		return nil
	})
	for _, pid := range carriers("SLUICE_FLOW_RUN_ID=" + id.String()) {
		if err := syscall.Kill(pid, signal); err != nil {
			t.Logf("kill %d: %v", pid, err) // a child that went with its parent
		}
	}
	watchUntil(t, conn, id, "Completed", patience, named("Completed"))
	names := ""
	for _, state := range must[[]api.State](t)(conn.FlowRunStates(t.Context(), id)) {
		names += state.Name + " "
	}
	if !strings.Contains(names, "Crashed AwaitingRetry") || !strings.HasSuffix(names, "Running Completed ") {
		t.Errorf("the states are %s", names)
	}
	if got := must[*api.FlowRun](t)(conn.FlowRun(t.Context(), id)); got.FlowRunNative == nil || got.CrashRetries != 1 {
		t.Errorf("the run is %+v", got)
	}
}

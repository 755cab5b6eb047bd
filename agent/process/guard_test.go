package process_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/sluice-dev/sluice/agent/process"
)

// marked starts a process that carries the guard's mark, in a session of its own or not.
func marked(t *testing.T, g *process.Guard, program string, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command(program, args...)
	command.Env = append(os.Environ(), g.Variable())
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return command
}

func TestAGuardKillsWhatCarriesItsMarkWhenItsOwnerDies(t *testing.T) {
	t.Parallel()
	g, err := process.StartGuard(supervisorCommand())
	if err != nil {
		t.Fatal(err)
	}
	near, far := marked(t, g, "sleep", "1000"), marked(t, g, "setsid", "sleep", "1000")
	process.BreakGuard(g)
	eventuallyDead(t, near.Process.Pid, far.Process.Pid)
	g.Release()
}

func TestAReleasedGuardLeavesProcessesAlone(t *testing.T) {
	t.Parallel()
	g, err := process.StartGuard(supervisorCommand())
	if err != nil {
		t.Fatal(err)
	}
	command := marked(t, g, "sleep", "1000")
	g.Release() // has waited for the end of the supervisor
	if !alive(command.Process.Pid) {
		t.Error("the process was killed")
	}
}

func TestAMarkedEnvironmentIsRecognised(t *testing.T) {
	t.Parallel()
	g, err := process.StartGuard(supervisorCommand())
	if err != nil {
		t.Fatal(err)
	}
	defer g.Release()
	if process.Marked([]string{"PATH=/bin"}) || !process.Marked([]string{"PATH=/bin", g.Variable()}) {
		t.Error("a mark was not told from its absence")
	}
}

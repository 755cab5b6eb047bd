package process

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"

	"github.com/sluice-dev/sluice/api"
)

// Guard kills what carries its mark when the process that started it dies, in whatever way. It is for a program that runs a
// flow in the foreground: in its own process group, which a Launcher would not leave it in, the flow keeps the terminal.
type Guard struct {
	mark       string
	supervisor *exec.Cmd
	pipe       io.Closer
}

// StartGuard starts the command that calls Supervise on its standard input.
func StartGuard(command []string) (*Guard, error) {
	g := &Guard{mark: api.NewID().String(), supervisor: exec.Command(command[0], command[1:]...)}
	// A session of its own: Ctrl-C does not reach it.
	g.supervisor.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := g.supervisor.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("make the pipe to the supervisor of flow processes: %w", err)
	}
	g.pipe = pipe
	if err := g.supervisor.Start(); err != nil {
		return nil, fmt.Errorf("start the supervisor of flow processes: %w", err)
	}
	if _, err := io.WriteString(pipe, "="+g.mark+"\n"); err != nil {
		g.Release()
		return nil, fmt.Errorf("instruct the supervisor of flow processes: %w", err)
	}
	return g, nil
}

// Variable is the mark, an entry of the environment for each process to be killed.
func (g *Guard) Variable() string { return markVariable + "=" + g.mark + ".1." }

// Release ends the guard; what carries the mark may live on. It must be called once.
func (g *Guard) Release() {
	_ = g.supervisor.Process.Kill() // before the pipe ends, which is the order to kill
	_ = g.supervisor.Wait()         // says that it was killed
	_ = g.pipe.Close()
}

// Marked reports whether an environment carries a mark already: somebody else guards its processes.
func Marked(environ []string) bool {
	for _, entry := range environ {
		if strings.HasPrefix(entry, markVariable+"=") {
			return true
		}
	}
	return false
}

package process

import (
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// Exit says how a flow process ended.
type Exit struct {
	Code   int            // valid when Signal is 0
	Signal syscall.Signal // 0 when the process exited by itself
}

// Group is a started process with its descendants.
type Group struct {
	pid        int // also the id of the process group
	process    *os.Process
	mark       string
	pipe       *os.File
	output     io.Writer
	linger     time.Duration
	supervisor *supervisor
	logger     *slog.Logger

	outputEnded chan struct{}
	done        chan struct{}
	exit        Exit // valid once done is closed

	mu     sync.Mutex // guards reaped: the id may belong to a stranger afterwards
	reaped bool
}

// PID is the id of the flow process and of its group.
func (g *Group) PID() int { return g.pid }

// Done is closed when the process has ended, the group is gone and all output
// was handed over.
func (g *Group) Done() <-chan struct{} { return g.done }

// Wait waits for Done and says how the process ended.
func (g *Group) Wait() Exit {
	<-g.done
	return g.exit
}

// Interrupt sends SIGTERM to the whole group.
func (g *Group) Interrupt() { g.signal(syscall.SIGTERM) }

// Kill kills the group and what has left it.
func (g *Group) Kill() {
	g.signal(syscall.SIGKILL)
	killMarked(g.mark)
}

func (g *Group) signal(s syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.reaped {
		// ESRCH only says that all have ended already.
		_ = syscall.Kill(-g.pid, s)
	}
}

// outputTimeout is how long a process that escaped from its group may keep the
// output open after the group is dead.
const outputTimeout = 2 * time.Second

// run owns the group until it has ended.
func (g *Group) run() {
	defer close(g.done)
	go g.copyOutput()
	waitWithoutReaping(g.process)
	// The end of the output is the sign that no descendant is left that writes.
	wait(g.outputEnded, g.linger)
	g.signal(syscall.SIGKILL)
	// Forgotten before it is reaped: the supervisor must never hold the id of a
	// group that could be somebody else's by now.
	g.supervisor.forget(g.pid)
	g.mu.Lock()
	state, err := g.process.Wait()
	g.reaped = true
	g.mu.Unlock()
	if err != nil {
		g.logger.Error("Cannot learn how a flow process ended", "pid", g.pid, "error", err)
		g.exit = Exit{Code: -1}
	} else if status := state.Sys().(syscall.WaitStatus); status.Signaled() {
		g.exit = Exit{Signal: status.Signal()}
	} else {
		g.exit = Exit{Code: status.ExitStatus()}
	}
	wait(g.outputEnded, outputTimeout)
	g.pipe.Close() // ends copyOutput if something still holds the other end
	<-g.outputEnded
}

func (g *Group) copyOutput() {
	defer close(g.outputEnded)
	buffer := make([]byte, 64<<10)
	for {
		n, err := g.pipe.Read(buffer)
		if n > 0 {
			_, _ = g.output.Write(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

// wait reports whether the event came within the limit.
func wait(event <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-event:
		return true
	case <-timer.C:
		return false
	}
}

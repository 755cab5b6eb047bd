package process

import (
	"fmt"
	"os"
)

// SupervisorPipe names the pipe to the supervisor as /proc shows it.
func SupervisorPipe(l *Launcher) string {
	l.supervisor.mu.Lock()
	defer l.supervisor.mu.Unlock()
	if l.supervisor.pipe == nil {
		return "none"
	}
	// Not Fd(): that would make the pipe blocking and take its deadlines away.
	conn, err := l.supervisor.pipe.SyscallConn()
	if err != nil {
		return err.Error()
	}
	var name string
	if err := conn.Control(func(fd uintptr) { name, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)) }); err != nil {
		return err.Error()
	}
	return name
}

// BreakSupervisorPipe does what the death of the agent does to the pipe.
func BreakSupervisorPipe(l *Launcher) {
	l.supervisor.mu.Lock()
	defer l.supervisor.mu.Unlock()
	l.supervisor.pipe.Close()
	l.supervisor.pipe = nil
}

// BreakGuard does what the death of the guard's owner does to the pipe.
func BreakGuard(g *Guard) { _ = g.pipe.Close() }

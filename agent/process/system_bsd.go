//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package process

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Without a parent-death signal and /proc, the supervisor alone keeps flow
// processes from outliving the agent, and only those that stay in their group.
func groupAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// waitWithoutReaping returns when the process has ended. It stays a zombie, so
// that its id cannot become another process's while its group is cleared.
func waitWithoutReaping(p *os.Process) {
	queue, err := unix.Kqueue()
	if err != nil {
		return
	}
	defer unix.Close(queue)
	var event unix.Kevent_t
	unix.SetKevent(&event, p.Pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	event.Fflags = unix.NOTE_EXIT
	changes, events := []unix.Kevent_t{event}, make([]unix.Kevent_t, 1)
	for {
		// ESRCH: it has ended already.
		if _, err := unix.Kevent(queue, changes, events, nil); err != unix.EINTR {
			return
		}
	}
}

func killMarked(string) {}

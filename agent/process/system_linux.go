package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func groupAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// waitWithoutReaping returns when the process has ended. It stays a zombie, so
// that its id cannot become another process's while its group is cleared.
func waitWithoutReaping(p *os.Process) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return
		}
	}
}

// killMarked kills every process whose environment carries a mark that begins
// with prefix. It looks again as long as it finds some, because they may fork
// between two looks.
func killMarked(prefix string) {
	wanted := []byte(markVariable + "=" + prefix)
	self := os.Getpid()
	for range 50 {
		found := false
		entries, err := os.ReadDir("/proc")
		if err != nil {
			return
		}
		for _, entry := range entries {
			pid, err := strconv.Atoi(entry.Name())
			if err != nil || pid == self {
				continue
			}
			// Unreadable: another user's or already gone; empty: a zombie.
			environment, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
			if err != nil || !hasVariable(environment, wanted) {
				continue
			}
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				found = true
			}
		}
		if !found {
			return
		}
	}
}

func hasVariable(environment, start []byte) bool {
	return bytes.HasPrefix(environment, start) || bytes.Contains(environment, append([]byte{0}, start...))
}

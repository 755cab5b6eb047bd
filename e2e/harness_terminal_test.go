//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal gives the command a terminal of 120 columns, as its controlling one, and returns the user's side of it.
func openTerminal(t *testing.T, cmd *exec.Cmd) *os.File {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatalf("open a terminal: %v", err)
	}
	fd := int(user.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatalf("unlock the terminal: %v", err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatalf("name the terminal: %v", err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120}); err != nil {
		t.Fatalf("size the terminal: %v", err)
	}
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatalf("open the terminal's other side: %v", err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = side, side, side
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return user
}

// terminal starts `sluice args...` on a terminal.
func (s *shell) terminal(args ...string) *process {
	s.t.Helper()
	return s.launch(launch{program: built.binary, args: args, terminal: true})
}

// shown runs `sluice args...` on a terminal, which must succeed, and returns what the user sees.
func (s *shell) shown(args ...string) string {
	s.t.Helper()
	p := s.terminal(args...)
	if code := p.wait(); code != 0 {
		s.t.Fatalf("%s ended with exit code %d\n%s", p.name, code, p.output())
	}
	return p.output()
}

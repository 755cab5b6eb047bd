package localserver

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// AdminTokenFile is where a server keeps the first token, in its data directory.
const AdminTokenFile = "admin-token"

// Token returns the admin's token of the server that this user runs at the address right now; "" if there is none.
func Token(home, address string) string {
	s, ok := read(home, address)
	if !ok || !Locked(s.DataDir, s.PID) { // somebody else may serve there now
		return ""
	}
	content, err := os.ReadFile(filepath.Join(s.DataDir, AdminTokenFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// Locked reports whether a process holds the lock of a data directory.
func Locked(dataDir string, pid int) bool {
	lock, err := os.Open(filepath.Join(dataDir, "LOCK"))
	if err != nil {
		return false
	}
	defer func() { _ = lock.Close() }() // gives back what it got
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		return false
	}
	owner, err := io.ReadAll(lock)
	return err == nil && strings.TrimSpace(string(owner)) == strconv.Itoa(pid)
}

//go:build unix

package cluster

import (
	"os"
	"syscall"
)

// lockExclusively locks f until it is closed or the process ends.
func lockExclusively(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

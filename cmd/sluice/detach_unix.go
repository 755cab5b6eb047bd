//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// detach makes the process outlive the terminal and the script that started it.
func detach() { signal.Ignore(syscall.SIGINT, syscall.SIGHUP) }

package httpapi

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// turnAway has the kernel drop whoever begins a handshake from now on, so that the socket's queue can be emptied before it is
// closed. They ask again after a second and are then refused. Handshakes that have begun go on.
func turnAway(l syscall.Conn) {
	const (
		flags = 13 // offset of the flags in a TCP header
		syn   = 0x02
	)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: syn, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},          // drop
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff}, // keep whole
	}
	// Where a sandbox forbids it, the moment between the queue's end and the closing remains.
	control(l, func(fd int) {
		_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	})
}

// someoneWaits reports whether the kernel has accepted a connection that has not been fetched.
func someoneWaits(l syscall.Conn) bool {
	waits := false
	control(l, func(fd int) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		waits = err == nil && n == 1 && poll[0].Revents&unix.POLLIN != 0
	})
	return waits
}

func control(l syscall.Conn, f func(fd int)) {
	if raw, err := l.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) }) // an error means that it is closed
	}
}

//go:build linux

package chaos

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mtu of the hosts' devices. Larger than Ethernet's, so that a snapshot costs fewer packets.
const mtu = 8192

// network is a local network whose hosts are network namespaces. Each has one TUN device; its other end is this process, which
// carries every packet and can lose, delay or drop it by direction. So all faults are made in one place, need nothing of the
// kernel beyond namespaces and TUN (no netem, no packet filter), and touch no other traffic of the machine. The namespaces have
// no name: they, and all processes in them, end with this process however it ends.
type network struct {
	hosts []*host

	mu     sync.RWMutex // guards links
	links  map[[2]int]fault
	moving sync.WaitGroup // goroutines that carry packets

	carried, lost, cut atomic.Int64 // packets
}

// fault is what happens to packets from one host to another.
type fault struct {
	cut           bool
	loss          float64
	delay, jitter time.Duration
}

// host is one machine of the network.
type host struct {
	network *network
	number  int // from 0
	address netip.Addr
	device  *os.File
	space   *os.File    // the namespace
	work    chan func() // run on a thread that lives in the namespace as long as the host
	done    chan struct{}
}

// errNotPermitted says that this machine does not let the test make namespaces or devices.
var errNotPermitted = errors.New("network namespaces with TUN devices cannot be made here: run as root with /dev/net/tun (in a container: --cap-add SYS_ADMIN --cap-add NET_ADMIN --device /dev/net/tun)")

func newNetwork(size int) (*network, error) {
	n := &network{links: map[[2]int]fault{}}
	for i := range size {
		h := &host{network: n, number: i, address: netip.AddrFrom4([4]byte{10, 99, 0, byte(i + 1)}), work: make(chan func()), done: make(chan struct{})}
		opened := make(chan error)
		go h.live(opened)
		if err := <-opened; err != nil {
			n.close()
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOSYS) {
				return nil, fmt.Errorf("%w: %w", errNotPermitted, err)
			}
			return nil, err
		}
		n.hosts = append(n.hosts, h)
	}
	for _, h := range n.hosts {
		n.moving.Go(func() { n.carry(h) })
	}
	return n, nil
}

// close ends all hosts. Processes on them must have ended.
func (n *network) close() {
	for _, h := range n.hosts {
		close(h.work)
		<-h.done
		_ = h.device.Close()
		_ = h.space.Close()
	}
	n.moving.Wait()
}

// live is the thread of a host. It never leaves its namespace and ends with the goroutine, because it stays locked. Processes are
// started from it, so that their parent-death signal comes when this process ends and not before.
func (h *host) live(opened chan<- error) {
	runtime.LockOSThread()
	defer close(h.done)
	err := h.open()
	opened <- err
	if err != nil {
		return
	}
	for f := range h.work {
		f()
	}
}

func (h *host) open() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if h.space, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	const name = "tun0"
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("make a TUN device: %w", err)
	}
	h.device = os.NewFile(uintptr(fd), name)
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(control)
	address, mask := h.address.As4(), [4]byte{255, 255, 255, 0}
	for _, set := range []struct {
		device string
		op     uint
		value  func(*unix.Ifreq) error
	}{
		{name, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address[:]) }},
		{name, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask[:]) }},
		{name, unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
		{name, unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(4096); return nil }},
		{name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
		{"lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		r, err := unix.NewIfreq(set.device)
		if err == nil {
			err = set.value(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(control, set.op, r)
		}
		if err != nil {
			return fmt.Errorf("set up device %s of host %d: %w", set.device, h.number, err)
		}
	}
	return nil
}

// start starts a command on the host. It is killed when this process ends, however that happens.
func (h *host) start(c *exec.Cmd) error {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	h.work <- func() { started <- c.Start() }
	return <-started
}

// dial connects from the host. The address must be an IP address: only then is the socket made by the calling goroutine.
func (h *host) dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which is in the namespace, ends with the goroutine
		if err := unix.Setns(int(h.space.Fd()), unix.CLONE_NEWNET); err != nil {
			dialled <- result{nil, err}
			return
		}
		conn, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, network, address)
		dialled <- result{conn, err}
	}()
	r := <-dialled
	return r.conn, r.err
}

// set makes a fault of one direction; the zero fault heals it.
func (n *network) set(from, to *host, f fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[[2]int{from.number, to.number}] = f
}

// cutLink cuts or mends one direction; other faults of it stay.
func (n *network) cutLink(from, to *host, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	pair := [2]int{from.number, to.number}
	link := n.links[pair]
	link.cut = cut
	n.links[pair] = link
}

// change changes the faults of both directions between two hosts.
func (n *network) change(a, b *host, f func(*fault)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, pair := range [][2]int{{a.number, b.number}, {b.number, a.number}} {
		link := n.links[pair]
		f(&link)
		n.links[pair] = link
	}
}

// heal removes all faults.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.links)
}

// carry takes packets from a host's device to those they are for.
func (n *network) carry(from *host) {
	buffer := make([]byte, mtu+64)
	for {
		size, err := from.device.Read(buffer)
		switch {
		case errors.Is(err, os.ErrClosed), errors.Is(err, io.EOF):
			return
		case err != nil:
			continue
		}
		packet := buffer[:size]
		if size < 20 || packet[0]>>4 != 4 || binary.BigEndian.Uint32(packet[16:])>>8 != 10<<16|99<<8 {
			continue // not of this network
		}
		number := int(packet[19]) - 1
		if number < 0 || number >= len(n.hosts) {
			continue
		}
		to := n.hosts[number]
		n.mu.RLock()
		f := n.links[[2]int{from.number, number}]
		n.mu.RUnlock()
		switch {
		case f.cut:
			n.cut.Add(1)
		case f.loss > 0 && rand.Float64() < f.loss:
			n.lost.Add(1)
		case f.delay > 0 || f.jitter > 0:
			later := append([]byte(nil), packet...)
			delay := f.delay
			if f.jitter > 0 {
				delay += rand.N(f.jitter)
			}
			time.AfterFunc(delay, func() { _, _ = to.device.Write(later) }) // fails once the network is closed
			n.carried.Add(1)
		default:
			_, _ = to.device.Write(packet) // a full queue loses packets, as any network does
			n.carried.Add(1)
		}
	}
}

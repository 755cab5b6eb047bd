package httpapi

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Listen opens the port of an API. It is plain TCP, not Go's default of MPTCP: Linux lets only plain TCP close without losing anybody.
func Listen(ctx context.Context, address string) (*net.TCPListener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// port is a listener that can be closed without losing anybody. A connection is made by the kernel, and its client may have sent a
// request before the process has seen it: closing the socket then resets it, and a proxy that does not know whether a write was
// done must answer 502.
type port struct {
	tcp
	lock    sync.Mutex
	closing bool // nobody new is let in; what the kernel has accepted is still handed out
}

// tcp is what a port needs of a listener; *net.TCPListener has it.
type tcp interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error
}

// handshake is how long a handshake that has begun may take to its end: several round trips between machines of one site. It is
// also how long a closing port keeps clients from hearing that it is closed.
const handshake = 20 * time.Millisecond

// closeSoftly lets nobody in any more. Accept hands out who is there or about to be, then closes the listener and says so.
func (p *port) closeSoftly() {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.closing {
		return
	}
	p.closing = true
	turnAway(p.tcp)
	if p.SetDeadline(time.Now().Add(handshake)) != nil {
		_ = p.Close() // it is closed already
	}
}

// Accept implements net.Listener.
func (p *port) Accept() (net.Conn, error) {
	for {
		c, err := p.tcp.Accept()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
		// On a busy machine the time may be over before everybody was fetched.
		if !someoneWaits(p.tcp) {
			return nil, errors.Join(net.ErrClosed, p.Close())
		}
		if err := p.SetDeadline(time.Now().Add(handshake)); err != nil {
			return nil, err
		}
	}
}

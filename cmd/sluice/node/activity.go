package node

import (
	"net"
	"sync/atomic"
	"time"
)

// activity is a listener that knows when something was last read from one of its connections.
type activity struct {
	*net.TCPListener
	last atomic.Int64 // ns since the epoch
}

func (a *activity) touch() { a.last.Store(time.Now().UnixNano()) }

func (a *activity) since() time.Duration { return time.Since(time.Unix(0, a.last.Load())) }

func (a *activity) Accept() (net.Conn, error) {
	c, err := a.TCPListener.Accept()
	if err != nil {
		return nil, err
	}
	a.touch()
	return &activeConn{c, a}, nil
}

type activeConn struct {
	net.Conn
	activity *activity
}

func (c *activeConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.activity.touch()
	}
	return n, err
}

package link

import (
	"context"
	"net"
	"sync"
	"time"
)

// Stream is the part of a port that carries Raft's connections, as a listener and dialer.
type Stream struct {
	port   *Port
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex // guards open
	open map[net.Conn]struct{}
}

// Stream returns the port's Raft connections. There is one; it is closed before the port.
func (p *Port) Stream() *Stream {
	return &Stream{port: p, closed: make(chan struct{}), open: map[net.Conn]struct{}{}}
}

// Accept implements net.Listener.
func (s *Stream) Accept() (net.Conn, error) {
	select {
	case c := <-s.port.raft:
		s.mu.Lock()
		defer s.mu.Unlock()
		select {
		case <-s.closed:
			_ = c.Close()
			return nil, net.ErrClosed
		default:
		}
		s.open[c] = struct{}{}
		return &streamConn{c, s}, nil
	case <-s.closed:
		return nil, net.ErrClosed
	case <-s.port.life.Done():
		return nil, net.ErrClosed
	}
}

// Close ends the accepted connections too, which raft's transport leaves open.
func (s *Stream) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(s.closed)
		for c := range s.open {
			_ = c.Close()
		}
	})
	return nil
}

// Addr is the advertised address.
func (s *Stream) Addr() net.Addr { return advertised(s.port.Advertised()) }

// Dial connects to an address as Address makes it.
func (s *Stream) Dial(address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.port.life, timeout)
	defer cancel()
	id, hostport := SplitAddress(address)
	conn, _, err := s.port.Dial(ctx, Raft, hostport, id)
	return conn, err
}

type streamConn struct {
	net.Conn
	stream *Stream
}

func (c *streamConn) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.open, c.Conn)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}

type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

package cluster

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// transport is what raft gets. It hides Close, because raft would close the transport with every run and the node
// outlives its runs.
type transport struct {
	raft.Transport
	raft.WithPreVote
}

// AppendEntriesPipeline implements raft.Transport: without pipelining, whatever the transport. Raft's pipeline can
// deadlock and starve one follower for good.
func (transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func keepOpen(t raft.Transport) (transport, error) {
	pv, ok := t.(raft.WithPreVote)
	if !ok {
		return transport{}, fmt.Errorf("transport %T does not support pre-vote", t)
	}
	return transport{t, pv}, nil
}

// listenTCP opens the internal port.
func listenTCP(bind, advertise string, addresses raft.ServerAddressProvider, logger *hlogger) (*raft.NetworkTransport, error) {
	ln, err := net.Listen("tcp", bind)
	if err != nil {
		return nil, fmt.Errorf("listen on internal address %s: %w", bind, err)
	}
	if advertise == "" {
		advertise = ln.Addr().String()
	}
	host, _, err := net.SplitHostPort(advertise)
	if err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("internal address %q: %w", advertise, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		_ = ln.Close()
		return nil, fmt.Errorf("internal address %s is a wildcard that other nodes cannot reach: set the advertised address", advertise)
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: addresses,
		Logger:                logger,
		Stream:                &tcpStream{Listener: ln, advertise: advertise},
		MaxPool:               3,
		MaxRPCsInFlight:       1, // no pipelining, see transport
		Timeout:               10 * time.Second,
	}), nil
}

// tcpStream is a raft.StreamLayer over plain TCP. It closes the connections it accepted, which raft's transport leaves
// open.
type tcpStream struct {
	net.Listener
	advertise string

	mu     sync.Mutex // guards what follows
	open   map[net.Conn]struct{}
	closed bool
}

// Accept implements net.Listener.
func (s *tcpStream) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	if s.open == nil {
		s.open = map[net.Conn]struct{}{}
	}
	s.open[c] = struct{}{}
	return &acceptedConn{c, s}, nil
}

// Close implements net.Listener.
func (s *tcpStream) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	return s.Listener.Close()
}

type acceptedConn struct {
	net.Conn
	stream *tcpStream
}

func (c *acceptedConn) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.open, c.Conn)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}

// Dial implements raft.StreamLayer.
func (s *tcpStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(address), timeout)
}

// Addr is the advertised address.
func (s *tcpStream) Addr() net.Addr { return advertised(s.advertise) }

type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }

// addressBook resolves node ids: configured first, then as gossip heard. Raft falls back to its configuration.
type addressBook struct{ n *Node }

// ServerAddr implements raft.ServerAddressProvider.
func (b addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if b.n.cfg.Addresses != nil {
		if a, err := b.n.cfg.Addresses.ServerAddr(id); err == nil {
			return a, nil
		}
	}
	if string(id) == b.n.id {
		return b.n.trans.LocalAddr(), nil
	}
	if g := b.n.gossip; g != nil {
		if a := g.raftAddr(string(id)); a != "" {
			return raft.ServerAddress(a), nil
		}
	}
	return "", fmt.Errorf("address of node %s is not known", id)
}

// Package link is the internal port of a node: one TCP listener whose connections begin with a byte that says what they
// carry (Raft's own transport, or requests and answers) and with who is calling whom. It knows no Raft and no commands.
package link

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Kind is the first byte of a connection.
type Kind byte

// The kinds of connections.
const (
	Raft Kind = 1
	RPC  Kind = 2
)

const (
	protocolVersion = 1
	// greetingTimeout bounds TLS handshake and greeting of an accepted connection.
	greetingTimeout = 5 * time.Second
	// maxGreeting bounds each side's greeting.
	maxGreeting = 4 << 10
	// maxConnections bounds what one port accepts; a cluster of nine with Raft's pools needs a tenth.
	maxConnections = 1024
)

// Identity is how nodes introduce themselves to each other.
type Identity struct {
	Cluster   string `json:"cluster"`              // the cluster's name
	ClusterID string `json:"cluster_id,omitempty"` // "" while the node belongs to none
	NodeID    string `json:"node_id"`
	// MinVersion and MaxVersion are the cluster versions that the node supports, for Admit.
	MinVersion uint64 `json:"min_version,omitempty"`
	MaxVersion uint64 `json:"max_version,omitempty"`
}

type greeting struct {
	Identity
	Wanted string `json:"wanted,omitempty"` // the node the caller means; "" is whoever answers
}

type welcome struct {
	Identity
	Refused string `json:"refused,omitempty"` // why not; "" is accepted
}

// Config of a Port. Self, Admit and Logger are required.
type Config struct {
	// Bind is host:port to listen on; Advertise is what others dial, default Bind as bound.
	Bind, Advertise string
	// TLS secures all connections; nil is plain text.
	TLS *TLS
	// Self is who this node is, as told on connections of the kind.
	Self func(Kind) Identity
	// Admit refuses a peer, asked by both sides of every connection. Names and ids of nodes are compared before.
	Admit  func(Kind, Identity) error
	Logger *slog.Logger
}

// Port is an open internal port.
type Port struct {
	cfg      Config
	listener net.Listener
	raft     chan net.Conn
	rpc      func(net.Conn, Identity) // serves a connection of kind RPC until it ends
	life     context.Context
	end      context.CancelFunc
	work     sync.WaitGroup

	mu   sync.Mutex // guards open
	open map[net.Conn]struct{}
}

// Listen opens the port; connections wait until Serve.
func Listen(c Config) (*Port, error) {
	listener, err := net.Listen("tcp", c.Bind)
	if err != nil {
		return nil, fmt.Errorf("listen on internal address %s: %w", c.Bind, err)
	}
	if c.Advertise == "" {
		c.Advertise = listener.Addr().String()
	}
	host, port, err := net.SplitHostPort(c.Advertise)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("internal address %q: %w", c.Advertise, err), listener.Close())
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return nil, errors.Join(fmt.Errorf("internal address %s is a wildcard that other nodes cannot reach: name one that they can (--internal-advertise)", c.Advertise), listener.Close())
	}
	if port == "0" {
		_, bound, _ := net.SplitHostPort(listener.Addr().String())
		c.Advertise = net.JoinHostPort(host, bound)
	}
	p := &Port{cfg: c, listener: listener, raft: make(chan net.Conn), open: map[net.Conn]struct{}{}}
	p.life, p.end = context.WithCancel(context.Background())
	return p, nil
}

// Serve begins to accept; requests go to server.
func (p *Port) Serve(server *Server) {
	p.rpc = server.serve
	p.work.Go(p.accept)
}

// Advertised is the address other nodes dial.
func (p *Port) Advertised() string { return p.cfg.Advertise }

// Close ends the port and all its connections and returns when nothing of it runs.
func (p *Port) Close() error {
	p.end()
	err := p.listener.Close()
	p.mu.Lock()
	for c := range p.open {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.work.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close internal port: %w", err)
	}
	return nil
}

func (p *Port) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			if p.life.Err() != nil {
				return
			}
			// Out of file descriptors, most likely: others must end before more can begin.
			p.cfg.Logger.Warn("internal port cannot accept a connection", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-p.life.Done():
				return
			}
		}
		tracked := &trackedConn{Conn: c, port: p}
		if !p.track(tracked) {
			_ = c.Close()
			continue
		}
		p.work.Go(func() { p.receive(tracked) })
	}
}

func (p *Port) track(c *trackedConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.Err() != nil {
		return false
	}
	if len(p.open) >= maxConnections {
		p.cfg.Logger.Warn("internal port refuses a connection: too many are open", "peer", c.RemoteAddr(), "open", len(p.open))
		return false
	}
	p.open[c.Conn] = struct{}{}
	return true
}

// trackedConn is closed with its port.
type trackedConn struct {
	net.Conn
	port *Port
}

func (c *trackedConn) Close() error {
	c.port.mu.Lock()
	delete(c.port.open, c.Conn)
	c.port.mu.Unlock()
	return c.Conn.Close()
}

// receive greets a caller and hands the connection to whom it is for.
func (p *Port) receive(raw net.Conn) {
	conn := raw
	_ = conn.SetDeadline(time.Now().Add(greetingTimeout))
	if p.cfg.TLS != nil {
		conn = p.cfg.TLS.serverConn(raw)
	}
	kind, peer, err := p.greeted(conn)
	if err != nil {
		_ = conn.Close()
		if p.life.Err() == nil && !errors.Is(err, io.EOF) { // a port scan or a health check says nothing
			p.cfg.Logger.Warn("internal connection refused", "peer", raw.RemoteAddr(), "error", err)
		}
		return
	}
	_ = conn.SetDeadline(time.Time{})
	if kind == RPC {
		p.rpc(conn, peer)
		return
	}
	select {
	case p.raft <- conn:
	case <-p.life.Done():
		_ = conn.Close()
	}
}

func (p *Port) greeted(conn net.Conn) (Kind, Identity, error) {
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, Identity{}, err
	}
	kind := Kind(head[0])
	if kind != Raft && kind != RPC {
		return 0, Identity{}, fmt.Errorf("it begins with byte %#x: not another node, or one that uses TLS where this one does not", head[0])
	}
	if head[1] != protocolVersion {
		err := fmt.Errorf("it speaks version %d of the internal protocol, this node version %d", head[1], protocolVersion)
		return 0, Identity{}, errors.Join(err, writeMessage(conn, welcome{Refused: err.Error()}))
	}
	var g greeting
	if err := readMessage(conn, &g); err != nil {
		return 0, Identity{}, err
	}
	self := p.cfg.Self(kind)
	err := p.compatible(kind, self, g.Identity)
	if err == nil && g.Wanted != "" && g.Wanted != self.NodeID {
		err = fmt.Errorf("this is node %s, not %s", self.NodeID, g.Wanted)
	}
	w := welcome{Identity: self}
	if err != nil {
		w.Refused = err.Error()
		return 0, Identity{}, errors.Join(err, writeMessage(conn, w))
	}
	return kind, g.Identity, writeMessage(conn, w)
}

func (p *Port) compatible(kind Kind, self, peer Identity) error {
	switch {
	case peer.Cluster != self.Cluster:
		return fmt.Errorf("node %s belongs to a cluster named %q, node %s to one named %q", peer.NodeID, peer.Cluster, self.NodeID, self.Cluster)
	case peer.ClusterID != "" && self.ClusterID != "" && peer.ClusterID != self.ClusterID:
		return fmt.Errorf("node %s belongs to cluster %s, node %s to cluster %s", peer.NodeID, peer.ClusterID, self.NodeID, self.ClusterID)
	}
	return p.cfg.Admit(kind, peer)
}

// Dial connects to a node. wanted is its id, "" if whoever answers is meant.
func (p *Port) Dial(ctx context.Context, kind Kind, address, wanted string) (net.Conn, Identity, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, Identity{}, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	peer, conn, err := p.greet(conn, kind, wanted)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, Identity{}, fmt.Errorf("greet %s: %w", address, err)
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, peer, nil
}

func (p *Port) greet(conn net.Conn, kind Kind, wanted string) (Identity, net.Conn, error) {
	if p.cfg.TLS != nil {
		conn = p.cfg.TLS.clientConn(conn)
	}
	self := p.cfg.Self(kind)
	message, err := encodeMessage(greeting{Identity: self, Wanted: wanted})
	if err != nil {
		return Identity{}, conn, err
	}
	if _, err := conn.Write(append([]byte{byte(kind), protocolVersion}, message...)); err != nil {
		if p.cfg.TLS != nil && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
			err = fmt.Errorf("it closed the connection in the TLS handshake; if it runs with --insecure, one of the two is wrong: %w", err)
		}
		return Identity{}, conn, err
	}
	var w welcome
	if err := readMessage(conn, &w); err != nil {
		if (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) && p.cfg.TLS == nil {
			err = fmt.Errorf("it closed the connection; if it uses TLS, this node must too: %w", err)
		}
		return Identity{}, conn, err
	}
	if w.Refused != "" {
		return Identity{}, conn, &RefusedError{Address: conn.RemoteAddr().String(), Reason: w.Refused}
	}
	if wanted != "" && w.NodeID != wanted {
		return Identity{}, conn, fmt.Errorf("node %s answers, not %s", w.NodeID, wanted)
	}
	return w.Identity, conn, p.compatible(kind, self, w.Identity)
}

// RefusedError is a peer's refusal of a connection.
type RefusedError struct{ Address, Reason string }

func (e *RefusedError) Error() string { return "refused by " + e.Address + ": " + e.Reason }

func encodeMessage(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err == nil && len(body) > maxGreeting {
		err = fmt.Errorf("%d bytes, at most %d", len(body), maxGreeting)
	}
	if err != nil {
		return nil, fmt.Errorf("encode greeting: %w", err)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(body))), body...), nil
}

func writeMessage(w io.Writer, v any) error {
	message, err := encodeMessage(v)
	if err != nil {
		return err
	}
	_, err = w.Write(message)
	return err
}

func readMessage(r io.Reader, v any) error {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(size[:])
	if n > maxGreeting {
		return fmt.Errorf("greeting of %d bytes, at most %d", n, maxGreeting)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decode greeting: %w", err)
	}
	return nil
}

// Address joins a node's id and its host:port to one text for interfaces that carry only an address.
func Address(id, hostport string) string { return id + "@" + hostport }

// SplitAddress undoes Address; the id is "" in a plain host:port.
func SplitAddress(a string) (id, hostport string) {
	if id, hostport, ok := strings.Cut(a, "@"); ok {
		return id, hostport
	}
	return "", a
}

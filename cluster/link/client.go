package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrNotSent says that the request did not leave this node: it was not handled.
	ErrNotSent = errors.New("request not sent")
	// ErrBroken says that the connection, or the caller's patience, ended before an answer came: the request may have been handled.
	ErrBroken = errors.New("no answer")
	// ErrBusy says that the other node refused the request because it has too many of this node. List it in Errors.
	ErrBusy = errors.New("too many requests")
	// ErrUnknownMethod says that the other node does not know the method. List it in Errors.
	ErrUnknownMethod = errors.New("unknown internal request")
)

const (
	dialTimeout = 5 * time.Second
	pingEvery   = time.Second
	// quietPings is after how many pings without any frame in return a peer counts as gone. Only asked while requests wait.
	quietPings = 4
	// restPings is how often an unused connection is pinged: every so many pings, so that the peer keeps it.
	restPings = 10
	// idlePings is after how many pings without use a connection is closed.
	idlePings = 300
)

// Target is a node to ask. ID "" is whoever answers at the address.
type Target struct{ ID, Addr string }

// Client asks other nodes, over one connection to each.
type Client struct {
	port   *Port
	errors Errors
	life   context.Context
	end    context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns map[Target]*clientConn
}

// NewClient makes a client that dials through the port. It is closed before the port.
func NewClient(p *Port, known Errors) *Client {
	c := &Client{port: p, errors: known, conns: map[Target]*clientConn{}}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// Close ends all connections and returns when nothing of the client runs. Requests in progress fail.
func (c *Client) Close() {
	c.end()
	c.mu.Lock()
	for _, conn := range c.conns {
		conn.fail(errors.New("this node is stopping"))
	}
	c.mu.Unlock()
	c.work.Wait()
}

// Call asks a node and returns its answer. Errors: ErrNotSent, ErrBroken, or the handler's own with their identity kept as far as
// listed. A request that failed on a connection opened before is sent once more on a new one: after a restart of the peer every
// kept connection is dead. So requests must be harmless to repeat.
func (c *Client) Call(ctx context.Context, to Target, method string, body []byte) ([]byte, error) {
	if len(body) > MaxBody {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotSent, method, errTooLarge)
	}
	maybe := false // an earlier attempt may have been handled
	for last := false; ; last = true {
		conn, opened, err := c.connect(ctx, to)
		if err != nil {
			if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
				err = dial.Err // the address is said below
			}
			if maybe {
				return nil, fmt.Errorf("%w from %s: %w", ErrBroken, to.Addr, err)
			}
			return nil, fmt.Errorf("%w to %s: %w", ErrNotSent, to.Addr, err)
		}
		answer, err := conn.call(ctx, method, body)
		if errors.Is(err, ErrBroken) && ctx.Err() == nil && !opened && !last {
			c.drop(to, conn)
			maybe = true
			continue
		}
		return answer, err
	}
}

// connect returns the connection to a node and whether it was opened for this call.
func (c *Client) connect(ctx context.Context, to Target) (conn *clientConn, opened bool, err error) {
	c.mu.Lock()
	if c.life.Err() != nil {
		c.mu.Unlock()
		return nil, false, errors.New("this node is stopping")
	}
	conn = c.conns[to]
	if conn == nil {
		opened = true
		conn = &clientConn{client: c, to: to, ready: make(chan struct{}), gone: make(chan struct{}), waiting: map[uint64]chan result{}}
		c.conns[to] = conn
		c.work.Go(conn.run)
	}
	c.mu.Unlock()
	select {
	case <-conn.ready:
		return conn, opened, nil
	case <-conn.gone:
		select {
		case <-conn.ready: // it was open: the call finds out
			return conn, opened, nil
		default:
		}
		return nil, false, conn.reason()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

func (c *Client) drop(to Target, conn *clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[to] == conn {
		delete(c.conns, to)
	}
}

// clientConn is one connection, from the wish for it to its end.
type clientConn struct {
	client *Client
	to     Target
	f      *framer       // set before ready is closed
	ready  chan struct{} // closed when requests can be sent
	gone   chan struct{} // closed at the end
	heard  atomic.Bool   // since the last ping
	used   atomic.Bool   // since the last ping

	mu      sync.Mutex // guards what follows
	err     error      // why it ended
	last    uint64
	waiting map[uint64]chan result
}

type result struct {
	answer []byte
	err    error
}

// run dials and reads until the connection ends.
func (c *clientConn) run() {
	defer c.client.drop(c.to, c)
	ctx, cancel := context.WithTimeout(c.client.life, dialTimeout)
	conn, peer, err := c.client.port.Dial(ctx, RPC, c.to.Addr, c.to.ID)
	cancel()
	if err != nil {
		c.fail(err)
		return
	}
	stop := context.AfterFunc(c.client.life, func() { _ = conn.Close() })
	defer stop()
	c.f = newFramer(conn)
	close(c.ready)
	pinging := make(chan struct{})
	go func() { defer close(pinging); c.ping() }()
	for {
		t, id, payload, err := c.f.read()
		if err != nil {
			c.fail(err)
			break
		}
		c.heard.Store(true)
		switch t {
		case frameAnswer:
			c.settle(id, result{answer: payload})
		case frameFailure:
			c.settle(id, result{err: c.client.errors.decode(peer.NodeID, payload)})
		}
	}
	_ = conn.Close()
	<-pinging
}

// ping finds out whether the peer is still there while requests wait for it, and ends unused connections.
func (c *clientConn) ping() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	quiet, rest := 0, 0
	for {
		select {
		case <-c.gone:
			return
		case <-tick.C:
		}
		c.mu.Lock()
		waiting := len(c.waiting)
		c.mu.Unlock()
		if c.heard.Swap(false) || waiting == 0 {
			quiet = 0
		} else if quiet++; quiet > quietPings {
			c.fail(errors.New("the node does not answer"))
			_ = c.f.conn.Close()
			return
		}
		if rest++; waiting > 0 || c.used.Swap(false) {
			rest = 0
		}
		if rest >= idlePings {
			c.client.drop(c.to, c)
			c.fail(errors.New("unused"))
			_ = c.f.conn.Close()
			return
		}
		if rest%restPings == 0 {
			if err := c.f.write(framePing, 0); err != nil {
				c.fail(err)
				_ = c.f.conn.Close()
				return
			}
		}
	}
}

// fail ends the connection for all that use it; the first reason counts.
func (c *clientConn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.gone)
	for id, w := range c.waiting {
		delete(c.waiting, id)
		w <- result{err: fmt.Errorf("%w from %s: %w", ErrBroken, c.to.Addr, err)}
	}
}

func (c *clientConn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *clientConn) settle(id uint64, r result) {
	c.mu.Lock()
	w := c.waiting[id]
	delete(c.waiting, id)
	c.mu.Unlock()
	if w != nil {
		w <- r
	}
}

func (c *clientConn) call(ctx context.Context, method string, body []byte) ([]byte, error) {
	w := make(chan result, 1)
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		return nil, fmt.Errorf("%w from %s: %w", ErrBroken, c.to.Addr, err)
	}
	c.last++
	id := c.last
	c.waiting[id] = w
	c.mu.Unlock()
	c.used.Store(true)
	var limit time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		limit = max(time.Until(deadline), time.Millisecond)
	}
	if err := c.f.write(frameRequest, id, appendRequest(limit, method), body); err != nil {
		c.fail(err) // answers w too
		_ = c.f.conn.Close()
	}
	select {
	case r := <-w:
		return r.answer, r.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	delete(c.waiting, id)
	c.mu.Unlock()
	// Best effort, and not on this caller's time: a stuck peer is found by pings.
	c.client.cancel(c, id)
	return nil, fmt.Errorf("%w from %s: %w", ErrBroken, c.to.Addr, ctx.Err())
}

// cancel tells the peer that nobody waits for the request any more.
func (c *Client) cancel(conn *clientConn, id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life.Err() != nil {
		return
	}
	c.work.Go(func() { _ = conn.f.write(frameCancel, id) })
}

package contract

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// A Tap is an address in front of a server process. It hands on every byte as it came, both ways, and so are the ends of
// connections: clients meet the server as it is. What the bytes say is read beside that and held against the description.
type Tap struct {
	address, target string
	checker         func() (*Checker, error)
	report          func(error)

	mu       sync.Mutex // guards what follows
	listener net.Listener
	conns    map[net.Conn]bool
	closed   bool
	reported map[string]bool
	carried  int

	running sync.WaitGroup
}

// NewTap returns a tap of the server at target; it listens after Open. The checker is asked for with the first exchange.
// Each finding is told to report once, from any goroutine, and never after Close.
func NewTap(address, target string, checker func() (*Checker, error), report func(error)) *Tap {
	return &Tap{address: address, target: target, checker: checker, report: report, conns: map[net.Conn]bool{}, reported: map[string]bool{}}
}

// Open lets clients connect. It does nothing when they can.
func (t *Tap) Open() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listener != nil || t.closed {
		return nil
	}
	listener, err := net.Listen("tcp", t.address)
	if err != nil {
		return fmt.Errorf("open the tap of %s: %w", t.target, err)
	}
	t.listener, t.address = listener, listener.Addr().String()
	t.running.Add(1)
	go func() {
		defer t.running.Done()
		t.serve(listener)
	}()
	return nil
}

// Address is where it listens.
func (t *Tap) Address() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.address
}

// Exchanges is how many exchanges were checked.
func (t *Tap) Exchanges() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.carried
}

// Shut refuses new connections, as a server that has ended does. Open lets them in again.
func (t *Tap) Shut() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listener != nil {
		_ = t.listener.Close()
		t.listener = nil
	}
}

// Close ends everything and waits for it. What was carried is checked then.
func (t *Tap) Close() {
	t.Shut()
	t.mu.Lock()
	t.closed = true
	for conn := range t.conns {
		_ = conn.Close()
	}
	t.mu.Unlock()
	t.running.Wait()
}

func (t *Tap) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // it was shut
		}
		if !t.hold(client) {
			return
		}
		t.running.Add(1)
		go func() {
			defer t.running.Done()
			t.carry(client)
		}()
	}
}

// hold notes a connection that Close has to end. It reports whether the tap is open.
func (t *Tap) hold(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = conn.Close()
		return false
	}
	t.conns[conn] = true
	return true
}

func (t *Tap) release(conn net.Conn) {
	_ = conn.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, conn)
}

// carry connects one client with the server until both directions have ended.
func (t *Tap) carry(client net.Conn) {
	defer t.release(client)
	// The server's own backlog takes connections as long as its machine runs: the client's patience bounds this, not ours.
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", t.target)
	if err != nil {
		reset(client)
		return
	}
	defer t.release(server)
	if !t.hold(server) {
		return
	}
	asked, answered := newStream(), newStream()
	var directions sync.WaitGroup
	directions.Go(func() { handOn(server, client, asked) })
	directions.Go(func() { handOn(client, server, answered) })
	directions.Go(func() {
		t.listen(asked, answered)
		asked.ignore()
		answered.ignore()
	})
	directions.Wait()
}

// handOn copies until the source ends, and ends the destination the same way.
func handOn(to, from net.Conn, heard *stream) {
	defer heard.end()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		heard.add(buffer[:n])
		if n > 0 {
			if _, werr := to.Write(buffer[:n]); werr != nil {
				reset(from) // nobody takes what it sends
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			if half, is := to.(interface{ CloseWrite() error }); is {
				_ = half.CloseWrite()
			}
			return
		default:
			reset(to)
			return
		}
	}
}

// clientLeft is what the server notes, and writes, when the client has gone: nobody gets it.
const clientLeft = 499

// reset closes a connection as a process that dies does.
func reset(conn net.Conn) {
	if tcp, is := conn.(*net.TCPConn); is {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// listen checks the exchanges of one connection, in their order, until one of its directions ends or is no HTTP.
func (t *Tap) listen(asked, answered *stream) {
	requests, answers := bufio.NewReader(asked), bufio.NewReader(answered)
	for {
		request, err := http.ReadRequest(requests)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(request.Body) // a refused one may break off
		response, err := http.ReadResponse(answers, request)
		for err == nil && response.StatusCode == http.StatusContinue {
			response, err = http.ReadResponse(answers, request)
		}
		if err != nil {
			return
		}
		answer, broken := io.ReadAll(response.Body)
		_ = response.Body.Close()
		x := Exchange{
			Method: request.Method, URL: request.URL, ContentType: request.Header.Get("Content-Type"), Body: body,
			Strict: request.Header.Get("X-Prefect-Api-Version") != "", Odd: request.Header.Get(OddHeader) != "",
			Status: response.StatusCode, AnswerContentType: response.Header.Get("Content-Type"), Answer: plain(response.Header, answer), Aborted: broken != nil,
		}
		if x.Status != clientLeft {
			t.check(x)
		}
		if request.Close || response.Close {
			return
		}
	}
}

func (t *Tap) check(x Exchange) {
	checker, err := t.checker()
	if err == nil {
		err = checker.Check(x)
	}
	t.mu.Lock()
	t.carried++
	if err == nil || t.reported[err.Error()] {
		t.mu.Unlock()
		return
	}
	t.reported[err.Error()] = true
	t.mu.Unlock()
	t.report(err)
}

// stream is what came over one direction of a connection. It holds what was not read yet, however much that is: copying does
// not wait for the checks.
type stream struct {
	mu    sync.Mutex // guards what follows
	more  *sync.Cond
	bytes []byte
	ended bool
	deaf  bool // nobody reads any more
}

func newStream() *stream {
	s := &stream{}
	s.more = sync.NewCond(&s.mu)
	return s
}

func (s *stream) add(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.deaf {
		s.bytes = append(s.bytes, p...)
	}
	s.more.Signal()
}

// ignore drops what comes from now on.
func (s *stream) ignore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes, s.deaf = nil, true
}

func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.more.Signal()
}

func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.bytes) == 0 {
		if s.ended {
			return 0, io.EOF
		}
		s.more.Wait()
	}
	n := copy(p, s.bytes)
	s.bytes = s.bytes[n:]
	return n, nil
}

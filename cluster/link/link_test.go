package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

var errKnown = errors.New("a known error")

var known = Errors{errKnown, ErrBusy, ErrUnknownMethod}

// end is one node's port with a client.
type end struct {
	port   *Port
	client *Client
	close  func()
}

type setup struct {
	identity Identity
	bind     string
	tls      *TLS
	admit    func(Kind, Identity) error
	handlers map[string]Handler
}

func open(t *testing.T, s setup) *end {
	t.Helper()
	if s.identity.NodeID == "" {
		s.identity.NodeID = "node"
	}
	if s.bind == "" {
		s.bind = "127.0.0.1:0"
	}
	if s.admit == nil {
		s.admit = func(Kind, Identity) error { return nil }
	}
	log := slog.New(slog.DiscardHandler)
	p, err := Listen(Config{Bind: s.bind, TLS: s.tls, Self: func(Kind) Identity { return s.identity }, Admit: s.admit, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	p.Serve(NewServer(s.handlers, known, log))
	e := &end{port: p, client: NewClient(p, known)}
	e.close = sync.OnceFunc(func() {
		e.client.Close()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(e.close)
	return e
}

func (e *end) target() Target { return Target{Addr: e.port.Advertised()} }

func echo(_ context.Context, from string, body []byte) ([]byte, error) {
	return append([]byte(from+": "), body...), nil
}

func TestRequests(t *testing.T) {
	t.Parallel()
	t.Run("many at once over one connection get their own answers", func(t *testing.T) {
		t.Parallel()
		b := open(t, setup{handlers: map[string]Handler{"echo": echo}})
		a := open(t, setup{identity: Identity{NodeID: "a"}})
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				body := bytes.Repeat([]byte{byte(i)}, i*500)
				got, err := a.client.Call(testContext(t), b.target(), "echo", body)
				if err != nil || !bytes.Equal(got, append([]byte("a: "), body...)) {
					t.Errorf("call %d: %d bytes, %v", i, len(got), err)
				}
			})
		}
		all.Wait()
		if n := len(b.port.open); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
	t.Run("an error keeps its identity and its text", func(t *testing.T) {
		t.Parallel()
		b := open(t, setup{handlers: map[string]Handler{"fail": func(context.Context, string, []byte) ([]byte, error) {
			return nil, fmt.Errorf("deep down: %w", errKnown)
		}}})
		a := open(t, setup{})
		_, err := a.client.Call(testContext(t), b.target(), "fail", nil)
		if !errors.Is(err, errKnown) || errors.Is(err, ErrBroken) || err.Error() != "deep down: a known error" {
			t.Errorf("got %v", err)
		}
		if _, err := a.client.Call(testContext(t), b.target(), "new", nil); !errors.Is(err, ErrUnknownMethod) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a caller that goes cancels the handler and does not know the outcome", func(t *testing.T) {
		t.Parallel()
		began, ended := make(chan struct{}), make(chan struct{})
		b := open(t, setup{handlers: map[string]Handler{"wait": func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
			close(began)
			<-ctx.Done()
			close(ended)
			return nil, ctx.Err()
		}}})
		a := open(t, setup{})
		ctx, cancel := context.WithCancel(testContext(t))
		go func() { <-began; cancel() }()
		if _, err := a.client.Call(ctx, b.target(), "wait", nil); !errors.Is(err, ErrBroken) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		<-ended
	})
	t.Run("a deadline is the handler's too", func(t *testing.T) {
		t.Parallel()
		b := open(t, setup{handlers: map[string]Handler{"deadline": func(ctx context.Context, _ string, _ []byte) ([]byte, error) {
			_, ok := ctx.Deadline()
			return fmt.Append(nil, ok), nil
		}}})
		a := open(t, setup{})
		if got, err := a.client.Call(testContext(t), b.target(), "deadline", nil); err != nil || string(got) != "true" {
			t.Errorf("%s, %v", got, err)
		}
	})
	t.Run("a restarted peer is asked over a new connection", func(t *testing.T) {
		t.Parallel()
		b := open(t, setup{handlers: map[string]Handler{"echo": echo}})
		a := open(t, setup{identity: Identity{NodeID: "a"}})
		to := b.target()
		for range 20 { // sometimes the end of the old connection is noticed before the call, sometimes by it
			if _, err := a.client.Call(testContext(t), to, "echo", nil); err != nil {
				t.Fatal(err)
			}
			b.close()
			b = open(t, setup{bind: to.Addr, handlers: map[string]Handler{"echo": echo}})
			if _, err := a.client.Call(testContext(t), to, "echo", nil); err != nil {
				t.Fatalf("after the restart: %v", err)
			}
		}
	})
	t.Run("a request that died with its connection is sent once more, and after that is unknown", func(t *testing.T) {
		t.Parallel()
		var calls atomic.Int32
		var b *end
		b = open(t, setup{handlers: map[string]Handler{"echo": echo, "die": func(context.Context, string, []byte) ([]byte, error) {
			calls.Add(1)
			b.port.mu.Lock()
			defer b.port.mu.Unlock()
			for c := range b.port.open {
				_ = c.Close()
			}
			return nil, nil
		}}})
		a := open(t, setup{})
		if _, err := a.client.Call(testContext(t), b.target(), "echo", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := a.client.Call(testContext(t), b.target(), "die", nil); !errors.Is(err, ErrBroken) {
			t.Errorf("got %v", err)
		}
		if calls.Load() != 2 {
			t.Errorf("handled %d times, want 2", calls.Load())
		}
	})
	t.Run("nobody there is surely not done", func(t *testing.T) {
		t.Parallel()
		b := open(t, setup{})
		to := b.target()
		b.close()
		a := open(t, setup{})
		if _, err := a.client.Call(testContext(t), to, "echo", nil); !errors.Is(err, ErrNotSent) {
			t.Errorf("got %v", err)
		}
		if _, err := a.client.Call(testContext(t), to, "echo", make([]byte, MaxBody+1)); !errors.Is(err, ErrNotSent) {
			t.Errorf("too large: %v", err)
		}
	})
	t.Run("a peer that stops answering is given up", func(t *testing.T) {
		t.Parallel()
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		var served sync.WaitGroup
		defer served.Wait()
		quit := make(chan struct{})
		defer close(quit)
		served.Go(func() {
			for {
				c, err := silent.Accept()
				if err != nil {
					return
				}
				served.Go(func() {
					defer c.Close()
					var head [2]byte
					var g greeting
					if _, err := c.Read(head[:]); err == nil && readMessage(c, &g) == nil {
						_ = writeMessage(c, welcome{Identity: Identity{NodeID: "silent"}})
					}
					<-quit
				})
			}
		})
		defer silent.Close()
		a := open(t, setup{})
		if _, err := a.client.Call(testContext(t), Target{Addr: silent.Addr().String()}, "echo", nil); !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("got %v", err)
		}
	})
}

func TestGreetings(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, a, b setup, wanted string, parts ...string) {
		t.Helper()
		x, y := open(t, a), open(t, b)
		for _, kind := range []Kind{Raft, RPC} {
			_, _, err := x.port.Dial(testContext(t), kind, y.port.Advertised(), wanted)
			if err == nil {
				t.Fatal("the connection was accepted")
			}
			for _, part := range parts {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is missing in %v", part, err)
				}
			}
		}
	}
	t.Run("a node of another cluster is refused", func(t *testing.T) {
		t.Parallel()
		refused(t, setup{identity: Identity{NodeID: "a", ClusterID: "one"}}, setup{identity: Identity{NodeID: "b", ClusterID: "two"}}, "",
			"node a belongs to cluster one, node b to cluster two")
	})
	t.Run("a cluster of another name is refused", func(t *testing.T) {
		t.Parallel()
		refused(t, setup{identity: Identity{NodeID: "a", Cluster: "x"}}, setup{identity: Identity{NodeID: "b", Cluster: "y"}}, "", `named "x"`, `named "y"`)
	})
	t.Run("a node that took over an address is not mistaken for the former one", func(t *testing.T) {
		t.Parallel()
		refused(t, setup{identity: Identity{NodeID: "a"}}, setup{identity: Identity{NodeID: "b"}}, "c", "this is node b, not c")
	})
	t.Run("whom the node does not admit is refused by either side", func(t *testing.T) {
		t.Parallel()
		no := func(Kind, Identity) error { return errors.New("not today") }
		refused(t, setup{}, setup{admit: no}, "", "not today")
		refused(t, setup{admit: no}, setup{}, "", "not today")
	})
	t.Run("raft's stream names the node it means", func(t *testing.T) {
		t.Parallel()
		x, y := open(t, setup{}), open(t, setup{identity: Identity{NodeID: "b"}})
		s := y.port.Stream()
		defer s.Close()
		accepted := make(chan net.Conn, 1)
		go func() {
			c, err := s.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}()
		c, err := x.port.Stream().Dial(Address("b", y.port.Advertised()), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		other := <-accepted
		defer other.Close()
		if _, err := c.Write([]byte("hi")); err != nil {
			t.Fatal(err)
		}
		var got [2]byte
		if _, err := other.Read(got[:]); err != nil || string(got[:]) != "hi" {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := x.port.Stream().Dial(Address("c", y.port.Advertised()), time.Second); err == nil {
			t.Error("node b was taken for node c")
		}
	})
}

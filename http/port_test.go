package httpapi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func listen(t *testing.T) *port {
	t.Helper()
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &port{tcp: l}
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

func TestAClosingPort(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can keep new connections out while it hands out those that are there")
	}
	t.Run("hands out every connection that the kernel has made, then refuses", func(t *testing.T) {
		t.Parallel()
		l := listen(t)
		const there = 50
		for range there {
			dial(t, l)
		}
		l.closeSoftly()
		time.Sleep(2 * handshake) // the time is over before the first is fetched, as on a busy machine
		got := 0
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				break
			}
			got++
			_ = c.Close()
		}
		if got != there {
			t.Errorf("%d of %d connections were handed out", got, there)
		}
		if c, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("afterwards: %v, %v", c, err)
		}
	})
	t.Run("makes no connection that it could not hand out", func(t *testing.T) {
		t.Parallel()
		l := listen(t)
		dial(t, l)
		l.closeSoftly()
		c, err := net.DialTimeout("tcp", l.Addr().String(), 500*time.Millisecond)
		if err == nil {
			_ = c.Close()
			t.Error("a closing port made a connection")
		}
	})
	t.Run("may be closed twice, and after it was closed", func(t *testing.T) {
		t.Parallel()
		l := listen(t)
		_ = l.Close()
		l.closeSoftly()
		l.closeSoftly()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// TestAServerThatStopsAnswersWhoeverReachedIt has clients connect and send a write each while the server stops: a connection that
// was made gets its answer.
func TestAServerThatStopsAnswersWhoeverReachedIt(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can keep new connections out while it hands out those that are there")
	}
	s := newStack(t, oneNode)
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.server.Start(l)
	const clients = 8
	type outcome struct {
		answered int
		err      error
	}
	outcomes := make(chan outcome, clients)
	for n := range clients {
		go func() {
			var o outcome
			defer func() { outcomes <- o }()
			body := fmt.Sprintf(`{"name": "flow %d"}`, n)
			for {
				c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
				if err != nil {
					if !errors.Is(err, syscall.ECONNREFUSED) {
						o.err = err
					}
					return
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				_, err = fmt.Fprintf(c, "POST /api/flows/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
				if err == nil {
					var r *http.Response
					if r, err = http.ReadResponse(bufio.NewReader(c), nil); err == nil {
						_, err = io.Copy(io.Discard, r.Body)
						_ = r.Body.Close()
					}
				}
				_ = c.Close()
				if err != nil {
					o.err = fmt.Errorf("a connection that was made got no answer: %w", err)
					return
				}
				o.answered++
			}
		}()
	}
	s.must(201, "POST", "/api/flows/", object{"name": "between"}) // the clients are at work
	if err := s.server.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for range clients {
		if o := <-outcomes; o.err != nil {
			t.Errorf("after %d answers: %v", o.answered, o.err)
		}
	}
}

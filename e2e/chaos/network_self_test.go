//go:build linux

package chaos

import (
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// lan makes a network, or skips the test where that is not permitted.
func lan(t *testing.T, size int) *network {
	t.Helper()
	n, err := newNetwork(size)
	if errors.Is(err, errNotPermitted) && !asked() {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	return n
}

func TestTheNetworkCarriesLosesDelaysAndCuts(t *testing.T) {
	t.Parallel()
	n := lan(t, 2)
	a, b := n.hosts[0], n.hosts[1]
	listening := make(chan error)
	var listener net.Listener
	b.work <- func() {
		var err error
		listener, err = net.Listen("tcp", b.address.String()+":7")
		listening <- err
	}
	if err := <-listening; err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-served })
	echo := func(limit time.Duration) error {
		conn, err := a.dial(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(limit))
		if _, err := conn.Write([]byte("hello")); err != nil {
			return err
		}
		answer := make([]byte, 5)
		_, err = io.ReadFull(conn, answer)
		return err
	}
	if err := echo(patience); err != nil {
		t.Fatalf("a whole network: %v", err)
	}
	const delay = 50 * time.Millisecond
	n.set(a, b, fault{delay: delay})
	began := time.Now()
	if err := echo(patience); err != nil || time.Since(began) < 2*delay {
		t.Errorf("a slow network: %v after %s", err, time.Since(began))
	}
	n.set(a, b, fault{loss: 0.3})
	if err := echo(patience); err != nil {
		t.Errorf("a network that loses packets: %v", err)
	}
	for _, direction := range [][2]*host{{a, b}, {b, a}} {
		n.heal()
		n.set(direction[0], direction[1], fault{cut: true})
		if err := echo(time.Second); err == nil {
			t.Error("an answer came through a cut")
		}
	}
	n.heal()
	if err := echo(patience); err != nil {
		t.Errorf("a healed network: %v", err)
	}
	// What the host of a process can see is this network alone.
	var out strings.Builder
	c := exec.Command("cat", "/proc/net/dev")
	c.Stdout = &out
	if err := a.start(c); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "tun0") || strings.Contains(out.String(), "eth0") {
		t.Errorf("devices of a host:\n%s", out.String())
	}
}

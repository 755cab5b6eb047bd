package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// slowClock is a clock that is wrong.
type slowClock struct{ by time.Duration }

func (c slowClock) Now() time.Time { return time.Now().Add(-c.by) }

// notes collects what a node logs.
type notes struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// startNodes starts several nodes in this process; change is told which one it is.
func startNodes(t *testing.T, size int, change func(i int, c *Config)) ([]*Node, *client.Client) {
	t.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	var join []string
	for range size {
		l := listen()
		join = append(join, l.Addr().String())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var nodes []*Node
	var addresses []string
	for i := range size {
		config := Config{DataDir: t.TempDir(), Name: fmt.Sprint("node", i), Listener: listen(), InternalAddr: join[i], GossipAddr: "127.0.0.1:0", Join: join, BootstrapExpect: size,
			Version: "test", DiskLowWater: 1 << 20, Logger: slog.New(slog.DiscardHandler)}
		change(i, &config)
		n, err := Start(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Stop(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		nodes, addresses = append(nodes, n), append(addresses, "http://"+n.Addr()+"/api")
	}
	for _, n := range nodes {
		if err := n.WaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(client.Config{Addresses: addresses, RetryFor: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return nodes, c
}

// waitLeading polls until one of the nodes leads and its services run: nothing else says that from outside.
func waitLeading(t *testing.T, nodes ...*Node) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, n := range nodes {
			if n.services.scheduler.Stats() != nil {
				return
			}
		}
	}
	t.Fatal("none of them leads")
}

func TestANodeWhoseClockIsBehindGivesLeadershipAway(t *testing.T) {
	t.Parallel()
	var said notes
	nodes, c := startNodes(t, 3, func(i int, c *Config) {
		if i == 2 {
			c.Clock, c.Logger = slowClock{10 * time.Minute}, slog.New(slog.NewTextHandler(&said, nil))
		}
	})
	right, wrong := nodes[:2], nodes[2]
	if wrong.cluster.Status().Leading { // in a new cluster there is no time yet that it is behind of
		if err := c.TransferLeadership(t.Context(), right[0].cluster.ID()); err != nil {
			t.Fatal(err)
		}
	}
	waitLeading(t, right...)
	if _, err := c.CreateFlow(t.Context(), api.FlowCreate{Name: "before"}); err != nil {
		t.Fatal(err)
	}
	// That leadership went on at once may be told as a failure.
	t.Logf("handed over: %v", c.TransferLeadership(t.Context(), wrong.cluster.ID()))
	for deadline := time.Now().Add(time.Minute); !strings.Contains(said.String(), "giving up leadership"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not give up leadership:\n%s", said.String())
		}
	}
	if text := said.String(); !strings.Contains(text, "the clock of this node is behind the cluster's time by 10m0s: correct it") {
		t.Errorf("it did not say why:\n%s", text)
	}
	waitLeading(t, right...)
	if _, err := c.CreateFlow(t.Context(), api.FlowCreate{Name: "after"}); err != nil {
		t.Error(err)
	}
}

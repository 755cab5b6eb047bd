package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/api/client"
)

// setClock is a clock that can be set back.
type setClock struct{ back atomic.Int64 } // ns

func (c *setClock) Now() time.Time { return time.Now().Add(-time.Duration(c.back.Load())) }

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
		config := Config{DataDir: t.TempDir(), Name: fmt.Sprint("node", i), Listener: listen().(*net.TCPListener), InternalAddr: join[i], GossipAddr: "127.0.0.1:0", Join: join, BootstrapExpect: size,
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
		ready, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		err := n.WaitReady(ready)
		cancel()
		if err != nil {
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

// A clock that differs from a majority's is package cluster's business. This is about all of them being behind what the state says.
func TestALeaderBehindTheClustersTimeGivesLeadershipAwayUntilNobodyElseTakesIt(t *testing.T) {
	t.Parallel()
	var said notes
	var clock setClock
	nodes, c := startNodes(t, 3, func(_ int, c *Config) {
		c.Clock, c.Logger = &clock, slog.New(slog.NewTextHandler(&said, nil))
	})
	waitLeading(t, nodes...)
	if _, err := c.CreateFlow(t.Context(), api.FlowCreate{Name: "before"}); err != nil {
		t.Fatal(err)
	}
	clock.back.Store(int64(10 * time.Minute))
	next := slices.IndexFunc(nodes, func(n *Node) bool { return !n.cluster.Status().Leading })
	// That leadership went on at once may be told as a failure.
	t.Logf("handed over: %v", c.TransferLeadership(t.Context(), nodes[next].cluster.ID()))
	saysAtLast := func(what string) {
		t.Helper()
		pattern := regexp.MustCompile(what)
		for deadline := time.Now().Add(time.Minute); !pattern.MatchString(said.String()); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("nobody said %q:\n%s", what, said.String())
			}
		}
	}
	saysAtLast("giving up leadership")
	saysAtLast(`the clock of this node is behind the cluster's time by (10m0s|9m5\ds): correct it`) // less what passed since the last entry
	saysAtLast("no other node leads: its time stands still until the clock is there")
	waitLeading(t, nodes...)
	if _, err := c.CreateFlow(t.Context(), api.FlowCreate{Name: "after"}); err != nil {
		t.Error(err)
	}
}

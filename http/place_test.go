package httpapi

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/snapshot"
)

// place is which node of which cluster serves the API that a test speaks to.
type place string

const (
	oneNode         place = "on one node"
	throughFollower place = "through a follower of three"
)

// everywhere runs a test of the API in each place: a client must see no difference.
func everywhere(t *testing.T, test func(*testing.T, place)) {
	t.Parallel()
	for _, at := range []place{oneNode, throughFollower} {
		t.Run(string(at), func(t *testing.T) {
			t.Parallel()
			test(t, at)
		})
	}
}

// stackNode is a node with the real state machine, on disk.
type stackNode struct {
	data    *cluster.DataDir
	holder  *snapshot.Holder
	machine *fsm.FSM
	node    *cluster.Node
}

func newStackNode(t testing.TB, change func(*cluster.Config)) *stackNode {
	t.Helper()
	log := testLogger()
	dir := filepath.Join(t.TempDir(), "data")
	lock := new(sync.Mutex)
	n := &stackNode{}
	var err error
	if n.data, err = cluster.OpenDataDir(dir); err != nil {
		t.Fatal(err)
	}
	if n.holder, err = snapshot.Open(snapshot.Config{DataDir: dir, KV: pebblekv.Options{Logger: log}, ApplyLock: lock, Logger: log}); err != nil {
		t.Fatal(err)
	}
	if n.machine, err = fsm.New(holderStorage{n.holder}, lock, log); err != nil {
		t.Fatal(err)
	}
	config := cluster.Config{DataDir: n.data, Snapshots: snapshot.NewStore(n.holder), EncodeEpoch: testEpoch}
	change(&config)
	if n.node, err = cluster.New(config, n.machine, log); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *stackNode) stop(ctx context.Context) error {
	return errors.Join(n.node.Stop(ctx), n.machine.Close(), n.holder.Close(), n.data.Close())
}

// startNodes starts a cluster and returns the node that the place means, and what stops all.
func startNodes(ctx context.Context, t testing.TB, at place) (*stackNode, func(context.Context) error) {
	t.Helper()
	var nodes []*stackNode
	if at == oneNode {
		nodes = append(nodes, newStackNode(t, func(c *cluster.Config) { c.InternalAddr, c.BootstrapExpect = "127.0.0.1:0", 1 }))
	} else {
		var addresses []string
		for range 3 {
			addresses = append(addresses, freeAddress(t))
		}
		for _, a := range addresses {
			nodes = append(nodes, newStackNode(t, func(c *cluster.Config) {
				c.InternalAddr, c.BootstrapExpect, c.Join = a, len(addresses), addresses
			}))
		}
	}
	var starting sync.WaitGroup
	failures := make([]error, len(nodes))
	for i, n := range nodes {
		starting.Go(func() { failures[i] = errors.Join(n.node.Start(ctx), n.node.WaitLeader(ctx)) })
	}
	starting.Wait()
	stop := func(ctx context.Context) error {
		var all sync.WaitGroup
		errs := make([]error, len(nodes))
		// Nobody hands leadership over to a node that stops as well.
		now, cancel := context.WithCancel(ctx)
		if len(nodes) > 1 {
			cancel()
		}
		defer cancel()
		for i, n := range nodes {
			all.Go(func() { errs[i] = n.stop(now) })
		}
		all.Wait()
		return errors.Join(errs...)
	}
	if err := errors.Join(failures...); err != nil {
		t.Fatal(errors.Join(err, stop(ctx)))
	}
	chosen := nodes[0]
	if at == throughFollower {
		chosen = nodes[slices.IndexFunc(nodes, func(n *stackNode) bool { return !n.node.Status().Leading })]
	}
	return chosen, stop
}

// freeAddress returns an address that was free a moment ago: the nodes of a cluster must know each other's beforehand.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Should a busy machine elect another leader during a test, its requests wait for that, or the test goes on at the new leader.
func TestAStackServesThroughAFollower(t *testing.T) {
	t.Parallel()
	s := newStack(t, throughFollower)
	if status := s.node.node.Status(); status.Leading || status.Leader.ID == "" {
		t.Errorf("the node is %+v", status)
	}
	s.must(201, "POST", "/api/flows/", object{"name": "f"})
}

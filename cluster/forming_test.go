package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// ports hands out loopback addresses that nothing listens on, below the range from which the kernel takes ports of outgoing
// connections, each once: nodes must know each other's before they start, and find their own again after a restart.
var ports = struct {
	sync.Mutex
	next int
}{next: 12000 + rand.IntN(18000)}

func freeAddress(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 2000 {
		if ports.next++; ports.next >= 32000 {
			ports.next = 12000
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ports.next))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return l.Addr().String()
	}
	t.Fatal("no free port between 12000 and 32000")
	return ""
}

// tcpNode is a node with a port, and what outlives it.
type tcpNode struct {
	single
	addr string
	join []string
}

// tcpFleet is several nodes on loopback that find each other.
type tcpFleet struct {
	t       testing.TB
	expect  int
	members []*tcpNode
	change  func(*Config)
}

// newTCPFleet prepares nodes, each with the internal addresses of all.
func newTCPFleet(t testing.TB, size, expect int) *tcpFleet {
	t.Helper()
	f := &tcpFleet{t: t, expect: expect}
	var all []string
	for range size {
		all = append(all, freeAddress(t))
	}
	for _, a := range all {
		f.members = append(f.members, &tcpNode{single: *newSingle(t), addr: a, join: all})
	}
	t.Cleanup(func() {
		for _, m := range f.members {
			f.down(m)
		}
	})
	return f
}

func (f *tcpFleet) up(members ...*tcpNode) {
	f.t.Helper()
	var all sync.WaitGroup
	for _, m := range members {
		all.Go(func() {
			if err := m.tryStart(f.t, func(c *Config) {
				c.InternalAddr, c.GossipAddr, c.BootstrapExpect, c.Join = m.addr, "127.0.0.1:0", f.expect, m.join
				c.Heartbeat, c.CommitTimeout, c.EpochRetry = 200*time.Millisecond, 5*time.Millisecond, 50*time.Millisecond
				c.Membership.Stable = 50 * time.Millisecond
				if f.change != nil {
					f.change(c)
				}
			}); err != nil {
				f.t.Error(err)
			}
		})
	}
	all.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
}

// down stops a node as a restart would, without waiting for a successor.
func (f *tcpFleet) down(m *tcpNode) {
	if m.node == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.node.Stop(ctx); err != nil {
		f.t.Error(err)
	}
	if err := m.data.Close(); err != nil {
		f.t.Error(err)
	}
	m.node = nil
}

func (f *tcpFleet) running() (out []*tcpNode) {
	for _, m := range f.members {
		if m.node != nil {
			out = append(out, m)
		}
	}
	return out
}

func (f *tcpFleet) leader() *tcpNode {
	f.t.Helper()
	var found *tcpNode
	until(f.t, "there is a leader", func() bool {
		for _, m := range f.running() {
			if m.node.leading() != nil {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

func (f *tcpFleet) follower() *tcpNode {
	f.t.Helper()
	lead := f.leader()
	for _, m := range f.running() {
		if m != lead {
			return m
		}
	}
	f.t.Fatal("no follower runs")
	return nil
}

// voters waits until every running node has a configuration of that many servers, all with a vote.
func (f *tcpFleet) voters(count int) {
	f.t.Helper()
	until(f.t, fmt.Sprint("there are ", count, " voters: ", f.states()), func() bool {
		for _, m := range f.running() {
			s := m.node.servers()
			if len(s) != count || slices.ContainsFunc(s, func(s raft.Server) bool { return s.Suffrage != raft.Voter }) {
				return false
			}
		}
		return true
	})
}

func (f *tcpFleet) states() string {
	var out []string
	for _, m := range f.members {
		if m.node != nil {
			s := m.node.Status()
			out = append(out, fmt.Sprint(m.addr, " ", s.State, " ", s.Problems))
		}
	}
	return strings.Join(out, "; ")
}

// agree writes through every running node, waits until all have everything, and checks that there is one cluster.
func (f *tcpFleet) agree(word string) {
	f.t.Helper()
	var index uint64
	for i, m := range f.running() {
		res, at, err := m.node.Propose(testContext(f.t), [][]byte{fmt.Append(nil, word, i)})
		if err != nil {
			f.t.Fatalf("write through %s: %v\n%s", m.addr, err, f.states())
		}
		if string(res[0]) != fmt.Sprint("did ", word, i) {
			f.t.Errorf("result %q", res[0])
		}
		index = max(index, at)
	}
	first := f.running()[0]
	for _, m := range f.running() {
		got, err := m.node.Read(testContext(f.t))
		if err != nil || got < index {
			f.t.Fatalf("read at %s: index %d after a write at %d: %v", m.addr, got, index, err)
		}
		if m.node.Status().ClusterID != first.node.Status().ClusterID {
			f.t.Errorf("two clusters: %s and %s", first.node.Status().ClusterID, m.node.Status().ClusterID)
		}
		for i := range f.running() {
			if n := m.toy.count(fmt.Sprint(word, i)); n != 1 {
				f.t.Errorf("node %s applied %s%d %d times", m.addr, word, i, n)
			}
		}
	}
}

func TestForming(t *testing.T) {
	t.Parallel()
	t.Run("nodes started at once become one cluster, through restarts of all", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		f.up(f.members...)
		f.agree("first")
		f.voters(3)
		id := f.members[0].node.Status().ClusterID
		for _, m := range f.members {
			f.down(m)
		}
		f.up(f.members...)
		f.agree("second")
		if now := f.members[0].node.Status().ClusterID; now != id {
			t.Errorf("cluster %s became %s", id, now)
		}
	})
	t.Run("one seed is enough for all", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		for _, m := range f.members {
			m.join = f.members[0].join[:1]
		}
		f.up(f.members...)
		f.agree("word")
		f.voters(3)
	})
	t.Run("too few nodes wait and say for what", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		f.up(f.members[:2]...)
		until(t, "the node says that two of three are here", func() bool {
			return strings.Contains(strings.Join(f.members[0].node.Status().Problems, "\n"), "2 of 3 nodes are here")
		})
		f.up(f.members[2])
		f.agree("word")
	})
	t.Run("more nodes than founders all end up as voters of one cluster", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 5, 3)
		f.up(f.members...)
		f.voters(5)
		f.agree("word")
	})
	t.Run("a later node with the same flags joins and gets a vote", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 4, 3)
		f.up(f.members[:3]...)
		f.agree("before")
		f.up(f.members[3])
		f.voters(4)
		f.agree("after")
	})
	t.Run("a node may join a cluster of one that expects nobody", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 2, 0)
		f.members[0].join, f.expect = nil, 1
		f.up(f.members[0])
		f.expect = 0
		f.up(f.members[1])
		f.voters(2)
		f.agree("word")
	})
	t.Run("two clusters are named, not joined", func(t *testing.T) {
		t.Parallel()
		a, b := newSingle(t), newSingle(t)
		a.start(t)
		defer a.stop(t)
		b.start(t)
		defer b.stop(t)
		f := newTCPFleet(t, 1, 3)
		f.members[0].join = []string{a.node.port.Advertised(), b.node.port.Advertised()}
		f.up(f.members[0])
		until(t, "the node says what is wrong", func() bool {
			all := strings.Join(f.members[0].node.Status().Problems, "\n")
			return strings.Contains(all, "lead to two clusters") && strings.Contains(all, a.node.Status().ClusterID) && strings.Contains(all, b.node.Status().ClusterID)
		})
	})
	t.Run("members of two clusters refuse each other", func(t *testing.T) {
		t.Parallel()
		a, b := newSingle(t), newSingle(t)
		a.start(t)
		defer a.stop(t)
		b.start(t)
		defer b.stop(t)
		_, err := a.node.askHello(testContext(t), Peer{Addr: b.node.port.Advertised()}.target())
		if err == nil || !strings.Contains(err.Error(), "belongs to cluster "+a.node.Status().ClusterID) {
			t.Errorf("got %v", err)
		}
	})
}

func TestFoundingSurvivesAndEnds(t *testing.T) {
	t.Parallel()
	t.Run("a founder that was stopped before it founded goes on with the same cluster", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		// As if the first had asked the second for its promise and died.
		var ids []Peer
		for _, m := range f.members {
			d, err := OpenDataDir(m.dir)
			if err != nil {
				t.Fatal(err)
			}
			m.data = d
			ids = append(ids, Peer{ID: d.NodeID(), Addr: m.addr})
		}
		plan := Founding{ClusterID: "11111111-1111-4111-8111-111111111111", Voters: ids}
		err := errors.Join(f.members[0].data.setFounding(&plan), f.members[1].data.setPledge(Pledge{ClusterID: plan.ClusterID, Founder: ids[0].ID, Seq: 1}))
		for _, m := range f.members {
			err = errors.Join(err, m.data.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		f.up(f.members...)
		f.agree("word")
		if got := f.members[2].node.Status().ClusterID; got != plan.ClusterID {
			t.Errorf("cluster %s", got)
		}
	})
	t.Run("a promise that the founder did not keep is withdrawn, also when its message was lost", func(t *testing.T) {
		t.Parallel()
		f := newTCPFleet(t, 3, 3)
		founder, err := OpenDataDir(f.members[0].dir)
		if err != nil {
			t.Fatal(err)
		}
		d, err := OpenDataDir(f.members[1].dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.setPledge(Pledge{ClusterID: "x", Founder: founder.NodeID(), Seq: 1}), d.Close(), founder.Close()); err != nil {
			t.Fatal(err)
		}
		f.up(f.members...)
		f.agree("word")
	})
	t.Run("a promise is kept against another founder", func(t *testing.T) {
		t.Parallel()
		d, err := OpenDataDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := d.setPledge(Pledge{ClusterID: "x", Founder: "a"}); err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{d.setPledge(Pledge{ClusterID: "y", Founder: "b"}), d.setPledge(Pledge{ClusterID: "y"}), d.setFounding(&Founding{ClusterID: "z"})} {
			if err == nil {
				t.Error("the promise was broken")
			}
		}
		if err := errors.Join(d.release("y"), d.setPledge(Pledge{ClusterID: "x", Founder: "a"})); err != nil || d.allegiance() != "x" {
			t.Errorf("%v, allegiance %q", err, d.allegiance())
		}
		if err := errors.Join(d.release("x"), d.setFounding(&Founding{ClusterID: "z"})); err != nil || d.allegiance() != "z" {
			t.Errorf("%v, allegiance %q", err, d.allegiance())
		}
	})
}

func TestDecide(t *testing.T) {
	t.Parallel()
	candidate := func(id string, sees ...string) hello {
		return hello{NodeID: id, Stateless: true, Expect: 3, Candidates: sees}
	}
	formed := func(id, cluster, leader string) hello {
		return hello{NodeID: id, ClusterID: cluster, Leader: Peer{ID: leader}}
	}
	all := []string{"a", "b", "c"}
	for name, c := range map[string]struct {
		s    surroundings
		want move
		text string
	}{
		"alone it waits": {surroundings{self: "a", expect: 3}, moveWait, "1 of 3 nodes"},
		"without leave to found it waits for a cluster":  {surroundings{self: "a"}, moveWait, "no cluster answers"},
		"the lowest of a set that all see founds":        {surroundings{self: "a", expect: 3, others: []hello{candidate("b", all...), candidate("c", all...)}}, moveFound, "founding"},
		"another waits for the lowest":                   {surroundings{self: "b", expect: 3, others: []hello{candidate("a", all...), candidate("c", all...)}}, moveWait, "node a to found"},
		"a node that sees fewer holds it up":             {surroundings{self: "a", expect: 3, others: []hello{candidate("b", all...), candidate("c")}}, moveWait, "node c to see"},
		"a node that sees others holds it up":            {surroundings{self: "a", expect: 3, others: []hello{candidate("b", all...), candidate("c", "0", "a", "c")}}, moveWait, "node c to see"},
		"of too many the lowest found":                   {surroundings{self: "a", expect: 3, others: []hello{candidate("b", all...), candidate("c", all...), candidate("d", all...)}}, moveFound, ""},
		"one too many waits":                             {surroundings{self: "d", expect: 3, others: []hello{candidate("a", all...), candidate("b", all...), candidate("c", all...)}}, moveWait, "node a to found"},
		"another number of founders is named":            {surroundings{self: "a", expect: 3, others: []hello{{NodeID: "b", Stateless: true, Expect: 5, Addr: "h:1"}}}, moveWait, "node b at h:1 expects 5 founders, this node 3"},
		"who is promised elsewhere holds it up":          {surroundings{self: "a", expect: 3, others: []hello{candidate("b", all...), {NodeID: "c", Stateless: true, Expect: 3, Candidates: all, PledgedTo: "z"}}}, moveWait, "founds with node z"},
		"who founds by itself holds it up":               {surroundings{self: "a", expect: 3, others: []hello{candidate("b", all...), {NodeID: "c", Stateless: true, Expect: 3, Candidates: all, Founding: "x"}}}, moveWait, "founds a cluster itself"},
		"an existing cluster comes first":                {surroundings{self: "a", expect: 3, others: []hello{candidate("b", all...), candidate("c", all...)}, formed: []hello{formed("d", "x", "e")}}, moveJoin, "joining cluster x"},
		"without a leader it waits":                      {surroundings{self: "a", expect: 3, formed: []hello{formed("d", "x", "")}}, moveWait, "no leader"},
		"any member that knows the leader will do":       {surroundings{self: "a", expect: 3, formed: []hello{formed("d", "x", ""), formed("e", "x", "e")}}, moveJoin, ""},
		"two clusters are refused":                       {surroundings{self: "a", expect: 3, formed: []hello{formed("d", "x", "d"), formed("e", "y", "e")}}, moveWait, "two clusters, x"},
		"a promise to found is kept":                     {surroundings{self: "a", expect: 3, pledge: &Pledge{ClusterID: "x", Founder: "0"}, others: []hello{candidate("b", all...), candidate("c", all...)}}, moveWait, "waiting for node 0"},
		"a promise to found is kept against a cluster":   {surroundings{self: "a", expect: 3, pledge: &Pledge{ClusterID: "x", Founder: "0"}, formed: []hello{formed("d", "y", "d")}}, moveWait, "promised node 0"},
		"a promise to found is kept by joining that":     {surroundings{self: "a", expect: 3, pledge: &Pledge{ClusterID: "x", Founder: "0"}, formed: []hello{formed("d", "x", "d")}}, moveJoin, ""},
		"a wish to join another cluster may be given up": {surroundings{self: "a", expect: 3, pledge: &Pledge{ClusterID: "x"}, formed: []hello{formed("d", "y", "d")}}, moveJoin, ""},
		"nodes that may not found are no candidates":     {surroundings{self: "a", expect: 3, others: []hello{candidate("b", all...), {NodeID: "c", Stateless: true}}}, moveWait, "2 of 3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, found, text := decide(c.s)
			if got != c.want || !strings.Contains(text, c.text) {
				t.Errorf("got move %d, %q", got, text)
			}
			if got == moveFound && len(found) != c.s.expect-1 {
				t.Errorf("founds with %d others", len(found))
			}
		})
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/command"
)

// fleet is several nodes in one process, connected by raft's in-memory transport.
type fleet struct {
	t       testing.TB
	config  func(*Config)
	voters  []raft.Server
	forward bool

	mu      sync.Mutex // guards what follows
	members []*member
	cut     map[string]bool    // nodes without any link
	oneWay  map[[2]string]bool // from, to: only this direction is cut
	faults  *rand.Rand         // nil: forwarding is reliable
}

// member is one node and what outlives it.
type member struct {
	id    string
	data  *DataDir
	state stateOf
	toy   *toy // nil unless the state is one
	snaps *toySnapshots
	dir   string
	addr  raft.ServerAddress
	moves int
	trans *raft.InmemTransport
	node  *Node // nil while down
}

// stateOf is where a member has its state.
type stateOf interface {
	open() (StateMachine, raft.SnapshotStore, error)
	// close is called after the node has stopped; crash takes from the state what a power loss may take.
	close(crash bool, r *rand.Rand) error
}

// toyOf is a member's state in memory.
type toyOf struct{ m *member }

func (s toyOf) open() (StateMachine, raft.SnapshotStore, error) { return s.m.toy, s.m.snaps, nil }

func (s toyOf) close(crash bool, _ *rand.Rand) error {
	if crash {
		s.m.toy = s.m.toy.crash()
		s.m.snaps = &toySnapshots{t: s.m.toy}
	}
	return nil
}

func newFleet(t testing.TB, size int, change func(*Config)) *fleet {
	t.Helper()
	return newFleetOf(t, size, change, func(m *member) stateOf {
		m.toy = newToy()
		m.snaps = &toySnapshots{t: m.toy}
		return toyOf{m}
	})
}

func newFleetOf(t testing.TB, size int, change func(*Config), state func(*member) stateOf) *fleet {
	t.Helper()
	f := &fleet{t: t, config: change, cut: map[string]bool{}, oneWay: map[[2]string]bool{}, forward: true}
	for range size {
		m := &member{dir: t.TempDir()}
		data, err := OpenDataDir(m.dir)
		if err != nil {
			t.Fatal(err)
		}
		m.data, m.id = data, data.NodeID()
		m.addr = raft.ServerAddress("at-" + m.id)
		m.state = state(m)
		f.members = append(f.members, m)
		f.voters = append(f.voters, raft.Server{ID: raft.ServerID(m.id), Address: m.addr})
	}
	for _, m := range f.members {
		f.up(m)
	}
	t.Cleanup(func() {
		for _, m := range f.members {
			f.down(m)
			if err := m.data.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return f
}

// up starts m.
func (f *fleet) up(m *member) {
	f.t.Helper()
	_, trans := raft.NewInmemTransportWithTimeout(m.addr, 100*time.Millisecond)
	f.mu.Lock()
	m.trans = trans
	f.mu.Unlock()
	f.relink()
	machine, snaps, err := m.state.open()
	if err != nil {
		f.t.Fatal(err)
	}
	cfg := Config{DataDir: m.data, Snapshots: snaps, EncodeEpoch: toyEpoch, Voters: f.voters, Transport: trans,
		Heartbeat: 60 * time.Millisecond, Lease: 40 * time.Millisecond, CommitTimeout: 5 * time.Millisecond,
		LeaderHold: 5 * time.Second, EpochRetry: 50 * time.Millisecond}
	if f.forward {
		cfg.Forwarder = &direct{f, m}
	}
	if f.config != nil {
		f.config(&cfg)
	}
	n, err := New(cfg, machine, testLogger(f.t))
	if err == nil {
		err = n.Start(testContext(f.t))
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	m.node = n
	f.mu.Unlock()
}

// down stops m without letting it hand anything over.
func (f *fleet) down(m *member) { f.end(m, false, nil) }

// crash is down by a power loss.
func (f *fleet) crash(m *member, r *rand.Rand) { f.end(m, true, r) }

func (f *fleet) end(m *member, crash bool, r *rand.Rand) {
	f.mu.Lock()
	n := m.node
	m.node = nil
	f.mu.Unlock()
	if n == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.Stop(ctx); err != nil {
		f.t.Error(err)
	}
	if err := m.trans.Close(); err != nil {
		f.t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := m.state.close(crash, r); err != nil {
		f.t.Error(err)
	}
}

// relink connects every pair of nodes that is not cut.
func (f *fleet) relink() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.members {
		for _, b := range f.members {
			if a == b || a.trans == nil || b.trans == nil {
				continue
			}
			if f.linked(a.id, b.id) {
				a.trans.Connect(b.addr, b.trans)
			} else {
				a.trans.Disconnect(b.addr)
			}
		}
	}
}

// linked says whether requests get from one node to another; f.mu is held.
func (f *fleet) linked(from, to string) bool {
	return !f.cut[from] && !f.cut[to] && !f.oneWay[[2]string{from, to}]
}

// cutOneWay cuts the way of requests from one node to another, besides what is cut.
func (f *fleet) cutOneWay(from, to *member) {
	f.mu.Lock()
	f.oneWay[[2]string{from.id, to.id}] = true
	f.mu.Unlock()
	f.relink()
}

// isolate cuts every link of the members and mends all others; nobody is isolated with none.
func (f *fleet) isolate(ms ...*member) {
	f.mu.Lock()
	f.cut, f.oneWay = map[string]bool{}, map[[2]string]bool{}
	for _, m := range ms {
		f.cut[m.id] = true
	}
	f.mu.Unlock()
	f.relink()
}

// reachable returns the running members that are not isolated.
func (f *fleet) reachable() []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*member
	for _, m := range f.members {
		if m.node != nil && !f.cut[m.id] {
			out = append(out, m)
		}
	}
	return out
}

// leader waits for a reachable member that leads and can confirm it.
func (f *fleet) leader() *member {
	f.t.Helper()
	var found *member
	until(f.t, "there is a leader", func() bool {
		for _, m := range f.reachable() {
			if n := f.nodeOf(m); n != nil && n.leading() != nil {
				if _, err := n.reader.verify(); err == nil {
					found = m
					return true
				}
			}
		}
		return false
	})
	return found
}

func (f *fleet) nodeOf(m *member) *Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return m.node
}

// put has words applied through m, whatever it takes.
func (f *fleet) put(m *member, words ...string) {
	f.t.Helper()
	for _, w := range words {
		mustPropose(f.t, f.nodeOf(m), w)
	}
}

// converge waits until every member has the leader's state and compares them.
func (f *fleet) converge() {
	f.t.Helper()
	lead := f.leader()
	for all := testContext(f.t); ; {
		ctx, cancel := context.WithTimeout(all, 5*time.Second)
		_, _, err := f.nodeOf(lead).Propose(ctx, [][]byte{[]byte("last word")})
		cancel()
		if err == nil {
			break
		}
		if all.Err() != nil {
			f.t.Fatal(err)
		}
		lead = f.leader() // a busy machine may elect another in between
	}
	want := lead.toy.words()
	index := lead.toy.AppliedIndex()
	for _, m := range f.members {
		if err := m.toy.WaitApplied(testContext(f.t), index); err != nil {
			f.t.Fatalf("node %s is at %d and does not reach %d: %v; %+v", m.id, m.toy.AppliedIndex(), index, err, f.nodeOf(m).Status())
		}
		got := m.toy.words()
		if len(got) < len(want) {
			f.t.Fatalf("node %s has %d words, want %d", m.id, len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				f.t.Fatalf("node %s has %q at %d, the leader %q", m.id, got[i], i, want[i])
			}
		}
	}
}

// direct is a Forwarder that calls the leader in the same process, as far as links allow.
type direct struct {
	f    *fleet
	self *member
}

var errNoAnswer = errors.New("connection broke after the request was sent")

func (d *direct) find(leader Peer) *Node {
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	for _, m := range d.f.members {
		if m.id == leader.ID && d.f.linked(d.self.id, m.id) {
			return m.node
		}
	}
	return nil
}

func (d *direct) ForwardBatch(ctx context.Context, leader Peer, b command.Batch, bulk bool) (command.BatchResult, uint64, error) {
	n := d.find(leader)
	if n == nil {
		return command.BatchResult{}, 0, notDone(fmt.Errorf("%w: connection refused", ErrNoLeader))
	}
	r, i, err := n.AcceptBatch(ctx, b, bulk)
	d.f.mu.Lock()
	lost := d.f.faults != nil && d.f.faults.IntN(10) == 0
	d.f.mu.Unlock()
	if lost || d.find(leader) != n {
		return command.BatchResult{}, 0, errNoAnswer
	}
	return r, i, err
}

func (d *direct) ForwardReadIndex(ctx context.Context, leader Peer) (uint64, error) {
	n := d.find(leader)
	if n == nil {
		return 0, ErrNoLeader
	}
	return n.LeaderReadIndex(ctx)
}

func envInt(name string, def int) int {
	if v, err := strconv.Atoi(os.Getenv(name)); err == nil && v > 0 {
		return v
	}
	return def
}

// compact makes every running node snapshot and keep no trailing log, so that laggards need InstallSnapshot.
func (f *fleet) compact(ms ...*member) {
	for _, m := range ms {
		n := f.nodeOf(m)
		if n == nil {
			continue
		}
		r := n.run.Load()
		if r == nil {
			continue
		}
		rc := r.raft.ReloadableConfig()
		rc.TrailingLogs = 0
		if err := r.raft.ReloadConfig(rc); err != nil {
			f.t.Error(err)
		}
		_ = r.wait(testContext(f.t), r.raft.Snapshot()) // nothing new is fine
	}
}

// move starts m, which is down, at another address; the others learn of it by readdress.
func (f *fleet) move(m *member) {
	f.t.Helper()
	m.moves++
	f.mu.Lock()
	m.addr = raft.ServerAddress(fmt.Sprintf("at-%s-%d", m.id, m.moves))
	f.mu.Unlock()
	f.up(m)
}

// readdress has the leader, if one can be found at once, write the members' addresses into the configuration. It reports whether
// all are right.
func (f *fleet) readdress() bool {
	for _, lead := range f.reachable() {
		n := f.nodeOf(lead)
		if n == nil || n.leading() == nil {
			continue
		}
		r := n.run.Load()
		if r == nil {
			continue
		}
		right := true
		for _, m := range f.members {
			known := false
			for _, s := range n.servers() {
				known = known || string(s.ID) == m.id && s.Address == m.addr
			}
			if !known {
				right = r.wait(testContext(f.t), r.raft.AddVoter(raft.ServerID(m.id), m.addr, 0, time.Second)) == nil && right
			}
		}
		return right
	}
	return false
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
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
	cut     map[string]bool // nodes without any link
	faults  *rand.Rand      // nil: forwarding is reliable
}

// member is one node and what outlives it.
type member struct {
	id    string
	data  *DataDir
	toy   *toy
	snaps *toySnapshots
	dir   string
	addr  raft.ServerAddress
	trans *raft.InmemTransport
	node  *Node // nil while down
}

func newFleet(t testing.TB, size int, change func(*Config)) *fleet {
	t.Helper()
	f := &fleet{t: t, config: change, cut: map[string]bool{}, forward: true}
	for range size {
		m := &member{dir: t.TempDir(), toy: newToy()}
		data, err := OpenDataDir(m.dir)
		if err != nil {
			t.Fatal(err)
		}
		m.data, m.id = data, data.NodeID()
		m.addr = raft.ServerAddress("at-" + m.id)
		m.snaps = &toySnapshots{t: m.toy}
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
	cfg := Config{DataDir: m.data, Snapshots: m.snaps, EncodeEpoch: toyEpoch, Voters: f.voters, Transport: trans,
		Heartbeat: 60 * time.Millisecond, Lease: 40 * time.Millisecond, CommitTimeout: 5 * time.Millisecond,
		LeaderHold: 5 * time.Second, EpochRetry: 50 * time.Millisecond}
	if f.forward {
		cfg.Forwarder = &direct{f, m}
	}
	if f.config != nil {
		f.config(&cfg)
	}
	n, err := New(cfg, m.toy, testLogger(f.t))
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
func (f *fleet) down(m *member) {
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
			if f.cut[a.id] || f.cut[b.id] {
				a.trans.Disconnect(b.addr)
			} else {
				a.trans.Connect(b.addr, b.trans)
			}
		}
	}
}

// isolate cuts every link of the members; nobody is isolated with none.
func (f *fleet) isolate(ms ...*member) {
	f.mu.Lock()
	f.cut = map[string]bool{}
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
	f.put(lead, "last word")
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
		if m.id == leader.ID && !d.f.cut[m.id] && !d.f.cut[d.self.id] {
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

func TestThreeNodes(t *testing.T) {
	t.Parallel()
	t.Run("commands given to any node are applied on all and every node reads them", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, nil)
		f.leader()
		var wg sync.WaitGroup
		for i, m := range f.members {
			for c := range 4 {
				wg.Go(func() {
					for j := range 10 {
						word := fmt.Sprintf("%d-%d-%d", i, c, j)
						index := mustPropose(t, m.node, word)
						for _, other := range f.members {
							at, err := other.node.Read(testContext(t))
							if err != nil {
								t.Error(err)
								return
							}
							if at < index || other.toy.count(word) != 1 {
								t.Errorf("node %d read at %d does not see what was written at %d", i, at, index)
							}
						}
					}
				})
			}
		}
		wg.Wait()
		f.converge()
		id := f.members[0].node.Status().ClusterID
		for _, m := range f.members {
			if got := m.node.Status().ClusterID; got == "" || got != id {
				t.Errorf("cluster id of node %s is %q, of the first %q", m.id, got, id)
			}
		}
	})
	t.Run("an answer lost on the way back does not apply a batch twice", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, nil)
		lead := f.leader()
		f.faults = rand.New(rand.NewPCG(1, 2))
		var words []string
		for _, m := range f.members {
			if m == lead {
				continue
			}
			for i := range 30 {
				word := fmt.Sprintf("%s-%d", m.id, i)
				f.put(m, word)
				words = append(words, word)
			}
		}
		// Only now: whoever led at the start may have lost leadership and lag.
		f.converge()
		for _, m := range f.members {
			for _, word := range words {
				if c := m.toy.count(word); c != 1 {
					t.Errorf("node %s applied %s %d times", m.id, word, c)
				}
			}
		}
	})
	t.Run("without a forwarder a follower names the leader", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, func(c *Config) { c.Forwarder = nil })
		lead := f.leader()
		for _, m := range f.members {
			if m == lead {
				continue
			}
			if err := m.node.WaitLeader(testContext(t)); err != nil {
				t.Fatal(err)
			}
			_, _, err := m.node.Propose(testContext(t), [][]byte{[]byte("x")})
			want := fmt.Sprintf("%v: %v: node %s at %s leads", ErrNotDone, ErrNoLeader, lead.id, lead.addr)
			if !errors.Is(err, ErrNoLeader) || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
				t.Errorf("got %v", err)
			}
		}
	})
	t.Run("an isolated leader acknowledges nothing and reads nothing", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, nil)
		old := f.leader()
		f.put(old, "before")
		f.isolate(old)
		ctx, cancel := context.WithTimeout(testContext(t), 300*time.Millisecond) // both calls can only fail
		defer cancel()
		_, _, err := old.node.Propose(ctx, [][]byte{[]byte("isolated")})
		if err == nil {
			t.Error("an isolated leader acknowledged a write")
		}
		if !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotDone) {
			t.Errorf("an error without certainty: %v", err)
		}
		ctx, cancel = context.WithTimeout(testContext(t), 300*time.Millisecond)
		defer cancel()
		if _, err := old.node.Read(ctx); err == nil {
			t.Error("an isolated leader allowed a read")
		}
		next := f.leader()
		f.put(next, "after")
		f.isolate()
		f.converge()
	})
	t.Run("a stopping leader hands over", func(t *testing.T) {
		t.Parallel()
		f := newFleet(t, 3, nil)
		lead := f.leader()
		old, r := lead.node.Status().Epoch, lead.node.run.Load()
		if err := lead.node.Stop(testContext(t)); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		lead.node = nil
		f.mu.Unlock()
		wantAllAnswered(t, r)
		next := f.leader()
		if e := next.node.Status().Epoch; e <= old {
			t.Errorf("epoch %d follows %d", e, old)
		}
		f.put(next, "after")
	})
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

// TestNemesis lets writers and readers work on three nodes while links and nodes fail, and checks that nothing
// acknowledged is lost, nothing is doubled, nothing refused is applied, and reads see what was acknowledged before.
func TestNemesis(t *testing.T) {
	t.Parallel()
	base := uint64(time.Now().UnixNano())
	if v, err := strconv.ParseUint(os.Getenv("SLUICE_SEED"), 10, 64); err == nil {
		base = v
	}
	for i := range envInt("SLUICE_SEEDS", 3) {
		seed := base + uint64(i)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Logf("repeat with SLUICE_SEED=%d SLUICE_SEEDS=1", seed)
			nemesis(t, seed)
		})
	}
}

func nemesis(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 0))
	f := newFleet(t, 3, func(c *Config) { c.LeaderHold = 400 * time.Millisecond })
	f.leader()
	f.mu.Lock()
	f.faults = rand.New(rand.NewPCG(seed, 1))
	f.mu.Unlock()

	var (
		stop     = make(chan struct{})
		acks     atomic.Int64
		mu       sync.Mutex
		acked    = map[string]bool{}
		unknowns = map[string]bool{}
		refusedW = map[string]bool{}
		lastAck  [3]string
		work     sync.WaitGroup
	)
	pick := func(r *rand.Rand) *Node { return f.nodeOf(f.members[r.IntN(len(f.members))]) }
	for w := range 3 {
		r := rand.New(rand.NewPCG(seed, uint64(10+w)))
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				n := pick(r)
				if n == nil {
					continue
				}
				word := fmt.Sprintf("w%d-%d", w, i)
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				_, _, err := n.Propose(ctx, [][]byte{[]byte(word)})
				cancel()
				mu.Lock()
				switch {
				case err == nil:
					acked[word], lastAck[w] = true, word
					acks.Add(1)
				case errors.Is(err, ErrUnknownOutcome):
					unknowns[word] = true
				case errors.Is(err, ErrNotDone):
					refusedW[word] = true
				default:
					t.Errorf("an error without certainty: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	for k := range 2 {
		r := rand.New(rand.NewPCG(seed, uint64(20+k)))
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				m := f.members[r.IntN(len(f.members))]
				f.mu.Lock()
				n, state := m.node, m.toy
				f.mu.Unlock()
				if n == nil {
					continue
				}
				mu.Lock()
				want := lastAck
				mu.Unlock()
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				index, err := n.Read(ctx)
				cancel()
				if err != nil {
					continue
				}
				seen := state.copy().s
				for _, word := range want {
					if word != "" && !seen.has(word) {
						t.Errorf("a linearizable read at %d on node %s does not see %s", index, m.id, word)
					}
				}
			}
		})
	}
	// pace lets some writes pass between faults, or some time when none can.
	pace := func() {
		goal := acks.Load() + int64(5+rng.IntN(40))
		deadline := time.Now().Add(time.Duration(50+rng.IntN(300)) * time.Millisecond)
		for acks.Load() < goal && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond) // a poll interval
		}
	}
	for range 25 {
		m := f.members[rng.IntN(len(f.members))]
		switch rng.IntN(6) {
		case 0:
			f.isolate(m)
		case 1:
			if l := f.reachable(); len(l) == 3 {
				f.isolate(f.leader())
			}
		case 2:
			f.isolate()
		case 3:
			f.down(m)
			if rng.IntN(2) == 0 {
				f.mu.Lock()
				m.toy = m.toy.crash()
				m.snaps = &toySnapshots{t: m.toy}
				f.mu.Unlock()
			}
			pace()
			f.up(m)
		case 4:
			f.compact(f.members...)
		case 5:
			if n := f.nodeOf(m); n != nil {
				if r := n.run.Load(); r != nil {
					_ = r.transfer(testContext(t)) // refused by a follower
				}
			}
		}
		pace()
	}
	f.isolate()
	f.mu.Lock()
	f.faults = nil
	f.mu.Unlock()
	f.leader()
	pace()
	close(stop)
	work.Wait()
	f.converge()
	applied := map[string]int{}
	for _, w := range f.members[0].toy.words() {
		applied[w]++
	}
	for w := range acked {
		if applied[w] != 1 {
			t.Errorf("acknowledged %s was applied %d times", w, applied[w])
		}
	}
	for w := range unknowns {
		if applied[w] > 1 {
			t.Errorf("%s of unknown outcome was applied %d times", w, applied[w])
		}
	}
	for w := range refusedW {
		if applied[w] != 0 {
			t.Errorf("%s was refused as not done and applied %d times", w, applied[w])
		}
	}
	restarts := uint64(0)
	for _, m := range f.members {
		restarts += m.node.Status().Restarts
	}
	t.Logf("%d acknowledged, %d unknown, %d refused, %d restarts of raft in place", len(acked), len(unknowns), len(refusedW), restarts)
	if len(acked) == 0 {
		t.Error("nothing was acknowledged at all")
	}
}

package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
)

// realNode is a node with the product's state machine and snapshots on disk.
type realNode struct {
	dir    string
	data   *DataDir
	holder *snapshot.Holder
	fsm    *fsm.FSM
	trans  *raft.InmemTransport
	node   *Node
}

type holderStorage struct{ *snapshot.Holder }

func (s holderStorage) Acquire() (kv.Store, func()) {
	h := s.Holder.Acquire()
	return h.Store, h.Release
}

func encodeReal(t testing.TB, e *command.Envelope) []byte {
	seed := uuid.New()
	e.Actor, e.Seed = "test", seed[:]
	b, err := command.Encode(e)
	if err != nil {
		t.Error(err)
	}
	return b
}

func (r *realNode) start(t *testing.T, voters []raft.Server) {
	t.Helper()
	lock := new(sync.Mutex)
	var err error
	if r.holder, err = snapshot.Open(snapshot.Config{DataDir: r.dir, KV: pebblekv.Options{Logger: testLogger(t)}, ApplyLock: lock}); err != nil {
		t.Fatal(err)
	}
	if r.fsm, err = fsm.New(holderStorage{r.holder}, lock, testLogger(t)); err != nil {
		t.Fatal(err)
	}
	_, r.trans = raft.NewInmemTransportWithTimeout(raft.ServerAddress("at-"+r.data.NodeID()), time.Second)
	r.node, err = New(Config{
		DataDir: r.data, Snapshots: snapshot.NewStore(r.holder), Voters: voters, Transport: r.trans,
		Heartbeat: 100 * time.Millisecond, CommitTimeout: 5 * time.Millisecond,
		EncodeEpoch: func(term uint64, node, cluster string) []byte {
			return encodeReal(t, &command.Envelope{Command: &command.Envelope_LeaderEpoch{
				LeaderEpoch: &command.LeaderEpoch{Term: term, NodeId: node, ClusterId: cluster}}})
		},
	}, r.fsm, testLogger(t))
	if err == nil {
		err = r.node.Start(testContext(t))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (r *realNode) stop(t *testing.T) {
	t.Helper()
	// Without a hand-over: a receiver that is gone keeps raft's in-memory transport waiting long after the test.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.node.Stop(ctx); err != nil {
		t.Error(err)
	}
	for what, c := range map[string]func() error{"machine": r.fsm.Close, "transport": r.trans.Close} {
		if err := c(); err != nil {
			t.Errorf("close %s: %v", what, err)
		}
	}
	if err := r.holder.Close(); err != nil {
		t.Errorf("close state: %v", err)
	}
}

func (r *realNode) hash(t *testing.T) state.Hash {
	t.Helper()
	v, err := r.fsm.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	h, err := v.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestRealState runs three nodes with the product's state machine: one falls behind, gets the state as a snapshot, and
// all end with equal hashes, also after a restart of everything.
func TestRealState(t *testing.T) {
	t.Parallel()
	nodes := make([]*realNode, 3)
	var voters []raft.Server
	for i := range nodes {
		dir := t.TempDir()
		data, err := OpenDataDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer data.Close()
		nodes[i] = &realNode{dir: dir, data: data}
		voters = append(voters, raft.Server{ID: raft.ServerID(data.NodeID()), Address: raft.ServerAddress("at-" + data.NodeID())})
	}
	link := func(except *realNode) {
		for _, a := range nodes {
			for _, b := range nodes {
				switch {
				case a == b:
				case a == except || b == except:
					a.trans.Disconnect(b.trans.LocalAddr())
				default:
					a.trans.Connect(b.trans.LocalAddr(), b.trans)
				}
			}
		}
	}
	up := func() {
		for _, n := range nodes {
			n.start(t, voters)
		}
		link(nil)
	}
	leader := func(except *realNode) *realNode {
		var l *realNode
		until(t, "there is a leader", func() bool {
			for _, n := range nodes {
				if n != except && n.node.leading() != nil {
					if _, err := n.node.reader.verify(); err == nil {
						l = n
						return true
					}
				}
			}
			return false
		})
		return l
	}
	created := 0
	var unreachable *realNode // the node that is cut off now
	create := func(n *realNode, count int) (index uint64) {
		for range count {
			created++
			id := uuid.New()
			propose := func() ([][]byte, uint64, error) {
				return n.node.Propose(testContext(t), [][]byte{encodeReal(t, &command.Envelope{Command: &command.Envelope_CreateFlow{
					CreateFlow: &command.CreateFlow{Id: id[:], Name: fmt.Sprint("flow-", created)}}})})
			}
			res, at, err := propose()
			// A busy machine may elect another leader in between. Creating a flow of a name twice creates it once.
			for err != nil && testContext(t).Err() == nil {
				n = leader(unreachable)
				res, at, err = propose()
			}
			if err != nil {
				t.Fatal(err)
			}
			if r, err := command.DecodeResult(res[0]); err != nil || r.Code != command.Result_OK {
				t.Fatalf("create flow: %v, %v", r, err)
			}
			index = at
		}
		return index
	}
	same := func(index uint64) {
		t.Helper()
		for _, n := range nodes {
			if err := n.fsm.WaitApplied(testContext(t), index); err != nil {
				t.Fatalf("%v; %+v", err, n.node.Status())
			}
			if got, want := n.hash(t), nodes[0].hash(t); got != want {
				t.Errorf("node %s has state %v, the first %v", n.node.ID(), got, want)
			}
		}
	}
	up()
	lead := leader(nil)
	same(create(lead, 20))
	away := nodes[0]
	if away == lead {
		away = nodes[1]
	}
	link(away)
	unreachable = away
	lead = leader(away)
	create(lead, 50)
	lead = leader(away)
	for _, n := range nodes {
		r := n.node.run.Load()
		rc := r.raft.ReloadableConfig()
		rc.TrailingLogs = 0
		if err := r.raft.ReloadConfig(rc); err != nil {
			t.Fatal(err)
		}
		if err := r.wait(testContext(t), r.raft.Snapshot()); err != nil && n != away {
			t.Fatal(err)
		}
	}
	if first := lead.node.Status().FirstIndex; first != 0 && first <= away.fsm.AppliedIndex()+1 {
		t.Fatalf("the leader still has entry %d: no snapshot will be needed", first)
	}
	link(nil)
	unreachable = nil
	same(create(leader(nil), 5))
	for _, n := range nodes {
		n.stop(t)
	}
	up()
	same(create(leader(nil), 5))
	for _, n := range nodes {
		n.stop(t)
	}
}

// blockingForwarder lets the first batch through but keeps its answer back.
type blockingForwarder struct {
	Forwarder
	once    sync.Once
	held    chan struct{} // closed when the first batch was applied
	release chan struct{}
}

func (b *blockingForwarder) ForwardBatch(ctx context.Context, leader Peer, cb command.Batch, bulk bool) (command.BatchResult, uint64, error) {
	r, index, err := b.Forwarder.ForwardBatch(ctx, leader, cb, bulk)
	first := false
	b.once.Do(func() { first = err == nil })
	if !first {
		return r, index, err
	}
	close(b.held)
	<-b.release
	return command.BatchResult{}, 0, errNoAnswer
}

// TestSessionWindow keeps one batch without an answer while others go on. Its number must not leave the window in which
// the state machine recognises it, or trying it again would apply it twice.
func TestSessionWindow(t *testing.T) {
	t.Parallel()
	if 2*maxAhead > state.SessionWindow {
		t.Fatalf("batches may run %d ahead, the state machine remembers %d", maxAhead, state.SessionWindow)
	}
	hold := map[string]*blockingForwarder{}
	var mu sync.Mutex
	f := newFleet(t, 3, func(c *Config) {
		b := &blockingForwarder{Forwarder: c.Forwarder, held: make(chan struct{}), release: make(chan struct{})}
		mu.Lock()
		hold[c.DataDir.NodeID()] = b
		mu.Unlock()
		c.Forwarder = b
	})
	lead := f.leader()
	m := f.members[0]
	if m == lead {
		m = f.members[1]
	}
	b := hold[m.id]
	held := make(chan error, 1)
	go func() {
		_, _, err := m.node.Propose(testContext(t), [][]byte{[]byte("held")})
		held <- err
	}()
	<-b.held
	release := sync.OnceFunc(func() { close(b.release) })
	defer release()
	var wg sync.WaitGroup
	const more = maxAhead + 50
	wg.Go(func() {
		for range more {
			mustPropose(t, m.node, "more")
		}
	})
	until(t, "the others wait for the one held", func() bool {
		p := m.node.proposer
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.tooFarAhead() && len(p.state.calls) == 1
	})
	// An election uses up numbers, so fewer than maxAhead may have been applied, but never more.
	if n := f.leader().toy.count("more"); n > maxAhead {
		t.Errorf("%d batches went beyond the one held", n)
	}
	release()
	if err := <-held; err != nil {
		t.Error(err)
	}
	wg.Wait()
	f.converge()
	if h, c := lead.toy.count("held"), lead.toy.count("more"); h != 1 || c != more {
		t.Errorf("the held batch was applied %d times, %d others of %d", h, c, more)
	}
}

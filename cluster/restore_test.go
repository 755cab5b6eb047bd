package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/command"
	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/snapshot"
	"github.com/sluice-dev/sluice/fsm/state"
)

// restoreNode is a node on loopback with the product's state machine and snapshots.
type restoreNode struct {
	realNode
	addr      string
	snapshots *snapshot.Store
}

type restoreFleet struct {
	t     *testing.T
	nodes []*restoreNode
	flows int
	// stable is the policy's; leaders look at their members four times as often, at least once a second.
	stable time.Duration
}

func newRestoreFleet(t *testing.T) *restoreFleet {
	f := &restoreFleet{t: t, stable: 100 * time.Millisecond}
	for range 3 {
		dir := t.TempDir()
		data, err := OpenDataDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		f.nodes = append(f.nodes, &restoreNode{realNode: realNode{dir: dir, data: data}, addr: freeAddress(t)})
	}
	t.Cleanup(func() {
		for _, n := range f.nodes {
			f.down(n)
			if err := n.data.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	f.up(f.nodes...)
	return f
}

func (f *restoreFleet) up(nodes ...*restoreNode) {
	f.t.Helper()
	var join []string
	for _, n := range f.nodes {
		join = append(join, n.addr)
	}
	for _, n := range nodes {
		f.open(n)
		var err error
		n.node, err = New(Config{
			DataDir: n.data, Snapshots: n.snapshots, InternalAddr: n.addr, Join: join, BootstrapExpect: 3,
			Heartbeat: 300 * time.Millisecond, CommitTimeout: 5 * time.Millisecond, Membership: MembershipPolicy{Stable: f.stable},
			EncodeEpoch: func(term uint64, node, cluster string) []byte {
				return encodeReal(f.t, &command.Envelope{Command: &command.Envelope_LeaderEpoch{
					LeaderEpoch: &command.LeaderEpoch{Term: term, NodeId: node, ClusterId: cluster}}})
			},
		}, n.fsm, testLogger(f.t))
		if err == nil {
			err = n.node.Start(testContext(f.t))
		}
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// open opens a node's state.
func (f *restoreFleet) open(n *restoreNode) {
	f.t.Helper()
	lock := new(sync.Mutex)
	var err error
	if n.holder, err = snapshot.Open(snapshot.Config{DataDir: n.dir, KV: pebblekv.Options{Logger: testLogger(f.t)}, ApplyLock: lock}); err != nil {
		f.t.Fatal(err)
	}
	if n.fsm, err = fsm.New(holderStorage{n.holder}, lock, testLogger(f.t)); err != nil {
		f.t.Fatal(err)
	}
	n.snapshots = snapshot.NewStore(n.holder)
}

func (f *restoreFleet) down(n *restoreNode) {
	if n.node == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.node.Stop(ctx); err != nil {
		f.t.Error(err)
	}
	n.node = nil
	if err := errors.Join(n.fsm.Close(), n.holder.Close()); err != nil {
		f.t.Error(err)
	}
}

func (f *restoreFleet) leader() (lead *restoreNode) {
	f.t.Helper()
	until(f.t, "there is a leader", func() bool {
		for _, n := range f.nodes {
			if n.node != nil && n.node.leading() != nil {
				if _, err := n.node.reader.verify(); err == nil {
					lead = n
					return true
				}
			}
		}
		return false
	})
	return lead
}

func (f *restoreFleet) followers() (out []*restoreNode) {
	lead := f.leader()
	for _, n := range f.nodes {
		if n != lead {
			out = append(out, n)
		}
	}
	return out
}

// create has flows created through n, whatever it takes, and returns the index of the last.
func (f *restoreFleet) create(n *restoreNode, count int) (index uint64) {
	f.t.Helper()
	for range count {
		f.flows++
		name := fmt.Sprint("flow-", f.flows)
		for {
			at, err := createFlow(f.t, n.node, name)
			if err == nil {
				index = at
				break
			}
			if err := testContext(f.t).Err(); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	return index
}

func createFlow(t *testing.T, n *Node, name string) (uint64, error) {
	id := uuid.New()
	_, at, err := n.Propose(testContext(t), [][]byte{encodeReal(t, &command.Envelope{Command: &command.Envelope_CreateFlow{
		CreateFlow: &command.CreateFlow{Id: id[:], Name: name}}})})
	return at, err
}

// save reads a snapshot of a node's state.
func (f *restoreFleet) save(n *restoreNode) []byte {
	f.t.Helper()
	_, rc, err := n.snapshots.Open("live")
	if err != nil {
		f.t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// restore makes a snapshot the state of the cluster that n leads.
func (f *restoreFleet) restore(n *restoreNode, stream []byte) (uint64, error) {
	f.t.Helper()
	staged, err := n.holder.Stage(bytes.NewReader(stream), func(snapshot.Header) error { return nil })
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() {
		if err := staged.Close(); err != nil {
			f.t.Error(err)
		}
	}()
	seed := uuid.New()
	err = staged.Edit(func(s kv.Store) error {
		_, err := fsm.PrepareRestore(s, fsm.Restoration{ClusterID: n.data.ClusterID(), ClusterVersion: n.fsm.ClusterVersion(), Now: time.Now(), Seed: seed[:]})
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return n.node.Restore(testContext(f.t), staged.Meta(0), staged)
}

// same waits until all running nodes have applied index, and the same beyond it, and compares their states.
func (f *restoreFleet) same(index uint64) {
	f.t.Helper()
	for {
		hashes, least, most := map[state.Hash][]string{}, uint64(math.MaxUint64), index
		for _, n := range f.nodes {
			if n.node == nil {
				continue
			}
			if err := n.fsm.WaitApplied(testContext(f.t), most); err != nil {
				f.t.Fatalf("%v; %+v", err, n.node.Status())
			}
			hash, applied := f.verified(n)
			hashes[hash] = append(hashes[hash], n.node.ID())
			least, most = min(least, applied), max(most, applied)
		}
		if least < most && len(hashes) > 1 {
			index = most // a new leader's first entries came between
			continue
		}
		if len(hashes) > 1 {
			f.t.Errorf("the nodes' states differ at %d: %v", most, hashes)
		}
		return
	}
}

// verified checks a node's state and returns its hash and how far it is applied, of one moment.
func (f *restoreFleet) verified(n *restoreNode) (state.Hash, uint64) {
	f.t.Helper()
	v, err := n.fsm.View()
	if err != nil {
		f.t.Fatal(err)
	}
	defer v.Close()
	if err := v.Verify(); err != nil {
		f.t.Errorf("node %s: %v", n.node.ID(), err)
	}
	hash, err := v.Hash()
	if err != nil {
		f.t.Fatal(err)
	}
	return hash, v.Index()
}

// names lists the flows that a node has.
func (f *restoreFleet) names(n *restoreNode) map[string]bool {
	f.t.Helper()
	v, err := n.fsm.View()
	if err != nil {
		f.t.Fatal(err)
	}
	defer v.Close()
	out := map[string]bool{}
	if err := v.EachFlow(func(r *row.Flow) (bool, error) { out[r.Name] = true; return true, nil }); err != nil {
		f.t.Fatal(err)
	}
	return out
}

func TestRestore(t *testing.T) {
	t.Parallel()
	t.Run("an idle cluster takes a snapshot's state on", func(t *testing.T) {
		t.Parallel()
		f := newRestoreFleet(t)
		f.same(f.create(f.leader(), 20))
		stream := f.save(f.followers()[0])
		before := f.create(f.leader(), 10)
		f.same(before)
		lead := f.leader()
		epoch := lead.node.Status().Epoch
		index, err := f.restore(lead, stream)
		if err != nil {
			t.Fatal(err)
		}
		if index <= before {
			t.Errorf("the restored state stands at %d, the log was at %d", index, before)
		}
		f.same(index)
		for _, n := range f.nodes {
			if got := len(f.names(n)); got != 20 {
				t.Errorf("node %s has %d flows, the snapshot 20", n.node.ID(), got)
			}
		}
		if now := f.leader().node.Status(); now.Epoch == 0 || lead.node.Status().Epoch < epoch {
			t.Errorf("epoch %d after %d", now.Epoch, epoch)
		}
		f.same(f.create(f.followers()[0], 5))
		// Everything starts again from what is on disk.
		for _, n := range f.nodes {
			f.down(n)
		}
		f.up(f.nodes...)
		f.same(f.create(f.leader(), 5))
		if got := len(f.names(f.nodes[0])); got != 30 {
			t.Errorf("%d flows after a restart, want 30", got)
		}
	})
	t.Run("a follower cannot restore", func(t *testing.T) {
		t.Parallel()
		f := newRestoreFleet(t)
		f.same(f.create(f.leader(), 3))
		n := f.followers()[0]
		_, err := f.restore(n, f.save(n))
		if !errors.Is(err, ErrNotDone) || !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("under load every write is before it, and gone, or after it, and there", func(t *testing.T) {
		t.Parallel()
		f := newRestoreFleet(t)
		f.same(f.create(f.leader(), 5))
		stream := f.save(f.leader())
		var mu sync.Mutex
		at := map[string]uint64{}
		stop := make(chan struct{})
		var all sync.WaitGroup
		for i, n := range f.nodes {
			all.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					default:
					}
					name := fmt.Sprintf("load-%d-%d", i, k)
					if index, err := createFlow(t, n.node, name); err == nil {
						mu.Lock()
						at[name] = index
						mu.Unlock()
					}
				}
			})
		}
		written := func(n int) {
			until(t, "writes go on", func() bool { mu.Lock(); defer mu.Unlock(); return len(at) >= n })
		}
		written(50)
		index, err := f.restore(f.leader(), stream)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		n := len(at)
		mu.Unlock()
		written(n + 50)
		close(stop)
		all.Wait()
		f.same(f.create(f.leader(), 1))
		have := f.names(f.nodes[0])
		for name, i := range at {
			if have[name] != (i > index) {
				t.Errorf("%s, written at %d, is there: %t; the restore was at %d", name, i, have[name], index)
			}
		}
	})
	t.Run("a node that was away gets the restored state", func(t *testing.T) {
		t.Parallel()
		f := newRestoreFleet(t)
		f.same(f.create(f.leader(), 10))
		stream := f.save(f.leader())
		f.same(f.create(f.leader(), 10))
		away := f.followers()[0]
		f.down(away)
		f.create(f.leader(), 5)
		if _, err := f.restore(f.leader(), stream); err != nil {
			t.Fatal(err)
		}
		f.create(f.leader(), 3)
		f.up(away)
		f.same(f.create(f.leader(), 1))
		if got := len(f.names(away)); got != 14 {
			t.Errorf("the node that was away has %d flows, want 14", got)
		}
	})
	t.Run("a leader that fails before others have the state takes theirs when it is back", func(t *testing.T) {
		t.Parallel()
		f := newRestoreFleet(t)
		f.same(f.create(f.leader(), 10))
		lead, others := f.leader(), f.followers()
		stream := f.save(lead)
		f.same(f.create(lead, 10))
		once := sync.OnceFunc(func() {
			for _, n := range others {
				f.down(n)
			}
		})
		lead.holder.OnInstall(func(kv.Store) { once() })
		if _, err := f.restore(lead, stream); !errors.Is(err, ErrUnknownOutcome) {
			t.Fatalf("a restore that no other node has: %v", err)
		}
		if got := len(f.names(lead)); got != 10 {
			t.Fatalf("the leader has %d flows: the restore did not reach its own state, and this test tests nothing", got)
		}
		f.down(lead)
		f.stable = time.Minute // it must not go on from its own state until the leader has looked at it
		f.up(others...)
		f.create(f.leader(), 3)
		f.up(lead)
		f.same(f.create(f.leader(), 3))
		if got := len(f.names(lead)); got != 26 {
			t.Errorf("the former leader has %d flows, want those of the others: 26", got)
		}
	})
}

func TestAWriteAbortedByAFailedRestoreIsAppliedOnce(t *testing.T) {
	t.Parallel()
	f := newTCPFleet(t, 3, 3)
	var mu sync.Mutex
	disks := map[string]*faultyLog{} // by internal address
	f.change = func(c *Config) {
		disk := newFaultyLog(t, c.DataDir.Path())
		c.LogBackend = disk
		mu.Lock()
		disks[c.InternalAddr] = disk
		mu.Unlock()
	}
	f.up(f.members...)
	f.agree("before")
	f.voters(3)
	lead := f.leader()
	// The followers store nothing, but they answer heartbeats: the write stays in flight and the leader leads.
	hang := make(chan struct{})
	release := sync.OnceFunc(func() { close(hang) })
	defer release()
	for _, m := range f.members {
		if m != lead {
			disks[m.addr].set(nil, hang)
		}
	}
	last := lead.node.Status().LastIndex
	written := make(chan error, 1)
	go func() {
		_, _, err := lead.node.Propose(testContext(t), [][]byte{[]byte("once")})
		written <- err
	}()
	until(t, "the write is in the leader's log", func() bool { return lead.node.Status().LastIndex > last })
	_, err := lead.node.Restore(testContext(t), &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Size: 1000}, strings.NewReader("cut short"))
	if !errors.Is(err, ErrNotDone) {
		t.Fatalf("the restore ends with %v", err)
	}
	release()
	for _, m := range f.members {
		disks[m.addr].set(nil, nil)
	}
	if err := <-written; err != nil && !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("the write, which is in the log, ends with %v", err)
	}
	f.agree("after")
	for _, m := range f.members {
		if n := m.toy.count("once"); n != 1 {
			t.Errorf("node %s applied it %d times", m.node.ID(), n)
		}
	}
}

package cluster

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/kv"
	"github.com/sluice-dev/sluice/fsm/state"
)

// recover recovers a node that is down.
func (f *restoreFleet) recover(n *restoreNode, approve func(Recovery) error) (r Recovery, err error) {
	f.t.Helper()
	f.open(n)
	defer func() { err = errors.Join(err, n.fsm.Close(), n.holder.Close()) }()
	return Recover(testContext(f.t), RecoveryConfig{DataDir: n.data, Snapshots: n.snapshots, Machine: n.fsm, Logger: testLogger(f.t),
		Reposition: func(index, term uint64, conf raft.Configuration, clusterID string) error {
			return n.holder.Reposition(index, term, conf, func(b kv.Batch) error { return state.NewTx(b).SetClusterID(clusterID) })
		}}, approve)
}

func TestRecover(t *testing.T) {
	t.Parallel()
	agreed := func(Recovery) error { return nil }
	t.Run("a survivor goes on alone with all it has, and refuses those it left", func(t *testing.T) {
		t.Parallel()
		f := newRestoreFleet(t)
		f.same(f.create(f.leader(), 10))
		all := f.nodes
		survivor, stranger := all[0], all[1]
		for _, n := range all {
			f.down(n)
		}
		former := survivor.data.ClusterID()
		if _, err := f.recover(survivor, func(Recovery) error { return ErrRefused }); !errors.Is(err, ErrRefused) {
			t.Fatalf("refused: %v", err)
		}
		if survivor.data.ClusterID() != former {
			t.Fatal("something was changed by a recovery that was refused")
		}
		r, err := f.recover(survivor, agreed)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Lost) != 2 || len(r.Answering) != 0 || r.NewIndex < r.Last+recoveryGap || survivor.data.ClusterID() == former || r.Last < r.Applied {
			t.Errorf("recovered %+v", r)
		}
		f.up(survivor)
		if got := len(f.names(survivor)); got != 10 {
			t.Errorf("%d flows survived, want 10", got)
		}
		if at := f.create(survivor, 5); at <= r.NewIndex {
			t.Errorf("an entry stands at %d, the recovered state at %d", at, r.NewIndex)
		}
		// A member that was believed lost comes back with its disk: it must not get a word in.
		f.up(stranger)
		f.create(survivor, 5)
		if got := len(f.names(stranger)); got > 10 {
			t.Errorf("the member that was left has %d flows", got)
		}
		if servers := survivor.node.servers(); len(servers) != 1 {
			t.Errorf("the configuration is %v", servers)
		}
		f.down(survivor)
		if _, err := f.recover(survivor, agreed); !errors.Is(err, ErrNothingToRecover) {
			t.Errorf("a cluster of one was recovered: %v", err)
		}
	})
	t.Run("members that answer are named", func(t *testing.T) {
		t.Parallel()
		f := newRestoreFleet(t)
		f.same(f.create(f.leader(), 3))
		f.down(f.nodes[0])
		refused := errors.New("they answer")
		r, err := f.recover(f.nodes[0], func(r Recovery) error { return refused })
		if !errors.Is(err, refused) || len(r.Answering) != 2 {
			t.Errorf("got %v; answering are %v", err, r.Answering)
		}
		f.up(f.nodes[0])
		f.same(f.create(f.leader(), 3))
	})
	t.Run("broken off after the state was written it is finished", func(t *testing.T) {
		t.Parallel()
		f := newRestoreFleet(t)
		f.same(f.create(f.leader(), 3))
		n := f.nodes[0]
		for _, m := range f.nodes {
			f.down(m)
		}
		former := n.data.ClusterID()
		r, err := f.recover(n, agreed)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.data.adopt(former); err != nil { // as a crash before the last step leaves it
			t.Fatal(err)
		}
		again, err := f.recover(n, agreed)
		if err != nil || again.NewClusterID != r.NewClusterID || n.data.ClusterID() != r.NewClusterID {
			t.Errorf("finished as %+v, %v", again, err)
		}
		f.up(n)
		f.create(n, 1)
	})
}

package logstore

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// installed is a state machine that tells the log store of a snapshot, as a node does.
type installed struct{ f *fixture }

func (s installed) Apply(*raft.Log) any                 { return nil }
func (s installed) Snapshot() (raft.FSMSnapshot, error) { return nil, raft.ErrNothingNewToSnapshot }
func (s installed) Restore(rc io.ReadCloser) error {
	s.f.Restored(30, 2)
	return rc.Close()
}

// A node with 20 entries of a former leader that never were committed gets a snapshot that ends above them. Nothing of them may be
// left for it to send to others should it lead next. Without IsMonotonic raft deletes none of them; the refusal of gaps and Reconcile would
// notice at the next append.
func TestRaftInstallsASnapshotOverEntriesThatNeverWereCommitted(t *testing.T) {
	t.Parallel()
	f := open(t, newFaulty(), time.Minute)
	f.mustStore(t, entries(1, 20, 1))
	c := raft.DefaultConfig()
	c.LocalID, c.Logger = "here", hclog.NewNullLogger()
	_, trans := raft.NewInmemTransport("here")
	r, err := raft.NewRaft(c, installed{f}, f.Store, raft.NewInmemStore(), raft.NewInmemSnapshotStore(), trans)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Shutdown().Error(); err != nil {
			t.Error(err)
		}
	}()
	_, leader := raft.NewInmemTransport("leader")
	leader.Connect("here", trans)
	var answer raft.InstallSnapshotResponse
	state := "the state at 30"
	err = leader.InstallSnapshot("here", "here", &raft.InstallSnapshotRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("leader"), Addr: []byte("leader")}, SnapshotVersion: 1, Term: 2, LastLogIndex: 30, LastLogTerm: 2,
		Configuration: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "here", Address: "here"}, {ID: "leader", Address: "leader"}}}), ConfigurationIndex: 1, Size: int64(len(state)),
	}, &answer, strings.NewReader(state))
	if err != nil || !answer.Success {
		t.Fatalf("%+v, %v", answer, err)
	}
	f.wantExtent(t, 0, 0)
	var l raft.Log
	if err := f.GetLog(15, &l); err == nil {
		t.Error("the next leader would replicate an entry that never was committed")
	}
	f.mustStore(t, entries(31, 32, 2))
}

package cluster

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-dev/sluice/fsm/command"
)

// Status is what a node knows about itself, for readiness, metrics and operators.
type Status struct {
	NodeID    string
	ClusterID string // "" until learned
	State     string // follower, candidate, leader, stopped
	Term      uint64
	Leader    Peer // zero when none is known
	// Leading says that this node leads and its epoch command is applied: it accepts commands.
	Leading bool
	Epoch   uint64 // of the reign when Leading
	Voters  int

	CommitIndex  uint64
	AppliedIndex uint64 // of the state; below CommitIndex when raft's own entries end the log
	FirstIndex   uint64 // of the log
	LastIndex    uint64
	LogBytes     int64
	LastContact  time.Time // with the leader; zero on a leader

	LastAppend time.Duration // the last log append, fsync included
	DiskErr    error         // last log write error; nil once a later write succeeded
	DiskErrAt  time.Time
	Latched    bool  // a log write hangs; the node has refused all since
	Halted     error // the state machine applies nothing more
	// ClusterVersion is the version of the cluster as applied here, Supports the range of this node.
	ClusterVersion uint64
	Supports       command.Versions
	// Checkpoint is the last hash of the state that was noted here. Diverged says how it differs from the others', Dispute, on a
	// leader, that states differ and no majority says which is right.
	Checkpoint Checkpoint
	Diverged   string
	Dispute    string
	// Disagrees lists the settings (Config.Common, and the keys of gossip) in which this node differs from another member.
	Disagrees []string

	Restarts    uint64
	Reigns      uint64 // leaders that this node came to know since it started
	Waiting     int    // calls that wait for an entry
	WaitingByte int64  // their bytes

	Compacted   time.Time // when the log was last compacted, and how often; zero: not since this node started
	Compactions uint64
	// Snapshots of the whole state that this node sent to others (Sending: just now) and took over from them.
	SnapshotsSent, SnapshotsInstalled uint64
	SnapshotsSending                  int
	// Problems says in plain words why this node is not healthy; empty when it is.
	Problems []string
}

// NoLeaderKnown is the problem of a node without leader: one of the cluster, not of the node.
const NoLeaderKnown = "no leader is known"

// Status returns a snapshot of the node's condition. Cheap enough for every scrape.
func (n *Node) Status() Status {
	s := Status{NodeID: n.id, ClusterID: n.cfg.DataDir.ClusterID(), State: "stopped",
		AppliedIndex: n.machine.inner.AppliedIndex(), Halted: n.machine.halted(), Restarts: n.restarts.Load(), Reigns: n.reigns.count.Load(),
		ClusterVersion: n.machine.inner.ClusterVersion(), Supports: n.cfg.Versions, Diverged: n.Diverged()}
	s.Compacted, s.Compactions = n.machine.compactions()
	s.SnapshotsSending, s.SnapshotsSent = n.governor.transfers()
	s.SnapshotsInstalled = n.machine.installs.Load()
	s.Checkpoint.Index, s.Checkpoint.Hash = n.machine.inner.Checkpoint()
	if r := n.run.Load(); r != nil {
		switch r.raft.State() {
		case raft.Follower:
			s.State = "follower"
		case raft.Candidate:
			s.State = "candidate"
		case raft.Leader:
			s.State = "leader"
		}
		s.Term, s.CommitIndex = r.raft.CurrentTerm(), r.raft.CommitIndex()
		if s.State != "leader" {
			s.LastContact = r.raft.LastContact()
		}
		if f := r.raft.GetConfiguration(); f.Error() == nil {
			for _, v := range f.Configuration().Servers {
				if v.Suffrage == raft.Voter {
					s.Voters++
				}
			}
		}
	}
	if n.up.Load() {
		h := n.store.Health()
		s.FirstIndex, s.LastIndex, s.LogBytes, s.LastAppend = h.First, h.Last, h.Bytes, h.LastAppend
		s.DiskErr, s.DiskErrAt, s.Latched = h.Err, h.ErrAt, h.Latched
		if h.Suspect != "" {
			s.Problems = append(s.Problems, "raft restarts from disk: "+h.Suspect)
		}
	}
	s.Leader, _, _ = n.leader()
	if t := n.leading(); t != nil {
		s.Leading, s.Epoch = true, t.number
		if v := n.agreed.Load(); v != nil {
			s.Dispute = v.dispute
		}
	}
	s.Disagrees = n.disagrees()
	s.Waiting, s.WaitingByte = n.proposer.backlog()
	if why := n.trouble(); why != "" {
		s.Problems = append(s.Problems, why)
	}
	if s.ClusterID != "" && (n.former.removed.Load() || len(n.servers()) > 0 && !n.configured()) {
		s.Problems = append(s.Problems, removedText)
	}
	if text := n.clockProblem(); text != "" {
		s.Problems = append(s.Problems, text)
	}
	if s.Halted != nil {
		s.Problems = append(s.Problems, s.Halted.Error())
	}
	if p, _ := n.problem.Load().(string); p != "" {
		s.Problems = append(s.Problems, p)
	}
	if text := n.former.waitsFor(); text != "" && s.ClusterID == "" {
		s.Problems = append(s.Problems, text)
	}
	switch {
	case n.stopped.Load():
		s.Problems = append(s.Problems, "the node is shutting down")
	case s.Leader.ID == "":
		s.Problems = append(s.Problems, NoLeaderKnown)
	case s.Leader.ID == n.id && !s.Leading:
		s.Problems = append(s.Problems, "leadership is being taken over")
	}
	return s
}

// RaftStats are the numbers that raft keeps of itself, for people who know it; empty while it does not run.
func (n *Node) RaftStats() map[string]string {
	r := n.run.Load()
	if r == nil {
		return map[string]string{}
	}
	return r.raft.Stats()
}

func (p *proposer) backlog() (calls int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.state.calls) + len(p.bulk.calls), p.waiting
}

const removedText = "this node was removed from its cluster: stop it, and keep it out by wiping its data directory; started again with --join it joins anew"

// configured reports whether this node is in the newest Raft configuration that it has.
func (n *Node) configured() bool {
	return slices.ContainsFunc(n.servers(), func(s raft.Server) bool { return string(s.ID) == n.id })
}

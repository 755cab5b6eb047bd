package api

import "time"

// ClusterMember is a node of the cluster, as the node that was asked sees it.
type ClusterMember struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	Address      string `json:"address"` // of the internal port
	HTTPAddress  string `json:"http_address"`
	Version      string `json:"version"`
	Voter        bool   `json:"voter"`
	Leader       bool   `json:"leader"`
	Alive        bool   `json:"alive"` // it answered just now
	AppliedIndex uint64 `json:"applied_index"`
	Problem      string `json:"problem"` // "" when there is none
	// Supports are the cluster versions in which the node can take part, zero when it does not answer.
	Supports VersionRange `json:"supports"`
	// Halted is why the node applies nothing more, "" while it does. Diverged says that its state differs from the other nodes'.
	Halted   string `json:"halted"`
	Diverged bool   `json:"diverged"`
	// Checkpoint is the last hash of its state that the node noted: nodes at the same index must have the same.
	Checkpoint Checkpoint `json:"checkpoint"`
}

// VersionRange is a range of cluster versions.
type VersionRange struct {
	Min uint64 `json:"min"`
	Max uint64 `json:"max"`
}

// Checkpoint is the hash of a state at a Raft index; index 0 when none was made yet.
type Checkpoint struct {
	Index uint64 `json:"index"`
	Hash  string `json:"hash"`
}

// Cluster is the answer of GET /cluster.
type Cluster struct {
	ClusterID string `json:"cluster_id"`
	// Incarnation counts how often an operator replaced the state.
	Incarnation uint32 `json:"incarnation"`
	NodeID      string `json:"node_id"` // of the node that answers
	Leader      string `json:"leader"`  // "" when none is known
	Term        uint64 `json:"term"`
	// ClusterVersion is what all nodes together can do; it rises by itself when every node supports more.
	ClusterVersion uint64 `json:"cluster_version"`
	// Quorum is how many voters must agree; LossesLeft is how many more may fail, negative when a quorum is lost already.
	Quorum     int             `json:"quorum"`
	LossesLeft int             `json:"losses_left"`
	Members    []ClusterMember `json:"members"`
	Problems   []string        `json:"problems"` // of the node that answers
	// Leaders are the last ones, the newest first, as this node's state remembers them.
	Leaders []ClusterLeader `json:"leaders"`
}

// ClusterLeader is a time in which one node led; it ended when the next one began, or with the loss of the quorum before that.
type ClusterLeader struct {
	ID    string    `json:"id"`
	Name  string    `json:"name"` // as it was then
	Term  uint64    `json:"term"`
	Epoch uint64    `json:"epoch"` // index of its first entry in the log
	Since time.Time `json:"since"`
}

// LeadershipTransfer is the body of POST /cluster/transfer_leadership.
type LeadershipTransfer struct {
	To string `json:"to,omitempty"` // a node's id; "" is the node closest behind
}

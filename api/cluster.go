package api

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
}

// Cluster is the answer of GET /cluster.
type Cluster struct {
	ClusterID string `json:"cluster_id"`
	NodeID    string `json:"node_id"` // of the node that answers
	Leader    string `json:"leader"`  // "" when none is known
	Term      uint64 `json:"term"`
	// Quorum is how many voters must agree; LossesLeft is how many more may fail, negative when a quorum is lost already.
	Quorum     int             `json:"quorum"`
	LossesLeft int             `json:"losses_left"`
	Members    []ClusterMember `json:"members"`
	Problems   []string        `json:"problems"` // of the node that answers
}

// LeadershipTransfer is the body of POST /cluster/transfer_leadership.
type LeadershipTransfer struct {
	To string `json:"to,omitempty"` // a node's id; "" is the node closest behind
}

package api

import "time"

// The verdicts on a cluster, from best to worst.
const (
	ClusterHealthy  = "healthy"
	ClusterDegraded = "degraded" // it works, but somebody should look
	ClusterDown     = "down"     // it accepts no writes, as far as the node that answers knows
)

// ClusterHealth is the answer of GET /cluster/health: how the cluster is as the node that answers sees it.
type ClusterHealth struct {
	Status    string `json:"status"`
	ClusterID string `json:"cluster_id"`
	NodeID    string `json:"node_id"` // of the node that answers
	NodeName  string `json:"node_name"`
	Leader    string `json:"leader"` // "" when none is known
	Term      uint64 `json:"term"`
	Voters    int    `json:"voters"`
	// VotersLive answer and name no problem; LossesLeft of them may fail before there is no quorum, negative when it is lost.
	VotersLive int            `json:"voters_live"`
	Quorum     int            `json:"quorum"`
	LossesLeft int            `json:"losses_left"`
	Reasons    []HealthReason `json:"reasons"` // empty when healthy
	Members    []MemberHealth `json:"members"`
}

// HealthReason is one thing that is not as it should be.
type HealthReason struct {
	Code   string `json:"code"`
	Status string `json:"status"` // what it makes of the cluster: degraded or down
	Member string `json:"member"` // name or id; "" when it is about the cluster
	Text   string `json:"text"`
	Try    string `json:"try"` // what to do next
}

// SnapshotState is what a node sends to one that lacks what the log no longer holds. A node's database is its snapshot: it is
// always as new as what the node has applied, and the log before it goes from time to time.
type SnapshotState struct {
	Index     uint64     `json:"index"`     // what it holds
	Bytes     int64      `json:"bytes"`     // on disk
	LogFirst  uint64     `json:"log_first"` // the first entry that the log still holds
	LogBytes  int64      `json:"log_bytes"` // of the log from there
	Compacted *time.Time `json:"compacted"` // when entries before it went last; null: not since the node started
	Sent      uint64     `json:"sent"`      // to other nodes since it started
	Installed uint64     `json:"installed"` // from other nodes since it started
}

// MemberHealth is how one member is. What it did not tell is null or empty.
type MemberHealth struct {
	ID           string         `json:"id"`
	Name         string         `json:"name"`
	Address      string         `json:"address"`
	HTTPAddress  string         `json:"http_address"`
	HTTPS        bool           `json:"https"` // its API is served so
	Version      string         `json:"version"`
	Voter        bool           `json:"voter"`
	Leader       bool           `json:"leader"`
	Alive        bool           `json:"alive"`
	Error        string         `json:"error"` // why it did not answer
	Problems     []string       `json:"problems"`
	Halted       string         `json:"halted"` // why it applies nothing more
	LastIndex    uint64         `json:"last_index"`
	AppliedIndex uint64         `json:"applied_index"`
	Lag          uint64         `json:"lag_entries"` // behind the newest log of all that answered
	ClockOffset  *Duration      `json:"clock_offset_seconds"`
	ClockError   *Duration      `json:"clock_error_seconds"`
	DiskFree     *int64         `json:"disk_free_bytes"`
	DiskSize     *int64         `json:"disk_size_bytes"`
	DiskLowWater *int64         `json:"disk_low_water_bytes"`
	DiskRefuses  string         `json:"disk_refuses"` // what it refuses for want of space
	Certificate  *time.Time     `json:"certificate_expires"`
	Snapshot     *SnapshotState `json:"snapshot"`
	// SecretKeys are the keys with which it can open blocks, MissingKeys those with which stored blocks are encrypted and that it lacks.
	SecretKeys  []string `json:"secret_keys"`
	MissingKeys []string `json:"missing_secret_keys"`
	// Settings are those that should be the same on all nodes, by their flags; keys are told by marks.
	Settings map[string]string `json:"settings"`
}

package api

// SnapshotInfo is what a snapshot says of itself.
type SnapshotInfo struct {
	ClusterID      string `json:"cluster_id"`
	ClusterName    string `json:"cluster_name"`
	NodeID         string `json:"node_id"` // that wrote it
	Version        string `json:"version"` // of the binary that wrote it
	ClusterVersion uint64 `json:"cluster_version"`
	Schema         uint64 `json:"schema"`
	Incarnation    uint32 `json:"incarnation"`
	Index          uint64 `json:"index"`
	Term           uint64 `json:"term"`
	Time           Time   `json:"time"`       // when it was taken
	StateTime      Time   `json:"state_time"` // what falls due after it fell into the gap
	Bytes          int64  `json:"bytes"`
}

// StagedSnapshot is a snapshot that the cluster has received and verified, and what restoring it would mean.
type StagedSnapshot struct {
	ID       string       `json:"id"`
	Snapshot SnapshotInfo `json:"snapshot"`
	// Foreign says that it is of another cluster, Empty that the running one holds nothing that would be lost.
	Foreign bool `json:"foreign"`
	Empty   bool `json:"empty"`
	// Due counts the scheduled runs that fell due since it was taken, Schedules the active schedules, Leased the runs that were being
	// executed.
	Due       int `json:"due"`
	Schedules int `json:"schedules"`
	Leased    int `json:"leased"`
	// SecretKeys are the keys with which its blocks are encrypted, MissingKeys those of them that the leader lacks.
	SecretKeys  []string `json:"secret_keys"`
	MissingKeys []string `json:"missing_secret_keys"`
	// Incarnation is the one that the state will have.
	Incarnation uint32 `json:"incarnation"`
}

// What becomes of the scheduled runs that fell due between a snapshot and its restore.
const (
	MissedSkip = "skip"
	MissedRun  = "run"
)

// RestoreRequest is the body of POST /cluster/snapshot/{id}/restore.
type RestoreRequest struct {
	Missed string `json:"missed,omitempty"`
}

// RestoredSnapshot is what a restore did.
type RestoredSnapshot struct {
	Index       uint64 `json:"index"`       // where the restored state stands
	Incarnation uint32 `json:"incarnation"` // of the state
	Ended       int    `json:"ended"`       // executions whose leases are void
	Skipped     int    `json:"skipped"`     // runs that were due in the gap and are cancelled
}

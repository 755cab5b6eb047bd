package node

import (
	"context"
	"encoding/json"
	"time"

	"github.com/sluice-dev/sluice/api"
	"github.com/sluice-dev/sluice/cluster"
)

// methodReport is how a node asks any other how it is.
const methodReport = "report"

// report is what a node says of itself. Fields are only added.
type report struct {
	Now      int64       `json:"now"` // its clock, µs
	Version  string      `json:"version"`
	Last     uint64      `json:"last"`
	Applied  uint64      `json:"applied"`
	Problems []string    `json:"problems,omitempty"`
	Halted   string      `json:"halted,omitempty"`
	Disk     *diskReport `json:"disk,omitempty"`
	// Certificate is when the first of its certificates ends.
	Certificate time.Time `json:"certificate,omitzero"`
	// SecretKeys are the keys for blocks that it has, MissingKeys those in use that it lacks.
	SecretKeys []string `json:"secret_keys,omitempty"`
	// HTTPS says how its API is served.
	HTTPS       bool     `json:"https,omitempty"`
	MissingKeys []string `json:"missing_keys,omitempty"`
	// Settings are those that should be the same on all nodes.
	Settings map[string]string  `json:"settings,omitempty"`
	Snapshot *api.SnapshotState `json:"snapshot,omitempty"`
}

type diskReport struct {
	Free     int64  `json:"free"` // bytes, as the next two
	Size     int64  `json:"size"`
	LowWater int64  `json:"low"`
	Refuses  string `json:"refuses,omitempty"`
}

// report says how this node is.
func (n *Node) report() report {
	s := n.cluster.Status()
	r := report{Now: n.config.Clock.Now().UnixMicro(), Version: n.config.Version, Last: s.LastIndex, Applied: s.AppliedIndex, Problems: s.Problems}
	if s.Halted != nil {
		r.Halted = s.Halted.Error()
	}
	if s.Dispute != "" {
		r.Problems = append(r.Problems, s.Dispute)
	}
	if now, err := n.disk.room(); err != nil {
		r.Problems = append(r.Problems, err.Error())
	} else {
		r.Disk = &diskReport{Free: now.free, Size: now.size, LowWater: n.disk.low}
		if level := n.disk.level(now.free); level > diskFine {
			r.Disk.Refuses = level.String()
		}
	}
	for _, end := range n.certificates() {
		if r.Certificate.IsZero() || end.Before(r.Certificate) {
			r.Certificate = end
		}
	}
	r.Snapshot = n.snapshotState(s)
	r.SecretKeys, r.HTTPS, r.Settings = n.secrets.have(), n.apiTLS != nil, n.cluster.Common()
	if used, err := n.secrets.used(); err == nil {
		r.MissingKeys = used.missing(n.secrets.keys.current())
	}
	return r
}

func (n *Node) serveReport(context.Context, []byte) ([]byte, error) { return json.Marshal(n.report()) }

func (n *Node) snapshotState(s cluster.Status) *api.SnapshotState {
	state := &api.SnapshotState{Index: s.AppliedIndex, Bytes: int64(n.holder.Metrics().DiskBytes), LogFirst: s.FirstIndex, LogBytes: s.LogBytes,
		Sent: s.SnapshotsSent, Installed: s.SnapshotsInstalled}
	if !s.Compacted.IsZero() {
		at := s.Compacted.UTC()
		state.Compacted = &at
	}
	return state
}

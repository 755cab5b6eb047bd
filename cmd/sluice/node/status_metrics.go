package node

import (
	"cmp"
	"errors"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
)

// statusMetrics shows what the node knows about itself and, on the leader, about the members, read at every scrape.
type statusMetrics struct {
	status  func() cluster.Status
	members func() []cluster.MemberView
	store   func() pebblekv.Metrics
	disk    *diskGuard
	ends    func() map[string]time.Time
	about   prometheus.Metric
	node    prometheus.Labels // of sluice_node_info, without the cluster's id
}

// newStatusMetrics describes the node.
func newStatusMetrics(n *Node) *statusMetrics {
	c := n.config
	revision := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return &statusMetrics{status: n.cluster.Status, members: n.cluster.MemberViews, store: n.holder.Metrics, disk: n.disk, ends: n.certificates,
		about: prometheus.MustNewConstMetric(descBuild, prometheus.GaugeValue, 1, c.Version, revision, runtime.Version()),
		node:  prometheus.Labels{"node_id": n.cluster.ID(), "node": c.Name, "cluster": cmp.Or(c.ClusterName, cluster.DefaultName)}}
}

var (
	descBuild       = desc("sluice_build_info", "1; the labels say what runs here.", "version", "revision", "goversion")
	descNode        = desc("sluice_node_info", "1; the labels say which node of which cluster this is.", "node_id", "node", "cluster", "cluster_id")
	descLeader      = desc("sluice_raft_is_leader", "1 on the node that leads and accepts commands.")
	descHasLeader   = desc("sluice_raft_has_leader", "1 while this node knows a leader.")
	descTerm        = desc("sluice_raft_term", "Raft term.")
	descEpoch       = desc("sluice_raft_epoch", "Number of the present reign, 0 on a follower.")
	descReigns      = desc("sluice_raft_leadership_changes_total", "Leaders that this node came to know since it started.")
	descVoters      = desc("sluice_raft_voters", "Voters in the Raft configuration.")
	descCommit      = desc("sluice_raft_commit_index", "Index of the newest committed entry.")
	descApplied     = desc("sluice_raft_applied_index", "Index of the newest entry in the state.")
	descCommitLag   = desc("sluice_raft_commit_lag_entries", "Committed entries that are not in this node's state yet. One or two on an idle node are Raft's own, which never get there.")
	descFirst       = desc("sluice_raft_first_index", "Index of the oldest entry in the log; a node that needs an older one fetches the whole state.")
	descLast        = desc("sluice_raft_last_index", "Index of the newest entry in the log.")
	descLogEntries  = desc("sluice_raft_log_entries", "Entries in the Raft log.")
	descLogBytes    = desc("sluice_raft_log_bytes", "Bytes of entries in the Raft log.")
	descWaiting     = desc("sluice_raft_waiting_calls", "Calls that wait for the log.")
	descRestarts    = desc("sluice_raft_restarts_total", "Restarts of Raft within the process, from disk.")
	descStuck       = desc("sluice_raft_log_stuck", "1 while a write to the Raft log does not return.")
	descContact     = desc("sluice_raft_leader_contact_seconds", "How long ago a follower last heard of its leader.")
	descCompacted   = desc("sluice_raft_snapshot_timestamp_seconds", "When this node last recorded a snapshot of its own and compacted its log; absent if not since it started.")
	descCompactions = desc("sluice_raft_snapshots_total", "Snapshots of its own that this node recorded, each time compacting its log.")
	descSending     = desc("sluice_raft_snapshots_sending", "Snapshots that this node is sending to others.")
	descSent        = desc("sluice_raft_snapshots_sent_total", "Snapshots whose sending to others has ended, well or not.")
	descInstalled   = desc("sluice_raft_snapshots_installed_total", "Snapshots of other nodes that replaced this node's state.")
	descHalted      = desc("sluice_node_halted", "1 when the state machine applies nothing more, with the kind of obstacle; /readyz?verbose names the entry and what to do.", "reason")
	descDiverged    = desc("sluice_node_diverged", "1 when this node's state differs from what a majority has: it serves no reads and does not lead.")
	descVersion     = desc("sluice_cluster_version", "Version of the cluster as this node has applied it; equal on all nodes but for a moment.")
	descCheckpoint  = desc("sluice_state_checkpoint_index", "Newest entry at which this node noted the hash of its state, for comparison.")
	descDispute     = desc("sluice_cluster_states_differ", "1 while the nodes' states differ and no majority says which is right (on the leader).")
	descProblems    = desc("sluice_node_problems", "What keeps this node from being healthy; 0 is good. /readyz?verbose names them.")
	descFree        = desc("sluice_disk_free_bytes", "Free bytes of the file system that holds the data directory.")
	descSize        = desc("sluice_disk_size_bytes", "Size of the file system that holds the data directory.")
	descLowWater    = desc("sluice_disk_low_water_bytes", "Free bytes below which this node refuses logs; at half of it new runs, at a quarter every write.")
	descGuard       = desc("sluice_disk_guard_level", "What this node refuses for want of disk space: 0 nothing, 1 logs and stored values, 2 also new runs, 3 every write.")
	descStateDisk   = desc("sluice_state_disk_bytes", "Bytes of the state on disk.")
	descCertificate = desc("sluice_tls_certificate_expiry_timestamp_seconds", "When a certificate in force ends: node and authority are those between nodes, api that of the API.", "certificate")

	descMemberUp      = desc("sluice_raft_member_up", "1 when the member answered the leader's last question (on the leader).", "member", "member_id")
	descMemberProblem = desc("sluice_raft_member_problem", "1 when the member names a problem or does not answer (on the leader).", "member", "member_id")
	descMemberVoter   = desc("sluice_raft_member_voter", "1 when the member votes, 0 while it catches up (on the leader).", "member", "member_id")
	descMemberLag     = desc("sluice_raft_member_lag_entries", "Entries by which the member's log was behind the leader's when it last answered (on the leader).", "member", "member_id")
	descMemberContact = desc("sluice_raft_member_contact_seconds", "How long ago the member last answered the leader; absent if not in this reign (on the leader).", "member", "member_id")
	descMemberClock   = desc("sluice_raft_member_clock_offset_seconds", "How far the member's clock is ahead of the leader's (on the leader).", "member", "member_id")
	descMemberClockBy = desc("sluice_raft_member_clock_error_seconds", "By how much sluice_raft_member_clock_offset_seconds may be wrong: half a round trip (on the leader).", "member", "member_id")
	descVotersLive    = desc("sluice_raft_voters_live", "Voters that answer the leader and name no problem, the leader included (on the leader).")
	descTolerated     = desc("sluice_raft_failures_tolerated", "How many more voters may fail before nothing is accepted any more (on the leader).")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (c *statusMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descBuild, descNode, descLeader, descHasLeader, descTerm, descEpoch, descReigns, descVoters, descCommit, descApplied,
		descCommitLag, descFirst, descLast, descLogEntries, descLogBytes, descWaiting, descRestarts, descStuck, descContact, descCompacted, descCompactions, descSending,
		descSent, descInstalled, descHalted, descDiverged, descVersion, descCheckpoint, descDispute, descProblems, descFree, descSize, descLowWater, descGuard, descStateDisk, descCertificate,
		descMemberUp, descMemberProblem, descMemberVoter, descMemberLag, descMemberContact, descMemberClock, descMemberClockBy, descVotersLive, descTolerated} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *statusMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	s := c.status()
	ch <- c.about
	gauge(descNode, 1, c.node["node_id"], c.node["node"], c.node["cluster"], s.ClusterID)
	gauge(descLeader, one(s.Leading))
	gauge(descHasLeader, one(s.Leader.ID != ""))
	gauge(descTerm, float64(s.Term))
	gauge(descEpoch, float64(s.Epoch))
	counter(descReigns, s.Reigns)
	gauge(descVoters, float64(s.Voters))
	gauge(descCommit, float64(s.CommitIndex))
	gauge(descApplied, float64(s.AppliedIndex))
	gauge(descCommitLag, float64(behind(s.AppliedIndex, s.CommitIndex)))
	gauge(descFirst, float64(s.FirstIndex))
	gauge(descLast, float64(s.LastIndex))
	gauge(descLogBytes, float64(s.LogBytes))
	if s.FirstIndex > 0 {
		gauge(descLogEntries, float64(s.LastIndex-s.FirstIndex+1))
	} else {
		gauge(descLogEntries, 0)
	}
	gauge(descWaiting, float64(s.Waiting))
	counter(descRestarts, s.Restarts)
	gauge(descStuck, one(s.Latched))
	if s.State == "follower" && !s.LastContact.IsZero() {
		gauge(descContact, time.Since(s.LastContact).Seconds())
	}
	counter(descCompactions, s.Compactions)
	if !s.Compacted.IsZero() {
		gauge(descCompacted, seconds(s.Compacted))
	}
	gauge(descSending, float64(s.SnapshotsSending))
	counter(descSent, s.SnapshotsSent)
	counter(descInstalled, s.SnapshotsInstalled)
	gauge(descHalted, one(s.Halted != nil), haltReason(s.Halted))
	gauge(descDiverged, one(s.Diverged != ""))
	gauge(descVersion, float64(s.ClusterVersion))
	gauge(descCheckpoint, float64(s.Checkpoint.Index))
	if s.Leading {
		gauge(descDispute, one(s.Dispute != ""))
	}
	gauge(descProblems, float64(len(s.Problems)))
	if room, err := c.disk.room(); err == nil {
		gauge(descFree, float64(room.free))
		gauge(descSize, float64(room.size))
		gauge(descGuard, float64(c.disk.level(room.free)))
	}
	gauge(descLowWater, float64(c.disk.low))
	gauge(descStateDisk, float64(c.store().DiskBytes))
	for name, end := range c.ends() {
		gauge(descCertificate, seconds(end), name)
	}
	c.collectMembers(gauge)
}

// collectMembers shows how the leader sees the members.
func (c *statusMetrics) collectMembers(gauge func(*prometheus.Desc, float64, ...string)) {
	views := c.members()
	if views == nil {
		return
	}
	for _, v := range views {
		name := cmp.Or(v.Name, v.ID)
		show := func(d *prometheus.Desc, value float64) { gauge(d, value, name, v.ID) }
		show(descMemberUp, one(v.Alive))
		show(descMemberProblem, one(v.Problem != ""))
		show(descMemberVoter, one(v.Voter))
		show(descMemberLag, float64(v.Lag))
		if !v.Contact.IsZero() {
			show(descMemberContact, time.Since(v.Contact).Seconds())
		}
		if v.ClockKnown {
			show(descMemberClock, v.ClockOffset.Seconds())
			show(descMemberClockBy, v.ClockError.Seconds())
		}
	}
	live, tolerated := cluster.Margin(views)
	gauge(descVotersLive, float64(live))
	gauge(descTolerated, float64(tolerated))
}

func behind(applied, commit uint64) uint64 {
	if commit <= applied {
		return 0
	}
	return commit - applied
}

// haltReason is the kind of obstacle that halted the state machine, "" while it works.
func haltReason(err error) string {
	if h, ok := errors.AsType[*fsm.Halt](err); ok {
		return string(h.Reason)
	}
	if err != nil {
		return "unknown"
	}
	return ""
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

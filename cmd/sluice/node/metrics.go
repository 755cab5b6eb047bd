package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/cluster"
	"github.com/sluice-dev/sluice/fsm/kv/pebblekv"
)

// raftMetrics observes the hot paths of the cluster.
type raftMetrics struct {
	append      prometheus.Histogram
	appendBytes prometheus.Counter
	commit      prometheus.Histogram
	apply       prometheus.Histogram
	commands    prometheus.Counter
	entries     prometheus.Counter
	confirm     prometheus.Histogram
	reads       prometheus.Counter
}

// fast are buckets from 50 µs to 6.5 s: a log append on a good disk up to one on a dying disk.
var fast = prometheus.ExponentialBuckets(50e-6, 2, 18)

func newRaftMetrics(registry prometheus.Registerer) *raftMetrics {
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: fast})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &raftMetrics{
		append:      histogram("sluice_raft_fsync_seconds", "Time of one durable append to the Raft log: write and fsync."),
		appendBytes: counter("sluice_raft_append_bytes_total", "Bytes appended to the Raft log."),
		commit:      histogram("sluice_raft_commit_seconds", "Time of one entry from its proposal to its effect on the state."),
		apply:       histogram("sluice_fsm_apply_seconds", "Time to apply one batch of entries to the state."),
		commands:    counter("sluice_raft_commands_total", "Commands applied by way of this node."),
		entries:     counter("sluice_raft_entries_total", "Raft entries proposed by this node; commands per entry is the group commit."),
		confirm:     histogram("sluice_raft_read_index_seconds", "Time to confirm leadership for linearizable reads."),
		reads:       counter("sluice_raft_reads_total", "Linearizable reads."),
	}
	registry.MustRegister(m.append, m.appendBytes, m.commit, m.apply, m.commands, m.entries, m.confirm, m.reads)
	return m
}

func (m *raftMetrics) StoreLogs(d time.Duration, _, bytes int) {
	m.append.Observe(d.Seconds())
	m.appendBytes.Add(float64(bytes))
}

func (m *raftMetrics) Commit(d time.Duration, commands, _ int) {
	m.commit.Observe(d.Seconds())
	m.commands.Add(float64(commands))
	m.entries.Inc()
}

func (m *raftMetrics) Apply(d time.Duration, _ int) { m.apply.Observe(d.Seconds()) }

func (m *raftMetrics) ReadIndex(d time.Duration, reads int) {
	m.confirm.Observe(d.Seconds())
	m.reads.Add(float64(reads))
}

// statusCollector shows what the node knows about itself, read at every scrape.
type statusCollector struct {
	status func() cluster.Status
	store  func() pebblekv.Metrics
	free   func() (int64, error)
}

var (
	descLeader    = desc("sluice_raft_is_leader", "1 on the node that leads and accepts commands.")
	descHasLeader = desc("sluice_raft_has_leader", "1 while this node knows a leader.")
	descTerm      = desc("sluice_raft_term", "Raft term.")
	descEpoch     = desc("sluice_raft_epoch", "Number of the present reign, 0 on a follower.")
	descVoters    = desc("sluice_raft_voters", "Voters in the Raft configuration.")
	descCommit    = desc("sluice_raft_commit_index", "Index of the newest committed entry.")
	descApplied   = desc("sluice_raft_applied_index", "Index of the newest entry in the state.")
	descLast      = desc("sluice_raft_last_index", "Index of the newest entry in the log.")
	descLogBytes  = desc("sluice_raft_log_bytes", "Bytes of entries in the Raft log.")
	descWaiting   = desc("sluice_raft_waiting_calls", "Calls that wait for the log.")
	descRestarts  = desc("sluice_raft_restarts_total", "Restarts of Raft within the process, from disk.")
	descProblems  = desc("sluice_node_problems", "What keeps this node from being healthy; 0 is good. /readyz?verbose names them.")
	descFree      = desc("sluice_disk_free_bytes", "Free bytes of the file system that holds the data directory.")
	descStateDisk = desc("sluice_state_disk_bytes", "Bytes of the state on disk.")
)

func desc(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descLeader, descHasLeader, descTerm, descEpoch, descVoters, descCommit, descApplied, descLast,
		descLogBytes, descWaiting, descRestarts, descProblems, descFree, descStateDisk} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	s := c.status()
	gauge(descLeader, one(s.Leading))
	gauge(descHasLeader, one(s.Leader.ID != ""))
	gauge(descTerm, float64(s.Term))
	gauge(descEpoch, float64(s.Epoch))
	gauge(descVoters, float64(s.Voters))
	gauge(descCommit, float64(s.CommitIndex))
	gauge(descApplied, float64(s.AppliedIndex))
	gauge(descLast, float64(s.LastIndex))
	gauge(descLogBytes, float64(s.LogBytes))
	gauge(descWaiting, float64(s.Waiting))
	ch <- prometheus.MustNewConstMetric(descRestarts, prometheus.CounterValue, float64(s.Restarts))
	gauge(descProblems, float64(len(s.Problems)))
	if free, err := c.free(); err == nil {
		gauge(descFree, float64(free))
	}
	gauge(descStateDisk, float64(c.store().DiskBytes))
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

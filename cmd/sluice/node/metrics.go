package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/api"
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
	proposals   *prometheus.HistogramVec
	failures    *prometheus.CounterVec
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
	m.proposals = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sluice_propose_seconds", Buckets: fast,
		Help: "Time of a write on this node until it is applied, forwarding to the leader included, by lane: state, or bulk for logs and stored values."}, []string{"lane"})
	m.failures = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_propose_failures_total",
		Help: "Writes on this node that failed, by lane and outcome: not_done, or unknown when nobody knows."}, []string{"lane", "outcome"})
	for _, lane := range []string{laneState, laneBulk} {
		m.proposals.WithLabelValues(lane)
		for _, outcome := range []string{outcomeNotDone, outcomeUnknown} {
			m.failures.WithLabelValues(lane, outcome)
		}
	}
	registry.MustRegister(m.proposals, m.failures, m.append, m.appendBytes, m.commit, m.apply, m.commands, m.entries, m.confirm, m.reads)
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

const (
	laneState      = "state"
	laneBulk       = "bulk"
	outcomeNotDone = "not_done"
	outcomeUnknown = "unknown"
)

// proposed reports one write of this node's clients.
func (m *raftMetrics) proposed(lane string, began time.Time, err error) {
	switch {
	case err == nil:
		m.proposals.WithLabelValues(lane).Observe(time.Since(began).Seconds())
	case api.KindOf(err) == api.KindUnknownOutcome:
		m.failures.WithLabelValues(lane, outcomeUnknown).Inc()
	default:
		m.failures.WithLabelValues(lane, outcomeNotDone).Inc()
	}
}

func (m *raftMetrics) Apply(d time.Duration, _ int) { m.apply.Observe(d.Seconds()) }

func (m *raftMetrics) ReadIndex(d time.Duration, reads int) {
	m.confirm.Observe(d.Seconds())
	m.reads.Add(float64(reads))
}

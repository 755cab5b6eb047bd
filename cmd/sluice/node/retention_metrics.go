package node

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/fsm/row"
	"github.com/sluice-dev/sluice/fsm/state"
)

// retentionMetrics show what retention has removed since the cluster began. It is counted in the state, so every node shows the same as
// far as it has applied, and no failover leaves a deletion out.
type retentionMetrics struct {
	view func() (*state.View, error)
	log  *slog.Logger
}

var (
	descRemovedRows = desc("sluice_retention_removed_rows_total",
		"Rows that retention has removed since the cluster began, by table and reason; the same on every node.", "table", "reason")
	descRemovedBytes = desc("sluice_retention_removed_bytes_total",
		"Bytes of the rows that retention has removed since the cluster began, before compression; the same on every node.", "table")

	prunedTables = []string{"flow_run", "flow_run_state", "task_run", "task_run_state", "log_segment", "log_producer", "log_usage", "cache_entry"}
	pruneReasons = []string{"age", "count", "total", "expired"}
)

// Describe implements prometheus.Collector.
func (m *retentionMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- descRemovedRows
	ch <- descRemovedBytes
}

// Collect implements prometheus.Collector. What was never removed is there with 0, for rates.
func (m *retentionMetrics) Collect(ch chan<- prometheus.Metric) {
	policy, err := m.policy()
	if err != nil {
		m.log.Warn("what retention has removed could not be read for the metrics", "error", err)
		return
	}
	type place struct{ table, reason string }
	rows, bytes := map[place]int64{}, map[string]int64{}
	for _, table := range prunedTables {
		bytes[table] = 0
		for _, reason := range pruneReasons {
			rows[place{table, reason}] = 0
		}
	}
	for _, n := range policy.GetRemoved() {
		rows[place{n.Table, n.Reason}] += n.Rows
		bytes[n.Table] += n.Bytes
	}
	for at, n := range rows {
		ch <- prometheus.MustNewConstMetric(descRemovedRows, prometheus.CounterValue, float64(n), at.table, at.reason)
	}
	for table, n := range bytes {
		ch <- prometheus.MustNewConstMetric(descRemovedBytes, prometheus.CounterValue, float64(n), table)
	}
}

func (m *retentionMetrics) policy() (*row.RetentionPolicy, error) {
	view, err := m.view()
	if err != nil {
		return nil, err
	}
	defer view.Close()
	return view.RetentionPolicy()
}

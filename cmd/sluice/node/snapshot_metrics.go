package node

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// snapshotMetrics tells how old the newest scheduled snapshot is. Without a schedule it tells nothing.
type snapshotMetrics struct {
	every atomic.Int64 // time.Duration; 0: no schedule
	last  atomic.Int64 // Unix µs of the newest that succeeded; 0: none is known
}

var (
	descSnapshotEvery = desc("sluice_snapshot_interval_seconds", "How often a snapshot is to be saved; absent without a schedule.")
	descSnapshotLast  = desc("sluice_snapshot_last_success_timestamp_seconds", "When the newest scheduled snapshot was complete; with a schedule and none yet, when the node started; absent without a schedule.")
)

// schedule says that a snapshot is due every so often; now is when that began.
func (m *snapshotMetrics) schedule(every time.Duration, now time.Time) {
	m.every.Store(int64(every))
	m.last.CompareAndSwap(0, now.UnixMicro())
}

// saved says that a snapshot was complete at a time.
func (m *snapshotMetrics) saved(at time.Time) { m.last.Store(at.UnixMicro()) }

// Describe implements prometheus.Collector.
func (m *snapshotMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- descSnapshotEvery
	ch <- descSnapshotLast
}

// Collect implements prometheus.Collector.
func (m *snapshotMetrics) Collect(ch chan<- prometheus.Metric) {
	every := time.Duration(m.every.Load())
	if every == 0 {
		return
	}
	ch <- prometheus.MustNewConstMetric(descSnapshotEvery, prometheus.GaugeValue, every.Seconds())
	ch <- prometheus.MustNewConstMetric(descSnapshotLast, prometheus.GaugeValue, seconds(time.UnixMicro(m.last.Load())))
}

package node

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-dev/sluice/scheduler"
)

// schedulerMetrics is told what the leader's services do, and shows their queues at a scrape.
type schedulerMetrics struct {
	claimable, claimed prometheus.Histogram
	claims             prometheus.Counter
	expired, made      prometheus.Counter
	queues             func() []scheduler.QueueStats
}

var (
	// lateness are buckets from a millisecond to nine hours.
	lateness   = prometheus.ExponentialBuckets(1e-3, 2, 25)
	descDepth  = prometheus.NewDesc("sluice_work_queue_depth", "Due runs that wait in a work queue (on the leader).", []string{"work_queue"}, nil)
	descOldest = prometheus.NewDesc("sluice_work_queue_oldest_due_seconds", "How long the oldest due run of a work queue has waited (on the leader).", []string{"work_queue"}, nil)
	descDemand = prometheus.NewDesc("sluice_work_queue_waiting_agents", "Agents that wait for work of a work queue (on the leader).", []string{"work_queue"}, nil)
)

func newSchedulerMetrics() *schedulerMetrics {
	return &schedulerMetrics{
		claimable: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sluice_scheduler_claimable_lateness_seconds", Help: "From due to offered to the queues.", Buckets: lateness}),
		claimed:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sluice_scheduler_claim_lateness_seconds", Help: "From due to granted to an agent.", Buckets: lateness}),
		claims:    prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_claims_total", Help: "Flow runs granted to agents."}),
		expired:   prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_scheduler_leases_expired_total", Help: "Leases whose owner fell silent."}),
		made:      prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_scheduler_runs_made_total", Help: "Flow runs made from schedules."}),
	}
}

func (m *schedulerMetrics) Claimable(d time.Duration) { m.claimable.Observe(d.Seconds()) }
func (m *schedulerMetrics) Claimed(d time.Duration) {
	m.claimed.Observe(d.Seconds())
	m.claims.Inc()
}
func (m *schedulerMetrics) LeaseExpired()  { m.expired.Inc() }
func (m *schedulerMetrics) RunsMade(n int) { m.made.Add(float64(n)) }

// Describe implements prometheus.Collector.
func (m *schedulerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range []prometheus.Collector{m.claimable, m.claimed, m.claims, m.expired, m.made} {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{descDepth, descOldest, descDemand} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *schedulerMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range []prometheus.Collector{m.claimable, m.claimed, m.claims, m.expired, m.made} {
		c.Collect(ch)
	}
	for _, q := range m.queues() {
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, q.Name)
		}
		gauge(descDepth, float64(q.Ready))
		waited := 0.0
		if !q.OldestDue.IsZero() {
			waited = time.Since(q.OldestDue).Seconds()
		}
		gauge(descOldest, waited)
		gauge(descDemand, float64(q.Waiting))
	}
}

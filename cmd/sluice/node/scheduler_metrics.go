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
	jumps              *prometheus.CounterVec
	swept, held        prometheus.Gauge
	attempts           *prometheus.HistogramVec
	stats              func() *scheduler.Stats // nil while this node does not lead
}

var (
	// lateness are buckets from a millisecond to nine hours.
	lateness = prometheus.ExponentialBuckets(1e-3, 2, 25)

	descDepth      = desc("sluice_work_queue_depth", "Due runs that wait in a work queue (on the leader).", "work_queue")
	descOldest     = desc("sluice_work_queue_oldest_due_seconds", "How long the oldest due run of a work queue has waited (on the leader).", "work_queue")
	descDemand     = desc("sluice_work_queue_waiting_agents", "Agents that wait for work of a work queue (on the leader).", "work_queue")
	descPaused     = desc("sluice_work_queue_paused", "1 when a work queue is paused (on the leader).", "work_queue")
	descQueueLive  = desc("sluice_work_queue_live_agents", "Live agents that asked for work of a work queue or hold some of it (on the leader).", "work_queue")
	descOldestDue  = desc("sluice_scheduler_oldest_due_seconds", "How long the oldest due run of all has waited, 0 when none waits (on the leader).")
	descDue        = desc("sluice_scheduler_due_runs", "Due runs of deployments that nobody has taken yet (on the leader).")
	descReason     = desc("sluice_scheduler_waiting_runs", "Due runs by the reason why they wait; a run in several work queues counts in each (on the leader).", "reason")
	descAgents     = desc("sluice_agents", "Registered agents (on the leader).")
	descAgentsLive = desc("sluice_agents_live", "Agents heard from within the lease TTL (on the leader).")
)

func newSchedulerMetrics() *schedulerMetrics {
	m := &schedulerMetrics{
		claimable: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sluice_scheduler_claimable_lateness_seconds", Help: "From due to offered to the queues.", Buckets: lateness}),
		claimed:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sluice_scheduler_claim_lateness_seconds", Help: "From due to granted to an agent.", Buckets: lateness}),
		claims:    prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_claims_total", Help: "Flow runs granted to agents."}),
		expired:   prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_scheduler_leases_expired_total", Help: "Leases whose owner fell silent."}),
		jumps:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_clock_jumps_total", Help: "Jumps of the wall clock by more than 30 s, by direction (on the leader)."}, []string{"direction"}),
		made:      prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_scheduler_runs_made_total", Help: "Flow runs made from schedules."}),
		attempts: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sluice_webhook_attempt_seconds", Help: "Attempts to deliver webhooks' messages, by outcome (on the leader).",
			Buckets: prometheus.ExponentialBuckets(5e-3, 4, 7)}, []string{"outcome"}),
		swept: prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_retention_last_sweep_timestamp_seconds", Help: "When retention last had removed all it found, 0 for never (on the leader)."}),
		held:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_retention_held", Help: "1 while nothing is removed for its age because the cluster's time has jumped (on the leader)."}),
	}
	for _, outcome := range scheduler.AllDeliveryOutcomes {
		m.attempts.WithLabelValues(outcome)
	}
	m.jumps.WithLabelValues("forward")
	m.jumps.WithLabelValues("backward")
	return m
}

func (m *schedulerMetrics) Claimable(d time.Duration) { m.claimable.Observe(d.Seconds()) }
func (m *schedulerMetrics) Claimed(d time.Duration) {
	m.claimed.Observe(d.Seconds())
	m.claims.Inc()
}
func (m *schedulerMetrics) LeaseExpired()  { m.expired.Inc() }
func (m *schedulerMetrics) RunsMade(n int) { m.made.Add(float64(n)) }

// RetentionSwept implements scheduler.Observer.
func (m *schedulerMetrics) RetentionSwept(held bool) {
	m.swept.SetToCurrentTime()
	m.held.Set(one(held))
}

// WebhookAttempt implements scheduler.Observer.
func (m *schedulerMetrics) WebhookAttempt(outcome string, took time.Duration) {
	m.attempts.WithLabelValues(outcome).Observe(took.Seconds())
}

// ClockJumped implements scheduler.Observer.
func (m *schedulerMetrics) ClockJumped(by time.Duration) {
	direction := "forward"
	if by < 0 {
		direction = "backward"
	}
	m.jumps.WithLabelValues(direction).Inc()
}

func (m *schedulerMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.claimable, m.claimed, m.claims, m.expired, m.made, m.jumps, m.swept, m.held, m.attempts}
}

// Describe implements prometheus.Collector.
func (m *schedulerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{descDepth, descOldest, descDemand, descPaused, descQueueLive, descOldestDue, descDue, descReason, descAgents, descAgentsLive} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *schedulerMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	s := m.stats()
	if s == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	reasons := map[scheduler.Waiting]int{scheduler.WaitsForQueue: s.Alone}
	for _, q := range s.Queues {
		gauge(descDepth, float64(q.Ready), q.Name)
		gauge(descOldest, waited(q.OldestDue), q.Name)
		gauge(descDemand, float64(q.Waiting), q.Name)
		gauge(descPaused, one(q.Paused), q.Name)
		gauge(descQueueLive, float64(q.LiveAgents), q.Name)
		reasons[q.Reason] += q.Ready
	}
	for _, reason := range scheduler.AllWaiting {
		gauge(descReason, float64(reasons[reason]), string(reason))
	}
	gauge(descOldestDue, waited(s.OldestDue))
	gauge(descDue, float64(s.Due))
	gauge(descAgents, float64(s.Agents))
	gauge(descAgentsLive, float64(s.LiveAgents))
}

// waited is how long ago a run was due, in seconds; 0 without one.
func waited(due time.Time) float64 {
	if due.IsZero() {
		return 0
	}
	return max(0, time.Since(due).Seconds())
}

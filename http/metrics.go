package httpapi

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of the HTTP layer.
type metrics struct {
	durations *prometheus.HistogramVec
	streams   *prometheus.CounterVec
	refused   *prometheus.CounterVec
	// unrecorded counts audit records that could not be stored.
	unrecorded prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_http_request_duration_seconds", Help: "Time to answer HTTP requests, by route and status.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route", "status"}),
		streams: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_http_streams_total", Help: "HTTP long polls and event streams that ended, by route and status.",
		}, []string{"method", "route", "status"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_http_refused_total", Help: "HTTP requests refused for who sent them, by reason.",
		}, []string{"reason"}),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_http_audit_failures_total", Help: "Audit records that could not be stored; the log has them.",
		}),
	}
	for _, c := range []prometheus.Collector{m.durations, m.streams, m.refused, m.unrecorded} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// durations are the histograms of one route, by status, resolved once.
type durations struct {
	observe func(status int, took time.Duration)
}

func (m *metrics) route(rt *route) durations {
	method, path := rt.method, rt.path
	if rt.stream {
		return durations{func(status int, _ time.Duration) {
			m.streams.WithLabelValues(method, path, strconv.Itoa(status)).Inc()
		}}
	}
	var (
		usual [2]atomic.Pointer[prometheus.Observer] // 200 and 201
		rest  sync.Map                               // status to prometheus.Observer
	)
	resolve := func(status int) prometheus.Observer {
		return m.durations.WithLabelValues(method, path, strconv.Itoa(status))
	}
	return durations{func(status int, took time.Duration) {
		if status == 200 || status == 201 {
			o := usual[status-200].Load()
			if o == nil {
				resolved := resolve(status)
				o = &resolved
				usual[status-200].Store(o)
			}
			(*o).Observe(took.Seconds())
			return
		}
		o, ok := rest.Load(status)
		if !ok {
			o, _ = rest.LoadOrStore(status, resolve(status))
		}
		o.(prometheus.Observer).Observe(took.Seconds())
	}}
}

func (rt *route) observe(status int, took time.Duration) {
	if rt.durations.observe != nil {
		rt.durations.observe(status, took)
	}
}

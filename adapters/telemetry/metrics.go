package telemetry

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the figures of one process. No label holds anything that a caller chooses.
type Metrics struct {
	registry       *prometheus.Registry
	requests       *prometheus.HistogramVec
	invocations    *prometheus.CounterVec
	attempts       *prometheus.HistogramVec
	startDelay     prometheus.Histogram
	deliveries     *prometheus.HistogramVec
	batchAppends   prometheus.Histogram
	batchSeconds   prometheus.Histogram
	appendedEvents prometheus.Counter
	failedBatches  prometheus.Counter
	queued         prometheus.Gauge

	// The labels of a request are looked up once: that takes longer than to count it.
	answers  sync.Map // by answer, prometheus.Observer
	outcomes sync.Map // by outcome, prometheus.Counter
}

type answer struct {
	method, route string
	status        int
}

// NewMetrics makes the metrics of a process.
func NewMetrics(version string) *Metrics {
	seconds := []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hooktrail_http_request_seconds", Help: "Time to answer a request, by route and status.", Buckets: seconds,
		}, []string{"method", "route", "status"}),
		invocations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hooktrail_webhook_calls_total", Help: "Webhook calls by outcome: accepted, replayed, or the code of the refusal.",
		}, []string{"outcome"}),
		attempts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hooktrail_execution_attempt_seconds", Help: "Time of one attempt at an execution, by runner and outcome.", Buckets: seconds,
		}, []string{"runner", "outcome"}),
		startDelay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hooktrail_execution_start_delay_seconds", Help: "Time from the acceptance of a call to the start of its agent.", Buckets: seconds,
		}),
		deliveries: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hooktrail_delivery_seconds", Help: "Time of one attempt to deliver an event to a subscription, by outcome.", Buckets: seconds,
		}, []string{"outcome"}),
		batchAppends: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hooktrail_commit_appends", Help: "Appends that shared one commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		batchSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hooktrail_commit_seconds", Help: "Time of one commit with all its statements.", Buckets: seconds,
		}),
		appendedEvents: prometheus.NewCounter(prometheus.CounterOpts{Name: "hooktrail_events_appended_total", Help: "Events appended by this process."}),
		failedBatches:  prometheus.NewCounter(prometheus.CounterOpts{Name: "hooktrail_commit_failures_total", Help: "Commits that failed."}),
		queued:         prometheus.NewGauge(prometheus.GaugeOpts{Name: "hooktrail_append_queue_length", Help: "Appends that waited at the last commit."}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "hooktrail_build_info", Help: "Always 1; the label is the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.invocations, m.attempts, m.startDelay, m.deliveries, m.batchAppends, m.batchSeconds, m.appendedEvents,
		m.failedBatches, m.queued, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register adds a figure that is read when the metrics are.
func (m *Metrics) Register(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Request counts an answer.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	key := answer{knownMethod(method), route, status}
	observer, known := m.answers.Load(key)
	if !known {
		observer, _ = m.answers.LoadOrStore(key, m.requests.WithLabelValues(key.method, key.route, strconv.Itoa(status)))
	}
	observer.(prometheus.Observer).Observe(took.Seconds())
}

// knownMethod keeps a caller from inventing labels.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// Invoked counts a webhook call.
func (m *Metrics) Invoked(outcome string) {
	counter, known := m.outcomes.Load(outcome)
	if !known {
		counter, _ = m.outcomes.LoadOrStore(outcome, m.invocations.WithLabelValues(outcome))
	}
	counter.(prometheus.Counter).Inc()
}

// AttemptStarted counts how long an execution waited for its first attempt.
func (m *Metrics) AttemptStarted(waited time.Duration) { m.startDelay.Observe(waited.Seconds()) }

// AttemptEnded counts an attempt.
func (m *Metrics) AttemptEnded(runner, outcome string, took time.Duration) {
	m.attempts.WithLabelValues(runner, outcome).Observe(took.Seconds())
}

// Delivered counts an attempt to deliver an event.
func (m *Metrics) Delivered(outcome string, took time.Duration) {
	m.deliveries.WithLabelValues(outcome).Observe(took.Seconds())
}

// Committed counts a commit of the event store.
func (m *Metrics) Committed(appends, events, waiting int, took time.Duration, failed bool) {
	m.queued.Set(float64(waiting))
	if failed {
		m.failedBatches.Inc()
		return
	}
	m.batchAppends.Observe(float64(appends))
	m.batchSeconds.Observe(took.Seconds())
	m.appendedEvents.Add(float64(events))
}

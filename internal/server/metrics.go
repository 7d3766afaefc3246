package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// metrics are what /metrics shows. Labels have a few values each, and none of them
// comes from a client: no ids, owners, paths or tokens. It is the Observer of the
// Keystore.
type metrics struct {
	registry *prometheus.Registry

	lookups     *prometheus.CounterVec
	operations  *prometheus.HistogramVec
	calls       *prometheus.HistogramVec
	requests    *prometheus.CounterVec
	took        *prometheus.HistogramVec
	connections *prometheus.GaugeVec

	next keystore.Observer // that of the caller's Options
}

// Buckets in seconds: a lookup in the cache takes a microsecond, a call of a store
// that is failing seconds.
var (
	operationBuckets = []float64{1e-6, 5e-6, 2.5e-5, 1e-4, 5e-4, 2.5e-3, 1e-2, 5e-2, .25, 1, 5}
	requestBuckets   = []float64{1e-4, 5e-4, 1e-3, 2.5e-3, 1e-2, 2.5e-2, .1, .25, 1, 2.5, 10}
)

func newMetrics(version string, next keystore.Observer) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		next:     next,
		lookups: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keystore_lookups_total", Help: "Lookups of tokens, by what came of them: ok, or the reason of the refusal or failure.",
		}, []string{"reason"}),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "keystore_operation_seconds", Help: "How long operations of the library took.", Buckets: operationBuckets,
		}, []string{"operation"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "keystore_store_call_seconds", Help: "How long calls of the store took, by how they ended.", Buckets: operationBuckets,
		}, []string{"call", "outcome"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keystore_http_requests_total", Help: "Requests answered.",
		}, []string{"route", "method", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "keystore_http_request_seconds", Help: "How long requests took.", Buckets: requestBuckets,
		}, []string{"route"}),
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "keystore_http_connections", Help: "Connections that are open.",
		}, []string{"listener"}),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keystore_build_info", Help: "The version of the program, as labels; always 1.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
	m.registry.MustRegister(m.lookups, m.operations, m.calls, m.requests, m.took, m.connections, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// handler serves the metrics, to a few callers at a time.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 5, Timeout: 10 * time.Second})
}

// Begin implements [keystore.Observer].
func (m *metrics) Begin(ctx context.Context, op keystore.Operation) (context.Context, func(error)) {
	end := func(error) {}
	if m.next != nil {
		ctx, end = m.next.Begin(ctx, op)
	}
	began := time.Now()
	return ctx, func(err error) {
		took := time.Since(began).Seconds()
		switch {
		case op.Store:
			m.calls.WithLabelValues(op.Name, callOutcome(err)).Observe(took)
		default:
			m.operations.WithLabelValues(op.Name).Observe(took)
			if op.Name == "lookup" {
				m.lookups.WithLabelValues(lookupReason(err)).Inc()
			}
		}
		end(err)
	}
}

// lookupReason is one of the constants of keystore.Reason, or ok.
func lookupReason(err error) string {
	var refused *keystore.LookupError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refused):
		return string(refused.Reason)
	}
	return "panic" // every error that Lookup returns is a LookupError
}

// callOutcome tells answers of the store from its failures.
func callOutcome(err error) string {
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case err == nil:
		return "ok"
	case is(backend.ErrNotFound):
		return "not_found"
	case is(backend.ErrExists):
		return "exists"
	case is(backend.ErrConflict):
		return "conflict"
	case is(context.Canceled):
		return "canceled"
	case is(context.DeadlineExceeded):
		return "timeout"
	}
	return "error"
}

// answered counts a request.
func (m *metrics) answered(route, method string, code int, took time.Duration) {
	m.requests.WithLabelValues(route, method, strconv.Itoa(code)).Inc()
	m.took.WithLabelValues(route).Observe(took.Seconds())
}

// connState is for http.Server.ConnState.
func (m *metrics) connState(listener string) func(net.Conn, http.ConnState) {
	open := m.connections.WithLabelValues(listener)
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Inc()
		case http.StateClosed, http.StateHijacked:
			open.Dec()
		}
	}
}

// watch adds what the Keystore says of its cache, limits, usage and audit.
func (m *metrics) watch(ks *keystore.Keystore) { m.registry.MustRegister(statsCollector{ks}) }

// statsCollector reads Stats once for all metrics of a scrape.
type statsCollector struct{ ks *keystore.Keystore }

var (
	cacheHits      = prometheus.NewDesc("keystore_cache_hits_total", "Lookups that needed no read of the store.", nil, nil)
	cacheMisses    = prometheus.NewDesc("keystore_cache_misses_total", "Lookups that made a read or waited for one.", nil, nil)
	cacheStale     = prometheus.NewDesc("keystore_cache_stale_hits_total", "Lookups accepted past the bound on staleness, while the store fails.", nil, nil)
	cacheEvictions = prometheus.NewDesc("keystore_cache_evictions_total", "Keys in use that left the cache for want of room.", nil, nil)
	cacheFlushes   = prometheus.NewDesc("keystore_cache_flushes_total", "Times that everything was dropped, for changes may have been missed.", nil, nil)
	cacheEntries   = prometheus.NewDesc("keystore_cache_entries", "Keys in the cache.", nil, nil)
	cacheBound     = prometheus.NewDesc("keystore_cache_staleness_bound_seconds", "How long after a change elsewhere a lookup may miss it.", nil, nil)
	unchecked      = prometheus.NewDesc("keystore_limits_unchecked_total", "Lookups that passed though their limits could not be counted.", nil, nil)
	usageLost      = prometheus.NewDesc("keystore_usage_lost_total", "Lookups that are missing in the usage of keys, for want of room.", nil, nil)
	auditLost      = prometheus.NewDesc("keystore_audit_lost_total", "Events of the audit that were lost.", nil, nil)
	watchState     = prometheus.NewDesc("keystore_watch_state", "1 for the state of the subscription to changes made elsewhere.", []string{"state"}, nil)
)

var watchStates = []keystore.WatchState{keystore.WatchOff, keystore.WatchUnsupported, keystore.WatchActive, keystore.WatchLost}

// Describe implements prometheus.Collector.
func (c statsCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{cacheHits, cacheMisses, cacheStale, cacheEvictions, cacheFlushes, cacheEntries, cacheBound, unchecked, usageLost, auditLost, watchState} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c statsCollector) Collect(to chan<- prometheus.Metric) {
	s := c.ks.Stats()
	for d, n := range map[*prometheus.Desc]uint64{
		cacheHits: s.Hits, cacheMisses: s.Misses, cacheStale: s.StaleHits, cacheEvictions: s.Evictions, cacheFlushes: s.Flushes,
		unchecked: s.Unchecked, usageLost: s.UsageLost, auditLost: s.AuditLost,
	} {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	to <- prometheus.MustNewConstMetric(cacheEntries, prometheus.GaugeValue, float64(s.Entries))
	to <- prometheus.MustNewConstMetric(cacheBound, prometheus.GaugeValue, s.Bound.Seconds())
	for _, state := range watchStates {
		is := 0.0
		if s.Watch == state {
			is = 1
		}
		to <- prometheus.MustNewConstMetric(watchState, prometheus.GaugeValue, is, string(state))
	}
}

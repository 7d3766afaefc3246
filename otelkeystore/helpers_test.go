package otelkeystore_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/memory"
	"example.com/keystore/otelkeystore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// telemetry is what an SDK in memory has collected.
type telemetry struct {
	t        testing.TB
	spans    *tracetest.InMemoryExporter
	traces   *trace.TracerProvider
	reader   *metric.ManualReader
	metrics  *metric.MeterProvider
	observer keystore.Observer
}

func newTelemetry(t testing.TB, keyIDs bool) *telemetry {
	t.Helper()
	c := &telemetry{t: t, spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader()}
	c.traces = trace.NewTracerProvider(trace.WithSyncer(c.spans))
	c.metrics = metric.NewMeterProvider(metric.WithReader(c.reader))
	t.Cleanup(func() {
		require.NoError(t, c.traces.Shutdown(context.Background()))
		require.NoError(t, c.metrics.Shutdown(context.Background()))
	})
	var err error
	c.observer, err = otelkeystore.New(&otelkeystore.Options{TracerProvider: c.traces, MeterProvider: c.metrics, KeyIDs: keyIDs})
	require.NoError(t, err)
	return c
}

// keystore makes one that is observed, without background work but what o says.
func (c *telemetry) keystore(b backend.Backend, o keystore.Options) *keystore.Keystore {
	c.t.Helper()
	if b == nil {
		b = memory.New()
	}
	o.Observer = c.observer
	if o.TouchInterval == 0 {
		o.TouchInterval = keystore.Never
	}
	o.PurgeInterval = keystore.Never
	ks, err := keystore.New(b, &o)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { ks.Close() })
	return ks
}

// taken returns the spans since the last time.
func (c *telemetry) taken() tracetest.SpanStubs {
	defer c.spans.Reset()
	return c.spans.GetSpans()
}

// one returns the span of a name among those since the last time.
func (c *telemetry) one(name string) tracetest.SpanStub {
	c.t.Helper()
	return named(c.t, c.taken(), name)
}

func named(t testing.TB, spans tracetest.SpanStubs, name string) (found tracetest.SpanStub) {
	t.Helper()
	n := 0
	for _, s := range spans {
		if s.Name == name {
			found, n = s, n+1
		}
	}
	require.Equal(t, 1, n, "spans called %s among %v", name, spans)
	return found
}

// attributesOf are attributes as texts, name=value.
func attributesOf(list []attribute.KeyValue) map[string]string {
	m := make(map[string]string, len(list))
	for _, a := range list {
		m[string(a.Key)] = a.Value.String()
	}
	return m
}

// collected are all metrics by their names.
func (c *telemetry) collected() map[string]metricdata.Metrics {
	c.t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(c.t, c.reader.Collect(context.Background(), &all))
	m := make(map[string]metricdata.Metrics)
	for _, s := range all.ScopeMetrics {
		for _, one := range s.Metrics {
			m[one.Name] = one
		}
	}
	return m
}

// counts are how often each combination of attributes was measured, by their texts
// joined by spaces.
func counts(m metricdata.Metrics) map[string]uint64 {
	n := make(map[string]uint64)
	for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
		var texts []string
		for _, a := range p.Attributes.ToSlice() { // sorted by name
			texts = append(texts, strings.TrimPrefix(string(a.Key), "keystore.")+"="+a.Value.String())
		}
		n[strings.Join(texts, " ")] += p.Count
	}
	return n
}

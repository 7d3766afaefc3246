package otelkeystore_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"example.com/keystore"
	"example.com/keystore/memory"
	"example.com/keystore/otelkeystore"
)

// BenchmarkCachedLookup is what observing adds to a lookup that the cache decides.
func BenchmarkCachedLookup(b *testing.B) {
	noTraces, noMetrics := nooptrace.NewTracerProvider(), noopmetric.NewMeterProvider()
	metrics := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	for _, c := range []struct {
		name string
		o    *otelkeystore.Options
	}{
		{"unobserved", nil},
		{"noop", &otelkeystore.Options{TracerProvider: noTraces, MeterProvider: noMetrics}},
		{"metrics", &otelkeystore.Options{TracerProvider: noTraces, MeterProvider: metrics}},
		{"metrics and spans sampled away", &otelkeystore.Options{TracerProvider: trace.NewTracerProvider(trace.WithSampler(trace.NeverSample())), MeterProvider: metrics}},
		{"metrics and spans", &otelkeystore.Options{TracerProvider: trace.NewTracerProvider(), MeterProvider: metrics}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var o keystore.Options
			if c.o != nil {
				var err error
				o.Observer, err = otelkeystore.New(c.o)
				require.NoError(b, err)
			}
			ks, err := keystore.New(memory.New(), &o)
			require.NoError(b, err)
			defer ks.Close()
			token, _, err := ks.Generate(b.Context(), keystore.KeyParams{Owner: "o"})
			require.NoError(b, err)
			secret := token.Reveal()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ks.Lookup(b.Context(), secret); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package otelkeystore

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"example.com/keystore"
)

// scope is the name of what makes the spans and metrics.
const scope = "example.com/keystore/otelkeystore"

// Names of attributes. error.type is of the semantic conventions.
const (
	keyOperation = attribute.Key("keystore.operation")
	keyOutcome   = attribute.Key("keystore.outcome")
	keyReason    = attribute.Key("keystore.reason")
	keyErrorType = attribute.Key("error.type")
	keyKeyID     = attribute.Key("keystore.key.id")
)

// buckets are the boundaries of durations in seconds: from a lookup in the cache,
// less than a microsecond, to a store that does not answer.
var buckets = []float64{
	1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4,
	1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
}

// Options configure an observer. nil and zero values mean defaults.
type Options struct {
	// TracerProvider makes the spans. Default: the global one. One of package
	// trace/noop: there are none.
	TracerProvider trace.TracerProvider
	// MeterProvider makes the metrics. Default: the global one. One of package
	// metric/noop: there are none.
	MeterProvider metric.MeterProvider
	// KeyIDs puts the id of the key, which is public, on spans, where it is known
	// as the span begins. It is in no metric.
	KeyIDs bool
}

// New returns an Observer for keystore.Options, which may serve several Keystores.
// It is safe for concurrent use. An error is one of the MeterProvider.
func New(o *Options) (keystore.Observer, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.TracerProvider == nil {
		opts.TracerProvider = otel.GetTracerProvider()
	}
	if opts.MeterProvider == nil {
		opts.MeterProvider = otel.GetMeterProvider()
	}
	meter := opts.MeterProvider.Meter(scope)
	seconds := func(name, description string) (metric.Float64Histogram, error) {
		return meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(buckets...))
	}
	operations, err := seconds("keystore.operation.duration", "Duration of the operations of the keystore.")
	calls, more := seconds("keystore.store.call.duration", "Duration of calls of the store behind the keystore.")
	if err := errors.Join(err, more); err != nil {
		return nil, err
	}
	return &observer{tracer: opts.TracerProvider.Tracer(scope), operations: operations, calls: calls, keyIDs: opts.KeyIDs}, nil
}

type observer struct {
	tracer            trace.Tracer
	operations, calls metric.Float64Histogram
	keyIDs            bool

	kinds sync.Map // of kindKey: *kind
}

// kind is what operations of one name have in common. There are as many as a
// Keystore has methods.
type kind struct {
	spanName  string
	operation attribute.KeyValue
	start     []trace.SpanStartOption
	duration  metric.Float64Histogram

	measured sync.Map // of result: []metric.RecordOption
}

type kindKey struct {
	name  string
	store bool
}

func (o *observer) kind(op keystore.Operation) *kind {
	key := kindKey{op.Name, op.Store}
	if known, ok := o.kinds.Load(key); ok {
		return known.(*kind)
	}
	k := &kind{spanName: "keystore." + op.Name, operation: keyOperation.String(op.Name), duration: o.operations}
	spanKind := trace.SpanKindInternal
	if op.Store {
		k.spanName, k.duration, spanKind = "keystore.store."+op.Name, o.calls, trace.SpanKindClient
	}
	k.start = []trace.SpanStartOption{trace.WithSpanKind(spanKind), trace.WithAttributes(k.operation)}
	known, _ := o.kinds.LoadOrStore(key, k)
	return known.(*kind)
}

// Begin implements [keystore.Observer].
func (o *observer) Begin(ctx context.Context, op keystore.Operation) (context.Context, func(error)) {
	k := o.kind(op)
	ctx, span := o.tracer.Start(ctx, k.spanName, k.start...)
	if o.keyIDs && op.KeyID != "" && span.IsRecording() {
		span.SetAttributes(keyKeyID.String(op.KeyID))
	}
	begun := time.Now()
	return ctx, func(err error) {
		took := time.Since(begun)
		r := resultOf(err, op.Store)
		if span.IsRecording() {
			span.SetAttributes(r.attributes()...)
			if r.isError() {
				span.SetStatus(codes.Error, r.reason)
			}
		}
		span.End()
		if k.duration.Enabled(ctx) {
			k.duration.Record(ctx, took.Seconds(), k.attributesOf(r)...)
		}
	}
}

// attributesOf spares a lookup to make the same set of attributes again.
func (k *kind) attributesOf(r result) []metric.RecordOption {
	if known, ok := k.measured.Load(r); ok {
		return known.([]metric.RecordOption)
	}
	set := attribute.NewSet(append(r.attributes(), k.operation)...)
	known, _ := k.measured.LoadOrStore(r, []metric.RecordOption{metric.WithAttributeSet(set)})
	return known.([]metric.RecordOption)
}

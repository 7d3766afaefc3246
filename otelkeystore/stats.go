package otelkeystore

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"example.com/keystore"
)

// ObserveStats has the provider, nil for the global one, read what the cache, limits,
// usage and the audit of ks did, whenever it collects:
//
//   - keystore.cache.hits, .misses, .stale_hits, .evictions and .flushes count, as
//     keystore.Stats describes them;
//   - keystore.limits.unchecked counts lookups that passed though their limits could
//     not be counted, keystore.usage.lost those that the usage of keys lacks for want of room;
//   - keystore.audit.lost counts events of the audit that were lost;
//   - keystore.cache.entries: the keys in the cache;
//   - keystore.cache.bound, in seconds: how long a change elsewhere may be missed;
//   - keystore.watch.active: 1 while changes by others are heard of, 0 while they are
//     not. It is not there where the store cannot tell of changes.
//
// attributes tell several Keystores of a program apart. Call unregister before ks
// is closed; it keeps ks in memory until then. An error is one of the provider.
func ObserveStats(ks *keystore.Keystore, provider metric.MeterProvider, attributes ...attribute.KeyValue) (unregister func() error, err error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter(scope)
	var failed []error
	count := func(name, unit, description string) metric.Int64ObservableCounter {
		c, err := meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		failed = append(failed, err)
		return c
	}
	gauge := func(name, unit, description string) metric.Int64ObservableGauge {
		g, err := meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		failed = append(failed, err)
		return g
	}
	var (
		hits      = count("keystore.cache.hits", "{lookup}", "Lookups that needed no read.")
		misses    = count("keystore.cache.misses", "{lookup}", "Lookups that made a read or waited for one.")
		stale     = count("keystore.cache.stale_hits", "{lookup}", "Lookups accepted past the bound on staleness.")
		evictions = count("keystore.cache.evictions", "{key}", "Keys in use that left for want of room.")
		flushes   = count("keystore.cache.flushes", "{flush}", "Times that everything was dropped.")
		unchecked = count("keystore.limits.unchecked", "{lookup}", "Lookups that passed though their limits could not be counted.")
		uncounted = count("keystore.usage.lost", "{lookup}", "Lookups that the usage of keys lacks, for want of room.")
		lost      = count("keystore.audit.lost", "{event}", "Events of the audit that were lost.")
		entries   = gauge("keystore.cache.entries", "{key}", "Keys in the cache.")
		active    = gauge("keystore.watch.active", "1", "Whether changes by others are heard of.")
	)
	bound, err := meter.Float64ObservableGauge("keystore.cache.bound", metric.WithUnit("s"), metric.WithDescription("How long a change elsewhere may be missed."))
	if err := errors.Join(append(failed, err)...); err != nil {
		return nil, err
	}
	with := metric.WithAttributeSet(attribute.NewSet(attributes...))
	observe := func(_ context.Context, o metric.Observer) error {
		s := ks.Stats()
		o.ObserveInt64(hits, int64(s.Hits), with)
		o.ObserveInt64(misses, int64(s.Misses), with)
		o.ObserveInt64(stale, int64(s.StaleHits), with)
		o.ObserveInt64(evictions, int64(s.Evictions), with)
		o.ObserveInt64(flushes, int64(s.Flushes), with)
		o.ObserveInt64(unchecked, int64(s.Unchecked), with)
		o.ObserveInt64(uncounted, int64(s.UsageLost), with)
		o.ObserveInt64(lost, int64(s.AuditLost), with)
		o.ObserveInt64(entries, int64(s.Entries), with)
		o.ObserveFloat64(bound, s.Bound.Seconds(), with)
		switch s.Watch {
		case keystore.WatchActive:
			o.ObserveInt64(active, 1, with)
		case keystore.WatchLost:
			o.ObserveInt64(active, 0, with)
		}
		return nil
	}
	registration, err := meter.RegisterCallback(observe, hits, misses, stale, evictions, flushes, unchecked, uncounted, lost, entries, active, bound)
	if err != nil {
		return nil, err
	}
	return registration.Unregister, nil
}

package otelkeystore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
	"example.com/keystore/otelkeystore"
)

// unwatched is a store that cannot tell of changes.
type unwatched struct{ backend.Backend }

func TestObserveStats(t *testing.T) {
	c := newTelemetry(t, false)
	ks := c.keystore(nil, keystore.Options{CacheTTL: 3 * time.Second})
	unregister, err := otelkeystore.ObserveStats(ks, c.metrics, attribute.String("store", "main"))
	require.NoError(t, err)
	token, _, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "o"})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return ks.Stats().Watch == keystore.WatchActive }, 10*time.Second, time.Millisecond)
	var m map[string]metricdata.Metrics
	require.Eventually(t, func() bool { // the message of Generate takes the key out of the cache once more
		_, err := ks.Lookup(t.Context(), token.Reveal())
		require.NoError(t, err)
		m = c.collected()
		return ks.Stats().Hits > 0 && m["keystore.cache.entries"].Data.(metricdata.Gauge[int64]).DataPoints[0].Value == 1
	}, 10*time.Second, time.Millisecond)
	s := ks.Stats()
	for name, want := range map[string]uint64{
		"keystore.cache.hits": s.Hits, "keystore.cache.misses": s.Misses, "keystore.cache.stale_hits": 0,
		"keystore.cache.evictions": 0, "keystore.cache.flushes": s.Flushes, "keystore.audit.lost": 0,
		"keystore.limits.unchecked": 0, "keystore.usage.lost": 0,
	} {
		sum := m[name].Data.(metricdata.Sum[int64])
		require.True(t, sum.IsMonotonic, name)
		require.Len(t, sum.DataPoints, 1)
		require.EqualValues(t, want, sum.DataPoints[0].Value, name)
		require.Equal(t, map[string]string{"store": "main"}, attributesOf(sum.DataPoints[0].Attributes.ToSlice()))
	}
	for name, want := range map[string]int64{"keystore.cache.entries": 1, "keystore.watch.active": 1} {
		require.Equal(t, want, m[name].Data.(metricdata.Gauge[int64]).DataPoints[0].Value, name)
	}
	require.Equal(t, 3.0, m["keystore.cache.bound"].Data.(metricdata.Gauge[float64]).DataPoints[0].Value)

	require.NoError(t, unregister())
	require.NotContains(t, c.collected(), "keystore.cache.entries")
}

func TestStatsOfAStoreThatTellsNothing(t *testing.T) {
	c := newTelemetry(t, false)
	ks := c.keystore(unwatched{memory.New()}, keystore.Options{})
	unregister, err := otelkeystore.ObserveStats(ks, c.metrics)
	require.NoError(t, err)
	defer unregister()
	m := c.collected()
	require.Contains(t, m, "keystore.cache.entries")
	require.NotContains(t, m, "keystore.watch.active")
}

// deaf is an Auditor that takes nothing.
type deaf struct{}

func (deaf) Audit(context.Context, []keystore.Event) error { return errors.New("deaf") }

func TestLostEventsOfTheAuditAreCounted(t *testing.T) {
	c := newTelemetry(t, false)
	ks := c.keystore(nil, keystore.Options{Audit: deaf{}, OpTimeout: 50 * time.Millisecond})
	unregister, err := otelkeystore.ObserveStats(ks, c.metrics)
	require.NoError(t, err)
	defer unregister()
	_, _, err = ks.Generate(t.Context(), keystore.KeyParams{Owner: "o"})
	require.NoError(t, err)
	require.Error(t, ks.Close(), "which gives the event up")
	lost := c.collected()["keystore.audit.lost"].Data.(metricdata.Sum[int64])
	require.EqualValues(t, 1, lost.DataPoints[0].Value)
}

func TestLimitsAreObserved(t *testing.T) {
	down := false
	c := newTelemetry(t, false)
	b := faulty.New(memory.New(), func(call faulty.Call) faulty.Fault {
		if down && call.Method == faulty.Spend {
			return faulty.Refuse(errors.New("connection reset"))
		}
		return nil
	})
	ks := c.keystore(b, keystore.Options{LimitFailure: keystore.LimitsOpen})
	unregister, err := otelkeystore.ObserveStats(ks, c.metrics)
	require.NoError(t, err)
	defer unregister()
	limit := keystore.Limit{Name: "day", Requests: 2, Window: 24 * time.Hour}
	token, _, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "o", Limits: []keystore.Limit{limit}})
	require.NoError(t, err)
	lookup := func(cost int64) error {
		_, err := ks.LookupWith(t.Context(), token.Reveal(), keystore.LookupParams{Cost: cost})
		return err
	}
	require.NoError(t, lookup(2))
	require.ErrorIs(t, lookup(1), keystore.ErrRateLimited)
	require.ErrorIs(t, lookup(3), keystore.ErrInvalid)
	down = true
	for range 4 {
		require.NoError(t, lookup(1))
	}
	m := c.collected()
	unchecked := m["keystore.limits.unchecked"].Data.(metricdata.Sum[int64])
	require.EqualValues(t, 4, unchecked.DataPoints[0].Value)
	operations := counts(m["keystore.operation.duration"])
	for name, want := range map[string]uint64{
		"operation=lookup outcome=ok":                                                 5,
		"operation=lookup outcome=refused reason=rate_limited":                        1,
		"error.type=invalid_cost operation=lookup outcome=failed reason=invalid_cost": 1,
	} {
		require.Equal(t, want, operations[name], name)
	}
	require.Positive(t, counts(m["keystore.store.call.duration"])["error.type=unavailable operation=spend outcome=failed reason=unavailable"])
}

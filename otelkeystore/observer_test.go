package otelkeystore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
	"example.com/keystore/otelkeystore"
)

func TestSpansOfALookup(t *testing.T) {
	c := newTelemetry(t, true)
	ks := c.keystore(unwatched{memory.New()}, keystore.Options{}) // or the news of the new key could end what is cached
	token, key, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "alice"})
	require.NoError(t, err)
	c.taken()

	ctx, request := c.traces.Tracer("test").Start(t.Context(), "request")
	_, err = ks.Lookup(ctx, token.Reveal())
	require.NoError(t, err)
	spans := c.taken()
	require.Len(t, spans, 2)
	lookup, get := named(t, spans, "keystore.lookup"), named(t, spans, "keystore.store.get")
	require.Equal(t, request.SpanContext().SpanID(), lookup.Parent.SpanID())
	require.Equal(t, lookup.SpanContext.SpanID(), get.Parent.SpanID(), "the read belongs to its lookup")
	require.Equal(t, request.SpanContext().TraceID(), get.SpanContext.TraceID())
	require.Equal(t, trace.SpanKindInternal, lookup.SpanKind)
	require.Equal(t, trace.SpanKindClient, get.SpanKind)
	require.Equal(t, map[string]string{"keystore.operation": "lookup", "keystore.outcome": "ok", "keystore.key.id": key.ID}, attributesOf(lookup.Attributes))
	require.Equal(t, map[string]string{"keystore.operation": "get", "keystore.outcome": "ok", "keystore.key.id": key.ID}, attributesOf(get.Attributes))
	require.Equal(t, codes.Unset, lookup.Status.Code)

	_, err = ks.Lookup(ctx, token.Reveal())
	require.NoError(t, err)
	require.Len(t, c.taken(), 1, "the cache decides it, and nothing calls the store")
	request.End()
}

// TestOutcomes goes through what operations and calls of the store end in. A span
// has the status of an error only where the store or the program failed.
func TestOutcomes(t *testing.T) {
	c := newTelemetry(t, false)
	end := func(store bool, err error) map[string]string {
		_, end := c.observer.Begin(t.Context(), keystore.Operation{Name: "x", Store: store, KeyID: "secret-id"})
		end(err)
		spans := c.taken()
		require.Len(t, spans, 1)
		got := attributesOf(spans[0].Attributes)
		delete(got, "keystore.operation")
		require.Equal(t, got["error.type"] != "", spans[0].Status.Code == codes.Error)
		require.Equal(t, got["error.type"], spans[0].Status.Description)
		if got["error.type"] != "" {
			require.Equal(t, got["keystore.reason"], got["error.type"])
			delete(got, "error.type")
			got["error"] = "true"
		}
		return got
	}
	result := func(outcome, reason string) map[string]string {
		m := map[string]string{"keystore.outcome": outcome}
		if reason != "" {
			m["keystore.reason"] = reason
		}
		if outcome == "failed" || outcome == "unknown" {
			m["error"] = "true"
		}
		return m
	}
	wrapped := func(errs ...error) error { return fmt.Errorf("redis://:hunter2@host: %w", errors.Join(errs...)) }
	for _, one := range []struct {
		err             error
		outcome, reason string
	}{
		{nil, "ok", ""},
		{wrapped(keystore.ErrUnknownOutcome), "unknown", "unknown_outcome"},
		{wrapped(keystore.ErrUnknownOutcome, context.Canceled), "unknown", "unknown_outcome"},
		{wrapped(keystore.ErrUnavailable), "failed", "unavailable"},
		{wrapped(keystore.ErrUnavailable, context.Canceled), "canceled", "canceled"},
		{wrapped(keystore.ErrUnavailable, context.DeadlineExceeded), "failed", "timeout"},
		{wrapped(keystore.ErrUnknownVersion), "failed", "corrupt"},
		{wrapped(keystore.ErrClosed), "failed", "closed"},
		{wrapped(keystore.ErrConflict), "refused", "conflict"},
		{wrapped(keystore.ErrState), "refused", "state"},
		{wrapped(keystore.ErrNotFound), "refused", "not_found"},
		{wrapped(keystore.ErrInvalid), "refused", "invalid"},
		{wrapped(errors.New("a function of the program said no")), "refused", "other"},
		{&keystore.LookupError{Reason: keystore.ReasonWrongSecret}, "refused", "wrong_secret"},
		{&keystore.LookupError{Reason: keystore.ReasonMissingScope}, "refused", "missing_scope"},
		{&keystore.LookupError{Reason: keystore.ReasonRateLimited}, "refused", "rate_limited"},
		{&keystore.LookupError{Reason: keystore.ReasonInvalidCost}, "failed", "invalid_cost"},
		{&keystore.LookupError{Reason: keystore.ReasonUnknownPlan}, "failed", "unknown_plan"},
		{&keystore.LookupError{Reason: keystore.ReasonOwnerCheck}, "failed", "owner_check"},
		{&keystore.LookupError{Reason: "something that nobody knows"}, "failed", "other"},
	} {
		require.Equal(t, result(one.outcome, one.reason), end(false, one.err), "%v", one.err)
	}
	for _, one := range []struct {
		err             error
		outcome, reason string
	}{
		{nil, "ok", ""},
		{wrapped(backend.ErrNotFound, backend.ErrNotApplied), "refused", "not_found"},
		{wrapped(backend.ErrExists), "refused", "exists"},
		{wrapped(backend.ErrConflict), "refused", "conflict"},
		{wrapped(backend.ErrClosed), "failed", "closed"},
		{wrapped(backend.ErrNotApplied), "failed", "not_applied"},
		{wrapped(context.Canceled, backend.ErrNotApplied), "canceled", "canceled"},
		{wrapped(context.DeadlineExceeded), "failed", "timeout"},
		{wrapped(errors.New("connection reset")), "failed", "unavailable"},
	} {
		require.Equal(t, result(one.outcome, one.reason), end(true, one.err), "%v", one.err)
	}
}

// TestEveryReasonIsKnown: a reason that package keystore adds is classified here.
func TestEveryReasonIsKnown(t *testing.T) {
	c := newTelemetry(t, false)
	for _, reason := range []keystore.Reason{
		keystore.ReasonMalformed, keystore.ReasonUnknownPrefix, keystore.ReasonUnknownKey, keystore.ReasonWrongSecret,
		keystore.ReasonSuperseded, keystore.ReasonExpired, keystore.ReasonRevoked, keystore.ReasonDisabled, keystore.ReasonOwnerInactive,
		keystore.ReasonMissingScope, keystore.ReasonRateLimited, keystore.ReasonInvalidScope, keystore.ReasonInvalidCost, keystore.ReasonUnknownPlan, keystore.ReasonUnknownHash, keystore.ReasonOwnerCheck,
		keystore.ReasonUnavailable, keystore.ReasonCorrupt, keystore.ReasonClosed,
	} {
		_, end := c.observer.Begin(t.Context(), keystore.Operation{Name: "lookup"})
		end(&keystore.LookupError{Reason: reason})
		require.Equal(t, string(reason), attributesOf(c.one("keystore.lookup").Attributes)["keystore.reason"])
	}
}

func TestMetricsCountLookupsByReason(t *testing.T) {
	c := newTelemetry(t, true)
	down := false
	b := faulty.New(memory.New(), func(call faulty.Call) faulty.Fault {
		if down && call.Method == faulty.Get {
			return faulty.Refuse(errors.New("connection reset"))
		}
		return nil
	})
	ks := c.keystore(b, keystore.Options{CacheSize: -1})
	ctx := t.Context()
	token, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: "alice", Scopes: []string{"a"}})
	require.NoError(t, err)
	for range 3 {
		_, err = ks.Lookup(ctx, token.Reveal(), "a")
		require.NoError(t, err)
	}
	_, err = ks.Lookup(ctx, token.Reveal(), "b")
	require.ErrorIs(t, err, keystore.ErrMissingScope)
	_, err = ks.Lookup(ctx, "nonsense")
	require.ErrorIs(t, err, keystore.ErrUnauthenticated)
	_, err = ks.Revoke(ctx, key.ID, "")
	require.NoError(t, err)
	_, err = ks.Lookup(ctx, token.Reveal(), "a")
	require.ErrorIs(t, err, keystore.ErrRevoked)
	down = true
	_, err = ks.Lookup(ctx, token.Reveal(), "a")
	require.ErrorIs(t, err, keystore.ErrUnavailable)

	m := c.collected()
	require.Equal(t, map[string]uint64{
		"operation=generate outcome=ok":                                             1,
		"operation=lookup outcome=ok":                                               3,
		"operation=lookup outcome=refused reason=missing_scope":                     1,
		"operation=lookup outcome=refused reason=malformed":                         1,
		"operation=revoke outcome=ok":                                               1,
		"operation=lookup outcome=refused reason=revoked":                           1,
		"error.type=unavailable operation=lookup outcome=failed reason=unavailable": 1,
	}, counts(m["keystore.operation.duration"]))
	calls := counts(m["keystore.store.call.duration"])
	require.EqualValues(t, 1, calls["operation=create outcome=ok"])
	require.EqualValues(t, 1, calls["operation=update outcome=ok"])
	require.EqualValues(t, 1, calls["error.type=unavailable operation=get outcome=failed reason=unavailable"])
	h := m["keystore.operation.duration"]
	require.Equal(t, "s", h.Unit)
	for _, p := range h.Data.(metricdata.Histogram[float64]).DataPoints {
		require.Greater(t, p.Sum, 0.0)
		require.Less(t, p.Sum, 600.0, "these are seconds")
		require.Equal(t, 1e-6, p.Bounds[0])
	}
}

// TestNothingSecretIsTold plants a token, an owner, and texts that an error of a
// driver or of the program may hold.
func TestNothingSecretIsTold(t *testing.T) {
	const planted = "hunter2hunter2"
	c := newTelemetry(t, true)
	failing := false
	b := faulty.New(memory.New(), func(call faulty.Call) faulty.Fault {
		if failing {
			return faulty.Refuse(errors.New("dial redis://:" + planted + "@host"))
		}
		return nil
	})
	ownerCheck := func(context.Context, string) (bool, error) { return true, nil }
	ks := c.keystore(b, keystore.Options{CacheSize: -1, OwnerActive: func(ctx context.Context, owner string) (bool, error) { return ownerCheck(ctx, owner) }})
	ctx := t.Context()
	token, key, err := ks.Generate(ctx, keystore.KeyParams{Owner: planted, Name: planted, Metadata: map[string]string{"k": planted}})
	require.NoError(t, err)
	secret := token.Reveal()
	use := func() {
		_, _ = ks.Lookup(ctx, secret)
		_, _ = ks.Lookup(ctx, secret, secret)
		_, _ = ks.Lookup(ctx, secret[:len(secret)-1])
		_, _ = ks.Get(ctx, secret)
		_, _ = ks.Get(ctx, planted)
		_, _ = ks.Revoke(ctx, secret, planted)
		_, _ = ks.Update(ctx, key.ID, func(*keystore.Changes) error { return errors.New(secret) })
		_, _, _ = ks.List(ctx, keystore.ListParams{Owner: planted, After: planted})
		_, _ = ks.RevokeAll(ctx, "nobody of "+planted, planted)
		_ = ks.Ping(ctx)
	}
	use()
	ownerCheck = func(context.Context, string) (bool, error) { return false, errors.New(secret) }
	use()
	ownerCheck = func(context.Context, string) (bool, error) { panic(secret) }
	require.Panics(t, use)
	failing = true
	use()
	spans := c.taken()
	require.Greater(t, len(spans), 30)
	all := fmt.Sprintf("%+v %+v", spans, c.collected())
	for _, text := range []string{planted, secret, secret[len(secret)-38:]} {
		require.False(t, strings.Contains(all, text), "%q is told", text)
	}
	require.Contains(t, all, key.ID, "what would be found is found")
	require.Contains(t, all, "panic", "which is a failure of its own")
}

// TestKeyIDsAreNotToldUnasked, nor in any metric.
func TestKeyIDsAreNotToldUnasked(t *testing.T) {
	for _, asked := range []bool{false, true} {
		c := newTelemetry(t, asked)
		ks := c.keystore(nil, keystore.Options{})
		token, key, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "o"})
		require.NoError(t, err)
		_, err = ks.Lookup(t.Context(), token.Reveal())
		require.NoError(t, err)
		require.Equal(t, asked, strings.Contains(fmt.Sprint(c.taken()), key.ID))
		require.NotContains(t, fmt.Sprint(c.collected()), key.ID)
	}
}

// TestManyAtOnce has many callers begin operations of names that are new.
func TestManyAtOnce(t *testing.T) {
	c := newTelemetry(t, false)
	ks := c.keystore(nil, keystore.Options{})
	token, _, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "o"})
	require.NoError(t, err)
	const callers, each = 8, 50
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range each {
				_, _ = ks.Lookup(t.Context(), token.Reveal())
				_, _ = ks.Lookup(t.Context(), "nonsense")
				_, _ = ks.Get(t.Context(), "x")
			}
		})
	}
	group.Wait()
	n := counts(c.collected()["keystore.operation.duration"])
	require.EqualValues(t, callers*each, n["operation=lookup outcome=ok"])
	require.EqualValues(t, callers*each, n["operation=lookup outcome=refused reason=malformed"])
	require.EqualValues(t, callers*each, n["operation=get outcome=refused reason=not_found"])
	ended := 0
	for _, s := range c.taken() {
		if s.Name == "keystore.lookup" {
			ended++
		}
	}
	require.Equal(t, 2*callers*each, ended)
}

func TestBackgroundCallsHaveNoParent(t *testing.T) {
	c := newTelemetry(t, false)
	ks := c.keystore(nil, keystore.Options{TouchInterval: time.Hour})
	token, _, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "o"})
	require.NoError(t, err)
	_, err = ks.Lookup(t.Context(), token.Reveal())
	require.NoError(t, err)
	require.NoError(t, ks.Close()) // writes last-used times
	require.False(t, c.one("keystore.store.touch").Parent.IsValid())
}

func TestGlobalProvidersAreTheDefault(t *testing.T) {
	o, err := otelkeystore.New(nil) // which do nothing here
	require.NoError(t, err)
	ctx, end := o.Begin(t.Context(), keystore.Operation{Name: "lookup"})
	require.NotNil(t, ctx)
	end(nil)
}

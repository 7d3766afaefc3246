package limits

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// twoLimits has a limit of ten a second beside one of 100 an hour. What the one
// refuses consumes nothing of the other.
func twoLimits(t *testing.T, f *fleet) {
	id, token := f.limited(t, limit("burst", 10, time.Second), limit("hour", 45, time.Hour))
	for n := range int64(4) {
		now := noon.Add(time.Duration(n)*time.Second + 250*time.Millisecond)
		a := f.look(t, now, single(64, token))
		a.require(t, expected{limit: "burst", left: 10, passes: 10, now: now, reset: now.Add(750 * time.Millisecond)})
		require.Equal(t, map[string]int64{"burst": 0, "hour": 35 - 10*n}, f.remaining(t, id, now))
	}
	now := noon.Add(4 * time.Second)
	a := f.look(t, now, single(64, token))
	require.Equal(t, map[keystore.Reason]int{"": 5, keystore.ReasonRateLimited: 59}, a.by())
	for _, one := range a {
		require.Empty(t, one.Wrong)
		if !one.passed() {
			require.Equal(t, []string{"hour"}, one.Exceeded)
			require.Equal(t, noon.Add(time.Hour).Sub(now), one.RetryAfter, "until the last of the exceeded windows ends")
			require.EqualValues(t, 5, one.limit("burst").Remaining)
		}
	}
	require.Equal(t, map[string]int64{"burst": 5, "hour": 0}, f.remaining(t, id, now))
}

// costs has lookups of different costs: those that passed cost what is gone, and
// what is left is less than each that was refused.
func costs(t *testing.T, f *fleet) {
	id, token := f.limited(t, limit("day", 100, 24*time.Hour))
	prices := []int64{7, 3, 5, 9}
	q := request{Callers: 64, Each: 1, Tokens: []string{token}, Costs: prices}
	a := f.look(t, noon, q)
	sum := int64(0)
	for _, one := range a.passed() {
		sum += one.Cost
	}
	left := f.remaining(t, id, noon)["day"]
	require.Equal(t, 100-sum, left)
	require.GreaterOrEqual(t, left, int64(0))
	require.Less(t, left, slices.Max(prices))
	for _, one := range a {
		require.Empty(t, one.Wrong)
		switch one.Reason {
		case "":
			require.GreaterOrEqual(t, one.limit("day").Remaining, left)
		case keystore.ReasonRateLimited:
			require.Less(t, one.limit("day").Remaining, one.Cost, "refused what was left")
		default:
			t.Fatalf("%+v", one)
		}
	}
	for _, price := range []int64{101, keystore.MaxCost} { // more than it ever allows
		q := request{Callers: 3, Each: 1, Tokens: []string{token}, Costs: []int64{price}}
		require.Equal(t, map[keystore.Reason]int{keystore.ReasonInvalidCost: 3}, f.look(t, noon, q).by())
	}
	require.Equal(t, left, f.remaining(t, id, noon)["day"])
}

// largest has limits and costs as large as they can be.
func largest(t *testing.T, f *fleet) {
	id, token := f.limited(t, limit("day", keystore.MaxRequests, 24*time.Hour))
	q := request{Callers: 6, Each: 3, Tokens: []string{token}, Costs: []int64{keystore.MaxCost}}
	a := f.look(t, noon, q)
	require.Equal(t, map[keystore.Reason]int{"": 18}, a.by())
	require.EqualValues(t, keystore.MaxRequests-18*keystore.MaxCost, f.remaining(t, id, noon)["day"])

	// What no keystore spends, and the contract allows.
	ctx, counter := context.Background(), f.admin.store.Counter
	window := backend.Window{Name: "w", Length: time.Hour, Start: noon, Max: backend.MaxCount}
	spend := func(cost, most int64) backend.Spent {
		window.Max = most
		spent, err := counter.Spend(ctx, backend.Spend{ID: id, SpendID: rand.Uint64(), Cost: cost, Windows: []backend.Window{window}})
		require.NoError(t, err)
		return spent
	}
	const most = int64(backend.MaxCount)
	require.Equal(t, backend.Spent{OK: true, Counts: []int64{most - 1}}, spend(most-1, most))
	require.Equal(t, backend.Spent{Counts: []int64{most - 1}}, spend(2, most))
	require.Equal(t, backend.Spent{Counts: []int64{most - 1}}, spend(most, most), "the sum is near 1<<51")
	require.Equal(t, backend.Spent{Counts: []int64{most - 1}}, spend(1, 1))
	require.Equal(t, backend.Spent{OK: true, Counts: []int64{most}}, spend(1, most))
	require.Equal(t, backend.Spent{Counts: []int64{most}}, spend(1, most))
	counts, err := counter.Counts(ctx, id, []backend.Window{window})
	require.NoError(t, err)
	require.Equal(t, []int64{most}, counts)
}

// nothing shows what consumes nothing: Peek, a missing scope, and being refused.
func nothing(t *testing.T, f *fleet) {
	id, token := f.key(t, keystore.KeyParams{Scopes: []string{"orders:read"}, Limits: []keystore.Limit{limit("hour", 20, time.Hour)}})
	q := request{Callers: 64, Each: 1, Tokens: []string{token}, Peek: true}
	for _, one := range f.look(t, noon, q) {
		require.True(t, one.passed(), "%+v", one)
		require.EqualValues(t, 20, one.limit("hour").Remaining)
	}
	q.Peek, q.Scope = false, "orders:write"
	require.Equal(t, map[keystore.Reason]int{keystore.ReasonMissingScope: 64}, f.look(t, noon, q).by())
	require.EqualValues(t, 20, f.remaining(t, id, noon)["hour"])

	q.Scope = "orders:read"
	f.look(t, noon, q).require(t, expected{limit: "hour", left: 20, passes: 20, now: noon, reset: noon.Add(time.Hour)})
	q.Peek = true
	f.look(t, noon, q).require(t, expected{limit: "hour", now: noon, reset: noon.Add(time.Hour)})

	require.NoError(t, f.admin.keys.ResetLimits(context.Background(), id))
	require.EqualValues(t, 20, f.remaining(t, id, noon)["hour"])
	q.Peek = false
	f.look(t, noon, q).require(t, expected{limit: "hour", left: 20, passes: 20, now: noon, reset: noon.Add(time.Hour)})
}

package keystore

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// A lookup counts in the hour in which it happens, also where the one before, of
// the same entry of the cache, was in another, and by a clock that goes back.
func TestUsageAtTheEdgeOfAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		synctest.Wait() // for the Watch, which empties the cache as it begins
		edge := testNoon.Add(time.Hour)
		f.clock.set(edge.Add(-2 * time.Millisecond))
		token, key := f.generate(KeyParams{})
		synctest.Wait() // and for the message of the new key
		f.pass(token, 1)
		for _, at := range []time.Duration{-1, 0, 1, -1, 0} {
			f.clock.set(edge.Add(at * time.Millisecond))
			misses := f.Stats().Misses
			f.pass(token, 1)
			require.Equal(t, misses, f.Stats().Misses, "it is the same entry")
		}
		require.Equal(t, []Usage{{Start: testNoon, Allowed: 3, Cost: 3}, {Start: edge, Allowed: 3, Cost: 3}}, usage(t, f.Keystore, key.ID))
	})
}

// The room for counts is that between two flushes, not that of a life.
func TestUsageHasRoomAgainAfterAFlush(t *testing.T) {
	f := newFixture(t)
	now := f.now()
	for round := range 3 {
		for i := range 10 * usageShards {
			f.count(&Key{ID: fmt.Sprintf("%08d%08d", round, i), Owner: "alice"}, now, countAllowed, 1, nil)
		}
		require.EqualValues(t, 10*usageShards, f.usage.waiting.Load())
		require.NoError(t, f.flushUsage(context.Background(), Never))
		require.Zero(t, f.usage.waiting.Load())
	}
}

func TestUsageAfterCloseIsLostAndToldSo(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.Close())
	f.count(&Key{ID: "0VmNmGnm8k2QpXw1", Owner: "alice"}, f.now(), countAllowed, 1, nil)
	require.EqualValues(t, 1, f.Stats().UsageLost)
}

// oddTallies answers with tallies of its own, and knows what it was asked.
type oddTallies struct {
	*spyBackend
	tallies []backend.Tally
	asked   []string
}

func (b *oddTallies) Usage(_ context.Context, subject string, _, _ time.Time) ([]backend.Tally, error) {
	b.asked = append(b.asked, subject)
	return b.tallies, nil
}

// What is read is billed: tallies that are of other days or twice there are none.
func TestTalliesOutOfOrder(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	odd := &oddTallies{spyBackend: f.store}
	ks, err := New(odd, &Options{Prefix: "sk_test", Now: f.clock.now})
	require.NoError(t, err)
	defer ks.Close()
	today := testNoon.Truncate(day)
	on := func(days ...int) (tallies []backend.Tally) {
		for _, n := range days {
			tallies = append(tallies, backend.Tally{Day: today.AddDate(0, 0, n), Counts: map[string]int64{"07a": 1}})
		}
		return tallies
	}
	const id = "0VmNmGnm8k2QpXw1"
	odd.tallies = on(-2, -1)
	require.Len(t, all(t, ks.Usage(ctx, id, today.AddDate(0, 0, -2), testNoon)), 2)
	for _, odd.tallies = range [][]backend.Tally{on(-1, -2), on(-1, -1), on(-3), on(1)} {
		require.ErrorIs(t, firstOf(ks.Usage(ctx, id, today.AddDate(0, 0, -2), testNoon)), ErrUnavailable)
	}
	odd.asked = nil
	for _, mistaken := range []string{"", "sk_test_what_is_this", "a\x00b"} {
		require.Empty(t, all(t, ks.Usage(ctx, mistaken, today, testNoon)))
	}
	require.Empty(t, odd.asked, "what can be no id goes to no store")
}

// Usage that is kept for ever is read as far back as a year, where nothing is said.
func TestUsageThatIsKeptForEver(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.UsageRetention = Never })
	token, key := f.generate(KeyParams{})
	f.pass(token, 1)
	f.clock.add(360 * day)
	require.Len(t, all(t, f.Usage(context.Background(), key.ID, time.Time{}, time.Time{})), 1)
	f.clock.add(10 * day)
	require.Empty(t, all(t, f.Usage(context.Background(), key.ID, time.Time{}, time.Time{})))
	require.Len(t, all(t, f.Usage(context.Background(), key.ID, testNoon, time.Time{})), 1)
}

// Limits in another order are the same limits.
func TestLimitsInAnotherOrderAreNoChange(t *testing.T) {
	f := newFixture(t)
	_, key := f.generate(KeyParams{Limits: []Limit{perDay, perSecond}})
	same, err := f.Update(context.Background(), key.ID, func(c *Changes) error {
		require.Equal(t, []Limit{perSecond, perDay}, c.Limits)
		c.Limits = []Limit{perDay, perSecond}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, key.Revision(), same.Revision())
}

package keystore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

func (b *spyBackend) AddUsage(ctx context.Context, additions []backend.Addition) error {
	if b.addUsage != nil {
		return b.addUsage(ctx, additions)
	}
	return b.Backend.AddUsage(ctx, additions)
}

func all(t testing.TB, usage iter.Seq2[Usage, error]) (list []Usage) {
	t.Helper()
	for u, err := range usage {
		require.NoError(t, err)
		list = append(list, u)
	}
	return list
}

// usage is that of a key over all time, as ks sees it.
func usage(t testing.TB, ks *Keystore, id string) []Usage {
	t.Helper()
	return all(t, ks.Usage(context.Background(), id, firstTime, lastTime.Add(-24*time.Hour)))
}

func TestUsageByOutcome(t *testing.T) {
	for name, cacheSize := range map[string]int{"cached": 0, "uncached": -1} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(o *Options) { o.CacheSize = cacheSize })
			ctx := context.Background()
			token, key := f.generate(KeyParams{Scopes: []string{"a:b"}, Limits: []Limit{{"day", 30, 24 * time.Hour}}})
			other, otherKey := f.generate(KeyParams{Owner: "bob"})
			twin, twinKey := f.generate(KeyParams{})
			f.pass(token, 3)
			_, err := f.lookup(token, LookupParams{Cost: 10})
			require.NoError(t, err)
			for range 2 {
				_, err := f.lookup(token, LookupParams{Scopes: []string{"c:d"}})
				require.ErrorIs(t, err, ErrMissingScope)
			}
			f.limited(token, LookupParams{Cost: 30})
			f.clock.add(time.Hour)
			f.pass(token, 1)
			f.pass(other, 5)
			f.pass(twin, 1)
			f.clock.add(24 * time.Hour)
			f.pass(token, 2)

			// What else fails is not counted, and Peek never.
			_, err = f.Lookup(ctx, forged(t, token.Reveal()))
			require.ErrorIs(t, err, ErrUnauthenticated)
			_, err = f.Peek(ctx, token.Reveal(), LookupParams{})
			require.NoError(t, err)
			_, err = f.lookup(token, LookupParams{Cost: 31})
			require.ErrorIs(t, err, ErrInvalid)
			_, err = f.Revoke(ctx, otherKey.ID, "")
			require.NoError(t, err)
			_, err = f.lookup(other, LookupParams{})
			require.ErrorIs(t, err, ErrRevoked)

			hour := func(n int) time.Time { return testNoon.Add(time.Duration(n) * time.Hour) }
			want := []Usage{
				{Start: hour(0), Allowed: 4, Limited: 1, MissingScope: 2, Cost: 13},
				{Start: hour(1), Allowed: 1, Cost: 1},
				{Start: hour(25), Allowed: 2, Cost: 2},
			}
			require.Equal(t, want, usage(t, f.Keystore, key.ID))
			require.Equal(t, []Usage{
				{Start: hour(-12), Allowed: 5, Limited: 1, MissingScope: 2, Cost: 14},
				{Start: hour(12), Allowed: 2, Cost: 2},
			}, all(t, ByDay(f.Usage(ctx, key.ID, time.Time{}, time.Time{}))))
			require.Equal(t, []Usage{{Start: hour(1), Allowed: 5, Cost: 5}}, usage(t, f.Keystore, otherKey.ID))
			owners := all(t, f.OwnerUsage(ctx, "alice", time.Time{}, time.Time{}))
			require.Equal(t, []Usage{want[0], {Start: hour(1), Allowed: 2, Cost: 2}, want[2]}, owners)

			require.NoError(t, f.Delete(ctx, twinKey.ID))
			require.Equal(t, owners, all(t, f.OwnerUsage(ctx, "alice", time.Time{}, time.Time{})), "totals outlive the keys")
			require.Len(t, usage(t, f.Keystore, twinKey.ID), 1)

			// Ranges are of hours that begin in [from, to).
			require.Equal(t, want[1:2], all(t, f.Usage(ctx, key.ID, hour(0).Add(1), hour(25))))
			require.Equal(t, want[:1], all(t, f.Usage(ctx, key.ID, hour(0), hour(0).Add(time.Nanosecond))))
			require.Empty(t, all(t, f.Usage(ctx, key.ID, hour(2), hour(25))))
			require.Empty(t, all(t, f.Usage(ctx, key.ID, hour(30), hour(2))))

			view := f.ForOwner("bob")
			require.Len(t, all(t, view.Usage(ctx, otherKey.ID, time.Time{}, time.Time{})), 1)
			require.Len(t, all(t, view.OwnerUsage(ctx, time.Time{}, time.Time{})), 1)
			require.ErrorIs(t, firstOf(view.Usage(ctx, key.ID, time.Time{}, time.Time{})), ErrNotFound)
		})
	}
}

func TestUsageOfBadArguments(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	outside := lastTime.Add(time.Hour)
	requireField(t, firstOf(f.Usage(ctx, "x", outside, time.Time{})), "from")
	requireField(t, firstOf(f.Usage(ctx, "x", firstTime.Add(-1), time.Time{})), "from")
	requireField(t, firstOf(f.Usage(ctx, "x", time.Time{}, outside)), "to")
	requireField(t, firstOf(f.OwnerUsage(ctx, "", time.Time{}, time.Time{})), "owner")
	for _, id := range []string{"", "a b", "\x00", "ks_live_what_is_this"} {
		require.Empty(t, all(t, f.Usage(ctx, id, time.Time{}, time.Time{})))
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	err := firstOf(f.Usage(cancelled, "0VmNmGnm8k2QpXw1", time.Time{}, time.Time{}))
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, ErrUnavailable)
}

// Usage is written at each interval, and at Close, by every keystore.
func TestUsageIsFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		other := f.another()
		token, key := f.generate(KeyParams{})
		see := func() uint64 {
			tallies, err := f.store.Usage(context.Background(), keySubject+key.ID, testNoon.Truncate(day), testNoon.Add(day))
			require.NoError(t, err)
			var sum uint64
			for _, tally := range tallies {
				for _, u := range hoursOf(tally) {
					sum += u.Allowed
				}
			}
			return sum
		}
		for range 3 {
			f.pass(token, 2)
			_, err := other.Lookup(context.Background(), token.Reveal())
			require.NoError(t, err)
		}
		require.Zero(t, see())
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.EqualValues(t, 9, see())
		f.pass(token, 1)
		require.NoError(t, f.Close())
		require.EqualValues(t, 10, see())
		_, err := other.Lookup(context.Background(), token.Reveal())
		require.NoError(t, err)
		require.NoError(t, other.Close())
		require.EqualValues(t, 11, see())
	})
}

// Counting never waits for the store, and every lookup is counted once, whatever
// fails: what may have been written is repeated as it was.
func TestUsageIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.UsageInterval = time.Second })
		token, key := f.generate(KeyParams{})
		calls := 0
		f.store.addUsage = func(ctx context.Context, additions []backend.Addition) error {
			switch calls++; calls % 4 {
			case 1:
				return errors.New("nothing happened")
			case 2:
				require.NoError(t, f.store.Backend.AddUsage(ctx, additions))
				return errors.New("the reply is lost")
			case 3:
				require.NoError(t, f.store.Backend.AddUsage(ctx, additions[:len(additions)/2]))
				return errors.New("half of it happened")
			}
			return f.store.Backend.AddUsage(ctx, additions)
		}
		for range 50 {
			f.pass(token, 7)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second / 2) // between two flushes, with all that they repeat
		synctest.Wait()
		f.store.addUsage = nil
		sum := usage(t, f.Keystore, key.ID)
		require.Len(t, sum, 1)
		require.EqualValues(t, 350, sum[0].Allowed)
		require.Greater(t, calls, 40)
		require.Zero(t, f.Stats().UsageLost)
	})
}

func TestUsageThatCannotBeWrittenAtClose(t *testing.T) {
	f := newFixture(t)
	token, _ := f.generate(KeyParams{Scopes: []string{"a:b"}})
	f.store.addUsage = func(context.Context, []backend.Addition) error { return errors.New("down") }
	_, err := f.lookup(token, LookupParams{Cost: 100})
	require.NoError(t, err)
	_, err = f.lookup(token, LookupParams{Scopes: []string{"c:d"}})
	require.ErrorIs(t, err, ErrMissingScope)
	require.ErrorIs(t, firstOf(f.Usage(context.Background(), token.ID(), time.Time{}, time.Time{})), ErrUnavailable)
	err = f.Close()
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "usage of 2 lookups was lost")
}

// The counts that wait are bounded. What is dropped is told.
func TestUsageOfTooManyKeys(t *testing.T) {
	f := newFixture(t)
	now := f.now()
	f.usage.waiting.Store(maxUsageCells - 1000) // as many of other keys
	for i := range 1000 + 5 {
		f.count(&Key{ID: fmt.Sprintf("%016d", i), Owner: "alice"}, now, countAllowed, 1, nil)
	}
	f.count(&Key{ID: fmt.Sprintf("%016d", 0), Owner: "alice"}, now, countAllowed, 1, nil)
	require.EqualValues(t, 5, f.Stats().UsageLost)
	sum := all(t, f.OwnerUsage(context.Background(), "alice", time.Time{}, time.Time{}))
	require.EqualValues(t, 1001, sum[0].Allowed)
	require.ErrorContains(t, f.Close(), "usage of 5 lookups was lost, because more than 100000 keys")
}

func TestUsageIsPurged(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.UsageRetention = 48 * time.Hour })
	forever := f.another(func(o *Options) { o.UsageRetention = Never })
	token, key := f.generate(KeyParams{})
	kept, keptKey := f.generate(KeyParams{Owner: "bob"})
	purged := func() int {
		_, err := f.Purge(context.Background())
		require.NoError(t, err)
		return len(usage(t, f.Keystore, key.ID))
	}
	f.pass(token, 1)
	_, err := forever.Lookup(context.Background(), kept.Reveal())
	require.NoError(t, err)
	require.NoError(t, forever.Close())
	require.Equal(t, 1, purged())
	f.clock.set(testNoon.Truncate(day).Add(day + 48*time.Hour - time.Millisecond))
	require.Equal(t, 1, purged())
	f.clock.add(time.Millisecond)
	require.Equal(t, 0, purged())
	f.clock.add(100 * 366 * 24 * time.Hour)
	require.Equal(t, 0, purged())
	require.Len(t, usage(t, f.Keystore, keptKey.ID), 1)
}

// Spent windows go with Purge, an hour after they have ended: a process whose clock is
// an hour ahead gives no budget anew.
func TestCountsArePurged(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	token, key := f.generate(KeyParams{Limits: []Limit{{"min", 10, time.Minute}, perSecond}})
	f.pass(token, 5)
	left := func() int64 {
		_, err := f.Purge(ctx)
		require.NoError(t, err)
		counts, err := f.store.Counts(ctx, key.ID, []backend.Window{{Name: "min", Length: time.Minute, Start: testNoon}})
		require.NoError(t, err)
		return counts[0]
	}
	require.EqualValues(t, 5, left())
	f.clock.add(time.Minute - time.Millisecond) // the end of the window, and an hour ahead
	f.clock.add(time.Hour)
	require.EqualValues(t, 5, left())
	f.clock.add(time.Millisecond)
	require.EqualValues(t, 0, left())
	f.clock.set(firstTime)
	_, err := f.Purge(ctx)
	require.NoError(t, err)
}

// Callers that count while others flush lose nothing.
func TestUsageCountedWhileItIsFlushed(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{})
	var group sync.WaitGroup
	const callers, each = 16, 500
	for caller := range callers {
		group.Go(func() {
			for i := range each {
				if _, err := f.lookup(token, LookupParams{Cost: int64(i%2) + 1}); err != nil {
					t.Error(err)
				}
				if caller == 0 && i%10 == 0 {
					if err := f.flushUsage(context.Background(), Never); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	sum := usage(t, f.Keystore, key.ID)
	require.Len(t, sum, 1)
	require.EqualValues(t, callers*each, sum[0].Allowed)
	require.EqualValues(t, callers*each*3/2, sum[0].Cost)
}

func TestUsageSwitchedOff(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.UsageInterval = Never })
	token, key := f.generate(KeyParams{})
	f.pass(token, 3)
	require.Empty(t, usage(t, f.Keystore, key.ID))
	require.False(t, f.CanMeter())
	for _, d := range []time.Duration{-2, -time.Second} {
		_, err := New(memory.New(), &Options{UsageInterval: d})
		requireField(t, err, "UsageInterval")
		_, err = New(memory.New(), &Options{UsageRetention: d})
		requireField(t, err, "UsageRetention")
	}
}

// A clock outside the years of the format counts nothing, and harms nothing.
func TestUsageByAnImpossibleClock(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{Limits: []Limit{perDay}})
	f.store.addUsage = func(context.Context, []backend.Addition) error {
		t.Error("a day that no store knows")
		return nil
	}
	for _, at := range []time.Time{time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		f.clock.set(at)
		f.pass(token, 1)
	}
	f.clock.set(testNoon)
	require.Empty(t, usage(t, f.Keystore, key.ID))
}

func TestByDay(t *testing.T) {
	at := func(hour int) time.Time { return testNoon.Add(time.Duration(hour) * time.Hour) }
	broken := errors.New("broken")
	hours := func(yield func(Usage, error) bool) {
		for _, n := range []int{0, 11, 12, 40} {
			if !yield(Usage{Start: at(n), Allowed: 1}, nil) {
				return
			}
		}
		yield(Usage{}, broken)
	}
	var starts []time.Time
	var last error
	for u, err := range ByDay(hours) {
		if last = err; err == nil {
			starts = append(starts, u.Start)
		}
	}
	require.Equal(t, []time.Time{at(-12), at(12), at(36)}, starts)
	require.ErrorIs(t, last, broken)
	for u := range ByDay(hours) {
		require.EqualValues(t, 2, u.Allowed)
		break
	}
	require.Empty(t, all(t, ByDay(func(func(Usage, error) bool) {})))
}

package keystore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// A retention so long that it overflows is for ever.
func TestUsageOfTheLongestRetention(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.UsageRetention = math.MaxInt64 })
	token, key := f.generate(KeyParams{})
	f.pass(token, 3)
	require.Len(t, usage(t, f.Keystore, key.ID), 1)
	_, err := f.Purge(context.Background())
	require.NoError(t, err)
	require.Len(t, usage(t, f.Keystore, key.ID), 1)
	require.Len(t, all(t, f.Usage(context.Background(), key.ID, time.Time{}, time.Time{})), 1)
}

// More than a store takes in one addition would be refused again and again, and
// with it all usage that comes later.
func TestUsageOfCostsThatOverflow(t *testing.T) {
	f := newFixture(t)
	now := f.now()
	f.store.addUsage = func(ctx context.Context, additions []backend.Addition) error {
		for _, a := range additions {
			for name, n := range a.Counts {
				if n < 1 || n > backend.MaxCount {
					t.Errorf("%s %s: %d", a.Subject, name, n)
				}
			}
		}
		return f.store.Backend.AddUsage(ctx, additions)
	}
	keys := []Key{{ID: "0VmNmGnm8k2QpXw1", Owner: "alice"}, {ID: "0VmNmGnm8k2QpXw2", Owner: "alice"}, {ID: "0VmNmGnm8k2QpXw3", Owner: "alice"}}
	for i, n := range []int64{math.MaxInt64 / 4, backend.MaxCount, 1} {
		f.count(&keys[i], now, countAllowed, 1, nil)
		f.count(&keys[i], now, countExtra, n, nil)
	}
	for i, want := range []uint64{backend.MaxCount + 1, backend.MaxCount + 1, 2} {
		require.Equal(t, want, usage(t, f.Keystore, keys[i].ID)[0].Cost)
	}
	owner := all(t, f.OwnerUsage(context.Background(), "alice", time.Time{}, time.Time{}))
	require.EqualValues(t, 3, owner[0].Allowed)
	require.GreaterOrEqual(t, owner[0].Cost, uint64(backend.MaxCount))
}

// An addition whose reply is lost is repeated at once, and as it was: by the next
// interval the store may not recognize it.
func TestUsageIsRepeatedBeforeOthersAdd(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{})
	f.pass(token, 5)
	calls := 0
	var first []backend.Addition
	f.store.addUsage = func(ctx context.Context, additions []backend.Addition) error {
		require.NoError(t, f.store.Backend.AddUsage(ctx, additions))
		if calls++; calls == 1 {
			first = additions
		}
		require.Equal(t, first, additions)
		if calls < sendTries {
			return errors.New("the reply is lost")
		}
		return nil
	}
	require.NoError(t, f.flushUsage(context.Background(), Never))
	require.Equal(t, sendTries, calls)
	require.EqualValues(t, 5, usage(t, f.Keystore, key.ID)[0].Allowed)
}

// Whoever reads usage while the store hangs waits as long as their context says,
// also behind another; and Close does not wait for them.
func TestUsageOfAStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.OpTimeout, o.UsageInterval = Never, time.Hour })
		token, key := f.generate(KeyParams{})
		f.pass(token, 5)
		f.store.addUsage = func(ctx context.Context, additions []backend.Addition) error {
			<-ctx.Done()
			return ctx.Err()
		}
		ended := make(chan error, 1)
		go func() { ended <- firstOf(f.Usage(context.Background(), key.ID, time.Time{}, time.Time{})) }()
		synctest.Wait()
		hasty, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		began := time.Now()
		err := firstOf(f.Usage(hasty, key.ID, time.Time{}, time.Time{}))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrUnavailable)
		require.Equal(t, time.Second, time.Since(began))
		began = time.Now()
		require.ErrorContains(t, f.Close(), "usage of 5 lookups was lost")
		require.Equal(t, closeBound, time.Since(began))
		require.ErrorIs(t, <-ended, ErrClosed)
	})
}

// A store that answers gets all that waits at Close, however long it takes.
func TestCloseWritesAllUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		const keys = 3 * usageBatch
		for i := range keys {
			f.count(&Key{ID: fmt.Sprintf("%016d", i), Owner: "alice"}, f.now(), countAllowed, 1, nil)
		}
		f.store.addUsage = func(ctx context.Context, additions []backend.Addition) error {
			time.Sleep(1900 * time.Millisecond) // less than OpTimeout
			return errors.Join(ctx.Err(), f.store.Backend.AddUsage(ctx, additions))
		}
		require.NoError(t, f.Close())
		tallies, err := f.store.Usage(context.Background(), ownerSubject+"alice", testNoon.Truncate(day), testNoon)
		require.NoError(t, err)
		require.EqualValues(t, keys, hoursOf(tallies[0])[0].Allowed)
	})
}

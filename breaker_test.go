package keystore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// While the store hangs, lookups that may pass unchecked wait for it only until it
// has failed three times in a row, and one of them each second from then on.
func TestLimitsOpenDoesNotWaitForAStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(o *Options) {
			o.LimitFailure, o.OpTimeout, o.UsageInterval = LimitsOpen, 2*time.Second, Never
		})
		token, key := f.generate(KeyParams{Limits: []Limit{{"day", 1000, 24 * time.Hour}}})
		f.pass(token, 1)
		hang := func(ctx context.Context, _ backend.Spend) (backend.Spent, error) {
			<-ctx.Done()
			return backend.Spent{}, ctx.Err()
		}
		f.store.spend = hang
		waited := func() time.Duration {
			began := time.Now()
			result, err := f.lookup(token, LookupParams{})
			require.NoError(t, err)
			require.True(t, result.LimitsUnchecked)
			return time.Since(began)
		}
		for range breakAfter {
			require.Equal(t, 2*time.Second, waited())
		}
		for range 3 {
			for range 50 {
				require.Zero(t, waited())
			}
			time.Sleep(breakTime)
			var slow atomic.Int64
			var group sync.WaitGroup
			for range 20 {
				group.Go(func() {
					if waited() > 0 {
						slow.Add(1)
					}
				})
			}
			group.Wait()
			require.EqualValues(t, 1, slow.Load(), "one asks")
		}
		f.store.spend = nil
		time.Sleep(breakTime)
		f.pass(token, 10)
		require.Equal(t, map[string]int64{"day": 1000 - 11}, f.left(key.ID), "what passed unchecked is not counted")
	})
}

func TestBreaker(t *testing.T) {
	down := errors.New("down")
	synctest.Test(t, func(t *testing.T) {
		b := breaker{on: true, start: time.Now()}
		for range 10 { // a key whose counts are damaged, beside others
			b.note(down)
			b.note(down)
			b.note(nil)
		}
		require.False(t, b.open())
		for range breakAfter {
			b.note(down)
		}
		require.True(t, b.open())
		time.Sleep(breakTime)
		require.False(t, b.open(), "time to ask again")
		require.True(t, b.open())
		b.note(nil)
		require.False(t, b.open())
		off := breaker{start: time.Now()}
		for range 10 {
			off.note(down)
		}
		require.False(t, off.open())
	})
}

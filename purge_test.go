package keystore_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

func exists(t *testing.T, ks *keystore.Keystore, id string) bool {
	t.Helper()
	_, err := ks.Get(t.Context(), id)
	if isAny(err, keystore.ErrNotFound) {
		return false
	}
	require.NoError(t, err)
	return true
}

// TestAKeyIsPurgedRetentionAfterItEnded, to the millisecond: counted from the
// sooner of its revocation and its expiry.
func TestAKeyIsPurgedRetentionAfterItEnded(t *testing.T) {
	const retention = time.Hour
	type step func(t *testing.T, ks *keystore.Keystore, clock *manualClock, id string)
	revoke := func(t *testing.T, ks *keystore.Keystore, _ *manualClock, id string) {
		_, err := ks.Revoke(t.Context(), id, "")
		require.NoError(t, err)
	}
	expireIn := func(d time.Duration) step {
		return func(t *testing.T, ks *keystore.Keystore, clock *manualClock, id string) {
			_, err := ks.Expire(t.Context(), id, clock.now().Add(d))
			require.NoError(t, err)
		}
	}
	wait := func(d time.Duration) step {
		return func(_ *testing.T, _ *keystore.Keystore, clock *manualClock, _ string) { clock.advance(d) }
	}
	clearExpiry := func(t *testing.T, ks *keystore.Keystore, _ *manualClock, id string) {
		_, err := ks.ClearExpiry(t.Context(), id)
		require.NoError(t, err)
	}
	for _, c := range []struct {
		name  string
		steps []step
		after time.Duration // from the last step to the purge; 0: never
	}{
		{"neither revoked nor expiring", nil, 0},
		{"revoked", []step{revoke}, retention},
		{"revoked again later", []step{revoke, wait(time.Minute), revoke}, retention - time.Minute},
		{"expiring", []step{expireIn(time.Minute)}, time.Minute + retention},
		{"expired now", []step{expireIn(-time.Minute)}, retention},
		{"revoked before its expiry", []step{expireIn(time.Minute), revoke}, retention},
		{"revoked at its expiry", []step{expireIn(time.Minute), wait(time.Minute), revoke}, retention},
		{"expired, and revoked later", []step{expireIn(time.Minute), wait(2 * time.Minute), revoke}, retention - time.Minute},
		{"extended", []step{expireIn(time.Minute), wait(2 * time.Minute), expireIn(time.Hour)}, time.Hour + retention},
		{"made not to expire", []step{expireIn(time.Minute), wait(2 * time.Minute), clearExpiry}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, b := range backends {
				clock := newManualClock()
				ks := newStoreOn(t, b.open(t), keystore.Options{Now: clock.now, Retention: retention})
				_, key := generate(t, ks)
				for _, step := range c.steps {
					step(t, ks, clock, key.ID)
				}
				if c.after == 0 {
					clock.advance(1000 * 24 * time.Hour)
				} else {
					clock.advance(c.after - time.Millisecond)
				}
				n, err := ks.Purge(t.Context())
				require.NoError(t, err)
				require.Zero(t, n, b.name)
				require.True(t, exists(t, ks, key.ID))
				if c.after == 0 {
					continue
				}
				clock.advance(time.Millisecond)
				n, err = ks.Purge(t.Context())
				require.NoError(t, err)
				require.Equal(t, 1, n, b.name)
				require.False(t, exists(t, ks, key.ID))
			}
		})
	}
}

func TestRetentionNeverAndItsDefault(t *testing.T) {
	for retention, after := range map[time.Duration]time.Duration{0: 30 * 24 * time.Hour, keystore.Never: 0} {
		clock := newManualClock()
		ks := newStoreOn(t, memory.New(), keystore.Options{Now: clock.now, Retention: retention})
		_, key := generate(t, ks)
		_, err := ks.Revoke(t.Context(), key.ID, "")
		require.NoError(t, err)
		if after == 0 {
			clock.advance(100 * 365 * 24 * time.Hour)
		} else {
			clock.advance(after - time.Millisecond)
		}
		n, err := ks.Purge(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
		clock.advance(time.Millisecond)
		n, err = ks.Purge(t.Context())
		require.NoError(t, err)
		require.Equal(t, oneIf(after != 0), n)
	}
}

// TestAPurgeTakesAsManyCallsAsItNeeds: more keys are due than fit in one.
func TestAPurgeTakesAsManyCallsAsItNeeds(t *testing.T) {
	const due, kept = 1200, 5
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			clock := newManualClock()
			store := faulty.New(b.open(t), nil)
			ks := newStoreOn(t, store, keystore.Options{Now: clock.now, Retention: time.Hour})
			for n := range due + kept {
				ttl := time.Minute
				if n%(due/kept) == 0 && n/(due/kept) < kept {
					ttl = 0
				}
				_, _, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "owner", TTL: ttl})
				require.NoError(t, err)
			}
			clock.advance(time.Hour + time.Minute)
			n, err := ks.Purge(t.Context())
			require.NoError(t, err)
			require.Equal(t, due, n)
			require.Equal(t, 4, store.Calls(faulty.Purge), "500, 500, 200, and none")
			left := 0
			for k, err := range ks.All(t.Context(), "") {
				require.NoError(t, err)
				require.Zero(t, k.ExpiresAt)
				left++
			}
			require.Equal(t, kept, left)
		})
	}
}

// TestAPurgeUnderFaultGoesOnWhenItIsCalledAgain: it deletes what is due and
// nothing else, and an error is one of the backend.
func TestAPurgeUnderFaultGoesOnWhenItIsCalledAgain(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				_, due := generate(t, b.plain)
				_, kept := generate(t, b.plain)
				_, err := b.plain.Revoke(t.Context(), due.ID, "")
				require.NoError(t, err)
				b.clock.advance(time.Hour)
				b.fail(faulty.Nth(1, faulty.Purge, k.fault(b)))
				start := time.Now()
				n, err := b.ks.Purge(t.Context())
				require.LessOrEqual(t, time.Since(start), time.Second, "OpTimeout")
				require.LessOrEqual(t, n, 1)
				if k.always == succeeded {
					require.NoError(t, err)
				} else {
					requireOutage(t, err)
				}
				require.Equal(t, k.appliedAlways == 0, exists(t, b.plain, due.ID))
				_, err = b.ks.Purge(t.Context())
				require.NoError(t, err)
				b.late.Deliver()
				require.False(t, exists(t, b.plain, due.ID))
				require.True(t, exists(t, b.plain, kept.ID))
			})
		})
	}
}

// TestAnExtendedKeyIsNeverPurged: keys that are due are extended while they are
// purged. Each is extended and stays, or is gone and could not be extended.
func TestAnExtendedKeyIsNeverPurged(t *testing.T) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			store := b.open(t)
			clock := newManualClock()
			opts := keystore.Options{Now: clock.now, Retention: time.Hour}
			one, two := newStoreOn(t, store, opts), newStoreOn(t, store, opts)
			const keys = 200
			ids := make([]string, keys)
			for i := range ids {
				_, k, err := one.Generate(t.Context(), keystore.KeyParams{Owner: "owner", TTL: time.Minute})
				require.NoError(t, err)
				ids[i] = k.ID
			}
			clock.advance(2 * time.Hour)
			var next, purged, extended atomic.Int64
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					for at := next.Add(1) - 1; at < keys; at = next.Add(1) - 1 {
						id := ids[at]
						if i%4 == 0 {
							n, err := one.Purge(t.Context())
							if err != nil {
								t.Error(err)
							}
							purged.Add(int64(n))
						}
						_, err := two.Expire(t.Context(), id, clock.now().Add(time.Hour))
						switch {
						case err == nil:
							extended.Add(1)
							if _, err := one.Get(t.Context(), id); err != nil {
								t.Errorf("extended, and then: %v", err)
							}
						case !isAny(err, keystore.ErrNotFound):
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			n, err := one.Purge(t.Context())
			require.NoError(t, err)
			left := 0
			for k, err := range one.All(t.Context(), "") {
				require.NoError(t, err)
				require.Equal(t, keystore.Active, k.State(clock.now()))
				left++
			}
			require.Equal(t, int(extended.Load()), left)
			require.Equal(t, keys-left, int(purged.Load())+n, "each deletion is counted once")
		})
	}
}

// TestExtendingBeatsAPurgeThatWasDecidedBefore: a driver that finds a key due
// and deletes it must check again.
func TestExtendingBeatsAPurgeThatWasDecidedBefore(t *testing.T) {
	b := newBench(t)
	_, key := generate(t, b.plain)
	_, err := b.plain.Expire(t.Context(), key.ID, b.clock.now())
	require.NoError(t, err)
	b.clock.advance(time.Hour)
	b.fail(faulty.Nth(1, faulty.Purge, faulty.Around(func() {
		_, err := b.plain.ClearExpiry(t.Context(), key.ID)
		require.NoError(t, err)
	}, nil)))
	n, err := b.ks.Purge(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	require.True(t, exists(t, b.plain, key.ID))
}

func TestThePurgeInTheBackground(t *testing.T) {
	for _, interval := range []time.Duration{0, time.Minute, keystore.Never} {
		t.Run(interval.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := new(logged)
				store := faulty.New(memory.New(), faulty.Nth(1, faulty.Purge, faulty.Refuse(errInjected)))
				ks, err := keystore.New(store, &keystore.Options{
					PurgeInterval: interval, TouchInterval: keystore.Never, Retention: time.Minute, Logger: log.logger(),
				})
				require.NoError(t, err)
				defer ks.Close()
				_, key := generate(t, ks)
				_, err = ks.Revoke(t.Context(), key.ID, "")
				require.NoError(t, err)
				if interval == keystore.Never {
					time.Sleep(1000 * time.Hour)
					require.Zero(t, store.Calls(faulty.Purge))
					return
				}
				if interval == 0 {
					interval = time.Hour
				}
				time.Sleep(interval) // the first comes at a random time within the interval
				synctest.Wait()
				require.Equal(t, 1, store.Calls(faulty.Purge))
				require.Equal(t, 1, log.lines(), "it failed")
				require.True(t, exists(t, ks, key.ID))
				time.Sleep(interval)
				synctest.Wait()
				require.Equal(t, 1, log.lines())
				require.False(t, exists(t, ks, key.ID), "the next one goes on")
				sweeps := store.Calls(faulty.Purge)
				time.Sleep(10 * interval)
				synctest.Wait()
				require.InDelta(t, sweeps+10, store.Calls(faulty.Purge), 1, "once per interval")
			})
		})
	}
}

// stuckPurge says for ever that it deleted something.
type stuckPurge struct{ backend.Backend }

func (stuckPurge) Purge(context.Context, time.Time, int) (int, error) { return 1, nil }

func TestAPurgeEndsWithItsContext(t *testing.T) {
	ks := newStoreOn(t, stuckPurge{memory.New()}, keystore.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	n, err := ks.Purge(ctx)
	requireOutage(t, err)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Positive(t, n)
}

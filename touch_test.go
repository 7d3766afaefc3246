package keystore_test

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// touches remembers what was flushed.
type touches struct {
	backend.Backend
	mu   sync.Mutex
	each []map[string]time.Time
}

func (b *touches) Touch(ctx context.Context, used map[string]time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.each = append(b.each, maps.Clone(used))
	return b.Backend.Touch(ctx, used)
}

func (b *touches) calls() []map[string]time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.each)
}

// logged collects the log of a Keystore.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) lines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), "\n")
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func lookup(t *testing.T, ks *keystore.Keystore, token string) {
	t.Helper()
	_, err := ks.Lookup(t.Context(), token)
	require.NoError(t, err)
}

func lastUsed(t *testing.T, ks *keystore.Keystore, id string) time.Time {
	t.Helper()
	k, err := ks.Get(t.Context(), id)
	require.NoError(t, err)
	return k.LastUsedAt
}

func TestUsesAreWrittenInOneCallPerInterval(t *testing.T) {
	for _, interval := range []time.Duration{0, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			store := &touches{Backend: memory.New()}
			o := keystore.Options{TouchInterval: interval, PurgeInterval: keystore.Never}
			ks, err := keystore.New(store, &o)
			require.NoError(t, err)
			defer ks.Close()
			if interval == 0 {
				interval = 30 * time.Second
			}
			var tokens []string
			var ids []string
			for range 20 {
				token, key := generate(t, ks)
				tokens, ids = append(tokens, token), append(ids, key.ID)
			}
			for range 3 {
				for _, token := range tokens {
					lookup(t, ks, token)
				}
				time.Sleep(time.Millisecond)
			}
			last := time.Now().Add(-time.Millisecond).UTC().Truncate(time.Millisecond)
			time.Sleep(interval - 4*time.Millisecond)
			synctest.Wait()
			require.Empty(t, store.calls(), "before the interval is over")
			require.Zero(t, lastUsed(t, ks, ids[0]))
			time.Sleep(time.Millisecond)
			synctest.Wait()
			require.Len(t, store.calls(), 1)
			require.ElementsMatch(t, ids, slices.Collect(maps.Keys(store.calls()[0])))
			for _, id := range ids {
				require.Equal(t, last, lastUsed(t, ks, id), "the last use counts")
			}
			time.Sleep(10 * interval)
			require.Len(t, store.calls(), 1, "nothing was used since")
		})
	}
}

func TestOnlyASuccessfulLookupIsAUse(t *testing.T) {
	clock := newManualClock()
	store := &touches{Backend: memory.New()}
	ks := newStoreOn(t, store, keystore.Options{
		Now: clock.now, TouchInterval: time.Hour,
		OwnerActive: func(_ context.Context, owner string) (bool, error) { return owner == "owner", nil },
	})
	ctx := t.Context()
	refused := map[string]keystore.Reason{}
	keep := func(reason keystore.Reason, p keystore.KeyParams, edit func(id string) error) {
		token, key, err := ks.Generate(ctx, p)
		require.NoError(t, err)
		if edit != nil {
			require.NoError(t, edit(key.ID))
		}
		refused[token.Reveal()] = reason
	}
	keep(keystore.ReasonMissingScope, keystore.KeyParams{Owner: "owner"}, nil)
	keep(keystore.ReasonOwnerInactive, keystore.KeyParams{Owner: "other", Scopes: []string{"*"}}, nil)
	keep(keystore.ReasonExpired, keystore.KeyParams{Owner: "owner", TTL: time.Millisecond}, nil)
	keep(keystore.ReasonRevoked, keystore.KeyParams{Owner: "owner"}, func(id string) error { _, err := ks.Revoke(ctx, id, ""); return err })
	keep(keystore.ReasonSuperseded, keystore.KeyParams{Owner: "owner"}, func(id string) error { _, _, err := ks.Rotate(ctx, id, 0, nil); return err })
	keep(keystore.ReasonDisabled, keystore.KeyParams{Owner: "owner"}, func(id string) error {
		_, err := ks.Update(ctx, id, func(c *keystore.Changes) error { c.Disabled = true; return nil })
		return err
	})
	keep(keystore.ReasonUnknownKey, keystore.KeyParams{Owner: "owner"}, func(id string) error { return ks.Delete(ctx, id) })
	clock.advance(time.Millisecond)
	for token, reason := range refused {
		_, err := ks.Lookup(ctx, token, "orders:read")
		require.Equal(t, reason, reasonOf(err), "%v", err)
	}
	good, key := generate(t, ks)
	lookup(t, ks, good)
	require.NoError(t, ks.Close())
	require.Equal(t, []map[string]time.Time{{key.ID: clock.now().UTC()}}, store.calls())
}

func TestAUseNeverLowersNorChangesNorRevives(t *testing.T) {
	inner := memory.New()
	clock := newManualClock()
	ks := newStoreOn(t, inner, keystore.Options{Now: clock.now, TouchInterval: time.Hour})
	later := newStoreOn(t, inner, keystore.Options{Now: func() time.Time { return clock.now().Add(time.Minute) }, TouchInterval: time.Hour})
	token, key := generate(t, ks)
	revoked, revokedKey := generate(t, ks)
	deleted, deletedKey := generate(t, ks)
	for _, token := range []string{token, revoked, deleted} {
		lookup(t, ks, token)
		lookup(t, later, token)
	}
	_, err := ks.Revoke(t.Context(), revokedKey.ID, "")
	require.NoError(t, err)
	require.NoError(t, ks.Delete(t.Context(), deletedKey.ID))
	require.NoError(t, later.Close())
	at := clock.now().Add(time.Minute).UTC()
	judge := newStoreOn(t, inner, keystore.Options{Now: clock.now})
	require.Equal(t, at, lastUsed(t, judge, key.ID))
	require.NoError(t, ks.Close(), "its use came earlier")
	require.Equal(t, at, lastUsed(t, judge, key.ID), "never lowered")

	after, err := judge.Get(t.Context(), key.ID)
	require.NoError(t, err)
	require.Equal(t, uint64(1), after.Revision())
	after, err = judge.Get(t.Context(), revokedKey.ID)
	require.NoError(t, err)
	require.Equal(t, keystore.Revoked, after.State(clock.now()))
	require.Equal(t, uint64(2), after.Revision())
	_, err = judge.Get(t.Context(), deletedKey.ID)
	require.ErrorIs(t, err, keystore.ErrNotFound)
}

// TestAFlushThatFailsIsTriedAgain, behind uses that came meanwhile, whatever
// the fault.
func TestAFlushThatFailsIsTriedAgain(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.clock.ms.Store(time.Now().UnixMilli())
				log := new(logged)
				ks := newStoreOn(t, b.store, keystore.Options{TouchInterval: 10 * time.Second, OpTimeout: time.Second, Logger: log.logger()})
				first, firstKey := generate(t, b.plain)
				second, secondKey := generate(t, b.plain)
				b.fail(faulty.Nth(1, faulty.Touch, k.fault(b)))
				lookup(t, ks, first)
				lookup(t, ks, second)
				early := time.Now().UTC()
				time.Sleep(12 * time.Second)
				lookup(t, ks, first)
				late := time.Now().UTC()
				time.Sleep(10 * time.Second)
				synctest.Wait()
				require.Equal(t, oneIf(k.always != succeeded), log.lines(), "a warning for each failure")
				require.Equal(t, late, lastUsed(t, b.plain, firstKey.ID))
				require.Equal(t, early, lastUsed(t, b.plain, secondKey.ID))
				b.late.Deliver()
				require.Equal(t, late, lastUsed(t, b.plain, firstKey.ID), "a flush that arrives late lowers nothing")
				require.NoError(t, ks.Close(), "nothing was lost")
			})
		})
	}
}

// TestManyUsesAreWrittenInSeveralCalls, and a failure in the middle repeats no
// more than it must.
func TestManyUsesAreWrittenInSeveralCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		record := &touches{Backend: b.store}
		ks := newStoreOn(t, record, keystore.Options{TouchInterval: 10 * time.Second})
		const keys = 2500
		var ids []string
		for range keys {
			token, key := generate(t, ks)
			lookup(t, ks, token)
			ids = append(ids, key.ID)
		}
		b.fail(faulty.Nth(2, faulty.Touch, faulty.Refuse(errInjected)))
		time.Sleep(11 * time.Second)
		require.Len(t, record.calls(), 2, "the failure ends the flush")
		time.Sleep(10 * time.Second)
		total := 0
		for _, call := range record.calls() {
			require.LessOrEqual(t, len(call), 1000)
			total += len(call)
		}
		require.Equal(t, keys+1000, total, "only the batch that failed is written again")
		for _, id := range ids {
			require.NotZero(t, lastUsed(t, b.plain, id))
		}
	})
}

func TestTouchIntervalNeverRecordsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &touches{Backend: memory.New()}
		ks := newStoreOn(t, store, keystore.Options{TouchInterval: keystore.Never})
		token, key := generate(t, ks)
		lookup(t, ks, token)
		time.Sleep(24 * time.Hour)
		require.NoError(t, ks.Close())
		require.Empty(t, store.calls())
		require.Zero(t, lastUsed(t, newStoreOn(t, store, keystore.Options{}), key.ID))
	})
}

package keystore

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// Peek leaves no trace: no spend, usage, last use, event of the audit or new digest.
// The lookups after it leave each of them.
func TestPeekLeavesNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		f := newFixture(t)
		token, key := f.generate(KeyParams{Limits: []Limit{{"day", 1, 24 * time.Hour}}})
		before := f.stored(key.ID)
		hmac, err := HMAC("k1", map[string][]byte{"k1": []byte("a pepper of 32 bytes or more, for this test")})
		require.NoError(t, err)
		events := new(spyAuditor)
		ks, err := New(f.store, &Options{Prefix: "sk_test", Now: f.clock.now, Audit: events, Hash: hmac, AcceptHash: []Hasher{SHA256()}, Rehash: true})
		require.NoError(t, err)
		ask := func(look func(context.Context, string, LookupParams) (Result, error)) {
			for range 2 {
				_, err := look(ctx, token.Reveal(), LookupParams{Scopes: []string{"a:b"}})
				require.ErrorIs(t, err, ErrMissingScope)
				_, err = look(ctx, forged(t, token.Reveal()), LookupParams{})
				require.ErrorIs(t, err, ErrUnauthenticated)
				_, err = look(ctx, token.Reveal(), LookupParams{})
				require.True(t, err == nil || reasonOf(t, err) == ReasonRateLimited, err)
			}
			synctest.Wait()
		}
		ask(ks.Peek)
		require.NoError(t, ks.flush(ctx))
		require.Equal(t, before, f.stored(key.ID))
		require.Empty(t, usage(t, ks, key.ID))
		require.Zero(t, f.store.spends.Load())

		ask(ks.LookupWith)
		require.NoError(t, ks.flush(ctx))
		after := f.stored(key.ID)
		require.NotEqual(t, before.Data, after.Data, "the digest is another")
		require.Equal(t, f.now(), after.LastUsed)
		require.Equal(t, []Usage{{Start: testNoon, Allowed: 1, Limited: 1, MissingScope: 2, Cost: 1}}, usage(t, ks, key.ID))
		require.NoError(t, ks.Close())
		counts := map[Reason]int{}
		for _, e := range events.events() {
			require.Equal(t, ActionLookup, e.Action)
			counts[e.Reason] += e.Count
		}
		require.Equal(t, map[Reason]int{ReasonMissingScope: 2, ReasonWrongSecret: 2, ReasonRateLimited: 1}, counts)
	})
}

// Limits that encode never wrote are damage, however well the record is made.
func TestLimitsThatNobodyWrote(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{Limits: []Limit{perDay, perSecond}})
	for name, list := range map[string][]Limit{
		"descending":  {perDay, perSecond},
		"twice":       {perDay, perDay},
		"no name":     {{"", 1, time.Second}},
		"bad name":    {{"Day", 1, time.Second}},
		"no requests": {{"day", 0, time.Second}},
		"no window":   {{"day", 1, 0}},
	} {
		stored := f.stored(key.ID)
		var r record
		require.NoError(t, r.open(&stored, key.ID))
		r.key.Limits = Limits{list}
		data, err := r.encode()
		require.NoError(t, err)
		require.ErrorIs(t, new(record).decode(data), ErrCorrupt, name)
		ks := f.another()
		f.store.get = func(context.Context, string) (backend.Record, error) {
			stored.Data = slices.Clone(data)
			return stored, nil
		}
		_, err = ks.Lookup(context.Background(), token.Reveal())
		require.ErrorIs(t, err, ErrCorrupt, name)
		f.store.get = nil
	}
}

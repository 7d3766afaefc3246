package crash

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
)

// check opens the folder and compares the store with the ledger: each key is in
// the state that was acknowledged last, or wholly in that after the one change
// which was under way. The ledger learns which it is.
func check(t *testing.T, dir string, l *ledger) {
	t.Helper()
	ctx := testContext(t)
	b := openStore(t, "badger://"+dir)
	defer closeStore(t, b)
	ks := keystoreAt(t, b, l.now)

	found := listing(ctx, t, ks, "")
	for id, k := range found {
		if _, known := l.keys[id]; !known {
			assert.True(t, l.adopt(factsOf(k)), "nobody asked for key %s, %q", id, k.Name)
		}
	}
	l.close()
	checkKeys(t, l, found)
	checkOwners(ctx, t, ks, found)

	checkLookups(ctx, t, ks, l, l.now)
	later := l.now + (2 * grace).Milliseconds() // when every grace period is over
	checkLookups(ctx, t, keystoreAt(t, b, later), l, later)
}

// keystoreAt is a keystore whose clock stands still, and which writes nothing of
// its own accord.
func keystoreAt(t *testing.T, b backend.Backend, now int64) *keystore.Keystore {
	t.Helper()
	ks, err := keystore.New(b, &keystore.Options{
		Now:           func() time.Time { return time.UnixMilli(now) },
		Retention:     retention,
		TouchInterval: keystore.Never,
		UsageInterval: keystore.Never,
		PurgeInterval: keystore.Never,
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ks.Close()) })
	return ks
}

// listing returns the keys of an owner by id, "" for all.
func listing(ctx context.Context, t *testing.T, ks *keystore.Keystore, owner string) map[string]keystore.Key {
	t.Helper()
	keys := make(map[string]keystore.Key)
	for k, err := range ks.All(ctx, owner) {
		require.NoError(t, err, k.ID)
		keys[k.ID] = k
	}
	return keys
}

// checkKeys compares each key with the ledger.
func checkKeys(t *testing.T, l *ledger, found map[string]keystore.Key) {
	t.Helper()
	outcomes := make(map[int]int) // by change: the candidate that was found
	for _, id := range slices.Sorted(maps.Keys(l.keys)) {
		stored, there := found[id]
		candidates := l.candidates(id)
		i := slices.IndexFunc(candidates, func(k key) bool {
			if k.Gone || !there {
				return k.Gone && !there
			}
			return k.at(l.now) == factsOf(stored) && usedRight(k, ms(stored.LastUsedAt), l.now)
		})
		if !assert.GreaterOrEqual(t, i, 0, "key %s: found %v %+v last used %d, expected one of %+v", id, there, factsOf(stored), ms(stored.LastUsedAt), candidates) {
			continue
		}
		if c, unclear := l.pending[id]; unclear {
			before, seen := outcomes[c.N]
			assert.True(t, !seen || before == i, "%s of %v happened for one key, and for the other not", c.Kind, c.IDs)
			outcomes[c.N] = i
		}
		k := candidates[i]
		if there {
			k.LastUsed = ms(stored.LastUsedAt)
		}
		l.settle(id, k, i, len(candidates))
	}
}

// usedRight reports whether the last use is the one that Touch wrote. Lookups
// raise it to the time of their round, at some time.
func usedRight(k key, at, now int64) bool {
	return at == k.LastUsed || at == now && now > k.LastUsed
}

// checkOwners checks that the index of the owners agrees with the listing of all.
func checkOwners(ctx context.Context, t *testing.T, ks *keystore.Keystore, found map[string]keystore.Key) {
	t.Helper()
	byOwner := make(map[string]map[string]keystore.Key)
	for id, k := range found {
		if byOwner[k.Owner] == nil {
			byOwner[k.Owner] = make(map[string]keystore.Key)
		}
		byOwner[k.Owner][id] = k
		got, err := ks.Get(ctx, id)
		require.NoError(t, err)
		assert.Equal(t, factsOf(k), factsOf(got), "Get and All")
	}
	for owner, keys := range byOwner {
		assert.Equal(t, keys, listing(ctx, t, ks, owner), "the keys of %s", owner)
		page, _, err := ks.List(ctx, keystore.ListParams{Owner: owner, Limit: 200})
		require.NoError(t, err)
		assert.Len(t, page, min(200, len(keys)), "List of %s", owner)
	}
}

// checkLookups presents every token there ever was.
func checkLookups(ctx context.Context, t *testing.T, ks *keystore.Keystore, l *ledger, now int64) {
	t.Helper()
	for id, k := range l.keys {
		if k.Gone {
			_, err := ks.Get(ctx, id)
			assert.ErrorIs(t, err, keystore.ErrNotFound, id)
		}
		for i, s := range k.Secrets {
			if s.Token == "" {
				continue
			}
			result, err := ks.LookupWith(ctx, s.Token, keystore.LookupParams{Scopes: []string{"orders:read"}})
			want := k.reason(i, now)
			assert.Equal(t, want, reasonOf(err), "secret %d of %+v: %v", i+1, k, err)
			assert.Equal(t, want != "", errors.Is(err, keystore.ErrUnauthenticated))
			if want == "" {
				assert.Equal(t, i+1, result.Generation)
			}
		}
	}
}

package keystore

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// manyKeys makes n keys of alice and as many of owners with names near hers, and
// returns the ids of hers and of all, ascending.
func manyKeys(f *fixture, n int) (hers, all []string) {
	for i := range n {
		_, key := f.generate(KeyParams{})
		hers = append(hers, key.ID)
		_, other := f.generate(KeyParams{Owner: []string{"alic", "alice2", "Alice", "alice\x7f"}[i%4]})
		all = append(all, key.ID, other.ID)
		if i%3 == 0 {
			f.clock.add(time.Millisecond)
		}
	}
	slices.Sort(hers)
	slices.Sort(all)
	return hers, all
}

// walkPages follows next from page to page and returns the ids of each.
func walkPages(t *testing.T, ks *Keystore, p ListParams) (pages [][]string) {
	t.Helper()
	for {
		keys, next, err := ks.List(context.Background(), p)
		require.NoError(t, err)
		pages = append(pages, idsOf(keys))
		if next == "" {
			return pages
		}
		require.Equal(t, keys[len(keys)-1].ID, next)
		require.Less(t, len(pages), 1000)
		p.After = next
	}
}

func TestPagesOfEverySizeHoldEachKeyOnce(t *testing.T) {
	f := newFixture(t)
	hers, all := manyKeys(f, 200)
	for _, limit := range []int{0, 1, 2, 3, 7, 49, 50, 51, 66, 99, 100, 101, 199, 200} {
		for _, c := range []struct {
			owner string
			want  []string
		}{{"alice", hers}, {"", all}} {
			pages := walkPages(t, f.Keystore, ListParams{Owner: c.owner, Limit: limit})
			require.Equal(t, c.want, slices.Concat(pages...), "limit %d", limit)
			size := limit
			if size == 0 {
				size = 50
			}
			for _, page := range pages[:len(pages)-1] {
				require.Len(t, page, size, "every page but the last is full")
			}
			require.Len(t, pages, (len(c.want)+size-1)/size, "limit %d: no empty page at the end", limit)
		}
	}
	keys, next, err := f.List(context.Background(), ListParams{Owner: "nobody"})
	require.NoError(t, err)
	require.Empty(t, keys)
	require.Empty(t, next)
}

func TestAListingBeginsAfterItsCursorWhetherThatExistsOrNot(t *testing.T) {
	f := newFixture(t)
	hers, _ := manyKeys(f, 20)
	for i, id := range hers {
		for _, c := range []struct {
			after string
			want  []string
		}{{id, hers[i+1:]}, {id[:15], hers[i:]}, {id + "-", hers[i+1:]}, {id[:8], hers[slices.IndexFunc(hers, func(h string) bool { return h > id[:8] }):]}} {
			found := slices.Concat(walkPages(t, f.Keystore, ListParams{Owner: "alice", After: c.after, Limit: 7})...)
			require.True(t, slices.Equal(c.want, found), "after %s: %v, not %v", c.after, found, c.want)
		}
	}
}

func TestAKeyThatStaysIsListedOnceWhileOthersComeAndGo(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	var stay, go_ []string
	for i := range 100 {
		_, key := f.generate(KeyParams{})
		if i%2 == 0 {
			stay = append(stay, key.ID)
		} else {
			go_ = append(go_, key.ID)
		}
	}
	slices.Sort(stay)
	var seen []string
	p := ListParams{Limit: 7}
	for {
		keys, next, err := f.List(ctx, p)
		require.NoError(t, err)
		seen = append(seen, idsOf(keys)...)
		if next == "" {
			break
		}
		if p.After = next; len(go_) > 2 {
			require.NoError(t, f.Delete(ctx, go_[0]))
			require.NoError(t, f.Delete(ctx, go_[1]))
			go_ = go_[2:]
		}
		if len(seen) < 200 {
			f.generate(KeyParams{})
		}
	}
	require.True(t, slices.IsSorted(seen))
	require.Len(t, slices.Compact(slices.Clone(seen)), len(seen), "none twice")
	for _, id := range stay {
		require.Contains(t, seen, id)
	}
}

func TestShortPagesOfABackendAreNoEnd(t *testing.T) {
	f := newFixture(t)
	hers, all := manyKeys(f, 60)
	asked := 0
	f.store.list = func(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
		require.True(t, 1 <= o.Limit && o.Limit <= backend.MaxLimit)
		if asked++; asked%2 == 0 {
			o.Limit = min(o.Limit, 1)
		}
		o.Limit = min(o.Limit, 3)
		return f.store.Backend.List(ctx, o)
	}
	for _, limit := range []int{1, 2, 3, 4, 20, 60, 200} {
		pages := walkPages(t, f.Keystore, ListParams{Owner: "alice", Limit: limit})
		require.Equal(t, hers, slices.Concat(pages...))
		require.Len(t, pages, (60+limit-1)/limit)
	}
	var found []string
	for key, err := range f.All(context.Background(), "") {
		require.NoError(t, err)
		found = append(found, key.ID)
	}
	require.Equal(t, all, found)
	n, err := f.RevokeAll(context.Background(), "alice", "")
	require.NoError(t, err)
	require.Equal(t, 60, n)
}

func TestAllYieldsEveryKeyInOrderAndStopsWhenTold(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	hers, all := manyKeys(f, 210) // more than one page of the walk
	for owner, want := range map[string][]string{"alice": hers, "": all, "nobody": nil} {
		var found []string
		for key, err := range f.All(ctx, owner) {
			require.NoError(t, err)
			found = append(found, key.ID)
			got, err := f.Get(ctx, key.ID)
			require.NoError(t, err)
			require.Equal(t, got, key)
		}
		require.Equal(t, want, found, "%q", owner)
	}
	calls := f.store.calls.Load()
	for range f.All(ctx, "") {
		break
	}
	require.Equal(t, calls+1, f.store.calls.Load())
}

func TestBadCursorsAndLimitsAreInvalid(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	manyKeys(f, 2)
	calls := f.store.calls.Load()
	for _, limit := range []int{-1, 201, 1 << 40, -1 << 63} {
		keys, next, err := f.List(ctx, ListParams{Limit: limit})
		requireField(t, err, "limit")
		require.Nil(t, keys)
		require.Empty(t, next)
	}
	for _, after := range []string{" ", "\x00", "a b", "é", "\xff", "0VmNmGnm8k2QpXw1\n", "..", "a/b", "a:b", strings.Repeat("0", 65)} {
		_, _, err := f.List(ctx, ListParams{After: after})
		requireField(t, err, "after")
	}
	for _, owner := range badOwners[1:] { // "" means all
		_, _, err := f.List(ctx, ListParams{Owner: owner})
		requireField(t, err, "owner")
		yields := 0
		for key, err := range f.All(ctx, owner) {
			yields++
			requireField(t, err, "owner")
			require.Equal(t, Key{}, key)
		}
		require.Equal(t, 1, yields)
		_, err = f.RevokeAll(ctx, owner, "")
		requireField(t, err, "owner")
	}
	_, err := f.RevokeAll(ctx, "", "")
	requireField(t, err, "owner")
	require.Equal(t, calls, f.store.calls.Load())
}

func TestAPageOutOfOrderIsAnOutage(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	hers, _ := manyKeys(f, 5)
	record := func(i int) backend.Record { return f.stored(hers[i]) }
	for name, page := range map[string][]backend.Record{
		"descends":          {record(1), record(0)},
		"repeats":           {record(1), record(1)},
		"at the cursor":     {record(2), record(3)},
		"before the cursor": {record(0)},
		"an empty id":       {{Owner: "alice"}},
	} {
		after := ""
		if strings.HasSuffix(name, "cursor") {
			after = hers[2]
		}
		f.store.list = func(context.Context, backend.ListOptions) ([]backend.Record, error) { return slices.Clone(page), nil }
		keys, next, err := f.List(ctx, ListParams{After: after})
		require.ErrorIs(t, err, ErrUnavailable, name)
		require.Nil(t, keys)
		require.Empty(t, next)
		if after == "" {
			_, err = f.RevokeAll(ctx, "alice", "")
			require.ErrorIs(t, err, ErrUnavailable, name)
			_, err = f.CountDigests(ctx)
			require.ErrorIs(t, err, ErrUnavailable, name)
		}
	}
	other, _ := f.generate(KeyParams{Owner: "bob"})
	f.store.list = func(context.Context, backend.ListOptions) ([]backend.Record, error) {
		return []backend.Record{f.stored(other.ID())}, nil
	}
	_, _, err := f.List(ctx, ListParams{Owner: "alice"})
	require.ErrorIs(t, err, ErrUnavailable, "another owner's key")
	f.store.list = func(context.Context, backend.ListOptions) ([]backend.Record, error) {
		return []backend.Record{record(0)}, nil
	}
	last := error(nil)
	yields := 0
	for _, err := range f.All(ctx, "") {
		yields, last = yields+1, err
		require.Less(t, yields, 10, "a backend that stands still is not listed for ever")
	}
	require.ErrorIs(t, last, ErrUnavailable)
}

func TestCountDigestsCountsWhatMayStillBePresented(t *testing.T) {
	ctx := context.Background()
	ring := map[string][]byte{"a": pepper('a'), "b": pepper('b')}
	f := newFixture(t)
	withA := f.another(func(o *Options) { o.Hash = mustHasher(t)(HMAC("a", ring)) })
	withB := f.another(func(o *Options) { o.Hash = mustHasher(t)(HMAC("b", ring)) })
	requireCounts := func(want map[string]int) {
		t.Helper()
		for _, ks := range []*Keystore{f.Keystore, withA} {
			counts, err := ks.CountDigests(ctx)
			require.NoError(t, err)
			require.Equal(t, want, counts)
		}
	}
	requireCounts(map[string]int{})
	var ids []string
	for range 5 {
		_, key := f.generate(KeyParams{})
		ids = append(ids, key.ID)
	}
	requireCounts(map[string]int{"sha256$": 5})
	for i, grace := range []time.Duration{time.Hour, time.Hour, 0} {
		_, _, err := withA.Rotate(ctx, ids[i], grace, nil)
		require.NoError(t, err)
	}
	requireCounts(map[string]int{"sha256$": 4, "hmac-sha256$a": 3})
	_, _, err := withB.Rotate(ctx, ids[0], time.Hour, nil)
	require.NoError(t, err)
	requireCounts(map[string]int{"sha256$": 4, "hmac-sha256$a": 3, "hmac-sha256$b": 1})
	_, err = f.Revoke(ctx, ids[4], "")
	require.NoError(t, err)
	_, err = f.Expire(ctx, ids[3], testNoon)
	require.NoError(t, err)
	requireCounts(map[string]int{"sha256$": 4, "hmac-sha256$a": 3, "hmac-sha256$b": 1}) // revoked and expired keys count on
	f.clock.add(time.Hour)
	requireCounts(map[string]int{"sha256$": 2, "hmac-sha256$a": 2, "hmac-sha256$b": 1})
}

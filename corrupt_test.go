package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// damaged puts a store together in which one key of three is damaged.
func damaged(t *testing.T, damage func(data []byte) []byte) (f *fixture, tokens []Token) {
	f = newFixture(t)
	for range 3 {
		token, _ := f.generate(KeyParams{Scopes: []string{"orders:*"}})
		tokens = append(tokens, token)
		f.clock.add(time.Millisecond)
	}
	stored := f.stored(tokens[1].ID())
	stored.Data = damage(stored.Data)
	f.plant(stored)
	return f, tokens
}

func TestADamagedRecordStopsNoListing(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		damage func([]byte) []byte
		want   error
	}{
		"flipped":         {func(d []byte) []byte { d[len(d)/2] ^= 1; return d }, ErrCorrupt},
		"empty":           {func([]byte) []byte { return nil }, ErrCorrupt},
		"unknown version": {func(d []byte) []byte { return forge(3, d[1:len(d)-4]) }, ErrUnknownVersion},
	} {
		f, tokens := damaged(t, c.damage)
		bad := tokens[1].ID()
		keys, next, err := f.List(ctx, ListParams{})
		require.ErrorIs(t, err, c.want, name)
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, bad)
		require.Empty(t, next)
		require.Equal(t, []string{tokens[0].ID(), tokens[2].ID()}, idsOf(keys))

		var all []string
		for key, err := range f.All(ctx, "alice") {
			all = append(all, key.ID)
			if key.ID == bad {
				require.ErrorIs(t, err, c.want)
				require.Equal(t, Key{ID: bad}, key)
			} else {
				require.NoError(t, err)
			}
		}
		require.Equal(t, []string{tokens[0].ID(), bad, tokens[2].ID()}, all)

		counts, err := f.CountDigests(ctx)
		require.ErrorIs(t, err, c.want)
		require.Equal(t, map[string]int{"sha256$": 2}, counts)

		revoked, err := f.RevokeAll(ctx, "alice", "")
		require.ErrorIs(t, err, c.want)
		require.Equal(t, 2, revoked)
		f.clock.add(31 * 24 * time.Hour)
		purged, err := f.Purge(ctx)
		require.NoError(t, err)
		require.Equal(t, 2, purged)

		require.NoError(t, f.Delete(ctx, bad), "a damaged record can be deleted")
	}
}

func idsOf(keys []Key) []string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.ID
	}
	return ids
}

// requireCorrupt demands that neither a lookup nor the management of the key
// takes the record for good.
func requireCorrupt(t *testing.T, f *fixture, token Token, want error, about string) {
	t.Helper()
	ctx := context.Background()
	key, err := f.Lookup(ctx, token.Reveal())
	var refused *LookupError
	if !errors.As(err, &refused) || refused.Reason != ReasonCorrupt || refused.KeyID != token.ID() || refused.Owner != "" ||
		!errors.Is(err, want) || !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnauthenticated) || key.ID != "" {
		t.Fatalf("lookup of %s: %v, %v", about, key, err)
	}
	for name, call := range map[string]func() (Key, error){
		"get":    func() (Key, error) { return f.Get(ctx, token.ID()) },
		"revoke": func() (Key, error) { return f.Revoke(ctx, token.ID(), "") },
		"rotate": func() (Key, error) { _, k, err := f.Rotate(ctx, token.ID(), 0, nil); return k, err },
	} {
		if key, err := call(); !errors.Is(err, want) || key.ID != "" {
			t.Fatalf("%s of %s: %v, %v", name, about, key, err)
		}
	}
	require.Zero(t, f.store.updates.Load())
}

func TestEveryFlippedBitIsCorrupt(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{Name: "n", Scopes: []string{"*"}, Metadata: map[string]string{"k": "v"}, TTL: time.Hour})
	stored := f.stored(key.ID)
	f.store.get = func(context.Context, string) (backend.Record, error) { return stored, nil }
	whole := slices.Clone(stored.Data)
	for bit := range 8 * len(whole) {
		stored.Data = []byte(flipBit(string(whole), bit))
		requireCorrupt(t, f, token, ErrCorrupt, fmt.Sprintf("bit %d", bit))
	}
	for n := range whole {
		stored.Data = whole[:n]
		requireCorrupt(t, f, token, ErrCorrupt, fmt.Sprintf("the first %d bytes", n))
		stored.Data = append(slices.Clone(whole), make([]byte, n+1)...)
		requireCorrupt(t, f, token, ErrCorrupt, fmt.Sprintf("%d more bytes", n+1))
	}
	stored.Data = whole
	require.True(t, f.works(token))
}

func TestAnUnknownVersionIsRefusedLoudly(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{})
	stored := f.stored(key.ID)
	body := stored.Data[1 : len(stored.Data)-4]
	f.store.get = func(context.Context, string) (backend.Record, error) { return stored, nil }
	for version := range 256 {
		stored.Data = forge(byte(version), body)
		if version < firstVersion || version > recordVersion {
			requireCorrupt(t, f, token, ErrUnknownVersion, fmt.Sprintf("version %d", version))
		}
	}
	stored.Data = forge(recordVersion+1, []byte("no CBOR at all"))
	requireCorrupt(t, f, token, ErrUnknownVersion, "another format")
}

func TestARecordInTheWrongPlaceIsCorrupt(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	token, mine := f.generate(KeyParams{Owner: "alice"})
	_, other := f.generate(KeyParams{Owner: "mallory"})
	mineRaw, otherRaw := f.stored(mine.ID), f.stored(other.ID)

	for name, planted := range map[string]backend.Record{
		"the data of another key":   {ID: mine.ID, Owner: "alice", Data: otherRaw.Data},
		"the data and owner of one": {ID: mine.ID, Owner: "mallory", Data: otherRaw.Data},
		"given to another owner":    {ID: mine.ID, Owner: "mallory", Data: mineRaw.Data},
		"owner in another case":     {ID: mine.ID, Owner: "Alice", Data: mineRaw.Data},
	} {
		f.plant(planted)
		requireCorrupt(t, f, token, ErrCorrupt, name)
		_, err := f.ForOwner(planted.Owner).Get(ctx, mine.ID)
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
	f.plant(mineRaw)
	f.store.get = func(context.Context, string) (backend.Record, error) { return otherRaw, nil }
	requireCorrupt(t, f, token, ErrCorrupt, "a reply meant for another request")
	for _, id := range []string{other.ID, "", mine.ID + "0"} {
		renamed := mineRaw
		renamed.ID = id
		f.store.get = func(context.Context, string) (backend.Record, error) { return renamed, nil }
		requireCorrupt(t, f, token, ErrCorrupt, "a reply that says another id")
	}
	f.store.get = func(context.Context, string) (backend.Record, error) { return backend.Record{}, nil }
	requireCorrupt(t, f, token, ErrCorrupt, "no record and no error")
}

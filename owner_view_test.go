package keystore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// viewCalls are the methods of a view that take an id.
func viewCalls(v *OwnerView) map[string]func(id string) (Key, error) {
	ctx := context.Background()
	update := func(id string) (Key, error) {
		return v.Update(ctx, id, func(c *Changes) error { c.Name += "x"; return nil })
	}
	return map[string]func(id string) (Key, error){
		"get":              func(id string) (Key, error) { return v.Get(ctx, id) },
		"update":           update,
		"expire":           func(id string) (Key, error) { return v.Expire(ctx, id, testNoon.Add(time.Hour)) },
		"expire at zero":   func(id string) (Key, error) { return v.Expire(ctx, id, time.Time{}) },
		"expire too late":  func(id string) (Key, error) { return v.Expire(ctx, id, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)) },
		"clear expiry":     func(id string) (Key, error) { return v.ClearExpiry(ctx, id) },
		"rotate":           func(id string) (Key, error) { _, k, err := v.Rotate(ctx, id, time.Hour, nil); return k, err },
		"rotate backwards": func(id string) (Key, error) { _, k, err := v.Rotate(ctx, id, -time.Hour, nil); return k, err },
		"rotate another revision": func(id string) (Key, error) {
			_, k, err := v.Rotate(ctx, id, 0, &RotateParams{IfRevision: 99})
			return k, err
		},
		"end grace":          func(id string) (Key, error) { return v.EndGrace(ctx, id) },
		"revoke":             func(id string) (Key, error) { return v.Revoke(ctx, id, "") },
		"revoke with a tale": func(id string) (Key, error) { return v.Revoke(ctx, id, strings.Repeat("x", 2000)) },
		"delete":             func(id string) (Key, error) { return Key{}, v.Delete(ctx, id) },
	}
}

func TestAnothersKeyIsToAViewAsOneThatIsMissing(t *testing.T) {
	for _, owner := range []string{"bob", "alic", "alice2", "Alice", "alice\u0301"} {
		for _, state := range keyStates {
			for name := range viewCalls(nil) {
				f := newFixture(t)
				_, key := inState(f, state.revoked, state.disabled, state.expired)
				before := f.stored(key.ID)
				call := viewCalls(f.ForOwner(owner))[name]

				missing := strings.Repeat("0", idLen)
				_, want := call(missing)
				require.Error(t, want)
				got, err := call(key.ID)
				require.Error(t, err)
				require.Equal(t, strings.ReplaceAll(want.Error(), missing, key.ID), err.Error(), "%s of a key that is %s", name, state.name)
				require.Equal(t, errors.Is(want, ErrNotFound), errors.Is(err, ErrNotFound))
				require.NotErrorIs(t, err, ErrState)
				require.NotErrorIs(t, err, ErrConflict)
				require.Equal(t, Key{}, got)
				require.Equal(t, before, f.stored(key.ID))
			}
		}
	}
	f := newFixture(t)
	token, key := f.generate(KeyParams{})
	stored := f.stored(key.ID)
	stored.Data = []byte("damaged")
	f.plant(stored)
	_, err := f.ForOwner("bob").Get(context.Background(), key.ID)
	require.ErrorIs(t, err, ErrNotFound, "a damaged one too")
	require.NotErrorIs(t, err, ErrCorrupt)
	require.Equal(t, ReasonCorrupt, f.reason(token))
}

func TestAViewDoesForItsOwnKeysWhatAKeystoreDoes(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	v := f.ForOwner("alice")
	require.Equal(t, "alice", v.Owner())
	invalid := map[string]bool{"expire at zero": true, "expire too late": true, "rotate backwards": true, "revoke with a tale": true}
	for name := range viewCalls(nil) {
		token, key, err := v.Generate(ctx, KeyParams{Name: "n"})
		require.NoError(t, err)
		require.Equal(t, "alice", key.Owner)
		_, err = viewCalls(v)[name](key.ID)
		switch {
		case invalid[name]:
			require.ErrorIs(t, err, ErrInvalid)
		case name == "rotate another revision":
			require.ErrorIs(t, err, ErrConflict)
		default:
			require.NoError(t, err, name)
		}
		require.Equal(t, name != "revoke" && name != "delete", f.works(token))
	}
	_, _, err := v.Generate(ctx, KeyParams{Owner: "alice"})
	require.NoError(t, err)
	_, _, err = v.Generate(ctx, KeyParams{Owner: "bob"})
	requireField(t, err, "owner")
	_, _, err = v.List(ctx, ListParams{Owner: "bob"})
	requireField(t, err, "owner")
}

func TestAViewListsAndRevokesItsOwnKeysOnly(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	hers, all := manyKeys(f, 20)
	v := f.ForOwner("alice")
	for _, owner := range []string{"", "alice"} {
		keys, next, err := v.List(ctx, ListParams{Owner: owner, Limit: 200})
		require.NoError(t, err)
		require.Empty(t, next)
		require.Equal(t, hers, idsOf(keys))
	}
	var found []string
	for key, err := range v.All(ctx) {
		require.NoError(t, err)
		found = append(found, key.ID)
	}
	require.Equal(t, hers, found)
	n, err := v.RevokeAll(ctx, "")
	require.NoError(t, err)
	require.Equal(t, 20, n)
	revoked := 0
	for key, err := range f.All(ctx, "") {
		require.NoError(t, err)
		require.Equal(t, key.Owner == "alice", key.State(testNoon) == Revoked)
		revoked++
	}
	require.Len(t, all, revoked)
}

func TestAViewOfNobodyAnswersNothing(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	_, key := f.generate(KeyParams{})
	calls := f.store.calls.Load()
	for _, owner := range badOwners {
		v := f.ForOwner(owner)
		for name, call := range viewCalls(v) {
			for _, id := range []string{key.ID, "", strings.Repeat("0", idLen)} {
				got, err := call(id)
				requireField(t, err, "owner")
				require.Equal(t, Key{}, got, name)
			}
		}
		token, _, err := v.Generate(ctx, KeyParams{Owner: "alice"})
		requireField(t, err, "owner")
		require.True(t, token.IsZero())
		_, _, err = v.List(ctx, ListParams{Owner: "alice"})
		requireField(t, err, "owner")
		_, err = v.RevokeAll(ctx, "")
		requireField(t, err, "owner")
		yields := 0
		for _, err := range v.All(ctx) {
			yields++
			requireField(t, err, "owner")
		}
		require.Equal(t, 1, yields)
	}
	require.Equal(t, calls, f.store.calls.Load())
}

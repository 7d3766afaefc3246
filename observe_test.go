package keystore

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/memory"
)

// recorder is an Observer that keeps what it is told.
type recorder struct {
	mu   sync.Mutex
	told []toldOf
}

type toldOf struct {
	Operation
	parent string // the operation that the context was in
	err    error
	ended  int
}

type inOperation struct{}

func (r *recorder) Begin(ctx context.Context, op Operation) (context.Context, func(error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	parent, _ := ctx.Value(inOperation{}).(string)
	i := len(r.told)
	r.told = append(r.told, toldOf{Operation: op, parent: parent})
	return context.WithValue(ctx, inOperation{}, op.Name), func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told[i].err = err
		r.told[i].ended++
	}
}

// take returns what was told since the last take, and checks that all has ended.
func (r *recorder) take(t *testing.T) []toldOf {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.told
	r.told = nil
	for _, o := range told {
		require.Equal(t, 1, o.ended, "%s ends once", o.Name)
	}
	return told
}

func TestTheObserverIsToldOfEveryOperation(t *testing.T) {
	ctx := t.Context()
	r := &recorder{}
	ks, err := New(memory.New(), &Options{Observer: r, TouchInterval: Never, PurgeInterval: Never, CacheSize: -1})
	require.NoError(t, err)
	defer ks.Close()
	token, key, err := ks.Generate(ctx, KeyParams{Owner: "alice", TTL: time.Hour})
	require.NoError(t, err)
	require.Equal(t, []toldOf{
		{Operation: Operation{Name: "generate"}, ended: 1},
		{Operation: Operation{Name: "create", Store: true, KeyID: key.ID}, parent: "generate", ended: 1},
	}, r.take(t))

	_, err = ks.Lookup(ctx, token.Reveal(), "orders:read")
	require.ErrorIs(t, err, ErrMissingScope)
	told := r.take(t)
	require.Len(t, told, 2)
	require.Equal(t, Operation{Name: "lookup", KeyID: key.ID}, told[0].Operation)
	require.Equal(t, err, told[0].err, "the observer has the error that the caller has")
	require.Equal(t, toldOf{Operation: Operation{Name: "get", Store: true, KeyID: key.ID}, parent: "lookup", ended: 1}, told[1])

	view := ks.ForOwner("alice")
	noop := func(*Changes) error { return nil }
	for name, call := range map[string]func(id string) error{
		"get":           func(id string) error { _, err := view.Get(ctx, id); return err },
		"list":          func(string) error { _, _, err := ks.List(ctx, ListParams{}); return err },
		"update":        func(id string) error { _, err := view.Update(ctx, id, noop); return err },
		"expire":        func(id string) error { _, err := ks.Expire(ctx, id, time.Now().Add(time.Hour)); return err },
		"clear_expiry":  func(id string) error { _, err := ks.ClearExpiry(ctx, id); return err },
		"rotate":        func(id string) error { _, _, err := ks.Rotate(ctx, id, time.Hour, nil); return err },
		"end_grace":     func(id string) error { _, err := ks.EndGrace(ctx, id); return err },
		"revoke_all":    func(string) error { _, err := ks.RevokeAll(ctx, "bob", ""); return err },
		"purge":         func(string) error { _, err := ks.Purge(ctx); return err },
		"count_digests": func(string) error { _, err := ks.CountDigests(ctx); return err },
		"ping":          func(string) error { return ks.Ping(ctx) },
		"all": func(string) error {
			for _, err := range ks.All(ctx, "") {
				if err != nil {
					return err
				}
			}
			return nil
		},
	} {
		require.NoError(t, call(key.ID), name)
		told := r.take(t)
		require.GreaterOrEqual(t, len(told), 2, "%s and what it asked of the store", name)
		require.Equal(t, name, told[0].Name)
		require.False(t, told[0].Store)
		for _, o := range told[1:] {
			assert.True(t, o.Store, "%s: one operation, and no other inside it", name)
			assert.Equal(t, name, o.parent, "%s: the store is called in the context that Begin returned", name)
		}
	}
	for _, call := range []func() error{
		func() error { _, err := ks.Revoke(ctx, key.ID, ""); return err },
		func() error { return ks.Delete(ctx, key.ID) },
	} {
		require.NoError(t, call())
		require.Len(t, r.take(t), 3, "the operation, a read and a write")
	}

	_, err = ks.Get(ctx, token.Reveal())
	require.ErrorIs(t, err, ErrNotFound)
	require.Empty(t, r.take(t)[0].KeyID, "what is no id is not repeated: it may be a token")
}

func TestTheObserverSeesPanicsAsFailures(t *testing.T) {
	r := &recorder{}
	ks, err := New(memory.New(), &Options{Observer: r, TouchInterval: Never, PurgeInterval: Never})
	require.NoError(t, err)
	defer ks.Close()
	token, key, err := ks.Generate(t.Context(), KeyParams{Owner: "alice"})
	require.NoError(t, err)
	r.take(t)
	require.Panics(t, func() {
		_, _ = ks.Update(t.Context(), key.ID, func(*Changes) error { panic("of the program") })
	})
	told := r.take(t)
	require.ErrorIs(t, told[0].err, ErrPanicked)

	broken, err := New(panicking{}, &Options{Observer: r, CacheSize: -1, TouchInterval: Never, PurgeInterval: Never})
	require.NoError(t, err)
	defer broken.Close()
	for name, call := range map[string]func(){
		"ping":          func() { _ = broken.Ping(t.Context()) },
		"get":           func() { _, _ = broken.Get(t.Context(), key.ID) },
		"list":          func() { _, _, _ = broken.List(t.Context(), ListParams{}) },
		"all":           func() { broken.All(t.Context(), "")(func(Key, error) bool { return true }) },
		"count_digests": func() { _, _ = broken.CountDigests(t.Context()) },
		"lookup":        func() { _, _ = broken.Lookup(t.Context(), token.Reveal()) },
		"revoke_all":    func() { _, _ = broken.RevokeAll(t.Context(), "alice", "") },
		"purge":         func() { _, _ = broken.Purge(t.Context()) },
	} {
		require.Panics(t, call, name)
		told := r.take(t)
		require.Equal(t, name, told[0].Name)
		for _, o := range told {
			require.ErrorIs(t, o.err, ErrPanicked, "%s of %s", o.Name, name)
		}
	}
}

// panicking is a store of which every call panics.
type panicking struct{ backend.Backend }

// The cache must not lose what a Watcher offers because an observer stands before
// the backend, and Keystores with and without one are of one family.
func TestAnObserverChangesNothingForTheCache(t *testing.T) {
	ctx := t.Context()
	b := memory.New()
	r := &recorder{}
	watched, err := New(b, &Options{Observer: r, CacheTTL: time.Hour})
	require.NoError(t, err)
	defer watched.Close()
	other, err := New(b, &Options{CacheSize: -1})
	require.NoError(t, err)
	defer other.Close()
	require.Eventually(t, func() bool { return watched.Stats().Watch == WatchActive }, 10*time.Second, time.Millisecond)
	token, key, err := watched.Generate(ctx, KeyParams{Owner: "alice"})
	require.NoError(t, err)
	for range 50 {
		_, err = watched.Lookup(ctx, token.Reveal())
		require.NoError(t, err)
	}
	names := map[string]int{}
	for _, o := range r.take(t) {
		names[o.Name]++
	}
	require.Equal(t, []string{"create", "generate", "get", "lookup"}, slices.Sorted(maps.Keys(names)))
	require.Less(t, names["get"], 5, "the cache answered the others: only messages of before may empty it in between")
	_, err = other.Revoke(ctx, key.ID, "")
	require.NoError(t, err)
	_, err = watched.Lookup(ctx, token.Reveal())
	require.True(t, errors.Is(err, ErrRevoked), "at once, without waiting for a message")
}

package keystore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// writes are the changes that a state of a key has seen, each a number of its own:
// an independent account of which state is the newer one.
type changes map[int]bool

func (c changes) within(other changes) bool {
	for n := range c {
		if !other[n] {
			return false
		}
	}
	return true
}

func (c changes) with(n int) changes {
	more := changes{n: true}
	for old := range c {
		more[old] = true
	}
	return more
}

// world is two stores and what was done to them.
type world struct {
	*rapid.T
	stores [2]*memory.Backend
	ks     [2]*keystore.Keystore
	seen   [2]map[string]changes // by key
	tokens map[string][]string   // by key, all that were issued
	ids    []string
	count  int
}

// TestAnyTwoStoresCopy changes two stores at random, copies between them in both
// directions, and compares each copy with what the account says of it.
func TestAnyTwoStoresCopy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{T: t, tokens: map[string][]string{}}
		for i := range w.stores {
			w.stores[i], w.seen[i] = memory.New(), map[string]changes{}
			var err error
			w.ks[i], err = keystore.New(w.stores[i], &keystore.Options{TouchInterval: keystore.Never, PurgeInterval: keystore.Never})
			require.NoError(t, err)
			defer w.ks[i].Close()
		}
		t.Repeat(map[string]func(*rapid.T){
			"generate": func(*rapid.T) { w.generate() },
			"change":   func(*rapid.T) { w.change() },
			"delete":   func(*rapid.T) { w.delete() },
			"use":      func(*rapid.T) { w.use() },
			"copy":     func(*rapid.T) { w.copy() },
		})
	})
}

func (w *world) side() int { return rapid.IntRange(0, 1).Draw(w.T, "store") }

func (w *world) id() string {
	if len(w.ids) == 0 {
		w.generate()
	}
	return rapid.SampledFrom(w.ids).Draw(w.T, "key")
}

// wrote notes a change of a key in one store.
func (w *world) wrote(at int, id string) {
	w.count++
	w.seen[at][id] = w.seen[at][id].with(w.count)
}

func (w *world) generate() {
	at := w.side()
	token, key, err := w.ks[at].Generate(w.Context(), keystore.KeyParams{Owner: "owner"})
	require.NoError(w, err)
	w.ids = append(w.ids, key.ID)
	w.tokens[key.ID] = append(w.tokens[key.ID], token.Reveal())
	w.wrote(at, key.ID)
}

func (w *world) change() {
	at, id, ctx := w.side(), w.id(), w.Context()
	before, err := w.ks[at].Get(ctx, id)
	if isAny(err, keystore.ErrNotFound) || before.State(time.Now()) == keystore.Revoked {
		return
	}
	require.NoError(w, err)
	ks := w.ks[at]
	switch rapid.IntRange(0, 4).Draw(w.T, "change") {
	case 0:
		_, err = ks.Revoke(ctx, id, fmt.Sprint("store ", at))
	case 1:
		var token keystore.Token
		token, _, err = ks.Rotate(ctx, id, time.Hour*time.Duration(rapid.IntRange(0, 1).Draw(w.T, "grace")), nil)
		w.tokens[id] = append(w.tokens[id], token.Reveal())
	case 2:
		_, err = ks.Expire(ctx, id, time.Now().Add(time.Hour+time.Duration(w.count)*time.Second))
	case 3:
		_, err = ks.Update(ctx, id, func(c *keystore.Changes) error { c.Disabled = !c.Disabled; return nil })
	default:
		_, err = ks.Update(ctx, id, func(c *keystore.Changes) error { c.Name = fmt.Sprint(w.count); return nil })
	}
	if isAny(err, keystore.ErrState) { // too many secrets
		w.tokens[id] = w.tokens[id][:len(w.tokens[id])-1]
		return
	}
	require.NoError(w, err)
	w.wrote(at, id)
}

func (w *world) delete() {
	at, id := w.side(), w.id()
	require.NoError(w, w.stores[at].Delete(w.Context(), id))
	delete(w.seen[at], id)
}

func (w *world) use() {
	used := map[string]time.Time{w.id(): time.UnixMilli(rapid.Int64Range(1, 100).Draw(w.T, "time")).UTC()}
	require.NoError(w, w.stores[w.side()].Touch(w.Context(), used))
}

// contents is what a store holds, by key.
func (w *world) contents(at int) map[string]backend.Record {
	page, err := w.stores[at].List(w.Context(), backend.ListOptions{Limit: backend.MaxLimit})
	require.NoError(w, err)
	all := map[string]backend.Record{}
	for _, r := range page {
		all[r.ID] = r
	}
	return all
}

// accepted are the tokens of a key that a store accepts.
func (w *world) accepted(at int, id string) (tokens []string) {
	for _, token := range w.tokens[id] {
		if _, err := w.ks[at].Lookup(w.Context(), token); err == nil {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

func (w *world) copy() {
	from := w.side()
	to := 1 - from
	source, before := w.contents(from), w.contents(to)
	worked := map[string][]string{}
	for id := range before {
		worked[id] = w.accepted(to, id)
	}
	options := keystore.InPages(rapid.IntRange(1, 5).Draw(w.T, "page"))
	result, err := keystore.Copy(w.Context(), w.stores[from], w.stores[to], options)
	require.Equal(w, result.Diverged > 0, isAny(err, keystore.ErrConflict), "%v", err)
	require.NotErrorIs(w, err, keystore.ErrUnavailable)
	require.Equal(w, int64(len(source)), result.Read)
	require.Equal(w, result.Read, result.Created+result.Updated+result.Unchanged+result.Kept+result.Revoked+result.Diverged)

	after := w.contents(to)
	for id, old := range before {
		if _, found := source[id]; !found {
			require.Equal(w, old, after[id], "what the source lacks is left alone")
		}
	}
	for id, s := range source {
		w.check(from, id, s, before[id], after[id], worked[id])
	}

	again := faulty.New(w.stores[to], nil)
	second, _ := keystore.Copy(w.Context(), w.stores[from], again, options)
	require.Zero(w, writesTo(again), "a second copy has nothing to write")
	require.Equal(w, result.Diverged, second.Diverged)
}

// check compares what became of one key with the account.
func (w *world) check(from int, id string, source, before, after backend.Record, worked []string) {
	to := 1 - from
	s, t := w.seen[from][id], w.seen[to][id]
	sourceKey, err := w.ks[from].Get(w.Context(), id)
	require.NoError(w, err)
	afterKey, err := w.ks[to].Get(w.Context(), id)
	require.NoError(w, err)
	targetRevoked := false
	if before.ID != "" {
		old, err := keystore.New(planted(w, before), nil)
		require.NoError(w, err)
		defer old.Close()
		key, err := old.Get(w.Context(), id)
		require.NoError(w, err)
		targetRevoked = !key.RevokedAt.IsZero()
	}
	require.Equal(w, targetRevoked || !sourceKey.RevokedAt.IsZero(), !afterKey.RevokedAt.IsZero(), "revoked in either is revoked in the target")
	switch {
	case t == nil || t.within(s):
		require.Equal(w, source.Data, after.Data, "the source is as new or newer")
		require.Equal(w, source.PurgeAt, after.PurgeAt)
		require.Equal(w, w.accepted(from, id), w.accepted(to, id))
		w.seen[to][id] = s
	case s.within(t) || sourceKey.RevokedAt.IsZero() || targetRevoked:
		require.Equal(w, before.Data, after.Data, "the target is newer, or both are")
		require.Equal(w, worked, w.accepted(to, id))
	default:
		require.NotEqual(w, before.Data, after.Data)
		require.Empty(w, w.accepted(to, id), "the source's revocation holds")
		w.wrote(to, id)
	}
	last := source.LastUsed
	if before.LastUsed.After(last) {
		last = before.LastUsed
	}
	if diverged := t != nil && !t.within(s) && !s.within(t); !diverged {
		require.Equal(w, last, after.LastUsed)
	}
}

// planted is a store of one record.
func planted(w *world, r backend.Record) backend.Backend {
	store := memory.New()
	require.NoError(w, store.Create(w.Context(), r))
	return store
}

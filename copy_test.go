package keystore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// move is two stores, each with the keystore of a program on it.
type move struct {
	t              *testing.T
	from, to       backend.Backend
	source, target *keystore.Keystore
}

func newMove(t *testing.T) *move { return newMoveOf(t, memory.New(), memory.New()) }

func newMoveOf(t *testing.T, from, to backend.Backend) *move {
	return &move{t, from, to, newStoreOn(t, from, keystore.Options{}), newStoreOn(t, to, keystore.Options{})}
}

// copy copies, and demands that the copy has no problem.
func (m *move) copy() keystore.CopyResult {
	m.t.Helper()
	result, err := keystore.Copy(m.t.Context(), m.from, m.to, nil)
	require.NoError(m.t, err)
	return result
}

// key makes a key that both stores have.
func (m *move) key() (token string, id string) {
	m.t.Helper()
	token, key := generate(m.t, m.source)
	require.Equal(m.t, int64(1), m.copy().Created)
	return token, key.ID
}

// everyRecord returns what the store holds.
func everyRecord(t *testing.T, b backend.Backend) (all []backend.Record) {
	t.Helper()
	for o := (backend.ListOptions{Limit: backend.MaxLimit}); ; o.After = all[len(all)-1].ID {
		page, err := b.List(context.WithoutCancel(t.Context()), o)
		require.NoError(t, err)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
	}
}

// requireCopied demands that the target has every record of the source, but for
// the revision.
func requireCopied(t *testing.T, from, to backend.Backend) {
	t.Helper()
	want := everyRecord(t, from)
	for i := range want {
		want[i].Revision = 1
	}
	require.Equal(t, want, everyRecord(t, to))
}

// writesTo counts what a test must not see.
func writesTo(b faulty.Backend) int {
	return b.Calls(faulty.Create) + b.Calls(faulty.Update) + b.Calls(faulty.Delete) + b.Calls(faulty.Touch) + b.Calls(faulty.Purge)
}

// step changes the key that both stores have in one of them.
type step func(m *move, id string)

func (m *move) rename(ks *keystore.Keystore, id, name string) {
	m.t.Helper()
	_, err := ks.Update(m.t.Context(), id, func(c *keystore.Changes) error { c.Name = name; return nil })
	require.NoError(m.t, err)
}

func (m *move) revoke(ks *keystore.Keystore, id, reason string) {
	m.t.Helper()
	_, err := ks.Revoke(m.t.Context(), id, reason)
	require.NoError(m.t, err)
}

func sourceChanges(m *move, id string) { m.rename(m.source, id, "s") }
func targetChanges(m *move, id string) { m.rename(m.target, id, "t") }
func sourceRevokes(m *move, id string) { m.revoke(m.source, id, "s") }
func targetRevokes(m *move, id string) { m.revoke(m.target, id, "t") }

func sourceChangesOften(n int) step {
	return func(m *move, id string) {
		for i := range n {
			m.rename(m.source, id, fmt.Sprint("s", i%2))
		}
		m.rename(m.source, id, "s")
	}
}

// TestCopyBringsEveryKeyAsItIs fills a store with keys of all kinds and moves it
// over each driver that needs no server, and back.
func TestCopyBringsEveryKeyAsItIs(t *testing.T) {
	for _, from := range backends {
		for _, to := range backends {
			t.Run(from.name+" to "+to.name, func(t *testing.T) {
				ctx, clock := t.Context(), newManualClock()
				pepper, err := keystore.HMAC("1", map[string][]byte{"1": []byte(fmt.Sprintf("%032d", 1))})
				require.NoError(t, err)
				opts := keystore.Options{Now: clock.now, AcceptHash: []keystore.Hasher{pepper}, TouchInterval: time.Hour}
				source := from.open(t)
				ks := newStoreOn(t, source, opts)
				want := map[string]keystore.Reason{} // of each token

				active, _ := generate(t, ks)
				want[active] = ""
				gone, key := generate(t, ks)
				_, err = ks.Revoke(ctx, key.ID, "leaked")
				require.NoError(t, err)
				want[gone] = keystore.ReasonRevoked
				off, key := generate(t, ks)
				_, err = ks.Update(ctx, key.ID, func(c *keystore.Changes) error { c.Disabled = true; return nil })
				require.NoError(t, err)
				want[off] = keystore.ReasonDisabled
				over, key := generate(t, ks)
				_, err = ks.Expire(ctx, key.ID, clock.now())
				require.NoError(t, err)
				want[over] = keystore.ReasonExpired
				old, key := generate(t, ks)
				inGrace, _, err := ks.Rotate(ctx, key.ID, 0, nil)
				require.NoError(t, err)
				current, _, err := ks.Rotate(ctx, key.ID, time.Hour, nil)
				require.NoError(t, err)
				want[old], want[inGrace.Reveal()], want[current.Reveal()] = keystore.ReasonSuperseded, "", ""
				full, key, err := ks.Generate(ctx, keystore.KeyParams{
					Owner: "ö", Name: "name", Scopes: []string{"orders:*"}, Metadata: map[string]string{"a.b": "$x", "": "🔑"}, TTL: time.Hour,
				})
				require.NoError(t, err)
				want[full.Reveal()] = ""
				peppered, err := keystore.New(source, &keystore.Options{Hash: pepper, Now: clock.now})
				require.NoError(t, err)
				hashed, _, err := peppered.Generate(ctx, keystore.KeyParams{Owner: "owner"})
				require.NoError(t, err)
				require.NoError(t, peppered.Close())
				want[hashed.Reveal()] = ""
				_, err = ks.Lookup(ctx, active)
				require.NoError(t, err)
				require.NoError(t, ks.Close()) // writes when the key was last used

				target := faulty.New(to.open(t), nil)
				result, err := keystore.Copy(ctx, source, target, nil)
				require.NoError(t, err)
				keys := int64(7)
				last := everyRecord(t, source)[keys-1].ID
				require.Equal(t, keystore.CopyResult{Read: keys, Created: keys, Last: last}, result)
				requireCopied(t, source, target)
				moved := newStoreOn(t, target, opts)
				for token, reason := range want {
					_, err := moved.Lookup(ctx, token)
					require.Equal(t, reason, reasonOf(err), "%v", err)
				}
				copied, err := moved.Get(ctx, key.ID)
				require.NoError(t, err)
				require.Equal(t, key, copied)

				before := writesTo(target)
				result, err = keystore.Copy(ctx, source, target, nil)
				require.NoError(t, err)
				require.Equal(t, keystore.CopyResult{Read: keys, Unchanged: keys, Last: last}, result)
				require.Equal(t, before, writesTo(target), "a second copy has nothing to write")
				compared, err := keystore.Compare(ctx, source, target, nil)
				require.NoError(t, err)
				require.Equal(t, keystore.CompareResult{Same: keys}, compared)
			})
		}
	}
}

func TestCopyKeepsTheNewerState(t *testing.T) {
	type result = keystore.CopyResult
	unchanged, updated, kept := result{Unchanged: 1}, result{Updated: 1}, result{Kept: 1}
	diverged, revoked := result{Diverged: 1}, result{Revoked: 1}
	for _, c := range []struct {
		about       string
		steps       []step
		first, then result // of one copy, and of another
		name        string // of the target's key afterwards
		reason      string // of its revocation
	}{
		{"neither changed", nil, unchanged, unchanged, "", ""},
		{"source changed", []step{sourceChanges}, updated, unchanged, "s", ""},
		{"source changed 31 times", []step{sourceChangesOften(30)}, updated, unchanged, "s", ""},
		{"source changed too often to tell", []step{sourceChangesOften(31)}, diverged, diverged, "", ""},
		{"source revoked", []step{sourceRevokes}, updated, unchanged, "", "s"},
		{"source changed, then revoked", []step{sourceChanges, sourceRevokes}, updated, unchanged, "s", "s"},
		{"source revoked after too many changes", []step{sourceChangesOften(40), sourceRevokes}, revoked, kept, "", "s"},
		{"target changed", []step{targetChanges}, kept, kept, "t", ""},
		{"target revoked", []step{targetRevokes}, kept, kept, "", "t"},
		{"both changed", []step{sourceChanges, targetChanges}, diverged, diverged, "t", ""},
		{"source revoked, target changed", []step{sourceRevokes, targetChanges}, revoked, kept, "t", "s"},
		{"source changed, target revoked", []step{sourceChanges, targetRevokes}, diverged, diverged, "", "t"},
		{"both revoked", []step{sourceRevokes, targetRevokes}, kept, kept, "", "t"},
		{"both changed, then revoked", []step{sourceChanges, targetChanges, sourceRevokes, targetRevokes}, kept, kept, "t", "t"},
	} {
		t.Run(c.about, func(t *testing.T) {
			m := newMove(t)
			token, id := m.key()
			for _, step := range c.steps {
				step(m, id)
			}
			before := everyRecord(t, m.to)
			for _, want := range []result{c.first, c.then} {
				got, err := keystore.Copy(t.Context(), m.from, m.to, nil)
				if want.Diverged == 0 {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, keystore.ErrConflict)
					require.Equal(t, before, everyRecord(t, m.to), "it is left as it is")
					require.Len(t, got.Problems, 1)
					require.Equal(t, id, got.Problems[0].ID)
					require.ErrorIs(t, got.Problems[0].Err, keystore.ErrConflict)
					require.ErrorContains(t, got.Problems[0].Err, "key "+id)
				}
				want.Read, want.Last, want.Problems = 1, id, got.Problems
				require.Equal(t, want, got)
			}
			key, err := m.target.Get(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, c.name, key.Name)
			require.Equal(t, c.reason, key.RevokeReason)
			_, err = m.target.Lookup(t.Context(), token)
			require.Equal(t, c.reason != "", isAny(err, keystore.ErrRevoked), "%v", err)
		})
	}
}

// A key that Copy revokes itself is written like one that its program revokes.
func TestCopyRevokesForAsLongAsItIsTold(t *testing.T) {
	for _, retention := range []time.Duration{0, time.Hour, keystore.Never} {
		m := newMove(t)
		_, id := m.key()
		targetChanges(m, id)
		sourceRevokes(m, id)
		_, err := keystore.Copy(t.Context(), m.from, m.to, &keystore.CopyOptions{Retention: retention})
		require.NoError(t, err)
		key, err := m.source.Get(t.Context(), id)
		require.NoError(t, err)
		copied, err := m.target.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, key.RevokedAt, copied.RevokedAt)
		want := time.Time{}
		switch retention {
		case 0:
			want = key.RevokedAt.Add(30 * 24 * time.Hour)
		case time.Hour:
			want = key.RevokedAt.Add(time.Hour)
		}
		require.Equal(t, want, everyRecord(t, m.to)[0].PurgeAt)
	}
}

func TestCopyRaisesLastUses(t *testing.T) {
	early, late := time.UnixMilli(1000).UTC(), time.UnixMilli(2000).UTC()
	for _, c := range []struct{ source, target, want time.Time }{
		{time.Time{}, time.Time{}, time.Time{}},
		{early, time.Time{}, early},
		{time.Time{}, early, early},
		{late, early, late},
		{early, late, late},
	} {
		m := newMove(t)
		_, id := m.key()
		require.NoError(t, m.from.Touch(t.Context(), map[string]time.Time{id: c.source}))
		require.NoError(t, m.to.Touch(t.Context(), map[string]time.Time{id: c.target}))
		m.copy()
		require.Equal(t, c.want, everyRecord(t, m.to)[0].LastUsed)
	}
}

// another is somebody else's key under the same id.
func (m *move) another(id string) backend.Record {
	m.t.Helper()
	store := memory.New()
	_, key, err := newStoreOn(m.t, store, keystore.Options{}).Generate(m.t.Context(), keystore.KeyParams{Owner: "somebody else"})
	require.NoError(m.t, err)
	r := everyRecord(m.t, store)[0]
	r.ID, r.Data = id, underID(r.Data, key.ID, id)
	return r
}

// Ids are random, so this takes somebody's mistake; it must not hand a key over.
func TestCopyNeverTouchesAnotherOwnersKey(t *testing.T) {
	m := newMove(t)
	token, key := generate(t, m.source)
	m.revoke(m.source, key.ID, "s")
	other := m.another(key.ID)
	require.NoError(t, m.to.Create(t.Context(), other))
	require.NoError(t, m.from.Touch(t.Context(), map[string]time.Time{key.ID: time.Now()}))
	before := everyRecord(t, m.to)
	result, err := keystore.Copy(t.Context(), m.from, m.to, nil)
	require.ErrorIs(t, err, keystore.ErrConflict)
	require.Equal(t, int64(1), result.Diverged)
	require.ErrorContains(t, result.Problems[0].Err, "another owner")
	require.Equal(t, before, everyRecord(t, m.to))
	require.NotContains(t, err.Error()+result.Problems[0].Err.Error(), token)
}

func TestCopyPassesOverWhatItCannotRead(t *testing.T) {
	m := newMove(t)
	var ids []string
	for range 6 {
		_, key := generate(t, m.source)
		ids = append(ids, key.ID)
	}
	spoil := func(b backend.Backend, id string, how func(data []byte) []byte) {
		r, err := b.Get(t.Context(), id)
		require.NoError(t, err)
		r.Data = how(r.Data)
		require.NoError(t, b.Update(t.Context(), r))
	}
	flip := func(data []byte) []byte { data[len(data)/2] ^= 1; return data }
	spoil(m.from, ids[1], flip)
	spoil(m.from, ids[2], func(data []byte) []byte { // written by a later version
		data[0] += 100
		return resealed(data)
	})
	spoil(m.from, ids[3], func([]byte) []byte { return nil })
	m.rename(m.source, ids[4], "s")
	result, err := keystore.Copy(t.Context(), m.from, m.to, nil)
	require.ErrorIs(t, err, keystore.ErrCorrupt)
	require.NotErrorIs(t, err, keystore.ErrConflict)
	require.Equal(t, int64(3), result.Created)
	spoil(m.to, ids[4], flip) // and the source's is newer
	m.rename(m.source, ids[4], "s2")

	before := everyRecord(t, m.to)
	result, err = keystore.Copy(t.Context(), m.from, m.to, nil)
	require.ErrorIs(t, err, keystore.ErrCorrupt)
	var named []string
	for _, p := range result.Problems {
		require.ErrorIs(t, p.Err, keystore.ErrCorrupt)
		require.Equal(t, p.ID == ids[2], isAny(p.Err, keystore.ErrUnknownVersion))
		named = append(named, p.ID)
	}
	require.ElementsMatch(t, ids[1:5], named)
	require.IsIncreasing(t, named)
	result.Problems = nil
	require.Equal(t, keystore.CopyResult{Read: 6, Unchanged: 2, Damaged: 4, Last: lastID(everyRecord(t, m.from))}, result)
	require.Equal(t, before, everyRecord(t, m.to))
}

func lastID(records []backend.Record) string { return records[len(records)-1].ID }

func TestCopyNamesTheFirstProblemsAndCountsAll(t *testing.T) {
	m := newMove(t)
	for range 150 {
		_, key := generate(t, m.source)
		require.NoError(t, m.to.Create(t.Context(), m.another(key.ID)))
	}
	result, err := keystore.Copy(t.Context(), m.from, m.to, keystore.InPages(40))
	require.ErrorIs(t, err, keystore.ErrConflict)
	require.Equal(t, int64(150), result.Diverged)
	require.Len(t, result.Problems, 100)
	for i, r := range everyRecord(t, m.from)[:100] {
		require.Equal(t, r.ID, result.Problems[i].ID)
	}
}

func TestCopyRefusesBadOptions(t *testing.T) {
	b := memory.New()
	for field, o := range map[string]keystore.CopyOptions{
		"After":     {After: "no id"},
		"Writers":   {Writers: -1},
		"OpTimeout": {OpTimeout: -2},
		"Retention": {Retention: -2},
	} {
		_, err := keystore.Copy(t.Context(), b, b, &o)
		var at *keystore.FieldError
		require.ErrorAs(t, err, &at)
		require.Equal(t, field, at.Field)
	}
	_, err := keystore.Compare(t.Context(), b, b, &keystore.CompareOptions{OpTimeout: -2})
	require.ErrorIs(t, err, keystore.ErrInvalid)
	for _, pair := range [][2]backend.Backend{{nil, b}, {b, nil}} {
		_, err = keystore.Copy(t.Context(), pair[0], pair[1], nil)
		require.ErrorIs(t, err, keystore.ErrInvalid)
		_, err = keystore.Compare(t.Context(), pair[0], pair[1], nil)
		require.ErrorIs(t, err, keystore.ErrInvalid)
	}
}

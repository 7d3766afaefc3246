package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
)

// TestACopyThatIsOvertaken has another writer change the target between Copy's
// look and its write.
func TestACopyThatIsOvertaken(t *testing.T) {
	delete := func(m *move, id string) { require.NoError(t, m.target.Delete(m.t.Context(), id)) }
	arrive := func(m *move, id string) {
		r, err := m.from.Get(m.t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, m.to.Create(m.t.Context(), r))
	}
	both := func(steps ...step) step {
		return func(m *move, id string) {
			for _, s := range steps {
				s(m, id)
			}
		}
	}
	type result = keystore.CopyResult
	for _, c := range []struct {
		about    string
		method   faulty.Method // of the write
		before   step
		overtake step
		want     result
		name     string // of the target's key then; "-": there is none
		revoked  bool
	}{
		{"copied by another", faulty.Create, nil, arrive, result{Created: 1}, "", false},
		{"copied by another and changed", faulty.Create, nil, both(arrive, targetChanges), result{Kept: 1}, "t", false},
		{"copied by another and revoked", faulty.Create, nil, both(arrive, targetRevokes), result{Kept: 1}, "", true},
		{"updated by another copy", faulty.Update, sourceChanges, func(m *move, _ string) { m.copy() }, result{Updated: 1}, "s", false},
		{"updated by another copy and changed", faulty.Update, sourceChanges, func(m *move, id string) { m.copy(); targetChanges(m, id) }, result{Kept: 1}, "t", false},
		{"changed", faulty.Update, sourceChanges, targetChanges, result{Diverged: 1}, "t", false},
		{"revoked", faulty.Update, sourceChanges, targetRevokes, result{Diverged: 1}, "", true},
		{"changed before a revocation comes", faulty.Update, sourceRevokes, targetChanges, result{Revoked: 1}, "t", true},
		{"revoked before a revocation comes", faulty.Update, sourceRevokes, targetRevokes, result{Kept: 1}, "", true},
		{"deleted", faulty.Update, sourceChanges, delete, result{Kept: 1}, "-", false},
		{"deleted before a revocation comes", faulty.Update, sourceRevokes, delete, result{Kept: 1}, "-", false},
		{"changed again, of a key that diverged", faulty.Update, both(targetChanges, sourceRevokes), targetChanges, result{Revoked: 1}, "t", true},
		{"revoked, of a key that diverged", faulty.Update, both(targetChanges, sourceRevokes), targetRevokes, result{Kept: 1}, "t", true},
		{"deleted, of a key that diverged", faulty.Update, both(targetChanges, sourceRevokes), delete, result{Kept: 1}, "-", false},
	} {
		for when, plan := range map[string]func(step func()) faulty.Plan{
			"once it was listed": func(step func()) faulty.Plan { return faulty.Nth(1, faulty.List, faulty.Around(nil, step)) },
			"as it is written":   func(step func()) faulty.Plan { return faulty.Nth(1, c.method, faulty.Around(step, nil)) },
			"between two sendings": func(step func()) faulty.Plan {
				return faulty.Nth(1, c.method, func(context.Context, faulty.Do) error { step(); return errInjected })
			},
		} {
			t.Run(c.about+", "+when, func(t *testing.T) {
				m := newMove(t)
				var id string
				if c.method == faulty.Create {
					_, key := generate(t, m.source)
					id = key.ID
				} else {
					_, id = m.key()
				}
				if c.before != nil {
					c.before(m, id)
				}
				to := faulty.New(m.to, plan(func() { c.overtake(m, id) }))
				result, err := keystore.Copy(t.Context(), m.from, to, nil)
				require.Equal(t, c.want.Diverged > 0, errors.Is(err, keystore.ErrConflict))
				c.want.Read, c.want.Last, c.want.Problems = 1, id, result.Problems
				require.Equal(t, c.want, result)
				key, err := m.target.Get(t.Context(), id)
				if c.name == "-" {
					require.ErrorIs(t, err, keystore.ErrNotFound)
					return
				}
				require.NoError(t, err)
				require.Equal(t, c.name, key.Name)
				require.Equal(t, c.revoked, !key.RevokedAt.IsZero())
			})
		}
	}
}

// A target whose key changes at every look is left to its programs.
func TestACopyGivesUpOnAKeyThatNeverRests(t *testing.T) {
	m := newMove(t)
	_, id := m.key()
	sourceChanges(m, id)
	_, other := generate(t, m.source)
	to := faulty.New(m.to, faulty.Only(faulty.Refuse(backend.ErrConflict), faulty.Update))
	result, err := keystore.Copy(t.Context(), m.from, to, nil)
	require.ErrorIs(t, err, keystore.ErrConflict)
	require.Equal(t, int64(1), result.Diverged)
	require.Equal(t, int64(1), result.Created)
	require.Equal(t, max(id, other.ID), result.Last)
	require.Equal(t, 16, to.Calls(faulty.Update))
}

// TestACopyIntoALiveTargetLosesNothing has programs change the keys of the target
// while copies run, of a source that changes too.
func TestACopyIntoALiveTargetLosesNothing(t *testing.T) {
	m := newMove(t)
	var ids []string
	for range 60 {
		_, key := generate(t, m.source)
		ids = append(ids, key.ID)
	}
	m.copy()
	ctx, stop := context.WithCancel(t.Context())
	var programs sync.WaitGroup
	renamed, revoked := map[string]string{}, map[string]bool{} // what the target acknowledged
	programs.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			id := ids[rand.IntN(40)] // the others are left to the source
			name := fmt.Sprint(n)
			if n%50 == 7 {
				_, err := m.target.Revoke(t.Context(), id, "t")
				require.NoError(t, err)
				revoked[id] = true
				continue
			}
			_, err := m.target.Update(t.Context(), id, func(c *keystore.Changes) error { c.Name = name; return nil })
			if err == nil {
				renamed[id] = name
			} else {
				require.ErrorIs(t, err, keystore.ErrState)
			}
		}
	})
	programs.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			id := ids[20+rand.IntN(40)]
			if n%50 == 7 {
				_, err := m.source.Revoke(t.Context(), id, "s")
				require.NoError(t, err)
				continue
			}
			_, err := m.source.Update(t.Context(), id, func(c *keystore.Changes) error { c.Name = fmt.Sprint("s", n); return nil })
			require.True(t, err == nil || errors.Is(err, keystore.ErrState), "%v", err)
		}
	})
	for range 200 {
		_, err := keystore.Copy(t.Context(), m.from, m.to, keystore.InPages(7))
		require.True(t, err == nil || errors.Is(err, keystore.ErrConflict), "%v", err)
		require.NotErrorIs(t, err, keystore.ErrCorrupt)
	}
	stop()
	programs.Wait()
	_, err := keystore.Copy(t.Context(), m.from, m.to, nil)
	require.True(t, err == nil || errors.Is(err, keystore.ErrConflict), "%v", err)
	for _, id := range ids {
		source, err := m.source.Get(t.Context(), id)
		require.NoError(t, err)
		target, err := m.target.Get(t.Context(), id)
		require.NoError(t, err)
		if name, changed := renamed[id]; changed {
			require.Equal(t, name, target.Name, "an acknowledged change")
		}
		require.Equal(t, revoked[id] || source.State(time.Now()) == keystore.Revoked, target.State(time.Now()) == keystore.Revoked)
	}
	require.NotEmpty(t, revoked)
}

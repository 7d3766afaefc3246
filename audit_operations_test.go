package keystore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// audited is a fixture with an Auditor, in a bubble.
type audited struct {
	*fixture
	auditor *spyAuditor
	seen    int
}

func newAudited(t *testing.T, edit ...func(*Options)) *audited {
	a := &spyAuditor{}
	edit = append([]func(*Options){func(o *Options) { o.Audit = a }}, edit...)
	return &audited{fixture: newFixture(t, edit...), auditor: a}
}

// take returns the events since the last take, without their times.
func (f *audited) take() (events []Event) {
	f.t.Helper()
	synctest.Wait()
	for _, e := range f.auditor.events()[f.seen:] {
		require.Equal(f.t, f.clock.now(), e.Time)
		e.Time = time.Time{}
		events = append(events, e)
		f.seen++
	}
	return events
}

// of is the event of a change that was done.
func of(action Action, k Key, detail string) Event {
	return Event{
		Action: action, Outcome: OutcomeDone, KeyID: k.ID, Owner: k.Owner, Generation: k.Generation, Revision: k.Revision(), Count: 1, Detail: detail,
	}
}

// asked is the event with who asked for it.
func asked(e Event) Event {
	e.Actor, e.RequestID = "bob", "r-1"
	return e
}

func inRequest(t *testing.T) context.Context {
	return WithRequestID(WithActor(t.Context(), "bob"), "r-1")
}

func TestEveryChangeIsOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newAudited(t)
		ctx := inRequest(t)
		_, key, err := f.Generate(ctx, KeyParams{Owner: "alice", TTL: 24 * time.Hour})
		require.NoError(t, err)
		require.Equal(t, []Event{asked(of(ActionGenerate, key, ""))}, f.take())
		require.Equal(t, uint64(1), key.Revision())

		step := func(action Action, detail string, do func() (Key, error)) {
			t.Helper()
			f.clock.add(time.Second)
			k, err := do()
			require.NoError(t, err)
			require.Equal(t, []Event{asked(of(action, k, detail))}, f.take())
			key = k
		}
		update := func(fn func(*Changes)) func() (Key, error) {
			return func() (Key, error) {
				return f.Update(ctx, key.ID, func(c *Changes) error { fn(c); return nil })
			}
		}
		step(ActionUpdate, "name, scopes", update(func(c *Changes) { c.Name, c.Scopes = "n", []string{"a"} }))
		require.Equal(t, uint64(2), key.Revision())
		step(ActionUpdate, "", update(func(c *Changes) {}))
		require.Equal(t, uint64(2), key.Revision(), "nothing was changed")
		step(ActionDisable, "disabled", update(func(c *Changes) { c.Disabled = true }))
		step(ActionEnable, "description, disabled", update(func(c *Changes) { c.Disabled, c.Description = false, "d" }))
		step(ActionUpdate, "expires_at", func() (Key, error) { return f.ClearExpiry(ctx, key.ID) })
		step(ActionUpdate, "", func() (Key, error) { return f.ClearExpiry(ctx, key.ID) })
		require.Equal(t, uint64(5), key.Revision(), "nothing was changed")
		step(ActionUpdate, "expires_at", func() (Key, error) { return f.Expire(ctx, key.ID, f.clock.now().Add(time.Hour)) })
		step(ActionUpdate, "", func() (Key, error) { return f.Expire(ctx, key.ID, key.ExpiresAt) })
		step(ActionRotate, "", func() (Key, error) {
			_, k, err := f.Rotate(ctx, key.ID, time.Minute, nil)
			return k, err
		})
		require.Equal(t, 2, key.Generation)
		step(ActionEndGrace, "", func() (Key, error) { return f.EndGrace(ctx, key.ID) })
		step(ActionRevoke, "leaked", func() (Key, error) { return f.Revoke(ctx, key.ID, "leaked") })
		step(ActionRevoke, "leaked", func() (Key, error) { return f.Revoke(ctx, key.ID, "again") })

		require.NoError(t, f.Delete(ctx, key.ID))
		require.Equal(t, []Event{asked(Event{Action: ActionDelete, Outcome: OutcomeDone, KeyID: key.ID, Owner: "alice", Count: 1})}, f.take())
		require.Zero(t, f.trail.lost())
	})
}

func TestTheOwnersOwnChangesAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newAudited(t)
		ctx := inRequest(t)
		alice := f.ForOwner("alice")
		_, key, err := alice.Generate(ctx, KeyParams{})
		require.NoError(t, err)
		require.Equal(t, []Event{asked(of(ActionGenerate, key, ""))}, f.take())
		key, err = alice.Revoke(ctx, key.ID, "mine")
		require.NoError(t, err)
		require.Equal(t, []Event{asked(of(ActionRevoke, key, "mine"))}, f.take())
		_, err = f.ForOwner("eve").Revoke(ctx, key.ID, "hers")
		require.ErrorIs(t, err, ErrNotFound)
		require.Equal(t, []Event{asked(Event{
			Action: ActionRevoke, Outcome: OutcomeRefused, KeyID: key.ID, Count: 1, Detail: "key " + key.ID + ": keystore: no such key",
		})}, f.take(), "whose it is, she does not hear, nor does the event say")
	})
}

func TestReadingIsNoEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newAudited(t)
		token, key := f.generate(KeyParams{})
		f.take()
		require.True(t, f.works(token))
		_, err := f.Get(t.Context(), key.ID)
		require.NoError(t, err)
		_, _, err = f.List(t.Context(), ListParams{})
		require.NoError(t, err)
		require.NoError(t, f.Ping(t.Context()))
		_, err = f.CountDigests(t.Context())
		require.NoError(t, err)
		require.Empty(t, f.take())
	})
}

func TestRevokeAllIsAnEventForEachKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newAudited(t)
		keys := make(map[string]bool)
		for range 5 {
			_, key := f.generate(KeyParams{})
			keys[key.ID] = true
		}
		_, revoked := f.generate(KeyParams{})
		_, err := f.Revoke(t.Context(), revoked.ID, "before")
		require.NoError(t, err)
		f.generate(KeyParams{Owner: "carol"})
		f.take()
		n, err := f.RevokeAll(inRequest(t), "alice", "left the company")
		require.NoError(t, err)
		require.Equal(t, 5, n)
		events := f.take()
		require.Len(t, events, 5)
		for _, e := range events {
			require.True(t, keys[e.KeyID], "each once")
			delete(keys, e.KeyID)
			require.Equal(t, asked(Event{
				Action: ActionRevoke, Outcome: OutcomeDone, KeyID: e.KeyID, Owner: "alice", Generation: 1, Revision: 2, Count: 1, Detail: "left the company",
			}), e)
		}
	})
}

func TestAPurgeIsOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newAudited(t)
		for range 1200 {
			f.generate(KeyParams{TTL: time.Hour})
		}
		f.take()
		n, err := f.Purge(inRequest(t))
		require.NoError(t, err)
		require.Zero(t, n)
		require.Empty(t, f.take(), "nothing to purge, nothing to tell")
		f.clock.add(31 * 24 * time.Hour)
		n, err = f.Purge(inRequest(t))
		require.NoError(t, err)
		require.Equal(t, 1200, n)
		require.Equal(t, []Event{asked(Event{Action: ActionPurge, Outcome: OutcomeDone, Count: 1200})}, f.take())
	})
}

// What was purged before the store failed, or before the Keystore was closed, was
// purged.
func TestAPurgeThatEndsEarlySaysWhatItDid(t *testing.T) {
	fails := func(*Keystore) error { return errors.New("no connection") }
	for _, c := range []struct {
		name   string
		call   int // of the store's Purge that ends it
		end    func(ks *Keystore) error
		purged int
	}{
		{"failure", 2, fails, purgeBatch},
		{"failure at once", 1, fails, 0},
		{"close", 2, func(ks *Keystore) error { ks.closed.Store(true); return backend.ErrClosed }, purgeBatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ks *Keystore
				store := faulty.New(memory.New(), faulty.Nth(c.call, faulty.Purge, func(context.Context, faulty.Do) error { return c.end(ks) }))
				a, clock := &spyAuditor{}, &testClock{at: testNoon}
				ks, err := New(store, &Options{Audit: a, Now: clock.now, TouchInterval: Never, PurgeInterval: Never})
				require.NoError(t, err)
				defer ks.Close()
				for range purgeBatch + 1 {
					_, _, err := ks.Generate(t.Context(), KeyParams{Owner: "alice", TTL: time.Hour})
					require.NoError(t, err)
				}
				clock.add(31 * 24 * time.Hour)
				n, err := ks.Purge(t.Context())
				require.Error(t, err)
				require.Equal(t, c.purged, n)
				synctest.Wait()
				events := a.events()
				e := events[len(events)-1]
				require.Equal(t, ActionPurge, e.Action)
				require.Equal(t, OutcomeFailed, e.Outcome)
				require.Equal(t, c.purged, e.Count)
			})
		})
	}
}

func TestRefusedChangesAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newAudited(t)
		ctx := inRequest(t)
		token, key := f.generate(KeyParams{})
		_, gone := f.generate(KeyParams{})
		require.NoError(t, f.Delete(ctx, gone.ID))
		_, revoked := f.generate(KeyParams{})
		_, err := f.Revoke(ctx, revoked.ID, "")
		require.NoError(t, err)
		_, damaged := f.generate(KeyParams{})
		record := f.stored(damaged.ID)
		record.Data[len(record.Data)-1] ^= 1
		f.plant(record)
		f.take()
		no := func(*Changes) error { return errors.New("words of the program: " + token.Reveal()) }
		name := func(c *Changes) error { c.Name = "n"; return nil }
		for _, c := range []struct {
			action  Action
			outcome Outcome
			id      string
			do      func() error
			detail  string
		}{
			{ActionGenerate, OutcomeRefused, "", func() error {
				_, _, err := f.Generate(ctx, KeyParams{Owner: "alice", Scopes: []string{"keystore:admin"}})
				return err
			}, "keystore: invalid scopes: \"keystore:admin\" is reserved for administration and needs AllowReserved"},
			{ActionUpdate, OutcomeRefused, gone.ID, func() error { _, err := f.Update(ctx, gone.ID, name); return err }, "key " + gone.ID + ": keystore: no such key"},
			{ActionUpdate, OutcomeRefused, revoked.ID, func() error { _, err := f.Update(ctx, revoked.ID, name); return err }, "key " + revoked.ID + ": keystore: the key's state forbids this: it is revoked"},
			{ActionUpdate, OutcomeRefused, key.ID, func() error { _, err := f.Update(ctx, key.ID, no); return err }, refusedByProgram},
			{ActionUpdate, OutcomeRefused, key.ID, func() error { _, err := f.Update(ctx, key.ID, nil); return err }, "keystore: invalid fn: it is nil"},
			{ActionUpdate, OutcomeRefused, key.ID, func() error { _, err := f.Expire(ctx, key.ID, time.Time{}); return err }, "keystore: invalid expires_at: it is zero; ClearExpiry makes a key that does not expire"},
			{ActionRotate, OutcomeRefused, key.ID, func() error { _, _, err := f.Rotate(ctx, key.ID, 0, &RotateParams{IfRevision: 9}); return err }, "key " + key.ID + ": keystore: the key was changed by another writer"},
			{ActionRotate, OutcomeRefused, key.ID, func() error { _, _, err := f.Rotate(ctx, key.ID, -1, nil); return err }, "keystore: invalid grace: it is negative"},
			{ActionEndGrace, OutcomeRefused, revoked.ID, func() error { _, err := f.EndGrace(ctx, revoked.ID); return err }, "key " + revoked.ID + ": keystore: the key's state forbids this: it is revoked"},
			{ActionRevoke, OutcomeRefused, gone.ID, func() error { _, err := f.Revoke(ctx, gone.ID, ""); return err }, "key " + gone.ID + ": keystore: no such key"},
			{ActionRevoke, OutcomeRefused, "", func() error { _, err := f.Revoke(ctx, token.Reveal(), ""); return err }, "keystore: no such key"},
			{ActionRevoke, OutcomeFailed, damaged.ID, func() error { _, err := f.Revoke(ctx, damaged.ID, ""); return err }, "key " + damaged.ID + ": keystore: damaged record: its checksum does not match"},
			{ActionDelete, OutcomeRefused, gone.ID, func() error { return f.Delete(ctx, gone.ID) }, "key " + gone.ID + ": keystore: no such key"},
		} {
			require.Error(t, c.do())
			events := f.take()
			require.Len(t, events, 1)
			e := events[0]
			if c.action == ActionGenerate {
				require.Equal(t, "alice", e.Owner)
				e.Owner = ""
			}
			require.Equal(t, asked(Event{Action: c.action, Outcome: c.outcome, KeyID: c.id, Count: 1, Detail: c.detail}), e)
		}
		require.PanicsWithValue(t, "boom", func() { f.Update(ctx, key.ID, func(*Changes) error { panic("boom") }) })
		require.Equal(t, []Event{asked(Event{Action: ActionUpdate, Outcome: OutcomeUnknown, KeyID: key.ID, Count: 1, Detail: "keystore: panic"})}, f.take())
	})
}

package keystore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// A failed lookup of each reason is an event, once, with the owner if the secret
// matched; a successful one is none.
func TestFailedLookupsAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pepper := mustHasher(t)(HMAC("k1", map[string][]byte{"k1": []byte("pepper-0123456789-0123456789-012")}))
		active, asking := true, error(nil)
		f := newAudited(t, func(o *Options) {
			o.OwnerActive = func(context.Context, string) (bool, error) { return active, asking }
			o.CacheSize = -1
		})
		peppered := f.another(func(o *Options) { o.Hash = pepper })
		ctx := inRequest(t)
		token, key := f.generate(KeyParams{TTL: time.Hour})
		text := token.Reveal()
		lookup := func(text string, scopes ...string) func() error {
			return func() error { _, err := f.Lookup(ctx, text, scopes...); return err }
		}
		rotated, rotatedKey := f.generate(KeyParams{})
		_, _, err := f.Rotate(ctx, rotatedKey.ID, time.Hour, nil)
		require.NoError(t, err)
		_, err = f.EndGrace(ctx, rotatedKey.ID)
		require.NoError(t, err)
		revoked, revokedKey := f.generate(KeyParams{})
		_, err = f.Revoke(ctx, revokedKey.ID, "")
		require.NoError(t, err)
		disabled, disabledKey := f.generate(KeyParams{})
		_, err = f.Update(ctx, disabledKey.ID, func(c *Changes) error { c.Disabled = true; return nil })
		require.NoError(t, err)
		damaged, damagedKey := f.generate(KeyParams{})
		record := f.stored(damagedKey.ID)
		record.Data[len(record.Data)-1] ^= 1
		f.plant(record)
		other, otherKey, err := peppered.Generate(ctx, KeyParams{Owner: "alice"})
		require.NoError(t, err)
		unknown := strangerTo(t, "sk_test")
		_, unknownID, _ := splitToken(unknown)
		f.take()

		with := func(change func(), undo func(), do func() error) func() error {
			return func() error { change(); defer undo(); return do() }
		}
		outage := with(func() {
			f.store.get = func(context.Context, string) (backend.Record, error) {
				return backend.Record{}, errors.New("no connection")
			}
		}, func() { f.store.get = nil }, lookup(text))
		for _, c := range []struct {
			reason  Reason
			outcome Outcome
			id      string
			owner   string
			do      func() error
		}{
			{ReasonMalformed, OutcomeRefused, "", "", lookup("what?")},
			{ReasonMalformed, OutcomeRefused, "", "", lookup("")},
			{ReasonUnknownPrefix, OutcomeRefused, "", "", lookup("live" + text[len("sk_test"):])},
			{ReasonUnknownKey, OutcomeRefused, unknownID, "", lookup(unknown)},
			{ReasonWrongSecret, OutcomeRefused, key.ID, "", lookup(forged(t, text))},
			{ReasonSuperseded, OutcomeRefused, rotatedKey.ID, "alice", lookup(rotated.Reveal())},
			{ReasonRevoked, OutcomeRefused, revokedKey.ID, "alice", lookup(revoked.Reveal())},
			{ReasonDisabled, OutcomeRefused, disabledKey.ID, "alice", lookup(disabled.Reveal())},
			{ReasonOwnerInactive, OutcomeRefused, key.ID, "alice", with(func() { active = false }, func() { active = true }, lookup(text))},
			{ReasonOwnerCheck, OutcomeFailed, key.ID, "alice", with(func() { asking = errors.New("no") }, func() { asking = nil }, lookup(text))},
			{ReasonMissingScope, OutcomeRefused, key.ID, "alice", lookup(text, "orders:read")},
			{ReasonInvalidScope, OutcomeRefused, "", "", lookup(text, text)},
			{ReasonUnknownHash, OutcomeFailed, otherKey.ID, "", lookup(other.Reveal())},
			{ReasonUnavailable, OutcomeFailed, key.ID, "", outage},
			{ReasonCorrupt, OutcomeFailed, damagedKey.ID, "", lookup(damaged.Reveal())},
			{ReasonExpired, OutcomeRefused, key.ID, "alice", with(func() { f.clock.add(2 * time.Hour) }, func() {}, lookup(text))},
		} {
			err := c.do()
			require.Equal(t, c.reason, reasonOf(t, err))
			events := f.take()
			if len(events) == 0 { // the second of its kind
				time.Sleep(refusedEvery)
				events = f.take()
			}
			require.Len(t, events, 1, c.reason)
			e := events[0]
			requireNoLeak(t, secretOf(token), "the event", e.Detail)
			e.Detail = ""
			require.Equal(t, asked(Event{
				Action: ActionLookup, Outcome: c.outcome, KeyID: c.id, Owner: c.owner, Reason: c.reason, Count: 1,
			}), e)
		}
		time.Sleep(3 * refusedEvery)
		require.Empty(t, f.take())
		require.NoError(t, f.Close())
		require.Equal(t, ReasonClosed, reasonOf(t, lookup(text)()))
		require.Empty(t, f.take(), "what comes after Close is none")
	})
}

// strangerTo is a well-formed token of a prefix and a key that never was.
func strangerTo(t *testing.T, prefix string) string {
	t.Helper()
	token, err := newToken(prefix, randomID(t))
	require.NoError(t, err)
	return token.Reveal()
}

// With an Auditor that hangs and ignores its context, and a queue that is full,
// lookups go on at once, right and wrong ones. The clock of the bubble moves only
// when all wait: so none of them did.
func TestAHangingAuditorHoldsUpNoLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, release := blocked()
		f := newFixture(t, func(o *Options) { o.Audit = a })
		token, _ := f.generate(KeyParams{})
		synctest.Wait()
		keys := make([]Key, auditQueue)
		for i := range keys {
			_, keys[i] = f.generate(KeyParams{})
		}
		began := time.Now()
		for range 100 {
			require.True(t, f.works(token))
			_, err := f.Lookup(t.Context(), token.Reveal(), "orders:read")
			require.ErrorIs(t, err, ErrMissingScope)
			_, err = f.Lookup(t.Context(), "what?")
			require.ErrorIs(t, err, ErrUnauthenticated)
			_, err = f.Lookup(t.Context(), strangerTo(t, "sk_test"))
			require.ErrorIs(t, err, ErrUnauthenticated)
		}
		require.Zero(t, time.Since(began))

		_, err := f.Revoke(t.Context(), keys[0].ID, "")
		require.NoError(t, err, "a change that was made is not one that failed")
		require.Equal(t, f.opts.OpTimeout, time.Since(began), "but it waited")
		_, err = f.Get(t.Context(), keys[0].ID)
		require.NoError(t, err)
		require.Equal(t, uint64(1), f.trail.lost())
		require.Equal(t, uint64(1), f.Stats().AuditLost)

		release()
		time.Sleep(time.Minute)
		err = f.Close()
		require.ErrorContains(t, err, "1 events of the audit were lost")
		require.Equal(t, 1+auditQueue+300, sum(a.events()))
	})
}

func TestTheAuditCostsALookupNoAllocation(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Audit = &spyAuditor{} })
	token, _ := f.generate(KeyParams{})
	text := token.Reveal()
	require.True(t, f.works(token)) // from now on it is in the cache
	for _, shown := range []string{text, "what?", "live" + text[len("sk_test"):]} {
		_, _ = f.Lookup(t.Context(), shown) // the first of its kind is an event
		_, _ = f.Lookup(t.Context(), shown)
		require.Zero(t, allocations(func() { _, _ = f.Lookup(t.Context(), shown) }))
	}
}

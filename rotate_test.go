package keystore

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rotated makes a key with one token for each grace period, oldest first, and
// one for the secret that is current.
func rotated(f *fixture, p KeyParams, graces ...time.Duration) ([]Token, Key) {
	f.t.Helper()
	token, key := f.generate(p)
	tokens := []Token{token}
	for _, grace := range graces {
		next, changed, err := f.Rotate(context.Background(), key.ID, grace, nil)
		require.NoError(f.t, err)
		tokens, key = append(tokens, next), changed
	}
	return tokens, key
}

// requireEnd demands that the token works until just before at and is superseded
// from then on, and that the current one works throughout.
func requireEnd(f *fixture, old, current Token, at time.Time) {
	f.t.Helper()
	back := f.clock.now()
	defer f.clock.set(back)
	for _, c := range []struct {
		at   time.Time
		want Reason
	}{{at.Add(-time.Millisecond), ""}, {at.Add(-1), ""}, {at, ReasonSuperseded}, {at.Add(time.Millisecond), ReasonSuperseded}} {
		if c.at.Before(back) {
			continue
		}
		f.clock.set(c.at)
		require.Equal(f.t, c.want, f.reason(old), "%v of %v", c.at, at)
		require.True(f.t, f.works(current))
		key, err := f.Get(context.Background(), old.ID())
		require.NoError(f.t, err)
		require.Equal(f.t, c.want == "", key.GraceUntil.Equal(at) && !key.GraceUntil.IsZero(), "GraceUntil %v", key.GraceUntil)
	}
}

func TestTheOldSecretWorksForTheGraceAndNotPastTheExpiry(t *testing.T) {
	for name, c := range map[string]struct {
		ttl, grace, newTTL, want time.Duration
	}{
		"grace":                  {0, time.Hour, 0, time.Hour},
		"one millisecond":        {0, time.Millisecond, 0, time.Millisecond},
		"cut to milliseconds":    {0, time.Second + 999_999, 0, time.Second},
		"expiry comes later":     {2 * time.Hour, time.Hour, 0, time.Hour},
		"new expiry comes later": {0, time.Hour, 2 * time.Hour, time.Hour},
		"both come later":        {2 * time.Hour, time.Hour, 3 * time.Hour, time.Hour},
		"decades":                {0, 290 * 365 * 24 * time.Hour, 0, 290 * 365 * 24 * time.Hour},
	} {
		f := newFixture(t)
		old, key := f.generate(KeyParams{TTL: c.ttl})
		p := &RotateParams{}
		if c.newTTL > 0 {
			p.ExpiresAt = testNoon.Add(c.newTTL)
		}
		fresh, key, err := f.Rotate(context.Background(), key.ID, c.grace, p)
		require.NoError(t, err, name)
		require.Equal(t, testNoon.Add(c.want), key.GraceUntil, name)
		require.Equal(t, 2, key.Generation)
		requireEnd(f, old, fresh, testNoon.Add(c.want))
	}
}

func TestAnExtensionDoesNotExtendTheOldSecret(t *testing.T) {
	ctx := context.Background()
	hour := func(n int) time.Time { return testNoon.Add(time.Duration(n) * time.Hour) }
	for name, extend := range map[string]func(f *fixture, id string) error{
		"expire": func(f *fixture, id string) error { _, err := f.Expire(ctx, id, hour(20)); return err },
		"clear":  func(f *fixture, id string) error { _, err := f.ClearExpiry(ctx, id); return err },
		"update": func(f *fixture, id string) error {
			_, err := f.Update(ctx, id, func(c *Changes) error { c.ExpiresAt = hour(20); return nil })
			return err
		},
	} {
		f := newFixture(t) // the expiry was there first
		tokens, key := rotated(f, KeyParams{TTL: 2 * time.Hour}, 10*time.Hour)
		require.Equal(t, hour(2), key.GraceUntil)
		require.NoError(t, extend(f, key.ID))
		requireEnd(f, tokens[0], tokens[1], hour(2))

		f = newFixture(t) // the grace was there first
		tokens, key = rotated(f, KeyParams{}, 10*time.Hour)
		lowered, err := f.Expire(ctx, key.ID, hour(2))
		require.NoError(t, err)
		require.Equal(t, hour(2), lowered.GraceUntil)
		require.NoError(t, extend(f, key.ID), name)
		requireEnd(f, tokens[0], tokens[1], hour(2))

		f = newFixture(t) // the key had expired
		tokens, key = rotated(f, KeyParams{TTL: time.Hour}, time.Hour)
		f.clock.set(hour(3))
		require.NoError(t, extend(f, key.ID), name)
		require.Equal(t, []Reason{ReasonSuperseded, ""}, []Reason{f.reason(tokens[0]), f.reason(tokens[1])})
	}
	for _, newEnd := range []int{1, 5, 20} { // by the rotation itself
		f := newFixture(t)
		old, key := f.generate(KeyParams{TTL: 2 * time.Hour})
		fresh, key, err := f.Rotate(ctx, key.ID, 10*time.Hour, &RotateParams{ExpiresAt: hour(newEnd)})
		require.NoError(t, err)
		require.Equal(t, hour(newEnd), key.ExpiresAt)
		require.Equal(t, hour(min(2, newEnd)), key.GraceUntil)
		f.clock.set(hour(min(2, newEnd)).Add(-time.Millisecond))
		require.True(t, f.works(old))
		f.clock.add(time.Millisecond)
		require.Equal(t, ReasonSuperseded, f.reason(old))
		require.Equal(t, newEnd > 2, f.works(fresh))
	}
}

func TestALaterRotationLowersDeadlinesAndRaisesNone(t *testing.T) {
	f := newFixture(t)
	tokens, key := rotated(f, KeyParams{}, 10*time.Hour, 20*time.Hour, 5*time.Hour)
	require.Equal(t, testNoon.Add(5*time.Hour), key.GraceUntil)
	for _, old := range tokens[:3] {
		requireEnd(f, old, tokens[3], testNoon.Add(5*time.Hour))
	}
	f = newFixture(t)
	tokens, _ = rotated(f, KeyParams{}, time.Hour, 20*time.Hour)
	f.clock.add(time.Hour - time.Millisecond)
	require.True(t, f.works(tokens[0]))
	f.clock.add(time.Millisecond)
	require.Equal(t, ReasonSuperseded, f.reason(tokens[0]), "its own earlier one")
	require.True(t, f.works(tokens[1]))
}

func TestGraceZeroLeavesOnlyTheNewSecret(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(f *fixture, id string) (Token, error){
		"rotate": func(f *fixture, id string) (Token, error) {
			token, _, err := f.Rotate(ctx, id, 0, nil)
			return token, err
		},
		"end grace": func(f *fixture, id string) (Token, error) { _, err := f.EndGrace(ctx, id); return Token{}, err },
	} {
		f := newFixture(t)
		tokens, key := rotated(f, KeyParams{}, time.Hour, time.Hour, time.Hour)
		fresh, err := end(f, key.ID)
		require.NoError(t, err)
		if fresh.IsZero() {
			fresh, tokens = tokens[3], tokens[:3]
		}
		key, err = f.Get(ctx, key.ID)
		require.NoError(t, err)
		require.True(t, key.GraceUntil.IsZero())
		for _, skew := range []time.Duration{0, time.Minute, -time.Millisecond, -10 * time.Second} {
			f.clock.set(testNoon.Add(skew)) // another machine, whose clock is behind
			for _, old := range tokens {
				require.Equal(t, ReasonSuperseded, f.reason(old), "%s: %v later", name, skew)
			}
			require.True(t, f.works(fresh))
		}
	}
}

func TestASixthLiveSecretIsRefused(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	tokens, key := rotated(f, KeyParams{}, time.Hour, 2*time.Hour, 3*time.Hour, 4*time.Hour)
	for i, token := range tokens {
		result, err := f.LookupWith(ctx, token.Reveal(), LookupParams{})
		require.NoError(t, err)
		require.Equal(t, []int{i + 1, 5}, []int{result.Generation, result.Key.Generation})
		require.Equal(t, key, result.Key)
	}
	before := f.stored(key.ID)
	token, _, err := f.Rotate(ctx, key.ID, time.Millisecond, &RotateParams{ExpiresAt: testNoon.Add(time.Minute)})
	require.ErrorIs(t, err, ErrState)
	require.ErrorContains(t, err, "EndGrace")
	require.True(t, token.IsZero())
	require.Equal(t, before, f.stored(key.ID))

	f.clock.add(time.Hour) // the oldest has ended
	_, _, err = f.Rotate(ctx, key.ID, time.Hour, nil)
	require.NoError(t, err)
	_, _, err = f.Rotate(ctx, key.ID, time.Hour, nil)
	require.ErrorIs(t, err, ErrState)
	_, err = f.EndGrace(ctx, key.ID)
	require.NoError(t, err)
	_, _, err = f.Rotate(ctx, key.ID, time.Hour, nil)
	require.NoError(t, err)

	f = newFixture(t)
	_, key = rotated(f, KeyParams{}, time.Hour, time.Hour, time.Hour, time.Hour)
	_, _, err = f.Rotate(ctx, key.ID, 0, nil)
	require.NoError(t, err, "grace 0 ends the five")
}

func TestFiveSupersededSecretsAreRemembered(t *testing.T) {
	f := newFixture(t)
	tokens, _ := rotated(f, KeyParams{}, 0, 0, 0, 0, 0, 0, 0)
	for i, want := range []Reason{ReasonWrongSecret, ReasonWrongSecret, ReasonSuperseded, ReasonSuperseded, ReasonSuperseded, ReasonSuperseded, ReasonSuperseded, ""} {
		require.Equal(t, want, f.reason(tokens[i]), "secret %d", i)
		_, err := f.Lookup(context.Background(), tokens[i].Reveal())
		require.Equal(t, want == ReasonSuperseded, err != nil && err.Error() == ErrExpired.Error())
	}
}

func TestRotationKeepsAllButTheSecret(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t, func(o *Options) { o.AcceptPrefixes = []string{"sk_live"} })
	live := f.another(func(o *Options) { o.Prefix = "sk_live" })
	old, key, err := live.Generate(ctx, KeyParams{Owner: "alice", Name: "n", Scopes: []string{"a"}, Metadata: map[string]string{"k": "v"}, TTL: time.Hour})
	require.NoError(t, err)
	fresh, changed, err := f.Rotate(ctx, key.ID, time.Minute, nil)
	require.NoError(t, err)
	want := key
	want.Generation, want.GraceUntil, want.revision = 2, testNoon.Add(time.Minute), 2
	require.Equal(t, want, changed)
	require.Equal(t, key.ID, fresh.ID())
	require.Equal(t, "sk_live_"+key.ID+"…", fresh.String(), "a live key stays one")
	require.NotEqual(t, secretOf(old), secretOf(fresh))

	stranger := f.another(func(o *Options) { o.Prefix = "ks" })
	token, changed, err := stranger.Rotate(ctx, key.ID, time.Minute, nil)
	require.NoError(t, err)
	require.Equal(t, "ks", changed.Prefix, "it would be dead on arrival with the prefix that is not accepted")
	_, err = stranger.Lookup(ctx, token.Reveal())
	require.NoError(t, err)
}

func TestThePrefixOfAKeyIsThatOfItsNewestToken(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	b := f.another(func(o *Options) { o.Prefix = "b" })
	spy := &spyHasher{Hasher: SHA256()}
	a := f.another(func(o *Options) { o.Prefix, o.AcceptPrefixes, o.Hash = "a", []string{"b"}, spy })
	_, key := f.generate(KeyParams{})
	spy.before = func() { // another writer comes first
		if spy.hashed.Load() == 1 {
			_, _, err := b.Rotate(ctx, key.ID, 0, nil)
			require.NoError(t, err)
		}
	}
	token, key, err := a.Rotate(ctx, key.ID, 0, nil)
	require.NoError(t, err)
	require.Equal(t, 3, key.Generation)
	require.True(t, strings.HasPrefix(token.Reveal(), key.Prefix+"_"), "the token is %v, the key's prefix %s", token, key.Prefix)
}

func TestRotateIfRevision(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	_, key := f.generate(KeyParams{})
	for i := range uint64(3) {
		for _, wrong := range []uint64{key.Revision() + 1, key.Revision() - 1, math.MaxUint64} {
			if wrong == 0 {
				continue // whatever it is
			}
			token, _, err := f.Rotate(ctx, key.ID, 0, &RotateParams{IfRevision: wrong})
			require.ErrorIs(t, err, ErrConflict)
			require.True(t, token.IsZero())
		}
		require.Equal(t, i+1, f.stored(key.ID).Revision)
		var err error
		_, key, err = f.Rotate(ctx, key.ID, 0, &RotateParams{IfRevision: key.Revision()})
		require.NoError(t, err)
		require.Equal(t, i+2, key.Revision())
	}
}

func TestANegativeGraceIsInvalid(t *testing.T) {
	f := newFixture(t)
	_, key := f.generate(KeyParams{})
	for _, grace := range []time.Duration{-1, Never, -time.Hour, math.MinInt64} {
		for _, id := range []string{key.ID, "0000000000000000"} {
			token, _, err := f.Rotate(context.Background(), id, grace, nil)
			requireField(t, err, "grace")
			require.True(t, token.IsZero())
		}
	}
}

func TestALookupSaysHowLongTheSecretPresentedWorks(t *testing.T) {
	until := func(f *fixture, token Token) time.Time {
		result, err := f.LookupWith(context.Background(), token.Reveal(), LookupParams{})
		require.NoError(t, err)
		return result.ValidUntil
	}
	for _, ttl := range []time.Duration{0, 24 * time.Hour} {
		f := newFixture(t)
		now := f.clock.now()
		tokens, key := rotated(f, KeyParams{TTL: ttl}, time.Hour, 30*time.Hour, 3*time.Hour)
		for i, want := range []time.Duration{time.Hour, 3 * time.Hour, 3 * time.Hour} {
			require.Equal(t, now.Add(want), until(f, tokens[i]), "a secret that was replaced ends by its own deadline, not the last one")
		}
		require.Equal(t, key.ExpiresAt, until(f, tokens[3]), "the current secret ends with the key")
	}
}

package keystore

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// expirySetter makes a key that expires at a time, in one of the ways there are.
type expirySetter struct {
	name, field string
	set         func(f *fixture, at time.Time) (Token, Key, error)
}

func expirySetters() []expirySetter {
	ctx := context.Background()
	on := func(p KeyParams, change func(f *fixture, id string, at time.Time) (Key, error)) func(*fixture, time.Time) (Token, Key, error) {
		return func(f *fixture, at time.Time) (Token, Key, error) {
			token, key, err := f.Generate(ctx, p)
			if err != nil {
				return Token{}, Key{}, err
			}
			key, err = change(f, key.ID, at)
			return token, key, err
		}
	}
	none, soon := KeyParams{Owner: "alice"}, KeyParams{Owner: "alice", TTL: time.Minute}
	update := func(f *fixture, id string, at time.Time) (Key, error) {
		return f.Update(ctx, id, func(c *Changes) error { c.ExpiresAt = at; return nil })
	}
	expire := func(f *fixture, id string, at time.Time) (Key, error) { return f.Expire(ctx, id, at) }
	return []expirySetter{
		{"generate", "expires_at", func(f *fixture, at time.Time) (Token, Key, error) {
			return f.Generate(ctx, KeyParams{Owner: "alice", ExpiresAt: at})
		}},
		{"ttl", "ttl", func(f *fixture, at time.Time) (Token, Key, error) {
			return f.Generate(ctx, KeyParams{Owner: "alice", TTL: at.Sub(f.clock.now().Truncate(time.Millisecond))})
		}},
		{"update", "expires_at", on(none, update)},
		{"update an expiry", "expires_at", on(soon, update)},
		{"expire", "expires_at", on(none, expire)},
		{"expire an expiry", "expires_at", on(soon, expire)},
		{"revive", "expires_at", func(f *fixture, at time.Time) (Token, Key, error) {
			now := f.clock.now()
			f.clock.set(now.Add(-time.Second))
			token, key, err := f.Generate(ctx, KeyParams{Owner: "alice", TTL: time.Millisecond})
			if f.clock.set(now); err != nil {
				return Token{}, Key{}, err
			}
			key, err = f.Expire(ctx, key.ID, at)
			return token, key, err
		}},
		{"rotate", "expires_at", func(f *fixture, at time.Time) (Token, Key, error) {
			_, key, err := f.Generate(ctx, none)
			if err != nil {
				return Token{}, Key{}, err
			}
			return f.Rotate(ctx, key.ID, time.Hour, &RotateParams{ExpiresAt: at})
		}},
	}
}

// requireExpiry demands that the token works until just before at, and no longer.
func requireExpiry(t *testing.T, f *fixture, token Token, at time.Time, about string) {
	t.Helper()
	for _, c := range []struct {
		at   time.Time
		want Reason
	}{
		{at.Add(-time.Millisecond), ""}, {at.Add(-1), ""}, {at, ReasonExpired}, {at.Add(1), ReasonExpired}, {at.Add(time.Millisecond), ReasonExpired},
		{at.AddDate(20_000, 0, 0), ReasonExpired}, {at.Add(-time.Millisecond), ""},
	} {
		f.clock.set(c.at)
		require.Equal(t, c.want, f.reason(token), "%s: %v of %v", about, c.at, at)
		key, err := f.Get(context.Background(), token.ID())
		require.NoError(t, err)
		require.Equal(t, c.want == "", key.State(c.at) == Active)
	}
}

func TestAKeyIsValidUntilAMillisecondBeforeItsExpiry(t *testing.T) {
	last := time.Date(8888, 11, 30, 23, 59, 59, 999e6, time.UTC)
	for _, way := range expirySetters() {
		for _, c := range []struct{ now, at time.Time }{
			{testNoon, testNoon.Add(time.Millisecond)},
			{testNoon, testNoon.Add(time.Hour)},
			{testNoon, testNoon.AddDate(290, 0, 0)},
			{testNoon.Add(999_999), testNoon.Add(time.Millisecond)},
			{time.Unix(2, 0), time.Unix(3, 0)},
			{last.AddDate(-200, 0, 0), last},
			{last.Add(-time.Millisecond), last},
		} {
			f := newFixture(t)
			f.clock.set(c.now)
			token, key, err := way.set(f, c.at.In(time.FixedZone("", 3600)))
			require.NoError(t, err, "%s %v", way.name, c)
			require.Equal(t, c.at.UTC(), key.ExpiresAt, way.name)
			requireExpiry(t, f, token, c.at, way.name)
		}
	}
	f := newFixture(t, func(o *Options) { o.DefaultTTL = time.Hour })
	token, key := f.generate(KeyParams{})
	require.Equal(t, testNoon.Add(time.Hour), key.ExpiresAt)
	requireExpiry(t, f, token, key.ExpiresAt, "DefaultTTL")
}

func TestTimesAreCutToMillisecondsAsTheyEnter(t *testing.T) {
	for _, way := range expirySetters() {
		f := newFixture(t)
		token, key, err := way.set(f, testNoon.Add(2*time.Millisecond-1))
		require.NoError(t, err, way.name)
		require.Equal(t, testNoon.Add(time.Millisecond), key.ExpiresAt, way.name)
		requireExpiry(t, f, token, key.ExpiresAt, way.name)
	}
	f := newFixture(t)
	f.clock.set(testNoon.Add(999_999))
	_, key := f.generate(KeyParams{})
	require.Equal(t, testNoon, key.CreatedAt)
	key, err := f.Revoke(context.Background(), key.ID, "")
	require.NoError(t, err)
	require.Equal(t, testNoon, key.RevokedAt)
}

func TestAnExpiryIsExactOrRefused(t *testing.T) {
	past := map[string]bool{"expire": true, "expire an expiry": true, "revive": true} // Expire takes the past for now
	for _, way := range expirySetters() {
		for _, at := range []time.Time{
			testNoon, testNoon.Add(-1), testNoon.Add(-time.Hour), time.UnixMilli(0), time.UnixMilli(-1), {}, time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC),
			time.Date(8889, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Unix(1<<55, 0), time.Unix(-1<<55, 0),
		} {
			f := newFixture(t)
			if way.name == "ttl" && (!at.Before(testNoon) || at.Sub(testNoon) == math.MinInt64) || way.name == "rotate" && at.IsZero() {
				continue // these mean another thing
			}
			if past[way.name] && at.Before(testNoon.Add(1)) && !at.IsZero() {
				token, _, err := way.set(f, at)
				require.NoError(t, err, "%s %v", way.name, at)
				require.Equal(t, ReasonExpired, f.reason(token))
				continue
			}
			if at.IsZero() && way.name != "ttl" && !past[way.name] {
				_, key, err := way.set(f, at)
				require.NoError(t, err)
				require.True(t, key.ExpiresAt.IsZero(), "%s: never", way.name)
				continue
			}
			_, key, err := way.set(f, at)
			requireField(t, err, way.field)
			require.Equal(t, Key{}, key)
		}
	}
}

func TestLifetimesThatOverflowAreRefused(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		now  time.Time
		ttl  time.Duration
		want bool
	}{
		{testNoon, math.MaxInt64, true},
		{testNoon, 999_999, false}, // less than a millisecond
		{testNoon, -1, false},
		{testNoon, math.MinInt64, false},
		{time.Date(8597, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt64, false},
		{time.Date(8888, 11, 30, 0, 0, 0, 0, time.UTC), 40 * 24 * time.Hour, false},
	} {
		f := newFixture(t)
		f.clock.set(c.now)
		token, key, err := f.Generate(ctx, KeyParams{Owner: "alice", TTL: c.ttl})
		_, plain := f.generate(KeyParams{})
		_, _, graceErr := f.Rotate(ctx, plain.ID, c.ttl, nil)
		if c.want {
			require.NoError(t, err)
			require.NoError(t, graceErr)
			require.Equal(t, c.now.Add(c.ttl).Truncate(time.Millisecond), key.ExpiresAt)
			continue
		}
		requireField(t, err, "ttl")
		require.True(t, token.IsZero())
		if c.ttl < 0 || c.ttl > time.Millisecond {
			requireField(t, graceErr, "grace")
		} else {
			require.NoError(t, graceErr, "a grace of less than a millisecond is none")
		}
	}
	f := newFixture(t)
	_, _, err := f.Generate(ctx, KeyParams{Owner: "alice", TTL: time.Hour, ExpiresAt: testNoon.Add(time.Hour)})
	requireField(t, err, "ttl")
	overflows := f.another(func(o *Options) { o.DefaultTTL = math.MaxInt64 })
	f.clock.set(time.Date(8700, 1, 1, 0, 0, 0, 0, time.UTC))
	_, _, err = overflows.Generate(ctx, KeyParams{Owner: "alice"})
	requireField(t, err, "ttl")
}

func TestNoLifetimeIsLongerThanMaxTTL(t *testing.T) {
	ctx := context.Background()
	for _, maxTTL := range []time.Duration{time.Hour, time.Hour + 999_999, 280 * 365 * 24 * time.Hour} {
		limit := testNoon.Add(maxTTL).Truncate(time.Millisecond)
		for _, way := range expirySetters() {
			if way.name == "update" || way.name == "expire" || way.name == "rotate" {
				continue // they begin with a key that lives too long
			}
			f := newFixture(t, func(o *Options) { o.MaxTTL = maxTTL })
			f.clock.set(testNoon.Add(999_999))
			_, key, err := way.set(f, limit.Add(999_999))
			require.NoError(t, err, way.name)
			require.Equal(t, limit, key.ExpiresAt)
			_, _, err = way.set(f, limit.Add(2*time.Millisecond))
			requireField(t, err, way.field)
			_, _, err = way.set(f, time.Date(8888, 1, 1, 0, 0, 0, 0, time.UTC)) // further than a Duration reaches
			requireField(t, err, way.field)
		}
		f := newFixture(t, func(o *Options) { o.MaxTTL = maxTTL })
		_, _, err := f.Generate(ctx, KeyParams{Owner: "alice"})
		requireField(t, err, "expires_at")
		old := f.another()
		_, key, err := old.Generate(ctx, KeyParams{Owner: "alice", TTL: time.Minute})
		require.NoError(t, err)
		_, err = f.ClearExpiry(ctx, key.ID)
		requireField(t, err, "expires_at")
		_, err = f.Update(ctx, key.ID, func(c *Changes) error { c.ExpiresAt = time.Time{}; return nil })
		requireField(t, err, "expires_at")
		_, _, err = f.Rotate(ctx, key.ID, 0, &RotateParams{ExpiresAt: limit.Add(time.Millisecond)})
		requireField(t, err, "expires_at")

		_, endless, err := old.Generate(ctx, KeyParams{Owner: "alice"})
		require.NoError(t, err)
		_, err = f.Update(ctx, endless.ID, func(c *Changes) error { c.Name = "older than the limit"; return nil })
		require.NoError(t, err)
		_, _, err = f.Rotate(ctx, endless.ID, 0, nil)
		require.NoError(t, err)
	}
	f := newFixture(t, func(o *Options) { o.DefaultTTL, o.MaxTTL = time.Hour, time.Hour })
	_, key := f.generate(KeyParams{})
	require.Equal(t, testNoon.Add(time.Hour), key.ExpiresAt)
}

func TestExpireNowEndsTheKeyWithinTheMillisecond(t *testing.T) {
	for _, late := range []time.Duration{0, 1, 300_000, 999_999} {
		f := newFixture(t)
		f.clock.set(testNoon.Add(999_999))
		token, key := f.generate(KeyParams{TTL: time.Hour})
		key, err := f.Expire(context.Background(), key.ID, testNoon.Add(late)) // for example time.Now()
		require.NoError(t, err, "%v into the millisecond", late)
		require.Equal(t, testNoon, key.ExpiresAt)
		require.Equal(t, ReasonExpired, f.reason(token))
	}
}

func TestExpireInThePastKeepsAnEarlierEnd(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	_, key := f.generate(KeyParams{TTL: time.Minute})
	f.clock.add(time.Hour)
	before := f.stored(key.ID)
	key, err := f.Expire(ctx, key.ID, testNoon)
	require.NoError(t, err)
	require.Equal(t, testNoon.Add(time.Minute), key.ExpiresAt)
	require.Equal(t, before, f.stored(key.ID))
}

func TestClearExpiryRevivesAndIsIdempotent(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	token, key := f.generate(KeyParams{TTL: time.Minute})
	f.clock.add(time.Hour)
	require.Equal(t, ReasonExpired, f.reason(token))
	for range 2 {
		cleared, err := f.ClearExpiry(ctx, key.ID)
		require.NoError(t, err)
		require.True(t, cleared.ExpiresAt.IsZero())
		require.Equal(t, uint64(2), cleared.Revision())
		f.clock.add(100_000 * time.Hour)
		require.True(t, f.works(token))
	}
}

func TestAClockOutsideItsYearsChangesNothing(t *testing.T) {
	ctx := context.Background()
	for _, at := range []time.Time{{}, firstTime.Add(-1), time.Date(8889, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		f := newFixture(t)
		token, key := f.generate(KeyParams{TTL: time.Hour})
		endless, _ := f.generate(KeyParams{})
		before := f.stored(key.ID)
		f.clock.set(at)
		for name, change := range map[string]func() error{
			"update": func() error {
				_, err := f.Update(ctx, key.ID, func(c *Changes) error { c.Name = "x"; return nil })
				return err
			},
			"rotate": func() error { _, _, err := f.Rotate(ctx, key.ID, 0, nil); return err },
			"expire": func() error { _, err := f.Expire(ctx, key.ID, testNoon); return err },
			"clear":  func() error { _, err := f.ClearExpiry(ctx, key.ID); return err },
			"revoke": func() error { _, err := f.Revoke(ctx, key.ID, ""); return err },
			"purge":  func() error { _, err := f.Purge(ctx); return err },
		} {
			err := change()
			require.Error(t, err, "%s at %v", name, at)
			requireField(t, err, "clock")
		}
		require.Equal(t, before, f.stored(key.ID))
		require.True(t, f.works(endless))
		require.Equal(t, at.Year() <= 1970, f.works(token), "it still tells before from after")
	}
}

func TestPurgeAtIsRetentionAfterTheEnd(t *testing.T) {
	ctx := context.Background()
	for retention, days := range map[time.Duration]int{0: 30, 24 * time.Hour: 1, Never: -1} {
		f := newFixture(t, func(o *Options) { o.Retention = retention })
		_, key := f.generate(KeyParams{})
		requirePurge := func(end time.Time) {
			t.Helper()
			want := time.Time{}
			if days >= 0 && !end.IsZero() {
				want = end.AddDate(0, 0, days)
			}
			require.Equal(t, want, f.stored(key.ID).PurgeAt)
		}
		must := func(_ Key, err error) { t.Helper(); require.NoError(t, err) }
		hour := func(n int) time.Time { return testNoon.Add(time.Duration(n) * time.Hour) }
		requirePurge(time.Time{})
		must(f.Expire(ctx, key.ID, hour(5)))
		requirePurge(hour(5))
		must(f.Update(ctx, key.ID, func(c *Changes) error { c.ExpiresAt = hour(9); return nil }))
		requirePurge(hour(9))
		_, rotated, err := f.Rotate(ctx, key.ID, time.Hour, &RotateParams{ExpiresAt: hour(7)})
		must(rotated, err)
		requirePurge(hour(7))
		must(f.ClearExpiry(ctx, key.ID))
		requirePurge(time.Time{})
		must(f.Expire(ctx, key.ID, hour(7)))
		f.clock.set(hour(3))
		must(f.Revoke(ctx, key.ID, ""))
		requirePurge(hour(3))

		_, key = f.generate(KeyParams{TTL: time.Hour})
		requirePurge(hour(4))
		f.clock.set(hour(6))
		must(f.Revoke(ctx, key.ID, "after it expired"))
		requirePurge(hour(4))
		_, key = f.generate(KeyParams{})
		must(f.Revoke(ctx, key.ID, "it never expired"))
		requirePurge(hour(6))
	}
}

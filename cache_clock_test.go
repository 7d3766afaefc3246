package keystore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// steppedClock is the bubble's, off by what the test says. It has no monotonic
// reading, like a clock that somebody set.
type steppedClock struct{ off time.Duration }

func (c *steppedClock) now() time.Time { return time.Now().Add(c.off).Round(0) }

// TestAStepOfTheClockEmptiesTheCache: either it was set, or the machine slept and
// the monotonic clock with it. By less than a second it may drift.
func TestAStepOfTheClockEmptiesTheCache(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour, 1001 * time.Millisecond, -1001 * time.Millisecond, time.Second, -time.Second, 0} {
		synctest.Test(t, func(t *testing.T) {
			clock := &steppedClock{}
			p := newSharedStore(t).quiet(func(o *Options) { o.Now, o.CacheTTL = clock.now, time.Minute })
			token, _ := p.generate()
			p.why(token)
			clock.off += step
			want := uint64(1)
			if step.Abs() <= time.Second {
				want = 0
			}
			require.Equal(t, int64(want), p.during(func() {
				for range 3 {
					require.Equal(t, Reason(""), p.why(token))
				}
			}))
			require.Equal(t, want, p.Stats().Flushes)
			time.Sleep(time.Minute)
			require.Equal(t, int64(1), p.during(func() { p.why(token) }), "ages go by the monotonic clock")
		})
	}
}

// TestAClockThatGoesWild breaks nothing.
func TestAClockThatGoesWild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now time.Time
		p := newSharedStore(t).quiet(func(o *Options) { o.Now = func() time.Time { return now } })
		now = time.Now()
		token, _ := p.generate()
		for _, at := range []time.Time{{}, time.Unix(0, 0), time.Date(-40000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC), time.Now()} {
			now = at
			require.Equal(t, Reason(""), p.why(token))
			require.Equal(t, Reason(""), p.why(token))
		}
	})
}

// TestStaleIfUnavailable accepts what proved itself, for as long as it says past the
// bound, while the store fails.
func TestStaleIfUnavailable(t *testing.T) {
	down := errors.New("down")
	fail := func(p *process) { p.on(func(context.Context, string) error { return down }, nil) }
	stale := func(o *Options) { o.StaleIfUnavailable = time.Minute }
	look := func(p *process, token string) (stale bool, why Reason) {
		r, err := p.LookupWith(context.Background(), token, LookupParams{})
		return r.Stale, reasonOf(p.t, err)
	}
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).told(stale)
		synctest.Wait()
		token, _ := p.generate()
		short, _, err := p.Generate(t.Context(), KeyParams{Owner: "alice", TTL: 30 * time.Second})
		require.NoError(t, err)
		other, _ := p.generate()
		revoked, revokedID := p.generate()
		dropped, droppedID := p.generate()
		for _, token := range []string{token, short.Reveal(), revoked, dropped} {
			require.Equal(t, Reason(""), p.why(token))
		}
		fail(p)
		time.Sleep(5*time.Second - 1)
		s, why := look(p, token)
		require.False(t, s, "within the bound")
		require.Equal(t, Reason(""), why)
		require.Equal(t, 5*time.Second, p.Stats().Bound)
		time.Sleep(time.Nanosecond)
		for range 3 {
			s, why = look(p, token)
			require.True(t, s)
			require.Equal(t, Reason(""), why)
		}
		require.Equal(t, 65*time.Second, p.Stats().Bound)
		require.Equal(t, uint64(3), p.Stats().StaleHits)
		require.Equal(t, int64(1), p.reads.Load()-4, "it is asked once a second")

		_, why = look(p, other)
		require.Equal(t, ReasonUnavailable, why, "it never proved itself")
		_, why = look(p, forged(t, token))
		require.Equal(t, ReasonUnavailable, why)
		p.tell("")
		synctest.Wait()
		s, why = look(p, token)
		require.True(t, s, "perhaps a change was missed, but none is known of")
		require.Equal(t, Reason(""), why)
		p.tell(droppedID)
		synctest.Wait()
		_, why = look(p, dropped)
		require.Equal(t, ReasonUnavailable, why, "it was changed")
		_, err = p.Revoke(t.Context(), revokedID, "")
		require.ErrorIs(t, err, ErrUnavailable) // its read fails
		s, why = look(p, revoked)
		require.True(t, s)
		require.Equal(t, Reason(""), why, "nothing was changed")
		end := p.family.changing(revokedID) // as by a revocation whose outcome is unknown
		end()
		_, why = look(p, revoked)
		require.Equal(t, ReasonUnavailable, why)

		time.Sleep(25*time.Second - 1)
		_, why = look(p, short.Reveal())
		require.Equal(t, Reason(""), why)
		time.Sleep(time.Nanosecond)
		_, why = look(p, short.Reveal())
		require.Equal(t, ReasonExpired, why)
		time.Sleep(35*time.Second - 1)
		s, why = look(p, token)
		require.True(t, s)
		require.Equal(t, Reason(""), why)
		time.Sleep(time.Nanosecond)
		_, why = look(p, token)
		require.Equal(t, ReasonUnavailable, why, "its time is over")
		require.Zero(t, p.Stats().Flushes-2)

		p.on(nil, nil)
		time.Sleep(time.Second)
		s, why = look(p, token)
		require.False(t, s)
		require.Equal(t, Reason(""), why)
		require.Equal(t, 5*time.Second, p.Stats().Bound)
	})
}

// TestAStoreThatHangsIsNotWaitedForByAll: while it fails, one lookup a second waits
// for it.
func TestAStoreThatHangsIsNotWaitedForByAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet(func(o *Options) { o.StaleIfUnavailable = time.Hour })
		token, _ := p.generate()
		p.why(token)
		p.on(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }, nil)
		time.Sleep(5 * time.Second)
		start := time.Now()
		require.Equal(t, Reason(""), p.why(token))
		require.Equal(t, 2*time.Second, time.Since(start), "OpTimeout")
		start = time.Now()
		for range 100 {
			require.Equal(t, Reason(""), p.why(token))
		}
		require.Zero(t, time.Since(start))
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := p.Lookup(ctx, token)
		require.ErrorIs(t, err, context.Canceled, "a caller that has gone is not told a stale answer")
	})
}

package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/memory"
)

// owners answers for OwnerActive and remembers who was asked for.
type owners struct {
	asked    []string
	inactive map[string]bool
	err      error
}

func (o *owners) active(_ context.Context, owner string) (bool, error) {
	o.asked = append(o.asked, owner)
	return !o.inactive[owner], o.err
}

func generateFor(t *testing.T, ks *keystore.Keystore, owner string) string {
	t.Helper()
	token, _, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: owner})
	require.NoError(t, err)
	return token.Reveal()
}

// TestTheOwnerIsAskedForOnlyAfterTheSecretMatched, and after the key's own
// state, so that neither can be probed.
func TestTheOwnerIsAskedForOnlyAfterTheSecretMatched(t *testing.T) {
	o := &owners{inactive: map[string]bool{"owner": true}}
	ks := newStoreOn(t, memory.New(), keystore.Options{OwnerActive: o.active, CacheSize: -1})
	token, _ := generate(t, ks)
	_, err := ks.Lookup(t.Context(), token)
	require.ErrorIs(t, err, keystore.ErrOwnerInactive)
	require.ErrorIs(t, err, keystore.ErrUnauthenticated)
	requireReason(t, keystore.ReasonOwnerInactive, err)
	require.Equal(t, []string{"owner"}, o.asked)

	first, key := generate(t, ks)
	var last keystore.Token
	for n := range 7 {
		last, _, err = ks.Rotate(t.Context(), key.ID, 0, nil)
		require.NoError(t, err)
		_, err = ks.Lookup(t.Context(), first)
		if n < 5 {
			requireReason(t, keystore.ReasonSuperseded, err)
		} else {
			requireReason(t, keystore.ReasonWrongSecret, err) // it is forgotten
		}
	}
	_, err = ks.Revoke(t.Context(), key.ID, "")
	require.NoError(t, err)
	_, err = ks.Lookup(t.Context(), last.Reveal())
	requireReason(t, keystore.ReasonRevoked, err)
	require.Len(t, o.asked, 1)
}

func TestAnOwnerCheckThatFailsIsUnavailable(t *testing.T) {
	for _, failure := range []error{
		errInjected, context.DeadlineExceeded,
		// A program may answer with the help of a keystore, and what that one
		// says is not about this token.
		keystore.ErrRevoked, keystore.ErrNotFound, fmt.Errorf("parent: %w", keystore.ErrUnauthenticated),
	} {
		t.Run(failure.Error(), func(t *testing.T) {
			o := &owners{err: failure}
			ks := newStoreOn(t, memory.New(), keystore.Options{OwnerActive: o.active})
			token, _ := generate(t, ks)
			for range 2 {
				_, err := ks.Lookup(t.Context(), token)
				requireReason(t, keystore.ReasonOwnerCheck, err)
				requireOutage(t, err)
				require.ErrorContains(t, err, failure.Error())
			}
			require.Len(t, o.asked, 2, "a failure is not kept")
			o.err = nil
			lookup(t, ks, token)
		})
	}
}

func TestAnAnswerIsKeptForCacheTTLExactly(t *testing.T) {
	for _, ttl := range []time.Duration{0, time.Minute} {
		for _, active := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				o := &owners{inactive: map[string]bool{"owner": !active}}
				ks := newStoreOn(t, memory.New(), keystore.Options{OwnerActive: o.active, CacheTTL: ttl})
				kept := ttl
				if kept == 0 {
					kept = 5 * time.Second
				}
				token, _ := generate(t, ks)
				check := func(want bool) {
					t.Helper()
					_, err := ks.Lookup(t.Context(), token)
					require.Equal(t, want, err == nil, "%v", err)
				}
				check(active)
				o.inactive["owner"] = active
				time.Sleep(kept - time.Nanosecond)
				check(active)
				require.Len(t, o.asked, 1)
				time.Sleep(time.Nanosecond)
				check(!active)
				require.Len(t, o.asked, 2)
			})
		}
	}
}

// TestAnAnswerAgesAlsoWhereTheClockStandsStill: a staleness bound that trusts
// only Options.Now would be none.
func TestAnAnswerAgesAlsoWhereTheClockStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &owners{}
		ks := newStoreOn(t, memory.New(), keystore.Options{OwnerActive: o.active, Now: newManualClock().now, CacheTTL: time.Minute})
		token, _ := generate(t, ks)
		lookup(t, ks, token)
		time.Sleep(time.Minute - time.Nanosecond)
		lookup(t, ks, token)
		require.Len(t, o.asked, 1)
		time.Sleep(time.Nanosecond)
		lookup(t, ks, token)
		require.Len(t, o.asked, 2)
	})
}

// TestAnAnswerIsAsOldAsItsQuestion: time that the answer took counts.
func TestAnAnswerIsAsOldAsItsQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		ks := newStoreOn(t, memory.New(), keystore.Options{CacheTTL: 5 * time.Second, OwnerActive: func(context.Context, string) (bool, error) {
			asked++
			time.Sleep(time.Second)
			return true, nil
		}})
		token, _ := generate(t, ks)
		lookup(t, ks, token)
		time.Sleep(4*time.Second - time.Nanosecond)
		lookup(t, ks, token)
		require.Equal(t, 1, asked)
		time.Sleep(time.Nanosecond)
		lookup(t, ks, token)
		require.Equal(t, 2, asked)
	})
}

func TestAClockThatJumpsDoesNotKeepAnAnswer(t *testing.T) {
	o := &owners{}
	clock := newManualClock()
	ks := newStoreOn(t, memory.New(), keystore.Options{OwnerActive: o.active, Now: clock.now, CacheTTL: time.Minute})
	token, _ := generate(t, ks)
	for n, jump := range []time.Duration{0, -time.Millisecond, time.Minute, -time.Hour} {
		clock.advance(jump)
		lookup(t, ks, token)
		lookup(t, ks, token)
		require.Len(t, o.asked, n+1)
	}
}

func TestCacheSizeBoundsTheAnswers(t *testing.T) {
	for size, again := range map[int]int{3: 0, 2: 1, -1: 3} {
		o := &owners{}
		ks := newStoreOn(t, memory.New(), keystore.Options{OwnerActive: o.active, CacheSize: size, CacheTTL: time.Hour})
		tokens := []string{generateFor(t, ks, "a"), generateFor(t, ks, "b"), generateFor(t, ks, "c")}
		for _, token := range tokens {
			lookup(t, ks, token)
		}
		require.Len(t, o.asked, 3)
		lookup(t, ks, tokens[2])
		o.asked = nil
		for _, token := range tokens {
			lookup(t, ks, token)
		}
		require.GreaterOrEqual(t, len(o.asked), again, "size %d", size)
		if size == 3 {
			require.Empty(t, o.asked, "all three fit")
		}
		if size < 0 {
			lookup(t, ks, tokens[2])
			require.Len(t, o.asked, 4, "none is kept")
		}
	}
}

func TestASlowOwnerCheckIsBounded(t *testing.T) {
	for _, c := range []struct {
		name                       string
		opTimeout, caller, expects time.Duration
	}{
		{"by OpTimeout", 3 * time.Second, 0, 3 * time.Second},
		{"by the default", 0, 0, 2 * time.Second},
		{"by the caller", time.Hour, time.Second, time.Second},
		{"by the caller alone", keystore.Never, time.Minute, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ks := newStoreOn(t, memory.New(), keystore.Options{OpTimeout: c.opTimeout, OwnerActive: func(ctx context.Context, _ string) (bool, error) {
					<-ctx.Done()
					return false, ctx.Err()
				}})
				token, _ := generate(t, ks)
				ctx := t.Context()
				if c.caller > 0 {
					var cancel func()
					ctx, cancel = context.WithTimeout(ctx, c.caller)
					defer cancel()
				}
				start := time.Now()
				_, err := ks.Lookup(ctx, token)
				require.Equal(t, c.expects, time.Since(start))
				requireReason(t, keystore.ReasonOwnerCheck, err)
				requireOutage(t, err)
				require.True(t, errors.Is(err, context.DeadlineExceeded))
			})
		})
	}
}

package keystore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAFreshTokenIsNeverRefused: another process rotates, and this one has heard
// nothing. What it keeps does not decide that the new token is wrong.
func TestAFreshTokenIsNeverRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharedStore(t)
		here, there := s.quiet(), s.quiet()
		token, id := here.generate()
		for range 20 {
			require.Equal(t, Reason(""), here.why(token))
			next, _, err := there.Rotate(t.Context(), id, 0, nil)
			require.NoError(t, err)
			start := time.Now()
			require.Equal(t, int64(1), here.during(func() {
				require.Equal(t, Reason(""), here.why(next.Reveal()))
				require.LessOrEqual(t, time.Since(start), rereadEvery)
				require.Equal(t, ReasonSuperseded, here.why(token), "what decided for the one decides against the other")
			}))
			token = next.Reveal()
			time.Sleep(7 * time.Millisecond)
		}
	})
}

// TestAWrongSecretIsDecidedByANewRead that all share who came before it began.
func TestAWrongSecretIsDecidedByANewRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet()
		token, _ := p.generate()
		p.why(token)
		time.Sleep(10 * time.Millisecond)
		start := time.Now()
		require.Equal(t, int64(1), p.during(func() {
			var all sync.WaitGroup
			for range 500 {
				wrong := forged(t, token)
				all.Go(func() { require.Equal(t, ReasonWrongSecret, p.why(wrong)) })
			}
			all.Wait()
		}))
		require.Equal(t, rereadEvery-10*time.Millisecond, time.Since(start), "the next slot of the id")
		time.Sleep(time.Second)
		start = time.Now()
		p.why(forged(t, token))
		require.Zero(t, time.Since(start), "the slot was free")
	})
}

// TestAWaitForASlotKeepsTheDeadline.
func TestAWaitForASlotKeepsTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet()
		token, _ := p.generate()
		p.why(token)
		time.Sleep(time.Millisecond)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, err := p.Lookup(ctx, forged(t, token))
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, ErrUnauthenticated)
		require.Equal(t, 5*time.Millisecond, time.Since(start))
	})
}

// TestAFloodOfWrongSecrets: ten thousand a second for a known id cost the store
// twenty reads a second, and its key stays.
func TestAFloodOfWrongSecrets(t *testing.T) {
	for name, inUse := range map[string]bool{"in use": true, "not in use": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newSharedStore(t).quiet(func(o *Options) { o.CacheSize = 1 })
				token, _ := p.generate()
				if inUse {
					p.why(token)
				}
				const seconds = 3
				reads := p.during(func() {
					var all sync.WaitGroup
					for range seconds * 10_000 {
						wrong := forged(t, token)
						all.Go(func() { require.Equal(t, ReasonWrongSecret, p.why(wrong)) })
						time.Sleep(100 * time.Microsecond)
						if inUse {
							r, err := p.LookupWith(t.Context(), token, LookupParams{})
							require.NoError(t, err)
							require.Equal(t, 1, r.Generation)
						}
					}
					all.Wait()
				})
				require.LessOrEqual(t, reads, int64(20*seconds+1))
				require.Greater(t, reads, int64(19*seconds), "each of them is decided by a read")
				require.Zero(t, p.Stats().Evictions)
			})
		})
	}
}

// TestAFloodOfUnknownTokens leaves the keys in use where they are, and takes no more
// room than its own.
func TestAFloodOfUnknownTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet(func(o *Options) { o.CacheSize, o.CacheTTL = 1000, time.Hour })
		var tokens []string
		for range 300 {
			token, _ := p.generate()
			tokens = append(tokens, token)
			require.Equal(t, Reason(""), p.why(token))
		}
		const flood = 50_000
		require.Equal(t, int64(flood), p.during(func() {
			for n := range flood {
				require.Equal(t, ReasonUnknownKey, p.why(stray(t)))
				if n%100 == 0 {
					require.Equal(t, Reason(""), p.why(tokens[n/100%300]))
				}
			}
		}), "none of a key in use")
		require.Equal(t, 300, p.Stats().Entries)
		require.Zero(t, p.Stats().Evictions)
		require.LessOrEqual(t, p.cache.doubts.Len(), 1000)
		for i := range p.cache.flights {
			require.Empty(t, p.cache.flights[i].flights)
		}
	})
}

// TestKeysThatMetWrongSecretsOnly do not take the room of keys in use either.
func TestKeysThatMetWrongSecretsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet(func(o *Options) { o.CacheSize, o.CacheTTL = 10, time.Hour })
		var tokens []string
		for range 100 {
			token, _ := p.generate()
			tokens = append(tokens, token)
		}
		for _, token := range tokens[:10] {
			require.Equal(t, Reason(""), p.why(token))
		}
		for range 5 {
			for _, token := range tokens[10:] {
				require.Equal(t, ReasonWrongSecret, p.why(forged(t, token)))
			}
		}
		require.Zero(t, p.during(func() {
			for _, token := range tokens[:10] {
				require.Equal(t, Reason(""), p.why(token))
			}
		}))
		require.Zero(t, p.Stats().Evictions)
		require.Equal(t, Reason(""), p.why(tokens[99]), "one that proves itself is in use")
		require.Equal(t, uint64(1), p.Stats().Evictions)
	})
}

// TestAnUnknownIDIsRememberedForASecond, and no longer than until it is made.
func TestAnUnknownIDIsRememberedForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).told()
		synctest.Wait()
		token := stray(t)
		require.Equal(t, int64(1), p.during(func() {
			require.Equal(t, ReasonUnknownKey, p.why(token))
			time.Sleep(time.Second - 1)
			require.Equal(t, ReasonUnknownKey, p.why(token))
		}))
		time.Sleep(time.Nanosecond)
		require.Equal(t, int64(1), p.during(func() { p.why(token) }))
		_, id, _ := splitToken(token)
		p.tell(id)
		synctest.Wait()
		require.Equal(t, int64(1), p.during(func() { p.why(token); p.why(token) }), "somebody made it")
		end := p.family.changing(id) // what Generate does
		end()
		require.Equal(t, int64(1), p.during(func() { p.why(token) }))
	})
}

// TestAChecksumIsLookedAtBeforeTheStoreIs, also where the id is known.
func TestAChecksumIsLookedAtBeforeTheStoreIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedStore(t).quiet()
		token, _ := p.generate()
		p.why(token)
		last := byte('0')
		if token[len(token)-1] == last {
			last = '1'
		}
		time.Sleep(time.Second)
		require.Zero(t, p.during(func() { require.Equal(t, ReasonMalformed, p.why(token[:len(token)-1]+string(last))) }))
	})
}

// countingHasher is a slow hash as far as the cache is concerned.
type countingHasher struct {
	Hasher
	verified atomic.Int64
}

func (h *countingHasher) Verify(token string, d Digest) bool {
	h.verified.Add(1)
	return h.Hasher.Verify(token, d)
}

// TestASlowHashIsPaidOnce for a token that proves itself, as long as its digest
// stays, and once a read for one that does not.
func TestASlowHashIsPaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &countingHasher{Hasher: SHA256()}
		p := newSharedStore(t).quiet(func(o *Options) { o.Hash = h })
		token, id := p.generate()
		next, _, err := p.Rotate(t.Context(), id, time.Hour, nil)
		require.NoError(t, err)
		for range 100 {
			require.Equal(t, Reason(""), p.why(token))
			require.Equal(t, Reason(""), p.why(next.Reveal()))
			time.Sleep(time.Second) // past CacheTTL, too
		}
		require.Equal(t, int64(3), h.verified.Load(), "the older token is compared with both digests")
		require.GreaterOrEqual(t, p.reads.Load(), int64(20))
		wrong := forged(t, token)
		require.Equal(t, ReasonWrongSecret, p.why(wrong))
		require.LessOrEqual(t, h.verified.Load(), int64(5), "not again after the new read")
	})
}

// TestCloseWhileFilling ends every lookup, with an answer or ErrClosed.
func TestCloseWhileFilling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, wait := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond, time.Second} {
			p := newSharedStore(t).told()
			token, _ := p.generate()
			p.why(token)
			p.on(func(ctx context.Context, _ string) error {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(100 * time.Millisecond):
					return nil
				}
			}, nil)
			var all sync.WaitGroup
			for n := range 200 {
				text := [...]string{forged(t, token), stray(t), token}[n%3]
				all.Go(func() {
					for {
						_, err := p.Lookup(t.Context(), text)
						if errors.Is(err, ErrClosed) {
							return
						}
						if err != nil {
							require.ErrorIs(t, err, ErrUnauthenticated)
						}
						time.Sleep(time.Millisecond)
					}
				})
			}
			time.Sleep(wait)
			require.NoError(t, p.Close())
			all.Wait()
			require.Equal(t, ReasonClosed, p.why(token))
		}
	})
}

package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
)

const (
	racers    = 16
	raceSteps = 16 // of each racer, on one key
	raceKeys  = 6  // one after the other
)

// alternating makes every other digest with a key that is not the current one,
// so that there is always something to rehash.
type alternating struct {
	keystore.Hasher
	other keystore.Hasher
	made  *atomic.Uint32
}

func newAlternating(t *testing.T) keystore.Hasher {
	t.Helper()
	ring := map[string][]byte{"a": make([]byte, 32), "b": []byte("a pepper that is 32 bytes or more")}
	a, err := keystore.HMAC("a", ring)
	require.NoError(t, err)
	b, err := keystore.HMAC("b", ring)
	require.NoError(t, err)
	return alternating{a, b, new(atomic.Uint32)}
}

func (h alternating) Hash(token string) (keystore.Digest, error) {
	if h.made.Add(1)%2 == 1 {
		return h.other.Hash(token)
	}
	return h.Hasher.Hash(token)
}

// issued is a token that Rotate returned.
type issued struct {
	token      string
	generation int
	grace      time.Duration
	start, end time.Time // of the call, by the keystore's clock
}

// tally counts how the calls of a race ended.
type tally struct {
	mu        sync.Mutex
	issued    []issued
	updated   map[string]bool // calls that succeeded
	unclear   map[string]bool // calls whose outcome is unknown
	revoked   time.Time       // what the first successful Revoke returned
	calls     int
	conflicts int
	unknown   []error
	strange   []error
}

// add counts an error, and says whether the call succeeded.
func (c *tally) add(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	switch {
	case err == nil:
		return true
	case errors.Is(err, keystore.ErrConflict):
		c.conflicts++
	case errors.Is(err, keystore.ErrUnknownOutcome):
		c.unknown = append(c.unknown, err)
	case errors.Is(err, keystore.ErrState):
	default:
		c.strange = append(c.strange, err)
	}
	return false
}

// step makes one call on the key.
func (c *tally) step(ctx context.Context, ks *keystore.Keystore, clock *manualClock, id, name string, random *rand.Rand) {
	clock.advance(time.Millisecond)
	switch random.IntN(12) {
	case 0, 1, 2, 3:
		_, err := ks.Update(ctx, id, increment(name))
		ok := c.add(err)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.updated[name], c.unclear[name] = ok, errors.Is(err, keystore.ErrUnknownOutcome)
	case 4, 5, 6:
		i := issued{grace: []time.Duration{0, 20 * time.Millisecond, time.Hour}[random.IntN(3)], start: clock.now()}
		token, key, err := ks.Rotate(ctx, id, i.grace, nil)
		i.token, i.generation, i.end = token.Reveal(), key.Generation, clock.now()
		if c.add(err) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.issued = append(c.issued, i)
		}
	case 7:
		_, err := ks.Expire(ctx, id, clock.now().Add(time.Duration(random.IntN(200))*time.Millisecond))
		c.add(err)
	case 8:
		_, err := ks.ClearExpiry(ctx, id)
		c.add(err)
	case 9:
		_, err := ks.EndGrace(ctx, id)
		c.add(err)
	default:
		c.mu.Lock()
		token := c.issued[random.IntN(len(c.issued))].token
		c.mu.Unlock()
		_, err := ks.Lookup(ctx, token) // notes the use, and may rehash
		if err != nil && !errors.Is(err, keystore.ErrUnauthenticated) {
			c.add(err)
		}
	}
}

func (c *tally) revoke(ctx context.Context, ks *keystore.Keystore, id, reason string) {
	key, err := ks.Revoke(ctx, id, reason)
	if !c.add(err) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.revoked.IsZero() {
		c.revoked = key.RevokedAt
	}
	if !c.revoked.Equal(key.RevokedAt) {
		c.strange = append(c.strange, fmt.Errorf("revoked at %v and at %v", c.revoked, key.RevokedAt))
	}
}

// TestConcurrentWritersOfOneKeyLoseNothing lets 16 racers change one key while
// its use is noted and its digests are rewritten, and then reads every version
// that the backend accepted.
func TestConcurrentWritersOfOneKeyLoseNothing(t *testing.T) {
	for _, b := range backends {
		for _, stores := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s, %d keystores", b.name, stores), func(t *testing.T) {
				seed := testSeed(t)
				log := newHistory(b.open(t))
				clock := newManualClock()
				calls, conflicts := 0, 0
				var unknown []error
				for n := range raceKeys {
					c := race(t, stores, log, clock, seed+uint64(n), n%2 == 1)
					calls, conflicts, unknown = calls+c.calls, conflicts+c.conflicts, append(unknown, c.unknown...)
				}
				t.Logf("%d calls, %d ErrConflict, %d ErrUnknownOutcome", calls, conflicts, len(unknown))
				require.Empty(t, unknown, "no fault was injected: every outcome can be known")
			})
		}
	}
}

func race(t *testing.T, n int, log *history, clock *manualClock, seed uint64, revoke bool) *tally {
	t.Helper()
	ctx := t.Context()
	hash := newAlternating(t)
	var stores []*keystore.Keystore
	for range n {
		stores = append(stores, newStoreOn(t, log, keystore.Options{
			Now: clock.now, Rehash: true, Hash: hash, TouchInterval: time.Millisecond, OpTimeout: time.Minute,
		}))
	}
	token, key := generate(t, stores[0])
	c := &tally{updated: make(map[string]bool), unclear: make(map[string]bool), issued: []issued{{token: token, generation: 1}}}
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			ks, random := stores[i%len(stores)], rand.New(rand.NewPCG(seed, uint64(i)))
			for n := range raceSteps {
				if revoke && i < 3 && n == raceSteps/2 {
					c.revoke(ctx, ks, key.ID, strconv.Itoa(i))
				}
				c.step(ctx, ks, clock, key.ID, fmt.Sprintf("%d.%d", i, n), random)
			}
		})
	}
	all.Wait()
	for _, ks := range stores {
		require.NoError(t, ks.Close()) // ends the rehash, too
	}
	require.Empty(t, c.strange)
	require.Equal(t, revoke, !c.revoked.IsZero())
	versions := log.of(t, key.ID)
	for i := 1; i < len(versions); i++ {
		requireMonotone(t, versions[i-1], versions[i], clock.now())
	}
	requireCounted(t, c, versions)
	requireRotations(t, c, versions)
	judge := newStoreOn(t, log, keystore.Options{Now: clock.now, Hash: hash, CacheSize: -1}) // or each wrong secret would wait for its turn
	requireTokens(t, judge, clock, c, versions[len(versions)-1])
	return c
}

// requireMonotone checks what no write may undo.
func requireMonotone(t *testing.T, before, after version, now time.Time) {
	t.Helper()
	if before.Revoked != 0 {
		require.Equal(t, before.Revoked, after.Revoked, "a revocation stays, with its first time")
		require.Equal(t, before.Reason, after.Reason, "and its first reason")
	}
	for _, old := range before.Secrets {
		kept := after.secret(old.Generation)
		switch {
		case kept == nil:
			require.NotNil(t, old.Until)
			require.LessOrEqual(t, *old.Until, now.UnixMilli(), "only a secret that ended is forgotten")
		case old.Until != nil:
			require.NotNil(t, kept.Until, "a superseded secret does not become current")
			require.LessOrEqual(t, *kept.Until, *old.Until, "a deadline never moves later")
		case kept.Until != nil:
			require.Equal(t, old.Generation+1, after.Secrets[0].Generation, "only a rotation supersedes")
		}
	}
}

// requireCounted checks that each successful Update is in the history once, and
// no failed one is.
func requireCounted(t *testing.T, c *tally, versions []version) {
	t.Helper()
	seen := make(map[string]bool)
	for i, v := range versions {
		if i > 0 && v.metadata("n") == versions[i-1].metadata("n") {
			continue
		}
		call := v.metadata("call")
		if call == "" {
			continue // the first versions
		}
		require.False(t, seen[call], "%s took effect twice", call)
		seen[call] = true
		require.Equal(t, strconv.Itoa(len(seen)), v.metadata("n"))
		require.True(t, c.updated[call] || c.unclear[call], "%s failed, but took effect", call)
	}
	for call, ok := range c.updated {
		require.True(t, !ok || seen[call], "%s was lost", call)
	}
}

// requireRotations checks the deadlines that each rotation set.
func requireRotations(t *testing.T, c *tally, versions []version) {
	t.Helper()
	calls := make(map[int]issued)
	for _, i := range c.issued {
		require.NotContains(t, calls, i.generation, "two rotations made one generation")
		calls[i.generation] = i
	}
	for n := 1; n < len(versions); n++ {
		before, after := versions[n-1], versions[n]
		generation := after.Secrets[0].Generation
		if generation == before.Secrets[0].Generation {
			continue
		}
		require.Equal(t, before.Secrets[0].Generation+1, generation)
		call, ok := calls[generation]
		require.True(t, ok || len(c.unknown) > 0, "a failed Rotate made generation %d", generation)
		deadline := *after.secret(generation - 1).Until
		if ok {
			require.LessOrEqual(t, deadline, call.end.Add(call.grace).UnixMilli())
			if before.Expires == 0 && call.grace > 0 { // without grace it ends by every clock
				require.GreaterOrEqual(t, deadline, call.start.Add(call.grace).UnixMilli())
			}
		}
		for _, old := range before.Secrets[1:] {
			if kept := after.secret(old.Generation); kept != nil {
				require.Equal(t, min(*old.Until, deadline), *kept.Until, "the lower of its own deadline and the rotation's")
			}
		}
	}
	require.Len(t, calls, versions[len(versions)-1].Secrets[0].Generation-c.lostRotations(versions))
}

// lostRotations counts generations that no successful call made.
func (c *tally) lostRotations(versions []version) int {
	made := make(map[int]bool)
	for _, i := range c.issued {
		made[i.generation] = true
	}
	lost := 0
	for g := 1; g <= versions[len(versions)-1].Secrets[0].Generation; g++ {
		if !made[g] {
			lost++
		}
	}
	return lost
}

// requireTokens looks every token up at each moment at which an answer may
// change: until its deadline it works, from then on it does not.
func requireTokens(t *testing.T, ks *keystore.Keystore, clock *manualClock, c *tally, last version) {
	t.Helper()
	moments := []int64{clock.ms.Load()}
	for _, s := range last.Secrets {
		if s.Until != nil && *s.Until > moments[0] {
			moments = append(moments, *s.Until-1, *s.Until)
		}
	}
	for _, now := range moments {
		for _, i := range c.issued {
			clock.ms.Store(now)
			_, err := ks.Lookup(t.Context(), i.token)
			s := last.secret(i.generation)
			expired := last.Expires != 0 && last.Expires <= now
			switch {
			case s == nil:
				require.Equal(t, keystore.ReasonWrongSecret, reasonOf(err), "%v", err)
			case last.Revoked != 0:
				require.Equal(t, keystore.ReasonRevoked, reasonOf(err))
			case s.Until != nil && *s.Until <= now:
				require.Equal(t, keystore.ReasonSuperseded, reasonOf(err))
			case expired:
				require.Equal(t, keystore.ReasonExpired, reasonOf(err))
			default:
				require.NoError(t, err, "generation %d", i.generation)
			}
		}
	}
	clock.ms.Store(moments[0])
}

// TestConcurrentRevokeAllCountsEachKeyOnce: the counts of callers that overlap
// add up.
func TestConcurrentRevokeAllCountsEachKeyOnce(t *testing.T) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			store := b.open(t)
			one, two := newStoreOn(t, store, keystore.Options{}), newStoreOn(t, store, keystore.Options{})
			const keys = 40
			for range keys {
				generate(t, one)
			}
			var revoked atomic.Int64
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					n, err := []*keystore.Keystore{one, two}[i%2].RevokeAll(t.Context(), "owner", strconv.Itoa(i))
					if err != nil {
						t.Error(err)
					}
					revoked.Add(int64(n))
				})
			}
			all.Wait()
			require.Equal(t, int64(keys), revoked.Load())
		})
	}
}

var _ backend.Backend = (*history)(nil)

package keystore_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
)

func pepper(t *testing.T, current string, kids ...string) keystore.Hasher {
	t.Helper()
	ring := make(map[string][]byte)
	for _, kid := range kids {
		ring[kid] = []byte("a pepper of 32 bytes or more, and its name is " + kid)
	}
	h, err := keystore.HMAC(current, ring)
	require.NoError(t, err)
	return h
}

func requireDigests(t *testing.T, want map[string]int, ks *keystore.Keystore) {
	t.Helper()
	got, err := ks.CountDigests(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// rehashing is a store where new digests are HMACs and keys have SHA-256.
type rehashing struct {
	*bench
	log   *logged
	ks    *keystore.Keystore // rewrites digests
	hash  keystore.Hasher
	token string
	key   keystore.Key
}

// newRehashing is for bubbles: the rewriting is over at synctest.Wait.
func newRehashing(t *testing.T) *rehashing {
	r := &rehashing{bench: newBench(t), log: new(logged), hash: pepper(t, "k1", "k1")}
	r.token, r.key = generate(t, r.plain)
	r.ks = newStoreOn(t, r.store, keystore.Options{
		Now: r.clock.now, Hash: r.hash, AcceptHash: []keystore.Hasher{keystore.SHA256()}, Rehash: true,
		OpTimeout: time.Second, Logger: r.log.logger(), CacheSize: -1, // others change the key
	})
	return r
}

func TestALookupRewritesADigestOfAnotherScheme(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRehashing(t)
		requireDigests(t, map[string]int{"sha256$": 1}, r.ks)
		lookup(t, r.ks, r.token)
		synctest.Wait()
		requireDigests(t, map[string]int{"hmac-sha256$k1": 1}, r.ks)
		require.Equal(t, 1, r.store.Calls(faulty.Update))
		for range 3 {
			lookup(t, r.ks, r.token)
			synctest.Wait()
		}
		require.Equal(t, 1, r.store.Calls(faulty.Update), "it is what Hash makes now")
		_, err := r.plain.Lookup(t.Context(), r.token)
		requireReason(t, keystore.ReasonUnknownHash, err)
		require.Zero(t, r.log.lines())
		after, err := r.ks.Get(t.Context(), r.key.ID)
		require.NoError(t, err)
		require.Equal(t, r.key.Generation, after.Generation)
	})
}

func TestRehashIsOffByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRehashing(t)
		ks := newStoreOn(t, r.store, keystore.Options{Now: r.clock.now, Hash: r.hash, AcceptHash: []keystore.Hasher{keystore.SHA256()}})
		lookup(t, ks, r.token)
		synctest.Wait()
		require.Zero(t, r.store.Calls(faulty.Update))
		requireDigests(t, map[string]int{"sha256$": 1}, ks)
	})
}

func TestARefusedLookupRewritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRehashing(t)
		_, err := r.ks.Lookup(t.Context(), r.token, "orders:read")
		require.ErrorIs(t, err, keystore.ErrMissingScope)
		_, err = r.plain.Revoke(t.Context(), r.key.ID, "")
		require.NoError(t, err)
		_, err = r.ks.Lookup(t.Context(), r.token)
		require.ErrorIs(t, err, keystore.ErrRevoked)
		synctest.Wait()
		require.Zero(t, r.store.Calls(faulty.Update))
	})
}

// TestRehashUnderFaultIsTriedOnceAndHarmless: whatever happens to its write,
// the token works, the failure is logged, and the process leaves it at that.
func TestRehashUnderFaultIsTriedOnceAndHarmless(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRehashing(t)
				r.fail(faulty.Only(k.fault(r.bench), faulty.Update))
				for range 5 {
					lookup(t, r.ks, r.token)
					time.Sleep(time.Minute)
				}
				require.Equal(t, oneIf(k.always != succeeded), r.log.lines())
				require.LessOrEqual(t, r.store.Calls(faulty.Update), 3)
				scheme := "sha256$"
				if k.appliedAlways == 1 {
					scheme = "hmac-sha256$k1"
				}
				requireDigests(t, map[string]int{scheme: 1}, r.ks)
				r.late.Deliver()
				lookup(t, r.ks, r.token)

				r.heal() // another process tries again
				other := newStoreOn(t, r.store, keystore.Options{
					Now: r.clock.now, Hash: r.hash, AcceptHash: []keystore.Hasher{keystore.SHA256()}, Rehash: true,
				})
				lookup(t, other, r.token)
				synctest.Wait()
				requireDigests(t, map[string]int{"hmac-sha256$k1": 1}, r.ks)
			})
		})
	}
}

// TestWhatHappensBetweenALookupAndItsRewriting: the rewriting is held before it
// reads, or between its read and its write.
func TestWhatHappensBetweenALookupAndItsRewriting(t *testing.T) {
	for _, c := range []struct {
		name    string
		between func(ctx context.Context, ks *keystore.Keystore, id string) error
		reason  keystore.Reason // of the old token afterwards
		digests map[string]int
	}{
		{"rotated without grace", func(ctx context.Context, ks *keystore.Keystore, id string) error {
			_, _, err := ks.Rotate(ctx, id, 0, nil)
			return err
		}, keystore.ReasonSuperseded, map[string]int{"sha256$": 1}},
		{"rotated with grace", func(ctx context.Context, ks *keystore.Keystore, id string) error {
			_, _, err := ks.Rotate(ctx, id, time.Hour, nil)
			return err
		}, "", map[string]int{"sha256$": 1, "hmac-sha256$k1": 1}},
		{"revoked", func(ctx context.Context, ks *keystore.Keystore, id string) error {
			_, err := ks.Revoke(ctx, id, "why")
			return err
		}, keystore.ReasonRevoked, nil},
		{"disabled", func(ctx context.Context, ks *keystore.Keystore, id string) error {
			_, err := ks.Update(ctx, id, func(c *keystore.Changes) error { c.Disabled = true; return nil })
			return err
		}, keystore.ReasonDisabled, nil},
		{"expired", func(ctx context.Context, ks *keystore.Keystore, id string) error {
			_, err := ks.Expire(ctx, id, time.UnixMilli(0))
			return err
		}, keystore.ReasonExpired, nil},
		{"deleted", func(ctx context.Context, ks *keystore.Keystore, id string) error { return ks.Delete(ctx, id) },
			keystore.ReasonUnknownKey, map[string]int{}},
	} {
		for _, where := range []faulty.Method{faulty.Get, faulty.Update} {
			t.Run(c.name+", before "+string(where), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRehashing(t)
					nth := 1
					if where == faulty.Get {
						nth = 2 // after the lookup's own
					}
					r.fail(faulty.Nth(nth, where, faulty.Around(func() {
						require.NoError(t, c.between(t.Context(), r.plain, r.key.ID))
					}, nil)))
					lookup(t, r.ks, r.token)
					synctest.Wait()
					time.Sleep(time.Second) // for the pause after a conflict
					_, err := r.ks.Lookup(t.Context(), r.token)
					require.Equal(t, c.reason, reasonOf(err), "%v", err)
					if c.digests != nil {
						requireDigests(t, c.digests, r.ks)
					}
					if k, err := r.plain.Get(t.Context(), r.key.ID); c.reason == keystore.ReasonRevoked {
						require.NoError(t, err)
						require.Equal(t, "why", k.RevokeReason)
						require.True(t, r.clock.now().Equal(k.RevokedAt))
					}
				})
			})
		}
	}
}

func TestCloseEndsARehashThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRehashing(t)
		r.fail(faulty.Only(faulty.Block, faulty.Update))
		lookup(t, r.ks, r.token)
		synctest.Wait()
		start := time.Now()
		require.NoError(t, r.ks.Close())
		require.Zero(t, time.Since(start))
		require.Zero(t, r.log.lines(), "ending is no failure")
	})
}

// TestAFloodOfRewritingsDoesNotDelayLookups: what does not fit in the queue is
// left for a later lookup.
func TestAFloodOfRewritingsDoesNotDelayLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRehashing(t)
		release := make(chan struct{})
		r.fail(faulty.Only(faulty.Around(func() { <-release }, nil), faulty.Update))
		tokens := []string{r.token}
		for range 199 {
			token, _ := generate(t, r.plain)
			tokens = append(tokens, token)
		}
		start := time.Now()
		for _, token := range tokens {
			lookup(t, r.ks, token)
		}
		require.Zero(t, time.Since(start))
		close(release)
		synctest.Wait()
		for range 5 {
			for _, token := range tokens {
				lookup(t, r.ks, token)
			}
			synctest.Wait()
		}
		requireDigests(t, map[string]int{"hmac-sha256$k1": 200}, r.ks)
	})
}

func TestRehashMovesToAnotherCostOfBcrypt(t *testing.T) {
	old, err := keystore.Bcrypt(4)
	require.NoError(t, err)
	dearer, err := keystore.Bcrypt(5)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		before := newStoreOn(t, b.store, keystore.Options{Hash: old})
		token, _ := generate(t, before)
		requireDigests(t, map[string]int{"bcrypt$4": 1}, before)
		after := newStoreOn(t, b.store, keystore.Options{Hash: dearer, Rehash: true})
		lookup(t, after, token)
		synctest.Wait()
		requireDigests(t, map[string]int{"bcrypt$5": 1}, after)
		lookup(t, after, token)
		lookup(t, before, token)
	})
}

// TestAPepperIsRolledOverInTwoSteps without a moment at which any process
// refuses a good token, and retired when no digest is left.
func TestAPepperIsRolledOverInTwoSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		process := func(current string, kids ...string) *keystore.Keystore {
			return newStoreOn(t, b.store, keystore.Options{
				Now: b.clock.now, Hash: pepper(t, current, kids...), Rehash: current == "k2",
			})
		}
		old := process("k1", "k1")
		token, key := generate(t, old)
		idle, _ := generate(t, old)
		// Step one: every process accepts k2, and still makes k1.
		accepting := process("k1", "k1", "k2")
		lookup(t, accepting, token)
		synctest.Wait()
		requireDigests(t, map[string]int{"hmac-sha256$k1": 2}, accepting)
		// Step two: the processes make k2, one after the other.
		making := process("k2", "k1", "k2")
		lookup(t, making, token)
		synctest.Wait()
		requireDigests(t, map[string]int{"hmac-sha256$k1": 1, "hmac-sha256$k2": 1}, making)
		lookup(t, accepting, token)
		lookup(t, accepting, idle)
		// The old token stays in grace, with its k2; the idle one is rotated.
		_, _, err := making.Rotate(t.Context(), key.ID, time.Hour, nil)
		require.NoError(t, err)
		synctest.Wait()
		requireDigests(t, map[string]int{"hmac-sha256$k1": 1, "hmac-sha256$k2": 2}, making)
		lookup(t, making, idle)
		synctest.Wait()
		requireDigests(t, map[string]int{"hmac-sha256$k2": 3}, making)
		// k1 is retired. A process that has only k1 says that it cannot tell.
		retired := process("k2", "k2")
		lookup(t, retired, token)
		lookup(t, retired, idle)
		_, err = old.Lookup(t.Context(), token)
		requireReason(t, keystore.ReasonUnknownHash, err)
	})
}

// mislabelled makes digests that it does not claim to verify, once told to.
type mislabelled struct {
	keystore.Hasher
	broken *atomic.Bool
	fails  bool
}

func (h mislabelled) KeyID() string { return "k1" }

func (h mislabelled) Hash(token string) (keystore.Digest, error) {
	switch {
	case !h.broken.Load():
		return h.Hasher.Hash(token)
	case h.fails:
		return keystore.Digest{}, errors.New("hsm is offline")
	}
	return keystore.NewDigest("hmac-sha256", "k9", make([]byte, 32))
}

// TestRehashWithABrokenHasherLocksNobodyOut: Generate and Rotate refuse such a
// digest, and so must the rewriting.
func TestRehashWithABrokenHasherLocksNobodyOut(t *testing.T) {
	for _, fails := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRehashing(t)
			hash := mislabelled{r.hash, new(atomic.Bool), fails}
			hash.broken.Store(true)
			ks := newStoreOn(t, r.store, keystore.Options{
				Now: r.clock.now, Hash: hash, AcceptHash: []keystore.Hasher{keystore.SHA256()}, Rehash: true, Logger: r.log.logger(),
			})
			lookup(t, ks, r.token)
			synctest.Wait()
			_, err := ks.Lookup(t.Context(), r.token)
			require.NoError(t, err, "a token that worked goes on working")
			require.Equal(t, 1, r.log.lines())
		})
	}
}

package keystore_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/faulty"
)

// TestAnOutageIsNeverAnInvalidKey: whatever the token, a backend that fails is
// ErrUnavailable.
func TestAnOutageIsNeverAnInvalidKey(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				good, _ := generate(t, b.plain)
				deleted, gone := generate(t, b.plain)
				require.NoError(t, b.plain.Delete(t.Context(), gone.ID))
				revoked, key := generate(t, b.plain)
				_, err := b.plain.Revoke(t.Context(), key.ID, "")
				require.NoError(t, err)
				b.fail(faulty.Only(k.fault(b), faulty.Get))
				for token, untouched := range map[string]keystore.Reason{
					good: "", deleted: keystore.ReasonUnknownKey, revoked: keystore.ReasonRevoked,
				} {
					start := time.Now()
					found, err := b.ks.Lookup(t.Context(), token)
					if k.always == succeeded {
						require.Equal(t, untouched, reasonOf(err))
						continue
					}
					requireReason(t, keystore.ReasonUnavailable, err)
					requireOutage(t, err)
					require.Zero(t, found)
					require.LessOrEqual(t, time.Since(start), time.Second, "OpTimeout")
				}
				b.heal()
				_, err = b.ks.Lookup(t.Context(), good)
				require.NoError(t, err, "the outage is over")
			})
		})
	}
}

// TestALookupTellsHowItsContextEnded, also where the driver reports it in words
// of its own, and waits no longer than the sooner of the two deadlines.
func TestALookupTellsHowItsContextEnded(t *testing.T) {
	blockInOwnWords := func(ctx context.Context, _ faulty.Do) error {
		<-ctx.Done()
		return errInjected
	}
	for _, c := range []struct {
		name      string
		opTimeout time.Duration
		caller    time.Duration // deadline, 0: none
		cancel    time.Duration // when the caller cancels, 0: never; negative: before the call
		waits     time.Duration
		is        error
	}{
		{"cancelled before", time.Second, 0, -1, 0, context.Canceled},
		{"cancelled during", time.Minute, 0, time.Second, time.Second, context.Canceled},
		{"expired before", time.Second, -time.Second, 0, 0, context.DeadlineExceeded},
		{"the caller's deadline is sooner", time.Minute, time.Second, 0, time.Second, context.DeadlineExceeded},
		{"OpTimeout is sooner", time.Second, time.Minute, 0, time.Second, nil},
		{"OpTimeout alone", time.Second, 0, 0, time.Second, nil},
		{"OpTimeout Never", keystore.Never, time.Hour, 0, time.Hour, context.DeadlineExceeded},
	} {
		for words, fault := range map[string]faulty.Fault{"": faulty.Block, ", in the driver's words": blockInOwnWords} {
			t.Run(c.name+words, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					token, _ := generate(t, b.plain)
					b.fail(faulty.Only(fault, faulty.Get))
					ks := newStoreOn(t, b.store, keystore.Options{OpTimeout: c.opTimeout})
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if c.caller != 0 {
						ctx, cancel = context.WithTimeout(ctx, c.caller)
						defer cancel()
					}
					switch {
					case c.cancel < 0:
						cancel()
					case c.cancel > 0:
						time.AfterFunc(c.cancel, cancel)
					}
					start := time.Now()
					_, err := ks.Lookup(ctx, token)
					requireReason(t, keystore.ReasonUnavailable, err)
					requireOutage(t, err)
					require.Equal(t, c.waits, time.Since(start))
					if c.is == nil {
						return // what OpTimeout ended is not told from a driver's own timeout
					}
					for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
						require.Equal(t, cause == c.is, errors.Is(err, cause), "%v", err)
					}
				})
			})
		}
	}
}

// TestReadsUnderFaultAreUnavailable covers the operations that only read.
func TestReadsUnderFaultAreUnavailable(t *testing.T) {
	reads := map[string]func(ctx context.Context, b *bench) error{
		"Get": func(ctx context.Context, b *bench) error {
			_, err := b.ks.Get(ctx, b.id)
			return err
		},
		"List": func(ctx context.Context, b *bench) error {
			_, _, err := b.ks.List(ctx, keystore.ListParams{})
			return err
		},
		"All": func(ctx context.Context, b *bench) (last error) {
			for _, err := range b.ks.All(ctx, "") {
				last = err
			}
			return last
		},
		"CountDigests": func(ctx context.Context, b *bench) error {
			_, err := b.ks.CountDigests(ctx)
			return err
		},
		"Ping": func(ctx context.Context, b *bench) error { return b.ks.Ping(ctx) },
		"RevokeAll": func(ctx context.Context, b *bench) error {
			_, err := b.ks.RevokeAll(ctx, "owner", "")
			return err
		},
	}
	for name, read := range reads {
		for _, k := range kinds {
			t.Run(name+", "+k.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					_, key := generate(t, b.plain)
					b.id = key.ID
					b.fail(faulty.Only(k.fault(b), faulty.Get, faulty.List))
					start := time.Now()
					err := read(t.Context(), b)
					if k.always == succeeded {
						require.NoError(t, err)
						return
					}
					requireOutage(t, err)
					require.LessOrEqual(t, time.Since(start), time.Second, "OpTimeout")
					k, err := b.plain.Get(t.Context(), key.ID)
					require.NoError(t, err)
					require.Equal(t, keystore.Active, k.State(b.clock.now()))
				})
			})
		}
	}
}

// TestAWriteTellsHowItsContextEnded: not begun at all it is a clean failure,
// and ended on its way it is unknown.
func TestAWriteTellsHowItsContextEnded(t *testing.T) {
	for _, w := range writes {
		t.Run(w.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				_, key := generate(t, b.plain)
				b.id = key.ID
				if w.prepare != nil {
					w.prepare(t, b)
				}
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				err := w.run(ctx, b)
				require.Equal(t, failed, outcomeOf(err))
				require.ErrorIs(t, err, context.Canceled)
				requireOutage(t, err)
				require.Zero(t, w.effects(t, b))

				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				start := time.Now()
				b.fail(faulty.Only(faulty.BlockAfter, w.method))
				err = w.run(ctx, b)
				require.Equal(t, unclear, outcomeOf(err))
				require.ErrorIs(t, err, context.DeadlineExceeded)
				requireOutage(t, err)
				require.Equal(t, 100*time.Millisecond, time.Since(start), "the caller's deadline ends the repeats")
				require.Equal(t, 1, w.effects(t, b))
				b.heal()
			})
		})
	}
}

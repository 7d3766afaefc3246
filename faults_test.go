package keystore_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

// outcome is what a caller may be told of a write.
type outcome string

const (
	succeeded outcome = "success"
	failed    outcome = "clean failure" // it did not happen and never will
	unclear   outcome = "unknown"       // ErrUnknownOutcome
)

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return succeeded
	case isAny(err, keystore.ErrUnknownOutcome):
		return unclear
	}
	return failed
}

// requireOutage checks that the failure of a backend shows as one.
func requireOutage(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, keystore.ErrUnavailable)
	require.False(t, isAny(err, keystore.ErrUnauthenticated, keystore.ErrNotFound, keystore.ErrConflict,
		keystore.ErrState, keystore.ErrCorrupt, keystore.ErrInvalid, keystore.ErrClosed), "%v", err)
}

// bench is a key in a store whose faults can be switched on.
type bench struct {
	ks    *keystore.Keystore // the one under test
	plain *keystore.Keystore // on the same records, without faults
	clock *manualClock
	late  faulty.Late
	plan  atomic.Pointer[faulty.Plan]
	store faulty.Backend
	id    string
	token keystore.Token // of the last Generate or Rotate
	count int            // of the last RevokeAll or Purge
}

func newBench(t *testing.T) *bench {
	b := &bench{clock: newManualClock()}
	inner := memory.New()
	b.store = faulty.New(inner, func(c faulty.Call) faulty.Fault {
		if plan := b.plan.Load(); plan != nil {
			return (*plan)(c)
		}
		return nil
	})
	opts := keystore.Options{Now: b.clock.now, OpTimeout: time.Second, Retention: time.Hour}
	b.plain = newStoreOn(t, inner, opts)
	b.ks = newStoreOn(t, b.store, opts)
	return b
}

// fail puts a plan into force.
func (b *bench) fail(plan faulty.Plan) { b.plan.Store(&plan) }

// heal ends all faults.
func (b *bench) heal() { b.plan.Store(nil) }

// keys counts those in the store.
func (b *bench) keys(t *testing.T) int {
	n := 0
	for _, err := range b.plain.All(t.Context(), "") {
		require.NoError(t, err)
		n++
	}
	return n
}

// write is an operation that writes once, on the key of a bench.
type write struct {
	name    string
	method  faulty.Method
	prepare func(t *testing.T, b *bench)
	run     func(ctx context.Context, b *bench) error
	effects func(t *testing.T, b *bench) int // how often it took effect

	overtaken int // how many keys another writer can still update then
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// onKey makes the effects of a write on one key from its state.
func onKey(effects func(k keystore.Key) int) func(*testing.T, *bench) int {
	return func(t *testing.T, b *bench) int {
		k, err := b.plain.Get(t.Context(), b.id)
		require.NoError(t, err)
		return effects(k)
	}
}

var writes = []write{
	{"Generate", faulty.Create, nil, func(ctx context.Context, b *bench) (err error) {
		b.token, _, err = b.ks.Generate(ctx, keystore.KeyParams{Owner: "new"})
		return err
	}, func(t *testing.T, b *bench) int { return b.keys(t) - 1 }, 2},
	{"Update", faulty.Update, nil, func(ctx context.Context, b *bench) error {
		_, err := b.ks.Update(ctx, b.id, increment("it"))
		return err
	}, onKey(counter), 1},
	{"Expire", faulty.Update, nil, func(ctx context.Context, b *bench) error {
		_, err := b.ks.Expire(ctx, b.id, b.clock.now().Add(time.Hour))
		return err
	}, onKey(func(k keystore.Key) int { return oneIf(!k.ExpiresAt.IsZero()) }), 1},
	{"ClearExpiry", faulty.Update, func(t *testing.T, b *bench) {
		_, err := b.plain.Expire(t.Context(), b.id, b.clock.now().Add(time.Hour))
		require.NoError(t, err)
	}, func(ctx context.Context, b *bench) error {
		_, err := b.ks.ClearExpiry(ctx, b.id)
		return err
	}, onKey(func(k keystore.Key) int { return oneIf(k.ExpiresAt.IsZero()) }), 1},
	{"Rotate", faulty.Update, nil, func(ctx context.Context, b *bench) (err error) {
		b.token, _, err = b.ks.Rotate(ctx, b.id, time.Hour, nil)
		return err
	}, onKey(func(k keystore.Key) int { return k.Generation - 1 }), 1},
	{"EndGrace", faulty.Update, func(t *testing.T, b *bench) {
		_, _, err := b.plain.Rotate(t.Context(), b.id, time.Hour, nil)
		require.NoError(t, err)
	}, func(ctx context.Context, b *bench) error {
		_, err := b.ks.EndGrace(ctx, b.id)
		return err
	}, onKey(func(k keystore.Key) int { return oneIf(k.GraceUntil.IsZero()) }), 1},
	{"Revoke", faulty.Update, nil, func(ctx context.Context, b *bench) error {
		_, err := b.ks.Revoke(ctx, b.id, "why")
		return err
	}, onKey(func(k keystore.Key) int { return oneIf(k.RevokeReason == "why") }), 0},
	{"RevokeAll", faulty.Update, nil, func(ctx context.Context, b *bench) (err error) {
		b.count, err = b.ks.RevokeAll(ctx, "owner", "why")
		return err
	}, onKey(func(k keystore.Key) int { return oneIf(!k.RevokedAt.IsZero()) }), 0},
	{"Delete", faulty.Delete, nil, func(ctx context.Context, b *bench) error {
		return b.ks.Delete(ctx, b.id)
	}, func(t *testing.T, b *bench) int { return 1 - b.keys(t) }, 0},
}

// kind is a way in which a backend fails, and what a write then ends in: where
// only the first call fails so, and where each does.
type kind struct {
	name          string
	fault         func(b *bench) faulty.Fault
	once, always  outcome
	appliedAlways int // effects when each call failed so, before late calls arrive
}

func fixed(f faulty.Fault) func(*bench) faulty.Fault { return func(*bench) faulty.Fault { return f } }

var kinds = []kind{
	{"refused", fixed(faulty.Refuse(errInjected)), succeeded, unclear, 0},
	{"refused with a timeout", fixed(faulty.Refuse(context.DeadlineExceeded)), succeeded, unclear, 0},
	{"not applied", fixed(faulty.Refuse(fmt.Errorf("full: %w", backend.ErrNotApplied))), failed, failed, 0},
	{"timeout after applying", fixed(faulty.LoseReply(context.DeadlineExceeded)), succeeded, unclear, 1},
	{"reply lost", fixed(faulty.LoseReply(errInjected)), succeeded, unclear, 1},
	{"repeated", fixed(faulty.Repeat(nil)), succeeded, succeeded, 1},
	{"repeated later", func(b *bench) faulty.Fault { return b.late.Again }, succeeded, succeeded, 1},
	{"blocked", fixed(faulty.Block), succeeded, unclear, 0},
	{"blocked after applying", fixed(faulty.BlockAfter), succeeded, unclear, 1},
	{"late", func(b *bench) faulty.Fault { return b.late.Delay(errInjected) }, succeeded, unclear, 0},
}

// TestAWriteUnderFaultHappensOnceOrSaysWhatIsKnown makes each write under each
// fault, of the first call and of all. Late calls arrive at the end: that may
// settle an unknown outcome, but never change another.
func TestAWriteUnderFaultHappensOnceOrSaysWhatIsKnown(t *testing.T) {
	for _, w := range writes {
		for _, k := range kinds {
			t.Run(fmt.Sprintf("%s, first call %s", w.name, k.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					effects := 1
					if k.once == failed {
						effects = 0
					}
					w.requireEnd(t, b, faulty.Nth(1, w.method, k.fault(b)), k.once, effects)
				})
			})
			t.Run(fmt.Sprintf("%s, each call %s", w.name, k.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					w.requireEnd(t, b, faulty.Only(k.fault(b), w.method), k.always, k.appliedAlways)
				})
			})
		}
	}
}

func (w *write) requireEnd(t *testing.T, b *bench, plan faulty.Plan, want outcome, effects int) {
	t.Helper()
	_, key := generate(t, b.plain)
	b.id = key.ID
	if w.prepare != nil {
		w.prepare(t, b)
	}
	require.Zero(t, w.effects(t, b))
	b.fail(plan)
	err := w.run(t.Context(), b)
	require.Equal(t, want, outcomeOf(err), "%v", err)
	if err != nil {
		requireOutage(t, err)
	}
	require.Equal(t, effects, w.effects(t, b), "effects at the return")
	if w.name == "RevokeAll" {
		require.Equal(t, oneIf(want == succeeded), b.count)
	}
	late := b.late.Deliver()
	if want == unclear && late > 0 {
		effects = 1
	}
	require.Equal(t, effects, w.effects(t, b), "effects after late calls arrived")
	if w.name == "Generate" || w.name == "Rotate" {
		require.Equal(t, want == failed, b.token.IsZero(), "a token that may be live is returned, no other is")
		if effects == 1 {
			_, err := b.plain.Lookup(t.Context(), b.token.Reveal())
			require.NoError(t, err)
		}
	}
	b.heal()
}

// TestAWriteThatAnotherOvertookIsRecognised: the reply is lost, or the call
// repeated, and another writer changes the key before the second call.
func TestAWriteThatAnotherOvertookIsRecognised(t *testing.T) {
	overtaken := map[string]func(overtake func()) faulty.Fault{
		"repeat": faulty.Repeat,
		"reply lost": func(overtake func()) faulty.Fault {
			return func(ctx context.Context, do faulty.Do) error {
				do(ctx)
				overtake()
				return errInjected
			}
		},
	}
	for _, w := range writes {
		for name, fault := range overtaken {
			t.Run(w.name+", "+name, func(t *testing.T) {
				b := newBench(t)
				_, key := generate(t, b.plain)
				b.id = key.ID
				if w.prepare != nil {
					w.prepare(t, b)
				}
				overtakes := 0
				b.fail(faulty.Nth(1, w.method, fault(func() {
					for k, err := range b.plain.All(t.Context(), "") {
						require.NoError(t, err)
						_, err = b.plain.Update(t.Context(), k.ID, func(c *keystore.Changes) error {
							c.Name = "overtaken"
							return nil
						})
						if !isAny(err, keystore.ErrState) {
							require.NoError(t, err)
							overtakes++
						}
					}
				})))
				require.NoError(t, w.run(t.Context(), b))
				require.Equal(t, 1, w.effects(t, b))
				require.Equal(t, w.overtaken, overtakes)
			})
		}
	}
}

// TestAWriteWhoseReadFailsIsACleanFailure: nothing was sent yet.
func TestAWriteWhoseReadFailsIsACleanFailure(t *testing.T) {
	for _, w := range writes {
		if w.name == "Generate" {
			continue // it reads nothing
		}
		for _, k := range kinds {
			if k.always == succeeded {
				continue
			}
			t.Run(w.name+", reads "+k.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t)
					w.requireEnd(t, b, faulty.Only(k.fault(b), faulty.Get), failed, 0)
					require.Zero(t, b.store.Calls(faulty.Update)+b.store.Calls(faulty.Delete))
				})
			})
		}
	}
}

// TestAConflictThatCannotBeSettledIsUnknown: the write and the read after it
// tell nothing, so the caller gets the token that may be live.
func TestAConflictThatCannotBeSettledIsUnknown(t *testing.T) {
	b := newBench(t)
	_, key := generate(t, b.plain)
	b.fail(func(c faulty.Call) faulty.Fault {
		switch {
		case c.Method == faulty.Update:
			return faulty.Repeat(func() {
				_, err := b.plain.Update(t.Context(), key.ID, increment("other"))
				require.NoError(t, err)
			})
		case c.Method == faulty.Get && c.N > 1:
			return faulty.Refuse(errInjected)
		}
		return nil
	})
	token, _, err := b.ks.Rotate(t.Context(), key.ID, 0, nil)
	require.ErrorIs(t, err, keystore.ErrUnknownOutcome)
	requireOutage(t, err)
	_, err = b.plain.Lookup(t.Context(), token.Reveal())
	require.NoError(t, err)
}

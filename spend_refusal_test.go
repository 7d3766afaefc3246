package keystore

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// What is closed under a spend is ErrClosed under each policy: nothing passes.
func TestCloseDuringASpend(t *testing.T) {
	for _, policy := range []LimitFailure{LimitsClosed, LimitsOpen} {
		f := newFixture(t, func(o *Options) { o.LimitFailure = policy })
		token, _ := f.generate(KeyParams{Limits: []Limit{perDay}})
		f.pass(token, 1)
		calls := 0
		f.store.spend = func(context.Context, backend.Spend) (backend.Spent, error) {
			calls++
			require.NoError(t, f.Close())
			return backend.Spent{}, backend.ErrClosed
		}
		result, err := f.lookup(token, LookupParams{})
		require.ErrorIs(t, err, ErrClosed)
		require.Equal(t, ReasonClosed, reasonOf(t, err))
		require.Equal(t, Result{}, result)
		require.Equal(t, 1, calls, "it is not repeated")
	}
}

// A limit that has just the cost left is not exceeded, and nobody waits for it.
func TestALimitWithTheCostLeftIsNotExceeded(t *testing.T) {
	f := newFixture(t)
	token, _ := f.generate(KeyParams{Limits: []Limit{{"hour", 3, time.Hour}, {"second", 2, time.Second}}})
	_, err := f.lookup(token, LookupParams{Cost: 2})
	require.NoError(t, err)
	refused := f.limited(token, LookupParams{})
	require.Equal(t, []string{"second"}, refused.Exceeded())
	require.Equal(t, time.Second, refused.RetryAfter)
	f.clock.add(time.Second)
	_, err = f.Peek(context.Background(), token.Reveal(), LookupParams{Cost: 2})
	require.ErrorIs(t, err, ErrRateLimited, "hour has 1 left")
	f.pass(token, 1)
}

// oddCounts answers with other counts than it was asked for.
type oddCounts struct {
	*spyBackend
	counts []int64
}

func (b *oddCounts) Counts(context.Context, string, []backend.Window) ([]int64, error) {
	return b.counts, nil
}

func TestCountsThatAreNoneAreNotRead(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	token, key := f.generate(KeyParams{Limits: []Limit{perDay, perSecond}})
	odd := &oddCounts{spyBackend: f.store}
	ks, err := New(odd, &Options{Prefix: "sk_test", Now: f.clock.now})
	require.NoError(t, err)
	defer ks.Close()
	for _, odd.counts = range [][]int64{nil, {}, {1}, {1, 2, 3}} {
		_, err := ks.LimitsOf(ctx, key.ID)
		require.ErrorIs(t, err, ErrUnavailable)
		_, err = ks.Peek(ctx, token.Reveal(), LookupParams{})
		require.ErrorIs(t, err, ErrUnavailable)
	}
}

// Peek asks the store while lookups pass unchecked, and takes no turn of theirs to
// ask whether it answers again.
func TestPeekBesideAnOpenBreaker(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.LimitFailure = LimitsOpen })
	token, _ := f.generate(KeyParams{Limits: []Limit{perDay}})
	f.pass(token, 1)
	for range breakAfter {
		f.breaker.note(backend.ErrNotApplied)
	}
	result, err := f.Peek(context.Background(), token.Reveal(), LookupParams{})
	require.NoError(t, err)
	require.Len(t, result.Limits, 1)
	require.True(t, f.breaker.open(), "a peek that succeeds does not close it: the store may be read-only")
}

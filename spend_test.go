package keystore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

func (b *spyBackend) Spend(ctx context.Context, s backend.Spend) (backend.Spent, error) {
	b.spends.Add(1)
	if b.spend != nil {
		return b.spend(ctx, s)
	}
	return b.Backend.Spend(ctx, s)
}

var (
	perDay    = Limit{"day", 100, 24 * time.Hour}
	perSecond = Limit{"burst", 10, time.Second}
)

func (f *fixture) lookup(token Token, p LookupParams) (Result, error) {
	return f.LookupWith(context.Background(), token.Reveal(), p)
}

// pass makes n lookups that all succeed.
func (f *fixture) pass(token Token, n int) {
	f.t.Helper()
	for i := range n {
		_, err := f.lookup(token, LookupParams{})
		require.NoError(f.t, err, "lookup %d", i)
	}
}

// limited makes a lookup that a limit refuses.
func (f *fixture) limited(token Token, p LookupParams) *RateLimitError {
	f.t.Helper()
	result, err := f.lookup(token, p)
	require.ErrorIs(f.t, err, ErrRateLimited)
	require.NotErrorIs(f.t, err, ErrUnauthenticated)
	require.NotErrorIs(f.t, err, ErrUnavailable)
	require.Equal(f.t, ReasonRateLimited, reasonOf(f.t, err))
	require.Equal(f.t, Result{}, result)
	var limited *RateLimitError
	require.ErrorAs(f.t, err, &limited)
	return limited
}

// left returns what remains of each limit, by LimitsOf.
func (f *fixture) left(id string) map[string]int64 {
	f.t.Helper()
	states, err := f.LimitsOf(context.Background(), id)
	require.NoError(f.t, err)
	left := make(map[string]int64)
	for _, state := range states {
		left[state.Name] = state.Remaining
	}
	return left
}

func TestLimitIsSpentByLookups(t *testing.T) {
	for name, cacheSize := range map[string]int{"cached": 0, "uncached": -1} {
		// In a bubble, or a Watch that begins late would empty the cache.
		bubble := func(t *testing.T) {
			f := newFixture(t, func(o *Options) { o.CacheSize = cacheSize })
			synctest.Wait()
			token, key := f.generate(KeyParams{Limits: []Limit{{"day", 3, 24 * time.Hour}}})
			synctest.Wait() // nor the message of the key
			midnight := testNoon.Add(12 * time.Hour)
			for want := int64(2); want >= 0; want-- {
				before := f.store.calls.Load()
				result, err := f.lookup(token, LookupParams{})
				require.NoError(t, err)
				require.Equal(t, []LimitState{{Limit{"day", 3, 24 * time.Hour}, want, midnight}}, result.Limits)
				require.False(t, result.LimitsUnchecked)
				reads := f.store.calls.Load() - before
				if cacheSize == 0 && want < 2 {
					require.Zero(t, reads, "a cached lookup makes one spend and no read")
				} else {
					require.EqualValues(t, 1, reads, "one read and one spend")
				}
				require.EqualValues(t, 3-want, f.store.spends.Load())
			}
			refused := f.limited(token, LookupParams{})
			require.Equal(t, 12*time.Hour, refused.RetryAfter)
			require.Equal(t, []string{"day"}, refused.Exceeded())
			require.Equal(t, "rate limited: day", refused.Error())
			_, err := f.Lookup(context.Background(), token.Reveal())
			require.ErrorIs(t, err, ErrRateLimited, "Lookup honours limits too")
			var why *LookupError
			require.ErrorAs(t, err, &why)
			require.Equal(t, []string{key.ID, "alice"}, []string{why.KeyID, why.Owner})
		}
		t.Run(name, func(t *testing.T) { synctest.Test(t, bubble) })
	}
}

// The edge of a window is a multiple of its length since 1970, by the
// keystore's clock, to the millisecond.
func TestWindowEdges(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{Limits: []Limit{{"min", 2, time.Minute}}})
	edge := testNoon.Add(time.Minute)
	for range 3 {
		f.clock.set(edge.Add(-time.Millisecond))
		f.pass(token, 2)
		require.Equal(t, time.Millisecond, f.limited(token, LookupParams{}).RetryAfter)
		f.clock.set(edge)
		require.Equal(t, map[string]int64{"min": 2}, f.left(key.ID))
		f.pass(token, 1)
		f.clock.set(edge.Add(time.Millisecond))
		f.pass(token, 1)
		require.Equal(t, time.Minute-time.Millisecond, f.limited(token, LookupParams{}).RetryAfter)
		edge = edge.Add(2 * time.Minute)
	}
}

func TestLimitsAreSpentTogetherOrNotAtAll(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{Limits: []Limit{perDay, perSecond}})
	f.pass(token, 10)
	require.Equal(t, map[string]int64{"day": 90, "burst": 0}, f.left(key.ID))
	for range 5 {
		refused := f.limited(token, LookupParams{})
		require.Equal(t, []string{"burst"}, refused.Exceeded())
		require.Equal(t, time.Second, refused.RetryAfter)
		require.Equal(t, []string{"burst", "day"}, []string{refused.Limits[0].Name, refused.Limits[1].Name})
	}
	require.Equal(t, map[string]int64{"day": 90, "burst": 0}, f.left(key.ID), "a denial consumes nothing")
	for range 9 {
		f.clock.add(time.Second)
		f.pass(token, 10)
	}
	refused := f.limited(token, LookupParams{})
	require.Equal(t, []string{"burst", "day"}, refused.Exceeded())
	require.Equal(t, 12*time.Hour-9*time.Second, refused.RetryAfter, "until the last of them ends")
}

func TestCost(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{Limits: []Limit{perDay, {"hour", 40, time.Hour}}})
	free, _ := f.generate(KeyParams{})
	_, err := f.lookup(token, LookupParams{Cost: 39})
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"day": 61, "hour": 1}, f.left(key.ID))
	require.Equal(t, []string{"hour"}, f.limited(token, LookupParams{Cost: 2}).Exceeded())
	f.pass(token, 1)
	for _, cost := range []int64{41, 100, MaxCost} {
		_, err := f.lookup(token, LookupParams{Cost: cost})
		require.ErrorIs(t, err, ErrInvalid)
		require.Equal(t, ReasonInvalidCost, reasonOf(t, err))
		require.NotErrorIs(t, err, ErrRateLimited)
	}
	for _, cost := range []int64{-1, -1 << 63, MaxCost + 1, 1<<63 - 1} {
		for _, token := range []Token{token, free} {
			_, err := f.lookup(token, LookupParams{Cost: cost})
			requireField(t, err, "cost")
			require.Equal(t, ReasonInvalidCost, reasonOf(t, err))
		}
	}
	_, err = f.lookup(free, LookupParams{Cost: MaxCost})
	require.NoError(t, err, "a key without limits may cost anything")
	require.Equal(t, map[string]int64{"day": 60, "hour": 0}, f.left(key.ID))
}

// What is refused for another reason spends nothing, and Peek never does.
func TestWhatSpendsNothing(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	token, key := f.generate(KeyParams{Limits: []Limit{{"day", 1, 24 * time.Hour}}, Scopes: []string{"a:b"}})
	for range 3 {
		result, err := f.Peek(ctx, token.Reveal(), LookupParams{Scopes: []string{"a:b"}})
		require.NoError(t, err)
		require.Equal(t, key.ID, result.Key.ID)
		require.EqualValues(t, 1, result.Limits[0].Remaining)
		_, err = f.lookup(token, LookupParams{Scopes: []string{"c:d"}})
		require.ErrorIs(t, err, ErrMissingScope)
		_, err = f.Lookup(ctx, forged(t, token.Reveal()))
		require.ErrorIs(t, err, ErrUnauthenticated)
		_, err = f.Update(ctx, key.ID, func(c *Changes) error { c.Disabled = true; return nil })
		require.NoError(t, err)
		_, err = f.lookup(token, LookupParams{})
		require.ErrorIs(t, err, ErrDisabled)
		_, err = f.Update(ctx, key.ID, func(c *Changes) error { c.Disabled = false; return nil })
		require.NoError(t, err)
	}
	require.Zero(t, f.store.spends.Load())
	f.pass(token, 1)
	f.limited(token, LookupParams{})
	_, err := f.Peek(ctx, token.Reveal(), LookupParams{})
	require.ErrorIs(t, err, ErrRateLimited, "Peek answers what a lookup would")
	_, err = f.Peek(ctx, token.Reveal(), LookupParams{Cost: 2})
	require.ErrorIs(t, err, ErrInvalid)
	_, err = f.Peek(ctx, token.Reveal(), LookupParams{Scopes: []string{"c:d"}})
	require.ErrorIs(t, err, ErrMissingScope)
}

// The budget is the key's, whichever of its secrets is presented, in whichever
// process.
func TestRotationKeepsTheBudget(t *testing.T) {
	f := newFixture(t)
	other := f.another()
	first, key := f.generate(KeyParams{Limits: []Limit{perDay}})
	f.pass(first, 40)
	second, _, err := f.Rotate(context.Background(), key.ID, time.Hour, nil)
	require.NoError(t, err)
	f.pass(second, 30)
	f.pass(first, 20)
	for range 10 {
		_, err := other.Lookup(context.Background(), first.Reveal())
		require.NoError(t, err)
	}
	f.limited(first, LookupParams{})
	f.limited(second, LookupParams{})
}

func TestPlans(t *testing.T) {
	ctx := context.Background()
	plans := func(day int64) func(*Options) {
		return func(o *Options) {
			o.Plans = map[string][]Limit{"free": {{"day", day, 24 * time.Hour}}, "pro": {{"day", 10_000, 24 * time.Hour}, perSecond}, "none": nil}
		}
	}
	f := newFixture(t, plans(100))
	token, key := f.generate(KeyParams{Plan: "free"})
	require.Equal(t, "free", key.Plan)
	require.Zero(t, key.Limits.Len())
	f.pass(token, 100)
	f.limited(token, LookupParams{})

	to := func(plan string, limits ...Limit) error {
		_, err := f.Update(ctx, key.ID, func(c *Changes) error { c.Plan, c.Limits = plan, limits; return nil })
		return err
	}
	require.NoError(t, to("pro"))
	require.Equal(t, map[string]int64{"day": 9_900, "burst": 10}, f.left(key.ID), "what was spent of a limit of the same name and window stays spent")
	f.pass(token, 10)
	require.NoError(t, to("pro", Limit{"day", 200, 24 * time.Hour}, Limit{"hour", 1, time.Hour}))
	require.Equal(t, map[string]int64{"day": 90, "burst": 0, "hour": 1}, f.left(key.ID), "its own limits take the place of the plan's")
	require.NoError(t, to("none"))
	require.Empty(t, f.left(key.ID))
	f.pass(token, 50)
	require.NoError(t, to("free"))
	f.limited(token, LookupParams{})
	require.NoError(t, to(""))
	f.pass(token, 1)
	require.EqualValues(t, 1, f.stored(key.ID).Data[0], "without limits all code may serve it")

	require.NoError(t, to("free"))
	f.Keystore = f.another(plans(150))
	require.Equal(t, map[string]int64{"day": 40}, f.left(key.ID), "changing a plan changes its keys")

	requireField(t, to("gold"), "plan")
	_, _, err := f.Generate(ctx, KeyParams{Owner: "alice", Plan: "Free"})
	requireField(t, err, "plan")
	for _, misplaced := range []func() error{
		func() error { return to(token.Reveal()) },
		func() error { return to("free", Limit{token.Reveal(), 1, time.Second}) },
		func() error {
			_, err := New(f.store, &Options{Plans: map[string][]Limit{token.Reveal(): nil}})
			return err
		},
	} {
		err := misplaced()
		require.ErrorIs(t, err, ErrInvalid)
		require.False(t, leaks(err.Error(), secretOf(token)), err)
	}
	require.Equal(t, map[string][]Limit{"free": {{"day", 150, 24 * time.Hour}}, "pro": {perSecond, {"day", 10_000, 24 * time.Hour}}, "none": nil}, f.Plans())
}

// A process that does not know the plan serves the key to nobody, and can manage
// it all the same.
func TestUnknownPlan(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t, func(o *Options) { o.Plans = map[string][]Limit{"free": {perDay}} })
	token, key := f.generate(KeyParams{Plan: "free"})
	for _, policy := range []LimitFailure{LimitsClosed, LimitsOpen} {
		other := f.another(func(o *Options) { o.LimitFailure = policy })
		_, err := other.Lookup(ctx, token.Reveal())
		require.ErrorIs(t, err, ErrUnavailable)
		require.NotErrorIs(t, err, ErrUnauthenticated)
		require.Equal(t, ReasonUnknownPlan, reasonOf(t, err))
		require.ErrorContains(t, err, `"free"`)
		_, err = other.LimitsOf(ctx, key.ID)
		require.ErrorIs(t, err, ErrUnavailable)
		renamed, err := other.Update(ctx, key.ID, func(c *Changes) error { c.Name += "x"; return nil })
		require.NoError(t, err)
		require.Equal(t, "free", renamed.Plan)
	}
}

func TestLimitLoweredBelowWhatIsSpent(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	token, key := f.generate(KeyParams{Limits: []Limit{perDay}})
	f.pass(token, 60)
	to := func(l Limit) {
		_, err := f.Update(ctx, key.ID, func(c *Changes) error { c.Limits = []Limit{l}; return nil })
		require.NoError(t, err)
	}
	to(Limit{"day", 50, 24 * time.Hour})
	require.Equal(t, map[string]int64{"day": 0}, f.left(key.ID))
	f.limited(token, LookupParams{})
	to(Limit{"day", 61, 24 * time.Hour})
	f.pass(token, 1)
	f.limited(token, LookupParams{})
	to(Limit{"day", 61, time.Hour})
	require.Equal(t, map[string]int64{"day": 61}, f.left(key.ID), "another window begins anew")
}

func TestResetLimits(t *testing.T) {
	ctx := context.Background()
	events := new(spyAuditor)
	f := newFixture(t, func(o *Options) { o.Audit = events })
	token, key := f.generate(KeyParams{Limits: []Limit{perSecond}})
	f.pass(token, 10)
	require.NoError(t, f.ResetLimits(ctx, key.ID))
	f.pass(token, 10)
	f.limited(token, LookupParams{})
	require.ErrorIs(t, f.ResetLimits(ctx, "0VmNmGnm8k2QpXw1"), ErrNotFound)
	_, err := f.ForOwner("bob").LimitsOf(ctx, key.ID)
	require.ErrorIs(t, err, ErrNotFound)
	own, err := f.ForOwner("alice").LimitsOf(ctx, key.ID)
	require.NoError(t, err)
	require.Len(t, own, 1)
	require.NoError(t, f.Close())
	var resets []string
	for _, e := range events.events() {
		if e.Action == ActionResetLimits {
			resets = append(resets, string(e.Outcome)+" "+e.KeyID+" "+e.Owner)
		}
	}
	require.Equal(t, []string{"done " + key.ID + " alice", "refused 0VmNmGnm8k2QpXw1 "}, resets)
}

// Delete leaves nothing that is spent: a key that is made with the same id, which
// only a copy does, begins anew.
func TestDeleteForgetsWhatIsSpent(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{Limits: []Limit{perSecond}})
	stored := f.stored(key.ID)
	f.pass(token, 10)
	require.NoError(t, f.Delete(context.Background(), key.ID))
	require.NoError(t, f.store.Create(context.Background(), stored))
	f.pass(token, 10)
}

func TestBackendThatCannotCount(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	limited, _ := f.generate(KeyParams{Limits: []Limit{perDay}})
	free, key := f.generate(KeyParams{})
	ks, err := New(struct{ backend.Backend }{f.store}, &Options{
		Prefix: "sk_test", Now: f.clock.now, LimitFailure: LimitsOpen, Plans: map[string][]Limit{"free": {perDay}, "none": nil},
	})
	require.NoError(t, err)
	defer ks.Close()
	require.True(t, f.CanLimit())
	require.True(t, f.CanMeter())
	require.False(t, ks.CanLimit())
	require.False(t, ks.CanMeter())
	_, _, err = ks.Generate(ctx, KeyParams{Owner: "alice", Limits: []Limit{perDay}})
	requireField(t, err, "limits")
	_, _, err = ks.Generate(ctx, KeyParams{Owner: "alice", Plan: "free"})
	requireField(t, err, "plan")
	_, err = ks.Update(ctx, key.ID, func(c *Changes) error { c.Limits = []Limit{perDay}; return nil })
	requireField(t, err, "limits")
	_, err = ks.Lookup(ctx, free.Reveal())
	require.NoError(t, err)
	_, err = ks.Lookup(ctx, limited.Reveal())
	require.ErrorIs(t, err, ErrUnavailable, "limits are never ignored")
	require.NotErrorIs(t, err, ErrUnauthenticated)
	_, err = ks.LimitsOf(ctx, limited.ID())
	require.ErrorIs(t, err, ErrUnavailable)
	none, err := New(f.store, &Options{Prefix: "sk_test", Now: f.clock.now, Plans: map[string][]Limit{"none": nil}})
	require.NoError(t, err)
	defer none.Close()
	unlimited, _, err := none.Generate(ctx, KeyParams{Owner: "alice", Plan: "none"})
	require.NoError(t, err)
	_, err = ks.Lookup(ctx, unlimited.Reveal())
	require.NoError(t, err, "a plan without limits needs no counting")
	requireField(t, ks.ResetLimits(ctx, limited.ID()), "limits")
	requireField(t, firstOf(ks.Usage(ctx, key.ID, time.Time{}, time.Time{})), "usage")
	require.NoError(t, ks.Delete(ctx, limited.ID()))
}

// 64 callers on three keystores spend a limit to the last request and no further.
func TestExactlySoManyPass(t *testing.T) {
	f := newFixture(t)
	keystores := []*Keystore{f.Keystore, f.another(), f.another(func(o *Options) { o.CacheSize = -1 })}
	token, key := f.generate(KeyParams{Limits: []Limit{perDay, {"hour", 60, time.Hour}}})
	for window, want := range []int64{60, 40, 0} {
		var passed, refused atomic.Int64
		var group sync.WaitGroup
		for caller := range 64 {
			group.Go(func() {
				for range 3 {
					_, err := keystores[caller%3].Lookup(context.Background(), token.Reveal())
					switch {
					case err == nil:
						passed.Add(1)
					case errors.Is(err, ErrRateLimited):
						refused.Add(1)
					default:
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		require.Equal(t, []int64{want, 192 - want}, []int64{passed.Load(), refused.Load()}, "window %d", window)
		f.clock.add(time.Hour)
	}
	require.Equal(t, map[string]int64{"day": 0, "hour": 60}, f.left(key.ID))
}

// While the store fails, the policy decides. What it answers again counts.
func TestLimitFailure(t *testing.T) {
	down := fmt.Errorf("the line is cut")
	for _, policy := range []LimitFailure{LimitsClosed, LimitsOpen} {
		f := newFixture(t, func(o *Options) { o.LimitFailure = policy })
		token, _ := f.generate(KeyParams{Limits: []Limit{{"day", 5, 24 * time.Hour}}})
		f.pass(token, 3)
		f.store.spend = func(context.Context, backend.Spend) (backend.Spent, error) { return backend.Spent{}, down }
		for range 2 {
			result, err := f.lookup(token, LookupParams{})
			if policy == LimitsClosed {
				require.ErrorIs(t, err, ErrUnavailable)
				require.ErrorIs(t, err, down)
				require.NotErrorIs(t, err, ErrUnauthenticated)
				require.Equal(t, ReasonUnavailable, reasonOf(t, err))
				require.Equal(t, Result{}, result)
			} else {
				require.NoError(t, err)
				require.True(t, result.LimitsUnchecked)
				require.Nil(t, result.Limits)
			}
		}
		cancelled, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := f.LookupWith(cancelled, token.Reveal(), LookupParams{})
		require.ErrorIs(t, err, context.Canceled, "nobody waits for the answer")
		require.ErrorIs(t, err, ErrUnavailable)
		f.store.spend = nil
		f.pass(token, 2)
		f.limited(token, LookupParams{})
		require.Equal(t, map[LimitFailure]uint64{LimitsClosed: 0, LimitsOpen: 2}[policy], f.Stats().Unchecked)
	}
	_, err := New(newFixture(t).store, &Options{LimitFailure: 2})
	requireField(t, err, "LimitFailure")
}

// A spend whose reply is lost is repeated, and counts once.
func TestLostReplyCountsOnce(t *testing.T) {
	f := newFixture(t)
	token, key := f.generate(KeyParams{Limits: []Limit{perDay}})
	lost := 0
	f.store.spend = func(ctx context.Context, s backend.Spend) (backend.Spent, error) {
		spent, err := f.store.Backend.Spend(ctx, s)
		if lost++; lost%3 != 0 {
			return backend.Spent{}, errors.New("the reply is lost")
		}
		return spent, err
	}
	f.pass(token, 20)
	require.EqualValues(t, 60, lost)
	require.Equal(t, map[string]int64{"day": 80}, f.left(key.ID))
	lost = 2
	f.store.spend = func(context.Context, backend.Spend) (backend.Spent, error) {
		lost++
		return backend.Spent{}, fmt.Errorf("it is full: %w", backend.ErrNotApplied)
	}
	_, err := f.lookup(token, LookupParams{})
	require.ErrorIs(t, err, ErrUnavailable)
	require.Equal(t, 3, lost, "what certainly failed is not repeated")
}

// A backend that answers nonsense refuses, and nothing panics.
func TestCountsThatAreNone(t *testing.T) {
	f := newFixture(t)
	token, _ := f.generate(KeyParams{Limits: []Limit{perDay, perSecond}})
	for _, counts := range [][]int64{nil, {}, {1}, {1, 2, 3}} {
		f.store.spend = func(context.Context, backend.Spend) (backend.Spent, error) {
			return backend.Spent{OK: true, Counts: counts}, nil
		}
		_, err := f.lookup(token, LookupParams{})
		require.ErrorIs(t, err, ErrUnavailable)
	}
}

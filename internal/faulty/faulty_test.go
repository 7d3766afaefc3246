package faulty_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/memory"
)

var errInjected = errors.New("injected")

func record(id string) backend.Record {
	return backend.Record{ID: id, Owner: "o", Data: []byte("1"), Revision: 1}
}

// revision is that of record "a" inside, 0 if there is none.
func revision(t *testing.T, inner backend.Backend) uint64 {
	t.Helper()
	r, err := inner.Get(t.Context(), "a")
	if errors.Is(err, backend.ErrNotFound) {
		return 0
	}
	require.NoError(t, err)
	return r.Revision
}

func TestEachFaultAppliesAndAnswersAsItsNameSays(t *testing.T) {
	var late faulty.Late
	bumped := false
	for _, c := range []struct {
		name      string
		fault     faulty.Fault
		answer    error
		atReturn  uint64 // revision when Update returns; it is 1 before
		delivered uint64 // and after the late calls arrived
	}{
		{"none", nil, nil, 2, 2},
		{"refuse", faulty.Refuse(errInjected), errInjected, 1, 1},
		{"lose reply", faulty.LoseReply(errInjected), errInjected, 2, 2},
		{"repeat", faulty.Repeat(nil), nil, 2, 2},
		{"repeat around another", faulty.Repeat(func() { bumped = true }), nil, 2, 2},
		{"block", faulty.Block, context.DeadlineExceeded, 1, 1},
		{"block after", faulty.BlockAfter, context.DeadlineExceeded, 2, 2},
		{"around", faulty.Around(nil, nil), nil, 2, 2},
		{"delay", late.Delay(errInjected), errInjected, 1, 2},
		{"again", late.Again, nil, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := memory.New()
				b := faulty.New(inner, faulty.Only(c.fault, faulty.Update))
				require.NoError(t, b.Create(t.Context(), record("a")))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.ErrorIs(t, b.Update(ctx, record("a")), c.answer)
				require.Equal(t, c.atReturn, revision(t, inner))
				cancel()
				late.Deliver()
				require.Equal(t, c.delivered, revision(t, inner))
				require.Zero(t, late.Deliver(), "a late call arrives once")
			})
		})
	}
	require.True(t, bumped)
}

// TestWhoeverRepeatsClaimsNothing: the first of two calls has happened, and the
// second is refused by the store.
func TestWhoeverRepeatsClaimsNothing(t *testing.T) {
	inner := memory.New()
	require.NoError(t, inner.Create(t.Context(), record("a")))
	store := faulty.New(inner, faulty.Nth(2, faulty.Update, faulty.Refuse(backend.ErrNotApplied)))
	b := faulty.New(store, faulty.Only(faulty.Repeat(nil), faulty.Update))
	err := b.Update(t.Context(), record("a"))
	require.Error(t, err)
	require.NotErrorIs(t, err, backend.ErrNotApplied)
	require.Equal(t, uint64(2), revision(t, inner))
}

// TestWhatWasRefusedDoesNotComeLate: who was told that nothing happened is right.
func TestWhatWasRefusedDoesNotComeLate(t *testing.T) {
	inner, late := memory.New(), faulty.Late{}
	store := faulty.New(inner, faulty.Nth(1, faulty.Create, faulty.Refuse(backend.ErrNotApplied)))
	b := faulty.New(store, faulty.Only(late.Again, faulty.Create))
	require.ErrorIs(t, b.Create(t.Context(), record("a")), backend.ErrNotApplied)
	late.Deliver()
	require.Zero(t, revision(t, inner))
}

func TestALostReplyHasNoResult(t *testing.T) {
	inner := memory.New()
	require.NoError(t, inner.Create(t.Context(), record("a")))
	b := faulty.New(inner, faulty.Only(faulty.LoseReply(errInjected), faulty.Get, faulty.List, faulty.Purge))
	got, err := b.Get(t.Context(), "a")
	require.ErrorIs(t, err, errInjected)
	require.Zero(t, got)
	page, err := b.List(t.Context(), backend.ListOptions{Limit: 1})
	require.ErrorIs(t, err, errInjected)
	require.Empty(t, page)
	_, err = b.Purge(t.Context(), time.Now(), 1)
	require.ErrorIs(t, err, errInjected)
}

func TestALateCallKeepsItsOwnMemory(t *testing.T) {
	inner, late := memory.New(), faulty.Late{}
	b := faulty.New(inner, faulty.Only(late.Delay(errInjected), faulty.Create, faulty.Touch))
	r := record("a")
	used := map[string]time.Time{"a": time.UnixMilli(7).UTC()}
	require.ErrorIs(t, b.Create(t.Context(), r), errInjected)
	require.ErrorIs(t, b.Touch(t.Context(), used), errInjected)
	r.Data[0] = 'x'
	clear(used)
	require.Equal(t, 2, late.Deliver())
	got, err := inner.Get(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "1", string(got.Data))
	require.Equal(t, int64(7), got.LastUsed.UnixMilli())
}

func TestPlansChooseByMethodNumberAndSeed(t *testing.T) {
	b := faulty.New(memory.New(), faulty.Nth(2, faulty.Get, faulty.Refuse(errInjected)))
	for n := 1; n <= 3; n++ {
		_, err := b.Get(t.Context(), "a")
		require.Equal(t, n == 2, errors.Is(err, errInjected), "call %d", n)
	}
	require.Equal(t, 3, b.Calls(faulty.Get))
	require.Zero(t, b.Calls(faulty.Update))

	hits := func(seed uint64) (which []int) {
		plan := faulty.Random(seed, 0.2, faulty.Refuse(errInjected))
		for n := 1; n <= 1000; n++ {
			if plan(faulty.Call{Method: faulty.Update, N: n}) != nil {
				which = append(which, n)
			}
		}
		return which
	}
	require.Equal(t, hits(1), hits(1))
	require.NotEqual(t, hits(1), hits(2))
	require.InDelta(t, 200, len(hits(1)), 60)
}

func TestAWrapperWatchesIfTheInnerBackendDoes(t *testing.T) {
	inner := memory.New()
	w, ok := faulty.New(inner, nil).(backend.Watcher)
	require.True(t, ok)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := w.Watch(ctx)
	require.NoError(t, err)
	require.NoError(t, inner.Create(ctx, record("a")))
	require.Equal(t, "a", <-changes)
	cancel()
	for range changes { // until it is closed
	}

}

// TestAWrapperHasWhatTheInnerBackendHas goes through what a backend may have
// beside the methods that it must have.
func TestAWrapperHasWhatTheInnerBackendHas(t *testing.T) {
	type (
		b = backend.Backend
		w = backend.Watcher
		c = backend.Counter
		m = backend.Meter
	)
	inner := memory.New()
	for _, backends := range []b{
		struct{ b }{inner},
		struct {
			b
			w
		}{inner, inner},
		struct {
			b
			c
		}{inner, inner},
		struct {
			b
			m
		}{inner, inner},
		struct {
			b
			w
			c
		}{inner, inner, inner},
		struct {
			b
			w
			m
		}{inner, inner, inner},
		struct {
			b
			c
			m
		}{inner, inner, inner},
		inner,
	} {
		has := func(x b) (has [3]bool) {
			_, has[0] = x.(w)
			_, has[1] = x.(c)
			_, has[2] = x.(m)
			return has
		}
		wrapped := faulty.New(backends, nil)
		require.Equal(t, has(backends), has(wrapped))
		if _, err := wrapped.Get(t.Context(), "a"); !errors.Is(err, backend.ErrNotFound) {
			t.Error(err)
		}
		require.Equal(t, 1, wrapped.Calls(faulty.Get))
	}
}

func TestCountsAndUsageFailAsScripted(t *testing.T) {
	inner, late := memory.New(), faulty.Late{}
	store := faulty.New(inner, func(c faulty.Call) faulty.Fault {
		switch {
		case c.Method == faulty.Spend && c.ID == "late", c.Method == faulty.AddUsage && c.N == 1:
			return late.Delay(errInjected)
		case c.N == 1:
			return faulty.LoseReply(errInjected)
		}
		return nil
	})
	counter, meter := store.(backend.Counter), store.(backend.Meter)
	day := time.Unix(86400, 0).UTC()
	window := backend.Window{Name: "w", Length: time.Second, Start: day, Max: 10}
	counts := func(id string) int64 {
		t.Helper()
		counts, err := inner.Counts(t.Context(), id, []backend.Window{window})
		require.NoError(t, err)
		return counts[0]
	}
	spend := backend.Spend{ID: "a", Cost: 2, Windows: []backend.Window{window}}
	spent, err := counter.Spend(t.Context(), spend)
	require.ErrorIs(t, err, errInjected)
	require.Zero(t, spent)
	require.Equal(t, int64(2), counts("a"))
	spent, err = counter.Spend(t.Context(), spend)
	require.NoError(t, err)
	require.Equal(t, backend.Spent{OK: true, Counts: []int64{2}}, spent)

	spend.ID = "late"
	_, err = counter.Spend(t.Context(), spend)
	require.ErrorIs(t, err, errInjected)
	additions := []backend.Addition{{Subject: "s", Day: day, Counts: map[string]int64{"a": 3}, PurgeAt: day}}
	require.ErrorIs(t, meter.AddUsage(t.Context(), additions), errInjected)
	require.Zero(t, counts("late"))
	clear(spend.Windows)
	clear(additions[0].Counts)
	clear(additions)
	require.Equal(t, 2, late.Deliver())
	require.Equal(t, int64(2), counts("late"))

	_, err = meter.Usage(t.Context(), "s", day, day.Add(time.Hour))
	require.ErrorIs(t, err, errInjected)
	tallies, err := meter.Usage(t.Context(), "s", day, day.Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, []backend.Tally{{Day: day, Counts: map[string]int64{"a": 3}}}, tallies)

	_, err = counter.Counts(t.Context(), "a", []backend.Window{window})
	require.ErrorIs(t, err, errInjected)
	require.ErrorIs(t, counter.ResetCounts(t.Context(), "a"), errInjected)
	require.Zero(t, counts("a"))
	_, err = counter.PurgeCounts(t.Context(), window.End(), 9)
	require.ErrorIs(t, err, errInjected)
	require.Zero(t, counts("late"))
	_, err = meter.PurgeUsage(t.Context(), day, 9)
	require.ErrorIs(t, err, errInjected)
	n, err := meter.PurgeUsage(t.Context(), day, 9)
	require.NoError(t, err)
	require.Zero(t, n)
	for method, n := range map[faulty.Method]int{
		faulty.Spend: 3, faulty.Counts: 1, faulty.ResetCounts: 1, faulty.PurgeCounts: 1, faulty.AddUsage: 1, faulty.Usage: 2, faulty.PurgeUsage: 2,
	} {
		require.Equal(t, n, store.Calls(method), method)
	}
}

func TestAWrapperIsSafeForConcurrentUse(t *testing.T) {
	inner, late := memory.New(), faulty.Late{}
	require.NoError(t, inner.Create(t.Context(), record("a")))
	b := faulty.New(inner, faulty.Random(1, 0.5, late.Again, late.Delay(errInjected), faulty.Repeat(nil)))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				r, err := b.Get(t.Context(), "a")
				if err == nil {
					b.Update(t.Context(), r)
				}
				late.Deliver()
			}
		})
	}
	all.Wait()
	late.Deliver()
	require.Equal(t, 8*50, b.Calls(faulty.Get))
	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Delete(t.Context(), "a"), backend.ErrClosed)
}

package memory

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// purgers are the two methods that forget what is due, over n keys or tallies of
// which the ith is due at second i.
var purgers = []struct {
	name  string
	fill  func(t testing.TB, b *Backend, n int)
	purge func(b *Backend, ctx context.Context, now time.Time, limit int) (int, error)
	left  func(s *Store) int
}{
	{"counts", func(t testing.TB, b *Backend, n int) {
		for _, i := range rand.Perm(n) {
			window := backend.Window{Name: "w", Length: time.Second, Start: time.Unix(int64(i)-1, 0), Max: 1}
			_, err := b.Spend(context.Background(), backend.Spend{ID: fmt.Sprint(i), Cost: 1, Windows: []backend.Window{window}})
			require.NoError(t, err)
		}
	}, (*Backend).PurgeCounts, func(s *Store) int { return len(s.counters.byID) }},
	{"usage", func(t testing.TB, b *Backend, n int) {
		for _, i := range rand.Perm(n) {
			a := backend.Addition{Subject: fmt.Sprint(i / 2), Day: time.Unix(int64(i%2)*86400, 0), Counts: map[string]int64{"a": 1}, PurgeAt: time.Unix(int64(i), 0)}
			require.NoError(t, b.AddUsage(context.Background(), []backend.Addition{a}))
		}
	}, (*Backend).PurgeUsage, func(s *Store) (n int) {
		for _, days := range s.tallies.of {
			n += len(days)
		}
		return n
	}},
}

// TestAPurgeTakesWhatIsDueFirst also shows that nothing is left of what is purged.
func TestAPurgeTakesWhatIsDueFirst(t *testing.T) {
	for _, c := range purgers {
		t.Run(c.name, func(t *testing.T) {
			var store Store
			b := store.Open()
			const n = 1000
			c.fill(t, b, n)
			for purged := 0; purged < n; {
				now := time.Unix(int64(min(purged+309, n-1)), 0) // by which one more is due
				due := min(310, n-purged)
				got, err := c.purge(b, t.Context(), now, due-10)
				require.NoError(t, err)
				require.Equal(t, due-10, got, "no more than limit")
				got, err = c.purge(b, t.Context(), now, 1000)
				require.NoError(t, err)
				require.Equal(t, 10, got)
				purged += due
				require.Equal(t, n-purged, c.left(&store))
			}
			require.Empty(t, store.counters.due)
			require.Empty(t, store.tallies.due)
			require.Empty(t, store.tallies.of)
		})
	}
}

// TestAPurgeLetsOthersIn cancels a purge by its clock, so to speak: whoever waits
// for the lock gets it between two chunks, long before the end.
func TestAPurgeLetsOthersIn(t *testing.T) {
	for _, c := range purgers {
		t.Run(c.name, func(t *testing.T) {
			var store Store
			b := store.Open()
			const n = 2000
			c.fill(t, b, n)
			ctx := &countdown{Context: t.Context(), left: 5}
			got, err := c.purge(b, ctx, time.Unix(n, 0), math.MaxInt)
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, 500, got, "five chunks, each of which looked at the context before")
			require.Equal(t, n-500, c.left(&store))
		})
	}
}

// countdown is cancelled once it was looked at a few times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestOverflow gives costs beyond the contract.
func TestOverflow(t *testing.T) {
	b := New()
	window := backend.Window{Name: "w", Length: time.Second, Start: time.Unix(0, 0), Max: math.MaxInt64}
	spend := func(id uint64, cost int64) backend.Spent {
		spent, err := b.Spend(t.Context(), backend.Spend{ID: "a", SpendID: id, Cost: cost, Windows: []backend.Window{window}})
		require.NoError(t, err)
		return spent
	}
	require.Equal(t, backend.Spent{OK: true, Counts: []int64{math.MaxInt64 - 1}}, spend(1, math.MaxInt64-1))
	require.Equal(t, backend.Spent{Counts: []int64{math.MaxInt64 - 1}}, spend(2, 2))
	require.Equal(t, backend.Spent{Counts: []int64{math.MaxInt64 - 1}}, spend(3, math.MaxInt64))
	require.Equal(t, backend.Spent{OK: true, Counts: []int64{math.MaxInt64}}, spend(4, 1))
}

// TestWhatIsKeptOfAKeyIsBounded spends in ever new windows.
func TestWhatIsKeptOfAKeyIsBounded(t *testing.T) {
	var store Store
	b := store.Open()
	for i := range 1000 {
		windows := []backend.Window{
			{Name: "s", Length: time.Second, Start: time.Unix(int64(i), 0), Max: 1},
			{Name: "m", Length: time.Minute, Start: time.Unix(int64(i), 0), Max: 1},
		}
		_, err := b.Spend(t.Context(), backend.Spend{ID: "a", SpendID: uint64(i), Cost: 1, Windows: windows})
		require.NoError(t, err)
		err = b.AddUsage(t.Context(), []backend.Addition{{Subject: "a", AddID: uint64(i), Counts: map[string]int64{"a": 1}}})
		require.NoError(t, err)
	}
	c := store.counters.byID["a"]
	require.Len(t, c.windows, 2*backend.KeptWindows)
	require.LessOrEqual(t, cap(c.windows), 32)
	require.Len(t, c.spends, backend.KeptSpends)
	require.LessOrEqual(t, cap(c.spends), 2*backend.KeptSpends)
	require.Len(t, store.counters.due, 1)
	require.Len(t, store.tallies.of["a"][time.Time{}.Unix()].added, backend.KeptAdditions)
	require.Empty(t, store.tallies.due, "what is never purged")
}

func BenchmarkSpend(b *testing.B) {
	store := New()
	windows := []backend.Window{
		{Name: "day", Length: 24 * time.Hour, Start: time.Unix(0, 0), Max: math.MaxInt64},
		{Name: "burst", Length: time.Second, Start: time.Unix(0, 0), Max: math.MaxInt64},
	}
	for i := 0; b.Loop(); i++ {
		_, err := store.Spend(context.Background(), backend.Spend{ID: "a", SpendID: uint64(i), Cost: 1, Windows: windows})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPurgeOfAMillion spends while a million keys are purged, and tells the
// longest time that one spend took.
func BenchmarkPurgeOfAMillion(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		b.StopTimer()
		store := New()
		purgers[0].fill(b, store, n)
		b.StartTimer()
		done := make(chan int)
		go func() {
			purged, _ := store.PurgeCounts(context.Background(), time.Unix(n, 0), n)
			done <- purged
		}()
		window := backend.Window{Name: "w", Length: time.Second, Start: time.Unix(2*n, 0), Max: n}
		var longest time.Duration
		spends := 0
		for purged := 0; purged == 0; spends++ {
			begin := time.Now()
			store.Spend(context.Background(), backend.Spend{ID: "live", SpendID: uint64(spends), Cost: 1, Windows: []backend.Window{window}})
			longest = max(longest, time.Since(begin))
			select {
			case purged = <-done:
			default:
			}
		}
		b.ReportMetric(float64(longest.Microseconds()), "us-longest-spend")
		b.ReportMetric(float64(spends), "spends")
	}
}

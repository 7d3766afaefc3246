package mongo_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/mongo"
)

// today is the day of now.
var today = now.Truncate(24 * time.Hour)

// windowAt is the nth window of a limit, from now on.
func windowAt(name string, length time.Duration, n int, most int64) backend.Window {
	return backend.Window{Name: name, Length: length, Start: now.Truncate(length).Add(time.Duration(n) * length), Max: most}
}

func spending(id string, spendID uint64, windows ...backend.Window) backend.Spend {
	return backend.Spend{ID: id, SpendID: spendID, Cost: 1, Windows: windows}
}

// spends makes a spend and wants it to be OK, with these counts.
func spends(t testing.TB, b *mongo.Backend, s backend.Spend, want ...int64) {
	t.Helper()
	got, err := b.Spend(testContext(t), s)
	require.NoError(t, err)
	require.Equal(t, backend.Spent{OK: true, Counts: want}, got)
}

// denies makes a spend and wants it not to be OK.
func denies(t testing.TB, b *mongo.Backend, s backend.Spend, want ...int64) {
	t.Helper()
	got, err := b.Spend(testContext(t), s)
	require.NoError(t, err)
	require.Equal(t, backend.Spent{Counts: want}, got)
}

func counted(t testing.TB, b *mongo.Backend, id string, windows []backend.Window, want ...int64) {
	t.Helper()
	got, err := b.Counts(testContext(t), id, windows)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// addition is one of 2 allowed lookups, that can be purged from now on.
func addition(subject string, day time.Time, addID uint64) backend.Addition {
	return backend.Addition{Subject: subject, Day: day, AddID: addID, Counts: map[string]int64{"07a": 2}, PurgeAt: now}
}

// used returns the counts of a subject today, nil if there are none.
func used(ctx context.Context, b *mongo.Backend, subject string) (map[string]int64, error) {
	tallies, err := b.Usage(ctx, subject, today, today.AddDate(0, 0, 1))
	if err != nil || len(tallies) == 0 {
		return nil, err
	}
	return tallies[0].Counts, nil
}

var (
	day   = windowAt("day", 24*time.Hour, 0, 100)
	burst = windowAt("burst", time.Second, 0, 10)
)

// counts reports whether the counts of "there" are these.
func hasCounts(want ...int64) func(ctx context.Context, b *mongo.Backend) bool {
	return func(ctx context.Context, b *mongo.Backend) bool {
		got, err := b.Counts(ctx, "there", []backend.Window{day, burst})
		return err == nil && slices.Equal(got, want)
	}
}

func hasUsed(n int64) func(ctx context.Context, b *mongo.Backend) bool {
	return func(ctx context.Context, b *mongo.Backend) bool {
		counts, err := used(ctx, b, "kthere")
		return err == nil && counts["07a"] == n
	}
}

func spendThere(spendID uint64) func(ctx context.Context, b *mongo.Backend) error {
	return func(ctx context.Context, b *mongo.Backend) error {
		_, err := b.Spend(ctx, spending("there", spendID, day, burst))
		return err
	}
}

func useThere(addID uint64) func(ctx context.Context, b *mongo.Backend) error {
	return func(ctx context.Context, b *mongo.Backend) error {
		return b.AddUsage(ctx, []backend.Addition{addition("kthere", today, addID)})
	}
}

// limitMutations are those of counts and tallies. The same call again has the same
// id, so that it counts once whatever came of the first.
var limitMutations = []mutation{
	{"Spend", "findAndModify", spendThere(1), spendThere(2), hasCounts(2, 2), false},
	{"the first Spend", "findAndModify", func(context.Context, *mongo.Backend) error { return nil }, spendThere(1), hasCounts(1, 1), false},
	{"ResetCounts", "delete", spendThere(1), func(ctx context.Context, b *mongo.Backend) error { return b.ResetCounts(ctx, "there") }, hasCounts(0, 0), false},
	{"PurgeCounts", "delete", spendThere(1), func(ctx context.Context, b *mongo.Backend) error {
		_, err := b.PurgeCounts(ctx, day.End(), 10)
		return err
	}, hasCounts(0, 0), true},
	{"AddUsage", "update", useThere(1), useThere(2), hasUsed(4), false},
	{"PurgeUsage", "delete", useThere(1), func(ctx context.Context, b *mongo.Backend) error {
		_, err := b.PurgeUsage(ctx, now, 10)
		return err
	}, hasUsed(0), true},
}

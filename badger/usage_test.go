package badger_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

// addition adds 5 to a count of a subject on a day, counted from 1970 on.
func addition(subject string, day int64, addID uint64, purgeAt time.Time) backend.Addition {
	return backend.Addition{Subject: subject, Day: time.Unix(day*86400, 0).UTC(), AddID: addID, Counts: map[string]int64{"07a": 5}, PurgeAt: purgeAt}
}

func addUsage(t testing.TB, b backend.Meter, additions ...backend.Addition) {
	t.Helper()
	require.NoError(t, b.AddUsage(testContext(t), additions))
}

// usageOf returns the tallies of the first year.
func usageOf(t testing.TB, b backend.Meter, subject string) []backend.Tally {
	t.Helper()
	tallies, err := b.Usage(testContext(t), subject, time.Unix(0, 0), time.Unix(366*86400, 0))
	require.NoError(t, err)
	return tallies
}

func purgeUsage(t testing.TB, b backend.Meter, ms int64, limit int) int {
	t.Helper()
	n, err := b.PurgeUsage(testContext(t), time.UnixMilli(ms), limit)
	require.NoError(t, err)
	return n
}

func TestIndexOfTallies(t *testing.T) {
	b := openMemory(t)
	for n, at := range []time.Time{time.UnixMilli(5), time.UnixMilli(9), {}, time.UnixMilli(1)} {
		addUsage(t, b, addition("k", 3, uint64(n), at), addition("other", 3, uint64(n), time.UnixMilli(100)))
		assertConsistent(t, b)
	}
	assert.Zero(t, purgeUsage(t, b, 0, 10))
	assert.Equal(t, 1, purgeUsage(t, b, 1, 10))
	assertConsistent(t, b)
	assert.Equal(t, 1, purgeUsage(t, b, 100, 10))
	addUsage(t, b, addition("late", 3, 1, time.UnixMilli(2)))
	assert.Equal(t, 1, purgeUsage(t, b, 100, 10), "behind what was purged")
	assert.Empty(t, allKeys(t, badger.Database(b)))
}

// More additions than a chunk takes, each once.
func TestManyAdditions(t *testing.T) {
	b := openMemory(t)
	var all []backend.Addition
	for n := range 3*badger.ChunkLen + 7 {
		all = append(all, addition(fmt.Sprint("k", n), 0, 1, time.UnixMilli(int64(n))))
	}
	addUsage(t, b, all...)
	addUsage(t, b, all...)
	for n := range all {
		assert.Equal(t, []backend.Tally{{Day: time.Unix(0, 0).UTC(), Counts: map[string]int64{"07a": 5}}}, usageOf(t, b, fmt.Sprint("k", n)))
	}
	assertConsistent(t, b)
	assert.Equal(t, 200, purgeUsage(t, b, 1<<40, 200))
	assert.Len(t, usageOf(t, b, fmt.Sprint("k", 200)), 1, "the longest due go first")
}

// Sums do not overflow.
func TestUsageStaysAtTheMost(t *testing.T) {
	b := openMemory(t)
	a := addition("k", 0, 0, time.Time{})
	a.Counts = map[string]int64{"07a": backend.MaxCount}
	for n := range uint64(2) {
		a.AddID = n
		addUsage(t, b, a)
	}
	assert.Equal(t, int64(2*backend.MaxCount), usageOf(t, b, "k")[0].Counts["07a"])
	setKey(t, b, "keystore/uk\x00\x00\x00\x00\x00", withSum("\x01"+strings.Repeat("\x00", 8)+"\x00\x0307a\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"))
	a.AddID = 5
	addUsage(t, b, a)
	assert.Equal(t, int64(math.MaxInt64), usageOf(t, b, "k")[0].Counts["07a"])
}

// A tally that is damaged does not hold up what is added with it.
func TestDamagedTally(t *testing.T) {
	ctx := testContext(t)
	const key = "keystore/ubad\x00\x00\x00\x00\x00"
	b := openMemory(t)
	addUsage(t, b, addition("bad", 0, 1, time.UnixMilli(50)), addition("bad", 1, 1, time.UnixMilli(50)), addition("good", 0, 1, time.UnixMilli(50)))
	value := valueAt(t, b, key)
	setKey(t, b, key, value[:len(value)-1]+"x")

	_, err := b.Usage(ctx, "bad", time.Unix(0, 0), time.Unix(1, 0))
	assert.ErrorContains(t, err, "1970-01-01: the value is damaged")
	later, err := b.Usage(ctx, "bad", time.Unix(86400, 0), time.Unix(2*86400, 0))
	require.NoError(t, err)
	assert.Len(t, later, 1)
	to := openMemory(t)
	require.NoError(t, to.Restore(strings.NewReader(string(backupOf(t, b)))), "it is left out")
	assert.Len(t, usageOf(t, to, "good"), 1)
	assert.Len(t, usageOf(t, to, "bad"), 1)

	addUsage(t, b, addition("bad", 0, 2, time.UnixMilli(60)), addition("good", 0, 2, time.UnixMilli(60)))
	assert.Equal(t, int64(5), usageOf(t, b, "bad")[0].Counts["07a"], "it began anew")
	assert.Equal(t, int64(10), usageOf(t, b, "good")[0].Counts["07a"])

	setKey(t, b, key, "damaged")
	assert.Equal(t, 3, purgeUsage(t, b, 60, 10), "it goes with the others")
	assert.Empty(t, allKeys(t, badger.Database(b)))
}

// What a newer version has written is neither overwritten nor deleted.
func TestTallyOfNewerVersion(t *testing.T) {
	b := openMemory(t)
	addUsage(t, b, addition("k", 0, 1, time.UnixMilli(50)))
	const key = "keystore/uk\x00\x00\x00\x00\x00"
	newer := withSum("\x02 something else")
	setKey(t, b, key, newer)
	var all []backend.Addition
	for n := range 2*badger.ChunkLen + 7 {
		all = append(all, addition(fmt.Sprint("other", n), 0, 1, time.UnixMilli(200)))
	}
	all[3] = addition("k", 0, 2, time.UnixMilli(50))
	for range 2 {
		err := b.AddUsage(testContext(t), all)
		assert.ErrorIs(t, err, backend.ErrDamagedTally)
		assert.ErrorContains(t, err, "newer version")
		assert.NotErrorIs(t, err, backend.ErrNotApplied)
	}
	for n := range all {
		if n != 3 {
			assert.Equal(t, int64(5), usageOf(t, b, fmt.Sprint("other", n))[0].Counts["07a"], "all others are added to, once")
		}
	}
	err := b.AddUsage(testContext(t), append(all, addition("", 0, 2, time.Time{})))
	assert.NotErrorIs(t, err, backend.ErrDamagedTally)
	assert.ErrorIs(t, err, backend.ErrNotApplied)
	assert.Zero(t, purgeUsage(t, b, 100, 10))
	assert.ErrorIs(t, b.Backup(new(strings.Builder)), badger.ErrDamaged)
	assert.Equal(t, newer, valueAt(t, b, key))
}

// endsLater is a context that has ended when it was asked often enough.
type endsLater struct {
	context.Context
	left int
}

func (c *endsLater) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Wherever a call ends behind a tally of a newer version, its error does not say that
// all others were added to, unless they were.
func TestTallyOfNewerVersionAndAnEnd(t *testing.T) {
	b := openMemory(t)
	setKey(t, b, "keystore/uk0\x00\x00\x00\x00\x00", withSum("\x02 something else"))
	var all []backend.Addition
	for n := range badger.ChunkLen + 1 {
		all = append(all, addition(fmt.Sprint("k", n), 0, 1, time.Time{}))
	}
	last, ended := all[badger.ChunkLen].Subject, 0
	for {
		err := b.AddUsage(&endsLater{context.Background(), ended}, all)
		if errors.Is(err, backend.ErrDamagedTally) {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, usageOf(t, b, last))
		ended++
	}
	assert.NotEmpty(t, usageOf(t, b, last))
	assert.Greater(t, ended, 2, "it ended in each chunk")
}

func TestAddUsageRefusesInput(t *testing.T) {
	with := func(change func(a *backend.Addition)) backend.Addition {
		a := addition("k", 0, 1, time.Time{})
		change(&a)
		return a
	}
	b := openMemory(t)
	for name, a := range map[string]backend.Addition{
		"no subject":     with(func(a *backend.Addition) { a.Subject = "" }),
		"long subject":   with(func(a *backend.Addition) { a.Subject = strings.Repeat("s", 265) }),
		"NUL":            with(func(a *backend.Addition) { a.Subject = "a\x00b" }),
		"not midnight":   with(func(a *backend.Addition) { a.Day = time.Unix(3600, 0) }),
		"before 1970":    with(func(a *backend.Addition) { a.Day = time.Unix(-86400, 0) }),
		"far day":        with(func(a *backend.Addition) { a.Day = time.Unix(1<<50, 0) }),
		"no name":        with(func(a *backend.Addition) { a.Counts = map[string]int64{"": 1} }),
		"long name":      with(func(a *backend.Addition) { a.Counts = map[string]int64{"abcdefghi": 1} }),
		"odd name":       with(func(a *backend.Addition) { a.Counts = map[string]int64{"A": 1} }),
		"nothing":        with(func(a *backend.Addition) { a.Counts = map[string]int64{"a": 0} }),
		"too much":       with(func(a *backend.Addition) { a.Counts = map[string]int64{"a": backend.MaxCount + 1} }),
		"far purge time": with(func(a *backend.Addition) { a.PurgeAt = time.Unix(1<<60, 0) }),
	} {
		err := b.AddUsage(testContext(t), []backend.Addition{addition("first", 0, 1, time.Time{}), a})
		assert.ErrorIs(t, err, backend.ErrNotApplied, name)
	}
	assert.Empty(t, allKeys(t, badger.Database(b)))
	_, err := b.Usage(testContext(t), "a\x00\x00\x00\x00\x00", time.Unix(0, 0), time.Unix(1, 0))
	assert.Error(t, err)
	assert.False(t, errors.Is(err, backend.ErrNotFound))
}

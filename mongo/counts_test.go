package mongo_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo"
)

func (w *wire) countsOf(t testing.TB, id string) bson.Raw {
	t.Helper()
	for _, doc := range w.store.Documents("test.keys.counts") {
		if doc.Lookup("_id").StringValue() == id {
			return doc
		}
	}
	require.Fail(t, "there are no counts of "+id)
	return nil
}

// The documents are a format that others may read: docs/mongo.md.
func TestDocumentOfCounts(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	w.store.SetClock(func(string) time.Time { return serverTime })
	b := w.open(t, nil)
	spends(t, b, spending("key-1", 1<<63+5, day, burst), 1, 1)
	b.Spend(testContext(t), backend.Spend{ID: "key-1", SpendID: 7, Cost: 3, Windows: []backend.Window{day}}) //nolint:errcheck // seen below
	denies(t, b, spending("key-1", 8, windowAt("burst", time.Second, 0, 1)), 1)
	assert.JSONEq(t, fmt.Sprintf(`{"_id": "key-1",
		"n:day:86400:%[1]d": {"$numberLong": "4"}, "t:day:86400:%[1]d": {"$timestamp": {"t": 1900000000, "i": 3}},
		"n:burst:1:%[2]d": {"$numberLong": "1"}, "t:burst:1:%[2]d": {"$timestamp": {"t": 1900000000, "i": 2}},
		"spends": [{"$numberLong": "-9223372036854775803"}, {"$numberLong": "7"}],
		"purge_at": {"$date": {"$numberLong": "%[3]d"}}}`, day.Start.Unix(), burst.Start.Unix(), day.End().UnixMilli()),
		extJSON(t, w.countsOf(t, "key-1")))
	assert.Empty(t, w.documents(), "a key is not needed")
}

// What is allowed is one round trip, with the counts; what is denied is two.
func TestRoundTripsOfSpend(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	spends(t, b, spending("a", 1, day), 1)
	w.sent.Reset()
	spends(t, b, spending("a", 2, day), 2)
	require.Len(t, w.sent.Commands("find", "update", "findAndModify", "delete"), 1)
	full := day
	full.Max = 2
	w.sent.Reset()
	denies(t, b, spending("a", 3, full), 2)
	require.Len(t, w.sent.Commands("find", "update", "findAndModify", "delete"), 2)
	full.Max = 0 // no cost fits into it
	w.sent.Reset()
	denies(t, b, spending("a", 4, full), 2)
	require.Len(t, w.sent.Commands("find", "update", "findAndModify", "delete"), 1)
}

// A document stays small however long a key is used: 64 ids of spends, and of each
// limit no more windows than twice those that must be remembered.
func TestCountsStaySmall(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	fields := make(map[string]bool)
	for n := range 100 {
		at := []backend.Window{windowAt("a", time.Second, n, 10), windowAt("b", time.Minute, n/10, 10), day}
		spends(t, b, spending("key", uint64(n), at...), 1, int64(n%10)+1, int64(n)+1)
		doc := w.countsOf(t, "key")
		require.Less(t, len(doc), 3000)
		spends, err := doc.Lookup("spends").Array().Values()
		require.NoError(t, err)
		require.Len(t, spends, min(n+1, backend.KeptSpends))
		for i := range min(n+1, backend.KeptWindows) {
			counted(t, b, "key", []backend.Window{windowAt("a", time.Second, n-i, 10)}, 1)
		}
		clear(fields)
		elements, err := doc.Elements()
		require.NoError(t, err)
		for _, e := range elements {
			if strings.HasPrefix(e.Key(), "n:a:") {
				fields[e.Key()] = true
			}
		}
		require.LessOrEqual(t, len(fields), 2*backend.KeptWindows)
	}
	require.GreaterOrEqual(t, len(fields), backend.KeptWindows)
}

// The server's clock is set back between spends: those in the next windows are the
// last ones all the same.
func TestWindowsAreInOrderOfSpending(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	const most = 2 * backend.KeptWindows
	for n := range most + 1 {
		w.store.SetClock(func(string) time.Time { return serverTime.Add(-time.Duration(n) * time.Hour) })
		spends(t, b, spending("key", uint64(n), windowAt("a", time.Second, n, 10)), 1)
	}
	for n := range most + 1 {
		want := int64(0)
		if n > most-backend.KeptWindows {
			want = 1
		}
		counted(t, b, "key", []backend.Window{windowAt("a", time.Second, n, 10)}, want)
	}
}

// A window is not forgotten when it is spent in between the spend that found it
// superfluous and the removal.
func TestWindowSpentInMeanwhileStays(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b, other := w.open(t, nil), w.open(t, nil)
	for n := range 2 * backend.KeptWindows {
		spends(t, b, spending("key", uint64(n), windowAt("a", time.Second, n, 10)), 1)
	}
	oldest := windowAt("a", time.Second, 0, 10)
	w.faults.Nth(1, mongowire.Named("update"), func(_ mongowire.Command, apply func() mongowire.Reply) mongowire.Reply {
		if got, err := other.Spend(context.Background(), spending("key", 100, oldest)); err != nil || !got.OK {
			t.Error(got, err)
		}
		return apply()
	})
	spends(t, b, spending("key", 99, windowAt("a", time.Second, 99, 10)), 1)
	require.Zero(t, w.faults.Pending())
	counted(t, b, "key", []backend.Window{oldest}, 2)

	// That the removal fails is no part of what the caller asked for.
	var log logBuffer
	b = w.open(t, &mongo.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	w.faults.Nth(1, mongowire.Named("update"), mongowire.Answer(mongowire.Error(4711, "no")))
	for n := range 2 * backend.KeptWindows {
		spends(t, b, spending("key", 200+uint64(n), windowAt("a", time.Second, 200+n, 10)), 1)
	}
	require.Zero(t, w.faults.Pending())
	assert.True(t, log.contains("windows that have passed could not be removed"))
}

// Reads show what a majority has, a moment later than writes: a spend that is in
// the way, or that is repeated, and is not to be seen yet is waited for.
func TestSpendWhenReadsLag(t *testing.T) {
	t.Parallel()
	w := startWire(t, mongowire.Primary)
	b := w.open(t, nil)
	one := windowAt("day", 24*time.Hour, 0, 1)
	lag := func(docs ...any) {
		docs = append([]any{}, docs...)
		for range 3 {
			w.faults.Nth(1, mongowire.Named("find"), mongowire.Answer(mongowire.Found("test.keys.counts", docs...)))
		}
	}
	spends(t, b, spending("a", 1, one), 1)
	lag()
	denies(t, b, spending("a", 2, one), 1)
	assert.Zero(t, w.faults.Pending())
	lag()
	spends(t, b, spending("a", 1, one), 1)
	assert.Zero(t, w.faults.Pending())

	// A read that never catches up ends with the context, and is no answer.
	w.faults.Each(mongowire.Named("find"), mongowire.Answer(mongowire.Found("test.keys.counts", []any{}...)))
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	got, err := b.Spend(short, spending("a", 3, one))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Zero(t, got)
}

// Two processes make the document at the same time: one of them is told of a
// duplicate key and tries again.
func TestFirstSpendsAtOnce(t *testing.T) {
	t.Parallel()
	w := startWire(t, mongowire.Primary)
	b, other := w.open(t, nil), w.open(t, nil)
	w.faults.Nth(1, mongowire.Named("findAndModify"), func(mongowire.Command, func() mongowire.Reply) mongowire.Reply {
		if got, err := other.Spend(context.Background(), spending("a", 1, day)); err != nil || !got.OK {
			t.Error(got, err)
		}
		return mongowire.Error(11000, "E11000 duplicate key error")
	})
	spends(t, b, spending("a", 2, day), 2)
	assert.Zero(t, w.faults.Pending())
}

// A failure after the answer that the condition is not met is a failure and no answer.
func TestSettlingASpendFails(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	one := windowAt("day", 24*time.Hour, 0, 1)
	spends(t, b, spending("a", 1, one), 1)
	spends(t, b, spending("b", 1, one), 1)
	other := w.countsOf(t, "b")
	for _, answer := range []mongowire.Reply{mongowire.Error(13, "not authorized"), mongowire.Found("test.keys.counts", other)} {
		w.faults.Nth(1, mongowire.Named("find"), mongowire.Answer(answer))
		got, err := b.Spend(testContext(t), spending("a", 2, one))
		require.ErrorIs(t, err, backend.ErrNotApplied)
		assert.Zero(t, got)
		w.faults.Nth(1, mongowire.Named("find"), mongowire.Answer(answer))
		_, err = b.Counts(testContext(t), "a", []backend.Window{one})
		require.Error(t, err)
	}
	// Nor is the document of another key an answer, or none.
	for _, value := range []any{other, nil, "text", d("_id", "a")} {
		w.faults.Nth(1, mongowire.Named("findAndModify"), mongowire.Answer(mongowire.OK(d("value", value)...)))
		got, err := b.Spend(testContext(t), spending("a", 2, day))
		require.Error(t, err, "%v", value)
		assert.Zero(t, got)
		assert.NotErrorIs(t, err, backend.ErrNotApplied)
	}
}

// A key that is spent from again after Purge has found its windows to have passed
// keeps its counts.
func TestPurgeSparesCountsThatGoOn(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b, other := w.open(t, nil), w.open(t, nil)
	spends(t, b, spending("a", 1, burst), 1)
	spends(t, b, spending("b", 1, burst), 1)
	w.faults.Nth(1, mongowire.Named("delete"), func(_ mongowire.Command, apply func() mongowire.Reply) mongowire.Reply {
		if got, err := other.Spend(context.Background(), spending("a", 2, day)); err != nil || !got.OK {
			t.Error(got, err)
		}
		return apply()
	})
	n, err := b.PurgeCounts(testContext(t), burst.End(), 10)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	counted(t, b, "a", []backend.Window{burst, day}, 1, 1)
	counted(t, b, "b", []backend.Window{burst}, 0)
}

// What would be another name than it looks like, or is out of range, is refused
// before anything is sent.
func TestSpendRefuses(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b, ctx := w.open(t, nil), testContext(t)
	valid := spending("a", 1, day)
	for name, change := range map[string]func(s *backend.Spend){
		"no id":            func(s *backend.Spend) { s.ID = "" },
		"a long id":        func(s *backend.Spend) { s.ID = strings.Repeat("x", 65) },
		"no cost":          func(s *backend.Spend) { s.Cost = 0 },
		"a negative cost":  func(s *backend.Spend) { s.Cost = -1 },
		"a huge cost":      func(s *backend.Spend) { s.Cost = math.MaxInt64 },
		"no windows":       func(s *backend.Spend) { s.Windows = nil },
		"many windows":     func(s *backend.Spend) { s.Windows = make([]backend.Window, 9) },
		"no name":          func(s *backend.Spend) { s.Windows[0].Name = "" },
		"a path":           func(s *backend.Spend) { s.Windows[0].Name = "a.b" },
		"an operator":      func(s *backend.Spend) { s.Windows[0].Name = "$day" },
		"two names":        func(s *backend.Spend) { s.Windows[0].Name = "a:1:2" },
		"a long name":      func(s *backend.Spend) { s.Windows[0].Name = strings.Repeat("x", 33) },
		"no length":        func(s *backend.Spend) { s.Windows[0].Length = 0 },
		"half a second":    func(s *backend.Spend) { s.Windows[0].Length = 1500 * time.Millisecond },
		"from half on":     func(s *backend.Spend) { s.Windows[0].Start = day.Start.Add(time.Millisecond) },
		"before 1970":      func(s *backend.Spend) { s.Windows[0].Start = time.Unix(-1, 0) },
		"beyond all dates": func(s *backend.Spend) { s.Windows[0].Start = time.Unix(1<<62, 0) },
	} {
		s := valid
		s.Windows = append([]backend.Window{}, day)
		change(&s)
		got, err := b.Spend(ctx, s)
		require.ErrorIs(t, err, backend.ErrNotApplied, name)
		assert.Zero(t, got)
	}
	assert.Empty(t, w.sent.Commands("findAndModify", "find"))
	_, err := b.PurgeCounts(ctx, time.Unix(1<<62, 0), 1)
	require.ErrorIs(t, err, backend.ErrNotApplied)
	spends(t, b, valid, 1)
}

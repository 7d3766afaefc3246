package socket_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/internal/faulty"
	"example.com/keystore/internal/socket"
	"example.com/keystore/memory"
)

// counter is a backend that counts both.
type counter interface {
	backend.Backend
	backend.Counter
	backend.Meter
}

var midnight = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)

func spendOf(id uint64, cost int64) backend.Spend {
	return backend.Spend{ID: "x", SpendID: id, Cost: cost, Windows: []backend.Window{{Name: "day", Length: 24 * time.Hour, Start: midnight, Max: 10}}}
}

func tallied(n int) []backend.Addition {
	additions := make([]backend.Addition, n)
	for i := range additions {
		additions[i] = backend.Addition{Subject: fmt.Sprint("k", i), Day: midnight, AddID: uint64(i), Counts: map[string]int64{"07a": 1}}
	}
	return additions
}

// TestErrorsOfCountsKeepTheirMeaning: what had no effect is said to have had none,
// and nothing else is.
func TestErrorsOfCountsKeepTheirMeaning(t *testing.T) {
	for _, c := range []struct {
		err  error
		want []error
	}{
		{badger.ErrNoSpace, []error{badger.ErrNoSpace, backend.ErrNotApplied}},
		{fmt.Errorf("%w: full", backend.ErrNotApplied), []error{backend.ErrNotApplied}},
		{errors.New("the disk is on fire"), nil},
		{fmt.Errorf("%w: one", backend.ErrDamagedTally), []error{backend.ErrDamagedTally}},
		{context.DeadlineExceeded, nil}, // the server's, not the caller's
	} {
		b := served(t, faulty.New(memory.New(), func(faulty.Call) faulty.Fault { return faulty.Refuse(c.err) })).(counter)
		for name, err := range callsOf(t, b) {
			require.EqualError(t, err, c.err.Error(), name)
			for _, sentinel := range []error{backend.ErrNotFound, backend.ErrConflict, backend.ErrNotApplied, backend.ErrClosed, backend.ErrDamagedTally, badger.ErrNoSpace, context.DeadlineExceeded} {
				want := false
				for _, w := range c.want {
					want = want || w == sentinel
				}
				require.Equal(t, want, errors.Is(err, sentinel), "%s: %v is %v", name, err, sentinel)
			}
		}
	}
}

// TestDamagedTallyStopsNoOthers: the chunks that come after it are added too. If
// one of them fails the whole is to be repeated, which the error must not deny.
func TestDamagedTallyStopsNoOthers(t *testing.T) {
	damaged, onFire := fmt.Errorf("%w: one", backend.ErrDamagedTally), errors.New("the disk is on fire")
	var failing atomic.Bool
	failing.Store(true)
	b := served(t, faulty.New(memory.New(), func(c faulty.Call) faulty.Fault {
		switch {
		case c.Method == faulty.AddUsage && c.N%3 == 1:
			return faulty.LoseReply(damaged)
		case c.Method == faulty.AddUsage && c.N%3 == 0 && failing.Load():
			return faulty.Refuse(onFire)
		}
		return nil
	})).(counter)
	all := tallied(250) // three chunks
	err := b.AddUsage(t.Context(), all)
	require.EqualError(t, err, onFire.Error())
	require.NotErrorIs(t, err, backend.ErrDamagedTally)
	failing.Store(false)
	err = b.AddUsage(t.Context(), all)
	require.EqualError(t, err, damaged.Error())
	require.ErrorIs(t, err, backend.ErrDamagedTally)
	for i := range all {
		tallies, err := b.Usage(t.Context(), fmt.Sprint("k", i), midnight, midnight.Add(24*time.Hour))
		require.NoError(t, err)
		require.Equal(t, []backend.Tally{{Day: midnight, Counts: map[string]int64{"07a": 1}}}, tallies)
	}
}

// callsOf makes each call of Counter and Meter, and returns the errors.
func callsOf(t *testing.T, b counter) map[string]error {
	ctx := t.Context()
	_, spending := b.Spend(ctx, spendOf(1, 1))
	_, counting := b.Counts(ctx, "x", spendOf(1, 1).Windows)
	_, purging := b.PurgeCounts(ctx, midnight, 1)
	_, reading := b.Usage(ctx, "kx", midnight, midnight.Add(24*time.Hour))
	_, forgetting := b.PurgeUsage(ctx, midnight, 1)
	return map[string]error{
		"Spend": spending, "Counts": counting, "ResetCounts": b.ResetCounts(ctx, "x"), "PurgeCounts": purging,
		"AddUsage": b.AddUsage(ctx, tallied(1)), "Usage": reading, "PurgeUsage": forgetting,
	}
}

func TestCountsOfAStoreThatTheServerClosed(t *testing.T) {
	inner := memory.New()
	b := served(t, inner).(counter)
	require.NoError(t, inner.Close())
	for name, err := range callsOf(t, b) {
		require.NotErrorIs(t, err, backend.ErrClosed, "the client was not closed")
		inChunks := name == "AddUsage" || strings.HasPrefix(name, "Purge")
		require.Equal(t, !inChunks, errors.Is(err, backend.ErrNotApplied), name)
	}
	require.NoError(t, b.Close())
	for name, err := range callsOf(t, b) {
		require.ErrorIs(t, err, backend.ErrClosed, name)
	}
	require.ErrorIs(t, b.AddUsage(t.Context(), nil), backend.ErrClosed)
}

// TestSpendWhoseReplyIsLost: keystore repeats it, and it counts once.
func TestSpendWhoseReplyIsLost(t *testing.T) {
	lost := errors.New("the reply was lost")
	inner := faulty.New(memory.New(), func(c faulty.Call) faulty.Fault {
		if c.Method == faulty.Spend && c.N%3 != 0 {
			return faulty.LoseReply(lost)
		}
		return nil
	})
	ks, err := keystore.New(served(t, inner), &keystore.Options{CacheSize: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ks.Close()) })
	token, key, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "o", Limits: []keystore.Limit{{Name: "year", Requests: 3, Window: 366 * 24 * time.Hour}}})
	require.NoError(t, err)
	for range 3 {
		_, err := ks.Lookup(t.Context(), token.Reveal())
		require.NoError(t, err)
	}
	require.Equal(t, 9, inner.Calls(faulty.Spend))
	states, err := ks.LimitsOf(t.Context(), key.ID)
	require.NoError(t, err)
	require.Zero(t, states[0].Remaining)
	require.NoError(t, ks.ResetLimits(t.Context(), key.ID))
	states, err = ks.LimitsOf(t.Context(), key.ID)
	require.NoError(t, err)
	require.EqualValues(t, 3, states[0].Remaining)
}

func TestLostReplyOfASpendIsAnUnknownOutcome(t *testing.T) {
	for _, answer := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n\x83", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"} {
		for name, err := range callsOf(t, open(t, brokenServer(t, answer)).(counter)) {
			require.Error(t, err, name)
			require.NotErrorIs(t, err, backend.ErrNotApplied, "%s %q", name, answer)
		}
	}
	for name, err := range callsOf(t, open(t, brokenServer(t, "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")).(counter)) {
		require.ErrorIs(t, err, backend.ErrNotApplied, "%s: it did not get to the store", name)
	}
}

// TestCountsTellNobody of a change: no record has changed.
func TestCountsTellNobody(t *testing.T) {
	path, _ := serve(t, memory.New(), func(_ context.Context, id string) { t.Error("told of", id) })
	for name, err := range callsOf(t, open(t, path).(counter)) {
		require.NoError(t, err, name)
	}
}

// TestArgumentsOfCountsThatAreOutOfRange do not get to the store.
func TestArgumentsOfCountsThatAreOutOfRange(t *testing.T) {
	inner := faulty.New(memory.New(), nil)
	b := served(t, inner).(counter)
	ctx := t.Context()
	refused := func(err error) {
		t.Helper()
		require.ErrorContains(t, err, "status 400")
		require.ErrorIs(t, err, backend.ErrNotApplied)
	}
	for _, change := range []func(*backend.Spend){
		func(s *backend.Spend) { s.Cost = 0 },
		func(s *backend.Spend) { s.Cost = -1 },
		func(s *backend.Spend) { s.Cost = math.MaxInt64 },
		func(s *backend.Spend) { s.Windows = nil },
		func(s *backend.Spend) { s.Windows = make([]backend.Window, backend.MaxWindows+1) },
		func(s *backend.Spend) { s.Windows[0].Max = 0 },
		func(s *backend.Spend) { s.Windows[0].Max = backend.MaxCount + 1 },
		func(s *backend.Spend) { s.Windows[0].Length = 0 },
		func(s *backend.Spend) { s.Windows[0].Length = -time.Hour },
		func(s *backend.Spend) { s.Windows[0].Length = time.Second + 1 },
		func(s *backend.Spend) { s.Windows[0].Name = strings.Repeat("x", 33) },
		func(s *backend.Spend) { s.Windows[0].Name = "" },
		func(s *backend.Spend) { s.Windows[0].Name = "day\x00" },
		func(s *backend.Spend) { s.Windows[0].Name = "a$b" },
		func(s *backend.Spend) { s.Windows[0].Start = time.Time{} },
		func(s *backend.Spend) { s.Windows[0].Start = time.Unix(-1, 0) },
		func(s *backend.Spend) { s.Windows[0].Start = midnight.Add(time.Millisecond) },
		func(s *backend.Spend) { s.Windows = append(s.Windows, s.Windows[0]) },
	} {
		s := spendOf(1, 1)
		change(&s)
		_, err := b.Spend(ctx, s)
		refused(err)
		if len(s.Windows) == 1 && s.Windows[0].Max == 10 && s.Cost == 1 {
			_, err = b.Counts(ctx, "x", s.Windows)
			refused(err)
		}
	}
	for _, change := range []func(*backend.Addition){
		func(a *backend.Addition) { a.Counts["07a"] = 0 },
		func(a *backend.Addition) { a.Counts["07a"] = backend.MaxCount + 1 },
		func(a *backend.Addition) { a.Counts["too long!"] = 1 },
		func(a *backend.Addition) { a.Counts[""] = 1 },
		func(a *backend.Addition) { a.Counts["07.a"] = 1 },
		func(a *backend.Addition) { a.Day = time.Time{} },
		func(a *backend.Addition) { a.Day = midnight.Add(time.Hour) },
		func(a *backend.Addition) { a.Day = time.Unix(-86400, 0) },
		func(a *backend.Addition) { a.Subject = strings.Repeat("x", backend.MaxSubjectLen+1) },
		func(a *backend.Addition) { a.Subject = "" },
		func(a *backend.Addition) { a.Subject = "k\x00" },
		func(a *backend.Addition) { a.Subject = "k\xff" },
		func(a *backend.Addition) {
			for n := range backend.MaxTallyNames {
				a.Counts[fmt.Sprint(n)] = 1
			}
		},
	} {
		additions := tallied(2)
		change(&additions[1])
		refused(b.AddUsage(ctx, additions))
	}
	_, err := b.Usage(ctx, "kx", midnight, midnight.AddDate(1, 0, 2))
	refused(err)
	for _, subject := range []string{"", "k\x00", "k\xff", strings.Repeat("x", backend.MaxSubjectLen+1)} {
		_, err := b.Usage(ctx, subject, midnight, midnight.Add(24*time.Hour))
		refused(err)
	}
	for _, limit := range []int{0, -1} {
		_, err = b.PurgeCounts(ctx, midnight, limit)
		refused(err)
		_, err = b.PurgeUsage(ctx, midnight, limit)
		refused(err)
	}
	for _, m := range []faulty.Method{faulty.Spend, faulty.Counts, faulty.AddUsage, faulty.Usage, faulty.PurgeCounts, faulty.PurgeUsage} {
		require.Zero(t, inner.Calls(m), m)
	}
	outside := spendOf(1, 1)
	outside.Windows[0].Start = time.Date(math.MaxInt32, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err = b.Spend(ctx, outside)
	require.ErrorIs(t, err, backend.ErrNotApplied)
}

// TestUsageInChunks sends additions as large as they may be.
func TestUsageInChunks(t *testing.T) {
	additions := make([]backend.Addition, 250)
	for i := range additions {
		a := backend.Addition{
			Subject: fmt.Sprintf("%0*d", backend.MaxSubjectLen, i), Day: midnight, AddID: math.MaxUint64 - uint64(i), PurgeAt: midnight.AddDate(1, 0, 0),
			Counts: map[string]int64{},
		}
		for n := range backend.MaxTallyNames {
			a.Counts[fmt.Sprintf("%0*d", backend.MaxTallyName, n)] = backend.MaxCount
		}
		additions[i] = a
	}
	inner := faulty.New(memory.New(), nil)
	b := served(t, inner).(counter)
	for range 2 { // the second time adds nothing
		require.NoError(t, b.AddUsage(t.Context(), additions))
	}
	require.Equal(t, 6, inner.Calls(faulty.AddUsage))
	for _, i := range []int{0, 99, 100, 249} {
		tallies, err := b.Usage(t.Context(), additions[i].Subject, midnight, midnight.Add(24*time.Hour))
		require.NoError(t, err)
		require.Equal(t, []backend.Tally{{Day: midnight, Counts: additions[i].Counts}}, tallies)
	}

	b = served(t, faulty.New(memory.New(), faulty.Nth(2, faulty.AddUsage, faulty.Refuse(badger.ErrNoSpace)))).(counter)
	err := b.AddUsage(t.Context(), tallied(150))
	require.ErrorIs(t, err, badger.ErrNoSpace)
	require.NotErrorIs(t, err, backend.ErrNotApplied, "the first chunk was")
	for n := range 366 { // the longest answer
		require.NoError(t, b.AddUsage(t.Context(), []backend.Addition{{Subject: "k", Day: midnight.AddDate(0, 0, n), AddID: 1, Counts: additions[0].Counts}}))
	}
	tallies, err := b.Usage(t.Context(), "k", midnight, midnight.AddDate(0, 0, 366))
	require.NoError(t, err)
	require.Len(t, tallies, 366)
}

// TestServerFromBeforeThereWereCounts says nothing of them.
func TestServerFromBeforeThereWereCounts(t *testing.T) {
	path, _ := serveHandler(t, answering("\xa4\x01\x01\x02\x61a\x03\xf5\x04\xf4"))
	b := open(t, path)
	_, watches := b.(backend.Watcher)
	_, counts := b.(backend.Counter)
	_, meters := b.(backend.Meter)
	require.Equal(t, []bool{true, false, false}, []bool{watches, counts, meters})
	ks, err := keystore.New(b, &keystore.Options{CacheSize: -1, UsageInterval: keystore.Never})
	require.NoError(t, err)
	defer ks.Close()
	_, _, err = ks.Generate(t.Context(), keystore.KeyParams{Owner: "o", Limits: []keystore.Limit{{Name: "day", Requests: 1, Window: time.Hour}}})
	require.ErrorIs(t, err, keystore.ErrInvalid)
	require.ErrorContains(t, err, "the backend cannot count")
}

func TestPathsOfWhatTheStoreCannot(t *testing.T) {
	h := socket.Handler(plain{memory.New()}, nil)
	for _, path := range paths[10:] {
		require.Equal(t, 404, statusOf(h, "POST", path, "\xf6"), path)
	}
}

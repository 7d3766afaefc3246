package mongo_test

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
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo"
)

func uses(t testing.TB, b *mongo.Backend, additions ...backend.Addition) {
	t.Helper()
	require.NoError(t, b.AddUsage(testContext(t), additions))
}

// usedToday wants a subject to have this count of allowed lookups today.
func usedToday(t testing.TB, b *mongo.Backend, subject string, want int64) {
	t.Helper()
	counts, err := used(testContext(t), b, subject)
	require.NoError(t, err)
	require.Equal(t, want, counts["07a"], subject)
}

// The documents are a format that others may read: docs/mongo.md.
func TestDocumentOfUsage(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	holds := func(want string) {
		t.Helper()
		all := w.store.Documents("test.keys.usage")
		require.Len(t, all, 1)
		assert.JSONEq(t, want, extJSON(t, all[0]))
	}
	const begin = `{"_id": "kKEY/2031-03-04", "subject": "kKEY", "day": {"$date": {"$numberLong": "1930348800000"}}, `
	uses(t, b, addition("kKEY", today, 1<<63+5))
	holds(begin + `"n:07a": {"$numberLong": "2"}, "additions": [{"$numberLong": "-9223372036854775803"}],
		"purge_at": {"$date": {"$numberLong": "` + fmt.Sprint(now.UnixMilli()) + `"}}}`)
	for id := range uint64(40) {
		uses(t, b, backend.Addition{Subject: "kKEY", Day: today, AddID: id, Counts: map[string]int64{"0l": 1}})
	}
	ids := make([]string, backend.KeptAdditions)
	for i := range ids {
		ids[i] = fmt.Sprintf(`{"$numberLong": "%d"}`, 40-len(ids)+i)
	}
	holds(begin + `"n:07a": {"$numberLong": "2"}, "n:0l": {"$numberLong": "40"}, "additions": [` + strings.Join(ids, ",") + `]}`)
}

// What is there is added to by one command for 64 tallies; what is missing takes
// two more, whatever is missing of them.
func TestCommandsOfAddUsage(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	id := uint64(0)
	additions := func(n int) []backend.Addition {
		all := make([]backend.Addition, n)
		for i := range all {
			id++
			all[i] = addition(fmt.Sprint("k", i), today, id)
		}
		return all
	}
	for i, c := range []struct{ additions, commands int }{{0, 0}, {1, 3}, {1, 1}, {64, 3}, {64, 1}, {65, 4}, {129, 7}, {129, 3}} {
		w.sent.Reset()
		uses(t, b, additions(c.additions)...)
		assert.Equal(t, c.commands, len(w.sent.Commands("update")), "%d", i) // Len would show all of them
		assert.Empty(t, w.sent.Commands("find", "findAndModify"))
	}
	usedToday(t, b, "k0", 14)
	usedToday(t, b, "k64", 6)
	usedToday(t, b, "k128", 4)
}

// Whatever becomes of one of the commands by which a tally is made and added to,
// the same call again adds what is missing, and nothing twice.
func TestAddUsageInDoubt(t *testing.T) {
	t.Parallel()
	for _, servers := range []struct {
		name string
		role mongowire.Role
	}{{"standalone", mongowire.Standalone}, {"replica set", mongowire.Primary}} {
		for command := 1; command <= 3; command++ {
			for name, fault := range map[string]mongowire.Fault{
				"reply lost": mongowire.ApplyThenClose, "closed before": mongowire.CloseBefore, "no majority": mongowire.ApplyThenWriteConcernError(64, "timeout"),
			} {
				t.Run(fmt.Sprint(servers.name, "/", name, "/", command), func(t *testing.T) {
					t.Parallel()
					w := startWire(t, servers.role)
					b := w.open(t, nil)
					uses(t, b, addition("kold", today, 1))
					additions := []backend.Addition{addition("kold", today, 2), addition("knew", today, 3)}
					w.faults.Nth(command, mongowire.Named("update"), fault)
					err := b.AddUsage(testContext(t), additions)
					require.Error(t, err)
					assert.NotErrorIs(t, err, backend.ErrNotApplied)
					require.Zero(t, w.faults.Pending())
					for range 2 {
						uses(t, b, additions...)
						usedToday(t, b, "kold", 4)
						usedToday(t, b, "knew", 2)
					}
				})
			}
		}
	}
}

// Of a call that was refused in the middle it is not said that it had no effect.
func TestAddUsageIsRefusedInTheMiddle(t *testing.T) {
	t.Parallel()
	all := []backend.Addition{}
	for i := range 100 {
		all = append(all, addition(fmt.Sprint("k", i), today, 2))
	}
	for command := 1; command <= 4; command++ {
		w := startWire(t)
		b := w.open(t, nil)
		uses(t, b, addition("k0", today, 1))
		w.faults.Nth(command, mongowire.Named("update"), mongowire.Answer(mongowire.Error(13, "not authorized")))
		err := b.AddUsage(testContext(t), all)
		require.Error(t, err)
		require.Zero(t, w.faults.Pending())
		assert.Equal(t, command == 1, errors.Is(err, backend.ErrNotApplied), "%d", command)
	}
}

// Several processes make the same tally at once.
func TestTallyMadeByOthers(t *testing.T) {
	t.Parallel()
	w := startWire(t, mongowire.Primary)
	b, other := w.open(t, nil), w.open(t, nil)
	made := func(cmd mongowire.Command) bool {
		return cmd.Name == "update" && cmd.Filters()[0].Lookup("additions").Type == 0
	}
	w.faults.Nth(1, made, func(mongowire.Command, func() mongowire.Reply) mongowire.Reply {
		if err := other.AddUsage(context.Background(), []backend.Addition{addition("k", today, 1)}); err != nil {
			t.Error(err)
		}
		return mongowire.WriteError(11000, "E11000 duplicate key error")
	})
	uses(t, b, addition("k", today, 2))
	require.Zero(t, w.faults.Pending())
	usedToday(t, b, "k", 4)

	// Any other failure beside is one.
	w.faults.Nth(1, made, mongowire.Answer(mongowire.WriteError(11000, "E11000").WithWriteConcernError(64, "no majority")))
	require.Error(t, b.AddUsage(testContext(t), []backend.Addition{addition("l", today, 2)}))
	require.Zero(t, w.faults.Pending())
}

// No subject is found by another one, whatever is in it.
func TestSubjectsAreData(t *testing.T) {
	t.Parallel()
	subjects := []string{
		"k", "k/2031-03-04", "k/2031-03-04/2031-03-04", "k/", "/", "k/2031-03-05", `{"$ne": ""}`, "$ne", "n:07a", "a.b", "\u0001", "о🔑",
		strings.Repeat("x", backend.MaxSubjectLen), strings.Repeat("x", backend.MaxSubjectLen-1),
	}
	for name, coll := range servers(t, "subjects") {
		t.Run(name, func(t *testing.T) {
			b, ctx := newBackend(t, coll, nil), testContext(t)
			for i, subject := range subjects {
				a := addition(subject, today, 1)
				a.Counts = map[string]int64{"a": int64(i) + 1}
				uses(t, b, a)
			}
			for i, subject := range subjects {
				got, err := b.Usage(ctx, subject, today.AddDate(0, 0, -5), today.AddDate(0, 0, 5))
				require.NoError(t, err)
				require.Equal(t, []backend.Tally{{Day: today, Counts: map[string]int64{"a": int64(i) + 1}}}, got, "%q", subject)
			}
		})
	}
}

func TestRangesOfDays(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b, ctx := w.open(t, nil), testContext(t)
	last := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	for i, day := range []time.Time{time.Unix(0, 0), today, today.AddDate(0, 0, 365).In(time.FixedZone("", 3600)), last} {
		uses(t, b, addition("k", day, uint64(i)))
	}
	for _, c := range []struct {
		from, to time.Time
		want     int
	}{
		{today, today, 0}, {today, today.Add(1), 1}, {today.Add(1), today.AddDate(0, 0, 1), 0}, {today.AddDate(0, 0, 1), today, 0},
		{today, today.AddDate(0, 0, 366), 2}, {today, today.AddDate(0, 0, 365), 1}, {time.Time{}, time.Time{}, 0},
		{time.Unix(-86400*300, 0), time.Unix(86400, 0), 1}, {last, last.AddDate(0, 0, 1), 1}, {time.Unix(1<<50, 0), time.Unix(1<<50+1, 0), 0},
	} {
		got, err := b.Usage(ctx, "k", c.from, c.to)
		require.NoError(t, err)
		assert.Len(t, got, c.want, "%v", c)
	}
	_, err := b.Usage(ctx, "k", today, today.AddDate(0, 0, 367))
	require.ErrorIs(t, err, backend.ErrNotApplied)
}

func TestAddUsageRefuses(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	for name, change := range map[string]func(a *backend.Addition){
		"no subject":           func(a *backend.Addition) { a.Subject = "" },
		"a long subject":       func(a *backend.Addition) { a.Subject = strings.Repeat("x", backend.MaxSubjectLen+1) },
		"noon":                 func(a *backend.Addition) { a.Day = a.Day.Add(12 * time.Hour) },
		"a day before 1970":    func(a *backend.Addition) { a.Day = time.Unix(-86400, 0) },
		"a day of five digits": func(a *backend.Addition) { a.Day = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"purged out of range":  func(a *backend.Addition) { a.PurgeAt = time.Unix(1<<62, 0) },
		"a path":               func(a *backend.Addition) { a.Counts = map[string]int64{"a.b": 1} },
		"an operator":          func(a *backend.Addition) { a.Counts = map[string]int64{"$a": 1} },
		"no name":              func(a *backend.Addition) { a.Counts = map[string]int64{"": 1} },
		"a long name":          func(a *backend.Addition) { a.Counts = map[string]int64{"123456789": 1} },
		"nothing":              func(a *backend.Addition) { a.Counts = map[string]int64{"a": 0} },
		"less than nothing":    func(a *backend.Addition) { a.Counts = map[string]int64{"a": -1} },
		"too much":             func(a *backend.Addition) { a.Counts = map[string]int64{"a": math.MaxInt64} },
	} {
		a := addition("k", today, 1)
		change(&a)
		require.ErrorIs(t, b.AddUsage(testContext(t), []backend.Addition{addition("j", today, 1), a}), backend.ErrNotApplied, name)
	}
	assert.Empty(t, w.sent.Commands("update"))
}

// A tally whose PurgeAt moves after Purge has found it to be due stays.
func TestPurgeSparesTalliesThatGoOn(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b, other := w.open(t, nil), w.open(t, nil)
	uses(t, b, addition("j", today, 1), addition("k", today, 1))
	w.faults.Nth(1, mongowire.Named("delete"), func(_ mongowire.Command, apply func() mongowire.Reply) mongowire.Reply {
		later := addition("k", today, 2)
		later.PurgeAt = time.Time{}
		if err := other.AddUsage(context.Background(), []backend.Addition{later}); err != nil {
			t.Error(err)
		}
		return apply()
	})
	n, err := b.PurgeUsage(testContext(t), now, 10)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	usedToday(t, b, "k", 4)
	usedToday(t, b, "j", 0)
}

// What a purge of counts did before it failed counts, and is not told as nothing.
func TestPurgeUsageFailsInTheMiddle(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	for i := range 100 {
		uses(t, b, addition(fmt.Sprint("k", i), today, 1))
	}
	w.faults.Nth(2, mongowire.Named("delete"), mongowire.Answer(mongowire.Error(13, "not authorized")))
	n, err := b.PurgeUsage(testContext(t), now, 1000)
	require.Error(t, err)
	assert.Equal(t, 64, n)
	assert.NotErrorIs(t, err, backend.ErrNotApplied)
	n, err = b.PurgeUsage(testContext(t), now, 20)
	require.NoError(t, err)
	assert.Equal(t, 20, n)
}

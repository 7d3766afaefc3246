package mongo_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver/mongowire"
)

// A tally that makes no sense is an error when it is read or added to, and not in
// the way of others, nor of a purge.
func TestDamagedTally(t *testing.T) {
	t.Parallel()
	id := func(subject string) string { return subject + "/2031-03-04" }
	good := func(change ...any) bson.D {
		doc := d(change...)
		for _, e := range d("_id", id("k"), "subject", "k", "day", today, "n:07a", int64(3), "purge_at", now) {
			if _, changed := value(doc, e.Key); !changed {
				doc = append(doc, e)
			}
		}
		return doc
	}
	for name, c := range map[string]struct {
		doc  bson.D
		adds bool // adding to it succeeds, as the server does not see what is wrong
	}{
		"a count of text":         {good("n:07a", "3"), false},
		"half a count":            {good("n:07a", 1.5), true},
		"a negative count":        {good("n:07a", int64(-9)), true},
		"another count of text":   {good("n:08a", "3"), true},
		"additions that are text": {good("additions", "x"), false},
		"another subject":         {good("subject", "j"), true},
		"no subject":              {good("subject", nil), true},
		"another day":             {good("day", today.AddDate(0, 0, 1)), true},
		"noon":                    {good("day", now), true},
		"a day of text":           {good("day", "2031-03-04"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWire(t)
			b, ctx := w.open(t, nil), testContext(t)
			_, err := connect(t, w.URL()).Database("test").Collection("keys.usage").InsertOne(ctx, c.doc)
			require.NoError(t, err)
			err = b.AddUsage(ctx, []backend.Addition{addition("k", today, 1), addition("l", today, 1)})
			if c.adds {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, backend.ErrDamagedTally)
			}
			usedToday(t, b, "l", 2)
			_, err = b.Usage(ctx, "k", today, today.AddDate(0, 0, 1))
			if name == "additions that are text" { // its counts can be read
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "damaged")
			}
			n, err := b.PurgeUsage(ctx, now, 10)
			require.NoError(t, err)
			require.NotZero(t, n)
			uses(t, b, addition("k", today, 2))
			usedToday(t, b, "k", 2)
		})
	}
}

// Tallies that cannot be added to keep none of the others from what is added to
// them, wherever they stand, be these missing or there: FerretDB stops at the first
// statement that fails.
func TestDamagedTalliesAmongMany(t *testing.T) {
	t.Parallel()
	bad := map[int]bson.E{
		3:  {Key: "n:07a", Value: "3"},
		9:  {Key: "n:07a", Value: nil},
		10: {Key: "n:07a", Value: int64(math.MaxInt64)},
		66: {Key: "additions", Value: "x"},
	}
	for name, keys := range servers(t, "damagedtallies") {
		t.Run(name, func(t *testing.T) {
			b, ctx := newBackend(t, keys, nil), testContext(t)
			all := make([]backend.Addition, 70) // of which 64 make a chunk
			for i := range all {
				all[i] = addition(fmt.Sprint("k", i), today, 1)
			}
			if name == "FerretDB" { // which is slow
				all = append(all[:12:12], all[66])
			}
			coll := keys.Database().Collection(keys.Name() + ".usage")
			damaged := func(a backend.Addition) (damage bson.E, is bool) {
				for i, damage := range bad {
					if a.Subject == fmt.Sprint("k", i) {
						return damage, true
					}
				}
				return bson.E{}, false
			}
			for _, a := range all {
				if damage, is := damaged(a); is {
					_, err := coll.InsertOne(ctx, append(d("_id", a.Subject+"/2031-03-04", "subject", a.Subject, "day", today, "purge_at", now), damage))
					require.NoError(t, err)
				}
			}
			uses(t, b, all[5], all[11])
			for range 2 {
				err := b.AddUsage(ctx, all)
				require.ErrorIs(t, err, backend.ErrDamagedTally)
				require.NotErrorIs(t, err, backend.ErrNotApplied)
			}
			for _, a := range all {
				damage, is := damaged(a)
				if !is {
					usedToday(t, b, a.Subject, 2)
					continue
				}
				var doc bson.D
				require.NoError(t, coll.FindOne(ctx, d("_id", a.Subject+"/2031-03-04")).Decode(&doc))
				left, _ := value(doc, damage.Key)
				require.Equal(t, damage.Value, left, "it is left as it is")
				require.Len(t, doc, 5)
			}
		})
	}
}

// A failure that is none of a tally is not taken for one, though a tally was damaged
// before or is too: what was not added must be repeated.
func TestFailureBesideADamagedTally(t *testing.T) {
	t.Parallel()
	failure := func(code int32) bson.D { return d("index", int32(0), "code", code, "errmsg", "it failed") }
	for name, answer := range map[string]mongowire.Reply{
		"another code beside":   mongowire.OK(bson.E{Key: "n", Value: int32(0)}, bson.E{Key: "writeErrors", Value: bson.A{failure(14), failure(91)}}),
		"another code":          mongowire.OK(bson.E{Key: "n", Value: int32(0)}, bson.E{Key: "writeErrors", Value: bson.A{failure(91)}}),
		"of the whole command":  mongowire.Error(2, "a write concern that is none"),
		"not known to majority": mongowire.OK(bson.E{Key: "n", Value: int32(0)}, bson.E{Key: "writeErrors", Value: bson.A{failure(14)}}, bson.E{Key: "writeConcernError", Value: d("code", int32(64), "errmsg", "waiting timed out")}),
	} {
		for nth := 1; nth <= 3; nth++ {
			w := startWire(t)
			b, ctx := w.open(t, nil), testContext(t)
			_, err := connect(t, w.URL()).Database("test").Collection("keys.usage").InsertOne(ctx, d("_id", "k/2031-03-04", "n:07a", "3"))
			require.NoError(t, err)
			w.faults.Nth(nth, mongowire.Named("update"), mongowire.Answer(answer))
			err = b.AddUsage(ctx, []backend.Addition{addition("l", today, 1), addition("k", today, 1)})
			require.Error(t, err, name)
			require.NotErrorIs(t, err, backend.ErrDamagedTally, "%s %d", name, nth)
			require.NotErrorIs(t, err, backend.ErrNotApplied, "%s %d", name, nth)
			require.ErrorIs(t, b.AddUsage(ctx, []backend.Addition{addition("k", today, 1), addition("l", today, 1)}), backend.ErrDamagedTally)
			usedToday(t, b, "l", 2)
		}
	}
}

// A reply that belongs to another subject or day is no answer.
func TestTallyOfAnother(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	uses(t, b, addition("j", today, 1), addition("k", today.AddDate(0, 0, 9), 1))
	for _, doc := range w.store.Documents("test.keys.usage") {
		w.faults.Nth(1, mongowire.Named("find"), mongowire.Answer(mongowire.Found("test.keys.usage", doc)))
		_, err := b.Usage(testContext(t), "k", today, today.AddDate(0, 0, 1))
		require.Error(t, err)
	}
	w.faults.Nth(1, mongowire.Named("find"), mongowire.Answer(mongowire.Error(13, "not authorized")))
	_, err := b.Usage(testContext(t), "k", today, today.AddDate(0, 0, 1))
	require.Error(t, err)
}

// A tally that is made, and never added to because the process died, is none and
// goes with the others.
func TestEmptyTally(t *testing.T) {
	t.Parallel()
	w := startWire(t)
	b := w.open(t, nil)
	w.faults.Nth(3, mongowire.Named("update"), mongowire.CloseBefore)
	require.Error(t, b.AddUsage(testContext(t), []backend.Addition{addition("k", today, 1)}))
	require.Len(t, w.store.Documents("test.keys.usage"), 1)
	tallies, err := b.Usage(testContext(t), "k", today, today.AddDate(0, 0, 1))
	require.NoError(t, err)
	assert.Empty(t, tallies)
	n, err := b.PurgeUsage(testContext(t), now, 10)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
}

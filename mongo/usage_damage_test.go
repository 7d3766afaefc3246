package mongo_test

import (
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
			assert.Equal(t, c.adds, err == nil, "%v", err)
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

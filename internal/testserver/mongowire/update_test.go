package mongowire_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/keystore/internal/testserver/mongowire"
)

// change applies one update to a document and returns what came of it, without _id.
func change(t *testing.T, c *mongo.Collection, before, update bson.D) (bson.M, error) {
	t.Helper()
	ctx := testContext(t)
	require.NoError(t, c.Drop(ctx))
	_, err := c.InsertOne(ctx, append(d("_id", "a"), before...))
	require.NoError(t, err)
	_, err = c.UpdateOne(ctx, d("_id", "a"), update)
	var after bson.M
	require.NoError(t, c.FindOne(ctx, d("_id", "a")).Decode(&after))
	delete(after, "_id")
	return after, err
}

func TestUpdateOperators(t *testing.T) { onEach(t, testUpdateOperators) }

func testUpdateOperators(t *testing.T, c *mongo.Collection) {
	at := func(ms int64) bson.DateTime { return bson.DateTime(ms) }
	for name, test := range map[string]struct{ before, update, after bson.D }{
		"set":                 {d("x", 1, "y", 2), d("$set", d("x", "$z", "n", nil)), d("x", "$z", "y", int32(2), "n", nil)},
		"unset":               {d("x", 1, "y", 2), d("$unset", d("x", "", "no", "")), d("y", int32(2))},
		"set on insert":       {d("x", 1), d("$setOnInsert", d("x", 2)), d("x", int32(1))},
		"inc":                 {d("x", int32(1), "y", int64(1), "z", 1.5), d("$inc", d("x", 1, "y", 2, "z", 1, "new", int64(7))), d("x", int32(2), "y", int64(3), "z", 2.5, "new", int64(7))},
		"inc beyond int32":    {d("x", int32(math.MaxInt32)), d("$inc", d("x", int32(1))), d("x", int64(math.MaxInt32)+1)},
		"max raises":          {d("x", at(5)), d("$max", d("x", at(6), "new", at(1))), d("x", at(6), "new", at(1))},
		"max never lowers":    {d("x", at(5)), d("$max", d("x", at(4))), d("x", at(5))},
		"max by type":         {d("x", int64(9)), d("$max", d("x", at(4))), d("x", at(4))},
		"min":                 {d("x", at(5)), d("$min", d("x", at(4))), d("x", at(4))},
		"push":                {d("x", bson.A{"a"}), d("$push", d("x", "b", "new", d("y", 1))), d("x", bson.A{"a", "b"}, "new", bson.A{d("y", int32(1))})},
		"push each":           {d("x", bson.A{"a"}), d("$push", d("x", d("$each", bson.A{"b", int64(1)}), "new", d("$each", bson.A{}))), d("x", bson.A{"a", "b", int64(1)}, "new", bson.A{})},
		"push and slice":      {d("x", bson.A{"a", "b", "c"}), d("$push", d("x", d("$each", bson.A{"d"}, "$slice", -2))), d("x", bson.A{"c", "d"})},
		"push and slice less": {d("x", bson.A{"a"}), d("$push", d("x", d("$each", bson.A{"d"}, "$slice", -5))), d("x", bson.A{"a", "d"})},
		"push and slice top":  {d("x", bson.A{"a", "b"}), d("$push", d("x", d("$each", bson.A{"d"}, "$slice", 1))), d("x", bson.A{"a"})},
		"the same _id":        {d("x", 1), d("$set", d("_id", "a", "x", 2)), d("x", int32(2))},
		"several at once":     {d("x", 1, "y", 1), d("$set", d("x", 2), "$unset", d("y", ""), "$inc", d("z", 1)), d("x", int32(2), "z", int32(1))},
		"documents are data":  {d(), d("$set", d("x", d("$ne", ""))), d("x", bson.D{{Key: "$ne", Value: ""}})},
		"dots inside of data": {d(), d("$set", d("x", d("a.b", 1))), d("x", bson.D{{Key: "a.b", Value: int32(1)}})},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "slice") {
				beyondFerretDB(t, c, "$slice in $push")
			}
			if strings.HasSuffix(name, "data") {
				beyondFerretDB(t, c, "names of fields that begin with '$' or contain a dot")
			}
			after, err := change(t, c, test.before, test.update)
			require.NoError(t, err)
			want := bson.M{}
			for _, e := range test.after {
				want[e.Key] = e.Value
			}
			assert.Equal(t, want, after)
		})
	}
}

func TestUpdateErrors(t *testing.T) { onEach(t, testUpdateErrors) }

func testUpdateErrors(t *testing.T, c *mongo.Collection) {
	for name, test := range map[string]struct {
		update bson.D
		code   int
	}{
		"another _id":      {d("$set", d("_id", "b")), 66},
		"without an _id":   {d("$unset", d("_id", "")), 66},
		"inc of text":      {d("$inc", d("text", 1)), 14},
		"inc by text":      {d("$inc", d("n", "1")), 14},
		"push to text":     {d("$push", d("text", 1)), 2},
		"push each text":   {d("$push", d("new", d("$each", "x"))), 2},
		"inc that wraps":   {d("$inc", d("n", int64(math.MaxInt64))), 2},
		"one field twice":  {d("$set", d("n", 1), "$inc", d("n", 1)), 40},
		"a field with $":   {d("$set", d("$n", 1)), 52},
		"an empty field":   {d("$set", d("", 1)), 56},
		"no fields at all": {d("$set", "n"), 9},
	} {
		t.Run(name, func(t *testing.T) {
			if test.code == 52 {
				beyondFerretDB(t, c, "the code of this error")
			}
			after, err := change(t, c, d("text", "x", "n", int64(1)), test.update)
			var failed mongo.WriteException
			require.ErrorAs(t, err, &failed)
			require.True(t, failed.HasErrorCode(test.code), "%v", err)
			assert.Equal(t, bson.M{"text": "x", "n": int64(1)}, after, "nothing was changed")
		})
	}
}

// Timestamps are in the order of the changes, also when the clock is set back, and no
// two are equal.
func TestTimestamps(t *testing.T) { onEach(t, testTimestamps) }

func testTimestamps(t *testing.T, c *mongo.Collection) {
	ctx := testContext(t)
	_, err := c.InsertOne(ctx, d("_id", "a"))
	require.NoError(t, err)
	var last bson.Timestamp
	for range 5 {
		_, err := c.UpdateOne(ctx, d("_id", "a"), d("$currentDate", d("t", d("$type", "timestamp"), "u", d("$type", "timestamp"))))
		require.NoError(t, err)
		var doc struct{ T, U bson.Timestamp }
		require.NoError(t, c.FindOne(ctx, d("_id", "a")).Decode(&doc))
		for _, next := range []bson.Timestamp{doc.T, doc.U} {
			require.True(t, next.T > last.T || next.T == last.T && next.I > last.I, "%v after %v", next, last)
			last = next
		}
		result, err := c.UpdateOne(ctx, d("_id", "a", "t", doc.T, "u", doc.T), d("$set", d("x", 1)))
		require.NoError(t, err)
		require.Zero(t, result.MatchedCount)
		result, err = c.UpdateOne(ctx, d("_id", "a", "t", doc.T, "u", doc.U), d("$unset", d("x", "")))
		require.NoError(t, err)
		require.EqualValues(t, 1, result.MatchedCount)
	}
}

func TestTimestampsWhenTheClockIsSetBack(t *testing.T) {
	store := mongowire.Memory()
	c, ctx := connect(t, mongowire.Start(t, store.Handle)), testContext(t)
	at := time.Unix(1_900_000_000, 0)
	store.SetClock(func(string) time.Time { return at })
	for i, want := range []bson.Timestamp{{T: 1_900_000_000, I: 1}, {T: 1_900_000_000, I: 2}, {T: 1_900_000_001, I: 1}} {
		_, err := c.UpdateOne(ctx, d("_id", "a"), d("$currentDate", d("t", d("$type", "timestamp"))), options.UpdateOne().SetUpsert(true))
		require.NoError(t, err)
		var doc struct{ T bson.Timestamp }
		require.NoError(t, c.FindOne(ctx, d("_id", "a")).Decode(&doc))
		require.Equal(t, want, doc.T)
		at = at.Add([]time.Duration{-time.Hour, time.Hour + time.Second, 0}[i])
	}
}

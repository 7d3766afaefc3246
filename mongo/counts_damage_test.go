package mongo_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/backend"
)

// A document that makes no sense is an error, in each of its repeats, and never a
// pass, until it is removed.
func TestDamagedCounts(t *testing.T) {
	n, at := "n:"+"day:86400:"+fmt.Sprint(day.Start.Unix()), "t:"+"day:86400:"+fmt.Sprint(day.Start.Unix())
	stamp := bson.Timestamp{T: 5, I: 1}
	for name, doc := range map[string]bson.D{
		"a count of text":            d(n, "5", at, stamp),
		"a negative count":           d(n, int64(-100), at, stamp),
		"a count of -1":              d(n, int64(-1), at, stamp),
		"a count of 0":               d(n, int32(0), at, stamp),
		"half a count":               d(n, 1.5, at, stamp),
		"a count that is none":       d(n, math.NaN(), at, stamp),
		"a count without end":        d(n, math.Inf(-1), at, stamp),
		"a count that is null":       d(n, nil, at, stamp),
		"a count that is a document": d(n, d("$gt", 5), at, stamp),
		"counts of a window":         d(n, bson.A{int64(1), int64(2)}, at, stamp),
		"a window without a time":    d("n:day:86400:0", int64(1)),
		"a window without a count":   d("t:day:86400:0", stamp),
		"a count in another's place": d("n:day:86400:0", int64(1), "n:day:86400:0", int64(2), "t:day:86400:0", stamp, "t:day:86400:86400", stamp),
		"a time in another's place":  d("n:day:86400:0", int64(1), "n:day:86400:86400", int64(2), "t:day:86400:0", stamp, "t:day:86400:0", stamp),
		"a time of zero":             d("n:day:86400:0", int64(1), "t:day:86400:0", bson.Timestamp{}),
		"another window of text":     d("n:day:86400:0", "1", "t:day:86400:0", stamp),
		"another time that is one":   d("n:day:86400:0", int64(1), "t:day:86400:0", bson.DateTime(5)),
		"spends that are text":       d("spends", "x"),
		"spends in a document":       d("spends", d("0", int64(1))),
		"an end that is no date":     d("purge_at", bson.Timestamp{T: 5}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWire(t)
			b, ctx := w.open(t, nil), testContext(t)
			coll := connect(t, w.URL()).Database("test").Collection("keys.counts")
			_, err := coll.InsertOne(ctx, append(d("_id", "damaged"), doc...))
			require.NoError(t, err)
			spends(t, b, spending("sound", 1, day), 1)
			for _, s := range []backend.Spend{spending("damaged", 1, day), spending("damaged", 1, day), spending("damaged", 2, day, burst)} {
				got, err := b.Spend(ctx, s)
				require.Error(t, err)
				require.ErrorContains(t, err, "damaged")
				require.Zero(t, got)
			}
			_, err = b.Counts(ctx, "damaged", []backend.Window{day})
			require.ErrorContains(t, err, "damaged")
			_, err = b.PurgeCounts(ctx, burst.Start, 10)
			require.NoError(t, err)
			require.NoError(t, b.ResetCounts(ctx, "damaged"))
			spends(t, b, spending("damaged", 1, day), 1)
			counted(t, b, "sound", []backend.Window{day}, 1)
			purged, err := b.PurgeCounts(ctx, day.End(), 10)
			require.NoError(t, err)
			require.Equal(t, 2, purged)
		})
	}
}

// What has no end, or no _id of ours, is not in the way of a purge.
func TestPurgePassesOverForeignCounts(t *testing.T) {
	t.Parallel()
	for name, keys := range servers(t, "foreigncounts") {
		t.Run(name, func(t *testing.T) {
			b, ctx := newBackend(t, keys, nil), testContext(t)
			foreign := []any{d("_id", "no end"), d("_id", "text", "purge_at", "2001-01-01"), d("_id", bson.NewObjectID(), "purge_at", now), d("_id", "null", "purge_at", nil)}
			for coll, purge := range map[string]func(context.Context, time.Time, int) (int, error){"counts": b.PurgeCounts, "usage": b.PurgeUsage} {
				_, err := keys.Database().Collection(keys.Name()+"."+coll).InsertMany(ctx, foreign)
				require.NoError(t, err)
				spends(t, b, spending("a", 1, day), 1)
				require.NoError(t, b.AddUsage(ctx, []backend.Addition{addition("ka", today, 1)}))
				n, err := purge(ctx, day.End(), 100)
				require.NoError(t, err)
				require.Equal(t, 1, n)
				n, err = purge(ctx, day.End(), 100)
				require.NoError(t, err)
				require.Zero(t, n)
				require.NoError(t, b.ResetCounts(ctx, "a"))
			}
		})
	}
}

// Numbers that other tools write as another type are the same numbers.
func TestForeignCounts(t *testing.T) {
	t.Parallel()
	for name, keys := range servers(t, "foreignnumbers") {
		t.Run(name, func(t *testing.T) {
			b, ctx := newBackend(t, keys, nil), testContext(t)
			key := "day:86400:" + fmt.Sprint(day.Start.Unix())
			for i, n := range []any{int32(99), float64(99), int64(99)} {
				id := fmt.Sprint("key-", i)
				doc := d("_id", id, "n:"+key, n, "t:"+key, bson.Timestamp{T: 1, I: 1}, "spends", bson.A{"x", 5.0, int32(6)}, "of a later version", "x")
				_, err := keys.Database().Collection("keys.counts").InsertOne(ctx, doc)
				require.NoError(t, err)
				counted(t, b, id, []backend.Window{day}, 99)
				spends(t, b, spending(id, 5, day), 99)
				spends(t, b, spending(id, 6, day), 99)
				spends(t, b, spending(id, 1, day), 100)
				denies(t, b, spending(id, 2, day), 100)
			}
		})
	}
}

package mongowire_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/keystore/internal/testserver/mongowire"
)

var roles = map[string]mongowire.Role{"standalone": mongowire.Standalone, "primary": mongowire.Primary, "mongos": mongowire.Mongos}

func TestInsertAndFind(t *testing.T) {
	for name, role := range roles {
		t.Run(name, func(t *testing.T) {
			c, ctx := memory(t, role), testContext(t)
			doc := d("_id", "a", "rev", int64(1), "data", bson.Binary{Data: []byte{0, '$', '.'}}, "at", time.UnixMilli(1).UTC())
			_, err := c.InsertOne(ctx, doc)
			require.NoError(t, err)
			_, err = c.InsertOne(ctx, d("_id", "a"))
			require.True(t, mongo.IsDuplicateKeyError(err), "%v", err)

			want, err := bson.Marshal(doc)
			require.NoError(t, err)
			got, err := c.FindOne(ctx, d("_id", "a")).Raw()
			require.NoError(t, err)
			assert.Equal(t, bson.Raw(want), got, "byte for byte")
			require.ErrorIs(t, c.FindOne(ctx, d("_id", "b")).Err(), mongo.ErrNoDocuments)
			require.ErrorIs(t, c.FindOne(ctx, d("_id", "a", "rev", int64(2))).Err(), mongo.ErrNoDocuments)
		})
	}
}

// 16 callers raise a revision by compare-and-swap: each win is one step.
func TestCompareAndSwapHasOneWinner(t *testing.T) {
	for name, role := range roles {
		t.Run(name, func(t *testing.T) {
			c, ctx := memory(t, role), testContext(t)
			_, err := c.InsertOne(ctx, d("_id", "k", "rev", int64(0)))
			require.NoError(t, err)
			revision := func() int64 {
				var doc struct{ Rev int64 }
				assert.NoError(t, c.FindOne(ctx, d("_id", "k")).Decode(&doc))
				return doc.Rev
			}
			var wins atomic.Int64
			var callers sync.WaitGroup
			for range 16 {
				callers.Go(func() {
					for range 100 {
						rev := revision()
						result, err := c.UpdateOne(ctx, d("_id", "k", "rev", rev), d("$set", d("rev", rev+1)))
						if assert.NoError(t, err) {
							wins.Add(result.ModifiedCount)
						}
					}
				})
			}
			callers.Wait()
			assert.Equal(t, wins.Load(), revision())
			assert.Positive(t, wins.Load())
		})
	}
}

func TestInsertRaceHasOneWinner(t *testing.T) {
	c, ctx := memory(t, mongowire.Primary), testContext(t)
	for round := range 20 {
		var wins atomic.Int64
		var callers sync.WaitGroup
		for caller := range 8 {
			callers.Go(func() {
				_, err := c.InsertOne(ctx, d("_id", round, "caller", caller))
				if err == nil {
					wins.Add(1)
				} else {
					assert.True(t, mongo.IsDuplicateKeyError(err), "%v", err)
				}
			})
		}
		callers.Wait()
		assert.EqualValues(t, 1, wins.Load())
	}
}

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
		"the same _id":        {d("x", 1), d("$set", d("_id", "a", "x", 2)), d("x", int32(2))},
		"several at once":     {d("x", 1, "y", 1), d("$set", d("x", 2), "$unset", d("y", ""), "$inc", d("z", 1)), d("x", int32(2), "z", int32(1))},
		"documents are data":  {d(), d("$set", d("x", d("$ne", ""))), d("x", bson.D{{Key: "$ne", Value: ""}})},
		"dots inside of data": {d(), d("$set", d("x", d("a.b", 1))), d("x", bson.D{{Key: "a.b", Value: int32(1)}})},
	} {
		t.Run(name, func(t *testing.T) {
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

func TestUpdateSaysWhatItDid(t *testing.T) { onEach(t, testUpdateSaysWhatItDid) }

func testUpdateSaysWhatItDid(t *testing.T, c *mongo.Collection) {
	ctx := testContext(t)
	upsert := options.UpdateOne().SetUpsert(true)
	counts := func(r *mongo.UpdateResult, err error) string {
		require.NoError(t, err)
		return fmt.Sprintf("matched %d, modified %d, upserted %v", r.MatchedCount, r.ModifiedCount, r.UpsertedID)
	}
	assert.Equal(t, "matched 0, modified 0, upserted <nil>", counts(c.UpdateOne(ctx, d("_id", "a"), d("$set", d("x", 1)))))
	assert.Equal(t, "matched 0, modified 0, upserted a", counts(c.UpdateOne(ctx, d("_id", "a", "rev", 1), d("$set", d("x", 1), "$setOnInsert", d("y", 2)), upsert)))
	assert.Equal(t, "matched 1, modified 0, upserted <nil>", counts(c.UpdateOne(ctx, d("_id", "a"), d("$set", d("x", 1)), upsert)))
	assert.Equal(t, "matched 1, modified 1, upserted <nil>", counts(c.UpdateOne(ctx, d("_id", "a"), d("$set", d("x", 2)), upsert)))

	var doc bson.D
	require.NoError(t, c.FindOne(ctx, d("_id", "a")).Decode(&doc))
	assert.Equal(t, d("_id", "a", "rev", int32(1), "x", int32(2), "y", int32(2)), doc, "an upsert takes the values of the filter")

	_, err := c.UpdateOne(ctx, d("_id", "a", "rev", 2), d("$set", d("x", 3)), upsert)
	assert.True(t, mongo.IsDuplicateKeyError(err), "the _id is taken by a document of another rev: %v", err)
}

func TestDelete(t *testing.T) { onEach(t, testDelete) }

func testDelete(t *testing.T, c *mongo.Collection) {
	ctx := testContext(t)
	for i := range 5 {
		_, err := c.InsertOne(ctx, d("_id", string(rune('a'+i)), "n", i))
		require.NoError(t, err)
	}
	one, err := c.DeleteOne(ctx, d("_id", "a", "n", 1))
	require.NoError(t, err)
	assert.Zero(t, one.DeletedCount)
	one, err = c.DeleteOne(ctx, d("_id", "a", "n", d("$lte", 0)))
	require.NoError(t, err)
	assert.EqualValues(t, 1, one.DeletedCount)
	many, err := c.DeleteMany(ctx, d("_id", d("$in", bson.A{"a", "b", "c", "e"}), "n", d("$lt", 3)))
	require.NoError(t, err)
	assert.EqualValues(t, 2, many.DeletedCount)
	assert.Equal(t, []string{"d", "e"}, ids(t, c, d(), options.Find().SetSort(d("_id", 1))))
}

func TestFindAndModify(t *testing.T) { onEach(t, testFindAndModify) }

func testFindAndModify(t *testing.T, c *mongo.Collection) {
	ctx := testContext(t)
	after := options.FindOneAndUpdate().SetReturnDocument(options.After)
	err := c.FindOneAndUpdate(ctx, d("_id", "a"), d("$inc", d("n", 1))).Err()
	require.ErrorIs(t, err, mongo.ErrNoDocuments)
	var doc bson.D
	require.NoError(t, c.FindOneAndUpdate(ctx, d("_id", "a"), d("$inc", d("n", 1)), after.SetUpsert(true)).Decode(&doc))
	assert.Equal(t, d("_id", "a", "n", int32(1)), doc)
	require.NoError(t, c.FindOneAndUpdate(ctx, d("_id", "a", "n", 1), d("$inc", d("n", 1))).Decode(&doc))
	assert.Equal(t, d("_id", "a", "n", int32(1)), doc, "as it was before")
	require.NoError(t, c.FindOneAndDelete(ctx, d("_id", "a", "n", 2)).Decode(&doc))
	assert.Equal(t, d("_id", "a", "n", int32(2)), doc)
	require.ErrorIs(t, c.FindOneAndDelete(ctx, d("_id", "a")).Err(), mongo.ErrNoDocuments)

	beyondFerretDB(t, c, "the field fields of findAndModify")
	_, err = c.InsertOne(ctx, d("_id", "a", "n", 1))
	require.NoError(t, err)
	require.NoError(t, c.FindOneAndDelete(ctx, d("_id", "a"), options.FindOneAndDelete().SetProjection(d("_id", 0))).Decode(&doc))
	assert.Equal(t, d("n", int32(1)), doc)
}

// ids returns the ids that a search finds, in its order.
func ids(t *testing.T, c *mongo.Collection, filter bson.D, o ...options.Lister[options.FindOptions]) []string {
	t.Helper()
	cursor, err := c.Find(testContext(t), filter, o...)
	require.NoError(t, err)
	var docs []struct {
		ID string `bson:"_id"`
	}
	require.NoError(t, cursor.All(testContext(t), &docs))
	found := []string{}
	for _, doc := range docs {
		found = append(found, doc.ID)
	}
	return found
}

func TestFilters(t *testing.T) { onEach(t, testFilters) }

func testFilters(t *testing.T, c *mongo.Collection) {
	ctx := testContext(t)
	at := func(ms int64) bson.DateTime { return bson.DateTime(ms) }
	for _, doc := range []bson.D{
		d("_id", "a", "owner", "o", "at", at(10), "n", int32(1)),
		d("_id", "b", "owner", "o", "at", at(20), "n", int64(2)),
		d("_id", "c", "owner", "p", "n", 2.5),
		d("_id", "d", "owner", "p", "at", nil, "gone", true),
		d("_id", "e", "owner", "q"),
	} {
		_, err := c.InsertOne(ctx, doc)
		require.NoError(t, err)
	}
	byID := options.Find().SetSort(d("_id", 1))
	for name, test := range map[string]struct {
		filter bson.D
		want   string
	}{
		"all":                          {d(), "abcde"},
		"equal":                        {d("owner", "o"), "ab"},
		"equal and after":              {d("owner", "o", "_id", d("$gt", "a")), "b"},
		"range of strings":             {d("_id", d("$gte", "b", "$lt", "d")), "bc"},
		"dates not after":              {d("at", d("$lte", at(10))), "a"},
		"dates from":                   {d("at", d("$gte", at(10))), "ab"},
		"a range has one type":         {d("at", d("$gt", int64(0))), ""},
		"numbers of all types":         {d("n", d("$gte", int32(2))), "bc"},
		"number as another type":       {d("n", 1.0), "a"},
		"null is also what is missing": {d("at", nil), "cde"},
		"exists":                       {d("at", d("$exists", true)), "abd"},
		"exists not":                   {d("gone", d("$exists", false)), "abce"},
		"in":                           {d("_id", d("$in", bson.A{"a", "x", "e"})), "ae"},
		"not equal":                    {d("owner", d("$ne", "o")), "cde"},
		"by id":                        {d("_id", "c"), "c"},
		"by id and more":               {d("_id", "c", "owner", "o"), ""},
		"explicitly equal":             {d("owner", d("$eq", "p")), "cd"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, strings.Join(ids(t, c, test.filter, byID), ""))
		})
	}
	t.Run("a document as data", func(t *testing.T) {
		beyondFerretDB(t, c, "names of fields that begin with '$'")
		_, err := c.InsertOne(ctx, d("_id", "f", "owner", d("$ne", "")))
		require.NoError(t, err)
		assert.Equal(t, []string{"f"}, ids(t, c, d("owner", d("$eq", d("$ne", "")))))
		_, err = c.DeleteOne(ctx, d("_id", "f"))
		require.NoError(t, err)
	})
	t.Run("order", func(t *testing.T) {
		assert.Equal(t, "edcba", strings.Join(ids(t, c, d(), options.Find().SetSort(d("_id", -1))), ""))
		assert.Equal(t, "ecdab", strings.Join(ids(t, c, d(), options.Find().SetSort(d("at", 1, "gone", 1, "owner", -1))), ""), "what is missing comes first")
		assert.Equal(t, "bc", strings.Join(ids(t, c, d("_id", d("$gt", "a")), options.Find().SetSort(d("_id", 1)).SetLimit(2)), ""))
	})
	t.Run("projection", func(t *testing.T) {
		var doc bson.D
		require.NoError(t, c.FindOne(ctx, d("_id", "a"), options.FindOne().SetProjection(d("n", 1, "at", 1))).Decode(&doc))
		assert.Equal(t, d("_id", "a", "at", at(10), "n", int32(1)), doc)
		doc = nil
		require.NoError(t, c.FindOne(ctx, d("_id", "a"), options.FindOne().SetProjection(d("owner", 0))).Decode(&doc))
		assert.Equal(t, d("_id", "a", "at", at(10), "n", int32(1)), doc)
	})
}

func TestCursorsGoOnWhereTheyStopped(t *testing.T) {
	sent := mongowire.Record(mongowire.Memory().Handle)
	c := connect(t, mongowire.Start(t, sent.Handle))
	var want []string
	for i := range 1000 {
		want = append(want, fmt.Sprintf("%04d", i))
		_, err := c.InsertOne(testContext(t), d("_id", want[i], "data", make([]byte, 64<<10)))
		require.NoError(t, err)
	}
	byID := options.Find().SetSort(d("_id", 1))
	assert.Equal(t, want, ids(t, c, d(), byID.SetBatchSize(999)))
	require.Len(t, sent.Commands("getMore"), 3, "a batch has 16 MiB at most")
	assert.Equal(t, want[:150], ids(t, c, d(), options.Find().SetSort(d("_id", 1)).SetLimit(150)))
	require.Len(t, sent.Commands("getMore"), 4, "and 101 documents at first")
}

func TestIndexes(t *testing.T) { onEach(t, testIndexes) }

func testIndexes(t *testing.T, c *mongo.Collection) {
	ctx := testContext(t)
	create := func(keys bson.D, o *options.IndexOptionsBuilder) error {
		_, err := c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: keys, Options: o})
		return err
	}
	code := func(err error) int32 {
		var failed mongo.CommandError
		require.ErrorAs(t, err, &failed)
		return failed.Code
	}
	require.NoError(t, create(d("owner", 1, "_id", 1), nil))
	require.NoError(t, create(d("owner", 1, "_id", 1), nil), "again")
	require.NoError(t, create(d("purge_at", 1), options.Index().SetSparse(true)))
	assert.EqualValues(t, 85, code(create(d("owner", 1, "_id", 1), options.Index().SetName("other"))), "another name")
	assert.EqualValues(t, 86, code(create(d("x", 1), options.Index().SetName("purge_at_1"))), "another key")
	require.NoError(t, create(d("owner", -1), nil), "another direction is another index")

	specs, err := c.Indexes().ListSpecifications(ctx)
	require.NoError(t, err)
	var names []string
	for _, spec := range specs {
		names = append(names, spec.Name)
	}
	assert.ElementsMatch(t, []string{"_id_", "owner_1__id_1", "purge_at_1", "owner_-1"}, names)

	require.NoError(t, c.Indexes().DropOne(ctx, "purge_at_1"))
	require.NoError(t, create(d("x", 1), options.Index().SetName("purge_at_1")))
	assert.EqualValues(t, 27, code(c.Indexes().DropOne(ctx, "none")))

	beyondFerretDB(t, c, "the options of an index")
	require.NoError(t, create(d("due", 1), options.Index().SetSparse(true)))
	assert.Contains(t, []int32{85, 86}, code(create(d("due", 1), nil)), "not sparse: 86 since MongoDB 5.0")
	assert.EqualValues(t, 85, code(create(d("due", 1), options.Index().SetSparse(true).SetExpireAfterSeconds(0))), "TTL")
}

func TestCollectionsComeAndGo(t *testing.T) {
	c, ctx := memory(t), testContext(t)
	other := c.Database().Collection("other")
	for _, coll := range []*mongo.Collection{c, other} {
		_, err := coll.InsertOne(ctx, d("_id", "a"))
		require.NoError(t, err)
	}
	names, err := c.Database().ListCollectionNames(ctx, d())
	require.NoError(t, err)
	assert.Equal(t, []string{"keys", "other"}, names)
	names, err = c.Database().ListCollectionNames(ctx, d("name", "other"))
	require.NoError(t, err)
	assert.Equal(t, []string{"other"}, names)
	require.NoError(t, other.Drop(ctx))
	require.NoError(t, other.Drop(ctx), "the driver takes it that there is none")
	assert.Empty(t, ids(t, other, d()))
	assert.Equal(t, []string{"a"}, ids(t, c, d()))
	require.NoError(t, c.Database().Drop(ctx))
	assert.Empty(t, ids(t, c, d()))
}

// Two shards whose clocks are 3 s apart set the time of their own documents.
func TestCurrentDateIsTheServers(t *testing.T) {
	store := mongowire.Memory()
	c, ctx := connect(t, mongowire.Start(t, store.Handle)), testContext(t)
	now := time.UnixMilli(1_700_000_000_123)
	store.SetClock(func(id string) time.Time {
		if id == "b" {
			return now.Add(3 * time.Second)
		}
		return now
	})
	for _, id := range []string{"a", "b"} {
		_, err := c.UpdateOne(ctx, d("_id", id), d("$currentDate", d("changed", true)), options.UpdateOne().SetUpsert(true))
		require.NoError(t, err)
	}
	docs := store.Documents("test.keys")
	require.Len(t, docs, 2)
	assert.Equal(t, now.UnixMilli(), docs[0].Lookup("changed").DateTime())
	assert.Equal(t, now.UnixMilli()+3000, docs[1].Lookup("changed").DateTime())
}

// fakeTB notes that a test would have failed.
type fakeTB struct {
	testing.TB
	mu     sync.Mutex
	failed []string
}

func (f *fakeTB) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = append(f.failed, fmt.Sprintf(format, args...))
}

func TestWhatIsNotImplementedFailsTheTest(t *testing.T) {
	for name, run := range map[string]func(*mongo.Collection) error{
		"a command": func(c *mongo.Collection) error {
			_, err := c.CountDocuments(testContext(t), d())
			return err
		},
		"a field": func(c *mongo.Collection) error {
			return c.FindOne(testContext(t), d(), options.FindOne().SetSkip(1)).Err()
		},
		"an operator in a filter": func(c *mongo.Collection) error {
			return c.FindOne(testContext(t), d("a", d("$regex", "x"))).Err()
		},
		"a condition": func(c *mongo.Collection) error {
			return c.FindOne(testContext(t), d("$or", bson.A{d("a", 1)})).Err()
		},
		"a path": func(c *mongo.Collection) error {
			return c.FindOne(testContext(t), d("a.b", 1)).Err()
		},
		"an operator in an update": func(c *mongo.Collection) error {
			_, err := c.UpdateOne(testContext(t), d(), d("$push", d("a", 1)))
			return err
		},
		"a replacement": func(c *mongo.Collection) error {
			_, err := c.ReplaceOne(testContext(t), d(), d("a", 1))
			return err
		},
		"a pipeline": func(c *mongo.Collection) error {
			_, err := c.UpdateOne(testContext(t), d(), bson.A{d("$set", d("a", 1))})
			return err
		},
		"a unique index": func(c *mongo.Collection) error {
			_, err := c.Indexes().CreateOne(testContext(t), mongo.IndexModel{Keys: d("a", 1), Options: options.Index().SetUnique(true)})
			return err
		},
		"a transaction": func(c *mongo.Collection) error {
			session, err := c.Database().Client().StartSession()
			require.NoError(t, err)
			defer session.EndSession(testContext(t))
			require.NoError(t, session.StartTransaction())
			return mongo.WithSession(testContext(t), session, func(ctx context.Context) error {
				_, err := c.InsertOne(ctx, d("_id", "a"))
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			fake := &fakeTB{TB: t}
			c := connect(t, mongowire.Start(fake, mongowire.Memory().Handle, mongowire.Primary))
			_, err := c.InsertOne(testContext(t), d("_id", "x", "a", 1))
			require.NoError(t, err)
			var failed mongo.CommandError
			require.True(t, errors.As(run(c), &failed))
			assert.EqualValues(t, 238, failed.Code)
			assert.NotEmpty(t, fake.failed)
		})
	}
}

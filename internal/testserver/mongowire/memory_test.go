package mongowire_test

import (
	"context"
	"errors"
	"fmt"
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
			_, err := c.UpdateOne(testContext(t), d(), d("$pull", d("a", 1)))
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

package stores

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongodb "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"example.com/keystore/backend"
	"example.com/keystore/internal/testserver/mongowire"
	"example.com/keystore/mongo"
)

// openMongo starts a server inside this process that speaks the protocol and answers
// at once from memory: what is measured is the way through the client library, and
// nothing is said about a MongoDB server. That server has no indexes: it finds a
// document by its _id at once, and looks through all for anything else.
func openMongo(tb testing.TB, keys int) *Store {
	tb.Helper()
	documents := mongowire.Memory()
	server := mongowire.Start(tb, documents.Handle, mongowire.Primary)
	s := &Store{tb: tb, Far: true}
	client, err := mongodb.Connect(options.Client().ApplyURI(server.URL()).SetRetryWrites(false))
	s.must(err)
	s.closing(func() error { return client.Disconnect(context.Background()) })
	db := client.Database("benchmarks")
	back, err := mongo.New(db.Collection("keys"), nil)
	s.must(err)
	journaled := true
	s.Backend = back
	s.Bare = bareMongo{
		keys:    db.Collection("keys"),
		records: db.Collection("bare", options.Collection().SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journaled})),
	}
	tb.Cleanup(s.Close)
	s.must(back.EnsureIndexes(context.Background()))
	// Whoever watches asks for the changes of the last 10 s before the newest one; after
	// filling these would be all.
	documents.SetClock(func(string) time.Time { return time.Now().Add(-time.Hour) })
	s.Tokens, err = fill(back, keys)
	s.must(err)
	documents.SetClock(func(string) time.Time { return time.Now() })
	s.must(back.Create(context.Background(), backend.Record{ID: "newest", Owner: "nobody", Data: []byte("nothing")}))
	return s
}

// bareMongo keeps documents of _id, owner and value. Writes are acknowledged as
// keystore's are: by a majority, journalled.
type bareMongo struct{ keys, records *mongodb.Collection }

func fields(pairs ...any) bson.D {
	d := bson.D{}
	for i := 0; i < len(pairs); i += 2 {
		d = append(d, bson.E{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return d
}

// Reader is FindOne, and decodes nothing.
func (m bareMongo) Reader(ids []string) (func(i int) (int, error), error) {
	return func(i int) (int, error) { return find(m.keys, ids[i]) }, nil
}

func find(coll *mongodb.Collection, id string) (int, error) {
	ctx, cancel := bounded()
	defer cancel()
	doc, err := coll.FindOne(ctx, fields("_id", id)).Raw()
	if errors.Is(err, mongodb.ErrNoDocuments) {
		return 0, nil
	}
	return len(doc), err
}

// Put is an upsert by _id.
func (m bareMongo) Put(id, owner string, value []byte) error {
	return m.set(id, fields("owner", owner, "value", value), true)
}

func (m bareMongo) set(id string, content bson.D, upsert bool) error {
	ctx, cancel := bounded()
	defer cancel()
	result, err := m.records.UpdateOne(ctx, fields("_id", id), fields("$set", content), options.UpdateOne().SetUpsert(upsert))
	if err == nil && result.MatchedCount+result.UpsertedCount == 0 {
		err = errMissing
	}
	return err
}

// Replace is FindOne and UpdateOne.
func (m bareMongo) Replace(id, _ string, value []byte) error {
	n, err := find(m.records, id)
	if err == nil && n == 0 {
		err = errMissing
	}
	if err != nil {
		return err
	}
	return m.set(id, fields("value", value), false)
}

// Page is Find with a sort and a limit.
func (m bareMongo) Page(owner string, limit int) (int, error) {
	ctx, cancel := bounded()
	defer cancel()
	found, err := m.records.Find(ctx, fields("owner", owner), options.Find().SetSort(fields("_id", 1)).SetLimit(int64(limit)))
	if err != nil {
		return 0, err
	}
	var docs []bson.Raw
	err = found.All(ctx, &docs)
	return len(docs), err
}

// Delete is DeleteMany of a list.
func (m bareMongo) Delete(_ string, ids []string) error {
	ctx, cancel := bounded()
	defer cancel()
	_, err := m.records.DeleteMany(ctx, fields("_id", fields("$in", ids)))
	return err
}

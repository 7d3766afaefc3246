package mongo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"example.com/keystore/backend"
)

// Writes are sent as commands of this package's own, because the client library
// repeats those of its methods on its own account where it can: as often as the
// deadline allows, and with an error in the end that may be of an attempt which
// had no effect while an earlier one had. A command is sent once, so that its
// answer, and its failure, is that of the only attempt; the library repeats it
// only where the server wants the user to log in again and executed nothing, and,
// unless the client has RetryWrites or RetryReads off, after an error labelled
// SystemOverloadedError and RetryableError. Nor does it need what servers other
// than MongoDB lack for such repeats. Keystore sends a write again itself if its
// outcome is unknown.

// durable is the write concern of every write.
var durable = doc("w", "majority", "j", true)

// statement is one update of one document, which the filter names by _id.
func statement(filter, change bson.D) bson.D { return doc("q", filter, "u", change) }

// updates sends updates of single documents in one command, each of them on its
// own, and returns how many found their document.
func (b *Backend) updates(ctx context.Context, coll *mongo.Collection, all ...bson.D) (int, error) {
	reply, err := b.write(ctx, doc("update", coll.Name(), "updates", all, "ordered", false, "writeConcern", durable))
	return documentsFound(reply), err
}

// deletes removes single documents in one command, and returns how many it has.
func (b *Backend) deletes(ctx context.Context, coll *mongo.Collection, filters ...bson.D) (int, error) {
	all := make([]bson.D, len(filters))
	for i, filter := range filters {
		all[i] = doc("q", filter, "limit", 1)
	}
	reply, err := b.write(ctx, doc("delete", coll.Name(), "deletes", all, "ordered", false, "writeConcern", durable))
	return documentsFound(reply), err
}

// upsert changes the document that the filter names by _id, or makes it, and
// returns it as it is then. If it is there and does not meet the rest of the
// filter, the error is a duplicate key.
func (b *Backend) upsert(ctx context.Context, coll *mongo.Collection, filter, change bson.D) (bson.Raw, error) {
	reply, err := b.write(ctx, doc("findAndModify", coll.Name(), "query", filter, "update", change, "upsert", true, "new", true, "writeConcern", durable))
	if err != nil {
		return nil, err
	}
	after, ok := reply.Lookup("value").DocumentOK()
	if !ok {
		return nil, errors.New("mongo: the server does not tell what it has written")
	}
	return after, nil
}

// writeTries is how often a write is sent while the server refuses it only for
// the moment.
const writeTries = 3

// write sends a command until it was executed or may have been. With an error
// too, it returns the reply, if there was one that counts documents.
func (b *Backend) write(ctx context.Context, command bson.D) (bson.Raw, error) {
	for try := 1; ; try++ {
		reply, err := b.writeOnce(ctx, command)
		if err == nil || !passing(err) || try == writeTries || backoff(ctx, try) != nil {
			return reply, err
		}
	}
}

func (b *Backend) writeOnce(ctx context.Context, command bson.D) (bson.Raw, error) {
	reply, err := b.keys.Database().RunCommand(ctx, command).Raw()
	if err == nil {
		return reply, nil
	}
	var written mongo.WriteException
	if errors.As(err, &written) {
		reply = written.Raw
	}
	err = writeFailed(err)
	if documentsFound(reply) > 0 {
		err = partial{err}
	}
	return reply, err
}

// documentsFound is how many documents a write found, or has made.
func documentsFound(reply bson.Raw) int {
	n, _ := integer(reply.Lookup("n"))
	return int(n)
}

// find asks for documents in the order of sort, at most limit of them.
func (b *Backend) find(ctx context.Context, coll *mongo.Collection, filter, sort bson.D, limit int, fields ...string) (*mongo.Cursor, error) {
	o := options.Find().SetSort(sort).SetLimit(int64(limit)).SetBatchSize(int32(limit))
	if len(fields) > 0 {
		projection := bson.D{}
		for _, f := range fields {
			projection = append(projection, bson.E{Key: f, Value: 1})
		}
		o.SetProjection(projection)
	}
	return coll.Find(ctx, filter, o)
}

// load reads a record as a majority knows it. Its errors are those of decode, or
// describe a failure.
func (b *Backend) load(ctx context.Context, from *mongo.Collection, id string) (backend.Record, error) {
	raw, err := from.FindOne(ctx, bson.D{{Key: fieldID, Value: id}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return backend.Record{}, backend.ErrNotFound
	}
	if err != nil {
		return backend.Record{}, fmt.Errorf("mongo: %w", err)
	}
	r, err := decode(raw)
	if r.ID != id {
		return backend.Record{}, errors.New("mongo: the server answered with another document than was asked for")
	}
	return r, err
}

// serverTime is the clock of the server that answers.
func (b *Backend) serverTime(ctx context.Context) (time.Time, error) {
	var hello struct {
		LocalTime time.Time `bson:"localTime"`
	}
	err := b.keys.Database().RunCommand(ctx, doc("hello", 1)).Decode(&hello)
	if err != nil {
		return time.Time{}, fmt.Errorf("mongo: asking for the time: %w", err)
	}
	if hello.LocalTime.IsZero() {
		return time.Time{}, errors.New("mongo: the server does not tell its time")
	}
	return hello.LocalTime, nil
}

// backoff waits for a random time that grows with each try, up to 64 ms.
func backoff(ctx context.Context, try int) error {
	wait := time.NewTimer(rand.N(time.Millisecond << min(try, 6)))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

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

// statement is one update of one document; the filter holds _id and rev.
func statement(filter, change bson.D) bson.D { return doc("q", filter, "u", change) }

// updates sends updates of single documents in one command, each of them on its
// own, and returns how many found their document.
func (b *Backend) updates(ctx context.Context, all ...bson.D) (int, error) {
	return b.write(ctx, doc("update", b.keys.Name(), "updates", all, "ordered", false, "writeConcern", durable))
}

// writeTries is how often a write is sent while the server refuses it only for
// the moment.
const writeTries = 3

// write sends a command until it was executed or may have been.
func (b *Backend) write(ctx context.Context, command bson.D) (int, error) {
	for try := 1; ; try++ {
		n, err := b.writeOnce(ctx, command)
		if err == nil || !passing(err) || try == writeTries || backoff(ctx, try) != nil {
			return n, err
		}
	}
}

// writeOnce sends a command once. With an error too, it returns how many
// documents were found, if the server has said so.
func (b *Backend) writeOnce(ctx context.Context, command bson.D) (int, error) {
	var reply struct {
		N int `bson:"n"`
	}
	err := b.keys.Database().RunCommand(ctx, command).Decode(&reply)
	if err == nil {
		return reply.N, nil
	}
	var written mongo.WriteException
	if errors.As(err, &written) {
		_ = bson.Unmarshal(written.Raw, &reply)
	}
	err = writeFailed(err)
	if reply.N > 0 {
		err = partial{err}
	}
	return reply.N, err
}

// find asks for documents in the order of sort, at most limit of them.
func (b *Backend) find(ctx context.Context, filter, sort bson.D, limit int, fields ...string) (*mongo.Cursor, error) {
	o := options.Find().SetSort(sort).SetLimit(int64(limit)).SetBatchSize(int32(limit))
	if len(fields) > 0 {
		projection := bson.D{}
		for _, f := range fields {
			projection = append(projection, bson.E{Key: f, Value: 1})
		}
		o.SetProjection(projection)
	}
	return b.keys.Find(ctx, filter, o)
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

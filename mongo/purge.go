package mongo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Purge implements [backend.Backend]. It works in chunks of 64 records, the
// longest due first.
func (b *Backend) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	n, err := b.purge(ctx, b.keys, doc(fieldRev, intact), now, limit, func(ctx context.Context, due []dueDocument, isDue bson.D) (int, error) {
		statements := make([]bson.D, len(due))
		for i, d := range due {
			statements[i] = statement(doc(fieldID, d.ID, fieldRev, d.Rev, fieldPurgeAt, isDue), tombstone())
		}
		return b.updates(ctx, b.keys, statements...)
	})
	if err == nil {
		b.sweep(ctx)
	}
	return n, err
}

// purgeDocuments deletes documents of the collections beside the keys that are
// due. It passes over what has no _id of ours.
func (b *Backend) purgeDocuments(ctx context.Context, coll *mongo.Collection, now time.Time, limit int) (int, error) {
	return b.purge(ctx, coll, doc(fieldID, doc("$gte", "")), now, limit, func(ctx context.Context, due []dueDocument, isDue bson.D) (int, error) {
		return b.deleteDue(ctx, coll, due, doc(fieldPurgeAt, isDue))
	})
}

// remove removes documents if they are still due, and returns how many it has.
type remove func(ctx context.Context, due []dueDocument, isDue bson.D) (int, error)

// purge removes documents that the filter takes and that are due, in chunks, the
// longest due first.
func (b *Backend) purge(ctx context.Context, coll *mongo.Collection, filter bson.D, now time.Time, limit int, remove remove) (int, error) {
	n, err := b.purgeChunks(ctx, coll, filter, now, limit, remove)
	if err != nil && n > 0 {
		err = partial{err}
	}
	return n, b.answer(err)
}

func (b *Backend) purgeChunks(ctx context.Context, coll *mongo.Collection, filter bson.D, now time.Time, limit int, remove remove) (int, error) {
	ctx, err := b.enter(ctx)
	if err != nil {
		return 0, err
	}
	until, err := date(now)
	if err != nil {
		return 0, refused(err)
	}
	isDue := doc("$lte", until)
	filter = append(filter, bson.E{Key: fieldPurgeAt, Value: isDue})
	count := 0
	for idle := 0; count < limit; {
		want := min(chunkLen, limit-count)
		due, err := b.due(ctx, coll, filter, want)
		if err != nil {
			return count, err
		}
		if len(due) == 0 {
			break
		}
		n, err := remove(ctx, due, isDue)
		count += n
		if err != nil {
			return count, err
		}
		if n > 0 && len(due) < want {
			break // that was all, or the next Purge finds the rest
		}
		if idle++; n > 0 {
			idle = 0
		} else if err := backoff(ctx, idle); err != nil { // others were faster
			return count, refused(contextError(err))
		}
	}
	return count, nil
}

// dueDocument is what Purge reads of a document, to name it again.
type dueDocument struct {
	ID  bson.RawValue `bson:"_id"`
	Rev bson.RawValue `bson:"rev"`
}

// due returns documents with a purge_at, the earliest first.
func (b *Backend) due(ctx context.Context, coll *mongo.Collection, filter bson.D, limit int) ([]dueDocument, error) {
	cursor, err := b.find(ctx, coll, filter, doc(fieldPurgeAt, 1), limit, fieldRev)
	if err != nil {
		return nil, refused(fmt.Errorf("mongo: %w", err))
	}
	var due []dueDocument
	if err := cursor.All(ctx, &due); err != nil {
		return nil, refused(fmt.Errorf("mongo: %w", err))
	}
	return due, nil
}

// deleteDue deletes documents if they still meet the condition.
func (b *Backend) deleteDue(ctx context.Context, coll *mongo.Collection, due []dueDocument, condition bson.D) (int, error) {
	filters := make([]bson.D, len(due))
	for i, d := range due {
		filters[i] = append(doc(fieldID, d.ID), condition...)
	}
	return b.deletes(ctx, coll, filters...)
}

const (
	tombstoneLife = 10 * time.Minute // by the server's clock
	sweepLen      = 1024             // how many tombstones one sweep removes at most
)

// sweepOdds is how many Deletes there are to one sweep of theirs: far fewer than
// what one sweep removes.
var sweepOdds = 64

// sweepSometimes keeps the tombstones of programs that delete and never purge
// from piling up.
func (b *Backend) sweepSometimes(ctx context.Context) {
	if rand.IntN(sweepOdds) == 0 {
		b.sweep(ctx)
	}
}

// sweep removes tombstones that no watcher can have missed without knowing it.
// Whoever calls it has done its own work: what fails here is done another time.
func (b *Backend) sweep(ctx context.Context) {
	if err := b.removeTombstones(ctx); err != nil && ctx.Err() == nil && !b.isClosed() {
		b.log.Warn("old tombstones could not be removed", "error", err)
	}
}

func (b *Backend) removeTombstones(ctx context.Context) error {
	ctx, err := b.enter(ctx)
	if err != nil {
		return err
	}
	now, err := b.serverTime(ctx)
	if err != nil {
		return err
	}
	old := doc("$lte", bson.NewDateTimeFromTime(now.Add(-tombstoneLife)))
	due, err := b.due(ctx, b.keys, doc(fieldRev, int64(0), fieldPurgeAt, old), sweepLen)
	if err != nil || len(due) == 0 {
		return err
	}
	for chunk := range slices.Chunk(due, chunkLen) {
		if _, err := b.deleteDue(ctx, b.keys, chunk, doc(fieldRev, int64(0), fieldPurgeAt, old)); err != nil {
			return err
		}
	}
	return nil
}

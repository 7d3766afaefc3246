package mongo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Purge implements [backend.Backend]. It works in chunks of 64 records, the
// longest due first.
func (b *Backend) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	n, err := b.purge(ctx, now, limit)
	if err != nil && n > 0 {
		err = partial{err}
	}
	return n, b.answer(err)
}

func (b *Backend) purge(ctx context.Context, now time.Time, limit int) (int, error) {
	ctx, err := b.enter(ctx)
	if err != nil {
		return 0, err
	}
	until, err := date(now)
	if err != nil {
		return 0, refused(err)
	}
	isDue := doc("$lte", until)
	count := 0
	for idle := 0; count < limit; {
		want := min(chunkLen, limit-count)
		due, err := b.due(ctx, doc(fieldRev, intact, fieldPurgeAt, isDue), want)
		if err != nil {
			return count, err
		}
		if len(due) == 0 {
			break
		}
		statements := make([]bson.D, len(due))
		for i, d := range due {
			statements[i] = statement(doc(fieldID, d.ID, fieldRev, d.Rev, fieldPurgeAt, isDue), tombstone())
		}
		n, err := b.updates(ctx, statements...)
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
	b.sweep(ctx)
	return count, nil
}

// dueDocument is what Purge reads of a document, to name it again.
type dueDocument struct {
	ID  bson.RawValue `bson:"_id"`
	Rev bson.RawValue `bson:"rev"`
}

// due returns documents with a purge_at, the earliest first.
func (b *Backend) due(ctx context.Context, filter bson.D, limit int) ([]dueDocument, error) {
	cursor, err := b.find(ctx, filter, doc(fieldPurgeAt, 1), limit, fieldRev)
	if err != nil {
		return nil, refused(fmt.Errorf("mongo: %w", err))
	}
	var due []dueDocument
	if err := cursor.All(ctx, &due); err != nil {
		return nil, refused(fmt.Errorf("mongo: %w", err))
	}
	return due, nil
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
	now, err := b.serverTime(ctx)
	if err != nil {
		return err
	}
	old := doc("$lte", bson.NewDateTimeFromTime(now.Add(-tombstoneLife)))
	due, err := b.due(ctx, doc(fieldRev, int64(0), fieldPurgeAt, old), sweepLen)
	if err != nil || len(due) == 0 {
		return err
	}
	for chunk := range slices.Chunk(due, chunkLen) {
		deletes := make([]bson.D, len(chunk))
		for i, d := range chunk {
			deletes[i] = doc("q", doc(fieldID, d.ID, fieldRev, int64(0), fieldPurgeAt, old), "limit", 1)
		}
		if _, err := b.write(ctx, doc("delete", b.keys.Name(), "deletes", deletes, "ordered", false, "writeConcern", durable)); err != nil {
			return err
		}
	}
	return nil
}

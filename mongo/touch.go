package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// chunkLen is how many documents one command changes. FerretDB 1.24 holds one of
// its 100 connections to SQLite for each until the command has ended, and hangs
// for good when there are more.
const chunkLen = 64

// Touch implements [backend.Backend]. It works in chunks of 64 ids.
func (b *Backend) Touch(ctx context.Context, used map[string]time.Time) error {
	return b.answer(b.touch(ctx, used))
}

func (b *Backend) touch(ctx context.Context, used map[string]time.Time) error {
	ctx, err := b.enter(ctx)
	if err != nil {
		return err
	}
	statements := make([]bson.D, 0, len(used))
	for id, t := range used {
		if t.IsZero() {
			continue
		}
		at, err := date(t)
		if err != nil {
			return refused(err)
		}
		statements = append(statements, statement(doc(fieldID, id, fieldRev, intact), doc("$max", doc(fieldLastUsed, at))))
	}
	for i := 0; i < len(statements); i += chunkLen {
		err := b.touchChunk(ctx, statements[i:min(i+chunkLen, len(statements))])
		if err != nil && i > 0 {
			return partial{err}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Backend) touchChunk(ctx context.Context, statements []bson.D) error {
	ctx, err := b.enter(ctx)
	if err != nil {
		return err
	}
	_, err = b.updates(ctx, b.keys, statements...)
	return err
}

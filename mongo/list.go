package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"example.com/keystore/backend"
)

// maxPageBytes ends a page early, so that a full one of large records does not
// take 64 MiB.
const maxPageBytes = 4 << 20

// List implements [backend.Backend]. A page ends at about 4 MiB of data. A
// document that is no record of ours is in it without Data.
func (b *Backend) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	ctx, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	if o.Limit < 1 {
		return nil, nil // for the server, 0 is no limit
	}
	page, err := b.page(ctx, o)
	if err != nil {
		return nil, b.readAnswer(fmt.Errorf("mongo: %w", err))
	}
	return page, nil
}

func (b *Backend) page(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	filter := doc(fieldID, doc("$gt", o.After), fieldRev, present)
	if o.Owner != "" {
		filter = append(filter, bson.E{Key: fieldOwner, Value: o.Owner})
	}
	cursor, err := b.find(ctx, b.keys, filter, doc(fieldID, 1), min(o.Limit, backend.MaxLimit))
	if err != nil {
		return nil, err
	}
	defer cursor.Close(ctx) //nolint:errcheck // what matters has been read
	var page []backend.Record
	for size := 0; size < maxPageBytes && cursor.Next(ctx); {
		r, err := decode(cursor.Current)
		switch {
		case errors.Is(err, backend.ErrNotFound):
			continue
		case err != nil && r.ID == "":
			continue
		case err != nil:
			r = backend.Record{ID: r.ID, Owner: o.Owner}
		}
		page = append(page, r)
		size += len(cursor.Current)
	}
	return page, cursor.Err()
}

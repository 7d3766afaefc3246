package badger

import (
	"context"
	"errors"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
)

// maxPageBytes ends a page early, so that a full one of large records does not
// take 64 MiB.
const maxPageBytes = 4 << 20

// List implements [backend.Backend]. A page ends at about 4 MiB of data.
func (b *Backend) List(ctx context.Context, o backend.ListOptions) ([]backend.Record, error) {
	return read(ctx, b, func(txn *badgerdb.Txn) ([]backend.Record, error) {
		if o.Owner == "" {
			return b.page(ctx, txn, o, b.keys.prefix(kindRecord), func(id string, item *badgerdb.Item) (backend.Record, error) {
				return decode(txn, id, item)
			})
		}
		return b.page(ctx, txn, o, b.keys.owned(o.Owner), func(id string, _ *badgerdb.Item) (backend.Record, error) {
			return b.load(txn, id)
		})
	})
}

// page lists the records whose ids stand behind prefix in the keys, as get
// finds them.
func (b *Backend) page(ctx context.Context, txn *badgerdb.Txn, o backend.ListOptions, prefix []byte, get func(string, *badgerdb.Item) (backend.Record, error)) ([]backend.Record, error) {
	it := txn.NewIterator(badgerdb.IteratorOptions{Prefix: prefix}) // no prefetch: it would start a goroutine per value
	defer it.Close()
	var page []backend.Record
	size := 0
	for it.Seek(append(prefix[:len(prefix):len(prefix)], o.After...)); it.Valid(); it.Next() {
		if len(page) >= min(o.Limit, backend.MaxLimit) || size >= maxPageBytes {
			break
		}
		if ctx.Err() != nil {
			return nil, contextError(ctx)
		}
		id := string(it.Item().Key()[len(prefix):])
		if id == o.After {
			continue
		}
		r, err := get(id, it.Item())
		if damaged(err) { // see Get
			r, err = backend.Record{ID: id, Owner: o.Owner}, nil
		}
		if errors.Is(err, backend.ErrNotFound) || err == nil && o.Owner != "" && r.Owner != o.Owner {
			continue // an index entry that a damaged record has left
		}
		if err != nil {
			return nil, err
		}
		page = append(page, r)
		size += len(r.Data)
	}
	return page, nil
}

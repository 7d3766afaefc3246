package badger

import (
	"bytes"
	"context"
	"errors"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// Purge implements [backend.Backend]. It works in chunks of 128 records, the
// longest due first, and passes over records that are damaged.
func (b *Backend) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	if err := b.enter(ctx); err != nil {
		return 0, refused(err)
	}
	b.calls.RUnlock()
	until, err := envelope.TimeOf(now)
	if err != nil {
		return 0, refused(err)
	}
	purged := 0
	var last entry
	for purged < limit {
		due, err := b.due(ctx, last, until, min(chunkLen, limit-purged))
		if err != nil || len(due) == 0 {
			return purged, err
		}
		n, err := b.writeChunk(ctx, halfReserve, due, b.purge)
		purged += n
		if err != nil && purged > 0 {
			return purged, partial{err}
		}
		if err != nil {
			return 0, err
		}
		last = due[len(due)-1]
	}
	return purged, nil
}

// due returns up to limit entries of the purge index, later than last and not
// later than until. To go on from last spares a walk over the deleted ones,
// which Badger keeps until it compacts them away.
func (b *Backend) due(ctx context.Context, last entry, until envelope.Time, limit int) ([]entry, error) {
	return read(ctx, b, func(txn *badgerdb.Txn) ([]entry, error) {
		it := txn.NewIterator(badgerdb.IteratorOptions{Prefix: b.keys.prefix(kindPurge)})
		defer it.Close()
		from := b.keys.purge(last.at, last.id)
		var due []entry
		for it.Seek(from); it.Valid() && len(due) < limit; it.Next() {
			if ctx.Err() != nil {
				return nil, contextError(ctx)
			}
			key := it.Item().Key()
			e, ok := b.keys.purgeEntry(key)
			if !ok || bytes.Equal(key, from) {
				continue
			}
			if e.at > until {
				break
			}
			due = append(due, e)
		}
		return due, nil
	})
}

// purge deletes the record of a purge index entry if the entry still tells its
// purge time. An entry that does not is deleted itself, and nothing else.
func (b *Backend) purge(txn *badgerdb.Txn, e entry) ([]string, error) {
	r, err := b.load(txn, e.id)
	if err == nil {
		at, err := envelope.TimeOf(r.PurgeAt)
		if err != nil {
			return nil, err
		}
		if at == e.at {
			return []string{e.id}, b.remove(txn, r)
		}
	} else if damaged(err) {
		return nil, nil
	} else if !errors.Is(err, backend.ErrNotFound) {
		return nil, err
	}
	stale := b.keys.purge(e.at, e.id)
	if _, err := txn.Get(stale); errors.Is(err, badgerdb.ErrKeyNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return nil, txn.Delete(stale)
}

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
	count := 0
	last, entered := b.shared.purged.begin(until)
	for count < limit {
		due, err := b.due(ctx, last, until, min(chunkLen, limit-count))
		if err != nil || len(due) == 0 {
			return count, err
		}
		n, err := b.writeChunk(ctx, halfReserve, due, b.purge)
		count += n
		if err != nil && count > 0 {
			return count, partial{err}
		}
		if err != nil {
			return 0, err
		}
		last = due[len(due)-1]
		b.shared.purged.advance(last, entered)
	}
	return count, nil
}

// due returns up to limit entries of the purge index, later than last and not
// later than until.
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

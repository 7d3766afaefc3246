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

// A purge works in smaller chunks than other calls, and rests after each for as long
// as it took, maxRest at most. Its locks and its work keep others waiting, and where
// what it deletes comes faster than Badger compacts, all writers must wait, and with
// them who reads.
const (
	purgeChunkLen = 32
	maxRest       = 10 * time.Millisecond
)

// Purge implements [backend.Backend]. It works in chunks of 32 records, the
// longest due first, and passes over records that are damaged.
func (b *Backend) Purge(ctx context.Context, now time.Time, limit int) (int, error) {
	return b.purgeDue(ctx, now, limit, kindPurge, &b.shared.purged, b.purge)
}

// purgeDue works off an index by time up to now, until limit records are purged.
// What becomes of an entry is purge's to say, which is told now.
func (b *Backend) purgeDue(ctx context.Context, now time.Time, limit int, kind byte, index *purged, purge func(*badgerdb.Txn, entry, envelope.Time) (effect, error)) (int, error) {
	if err := b.enter(ctx); err != nil {
		return 0, refused(err)
	}
	b.calls.RUnlock()
	until, err := envelope.TimeOf(now)
	if err != nil {
		return 0, refused(err)
	}
	step := func(txn *badgerdb.Txn, e entry) (effect, error) { return purge(txn, e, until) }
	count := 0
	last, entered := index.begin(until)
	for count < limit {
		began := time.Now()
		due, err := b.dueEntries(ctx, kind, last, until, min(purgeChunkLen, limit-count))
		if err != nil || len(due) == 0 {
			return count, err
		}
		n, err := writeChunk(ctx, b, halfReserve, due, step)
		count += n
		if err != nil && count > 0 {
			return count, partial{err}
		}
		if err != nil {
			return 0, err
		}
		last = due[len(due)-1]
		index.advance(last, entered)
		if count < limit {
			b.rest(ctx, min(time.Since(began), maxRest))
		}
	}
	return count, nil
}

// rest waits, unless the call is to end.
func (b *Backend) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-b.closing:
	}
}

// dueEntries returns up to limit entries of an index by time, later than last and
// not later than until.
func (b *Backend) dueEntries(ctx context.Context, kind byte, last entry, until envelope.Time, limit int) ([]entry, error) {
	return read(ctx, b, func(txn *badgerdb.Txn) ([]entry, error) {
		it := txn.NewIterator(badgerdb.IteratorOptions{Prefix: b.keys.prefix(kind)})
		defer it.Close()
		from := b.keys.due(kind, last)
		var due []entry
		for it.Seek(from); it.Valid() && len(due) < limit; it.Next() {
			if ctx.Err() != nil {
				return nil, contextError(ctx)
			}
			key := it.Item().Key()
			e, ok := b.keys.dueEntry(key)
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
func (b *Backend) purge(txn *badgerdb.Txn, e entry, _ envelope.Time) (effect, error) {
	r, err := b.load(txn, e.id)
	switch {
	case damaged(err):
		return effect{}, nil
	case errors.Is(err, backend.ErrNotFound):
		return effect{}, b.dropStale(txn, kindPurge, e)
	case err != nil:
		return effect{}, err
	}
	at, err := envelope.TimeOf(r.PurgeAt)
	if err != nil {
		return effect{}, err
	}
	if at != e.at {
		return effect{}, b.dropStale(txn, kindPurge, e)
	}
	return effect{ids: []string{e.id}, purged: 1}, b.remove(txn, r)
}

// dropStale deletes an entry of an index by time that no record has any more,
// unless it was deleted meanwhile.
func (b *Backend) dropStale(txn *badgerdb.Txn, kind byte, e entry) error {
	key := b.keys.due(kind, e)
	_, err := txn.Get(key)
	if errors.Is(err, badgerdb.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return txn.Delete(key)
}
